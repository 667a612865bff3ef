"""A U-Net that says of every sample whether it is of a P wave, a QRS complex, a T wave or none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ecg_signals.config import ConfigError, option
from ecg_signals.metrics.delineation import delineate
from ecg_signals.metrics.logits import CLASSES
from ecg_signals.models.base import BaseModel, ModelOutput, StartOptions
from ecg_signals.models.heads.finetuned import WaitingEncoder
from ecg_signals.models.segmentation.blocks import UNetConfig
from ecg_signals.models.segmentation.unet import UNet
from ecg_signals.models.segmentation.unet3plus import UNet3Plus
from ecg_signals.registry import register_model
from ecg_signals.signal.contract import SignalContract

NO_WAVE = "none"  # the class of samples between waves
BACKBONES: dict[str, type[BaseModel]] = {"unet": UNet, "unet3plus": UNet3Plus}


@dataclass
class UNetSegmentorConfig(StartOptions, UNetConfig):
    freeze_finetune_updates: int = option(0, "updates during which only the head trains", least=0)
    backbone: str = option("unet", "unet or unet3plus", choices=tuple(BACKBONES))
    label_idx: dict[str, int] = option(
        {"p": 0, "qrs": 1, "t": 2, "none": 3}, "class of each wave, and of samples between them"
    )


@register_model("unet_segmentor", dataclass=UNetSegmentorConfig)
class UNetSegmentor(WaitingEncoder):
    """`logits` [batch, samples, classes], also called `segment_out`."""

    cfg: UNetSegmentorConfig
    encoder: BaseModel
    logit_kind = CLASSES
    of_samples = True

    def __init__(self, cfg: UNetSegmentorConfig) -> None:
        super().__init__(cfg)
        if sorted(cfg.label_idx.values()) != list(range(len(cfg.label_idx))) or NO_WAVE not in cfg.label_idx:
            raise ConfigError(
                f"model.label_idx={dict(cfg.label_idx)}; expected the classes 0, 1, ..., each once, one of them called "
                f"{NO_WAVE}, such as {{p: 0, qrs: 1, t: 2, {NO_WAVE}: 3}}"
            )
        self.segment = nn.Conv1d(self.encoder.dim, len(cfg.label_idx), 1)

    @classmethod
    def encoder_of(cls, cfg: Any, usual: type[BaseModel] | None = None) -> tuple[type[BaseModel], Any]:
        return BACKBONES[cfg.backbone], cfg

    @classmethod
    def usual_input(cls) -> SignalContract:
        """Whole records of 10 s, in mV."""
        return SignalContract(window_samples=5000, steps=[{"name": "resample", "method": "linear"}])

    def head(self, encoded: ModelOutput, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        logits = self.segment(encoded["features"].transpose(1, 2)).transpose(1, 2)
        encoded.update(logits=logits, segment_out=logits)
        del encoded["maps"]
        return encoded

    @torch.inference_mode()
    def delineate_ecg(self, source: Tensor, padding_mask: Tensor | None = None) -> list[dict[str, list[int]]]:
        """Waves of every item: `p_onsets`, `p_offsets`, `qrs_onsets` ..., inclusive numbers of samples.

        Args:
            source: [batch, leads, samples], or [leads, samples] of one item, as in training; the model should be in
                eval mode.
        """
        source = source.reshape(-1, *source.shape[-2:])
        classes = self(source, padding_mask=padding_mask)["logits"].argmax(dim=-1).cpu().numpy()
        if padding_mask is not None:
            empty = padding_mask.reshape(len(classes), -1, classes.shape[1]).all(dim=1).cpu().numpy()
            classes = np.where(empty, self.cfg.label_idx[NO_WAVE], classes)
        return [as_lists(delineate(row, self.waves)) for row in classes]

    @property
    def waves(self) -> dict[str, int]:
        """Class of each wave."""
        return {name: number for name, number in self.cfg.label_idx.items() if name != NO_WAVE}


def as_lists(waves: Mapping[str, np.ndarray]) -> dict[str, list[int]]:
    """Spans [waves, 2] by name -> `<name>_onsets`, `<name>_offsets`."""
    ends = {"onsets": 0, "offsets": 1}
    return {f"{name}_{end}": spans[:, side].tolist() for name, spans in waves.items() for end, side in ends.items()}
