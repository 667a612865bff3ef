"""SwAV: views of an ECG are assigned to prototypes evenly, and each is to predict the other's assignment."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, option
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput
from ecg_signals.criteria.contrastive import two_views
from ecg_signals.criteria.labels import logged, sample_size_of
from ecg_signals.registry import register_criterion
from ecg_signals.runtime.collectives import gather_with_place


@dataclass
class SwavCriterionConfig(BaseConfig):
    temp: float = option(0.1, "temperature of the softmax over prototypes", above=0)
    epsilon: float = option(0.05, "how soft the assignment is", above=0)
    sinkhorn_iterations: int = option(3, "rounds in which prototypes and views are evened out", least=1)


@register_criterion("swav", dataclass=SwavCriterionConfig)
class SwavCriterion(BaseCriterion):
    """Cross entropy between assignments of the two views and every other view's softmax over prototypes.

    Averaged over pairs of views, summed over ECGs; `sample_size` counts ECGs. The two views are assigned with those of
    all ranks and of the model's queues. Source: Caron et al. 2020, arXiv:2006.09882.
    """

    dataset = "perturbed_views"
    cfg: SwavCriterionConfig

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        """batch: may hold `small` [items, n, leads, samples], shorter views, which are not assigned."""
        more = {"small": batch["small"]} if "small" in batch else {}
        output = model(**batch["net_input"], **more, compare=True)
        queues = output.get("queued", (None, None))
        assigned = two_views(output["scores"].float())
        views = [*assigned, *(output["small_scores"].float().unbind(1) if more else ())]
        likely = [(view / self.cfg.temp).log_softmax(dim=1) for view in views]
        losses = []
        for number, (view, queued) in enumerate(zip(assigned, queues)):
            target = self.assign(view.detach(), queued)
            losses += [-(target * other).sum() for place, other in enumerate(likely) if place != number]
        loss = torch.stack(losses).sum() / len(losses)
        return CriterionOutput(loss, sample_size_of(batch, len(assigned[0])), logged(loss, batch))

    def assign(self, scores: Tensor, queued: Tensor | None) -> Tensor:
        """Scores [items, prototypes] -> shares of that form, evened out over all ranks' items and the queue's."""
        every, first = gather_with_place(scores) if self.training else (scores, 0)
        counted = every.new_ones(len(every), 1)
        if queued is not None:  # once it is full, as published
            every = torch.cat([every, queued.float()])
            counted = torch.cat([counted, queued.any(dim=1, keepdim=True).all().expand(len(queued), 1).to(counted)])
        return sinkhorn(every, self.cfg.epsilon, self.cfg.sinkhorn_iterations, counted)[first : first + len(scores)]


def sinkhorn(scores: Tensor, epsilon: float, iterations: int, counted: Tensor | None = None) -> Tensor:
    """[rows, prototypes] -> shares that sum to 1 in a row, and to nearly the same for every prototype.

    Args:
        counted: [rows, 1], 1 or 0; rows that do not count get no share and move no other's.
    Source: Cuturi 2013, Sinkhorn Distances, arXiv:1306.0895.
    """
    smallest = torch.finfo(scores.dtype).tiny
    shares = ((scores - scores.max()) / epsilon).exp() * (1.0 if counted is None else counted)
    for _ in range(iterations):
        shares = shares / shares.sum(dim=0, keepdim=True).clamp(min=smallest)
        shares = shares / shares.sum(dim=1, keepdim=True).clamp(min=smallest)
    return shares
