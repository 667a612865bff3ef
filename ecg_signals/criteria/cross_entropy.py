"""Cross entropy over classes, plain or focal, of whole items or of every sample of a segmentation."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.criteria.base import CountingCriterion, CriterionOutput
from ecg_signals.criteria.labels import check_label_weights, labels_in, logged, sample_size_of
from ecg_signals.metrics.delineation import as_logs, compare, matches_in, summed
from ecg_signals.metrics.logits import CLASSES
from ecg_signals.registry import register_criterion


@dataclass
class CrossEntropyConfig(BaseConfig):
    weight: list[float] | None = option(None, "factor of each class's loss, one per class")
    focal_loss: bool = option(False, "multiply each loss by (1 - probability of the right class) ** gamma")
    gamma: float = option(1.0, "exponent of the focal loss", least=0)


@register_criterion("cross_entropy", dataclass=CrossEntropyConfig)
class CrossEntropyCriterion(CountingCriterion):
    """Summed over all targets that are known; `sample_size` is their number.

    Logits [items, classes] go with `label`: class numbers, or one column per class of which one is 1. Logits
    [items, samples, classes] go with `segment_label`, whose samples are left out where `segment_mask` is True.
    Negative and NaN targets are unknown, and so are rows with no class or several. Validations of a model that marks
    waves also compare their boundaries: see metrics/delineation.py.
    """

    logits = CLASSES
    takes_class_numbers = True
    per_label: ClassVar[tuple[str, ...]] = ("weight",)
    weight: Tensor | None
    cfg: CrossEntropyConfig

    def __init__(self, cfg: CrossEntropyConfig) -> None:
        super().__init__(cfg)
        self.checked = False
        self.waves: Mapping[str, int] = {}
        self.rate: float | None = None
        self.register_buffer("weight", None if cfg.weight is None else torch.tensor(cfg.weight), persistent=False)

    def set_labels(self, labels: list[str]) -> None:
        check_label_weights("weight", self.cfg.weight, labels)

    def prepare(self, model: nn.Module, dataset: Any) -> None:
        super().prepare(model, dataset)
        self.waves, self.rate = getattr(model, "waves", {}), getattr(dataset, "sample_rate", None)

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        return self.from_logits(model(**batch["net_input"])["logits"].float(), batch)

    def from_logits(self, logits: Tensor, batch: dict[str, Any]) -> CriterionOutput:
        """The loss of [items, classes] or [items, samples, classes]; see the class."""
        if not self.checked:
            check_label_weights("weight", self.cfg.weight, [str(number) for number in range(logits.size(-1))])
            self.checked = True
        answered = logits
        logits, target, known = class_targets(logits, batch)
        losses = F.cross_entropy(logits, target, weight=self.weight, reduction="none")
        if self.cfg.focal_loss:
            wrong = -torch.expm1(-losses)  # 1 - probability of the right class
            if self.cfg.gamma < 1:  # whose slope is infinite at 0
                wrong = wrong.clamp(min=torch.finfo(wrong.dtype).tiny)
            losses = wrong**self.cfg.gamma * losses
        loss = losses.masked_fill(~known, 0.0).sum()
        count, correct = known.sum(), ((logits.argmax(dim=-1) == target) & known).sum()
        logs = logged(loss, batch, correct=correct, count=count)
        if self.waves and self.rate and not self.training:
            logs |= self._boundaries(answered, batch)
        return CriterionOutput(loss, sample_size=sample_size_of(batch, count), logs=logs)

    def _boundaries(self, logits: Tensor, batch: dict[str, Any]) -> dict[str, float]:
        """What was found of the waves' boundaries, to be summed."""
        assert self.rate is not None
        answers, marks = (values.cpu().numpy() for values in (logits.argmax(dim=-1), batch["segment_label"]))
        mask = batch.get("segment_mask")
        judged = np.ones(marks.shape, bool) if mask is None else ~mask.cpu().numpy()
        rows = [compare(*row, self.waves, self.rate) for row in zip(answers, marks, judged)]
        return as_logs(rows)

    def metrics(self, logs: Mapping[str, float], scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        """`accuracy` and, of waves, `wave_f1` over all boundaries, `<wave>_<boundary>_f1` of each."""
        found = matches_in(logs)
        every = {f"{wave}_{boundary}_f1": one.f1 for (wave, boundary), one in found.items()}
        return super().metrics(logs, scores) | ({"wave_f1": summed(found.values()).f1, **every} if found else {})


def class_targets(logits: Tensor, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits [targets, classes], class numbers [targets] (0 where unknown), and which of them are known.

    Raises: ConfigError when there is not one class number per row of logits.
    """
    key = "segment_label" if logits.dim() == 3 and "segment_label" in batch else "label"
    label = labels_in(batch) if key == "label" else batch[key]
    if label.shape == logits.shape and logits.size(-1) > 1:
        one = (label == 1).sum(dim=-1) == 1
        label = label.argmax(dim=-1).masked_fill(~one, -1)
    label, logits = label.reshape(-1), logits.reshape(-1, logits.size(-1))
    if len(label) != len(logits):
        raise ConfigError(
            f"cross_entropy takes one class number per prediction, but the batch has {len(label)} of them in '{key}' "
            f"for {len(logits)} predictions. Give task.label_file one column, or one per class (model.num_labels)"
        )
    known = ~torch.isnan(label) if label.is_floating_point() else torch.ones_like(label, dtype=torch.bool)
    known = known & (label >= 0)
    if key == "segment_label" and batch.get("segment_mask") is not None:
        known = known & ~batch["segment_mask"].reshape(-1).bool()
    return logits, torch.where(known, label, torch.zeros_like(label)).long(), known
