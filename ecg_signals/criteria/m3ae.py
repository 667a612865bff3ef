"""M3AE's pretraining loss: hidden words, hidden frames, and whether ECG and report belong together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput, Logs
from ecg_signals.criteria.labels import logged
from ecg_signals.metrics.counts import ratio
from ecg_signals.registry import register_criterion

IGNORED = -100  # of mlm_labels: a token that is not asked for


@dataclass
class M3AECriterionConfig(BaseConfig):
    norm_pix_loss: bool = option(True, "hidden frames are told in each lead's own mean and standard deviation")


@register_criterion("m3ae", dataclass=M3AECriterionConfig)
class M3AECriterion(BaseCriterion):
    """Mean cross entropy over hidden words, mean square over hidden frames, mean cross entropy over pairs; added.

    `sample_size` is 1: every batch counts alike. Words need `mlm_labels` int64 [batch, tokens] in the batch, pairs
    `is_aligned` [batch]; without them that term is left out.

    Source: Chen et al. 2022, arXiv:2209.07098.
    """

    dataset = "ecg_text"
    of_model = "m3ae"
    cfg: M3AECriterionConfig

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        output = model(**batch["net_input"], mask=True)
        predicted = output["mim_logits"].float()  # [batch, frames, leads, samples]
        target = hidden_samples(batch["net_input"]["source"], predicted.shape, self.cfg.norm_pix_loss)
        errors = (predicted - target).square().mean(dim=(2, 3))
        hidden = output["hidden_frames"].float()
        terms = [torch.zeros_like(errors.sum()), (errors * hidden).sum() / hidden.sum().clamp(min=1), 0 * errors.sum()]
        counts: Logs = {}
        if "mlm_labels" in batch:
            terms[0], counts = _words(output["mlm_logits"].float(), batch["mlm_labels"])
        if "is_aligned" in batch:
            terms[2], more = _pairs(output["itm_logits"].float(), batch["is_aligned"])
            counts |= more
        loss = terms[0] + terms[1] + terms[2]
        parts = {f"loss_{number}": term.detach() for number, term in enumerate(terms)}
        return CriterionOutput(loss, sample_size=1, logs=logged(loss, batch, **parts, **counts))

    def metrics(self, logs: Mapping[str, float], scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        shares = {f"{name}_accuracy": ratio(logs.get(f"{name}_correct", 0.0), logs.get(f"{name}_count", 0.0))
                  for name in ("mlm", "itm")}  # fmt: skip
        return super().metrics(logs, scores) | shares


def hidden_samples(source: Tensor, shape: torch.Size, normalised: bool) -> Tensor:
    """What the model is to tell of `source` [batch, leads, samples], in the shape [batch, frames, leads, samples].

    Args:
        normalised: each lead's mean is taken off, and it is divided by its standard deviation over the whole ECG.
    Raises: ConfigError where an ECG is shorter than its frames stand for.
    """
    _, frames, _, samples = shape
    if source.shape[-1] < frames * samples:
        raise ConfigError(
            f"ECGs of {source.shape[-1]} samples make {frames} frames that stand for {samples} each; set "
            f"task.max_sample_size to a multiple of {samples}, or model.conv_feature_layers to strides like the kernels"
        )
    target = source[..., : frames * samples].float()
    if normalised:
        spread = torch.sqrt(target.var(dim=-1, keepdim=True) + 1e-6)
        target = (target - target.mean(dim=-1, keepdim=True)) / spread
    return target.unflatten(-1, (frames, samples)).transpose(1, 2)


def _words(logits: Tensor, labels: Tensor) -> tuple[Tensor, Logs]:
    """logits [batch, tokens, vocabulary]; 0 where no token is asked for."""
    flat, labels = logits.flatten(0, 1), labels.flatten()
    asked = labels != IGNORED
    total = F.cross_entropy(flat, labels, ignore_index=IGNORED, reduction="sum")
    right = ((flat.argmax(dim=-1) == labels) & asked).sum()
    return total / asked.sum().clamp(min=1), {"mlm_correct": right, "mlm_count": asked.sum()}


def _pairs(logits: Tensor, aligned: Tensor) -> tuple[Tensor, Logs]:
    right = (logits.argmax(dim=-1) == aligned.long()).sum()
    return F.cross_entropy(logits, aligned.long()), {"itm_correct": right, "itm_count": len(logits)}
