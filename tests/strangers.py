"""What answering one stranger's file may cost, and what it did cost."""

import ctypes
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SECONDS = 2.0  # of CPU; on an idle machine none needs one
MEMORY = 500 << 20  # bytes over the file's size


@dataclass
class Cost:
    """CPU seconds of this process, and bytes at the peak over what it had before."""

    seconds: float = 0.0
    memory: int = 0


@contextmanager
def cost() -> Iterator[Cost]:
    """What the block takes, whatever this process took before it: the kernel's peak is set back, and the memory that
    the allocator keeps for later is given back, so that it hides nothing."""
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    taken, before, start = Cost(), _kilobytes("VmRSS"), time.process_time()
    try:
        yield taken
    finally:
        taken.seconds = time.process_time() - start
        taken.memory = (_kilobytes("VmHWM") - before) << 10


@contextmanager
def answered_in_time(size: int) -> Iterator[None]:
    """Fails a test whose block takes more than the answer to a file of `size` bytes may."""
    with cost() as taken:
        yield
    assert taken.seconds < SECONDS, f"{taken.seconds:.2f} s of CPU"
    assert taken.memory < MEMORY + size, f"{taken.memory >> 20} MB over a file of {size >> 20}"


def _kilobytes(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
