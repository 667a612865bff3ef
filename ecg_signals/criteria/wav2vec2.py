"""wav2vec 2.0's pretraining loss: tell the quantised frame from others, use the whole codebook, keep features small."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.criteria.base import CountingCriterion, CriterionOutput, Logs, updates_in
from ecg_signals.criteria.labels import logged, sample_size_of
from ecg_signals.registry import register_criterion


@dataclass
class Wav2Vec2CriterionConfig(BaseConfig):
    infonce: bool = option(True, "softmax over the positive and its negatives; false: one yes-or-no question for each")
    loss_weights: list[float] | None = option(None, "weights of codebook diversity and feature penalty; None: neither")
    log_keys: list[str] = option([], "outputs of the model to print, such as prob_perplexity, code_perplexity, temp")


@register_criterion("wav2vec2", dataclass=Wav2Vec2CriterionConfig)
class Wav2Vec2Criterion(CountingCriterion):
    """Summed over masked frames, whose number is `sample_size`; the other terms are means, multiplied by it.

    Source: Baevski et al. 2020, wav2vec 2.0, arXiv:2006.11477.
    """

    cfg: Wav2Vec2CriterionConfig

    def __init__(self, cfg: Wav2Vec2CriterionConfig) -> None:
        super().__init__(cfg)
        self.averaged = tuple(cfg.log_keys)

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        output = model(**batch["net_input"], mask=True)
        logits = output["pred_logits"].float()  # [1 + negatives, items, masked frames]
        size = sample_size_of(batch, logits[0].numel())
        terms = [self.contrast(logits), *(term * size for term in self.further_terms(output, batch))]
        loss = torch.stack(terms).sum()
        logs = logged(loss, batch)
        logs |= {key: _detached(output[key]) for key in self.cfg.log_keys if key in output}
        self.say_missing("log_keys", self.cfg.log_keys, output, "the model gives")
        if len(terms) > 1:
            logs |= {f"loss_{number}": term.detach() for number, term in enumerate(terms)}
        return CriterionOutput(loss, sample_size=size, logs=logs | answers(logits.detach()))

    def contrast(self, logits: Tensor) -> Tensor:
        if self.cfg.infonce:
            return (logits.logsumexp(dim=0) - logits[0]).sum()
        return F.softplus(-logits[0]).sum() + F.softplus(logits[1:]).sum()

    def further_terms(self, output: Mapping[str, Any], batch: dict[str, Any]) -> list[Tensor]:
        """Weighted means beside the contrast: unused share of the codebook, mean square of the features."""
        if self.cfg.loss_weights is None:
            return []
        means = []
        if "prob_perplexity" in output:
            means.append((output["num_vars"] - output["prob_perplexity"]) / output["num_vars"])
        if "features_pen" in output:
            means.append(output["features_pen"])
        weights = self.cfg.loss_weights * len(means) if len(self.cfg.loss_weights) == 1 else self.cfg.loss_weights
        if len(weights) != len(means):
            raise ConfigError(
                f"criterion.loss_weights has {len(weights)} values, but the model gives {len(means)} terms beside the "
                f"contrast; give one weight for each, or a single one for all"
            )
        return [weight * mean.float() for weight, mean in zip(weights, means) if weight != 0]

    def metrics(self, logs: Mapping[str, float], scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        losses = super().metrics(logs, scores)
        out = {key: losses.pop(key) for key in ("loss", "nsignals")}
        out |= {key: logs[key] / updates_in(logs) for key in self.cfg.log_keys if key in logs}
        return {**out, **losses}


def answers(logits: Tensor) -> Logs:
    """How many positives [0] are as alike as any negative [1:]; frames whose logits are all equal count as wrong.

    So do those of a model without negatives.
    """
    positive, negatives = logits[0], logits[1:] if len(logits) > 1 else logits
    right = (positive >= negatives.amax(dim=0)) & (positive > negatives.amin(dim=0))
    return {"correct": right.sum(), "count": right.numel()}


def _detached(value: Any) -> Any:
    return value.detach() if isinstance(value, Tensor) else value
