"""BYOL: from one view of an ECG, predict what a moving average of the model makes of the other; nothing repels.

Grill et al. 2020, Bootstrap your own latent, arXiv:2006.07733; its widths for ECG are those of Mehari and Strodthoff
2022, arXiv:2103.12676.
"""

from torch import nn

from ecg_signals.models.contrastive.momentum import Momentum, MomentumOptions
from ecg_signals.modules.projection import projection
from ecg_signals.registry import register_model


@register_model("byol", dataclass=MomentumOptions)
class Byol(Momentum):
    """Projection and predictor have a batch norm each."""

    def make_predictor(self) -> nn.Module:
        return projection([self.cfg.out_dim, self.cfg.hidden_dim, self.cfg.out_dim])
