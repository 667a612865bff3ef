"""SimCLR's model: a projection on any encoder, for criteria that compare rows: `simclr`, `cmsc`, `3kg`.

Chen et al. 2020, A Simple Framework for Contrastive Learning of Visual Representations, arXiv:2002.05709; its width for
ECG is that of Mehari and Strodthoff 2022, Self-supervised representation learning from 12-lead ECG data,
arXiv:2103.12676.
"""

from torch import nn

from ecg_signals.models.contrastive.views import Views, ViewsOptions
from ecg_signals.modules.projection import projection
from ecg_signals.registry import register_model


@register_model("simclr", dataclass=ViewsOptions)
class SimCLR(Views):
    """Its projection has no batch norm."""

    def make_projector(self, dim: int) -> nn.Module:
        return projection([dim, self.cfg.hidden_dim, self.cfg.out_dim], norm=False)
