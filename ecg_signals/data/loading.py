"""Between loading processes and the one that trains: shared memory that is short, errors, and processes that die.

PyTorch hands batches over in shared memory. Where that is full, it prints a traceback in a thread of the loading
process and the batch never arrives: training waits for ever. Here a loading process takes the shared memory itself, and
sends the batch through the pipe where there is too little.
"""

import errno
import logging
import multiprocessing
import os
import pickle
import re
import shutil
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ecg_signals.config import ConfigError
from ecg_signals.data import blocks
from ecg_signals.processes import ending, handling

logger = logging.getLogger(__name__)

KEPT_BYTES = 31 << 20  # glibc's rule ends at 32 MiB
SHARED_MEMORY = Path("/dev/shm")
_told: set[str] = set()  # what was warned of: once for the whole process
FEWER = "Lower dataset.num_workers or dataset.data_buffer_size, or load in the main process: dataset.num_workers=0"


@dataclass
class Failure:
    """A ConfigError on its way out of a loading process, which would otherwise arrive as a traceback."""

    error: ConfigError


@dataclass
class Piped:
    """A batch for which there was no shared memory, pickled."""

    content: bytes


class Items(Dataset[Any]):
    """A dataset whose ConfigErrors survive the way out of a loading process."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __getitems__(self, wanted: Sequence[Any]) -> list[Any]:
        if blocks.filling is not None:
            blocks.filling.begin()
        try:
            return self.read(wanted)
        except ConfigError as error:
            return [Failure(error)]

    def read(self, wanted: Sequence[Any]) -> list[Any]:
        self.fetch(wanted)
        return [self.dataset[index] for index in wanted]

    def fetch(self, indices: Sequence[Any]) -> None:
        """Before items are asked for one by one, for datasets that have them on a server."""
        if hasattr(self.dataset, "fetch"):
            self.dataset.fetch(indices)

    def __len__(self) -> int:
        return len(self.dataset)


class Collated:
    """The collate_fn of a loader: makes the batch, and in a loading process readies it for the way out."""

    def __init__(self, collate: Callable[[Sequence[Any]], Any]) -> None:
        self.collate, self.receiver = collate, blocks.Receiver()

    def __call__(self, items: Sequence[Any]) -> Any:
        if items and isinstance(items[0], Failure):
            return items[0]
        try:
            batch = self.collate(items)
        except ConfigError as error:
            return Failure(error)
        if blocks.filling is None:
            return batch
        try:
            return blocks.filling.lend(batch, self.receiver.name)
        except blocks.NO_ROOM:
            return Piped(pickle.dumps(batch, protocol=pickle.HIGHEST_PROTOCOL))


def received(loader: DataLoader) -> Iterator[Any]:
    """The loader's batches. Raises: ConfigError from a loading process, or about one that died."""
    batches: Any = None
    try:
        batches = iter(loader if _can_start(loader) else _in_this_process(loader))
        for batch in batches:
            yield opened(batch)
    except RuntimeError as error:
        # PyTorch's handler raises the same error again for each loading process that ends, anywhere.
        with handling({signal.SIGCHLD: signal.SIG_DFL}):
            death = loader_death(error, [worker.exitcode for worker in getattr(batches, "_workers", [])])
            if death is None:
                raise
            batches._shutdown_workers()
        raise death from None
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EAGAIN):
            raise
        raise ConfigError(f"the loading processes cannot be started or reached: {error.strerror}. {FEWER}") from None


def end_processes(loader: DataLoader) -> None:
    """End a loader's processes; it starts others when it is read again. Left to garbage collection, where a loader is
    part of a cycle, the queues go first, and each process waits 5 s for a word from them."""
    running = getattr(loader, "_iterator", None)
    if running is not None:
        running._shutdown_workers()
        loader._iterator = None
        if isinstance(loader.collate_fn, Collated):
            loader.collate_fn.receiver.blocks.clear()


def _can_start(loader: DataLoader) -> bool:
    """Whether the system has room for what a loader's processes need; PyTorch would fail half-way, with a traceback."""
    if loader.num_workers == 0 or getattr(loader, "_iterator", None) is not None:  # running since an earlier epoch
        return True
    context = multiprocessing.get_context()
    try:
        del [context.Lock() for _ in range(4 * loader.num_workers + 8)][:]
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True


def _in_this_process(loader: DataLoader) -> DataLoader:
    _say_short("no loading process can be started, so items are read in the main process, which is slower")
    sampler, generator = loader.batch_sampler, loader.generator  # its own, so that training draws the same numbers
    return DataLoader(loader.dataset, batch_sampler=sampler, collate_fn=loader.collate_fn, generator=generator)


def opened(batch: Any) -> Any:
    """What a loading process sent, as the batch it is."""
    if isinstance(batch, Failure):
        raise batch.error
    if isinstance(batch, Piped):
        _say_short(f"batches ({len(batch.content):,} bytes each) come through pipes, which is slower")
        return pickle.loads(batch.content)  # pickled by `Collated` in a process that this one started, not a file
    return batch


def _say_short(consequence: str) -> None:
    """One warning per consequence and process, whatever the numbers in it."""
    kind = re.sub(r"[\d,]+", "N", consequence)
    if kind in _told:
        return
    _told.add(kind)
    free = f"{shutil.disk_usage(SHARED_MEMORY).free:,} bytes are free" if SHARED_MEMORY.is_dir() else "there is none"
    logger.warning(
        "shared memory (%s) is too small for the loading processes (%s): %s. Enlarge it (docker run --shm-size=2g, or "
        "--ipc=host), or load in the main process (dataset.num_workers=0)", SHARED_MEMORY, free, consequence,
    )  # fmt: skip


def loader_death(error: BaseException, statuses: Sequence[int | None] = ()) -> ConfigError | None:
    """PyTorch's RuntimeError about a loading process that died, as one message; None for any other error.

    PyTorch raises it from a handler of SIGCHLD too, so it may come from any line of the main process.

    Args:
        statuses: how the loading processes ended, where that is known.
    """
    found = re.match(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (.*)", str(error), re.DOTALL)
    if not isinstance(error, RuntimeError) or found is None:
        return None
    said = re.match(r"is killed by signal: ([^.]*)\.", found[2])
    numbers = [-status for status in statuses if status]
    numbers += [number for number in signal.valid_signals() if said and signal.strsignal(number) == said[1]]
    how = ending(-numbers[0]) if numbers else "ended unexpectedly (usually its memory or /dev/shm ran out)"
    return ConfigError(
        f"loading process {found[1]} {how}. {FEWER}; in a container enlarge shared memory: docker run --shm-size=2g. "
        f"Stored checkpoints are intact, and the same command continues from the last one"
    )


def joined(items: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Items of one or several rows each as a batch, row behind row: key -> [rows, ...]."""
    return {key: torch.cat([item[key] for item in items]) for key in items[0]}


def batches_in_order(dataset: Any, batch_size: int, workers: int) -> Iterator[dict[str, Tensor]]:
    """A dataset's items in batches, see `joined`, from the first to the last."""
    options: dict[str, Any] = {"collate_fn": Collated(joined), "worker_init_fn": begin_process}
    yield from received(DataLoader(Items(dataset), batch_size, num_workers=workers, **options))


def begin_process(worker: int) -> None:
    """What a loading process does first."""
    leave_signals_to_the_parent()
    keep_freed_memory()
    blocks.begin_filling()


def keep_freed_memory() -> None:
    """Items are made and freed by the batch; the C library would give their memory back each time and fetch it anew.

    Once it has seen a block of this size freed, glibc keeps up to twice as much. Elsewhere nothing changes.
    """
    np.empty(KEPT_BYTES, dtype=np.uint8)


def leave_signals_to_the_parent() -> None:
    """On an interrupt or SLURM's SIGTERM, which reach all processes, the parent still wants its last batches."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_when_the_parent_says, daemon=True).start()


def _end_when_the_parent_says() -> None:
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)
