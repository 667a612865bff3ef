"""Several criteria at once, for models with several outputs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput, updates_in
from ecg_signals.criteria.labels import logged
from ecg_signals.registry import build, get_entry, register_criterion


@dataclass
class CompositeCriterionConfig(BaseConfig):
    criterion_names: list[str] = option("???", "registered criteria, one per entry of the model's list of logits")
    args: Any = option(None, "options of each criterion by its name")
    loss_weights: list[float] | None = option(None, "factor of each criterion; None: 1")


@register_criterion("composite_criterion", dataclass=CompositeCriterionConfig)
class CompositeCriterion(BaseCriterion):
    """Sum of weight * loss / sample_size; its own `sample_size` is 1.

    Where the model has several `heads`, or its `logits` are a list, criterion i sees the i-th; else all see the same.
    Statistics of criterion i are printed as `<i>_<name>`.
    """

    def __init__(self, cfg: CompositeCriterionConfig) -> None:
        super().__init__(cfg)
        options = cfg.args or {}
        unknown = sorted(set(options) - set(cfg.criterion_names))
        if unknown:
            raise ConfigError(f"criterion.args has options of {', '.join(unknown)}; criterion_names must name them too")
        self.parts: list[BaseCriterion] = [
            build("criterion", name, **(options.get(name) or {})) for name in cfg.criterion_names
        ]
        self.averaged = [f"{number}_{key}" for number, part in enumerate(self.parts) for key in part.averaged]
        self.modes = nn.ModuleList(self.parts)  # so that train(), eval() and to() reach them
        self.weights = cfg.loss_weights or [1.0] * len(self.parts)
        if len(self.weights) != len(self.parts):
            raise ConfigError(
                f"criterion.loss_weights has {len(self.weights)} values for {len(self.parts)} criteria; give one each"
            )

    @classmethod
    def logits_of(cls, options: Mapping[str, Any]) -> str | None:
        """What all parts agree on; None where they read logits of several kinds."""
        names, args = options.get("criterion_names") or [], options.get("args") or {}
        kinds = {get_entry("criterion", name).cls.logits_of(args.get(name) or {}) for name in names}
        return kinds.pop() if len(kinds) == 1 else None

    @classmethod
    def pos_weight_of(cls, options: Mapping[str, Any]) -> Any:
        """That of its only part; what several losses of the same logits add up to has no closed form."""
        names, args = options.get("criterion_names") or [], options.get("args") or {}
        return get_entry("criterion", names[0]).cls.pos_weight_of(args.get(names[0]) or {}) if len(names) == 1 else None

    def set_labels(self, labels: list[str]) -> None:
        for part in self.parts:
            part.set_labels(labels)

    def select_labels(self, columns: Sequence[int], found: int) -> None:
        for part in self.parts:
            part.select_labels(columns, found)

    def prepare(self, model: nn.Module, dataset: Any) -> None:
        for part in self.parts:
            part.prepare(model, dataset)

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        shared = _OneCall(model)
        outputs = [part(shared.view(number), batch) for number, part in enumerate(self.parts)]
        losses = [weight * part.loss / _divisor(part) for weight, part in zip(self.weights, outputs)]
        loss = torch.stack(losses).sum()
        logs = logged(loss, batch)
        scores: dict[str, Tensor] = {}
        for number, part in enumerate(outputs):
            logs |= {f"{number}_{key}": value for key, value in part.logs.items()}
            logs[f"{number}_sample_size"] = part.sample_size
            scores |= {f"{number}_{key}": value for key, value in part.scores.items()}
        return CriterionOutput(loss, sample_size=1.0, logs=logs, scores=scores)

    def metrics(self, logs: Mapping[str, float], scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        out = super().metrics(logs, scores)
        for number, part in enumerate(self.parts):
            head = f"{number}_"
            mine = {key.removeprefix(head): value for key, value in logs.items() if key.startswith(head)}
            rows = {key.removeprefix(head): value for key, value in scores.items() if key.startswith(head)}
            printed = part.metrics({**mine, "updates": updates_in(logs)}, rows)
            out |= {f"{head}{key}": value for key, value in printed.items() if key != "nsignals"}
        return out


def _divisor(part: CriterionOutput) -> Tensor:
    """`sample_size`, or 1 where there is nothing to divide."""
    size = torch.as_tensor(part.sample_size, device=part.loss.device)
    return torch.where(size > 0, size, torch.ones_like(size))


class _OneCall:
    """Runs the model once per batch, however many criteria ask."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.outputs: dict[bool, Mapping[str, Any]] = {}

    def view(self, number: int) -> Any:
        """A callable like the model whose `logits` are those of head `number` where it has several."""

        def call(**net_input: Any) -> Mapping[str, Any]:
            masked = bool(net_input.get("mask", False))
            if masked not in self.outputs:
                self.outputs[masked] = self.model(**net_input)
            output = self.outputs[masked]
            logits = output["heads"] if "heads" in output else output.get("logits")
            return {**output, "logits": logits[number]} if isinstance(logits, (list, tuple)) else output

        return call
