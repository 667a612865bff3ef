"""How a process that worked for this one ended, in words, and pools that say so."""

import multiprocessing
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
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
    """Processes that start afresh; a task of theirs that ends its process ends the block.

    Args:
        advice: what to type when that happens.
    Raises: ConfigError naming the process and what ended it.
    """
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=initializer) as pool:
        try:
            yield pool
        except BrokenProcessPool:
            raise ConfigError(f"{_first_lost(pool)}. {advice}") from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


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
