"""HuBERT-ECG: a masked encoder over the twelve leads laid end to end, trained to name the cluster of each frame.

Coppola et al. 2024, HuBERT-ECG as a self-supervised foundation model for broad and scalable cardiac applications.
"""

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ecg_signals.config import ConfigError, option
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.models.hubert.layers import (
    ConvStem,
    Encoder,
    FeatureProjection,
    check_leads_fill_a_frame,
    num_frames,
)
from ecg_signals.models.hubert.masking import padded_frames, time_mask
from ecg_signals.models.hubert.options import HubertBackboneConfig
from ecg_signals.models.hubert.regulariser import RegulatedModel
from ecg_signals.modules.heads import cosine_logits
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.registry import register_model

TEMPERATURE = 0.1  # of the cosine logits; Hsu et al. 2021, HuBERT, arXiv:2106.07447


@dataclass
class HubertEcgConfig(HubertBackboneConfig):
    mask_time_prob: float = option(0.33, "share of frames masked in pretraining", least=0, most=1)
    mask_time_length: int = option(1, "frames per masked span", least=0)
    mask_time_min_masks: int = option(2, "masked spans per ECG at least", least=0)
    vocab_sizes: list[int] = option(
        [100], "clusters of each k-means model, one prediction head each; [] for none", least=1
    )
    classifier_proj_size: int = option(
        256, "width of the space in which frames and clusters are compared; 512 large", least=1
    )


class HubertBackbone(BaseModel):
    """Everything below the heads; `HubertEcg` adds the cluster heads, the classifier a classification head."""

    cfg: HubertBackboneConfig
    encoder_name = "hubert_ecg"
    AS_ENCODER: ClassVar[dict[str, Any]] = {"vocab_sizes": [], "masked_spec_embed": False}
    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "conv_dim", "conv_kernel", "conv_stride", "conv_bias", "feat_extract_norm", "feat_extract_activation",
        "feat_proj_layer_norm", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        "hidden_act", "layer_norm_eps", "do_stable_layer_norm", "num_conv_pos_embeddings",
        "num_conv_pos_embedding_groups",
    )  # fmt: skip

    def __init__(self, cfg: HubertBackboneConfig) -> None:
        super().__init__(cfg)
        check_geometry(cfg)
        if cfg.masked_spec_embed:
            self.masked_spec_embed = nn.Parameter(torch.rand(cfg.hidden_size))
        self.feature_extractor = ConvStem(cfg)
        self.feature_projection = FeatureProjection(cfg)
        self.encoder = Encoder(cfg)
        self.apply(self._initialise)

    @property
    def dim(self) -> int:
        return self.cfg.hidden_size

    def parts(self) -> list[tuple[str, ...]]:
        first = ("feature_extractor", "feature_projection", "encoder.pos_conv_embed", "encoder.layer_norm",
                 "encoder.dropout")  # fmt: skip  # the norm also where it comes last, as the published freezing has it
        return [first, *((f"encoder.layers.{block}",) for block in range(self.cfg.num_hidden_layers))]

    def _initialise(self, module: nn.Module) -> None:
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=self.cfg.initializer_range)
        elif isinstance(module, nn.Conv1d) and not nn.utils.parametrize.is_parametrized(module):
            nn.init.kaiming_normal_(module.weight)
        if isinstance(module, (nn.Linear, nn.Conv1d)) and module.bias is not None:
            nn.init.zeros_(module.bias)

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> ModelOutput:
        """source [batch, leads, samples] -> features [batch, frames, dim], pooled [batch, dim], padding_mask."""
        states, padded = self.encode(source, padding_mask)
        return pooled_output(states[-1], padded)

    @classmethod
    def inherited_options(cls, cfg: Any) -> list[str]:
        return ["masked_spec_embed"]

    @classmethod
    def published_options(cls) -> dict[str, Any]:
        """The options under which the released weights were trained, where ours differ by default."""
        return {"frame_mask": "count"}

    def frames(self, source: Tensor) -> Tensor:
        """source [batch, leads, samples] -> projected frames [batch, frames, hidden]."""
        stream = source.flatten(1)  # [batch, leads * samples]
        check_leads_fill_a_frame(stream.shape[1], self.cfg)
        return self.feature_projection(self.feature_extractor(stream).transpose(1, 2))

    def frame_padding(self, source: Tensor, padding_mask: Tensor | None) -> Tensor | None:
        """padding_mask [batch, samples] or [batch, leads, samples], True = padding -> [batch, frames] or None."""
        if padding_mask is None:
            return None
        if padding_mask.dim() == 2 and source.dim() == 3:
            padding_mask = padding_mask[:, None].expand(-1, source.shape[1], -1)
        return padded_frames(padding_mask.flatten(1), self.cfg.conv_kernel, self.cfg.conv_stride, self.cfg.frame_mask)

    def encode(
        self, source: Tensor, padding_mask: Tensor | None, mask: Tensor | None = None, last: int | None = None
    ) -> tuple[list[Tensor], Tensor | None]:
        """Hidden states of all blocks and the padding of frames; frames where `mask` is True are replaced."""
        x = self.frames(source)
        if mask is not None:
            x = torch.where(mask[..., None], self.masked_spec_embed.to(x.dtype), x)
        padded = self.frame_padding(source, padding_mask)
        return self.encoder(x, padded, last), padded

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: str | int | None = None
    ) -> ModelOutput:
        """`forward` without masking; `layers="all"` adds all hidden states, a number one block's output (0: the input).

        With a number the blocks above it are not computed, and `features` is that hidden state.
        """
        if layers is None:
            return self(source, padding_mask=padding_mask)
        last = None if layers == "all" else int(layers)
        if last is not None and not 0 <= last <= len(self.encoder.layers):
            raise ConfigError(
                f"layer {last} does not exist: the model has hidden states 0 to {len(self.encoder.layers)}"
            )
        states, padded = self.encode(source, padding_mask, last=last)
        output = pooled_output(states[-1], padded)
        output["hidden_states"] = states if last is None else states[-1:]
        return output


def check_geometry(cfg: HubertBackboneConfig) -> None:
    """Raises: ConfigError when widths and counts do not fit each other."""
    if not 0 < len(cfg.conv_dim) == len(cfg.conv_kernel) == len(cfg.conv_stride):
        raise ConfigError(
            f"model.conv_dim, model.conv_kernel and model.conv_stride have {len(cfg.conv_dim)}, "
            f"{len(cfg.conv_kernel)} and {len(cfg.conv_stride)} entries; give one entry of each per convolution"
        )
    for name in ("num_attention_heads", "num_conv_pos_embedding_groups"):
        parts = getattr(cfg, name)
        if cfg.hidden_size % parts:
            raise ConfigError(
                f"model.hidden_size={cfg.hidden_size} is not a multiple of model.{name}={parts}; change one"
            )


def pooled_output(features: Tensor, padded: Tensor | None) -> ModelOutput:
    """features [batch, frames, dim], padded [batch, frames] -> features, their mean over valid frames, padding_mask."""
    return ModelOutput(features=features, pooled=pool_frames(features, padded), padding_mask=padded)


@register_model("hubert_ecg", dataclass=HubertEcgConfig)
class HubertEcg(RegulatedModel, HubertBackbone):
    cfg: HubertEcgConfig
    encoder_class = HubertBackbone
    ARCHITECTURE = (*HubertBackbone.ARCHITECTURE, "classifier_proj_size")
    NEW_WEIGHTS = ("masked_spec_embed", "final_proj.")  # a fine-tuned file has none
    FRESH_WEIGHTS = ("label_embedding.",)  # the next iteration has new clusters

    def __init__(self, cfg: HubertEcgConfig) -> None:
        if cfg.mask_time_length < 1 and (cfg.mask_time_prob > 0 or cfg.mask_time_min_masks > 0):
            raise ConfigError(
                f"model.mask_time_length={cfg.mask_time_length} with model.mask_time_prob={cfg.mask_time_prob} and "
                f"model.mask_time_min_masks={cfg.mask_time_min_masks}; set model.mask_time_length to 1 or more, or "
                f"both others to 0 to mask nothing"
            )
        super().__init__(cfg)
        width = cfg.classifier_proj_size
        self.final_proj = nn.ModuleList(nn.Linear(cfg.hidden_size, width) for _ in cfg.vocab_sizes)
        self.label_embedding = nn.ModuleList(nn.Embedding(size, width) for size in cfg.vocab_sizes)

    @classmethod
    def inherited_options(cls, cfg: Any) -> list[str]:
        return []  # it masks, whatever a fine-tuned file left out

    def forward(
        self,
        source: Tensor,
        padding_mask: Tensor | None = None,
        mask: bool = False,
        mask_time_indices: Tensor | None = None,
        heads: bool = False,
    ) -> ModelOutput:
        """Encode; with `mask`, replace frames and predict clusters.

        Args:
            source: [batch, leads, samples] as `signal.prepare` returns it: in [-1, 1], decimated.
            padding_mask: [batch, samples] or [batch, leads, samples], True = padding.
            mask: replace frames; `source` alone never masks.
            mask_time_indices: [batch, frames] bool, the frames to replace when `mask`; None draws them.
            heads: predict clusters also without masking.
        Returns: features [batch, frames, dim], pooled [batch, dim], padding_mask [batch, frames] or None; with `mask`
            or `heads` cluster_logits, one [batch, frames, vocab] per head; with `mask` mask_time_indices.
        """
        masked = None
        if mask and not self.cfg.masked_spec_embed:
            raise ConfigError(
                "model.masked_spec_embed=false leaves nothing to replace masked frames by; "
                "set model.masked_spec_embed=true to pretrain"
            )
        if mask:
            masked = self.draw_mask(source) if mask_time_indices is None else mask_time_indices.bool()
        states, padded = self.encode(source, padding_mask, masked)
        output = pooled_output(states[-1], padded)
        if mask:
            output["mask_time_indices"] = masked
        if mask or heads:
            output["cluster_logits"] = self.cluster_logits(states[-1])
        return output

    def draw_mask(self, source: Tensor) -> Tensor:
        """[batch, frames] bool, True = masked; a function of torch's CPU generator."""
        cfg = self.cfg
        frames = num_frames(math.prod(source.shape[1:]), cfg.conv_kernel, cfg.conv_stride)
        rng = np.random.RandomState(int(torch.randint(2**31, ())))
        length = max(1, cfg.mask_time_length)  # 0 only where nothing is masked
        mask = time_mask(len(source), frames, cfg.mask_time_prob, length, cfg.mask_time_min_masks, rng)
        return torch.from_numpy(mask).to(source.device)

    def cluster_logits(self, features: Tensor) -> list[Tensor]:
        """[batch, frames, dim] -> per head cosines of frame and cluster / temperature [batch, frames, vocab]."""
        return [
            cosine_logits(projection(features), table.weight) / TEMPERATURE  # type: ignore[arg-type]
            for projection, table in zip(self.final_proj, self.label_embedding)
        ]
