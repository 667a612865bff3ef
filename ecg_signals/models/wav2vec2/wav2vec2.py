"""wav2vec 2.0 pretraining: find the quantized frame behind each hidden one among negatives."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import ConfigError, option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.encoders.ecg_transformer import ECGTransformer, ECGTransformerConfig
from ecg_signals.models.wav2vec2.negatives import HiddenFrames, Targets, contrast, draw_negatives
from ecg_signals.modules.compiling import not_compiled
from ecg_signals.modules.dropout import Dropout
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.modules.quantizer import GumbelQuantizer
from ecg_signals.registry import register_model
from ecg_signals.runtime.batch import sent


@dataclass
class Wav2Vec2Config(ECGTransformerConfig):
    """Defaults are fairseq's; codebooks, temperatures and negatives are those of the paper, arXiv:2006.11477."""

    logit_temp: float = option(0.1, "cosines are divided by it", above=0)
    quantize_targets: bool = option(False, "targets are codewords, else the convolutions' output")
    quantize_input: bool = option(False, "the transformer sees codewords, too")
    same_quantizer: bool = option(False, "one quantizer for targets and input")
    target_glu: bool = option(False, "gated linear unit on targets and negatives")
    latent_vars: int = option(320, "codewords per group", least=1)
    latent_groups: int = option(2, "groups of the codebook; they divide the target's width", least=1)
    latent_dim: int = option(0, "values of a quantized frame; 0: final_dim", least=0)
    final_dim: int = option(0, "values compared by the loss; 0: encoder_embed_dim", least=0)
    num_negatives: int = option(100, "negatives per hidden frame, from the same item", least=0)
    negatives_from_everywhere: bool = option(False, "negatives from all frames, not only the hidden ones")
    cross_sample_negatives: int = option(0, "further negatives from the hidden frames of all items", least=0)
    codebook_negatives: int = option(0, "further negatives: random codewords; needs quantize_targets", least=0)
    latent_temp: tuple[float, float, float] = option(
        (2.0, 0.5, 0.999995), "Gumbel temperature: start, end, factor per update", above=0
    )


@register_model("wav2vec2", dataclass=Wav2Vec2Config)
class Wav2Vec2(ECGTransformer):
    """Source: Baevski et al. 2020, wav2vec 2.0, arXiv:2006.11477."""

    cfg: Wav2Vec2Config

    def __init__(self, cfg: Wav2Vec2Config) -> None:
        super().__init__(cfg)
        if cfg.codebook_negatives > 0 and not cfg.quantize_targets:
            raise ConfigError("model.codebook_negatives needs a codebook; set model.quantize_targets=true")
        dim, width = self.feature_extractor.dim, cfg.encoder_embed_dim
        final_dim = cfg.final_dim or width
        self.dropout_features = Dropout(cfg.dropout_features)
        self.quantizer = self._quantizer(cfg.latent_dim or final_dim) if cfg.quantize_targets else None
        self.project_q = nn.Linear((cfg.latent_dim or final_dim) if cfg.quantize_targets else dim, final_dim)
        self.target_glu = nn.Sequential(nn.Linear(final_dim, 2 * final_dim), nn.GLU()) if cfg.target_glu else None
        self.input_quantizer: GumbelQuantizer | None = None
        if cfg.quantize_input:
            shared = cfg.same_quantizer and self.quantizer is not None
            input_dim = (cfg.latent_dim or final_dim) if shared else (cfg.latent_dim or width)
            self.input_quantizer = None if shared else self._quantizer(input_dim)
            self.project_inp = nn.Linear(input_dim, width)
        self.final_proj = nn.Linear(width, final_dim)

    def _quantizer(self, out_dim: int) -> GumbelQuantizer:
        cfg = self.cfg
        return GumbelQuantizer(self.feature_extractor.dim, cfg.latent_vars, cfg.latent_groups, out_dim, cfg.latent_temp)

    @property
    def projects_features(self) -> bool:
        return not self.cfg.quantize_input

    def before_forward(self, num_updates: int) -> None:
        for quantizer in (self.quantizer, self.input_quantizer):
            if quantizer is not None:
                quantizer.set_updates(num_updates)

    def project(self, features: Tensor) -> Tensor:
        return self._project(features)[0]

    def _project(self, features: Tensor, padding: Tensor | None = None) -> tuple[Tensor, dict[str, Any]]:
        """Transformer input, and the statistics of the input's quantizer if there is one."""
        if not self.cfg.quantize_input:
            return super().project(features), {}
        quantizer = self.input_quantizer or self.quantizer
        assert quantizer is not None
        found = quantizer(features, padding=self._uncounted(padding))
        return self.dropout_input(self.project_inp(found["quantized"])), _statistics(quantizer, found, None)

    def forward(
        self,
        source: Tensor,
        padding_mask: Tensor | None = None,
        mask: bool = False,
        mask_indices: Tensor | None = None,
        neg_idxs: Tensor | None = None,
        gumbel_noise: Tensor | None = None,
        gumbel_temp: float | Tensor | None = None,
    ) -> ModelOutput:
        """Without mask as ECGTransformer; with mask=True the contrastive task.

        Args:
            mask_indices: bool [batch, frames], as many True in every row; drawn when None.
            neg_idxs: int64 [batch, M * N], rows of the [batch * M] targets, frame-major; drawn when None. With
                negatives_from_everywhere rows of the [batch * frames] targets.
            gumbel_noise, gumbel_temp: see GumbelQuantizer.
        Returns: with M hidden frames per item and N negatives: pred_logits [1 + N, batch, M] (row 0 the right one),
            masked_features [batch, frames, width], masked_pooled [batch, width], features_pen, padding_mask,
            mask_indices; with a quantizer prob_perplexity, code_perplexity, num_vars, temp.
        """
        if not mask:
            return super().forward(source, padding_mask)
        features, padding = self.convolve(source, padding_mask)
        penalty = self._penalty(features, padding)
        features = self.layer_norm(features)
        hidden = self._hidden_frames(features, padding, mask_indices)
        frames, statistics = self._project(features, padding)
        x, _ = self.contextualise(self.hide(frames, hidden.mask, channels=True), padding)
        predicted = self.final_proj(hidden.gather(x))  # [batch, M, final_dim]
        targets, found = self._targets(features, padding, hidden, gumbel_noise, gumbel_temp)
        if neg_idxs is None:
            neg_idxs = sent(self._draw_negatives(hidden, padding), x.device)
        return ModelOutput(
            pred_logits=self._contrast(predicted, targets, neg_idxs),
            masked_features=x,
            masked_pooled=pool_frames(x, padding, self.cfg.pooling),
            features_pen=penalty,
            padding_mask=padding,
            mask_indices=hidden.mask,
            **{**statistics, **found},
        )

    def quantize(self, source: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """source, unmasked -> (quantized [batch, frames, latent_dim], codes int64 [batch, frames, latent_groups])."""
        if self.quantizer is None:
            raise ConfigError("this model has no quantizer; it was trained with model.quantize_targets=false")
        found = self.quantizer(self.layer_norm(self.convolve(source, padding_mask)[0]))
        return found["quantized"], found["codes"]

    def _uncounted(self, padding: Tensor | None) -> Tensor | None:
        """Frames that no mean over frames counts."""
        return None if self.cfg.include_padding else padding

    def _penalty(self, features: Tensor, padding: Tensor | None) -> Tensor:
        """Mean square of the convolutions' output."""
        padding = self._uncounted(padding)
        if padding is None:
            return features.float().square().mean()
        squares = features.float().square().mean(dim=-1)
        return squares.masked_fill(padding, 0.0).sum() / (~padding).sum()

    @not_compiled
    def _hidden_frames(self, features: Tensor, padding: Tensor | None, mask_indices: Tensor | None) -> HiddenFrames:
        if self.mask_emb is None:
            raise ConfigError("the model has no mask embedding: set model.apply_mask=true and model.mask_prob=0.65")
        if mask_indices is None:
            mask_indices = self.draw_mask((features.shape[0], features.shape[1]), padding)
        if mask_indices is None:
            raise ConfigError("model.mask_prob=0 leaves nothing to predict; set model.mask_prob=0.65")
        if mask_indices.shape != features.shape[:2]:
            found, expected = list(mask_indices.shape), list(features.shape[:2])
            raise ConfigError(f"mask_indices has shape {found}; expected [batch, frames] = {expected}")
        return HiddenFrames.of(mask_indices, features.device)

    def _targets(
        self,
        features: Tensor,
        padding: Tensor | None,
        hidden: HiddenFrames,
        noise: Tensor | None,
        temperature: float | Tensor | None,
    ) -> tuple[Targets, dict[str, Any]]:
        """Candidates that negatives are rows of: the hidden frames, or all of them."""
        everywhere = self.cfg.negatives_from_everywhere
        y = self.dropout_features(features if everywhere else hidden.gather(features))
        statistics: dict[str, Any] = {}
        if self.quantizer is not None:
            found = self.quantizer(y, noise, temperature, self._uncounted(padding) if everywhere else None)
            y, identity = found["quantized"], self._identity(found["codes"])
            statistics = _statistics(self.quantizer, found, temperature)
        else:
            identity = torch.unique(y.detach().flatten(0, 1), dim=0, return_inverse=True)[1].view(y.shape[:2])
        own = (
            hidden.positions.to(y.device)
            if everywhere
            else torch.arange(y.shape[1], device=y.device).expand(y.shape[:2])
        )
        return Targets(self._embed(y), identity, own), statistics

    def _identity(self, codes: Tensor) -> Tensor:
        """codes [..., groups] -> one number per combination."""
        identity = codes[..., 0]
        for group in range(1, codes.shape[-1]):
            identity = identity * self.cfg.latent_vars + codes[..., group]
        return identity

    def _embed(self, y: Tensor) -> Tensor:
        """Targets and negatives as the loss compares them."""
        y = self.project_q(y)
        return y if self.target_glu is None else self.target_glu(y)

    @not_compiled
    def _draw_negatives(self, hidden: HiddenFrames, padding: Tensor | None) -> Tensor:
        items, frames = hidden.mask.shape
        if not self.cfg.negatives_from_everywhere:
            items, frames = hidden.positions.shape
            own, counts = torch.arange(frames).expand(items, frames), torch.full((items,), frames)
        else:
            own = hidden.positions
            counts = torch.full((items,), frames) if padding is None else (~padding).sum(dim=1).cpu()
        return draw_negatives(own, counts, frames, self.cfg.num_negatives, self.cfg.cross_sample_negatives)

    def _contrast(self, predicted: Tensor, targets: Targets, neg_idxs: Tensor) -> Tensor:
        cosines, same = contrast(predicted, targets, neg_idxs, local=self.cfg.cross_sample_negatives == 0)
        if self.cfg.codebook_negatives > 0:
            assert self.quantizer is not None
            codes = self.quantizer.sample_codes((*predicted.shape[:2], self.cfg.codebook_negatives))
            words = self._embed(self.quantizer.decode(codes))  # [batch, M, codebook_negatives, final_dim]
            cosines = torch.cat(
                [cosines, F.cosine_similarity(predicted.unsqueeze(2).float(), words.float(), dim=-1)], dim=2
            )
            own = targets.identity.gather(1, targets.own).unsqueeze(2)
            same = torch.cat([same, self._identity(codes) == own], dim=2)
        logits = (cosines / self.cfg.logit_temp).masked_fill(same, float("-inf"))
        return logits.permute(2, 0, 1)


def _statistics(
    quantizer: GumbelQuantizer, found: dict[str, Tensor], temperature: float | Tensor | None
) -> dict[str, Any]:
    return {
        "prob_perplexity": found["prob_perplexity"],
        "code_perplexity": found["code_perplexity"],
        "num_vars": quantizer.groups * quantizer.num_vars,
        "temp": quantizer.temperature.clone() if temperature is None else temperature,
    }
