"""Around the training loop: what must be right before it, what may end it early, and a profile of it."""

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.files import replacing
from ecg_signals.sections import Config
from ecg_signals.tasks.base import BaseTask

logger = logging.getLogger(__name__)


class StopSignal:
    """SIGTERM and SIGINT end training after the update in progress, with a checkpoint; a second SIGINT at once.

    Attributes:
        received: number of the signal, 0 before.
    """

    def __init__(self) -> None:
        self.received = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Handlers are in place inside; nothing happens outside the main thread, where Python allows none."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._remember) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _remember(self, number: int, frame: Any) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = number
        logger.info("%s: saving after this update", signal.Signals(number).name)


def check_config(config: Config) -> None:
    """Raises: ConfigError or UsageError for what every training run needs and this one lacks."""
    for kind in ("task", "model", "criterion", "optimizer", "lr_scheduler"):
        if getattr(config, kind) is None:
            raise ConfigError(
                f"no {kind} is set; name a recipe (--config-name w2v_cmsc_rlm) or set {kind}=NAME (`ecg-list {kind}`)"
            )
    if config.dataset.max_tokens is None and config.dataset.batch_size is None:
        raise ConfigError(
            "set dataset.batch_size=N (items per batch and process) or dataset.max_tokens=N (samples per batch)"
        )


def check_unused_subsets(task: BaseTask, config: Config, subsets: list[str]) -> None:
    """As fairseq: validation manifests that lie there and are not used must be named or waved through."""
    folder = Path(str(task.cfg.data))
    used = {split for subset in subsets for split in task.splits_of(subset)}
    found = {path.stem for path in folder.glob("valid[0-9]*.tsv")} | {
        path.stem for path in folder.glob("valid_[0-9]*.tsv")
    }
    unused = sorted(found - used)
    if unused and not config.dataset.ignore_unused_valid_subsets:
        raise ConfigError(
            f"{folder} also holds {', '.join(unused)}; add them to dataset.valid_subset or set "
            f"dataset.ignore_unused_valid_subsets=true"
        )


@contextmanager
def profiler(config: Config, folder: Path) -> Iterator[Callable[[], Any]]:
    """Call what it yields after each update; with common.profile, updates 3 to 5 are written as a Chrome trace."""
    if not config.common.profile:
        yield lambda: None
        return
    from torch.profiler import profile, schedule

    def write(finished: Any) -> None:
        with replacing(folder / "profile.json") as partial:
            finished.export_chrome_trace(str(partial))

    with profile(schedule=schedule(wait=1, warmup=1, active=3, repeat=1), on_trace_ready=write) as running:
        yield running.step
