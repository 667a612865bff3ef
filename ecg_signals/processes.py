"""How a process that worked for this one ended, in words, and pools that say so."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import Any

from ecg_signals.config import ConfigError

LIKELY = {
    signal.SIGKILL: "the system does that when the memory runs out",
    signal.SIGBUS: "a disk or the shared memory, /dev/shm, is full, or a file that was being read became shorter",
    signal.SIGSEGV: "a library failed",
}


def ending(status: int | None) -> str:
    """An exit status as Python's processes have it, negative for a signal: "was ended by SIGKILL (...)"."""
    if status is None:
        return "ended"
    if status >= 0:
        return f"ended with status {status}"
    try:
        number = signal.Signals(-status)
    except ValueError:
        return f"was ended by signal {-status}"
    return f"was ended by {number.name}" + (f" ({LIKELY[number]})" if number in LIKELY else "")


@contextmanager
def process_pool(
    workers: int, advice: str, initializer: Callable[[], None] | None = None
) -> Iterator[ProcessPoolExecutor]:
    """Processes that start afresh and leave with this one; a task of theirs that ends its process ends the block.

    Args:
        advice: what to type when that happens.
    Raises: ConfigError naming the process and what ended it.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=partial(_begin, initializer)) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise ConfigError(f"{_first_lost(pool)}. {advice}") from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _begin(initializer: Callable[[], None] | None) -> None:
    threading.Thread(target=_leave_with_parent, daemon=True).start()
    if initializer is not None:
        initializer()


def _leave_with_parent() -> None:
    """A worker that outlives a killed parent would work for nobody, and could overwrite what the next run stores."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def by_processes(
    work: Callable[[Any], Any], items: Sequence[Any], workers: int, chunk: int,
    advice: str = "Run the same command again", initializer: Callable[[], None] | None = None, ordered: bool = True,
) -> Iterator[Any]:  # fmt: skip
    """What `work` gives for every item, by processes that are a few tasks ahead of what is taken.

    Few items are worked on here, since starting a process takes longer than they do.

    Args:
        work: importable by name.
        items: asked for a task at a time, so that they may be made then.
        chunk: items per task.
        advice: what to type, with fewer workers, when a process ends by itself.
        ordered: as the items are; False: what is done first, so that a slow item holds back no other.
    """
    starts = range(0, len(items), chunk)
    workers = min(workers, len(starts) // 2)
    if workers < 2:
        yield from map(work, items)
        return
    tasks = ((work, items[start : start + chunk]) for start in starts)
    with process_pool(workers, fewer(advice, workers), initializer) as pool:
        for found in in_flight(pool, _each, tasks, 2 * workers, ordered):
            yield from found


def fewer(advice: str, workers: int) -> str:
    """What to type when a process ended by itself."""
    return f"{advice} with fewer workers: --workers {max(1, workers // 2)}"


def in_flight(
    executor: Executor, work: Callable[..., Any], tasks: Iterable[tuple[Any, ...]], ahead: int, ordered: bool
) -> Iterator[Any]:
    """What `work(*task)` gives for every task, of which no more than `ahead` + 1 are submitted and not yet taken.

    Args:
        ordered: as the tasks are; False: what is done first.
    """
    waiting: list[Future[Any]] = []
    for task in tasks:
        waiting.append(executor.submit(work, *task))
        if len(waiting) > ahead:
            yield _next(waiting, ordered)
    while waiting:
        yield _next(waiting, ordered)


def _next(waiting: list[Future[Any]], ordered: bool) -> Any:
    """Takes a task out of those that wait; gives its result."""
    task = waiting[0] if ordered else next(iter(wait(waiting, return_when=FIRST_COMPLETED).done))
    waiting.remove(task)
    return task.result()


def _each(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    return [work(item) for item in items]


@contextmanager
def handling(handlers: Mapping[int, Any]) -> Iterator[None]:
    """Signals are handled so in the block; nothing happens outside the main thread, where Python allows no handler."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _first_lost(pool: ProcessPoolExecutor) -> str:
    """The process that ended by itself; the pool ends the others with SIGTERM."""
    for process in (getattr(pool, "_processes", None) or {}).values():  # Python does not tell it another way
        process.join(1)
        if process.exitcode not in (None, 0, -signal.SIGTERM):
            return f"worker process {process.pid} {ending(process.exitcode)}"
    return "a worker process ended without a word"
