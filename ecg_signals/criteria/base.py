"""What every criterion is: `(model, batch) -> CriterionOutput`, with a summed loss and summable logs."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, ConfigError, unknown_message
from ecg_signals.metrics.counts import ratio
from ecg_signals.metrics.logits import KINDS, is_kind

logger = logging.getLogger(__name__)

Logs = dict[str, float | Tensor]  # scalars that are summed over batches, ranks and updates


@dataclass
class CriterionOutput:
    """One batch's loss.

    Attributes:
        loss: scalar, a SUM over the batch in natural units; the trainer divides gradients by `sample_size`
            summed over accumulated batches and ranks.
        sample_size: what this batch adds to that divisor (number or 0-dim tensor).
        logs: scalars (numbers or detached 0-dim tensors; never call .item(): it stalls a GPU) that are summed over
            batches, ranks and updates. The trainer adds `sample_size`, `batches` (calls) and `updates`.
        scores: in eval mode only, per-item arrays [items, ...] that need the whole subset, such as
            {"logits": ..., "target": ...}; the trainer gathers them in manifest order without duplicates.
    """

    loss: Tensor
    sample_size: float | Tensor
    logs: Logs = field(default_factory=dict)
    scores: dict[str, Tensor] = field(default_factory=dict)


class BaseCriterion(nn.Module):
    """Extend it and write `forward`; `metrics` turns summed logs into what is printed."""

    dataset: ClassVar[str] = "ecg_file"  # registered dataset this criterion usually reads
    of_model: ClassVar[str | None] = None  # registered model whose answers it judges; None: any with its outputs
    logits: str | None = None  # what the model's logits are: see metrics/logits.py; None: it reads none
    takes_class_numbers: ClassVar[bool] = False  # True: a label may be one column of class numbers
    per_label: ClassVar[tuple[str, ...]] = ()  # options, and buffers of the same name, with one value per label
    filled: ClassVar[Mapping[str, str]] = {}  # options that a run fills from its training data -> what asks for that
    averaged: Sequence[str] = ()  # logs that stand in one update as the mean of its batches, not as their sum
    PEER_METHODS: ClassVar[dict[str, str]] = {
        "compute_loss": "forward(model, batch) -> CriterionOutput",
        "reduce_metrics": "metrics(logs, scores) -> dict",
        "get_logging_output": "CriterionOutput.logs",
    }

    def __init__(self, cfg: BaseConfig) -> None:
        super().__init__()
        if self.logits is not None and not is_kind(self.logits):
            raise ConfigError(f"{type(self).__name__}.logits is {self.logits!r}; set it to None or {', '.join(KINDS)}")
        self.cfg = cfg
        self.said: set[str] = set()  # options whose unknown names were said

    @classmethod
    def logits_of(cls, options: Mapping[str, Any]) -> str | None:
        """What the logits of a model trained with these options are; stored in checkpoints, asked by who reads them."""
        return cls.logits

    @classmethod
    def pos_weight_of(cls, options: Mapping[str, Any]) -> Any:
        """How much more the positives of each label counted in training, as stored; None: as much as its negatives.

        Logits of such a model lie log pos_weight too high, which its answers take back (metrics/calibrated.py).
        """
        return options.get("pos_weight") if "pos_weight" in cls.per_label else None

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        raise TypeError(f"{type(self).__name__} must define forward(model, batch)")

    def set_labels(self, labels: list[str]) -> None:
        """Told the label names once, before training, so that errors can name a label.

        Raises: ConfigError if the options do not fit them.
        """

    def select_labels(self, columns: Sequence[int], found: int) -> None:
        """The label file's columns were matched by name: options with one value per column follow them.

        Args:
            columns: of the label file, in the order of the model's labels.
            found: columns in the label file; options with another number of values are left to `set_labels`.
        """
        for key in self.per_label:
            values, buffer = getattr(self.cfg, key), getattr(self, key)
            if values is not None and len(values) == found:
                setattr(self.cfg, key, [values[column] for column in columns])
                setattr(self, key, buffer[list(columns)])

    def say_missing(self, option: str, wanted: Sequence[str], found: Mapping[str, Any], owner: str) -> None:
        """Warn once of names in `option` that are not found and are therefore not printed; `owner` begins the list."""
        missing = [] if option in self.said else [key for key in wanted if key not in found]
        self.said.add(option)
        for key in missing:
            logger.warning("criterion.%s: %s", option, unknown_message(f"name '{key}', left out", key, found, owner))

    def prepare(self, model: nn.Module, dataset: Any) -> None:
        """Told the model and the training data once, before training.

        Raises: ConfigError for what does not fit together.
        """

    def metrics(self, logs: Mapping[str, float], scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Printed statistics, in printing order, from logs summed over an interval or a validation.

        `loss` and `loss_0`, `loss_1` ... are per sample and in bits, as fairseq prints them; `nsignals` are the items
        of an update, of a step of a validation during training, or of all that ecg-validate reads. `scores` is empty in
        training.
        """
        size = logs.get("sample_size", 0.0) or 1.0
        out = {"loss": logs.get("loss", math.nan) / size / math.log(2)}
        out["nsignals"] = logs.get("nsignals", 0.0) / updates_in(logs)
        for key in sorted((key for key in logs if key.startswith("loss_")), key=lambda key: (len(key), key)):
            out[key] = logs[key] / size / math.log(2)
        return out


class CountingCriterion(BaseCriterion):
    """Prints `accuracy`, last: the log `correct` over the log `count`."""

    def metrics(self, logs: Mapping[str, float], scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        accuracy = ratio(logs.get("correct", 0.0), logs.get("count", 0.0))
        return {**super().metrics(logs, scores), "accuracy": accuracy}


def updates_in(logs: Mapping[str, float]) -> float:
    """How many updates the logs were summed over; a batch counts as one where that is not told."""
    return logs.get("updates") or logs.get("batches") or 1.0
