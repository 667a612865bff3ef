"""MoCo: the other view of an ECG is told from a queue of earlier ones, whose keys a moving average makes.

He et al. 2020, Momentum Contrast for Unsupervised Visual Representation Learning, arXiv:1911.05722; the projection of
version 2 is Chen et al. 2020, arXiv:2003.04297.
"""

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import another_default, option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.contrastive.momentum import Momentum, MomentumOptions
from ecg_signals.modules.projection import projection
from ecg_signals.modules.queue import Queue
from ecg_signals.registry import register_model


@dataclass
class MocoConfig(MomentumOptions):
    encoder_momentum: float = another_default(MomentumOptions, "encoder_momentum", 0.999)
    final_encoder_momentum: float = another_default(MomentumOptions, "final_encoder_momentum", 0.999)
    queue_size: int = option(16384, "keys in the queue; published for ECG: as many as there are segments", least=1)


@register_model("moco", dataclass=MocoConfig)
class Moco(Momentum):
    """The first view of an ECG asks, the second one is its key."""

    cfg: MocoConfig

    def __init__(self, cfg: MocoConfig) -> None:
        super().__init__(cfg)
        self.queue = Queue(cfg.queue_size, cfg.out_dim, drawn=True)

    def make_projector(self, dim: int) -> nn.Module:
        return projection([dim, self.cfg.hidden_dim, self.cfg.out_dim], norm=False)

    def forward(  # type: ignore[override]
        self, source: Tensor, padding_mask: Tensor | None = None, compare: bool = False
    ) -> ModelOutput:
        """source [views, leads, samples] -> what the encoder gives, and `projected` [views, out_dim].

        Args:
            compare: of first views; also `target`, of second views, [items, out_dim], and `queue` [keys, out_dim].
        """
        if not compare:
            return super().forward(source, padding_mask)
        first, second = ((source[view::2], None if padding_mask is None else padding_mask[view::2]) for view in (0, 1))
        output = super().forward(*first)
        target = F.normalize(self.target(*second), dim=-1)
        if self.training:
            self.queue.wait(target)
        output.update(target=target, queue=self.queue.rows.clone())
        return output
