"""Dropout and weight decay that follow validation: less after an improvement, more after a plateau."""

from typing import Any

from torch import nn

from ecg_signals.interop.hubert_ecg.contract import hubert_ecg, inputs
from ecg_signals.models.base import BaseModel
from ecg_signals.signal.contract import SignalContract

# As HuBERT-ECG's published training scripts have them.
DECAY_FACTOR, LOWEST_DECAY = 5.0, 0.01
DROPOUT_STEP, LOWEST_DROPOUT = 0.05, 0.1


class RegulatedModel(BaseModel):
    """A model of HuBERT-ECG's with its dynamic regularisation; `cfg` has `dynamic_reg_interval`.

    An improvement divides weight decay by 5 (not below 0.01) and takes 0.05 off every dropout (not below 0.1: the
    first one lifts a dropout of 0 to 0.1). Each `interval`-th validation in a row without one multiplies weight decay
    by 5 and adds 0.05; an interval of 0 changes nothing. Attention dropout and layer drop stay.
    """

    cfg: Any
    failures = 0  # validations since the last improvement

    @classmethod
    def usual_input(cls) -> SignalContract:
        return hubert_ecg()

    @classmethod
    def inputs(cls, cfg: Any) -> dict[str, SignalContract]:
        return inputs(cfg.conv_stride)

    def dropouts(self) -> dict[str, nn.Dropout]:
        """What is regulated: modules with `dropout` in their names."""
        return {
            name: module
            for name, module in self.named_modules()
            if isinstance(module, nn.Dropout) and "dropout" in name.rpartition(".")[2]
        }

    def after_validation(self, improved: bool, optimizer: Any) -> None:
        """Change dropout and every parameter group's weight decay as the class says."""
        interval = self.cfg.dynamic_reg_interval
        self.failures = 0 if improved else self.failures + 1
        if not interval or self.failures % interval:
            return
        for group in optimizer.param_groups:
            decay = group["weight_decay"]
            group["weight_decay"] = max(LOWEST_DECAY, decay / DECAY_FACTOR) if improved else decay * DECAY_FACTOR
        for module in self.dropouts().values():
            module.p = max(LOWEST_DROPOUT, module.p - DROPOUT_STEP) if improved else min(1.0, module.p + DROPOUT_STEP)

    def training_state(self, optimizer: Any) -> dict[str, Any]:
        """Empty when nothing is regulated."""
        if not self.cfg.dynamic_reg_interval:
            return {}
        return {
            "failures": self.failures,
            "dropout": {name: module.p for name, module in self.dropouts().items()},
            "weight_decay": [group["weight_decay"] for group in optimizer.param_groups],
        }

    def load_training_state(self, state: dict[str, Any], optimizer: Any) -> None:
        if not self.cfg.dynamic_reg_interval or not state:
            return
        self.failures = state["failures"]
        for name, module in self.dropouts().items():
            module.p = state["dropout"].get(name, module.p)
        for group, decay in zip(optimizer.param_groups, state["weight_decay"]):
            group["weight_decay"] = decay
