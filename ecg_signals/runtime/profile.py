"""A profile of a few updates, as a trace that Chrome shows."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecg_signals.files import replacing


@contextmanager
def profiler(wanted: bool, folder: Path) -> Iterator[Callable[[], Any]]:
    """Call what it yields after each update; where it is wanted, updates 3 to 5 are written to profile.json."""
    if not wanted:
        yield lambda: None
        return
    from torch.profiler import profile, schedule

    def write(finished: Any) -> None:
        with replacing(folder / "profile.json") as partial:
            finished.export_chrome_trace(str(partial))

    with profile(schedule=schedule(wait=1, warmup=1, active=3, repeat=1), on_trace_ready=write) as running:
        yield running.step
