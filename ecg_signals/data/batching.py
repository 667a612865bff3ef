"""Which items form which batch, in what order, and the loader that reads them: all a function of (seed, epoch).

A batch is known by its global number inside the epoch, whatever the number of loading processes or ranks, so a run
can stop after any batch and go on elsewhere. Rank r of W takes the global batches start + r, start + r + W, ...
"""

import math
import mmap
from collections.abc import Iterator, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from ecg_signals.config import ConfigError
from ecg_signals.data.loading import Collated, Items, begin_process, end_processes, opened, received

Batch = dict[str, Any]


def ordered_indices(
    lengths: np.ndarray, seed: int, *, shuffle: bool = True, longest_first: bool = True
) -> np.ndarray:
    """Items from the longest to the shortest, equal lengths in random order; without `shuffle` in manifest order.

    Args:
        lengths: [items] samples, of which no more are counted than items are cropped to.
        longest_first: False for items in random order, whatever their lengths.
    Returns: [items] int32, int64 where there are too many for it.
    """
    dtype = np.int32 if len(lengths) <= np.iinfo(np.int32).max else np.int64
    if not shuffle:
        return np.arange(len(lengths), dtype=dtype)
    random = np.random.RandomState(seed).permutation(len(lengths))
    if not longest_first:
        return random.astype(dtype)
    order = np.empty(len(lengths), dtype=dtype)
    order[random] = np.arange(len(lengths), dtype=dtype)  # the items by their random numbers
    del random
    if len(lengths) and lengths.min() < lengths.max():
        order = order[np.argsort(lengths[order], kind="stable")]
    return order[::-1]


def in_shared_memory(values: np.ndarray) -> np.ndarray:
    """A copy that loading processes, forked later, never come to own, whatever becomes of it here."""
    if not len(values):
        return values
    out = np.frombuffer(mmap.mmap(-1, values.nbytes), dtype=values.dtype)
    out[:] = values
    return out


def batch_by_size(
    sizes: np.ndarray, *, batch_size: int | None = None, max_tokens: int | None = None, multiple: int = 1
) -> np.ndarray:
    """Cut items, taken in order, into batches: at most `batch_size` items and `max_tokens` = longest x items.

    A batch ends behind an item whose number in the batch is below `multiple` or divisible by it; what follows that
    item starts the next batch, also behind the last one.

    Args:
        sizes: [items] samples, in the order in which items are taken.
    Returns: [batches] int64, the number of items in all batches up to and including this one.
    Raises: ConfigError when one item alone exceeds `max_tokens`.
    """
    if len(sizes) == 0:
        return np.zeros(0, dtype=np.int64)
    longest = int(sizes.max())
    if max_tokens is not None and longest > max_tokens:
        raise ConfigError(
            f"an item of {longest} samples does not fit into dataset.max_tokens={max_tokens}; raise max_tokens to at "
            f"least {longest}, or set task.max_sample_size={max_tokens} to crop items"
        )
    limit = len(sizes) if batch_size is None else batch_size
    if max_tokens is None or longest * limit <= max_tokens:
        return _cut_evenly(len(sizes), limit, multiple)
    if int(sizes.min()) == longest:
        return _cut_evenly(len(sizes), min(limit, max_tokens // longest), multiple)
    return _cut_greedily(sizes, limit, max_tokens, multiple)


def _cut_evenly(items: int, limit: int, multiple: int) -> np.ndarray:
    """Batch ends when only the number of items limits a batch."""
    size = limit if limit < multiple else limit // multiple * multiple
    full = max(0, -(-(items - limit) // size))  # batches that more than `limit` remaining items force to end
    rest = items - full * size
    last = [items - rest % multiple] if rest >= multiple and rest % multiple else []
    return np.concatenate([np.arange(size, full * size + 1, size), [*last, items]]).astype(np.int64)


def _cut_greedily(sizes: np.ndarray, limit: int, max_tokens: int, multiple: int) -> np.ndarray:
    """Batch ends for items of any length: one pass that remembers where the open batch could last have ended."""
    ends: list[int] = []
    start = whole = 0  # the open batch starts at `start` and may end at `whole`
    longest_whole = longest_tail = 0  # longest item of [start, whole) and of [whole, position)
    for position, size in enumerate(sizes.tolist()):
        longest_tail = max(longest_tail, size)
        longest = max(longest_whole, longest_tail)
        count = position + 1 - start
        if count <= limit and count * longest <= max_tokens:
            if count < multiple or count % multiple == 0:
                whole, longest_whole, longest_tail = position + 1, longest, 0
            continue
        ends.append(whole)
        start = whole
        if longest_tail * (position + 1 - start) > max_tokens:  # the tail alone is too much: it is a batch of its own
            ends.append(position)
            start, longest_tail = position, size
        whole, longest_whole, longest_tail = position + 1, longest_tail, 0
    if whole < len(sizes):
        ends.append(whole)
    return np.array([*ends, len(sizes)], dtype=np.int64)


@dataclass
class EpochPlan:
    """The batches of one epoch in the order in which they are read.

    Attributes:
        indices: [items] items in the order in which batches were cut.
        starts, stops: [batches] batch n is `indices[starts[n]:stops[n]]`.
        draws: [items] how often an item was drawn before in this epoch; None where each comes once.
    """

    indices: np.ndarray
    starts: np.ndarray
    stops: np.ndarray
    draws: np.ndarray | None = None

    def __post_init__(self) -> None:
        self.samples = np.concatenate([[0], np.cumsum(self.stops - self.starts)])  # items in the first n batches

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, number: int) -> np.ndarray:
        return self.indices[self.starts[number] : self.stops[number]]

    def drawn(self, number: int) -> list[tuple[int, int]]:
        """The items of a batch, each with its draw."""
        indices, where = self[number].tolist(), slice(self.starts[number], self.stops[number])
        return list(zip(indices, [0] * len(indices) if self.draws is None else self.draws[where].tolist()))


@dataclass(eq=False)
class BatchIterator:
    """A dataset's batches, epoch by epoch, from any global batch on.

    Epoch 1 is composed with `seed`, epoch e with seed + e - 1 (`redraw=False`: all with `seed`); the order of the
    batches is drawn with seed + epoch. Loading processes live as long as the iterator.

    Args:
        dataset: items, sizes and collate (data/datasets/base.py, which names the iterator of its batches).
        batch_size: items per batch; None for no limit.
        max_tokens: longest item x items per batch; None for no limit.
        required_batch_size_multiple: larger batch sizes are rounded down to a multiple of it.
        seed: `common.seed`.
        shuffle: False: manifest order, every epoch alike.
        drop_last: leave out a last batch of less than `batch_size` items, unless it is the only one.
        curriculum: in epochs up to this one batches run from long to short.
        num_workers: loading processes; 0 loads in this one.
        buffer: batches loaded ahead, over all loading processes.
        rank, world_size: this process among those that share the epoch.
        pin_memory: batches lie in page-locked memory, for asynchronous copies to a GPU.
    """

    dataset: Any
    _: KW_ONLY
    batch_size: int | None = None
    max_tokens: int | None = None
    required_batch_size_multiple: int = 1
    seed: int = 1
    shuffle: bool = True
    redraw: bool = True
    drop_last: bool = False
    curriculum: int = 0
    num_workers: int = 0
    buffer: int = 10
    rank: int = 0
    world_size: int = 1
    pin_memory: bool = False

    def __post_init__(self) -> None:
        if self.batch_size is None and self.max_tokens is None:
            raise ConfigError("no batch size: set dataset.batch_size=ITEMS or dataset.max_tokens=SAMPLES")
        for key in ("batch_size", "max_tokens", "required_batch_size_multiple"):
            if getattr(self, key) is not None and getattr(self, key) < 1:
                raise ConfigError(f"dataset.{key} is {getattr(self, key)}; it must be at least 1")
        if len(self.dataset) == 0:
            raise ConfigError(
                f"{self.dataset.path} holds no items; every manifest needs at least one row that is long enough"
            )
        self._plan: tuple[int, EpochPlan] | None = None
        self._first: Batch | None = None
        self._items = _EpochItems(self.dataset)
        self._requests = _Requests()
        self._loader = DataLoader(
            self._items,
            batch_sampler=self._requests,
            collate_fn=Collated(self.dataset.collate),
            num_workers=self.num_workers,
            prefetch_factor=max(1, math.ceil(self.buffer / self.num_workers)) if self.num_workers else None,
            persistent_workers=self.num_workers > 0,
            pin_memory=self.pin_memory,
            worker_init_fn=begin_process,
            generator=torch.Generator(),  # keeps the loader from drawing from torch's global generator
        )

    def plan(self, epoch: int) -> EpochPlan:
        """The epoch's batches; the latest one is kept."""
        if self._plan is None or self._plan[0] != epoch:
            self._plan = (epoch, self._compose(epoch))
        return self._plan[1]

    def _compose(self, epoch: int) -> EpochPlan:
        sizes = np.asarray(self.dataset.sizes)
        limit = self.dataset.longest
        lengths = sizes if limit is None else np.minimum(sizes, limit)
        seed = self.seed + epoch - 1 if self.redraw else self.seed
        longest_first = getattr(self.dataset, "longest_first", True)
        indices = ordered_indices(lengths, seed, shuffle=self.shuffle, longest_first=longest_first)
        stops = batch_by_size(
            lengths[indices],
            batch_size=self.batch_size,
            max_tokens=self.max_tokens,
            multiple=self.required_batch_size_multiple,
        )
        starts = np.concatenate([[0], stops[:-1]])
        if self.drop_last and len(stops) > 1 and stops[-1] - starts[-1] < (self.batch_size or 0):
            starts, stops = starts[:-1], stops[:-1]
        if self.shuffle and epoch > self.curriculum:
            order = np.arange(len(stops))
            np.random.RandomState(self.seed + epoch).shuffle(order)
            starts, stops = starts[order], stops[order]
        return EpochPlan(in_shared_memory(indices) if self.num_workers else indices, starts, stops)

    def num_batches(self, epoch: int) -> int:
        """Global batches of the epoch, over all ranks."""
        return len(self.plan(epoch))

    def samples_before(self, epoch: int, number: int) -> int:
        """Items in the epoch's first `number` global batches: the position to store."""
        plan = self.plan(epoch)
        return int(plan.samples[min(number, len(plan))])

    def batch_at(self, epoch: int, samples: int) -> int:
        """The global batch at which `samples` items of the epoch have been read; the inverse of `samples_before`.

        After a change of batch size the batch that holds item number `samples`, so that none is left out.
        """
        return int(np.searchsorted(self.plan(epoch).samples, samples, side="right")) - 1

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch | None]:
        """This rank's batches from global batch `start` on; None fills the last round where ranks run out."""
        plan = self.plan(epoch)
        rounds = math.ceil(max(0, len(plan) - start) / self.world_size)
        numbers = range(start + self.rank, len(plan), self.world_size)
        self._requests.queue = (epoch, plan, numbers)
        loaded = received(self._loader)
        for round_number in range(rounds):
            yield next(loaded) if round_number < len(numbers) else None

    def first_batch(self) -> Batch:
        """The first batch of epoch 1, loaded once in this process: what a rank without a batch computes on."""
        if self._first is None:
            items = self._items.__getitems__([(1, *item) for item in self.plan(1).drawn(0)])
            self._first = opened(Collated(self.dataset.collate)(items))
        return self._first

    def close(self) -> None:
        """End the loading processes."""
        end_processes(self._loader)


class WeightedIterator(BatchIterator):
    """Batches drawn with replacement and without end: first a group of items by its weight, then an item uniformly.

    An epoch is `batches_per_epoch` batches, drawn from (seed, epoch) alone. An item that is drawn again in an epoch has
    random numbers of its own (`dataset.draw`).

    Args:
        dataset: holds the groups one behind the other.
        group_sizes: items of every group.
        weights: chance of every group; any non-negative numbers, made to sum to 1.
        batch_size: items per batch, needed.
        batches_per_epoch: None: as many as hold len(dataset) items.
        others: as for BatchIterator.
    """

    def __init__(
        self,
        dataset: Any,
        *,
        group_sizes: Sequence[int],
        weights: Sequence[float],
        batch_size: int | None,
        batches_per_epoch: int | None = None,
        **others: Any,
    ) -> None:
        if batch_size is None:
            raise ConfigError("items are drawn by weight, so many a batch: set dataset.batch_size=ITEMS")
        super().__init__(dataset, batch_size=batch_size, **others)
        shares = np.asarray(weights, dtype=np.float64)
        if len(shares) != len(group_sizes) or not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() <= 0:
            raise ConfigError(
                f"dataset weights are {list(weights)} for {len(group_sizes)} groups; expected one number per group, "
                f"none negative and at least one above 0"
            )
        if sum(group_sizes) != len(dataset) or (np.asarray(group_sizes)[shares > 0] < 1).any():
            raise ConfigError(
                f"groups of {list(group_sizes)} items do not make up the {len(dataset)} items of {dataset.path}, or "
                f"one with a weight is empty; give every group its own manifest rows"
            )
        self.group_sizes = np.asarray(group_sizes)
        self.weights = shares / shares.sum()
        self.batches_per_epoch = batches_per_epoch or math.ceil(len(dataset) / batch_size)

    def _compose(self, epoch: int) -> EpochPlan:
        size, count = self.batch_size or 1, self.batches_per_epoch
        rng = np.random.Generator(np.random.Philox(key=[self.seed, 0x3E16], counter=[0, 0, 0, epoch]))
        group = rng.choice(len(self.weights), size=size * count, p=self.weights)
        first = np.cumsum(self.group_sizes) - self.group_sizes
        indices = first[group] + (rng.random(size * count) * self.group_sizes[group]).astype(np.int64)
        starts = np.arange(count) * size
        return EpochPlan(indices, starts, starts + size, _draws(indices))


def _draws(indices: np.ndarray) -> np.ndarray:
    """[items] how often the same index stands before."""
    order = np.argsort(indices, kind="stable")
    ordered = indices[order]
    first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    places = np.arange(len(indices))
    draws = np.empty_like(places)
    draws[order] = places - np.maximum.accumulate(np.where(first, places, 0))
    return draws


class _Requests:
    """The batch sampler: the items of every batch wanted next, each with its epoch and its draw."""

    queue: tuple[int, EpochPlan, Sequence[int]] | None = None

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        if self.queue is None:
            return
        epoch, plan, numbers = self.queue
        for number in numbers:
            yield [(epoch, *item) for item in plan.drawn(number)]


class _EpochItems(Items):
    """The dataset as the loader sees it: items by (epoch, index, draw)."""

    def read(self, wanted: Sequence[tuple[int, int, int]]) -> list[Any]:
        if wanted and wanted[0][0] != self.dataset.epoch:
            self.dataset.set_epoch(wanted[0][0])
        self.fetch([index for _, index, _ in wanted])
        items = []
        for _, index, draw in wanted:
            self.dataset.draw = draw
            items.append(self.dataset[index])
        self.dataset.draw = 0
        return items
