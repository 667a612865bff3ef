"""What the contrastive criteria share."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, option

GATHER_HELP = "in training, compare with the segments of all ranks instead of this rank's alone"


@dataclass
class ContrastConfig(BaseConfig):
    temp: float = option(0.1, "temperature of the softmax over items")
    eps: float = option(1e-8, "smallest norm that a feature is divided by")


def unit_rows(features: Tensor, eps: float) -> Tensor:
    """Rows divided by their norm, at least eps, which passes no gradient, as in fairseq-signals."""
    return features / features.detach().norm(dim=-1, keepdim=True).clamp(min=eps)


def pooled_rows(model: nn.Module, batch: dict[str, Any], eps: float) -> Tensor:
    """The model's `pooled` features of a batch as rows of length 1, [items, dim] float32."""
    return unit_rows(model(**batch["net_input"])["pooled"].float(), eps)


def similarities(rows: Tensor, temp: float) -> Tensor:
    """Dot products of all pairs of rows, divided by the temperature, in float32 under any autocast."""
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ rows.T / temp


def hide(similarity: Tensor, hidden: Tensor) -> Tensor:
    """Entries that no softmax shall see: as small as can be, yet finite, so that gradients stay finite."""
    return similarity.masked_fill(hidden, torch.finfo(similarity.dtype).min)
