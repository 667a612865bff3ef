"""MoCo v3: the other view of an ECG is told from all others of the batch, whose keys a moving average makes.

Chen et al. 2021, An Empirical Study of Training Self-Supervised Vision Transformers, arXiv:2104.02057.
"""

from dataclasses import dataclass

from torch import nn

from ecg_signals.config import another_default, option
from ecg_signals.models.contrastive.momentum import Momentum, MomentumOptions
from ecg_signals.modules.projection import projection
from ecg_signals.registry import register_model


@dataclass
class MocoV3Config(MomentumOptions):
    pool: str = another_default(MomentumOptions, "pool", "own")
    hidden_dim: int = another_default(MomentumOptions, "hidden_dim", 4096)
    out_dim: int = another_default(MomentumOptions, "out_dim", 256)
    encoder_momentum: float = another_default(MomentumOptions, "encoder_momentum", 0.99)
    train_patches: bool = option(
        False, "an encoder's `patch_embed` trains as well; published: it stays as drawn, which keeps a ViT stable"
    )


@register_model("moco_v3", dataclass=MocoV3Config)
class MocoV3(Momentum):
    """Projection of three layers, predictor of two, a batch norm behind each."""

    cfg: MocoV3Config

    def make_projector(self, dim: int) -> nn.Module:
        return projection([dim, self.cfg.hidden_dim, self.cfg.hidden_dim, self.cfg.out_dim], last_norm=True)

    def make_predictor(self) -> nn.Module:
        return projection([self.cfg.out_dim, self.cfg.hidden_dim, self.cfg.out_dim], last_norm=True)

    def trains(self, name: str) -> bool:
        return super().trains(name) and (self.cfg.train_patches or not name.startswith("encoder.patch_embed"))
