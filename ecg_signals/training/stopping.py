"""What ends training: a signal, the clock, the last update or epoch, a rate that is too low, patience, or silence."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ecg_signals.processes import handling
from ecg_signals.sections import OptimizationConfig

logger = logging.getLogger(__name__)


class StopSignal:
    """SIGTERM and SIGINT end training after the update in progress, with a checkpoint; a second SIGINT at once.

    Attributes:
        received: number of the signal, 0 before.
    """

    def __init__(self) -> None:
        self.received = 0

    def watched(self) -> AbstractContextManager[None]:
        """Handlers are in place inside."""
        return handling(dict.fromkeys((signal.SIGTERM, signal.SIGINT), self._remember))

    def _remember(self, number: int, frame: Any) -> None:
        if self.received == signal.SIGINT == number:
            raise KeyboardInterrupt
        self.received = number
        logger.info("%s: saving after this update", signal.Signals(number).name)


class Stopping:
    """Whether training ends after the update in progress; all ranks decide alike.

    Args:
        section: the recipe's `optimization`.
        patience: `checkpoint.patience`, validations without improvement.
        patience_updates: `checkpoint.patience_updates`, updates since the best one.
    Attributes:
        now: training ends.
        interrupted: a signal is the reason.
    """

    def __init__(self, section: OptimizationConfig, patience: int, patience_updates: int = -1) -> None:
        self.section, self.patience, self.patience_updates = section, patience, patience_updates
        self.signal = StopSignal()
        self.now = self.interrupted = False

    def votes(self, seconds: float) -> dict[str, float]:
        """What this rank alone knows, after `seconds` of training in all: summed over ranks with an update's logs."""
        hours = self.section.stop_time_hours
        return {"_signal": float(self.signal.received > 0), "_time": float(hours > 0 and seconds > hours * 3600)}

    def count(self, sums: dict[str, float]) -> None:
        """Take the `votes` of all ranks out of an update's sums: all of them stop after the same update."""
        self.interrupted = sums.pop("_signal") > 0
        self.now = sums.pop("_time") > 0 or self.interrupted or self.now

    def at_last_update(self, num_updates: int) -> bool:
        limit = self.section.max_update
        if 0 < limit <= num_updates:
            logger.info("Stopping training due to num_updates: %d >= max_update: %d", num_updates, limit)
            return True
        return False

    def before_epoch(self, num_updates: int, epoch: int, rate: float) -> bool:
        """True when the epoch is not to begin; `rate` is that of its first update."""
        section = self.section
        return (
            self.now or self.at_last_update(num_updates) or 0 < section.max_epoch < epoch or rate <= section.stop_min_lr
        )

    def after_validation(self, runs_without_improvement: int, updates_since_best: int = 0) -> None:
        """Stop when the first subset's score has not been strictly better for so many validations or updates."""
        if 0 < self.patience <= runs_without_improvement:
            logger.info("early stop since valid performance hasn't improved for last %d runs", self.patience)
            self.now = True
        if 0 < self.patience_updates <= updates_since_best:
            logger.info("early stop since valid performance hasn't improved for last %d updates", updates_since_best)
            self.now = True

    def raise_if_interrupted(self) -> None:
        """Raises: SystemExit with the status that a shell gives to a process ended by the signal."""
        if self.interrupted:
            raise SystemExit(128 + (self.signal.received or signal.SIGTERM))


@contextmanager
def heartbeat(timeout: float) -> Iterator[Callable[[], None]]:
    """Call what it yields after each update; `timeout` seconds without one interrupt the process; 0 or less: never."""
    if timeout <= 0:
        yield lambda: None
        return
    last = [0.0]  # 0: the first update has not been made yet, and may take long
    over = threading.Event()

    def watch() -> None:
        while not over.wait(min(1.0, timeout / 4)):
            if last[0] and time.monotonic() - last[0] > timeout:
                logger.error("no update for %d s (distributed_training.heartbeat_timeout): interrupting", timeout)
                os.kill(os.getpid(), signal.SIGINT)
                return

    def beat() -> None:
        last[0] = time.monotonic()

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield beat
    finally:
        over.set()
