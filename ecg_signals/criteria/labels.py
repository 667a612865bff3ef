"""Labels as the criteria read them: a target where it is known, and nothing where it is not."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ecg_signals.config import ConfigError
from ecg_signals.criteria.base import Logs


def item_count(batch: dict[str, Any]) -> int:
    """Items in the batch: what the statistic `nsignals` counts. A batch made by hand need not number its items."""
    rows = batch.get("id")
    return len(batch["net_input"]["source"]) if rows is None else int(torch.as_tensor(rows).numel())


def logged(loss: Tensor, batch: dict[str, Any], **counts: float | Tensor) -> Logs:
    """What every criterion logs of a batch: its loss, its items, and `counts`."""
    return {"loss": loss.detach(), "nsignals": item_count(batch), **counts}


def sample_size_of(batch: dict[str, Any], otherwise: float | Tensor) -> float | Tensor:
    """What the batch itself asks to be divided by (`sample_size`), else `otherwise`."""
    return batch.get("sample_size", otherwise)


def label_matrix(logits: Tensor, batch: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """batch["label"] as (target, known), both [items, labels]; NaN in it means unknown, and its target is 0.

    With `target_idx`, lists of one item's labels that are asked for, `label` lists their answers; the rest is unknown.
    Raises: ConfigError when logits and labels differ in number.
    """
    label = labels_in(batch)
    if "target_idx" in batch:
        target = spread(logits, batch["target_idx"], label, math.nan)
    else:
        target = (torch.stack(list(label)) if isinstance(label, (list, tuple)) else label).to(logits)
        target = target.reshape(len(target), -1)
        if target.shape != logits.shape:
            raise ConfigError(
                f"the model gives {logits.size(-1)} logits, but the labels have {target.size(-1)} columns; "
                f"set model.num_labels={target.size(-1)}"
            )
    known = ~torch.isnan(target)
    return target.masked_fill(~known, 0.0), known


def labels_in(batch: dict[str, Any]) -> Any:
    """Raises: ConfigError for data without labels."""
    if "label" not in batch:
        raise ConfigError(
            "this criterion judges labels, but the data have none; set task.label_file=FILE, or choose another "
            "criterion (cross_entropy for waves)"
        )
    return batch["label"]


def spread(logits: Tensor, columns: Sequence[Tensor], values: Sequence[Tensor], empty: float) -> Tensor:
    """One ragged row of values per item, put into its columns of a [items, labels] matrix that is `empty` elsewhere."""
    matrix = torch.full_like(logits, empty)
    lengths = [len(row) for row in columns]
    rows = torch.arange(len(lengths), device=logits.device).repeat_interleave(
        torch.tensor(lengths, device=logits.device), output_size=sum(lengths)
    )
    column, value = (torch.cat([torch.as_tensor(row).reshape(-1) for row in ragged]) for ragged in (columns, values))
    matrix[rows, column.to(logits.device).long()] = value.to(logits)
    return matrix


def valid_class_mask(logits: Tensor, batch: dict[str, Any]) -> Tensor | None:
    """batch["valid_classes"], bool [items, labels] or one list of class numbers per item, as a mask; None if absent."""
    valid = batch.get("valid_classes")
    if valid is None or (isinstance(valid, Tensor) and valid.dtype == torch.bool):
        return valid
    ones = [torch.ones(len(row)) for row in valid]
    return spread(logits, [torch.as_tensor(row) for row in valid], ones, 0.0) > 0


def check_label_weights(key: str, values: Sequence[float] | None, labels: Sequence[str]) -> None:
    """Raises: ConfigError naming the label whose weight in criterion.`key` cannot be used, or their wrong number."""
    if values is None or not labels:
        return
    if len(values) != len(labels):
        raise ConfigError(
            f"criterion.{key} has {len(values)} values, but there are {len(labels)} labels ({labels[0]} ... "
            f"{labels[-1]}); give one per label, in the order of label_def.csv, as in criterion.{key}=[1.0,2.5,...]"
        )
    for number, (value, label) in enumerate(zip(values, labels)):
        if not math.isfinite(value) or value < 0:
            why = "it has no positive example in the training split. " if value == math.inf else ""
            raise ConfigError(
                f"criterion.{key} is {value} for the label '{label}' (column {number}): {why}"
                f"Expected a finite number that is not negative; use 1.0 for that label or leave the label out"
            )
