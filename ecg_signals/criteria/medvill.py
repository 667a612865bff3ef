"""MedViLL's pretraining loss: hidden words, and whether ECG and report belong together."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import nn
from torch.nn import functional as F

from ecg_signals.config import BaseConfig
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput, Logs
from ecg_signals.criteria.labels import logged
from ecg_signals.metrics.counts import ratio
from ecg_signals.registry import register_criterion


@register_criterion("medvill", dataclass=BaseConfig)
class MedViLLCriterion(BaseCriterion):
    """Summed over hidden words, whose number is `sample_size`; the mean over pairs is multiplied by it.

    Pairs need `is_aligned` [batch] in the batch; without it that term is left out.

    Source: Moon et al. 2021, arXiv:2105.11333.
    """

    dataset = "ecg_text"
    of_model = "medvill"

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        output = model(**batch["net_input"], mask=True)
        logits, target = output["mlm_logits"].float(), output["mlm_targets"]
        size = len(target)
        words = F.cross_entropy(logits, target, reduction="sum")
        align = output["align_logits"].float()
        counts: Logs = {"mlm_correct": (logits.argmax(dim=-1) == target).sum(), "mlm_count": size}
        pairs = 0 * align.sum()
        if "is_aligned" in batch:
            aligned = batch["is_aligned"].to(align)
            pairs = F.binary_cross_entropy_with_logits(align, aligned, reduction="sum") * size / len(align)
            counts |= {"align_correct": ((align > 0) == (aligned > 0.5)).sum(), "align_count": len(align)}
        loss = words + pairs
        parts = {"loss_0": words.detach(), "loss_1": pairs.detach()}
        return CriterionOutput(loss, sample_size=size, logs=logged(loss, batch, **parts, **counts))

    def metrics(self, logs: Mapping[str, float], scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        shares = {f"{name}_accuracy": ratio(logs.get(f"{name}_correct", 0.0), logs.get(f"{name}_count", 0.0))
                  for name in ("mlm", "align")}  # fmt: skip
        return super().metrics(logs, scores) | shares
