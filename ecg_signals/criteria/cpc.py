"""CPC: which frame comes so many frames later, among others drawn at random."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.criteria.base import CountingCriterion, CriterionOutput
from ecg_signals.criteria.contrastive import hide
from ecg_signals.criteria.labels import logged, sample_size_of
from ecg_signals.registry import register_criterion
from ecg_signals.runtime.batch import sent

MOST = 1 << 26  # products of frames that are held at a time


@dataclass
class CpcCriterionConfig(BaseConfig):
    steps_predicted: int = option(12, "how many frames later the frame is that is told from others", least=1)
    negatives_per_frame: int = option(128, "others per frame, drawn anew for every one", least=1)
    negatives: str = option(
        "batch", "where others come from: all items, or the item itself", choices=("batch", "sequence")
    )


@register_criterion("cpc", dataclass=CpcCriterionConfig)
class CpcCriterion(CountingCriterion):
    """Cross entropy summed over frames and items; `sample_size` counts items.

    Source: van den Oord et al. 2018, Representation Learning with Contrastive Predictive Coding, arXiv:1807.03748, with
    the single step of Mehari and Strodthoff 2022, arXiv:2103.12676.
    """

    cfg: CpcCriterionConfig

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        """batch: net_input, which may hold `neg_draws` int64 [frames - steps_predicted, items * negatives_per_frame].

        Each is a number below frames - 1, or, with negatives=batch, below items * (frames - 1): see `places`.
        Raises: ConfigError for segments with too few frames.
        """
        net_input = dict(batch["net_input"])
        draws = net_input.pop("neg_draws", None)
        output = model(**net_input)
        encoded, predicted, padding = output["encoded"], output["predicted"], output.get("padding_mask")
        items, frames = encoded.shape[:2]
        if frames <= self.cfg.steps_predicted:
            raise ConfigError(
                f"a batch has {frames} frames per item, and criterion.steps_predicted={self.cfg.steps_predicted}; give "
                f"longer segments or set criterion.steps_predicted to less"
            )
        draws = self.draw(items, frames) if draws is None else draws
        logits = self.compared(encoded, predicted, sent(draws, encoded.device), padding)
        counted = torch.ones_like(logits[..., 0])  # [items, frames - steps_predicted]
        if padding is not None:
            counted = (~padding[:, self.cfg.steps_predicted :]).to(logits)
        loss = ((logits.logsumexp(dim=-1) - logits[..., 0]) * counted).sum()
        correct = ((logits.argmax(dim=-1) == 0) * counted).sum()
        logs = logged(loss, batch, correct=correct.detach(), count=counted.sum())
        return CriterionOutput(loss, sample_size_of(batch, items), logs)

    def draw(self, items: int, frames: int) -> Tensor:
        """From torch's CPU generator."""
        among = (frames - 1) * (items if self.cfg.negatives == "batch" else 1)
        return torch.randint(among, (frames - self.cfg.steps_predicted, items * self.cfg.negatives_per_frame))

    def places(self, draws: Tensor, items: int, frames: int) -> Tensor:
        """Draws -> rows of [items * frames]: int64 [items, frames - steps_predicted, negatives_per_frame].

        A draw modulo frames - 1 is a frame, but the one that is to be told and those behind it are one frame later; it
        lies in the item itself, or in the one that the draw over frames - 1 names.
        """
        drawn = draws.unflatten(1, (items, -1)).transpose(0, 1)
        asked = torch.arange(len(draws), device=draws.device)[:, None] + self.cfg.steps_predicted
        frame = drawn % (frames - 1)
        own = torch.arange(items, device=draws.device)[:, None, None].expand_as(drawn)
        item = torch.div(drawn, frames - 1, rounding_mode="floor") if self.cfg.negatives == "batch" else own
        return item * frames + frame + (frame >= asked)

    def compared(self, encoded: Tensor, predicted: Tensor, draws: Tensor, padding: Tensor | None) -> Tensor:
        """float32 [items, frames - steps_predicted, 1 + negatives], the frame to be told first; padding is hidden."""
        (items, frames), later = encoded.shape[:2], self.cfg.steps_predicted
        rows = self.places(draws, items, frames)
        with torch.autocast(encoded.device.type, enabled=False):
            z, p = encoded.float(), predicted[:, : frames - later].float()
            positive = (p * z[:, later:]).sum(dim=-1, keepdim=True)
            negative = self._products(p, z, rows)
        if padding is not None:
            negative = hide(negative, padding.flatten()[rows])
        return torch.cat([positive, negative], dim=-1)

    def _products(self, p: Tensor, z: Tensor, rows: Tensor) -> Tensor:
        """p [items, steps, dim] times the frames `rows` [items, steps, negatives] of z, by matrix products."""
        items, frames = z.shape[:2]
        if self.cfg.negatives == "sequence":
            return (p @ z.transpose(1, 2)).gather(2, rows % frames)
        steps = max(1, MOST // (items * items * frames))
        every = z.flatten(0, 1).T  # [dim, items * frames]
        parts = zip(p.split(steps, dim=1), rows.split(steps, dim=1))
        return torch.cat([(part @ every).gather(2, place) for part, place in parts], dim=1)
