"""What every rank is doing, as the others see it, and what is said when one is slow, hangs or is not heard of.

Ranks tell each other through the store that they met at, over connections of their own: a rank that waits for another
in the middle of an update can neither answer nor be interrupted.
"""

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch.distributed as dist

from ecg_signals.runtime.collectives import rank, world_size

logger = logging.getLogger(__name__)


@dataclass
class Doing:
    """What this rank is doing; all ranks go through the same steps.

    Attributes:
        what: in words that stand behind "in".
        update: the one under way.
        steps: made so far, by which ranks that are behind are known.
        since: when this one began, on the monotonic clock.
        armed: the first update has been made, which may take long.
    """

    what: str = "the start"
    update: int = 0
    steps: int = 0
    since: float = field(default_factory=time.monotonic)
    armed: bool = False

    def now(self, what: str, update: int | None = None) -> None:
        """The next step begins."""
        self.what, self.since, self.steps = what, time.monotonic(), self.steps + 1
        if update is not None:
            self.update = update

    def seconds(self) -> float:
        """Of this step, so far."""
        return time.monotonic() - self.since

    def pulse(self) -> dict[str, Any]:
        return {"what": self.what, "update": self.update, "steps": self.steps, "seconds": self.seconds()}


@dataclass
class Heard:
    """The last pulse of a rank that differed from the one before, and when it came."""

    pulse: dict[str, Any]
    at: float


def behind(pulses: Mapping[int, Mapping[str, Any]]) -> list[int]:
    """The ranks that the others wait for; [] where all stand at the same step."""
    fewest = min(pulse["steps"] for pulse in pulses.values())
    found = [one for one, pulse in pulses.items() if pulse["steps"] == fewest]
    return found if len(found) < len(pulses) else []


def described(pulses: Mapping[int, Mapping[str, Any]]) -> str:
    """Which rank holds the others up, and what all of them are doing."""
    late = behind(pulses)
    names = [f"rank {one} ({pulses[one].get('host', '?')})" for one in late]
    verdict = f"{', '.join(names)} holds the others up" if late else "all ranks wait for each other"
    listed = [*late, *(one for one in pulses if one not in late)][:4]
    lines = [
        f"rank {one} has been in {pulses[one]['what']} of update {pulses[one]['update']} for "
        f"{pulses[one]['seconds']:.0f} s"
        for one in listed
    ]
    return f"{verdict}: {'; '.join(lines)}"


class Vigil:
    """Watches this rank and the others; ends this process, with one message, when `timeout` seconds have passed.

    Two threads: one exchanges pulses and may be held up by the network, the other one judges.
    """

    def __init__(self, doing: Doing, timeout: float) -> None:
        self.doing, self.timeout = doing, timeout
        self.rank, self.ranks, self.host = rank(), world_size(), socket.gethostname()
        self.interval = min(max(timeout / 8, 0.1), 5.0)
        self.over = threading.Event()
        self.heard: dict[int, Heard] = {}
        self.answered = time.monotonic()  # the store, last
        self.warned = 0

    @contextmanager
    def kept(self) -> Iterator[None]:
        threads = [threading.Thread(target=work, daemon=True) for work in (self._exchange, self._judge)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.over.set()
            threads[1].join()

    def _exchange(self) -> None:
        store = dist.distributed_c10d._get_default_store().clone()  # type: ignore[attr-defined]
        beats = 0
        while not self.over.wait(self.interval):
            beats += 1
            mine = {**self.doing.pulse(), "host": self.host, "beats": beats}
            try:
                store.set(f"pulse/{self.rank}", json.dumps(mine))
                self._listen(store)
            except (RuntimeError, ValueError):
                continue  # the other thread notices
            self.answered = time.monotonic()

    def _listen(self, store: Any) -> None:
        """Rank 0 hears all others, they hear it; all of them where something takes long."""
        everyone = self.rank == 0 or self.doing.seconds() > self.timeout / 4
        for other in range(self.ranks) if everyone else [0]:
            if other != self.rank and store.check([f"pulse/{other}"]):
                pulse = json.loads(store.get(f"pulse/{other}"))
                known = self.heard.get(other)
                if known is None or known.pulse["beats"] != pulse["beats"] or self.over.is_set():
                    self.heard[other] = Heard(pulse, time.monotonic())

    def _judge(self) -> None:
        while not self.over.wait(self.interval):
            if not self.doing.armed:
                continue
            found = self._trouble()
            if found and not self.over.wait(self.interval):  # others have come to the same by then, and say so
                logger.error(
                    "%s. distributed_training.heartbeat_timeout=%g s have passed, so rank %d, in %s of update %d, "
                    "ends; start again to continue from the last checkpoint",
                    *(found, self.timeout, self.rank, self.doing.what, self.doing.update),
                )
                logging.shutdown()
                os._exit(1)

    def _trouble(self) -> str | None:
        """Why this run cannot go on; a warning where it only may."""
        now = time.monotonic()
        if now - self.answered > self.timeout:
            return (
                f"rank {self.rank} ({self.host}) has not reached the store of rank 0 for {now - self.answered:.0f} s: "
                f"the connection to its node is cut, or that process hangs"
            )
        silent = [one for one, heard in list(self.heard.items()) if self._is_silent(one, heard, now)]
        if silent:
            names = ", ".join(f"rank {one} ({self.heard[one].pulse['host']})" for one in silent)
            last = self.heard[silent[0]]
            return (
                f"nothing has been heard of {names} for {now - last.at:.0f} s: its process or its node hangs, or the "
                f"connection to it is cut; it was in {last.pulse['what']} of update {last.pulse['update']}"
            )
        seconds, steps = self.doing.seconds(), self.doing.steps
        if seconds > self.timeout:
            return described(self._pulses())
        if seconds > self.timeout / 2 and steps != self.warned:
            self.warned = steps
            logger.warning("slow: %s", described(self._pulses()))
        return None

    def _is_silent(self, one: int, heard: Heard, now: float) -> bool:
        """Rank 0 listens to all, the others only to it as long as nothing takes long."""
        listening = self.rank == 0 or one == 0 or self.doing.seconds() > self.timeout / 2
        fresh = now - self.answered < self.timeout / 2
        return listening and fresh and now - heard.at > self.timeout

    def _pulses(self) -> dict[int, dict[str, Any]]:
        mine = {**self.doing.pulse(), "host": self.host}
        return dict(sorted({**{one: heard.pulse for one, heard in self.heard.items()}, self.rank: mine}.items()))
