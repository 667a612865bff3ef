"""Shared memory that a loading process hands batches over in, filled again and again.

Fresh shared memory costs more than all else that a loading process does: the kernel clears and maps it page by page,
for every batch. So a loading process keeps a few blocks, writes items to where the batch will have them, and sends
only where its tensors lie. A block is filled again once nothing in either process looks at it, neither the batch nor
an array made from it; whoever keeps batches gets further ones in fresh memory. The system frees blocks with the
processes that map them, however these end: they have no names in /dev/shm.
"""

import itertools
import math
import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals.runtime.nested import on_each

HEAD = 64  # bytes before the content, which begins aligned; the first is 1 while the receiver looks at it
MOST = 32  # blocks of a loading process; more batches than that are not on their way
STEP = 1 << 20  # sizes are multiples of it, so that batches of nearly one length share a block
NO_ROOM = (RuntimeError, OSError)  # no space left on /dev/shm, or no more open files
_EMPTY = np.empty(0, dtype=np.uint8)


@dataclass
class Place:
    """A tensor in a block: its first byte in the content, and how it is read."""

    first: int
    shape: torch.Size
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Block:
    """A block in one process. `content` makes an array of it; while that or one made of it lives, it is in use here."""

    def __init__(self, storage: torch.UntypedStorage) -> None:
        self.storage = storage
        self._bytes = torch.empty(0, dtype=torch.uint8).set_(storage).numpy()
        self._content: weakref.ref[np.ndarray] | None = None

    @property
    def size(self) -> int:
        return len(self._bytes) - HEAD

    def content(self) -> np.ndarray:
        """[size] uint8."""
        # Arrays made of an array refer to it, not to what it was made of, only where that is no array itself.
        found = np.frombuffer(self._bytes.data[HEAD:], dtype=np.uint8)
        self._content = weakref.ref(found)
        return found

    def free(self) -> bool:
        """Whether neither process looks at it."""
        return (self._content is None or self._content() is None) and not self._bytes[0]

    def lend(self) -> None:
        self._bytes[0] = 1

    def received(self) -> np.ndarray:
        """`content` in the receiving process, which gives the block back when nothing of it is left."""
        found = self.content()
        weakref.finalize(found, _give_back, self._bytes, os.getpid()).atexit = False
        return found


def _give_back(block: np.ndarray, receiver: int) -> None:
    if os.getpid() == receiver:  # not in a process forked from it, whose arrays end, too
        block[0] = 0


class Filling:
    """The blocks of a loading process, one of which takes the batch that is being made."""

    def __init__(self) -> None:
        self._blocks: dict[int, Block] = {}
        self._sent: set[int] = set()  # the blocks that the receiver has mapped
        self._wanted = 0  # bytes of the largest batch so far
        self._direct = True  # items are written to where the batch has them
        self._reset()

    def _reset(self) -> None:
        self._number: int | None = None
        self._content = _EMPTY
        self._used = self._of_items = self._of_batch = 0  # bytes: of the block, and asked for
        self._short = False  # an item found no room

    def begin(self) -> None:
        """A batch is to be made."""
        self._wanted = max(self._wanted, self._of_batch + (0 if self._short else self._of_items))
        self._reset()
        self._number = self._free_block() if self._wanted else None
        if self._number is not None:
            self._content = self._blocks[self._number].content()

    def _free_block(self) -> int | None:
        """A block that is free and large enough, a new one where there is none; None where there is no room."""
        free = [number for number, block in self._blocks.items() if block.free()]
        for number in free:
            if self._blocks[number].size >= self._wanted:
                return number
        if not free and len(self._blocks) >= MOST:
            return None
        number = free[0] if free else next(new for new in itertools.count() if new not in self._blocks)
        self._blocks.pop(number, None)
        self._sent.discard(number)
        try:
            storage = torch.UntypedStorage._new_shared(HEAD + -(-self._wanted // STEP) * STEP)
        except NO_ROOM:
            return None
        self._blocks[number] = Block(storage)
        return number

    def item(self, shape: Sequence[int]) -> np.ndarray | None:
        """Room for a signal of an item, float32, next to that of the item before; None where there is none."""
        if self._number is None or not self._direct or self._of_batch:
            return None
        found = self._cut(math.prod(shape) * 4)
        self._short |= found is None
        self._of_items = self._used
        return None if found is None else found.view(np.float32).reshape(shape)

    def array(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor | None:
        """Room for a part of the batch; None where there is none."""
        size = math.prod(shape) * dtype.itemsize
        self._used = -(-self._used // HEAD) * HEAD
        self._of_batch += size + HEAD
        first = self._used
        return self._tensor(Place(first, torch.Size(shape), dtype)) if self._cut(size) is not None and size else None

    def _cut(self, size: int) -> np.ndarray | None:
        if self._used + size > len(self._content):
            return None
        self._used += size
        return self._content[self._used - size : self._used]

    def _tensor(self, place: Place) -> Tensor:
        return tensor_at(self._content, place)

    def joined(self, signals: Sequence[Tensor]) -> Tensor | None:
        """Items [...], as a batch [items, ...], where they lie one behind the other already; else None."""
        first, size = signals[0], signals[0].nbytes
        place = self._place(first)
        if place is None or not size or place.first + size * len(signals) > self._of_items:
            return None
        start, shape, dtype = first.data_ptr(), first.shape, first.dtype
        for number, signal in enumerate(signals):
            if signal.data_ptr() != start + number * size or signal.shape != shape or signal.dtype != dtype:
                return None
            if not signal.is_contiguous():
                return None
        return self._tensor(Place(place.first, torch.Size([len(signals), *shape]), dtype))

    def _place(self, tensor: Tensor) -> Place | None:
        """Where a tensor lies in the block; None for one that does not, or not in one piece."""
        first = tensor.data_ptr() - self._content.ctypes.data
        inside = self._number is not None and first >= 0 and first + tensor.nbytes <= len(self._content)
        return Place(first, tensor.shape, tensor.dtype) if inside and tensor.is_contiguous() else None

    def lend(self, batch: Any, receiver: str) -> Any:
        """What to send of a batch, whose tensors now lie in the block as far as there is room. Raises: NO_ROOM."""
        sent = on_each(batch, Tensor, self._placed)
        number, places = self._number, list[Place]()
        on_each(sent, Place, places.append)
        if number is None:
            return sent
        of_items = sum(place.bytes for place in places if place.first < self._of_items)
        if of_items < self._of_items and not self._short:  # what becomes of items is not what was written here
            self._direct = False
        block = self._blocks[number]
        storage = None if number in self._sent else block.storage
        self._sent.add(number)
        block.lend()
        return Lent(receiver, number, storage, sent)

    def _placed(self, tensor: Tensor) -> Any:
        if not tensor.numel():
            return tensor
        plain = type(tensor) is Tensor and tensor.is_cpu and tensor.layout == torch.strided and tensor.is_contiguous()
        if not plain or tensor.requires_grad or tensor.is_complex():
            return tensor.share_memory_()
        place = self._place(tensor)
        if place is None:
            room = self.array(tensor.shape, tensor.dtype)
            if room is None:
                return tensor.share_memory_()
            place = self._place(room.copy_(tensor))
        return place


filling: Filling | None = None  # in a loading process that `begin_filling` was called in


def begin_filling() -> None:
    global filling
    filling = Filling()


def item_array(shape: Sequence[int]) -> np.ndarray:
    """Room for a signal of an item, float32, not yet filled."""
    found = None if filling is None else filling.item(shape)
    return np.empty(shape, dtype=np.float32) if found is None else found


@dataclass
class Lent:
    """A batch on its way: what is unpickled is the batch itself."""

    receiver: str
    number: int
    storage: torch.UntypedStorage | None
    batch: Any

    def __reduce__(self) -> tuple[Any, ...]:
        return arrived, (self.receiver, (os.getpid(), self.number), self.storage, self.batch)


class Receiver:
    """The blocks of a loader's processes in the process that receives its batches. Elsewhere only its name counts."""

    def __init__(self) -> None:
        self.name = f"{os.getpid()}-{next(_numbers)}"
        self.blocks: dict[tuple[int, int], Block] = {}
        _receivers[self.name] = self

    def __getstate__(self) -> dict[str, Any]:
        return {"name": self.name, "blocks": {}}


_numbers = itertools.count()
_receivers: weakref.WeakValueDictionary[str, Receiver] = weakref.WeakValueDictionary()


def arrived(name: str, number: tuple[int, int], storage: torch.UntypedStorage | None, batch: Any) -> Any:
    """The batch that `Lent` stands for; None where its loader is no more."""
    receiver = _receivers.get(name)
    if receiver is None:
        return None
    if storage is not None:
        receiver.blocks[number] = Block(storage)
    content = receiver.blocks[number].received()
    return on_each(batch, Place, lambda place: tensor_at(content, place))


def tensor_at(content: np.ndarray, place: Place) -> Tensor:
    count = math.prod(place.shape)
    return torch.frombuffer(content, dtype=place.dtype, count=count, offset=place.first).view(place.shape)
