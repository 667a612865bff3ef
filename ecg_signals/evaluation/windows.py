"""A record as several windows: what a model takes of it, and what its answers to them make together."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ecg_signals.config import ConfigError
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput
from ecg_signals.data.collation import padding_mask
from ecg_signals.evaluation.run import Answer
from ecg_signals.metrics.logits import joined_items
from ecg_signals.models.base import ModelOutput
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.record import Record
from ecg_signals.signal.windows import Cutting


def record_batches(contract: SignalContract, record: Record, size: int) -> Iterator[dict[str, Any]]:
    """The windows of one record as a model takes them, at most `size` a batch."""
    source, mask = contract.prepare(record, return_mask=True)
    parts = ({"source": source[at : at + size], "padding": mask[at : at + size]} for at in range(0, len(source), size))
    yield from model_batches(parts)


def crop_starts(lengths: Sequence[int], crop: int, draws: np.random.RandomState) -> list[int]:
    """One random start per window, the same for all its leads; 0 where a window is no longer than a crop."""
    return [int(draws.randint(0, length - crop)) if length > crop else 0 for length in lengths]


def crop_batches(
    batches: Iterable[dict[str, Tensor]], crop: int, count: int, draws: np.random.RandomState
) -> Iterator[dict[str, Tensor]]:
    """Each batch `count` times, every time with other random crops of its windows: test-time augmentation.

    Args:
        batches: `source` [windows, leads, samples], `found`, how many samples of each exist, and maybe `padding`.
        crop: samples per crop.
        draws: gives the starts.
    """
    for batch in batches:
        for _ in range(count):
            starts = crop_starts(batch["found"].tolist(), crop, draws)
            cut = dict(batch)
            for key in {"source", "padding"} & set(batch):
                cut[key] = torch.stack([window[:, at : at + crop] for window, at in zip(batch[key], starts)])
            yield cut


def model_batches(batches: Iterable[dict[str, Tensor]]) -> Iterator[dict[str, Any]]:
    """`source` and `padding`, where there is any, as the model takes them."""
    for batch in batches:
        net_input, padding = {"source": batch["source"]}, batch.get("padding")
        padded = padding is not None and bool(padding.any())
        yield {**batch, "net_input": {**net_input, "padding_mask": padding} if padded else net_input}


class Logits:
    """Consumes the logits of windows; several may be of one item, `id` of the batch, else all are of one."""

    def __init__(self) -> None:
        self.ids: list[Tensor] = []
        self.parts: list[Tensor] = []

    def __call__(self, answer: Answer) -> None:
        values, ids = answer.output["logits"].float().cpu(), answer.batch.get("id")
        self.ids.append(torch.zeros(len(values), dtype=torch.long) if ids is None else ids.cpu())
        self.parts.append(values)

    def windows(self) -> list[Tensor]:
        """[windows, labels] of every item, by number; windows of one item in the order in which they came."""
        ids, order = torch.cat(self.ids).sort(stable=True)
        counts = ids.unique_consecutive(return_counts=True)[1]
        return list(torch.cat(self.parts)[order].split(counts.tolist()))


class Pooled:
    """Consumes what the windows of one record are to a model's head."""

    def __init__(self) -> None:
        self.parts: list[Tensor] = []

    def __call__(self, answer: Answer) -> None:
        found = pooled_of(answer.output)
        if found is not None:
            self.parts.append(found.cpu())

    def mean(self) -> Tensor | None:
        """[dim] over all windows; None of a model that does not say it."""
        return torch.cat(self.parts).mean(dim=0) if self.parts else None


def pooled_of(output: Mapping[str, Any]) -> Tensor | None:
    """`pooled` [windows, dim] of a model's output, float32; None where it is no vector per window."""
    found = output.get("pooled")
    return found.float() if isinstance(found, Tensor) and found.dim() == 2 else None


def aggregate_crops(crops: Sequence[np.ndarray], rule: str) -> np.ndarray:
    """Random crops of the same items, [items, labels] each -> [items, labels]: the "max", else the mean."""
    stacked = torch.from_numpy(np.stack(crops))
    return (stacked.amax(dim=0) if rule == "max" else stacked.mean(dim=0)).numpy()


def by_windows(model: nn.Module, cutting: Cutting | None, kind: str | None) -> nn.Module:
    """The model as it answers items that are cut so; itself where they are not cut."""
    return model if cutting is None else Windowed(model, cutting, kind)


def judge_of_windows(criterion: BaseCriterion, cutting: Cutting | None) -> BaseCriterion:
    """The criterion as it judges such answers."""
    whole = cutting is None or cutting.rule == "mean_logits"
    return criterion if whole else cast(BaseCriterion, LossOfMeanLogits(criterion))


class Windowed(nn.Module):
    """A model that answers an item by its windows.

    Args:
        cutting: how items are cut.
        kind: what the logits are, see metrics/logits.py.
    """

    def __init__(self, model: nn.Module, cutting: Cutting, kind: str | None) -> None:
        super().__init__()
        self.model, self.cutting, self.kind = model, cutting, kind

    def forward(
        self,
        source: Tensor | None = None,
        padding_mask: Tensor | None = None,
        encoded: Mapping[str, Tensor] | None = None,
        counts: Tensor | None = None,
    ) -> ModelOutput:
        """-> `logits` [items, labels] of the joint answers, `mean_logits`, and the mean of `pooled` where there is any.

        Args:
            source: whole items [items, leads, samples], or their windows [items, windows, leads, samples].
            encoded: in their place what an encoder answered to all windows, of which every item has `counts`.
        Raises: ConfigError for a model whose logits are not one row per window.
        """
        if source is not None:
            windows, padding, each = cut(source, padding_mask, self.cutting)
            parts = [self._ask(*part) for part in portions(windows, padding, max(len(source), FEWEST))]
        else:
            assert counts is not None  # evaluation/features.py gives both
            parts, each = [self.model(encoded=encoded)], counts.tolist()
        items = torch.cat([part["logits"] for part in parts]).float().split(each)
        joined = [joined_items(items, rule, self.kind) for rule in (self.cutting.rule, "mean_logits")]
        output = ModelOutput(logits=joined[0], mean_logits=joined[1])
        pooled = [found for part in parts if (found := pooled_of(part)) is not None]
        if pooled:
            windows_of_items = torch.tensor(each, device=pooled[0].device)
            output["pooled"] = torch.segment_reduce(torch.cat(pooled), "mean", lengths=windows_of_items)
        return output

    def _ask(self, source: Tensor, padding: Tensor | None) -> Mapping[str, Any]:
        output: Mapping[str, Any] = self.model(source=source, padding_mask=padding)
        logits = output.get("logits")
        if not isinstance(logits, Tensor) or logits.dim() != 2 or len(logits) != len(source):
            raise ConfigError(
                "dataset.window_stride and window_count are for models that give a record one answer per label; "
                "set them to null"
            )
        return output


FEWEST = 64  # windows that a model is given at a time, at least


def cut(source: Tensor, mask: Tensor | None, cutting: Cutting) -> tuple[Tensor, Tensor | None, list[int]]:
    """Windows [windows, leads, samples], their padding if there is any, and how many every item has."""
    if source.dim() == 4:
        if mask is None:
            return source.flatten(0, 1), None, [source.shape[1]] * len(source)
        there = ~mask.all(dim=-1).all(dim=-1)  # [items, windows]; an item may have fewer than others
        mask = mask[there]
        return source[there], mask if bool(mask.any()) else None, there.sum(dim=1).tolist()
    samples, whole = cutting.samples, source.shape[-1]
    filled = [whole] * len(source) if mask is None else _filled(mask)
    starts = [cutting.starts(length) for length in filled]
    short = max(0, samples - whole)
    source = F.pad(source, (0, short)) if short else source
    windows = [item[:, at : at + samples] for item, own in zip(source, starts) for at in own]
    lengths = [min(length, samples) for length, own in zip(filled, starts) for _ in own]
    padding = padding_mask(lengths, source.shape[1], samples).to(source.device) if min(lengths) < samples else None
    return torch.stack(windows), padding, [len(own) for own in starts]


def _filled(mask: Tensor) -> list[int]:
    """Samples of every item in front of its padding, by a mask [items, (leads,) samples]."""
    found: list[int] = (~mask.reshape(len(mask), -1, mask.shape[-1])[:, 0]).sum(dim=-1).tolist()
    return found


def portions(windows: Tensor, padding: Tensor | None, size: int) -> Iterator[tuple[Tensor, Tensor | None]]:
    """At most `size` windows and their padding at a time."""
    for at in range(0, len(windows), size):
        yield windows[at : at + size], None if padding is None else padding[at : at + size]


class LossOfMeanLogits(nn.Module):
    """A criterion that takes its statistics from the joint answer, and its loss from the windows' mean logits."""

    def __init__(self, criterion: BaseCriterion) -> None:
        super().__init__()
        self.criterion, self.averaged = criterion, criterion.averaged

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        said = model(**batch["net_input"])
        judged = self.criterion(lambda **_: said, batch)
        mean = self.criterion(lambda **_: ModelOutput(said, logits=said["mean_logits"]), batch)
        losses = {key: value for key, value in mean.logs.items() if key.startswith("loss")}
        return replace(judged, loss=mean.loss, logs={**judged.logs, **losses})
