"""A sign of life while an update takes long: on a terminal the bar moves, in a log a line now and then."""

import logging
import threading
import time
from typing import Any, Self

logger = logging.getLogger("train_progress")

QUIET_SECONDS = 30.0  # a log gets the first line after so long without one; each further pause is twice as long
TICK_SECONDS = 1.0  # between two looks at the clock


class Pulse:
    """Where an epoch is, told from a thread of its own, for the main one may sit in one forward pass for minutes.

    Args:
        epoch, total: the epoch and its number of updates.
        done: updates of it that are finished already.
        bar: tqdm's, None: lines in the log.
    """

    def __init__(self, epoch: int, total: int, done: int, bar: Any = None) -> None:
        self.epoch, self.total, self.done, self.bar = epoch, total, done, bar
        self.batches, self.batch, self.counted = 1, 0, 0
        self.started = self.spoken = time.monotonic()
        self.pause = QUIET_SECONDS
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="pulse")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over.set()
        self._thread.join()

    def update_starts(self, batches: int) -> None:
        """`batches` forward and backward passes make the next update."""
        self.batches, self.batch = max(batches, 1), 0

    def batch_done(self) -> None:
        self.batch += 1
        self.counted += 1
        if self.bar is not None and self.batches > 1:
            self.bar.set_description(f"epoch {self.epoch:03d}, batch {self.batch}/{self.batches}", refresh=True)

    def update_done(self) -> None:
        self.done += 1
        self.batch = 0

    def spoke(self) -> None:
        """A line about the training was printed."""
        self.spoken, self.pause = time.monotonic(), QUIET_SECONDS

    def line(self) -> str:
        """Where the epoch is, and how long the rest of it takes if it goes on like this."""
        doing = "validating or saving" if self.done == self.total else f"update {self.done + 1} of {self.total}"
        within = self.batch < self.batches > 1 and self.done < self.total
        inside = f", batch {self.batch + 1} of {self.batches}" if within else ""
        left = (self.total - self.done) * self.batches - self.batch
        seconds = (time.monotonic() - self.started) / self.counted * left if self.counted and left > 0 else 0
        rest = f", about {in_words(seconds)} of this epoch left" if seconds else ""
        return f"epoch {self.epoch:03d}: {doing}{inside}{rest}"

    def _run(self) -> None:
        while not self._over.wait(TICK_SECONDS):
            if self.bar is not None:
                self.bar.refresh()
            elif time.monotonic() - self.spoken >= self.pause:
                logger.info(self.line())
                self.spoken, self.pause = time.monotonic(), 2 * self.pause


def in_words(seconds: float) -> str:
    """A length of time as people say it: 40 s, 3 min, 2 h 10 min."""
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
