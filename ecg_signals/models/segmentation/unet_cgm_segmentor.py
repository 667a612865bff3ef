"""A U-Net for waves that also learns the record's labels from its maps, a classification-guided module."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecg_signals.config import MISSING, option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.segmentation.blocks import LEVELS, level_dims
from ecg_signals.models.segmentation.unet_segmentor import UNetSegmentor, UNetSegmentorConfig
from ecg_signals.modules.centred_conv import check_odd
from ecg_signals.registry import register_model


@dataclass
class UNetCGMSegmentorConfig(UNetSegmentorConfig):
    num_labels: int = option(MISSING, "labels of a record, which `cls_out` answers", least=1)
    cgm_dim: int = option(512, "channels of the convolutions of that answer", least=1)
    cgm_kernel_size: int = option(17, "frames of these convolutions; odd", least=1)
    cgm_dropout: float = option(0.2, "chance of losing a channel between them", least=0, most=1)


@register_model("unet_cgm_segmentor", dataclass=UNetCGMSegmentorConfig)
class UNetCGMSegmentor(UNetSegmentor):
    """`logits` of the waves, [batch, samples, classes], and `cls_out` [batch, labels]; `heads` are both.

    Source of the module: Huang et al. 2020, UNet 3+, arXiv:2004.08790.
    """

    cfg: UNetCGMSegmentorConfig

    def __init__(self, cfg: UNetCGMSegmentorConfig) -> None:
        super().__init__(cfg)
        check_odd(cfg.cgm_kernel_size, "model.cgm_kernel_size", 17)
        width, around = sum(level_dims(cfg)), cfg.cgm_kernel_size // 2
        self.classify = nn.Sequential(
            nn.BatchNorm1d(width), nn.GELU(), nn.Conv1d(width, cfg.cgm_dim, cfg.cgm_kernel_size, padding=around),
            nn.BatchNorm1d(cfg.cgm_dim), nn.GELU(), nn.Dropout1d(cfg.cgm_dropout),
            nn.Conv1d(cfg.cgm_dim, cfg.cgm_dim, cfg.cgm_kernel_size, padding=around),
            nn.BatchNorm1d(cfg.cgm_dim), nn.GELU(), nn.AdaptiveAvgPool1d(1), nn.Flatten(),
            nn.Linear(cfg.cgm_dim, cfg.num_labels),
        )  # fmt: skip

    def head(self, encoded: ModelOutput, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        pooled = [F.avg_pool1d(x, 2 ** (LEVELS - level)) for level, x in enumerate(encoded["maps"])]
        labels = self.classify(torch.cat(pooled, dim=1))
        encoded = super().head(encoded, source, padding_mask)
        encoded.update(cls_out=labels, heads=[encoded["logits"], labels])
        return encoded
