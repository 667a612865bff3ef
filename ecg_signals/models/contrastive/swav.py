"""SwAV: from one view of an ECG, predict to which prototypes another one was assigned.

Caron et al. 2020, Unsupervised Learning of Visual Features by Contrasting Cluster Assignments, arXiv:2006.09882.
"""

from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import another_default, option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.contrastive.views import Views, ViewsOptions
from ecg_signals.modules.compiling import not_compiled
from ecg_signals.modules.queue import Queue
from ecg_signals.registry import register_model

VIEWS = 2  # that are assigned to prototypes; smaller ones are not


@dataclass
class SwavConfig(ViewsOptions):
    hidden_dim: int = another_default(ViewsOptions, "hidden_dim", 2048)
    out_dim: int = another_default(ViewsOptions, "out_dim", 128)
    prototypes: int = option(3000, "vectors that views are assigned to", least=2)
    freeze_prototypes_updates: int = option(0, "updates in which they stay as drawn; published: one epoch", least=0)
    queue_size: int = option(0, "earlier views that are assigned with a batch's; published: of 8 batches", least=0)
    queue_start: int = option(0, "updates before they are collected; published: 15 epochs", least=0)


@register_model("swav", dataclass=SwavConfig)
class Swav(Views):
    """Prototypes have length 1 before every update."""

    cfg: SwavConfig

    def __init__(self, cfg: SwavConfig) -> None:
        super().__init__(cfg)
        self.prototypes = nn.Linear(cfg.out_dim, cfg.prototypes, bias=False)
        self.queues = nn.ModuleList(
            Queue(cfg.queue_size, cfg.out_dim, start=cfg.queue_start) for _ in range(VIEWS if cfg.queue_size else 0)
        )
        self.before_forward(0)
        self.after_update(0)

    @property
    def sometimes_unused(self) -> bool:
        return self.cfg.freeze_prototypes_updates > 0

    def before_forward(self, num_updates: int) -> None:
        self.held = num_updates < self.cfg.freeze_prototypes_updates

    @not_compiled
    @torch.no_grad()
    def after_update(self, num_updates: int) -> None:
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))

    def forward(  # type: ignore[override]
        self,
        source: Tensor,
        padding_mask: Tensor | None = None,
        small: Tensor | None = None,
        compare: bool = False,
    ) -> ModelOutput:
        """source [views, leads, samples] -> what the encoder gives, and `projected` [views, out_dim].

        Args:
            small: [items, n, leads, fewer samples], further views.
            compare: also `scores` [views, prototypes], cosines, those of `small` [items, n, prototypes] as
                `small_scores` and of the queues, of first and of second views, [2, queue_size, prototypes] as
                `queued`. Rows of queues that are still empty score 0 throughout.
        """
        output = super().forward(source, padding_mask)
        if not compare:
            return output
        rows = self.unit(output["projected"])
        output["scores"] = self.scores(rows)
        if small is not None:
            found = super().forward(small.flatten(0, 1))["projected"]
            output["small_scores"] = self.scores(self.unit(found)).unflatten(0, small.shape[:2])
        queues = cast("list[Queue]", self.queues)
        if self.cfg.queue_size:
            output["queued"] = torch.stack([self.scores(queue.rows.clone()) for queue in queues]).detach()
        for view, queue in enumerate(queues if self.training else ()):
            queue.wait(rows[view::VIEWS])
        return output

    def unit(self, projected: Tensor) -> Tensor:
        """[views, out_dim] of length 1, as precise as the prototypes."""
        return F.normalize(projected.to(self.prototypes.weight.dtype), dim=-1)

    def scores(self, rows: Tensor) -> Tensor:
        """[views, out_dim] -> [views, prototypes]."""
        weight = self.prototypes.weight.detach() if self.held else self.prototypes.weight
        with torch.autocast(rows.device.type, enabled=False):
            return F.linear(rows, weight)
