"""Dropout and weight decay that follow validation: less after an improvement, more after a plateau."""

from typing import Any

from torch import nn

# As HuBERT-ECG's published training scripts have them.
DECAY_FACTOR, LOWEST_DECAY = 5.0, 0.01
DROPOUT_STEP, LOWEST_DROPOUT = 0.05, 0.1


class DynamicRegulariser:
    """HuBERT-ECG's dynamic regularisation of one model.

    An improvement divides weight decay by 5 (not below 0.01) and takes 0.05 off every dropout (not below 0.1: the
    first one lifts a dropout of 0 to 0.1). Each `interval`-th validation in a row without one multiplies weight decay
    by 5 and adds 0.05. Attention dropout and layer drop stay.

    Args:
        model: its modules with `dropout` in their names are changed.
        interval: validations without improvement between two penalties; 0 changes nothing.
    """

    def __init__(self, model: nn.Module, interval: int) -> None:
        self.dropouts = {
            name: module
            for name, module in model.named_modules()
            if isinstance(module, nn.Dropout) and "dropout" in name.rpartition(".")[2]
        }
        self.interval = interval
        self.failures = 0

    def after_validation(self, improved: bool, optimizer: Any) -> None:
        """Change dropout and every parameter group's weight decay as the class says."""
        self.failures = 0 if improved else self.failures + 1
        if not self.interval or self.failures % self.interval:
            return
        for group in optimizer.param_groups:
            decay = group["weight_decay"]
            group["weight_decay"] = max(LOWEST_DECAY, decay / DECAY_FACTOR) if improved else decay * DECAY_FACTOR
        for module in self.dropouts.values():
            module.p = max(LOWEST_DROPOUT, module.p - DROPOUT_STEP) if improved else min(1.0, module.p + DROPOUT_STEP)

    def state(self, optimizer: Any) -> dict[str, Any]:
        """Plain values that `load` restores; empty when nothing is regulated."""
        if not self.interval:
            return {}
        return {
            "failures": self.failures,
            "dropout": {name: module.p for name, module in self.dropouts.items()},
            "weight_decay": [group["weight_decay"] for group in optimizer.param_groups],
        }

    def load(self, state: dict[str, Any], optimizer: Any) -> None:
        if not self.interval or not state:
            return
        self.failures = state["failures"]
        for name, module in self.dropouts.items():
            module.p = state["dropout"].get(name, module.p)
        for group, decay in zip(optimizer.param_groups, state["weight_decay"]):
            group["weight_decay"] = decay
