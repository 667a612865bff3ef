"""MedViLL for ECGs: tell hidden words of a report, and whether it belongs to the ECG, with one transformer for both."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ecg_signals.config import ConfigError, option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.encoders.ecg_transformer import numpy_generator
from ecg_signals.models.text.ecg_language_transformer import (
    ECGLanguageTransformer,
    ECGLanguageTransformerConfig,
    pooled_sides,
)
from ecg_signals.models.text.text_model import Signal
from ecg_signals.models.text.text_options import Frames, Text
from ecg_signals.modules.compiling import not_compiled
from ecg_signals.registry import register_model
from ecg_signals.runtime.batch import sent

HIDDEN, REPLACED, KEPT = 1, 2, 3  # what becomes of a chosen token; 0: it is not chosen


@dataclass
class MedViLLConfig(ECGLanguageTransformerConfig):
    mask_ratio: list[float] = option(
        [0.15, 0.8, 0.1, 0.1],
        "share of the tokens that are chosen; of these, shares that are hidden, replaced and kept, 1 together",
        least=0, most=1,
    )  # fmt: skip
    attn_mask_type: str = option(
        "bi_ar", "bi_ar: a token does not read later ones; bidirectional: it does", choices=("bi_ar", "bidirectional")
    )


@register_model("medvill", dataclass=MedViLLConfig)
class MedViLL(ECGLanguageTransformer):
    """Source: Moon et al. 2021, Multi-modal Understanding and Generation for Medical Images, arXiv:2105.11333."""

    cfg: MedViLLConfig

    def __init__(self, cfg: MedViLLConfig) -> None:
        super().__init__(cfg)
        if len(cfg.mask_ratio) != 4 or not cfg.mask_ratio[0] or abs(sum(cfg.mask_ratio[1:]) - 1) > 1e-6:
            raise ConfigError(
                f"model.mask_ratio={list(cfg.mask_ratio)}; set the share of chosen tokens, above 0, and three shares "
                f"of them that sum to 1, such as [0.15, 0.8, 0.1, 0.1]"
            )
        width = cfg.encoder_embed_dim
        if self.mask_emb is None:
            self.mask_emb = nn.Parameter(torch.rand(width))
        self.align_proj = nn.Linear(2 * width, 1)
        self.mlm_proj = nn.Linear(width, cfg.vocab_size)

    def project(self, features: Tensor) -> Tensor:
        """Without dropout_input, which is of words here."""
        return features if self.post_extract_proj is None else self.post_extract_proj(features)

    def read(
        self,
        first: Signal,
        second: Signal | None,
        text: Text,
        hidden: list[Tensor] | None = None,
        mask: bool = False,
        text_mask_kind: Tensor | None = None,
        text_random_ids: Tensor | None = None,
    ) -> ModelOutput:
        """Without mask as ECGLanguageTransformer, but for attn_mask_type; with mask=True the task of pretraining.

        Args:
            text_mask_kind: int64 [batch, tokens], 0 for a token that stays and is not asked for, 1 hidden, 2 replaced,
                3 asked for but kept; drawn when None.
            text_random_ids: int64 [batch, tokens], what replaces tokens; drawn when None.
        Returns: with mask=True also mlm_logits [n, vocab_size] and mlm_targets [n] of the n tokens that are asked for,
            row by row, and align_logits [batch].
        """
        if not mask:
            return super().read(first, second, text, hidden)
        ecgs = self.ecgs(first, second, mask=self.cfg.apply_mask and self.training)
        kind = self.draw_tokens(text) if text_mask_kind is None else text_mask_kind
        words = Frames(self._hidden(text, kind, text_random_ids), text.padding)
        output = self.encode(ecgs, words, hidden, self.attention(ecgs, text))
        asked = sent(kind.cpu().flatten().nonzero()[:, 0], first.source.device)
        sides = pooled_sides(output, self.cfg.pooling)
        output.update(
            mlm_logits=self.mlm_proj(output["text_features"].flatten(0, 1)[asked]),
            mlm_targets=text.ids.flatten()[asked],
            align_logits=self.align_proj(torch.cat([sides["ecg"], sides["text"]], dim=-1))[:, 0],
        )
        return output

    def attention(self, ecgs: Frames, texts: Text) -> Tensor | None:
        if self.cfg.attn_mask_type == "bidirectional":
            return None
        frames, tokens = ecgs.x.shape[1], texts.ids.shape[1]
        reads = torch.ones(frames + tokens, frames + tokens, dtype=torch.bool, device=ecgs.x.device)
        reads[frames:, frames:] = reads[frames:, frames:].tril()
        return reads

    def _hidden(self, texts: Text, kind: Tensor, random_ids: Tensor | None) -> Tensor:
        """The transformer's input with tokens hidden or replaced; a replacement's word embedding is not normalised."""
        if random_ids is None:
            random_ids = torch.randint(self.cfg.vocab_size, texts.ids.shape)
        kind, random_ids = (sent(value, texts.ids.device).unsqueeze(-1) for value in (kind, random_ids))
        words = self.layer_norm(self.language_embedding(texts.ids))
        assert self.mask_emb is not None
        words = torch.where(kind == HIDDEN, self.mask_emb.to(words.dtype), words)
        others = self.language_embedding(random_ids.masked_fill(kind != REPLACED, 0)[..., 0])
        words = torch.where(kind == REPLACED, others.to(words.dtype), words)
        return self.placed(self.dropout_input(words))

    @not_compiled
    def draw_tokens(self, texts: Text) -> Tensor:
        """Which tokens are asked for, and what the model sees of them: int64 [batch, tokens] on the CPU.

        Of every text as many, at least one, and none of padding and [SEP]. From torch's CPU generator.
        """
        rng, ids = numpy_generator(), texts.ids.cpu()
        share, hidden, replaced, kept = self.cfg.mask_ratio
        candidates = ids != self.cfg.sep_token
        if texts.padding is not None:
            candidates &= ~texts.padding.cpu()
        rounding = rng.random_sample(1 if texts.padding is None else len(ids))  # up or down, of padded texts each
        count = max(1, int((share * candidates.sum(dim=1).numpy() + rounding).astype(int).min()))
        kind = torch.zeros_like(ids)
        for row, places in zip(kind, candidates):
            drawn = rng.permutation(places.nonzero()[:, 0].numpy())[:count]
            first = int(len(drawn) * hidden + rng.random_sample())
            rest = len(drawn) - first
            second = int(rest * replaced / (replaced + kept) + rng.random_sample()) if replaced + kept else 0
            for what, chosen in ((HIDDEN, drawn[:first]), (REPLACED, drawn[first : first + second]),
                                 (KEPT, drawn[first + second :])):  # fmt: skip
                row[torch.from_numpy(chosen)] = what
        return kind
