"""What the contrastive criteria share."""

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, option

GATHER_HELP = "in training, compare with the segments of all ranks instead of this rank's alone"


@dataclass
class ContrastConfig(BaseConfig):
    temp: float = option(0.1, "temperature of the softmax over items", above=0)
    eps: float = option(1e-8, "smallest norm that a feature is divided by", least=0)


def unit_rows(features: Tensor, eps: float) -> Tensor:
    """Rows divided by their norm, at least eps, which passes no gradient, as in fairseq-signals."""
    return features / features.detach().norm(dim=-1, keepdim=True).clamp(min=eps)


def pooled_rows(model: nn.Module, batch: dict[str, Any], eps: float) -> Tensor:
    """A batch as rows of length 1, [items, dim] float32: `projected` where the model has it, else `pooled`."""
    output = model(**batch["net_input"])
    return unit_rows(output["projected" if "projected" in output else "pooled"].float(), eps)


def similarities(rows: Tensor, temp: float, others: Tensor | None = None) -> Tensor:
    """Dot products of all pairs of rows, or of rows and others, over the temperature, in float32 under any autocast."""
    with torch.autocast(rows.device.type, enabled=False):
        return rows @ (rows if others is None else others).T / temp


def two_views(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows 2i and 2i + 1 of a batch, which are views of one ECG."""
    assert len(rows) % 2 == 0, f"{len(rows)} rows cannot be pairs of views"
    return rows[0::2], rows[1::2]


def unit(rows: Tensor) -> Tensor:
    """Rows of length 1, float32."""
    return F.normalize(rows.float(), dim=-1)


def hide(similarity: Tensor, hidden: Tensor) -> Tensor:
    """Entries that no softmax shall see: as small as can be, yet finite, so that gradients stay finite."""
    return similarity.masked_fill(hidden, torch.finfo(similarity.dtype).min)
