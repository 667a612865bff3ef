"""What ends training: a signal, the clock, the last update or epoch, a rate that is too low, patience, or silence."""

import logging
import os
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from ecg_signals.processes import handling
from ecg_signals.runtime.collectives import world_size
from ecg_signals.runtime.vigil import Doing, Vigil
from ecg_signals.sections import OptimizationConfig

logger = logging.getLogger(__name__)

# What clusters send before they end a job; not all systems have all of them.
PREEMPTION = {signal.SIGTERM} | {getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)}


class StopSignal:
    """SIGTERM, SIGINT, SIGUSR1 and SIGUSR2 end training after the update in progress, with a checkpoint; a second
    SIGINT at once.

    Attributes:
        received: number of the signal, 0 before.
    """

    def __init__(self) -> None:
        self.received = 0

    def watched(self) -> AbstractContextManager[None]:
        """Handlers are in place inside; under submitit not of SIGTERM, which it ignores until its own signal comes."""
        numbers = {*PREEMPTION, signal.SIGINT} - ({signal.SIGTERM} if "SUBMITIT_EXECUTOR" in os.environ else set())
        return handling(dict.fromkeys(numbers, self._remember))

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

    def raise_if_interrupted(self, requeue: bool = False) -> None:
        """Hand the signal on to whoever waited for it before, such as submitit, which starts the job again elsewhere.

        Args:
            requeue: first put the SLURM job back into its queue, unless the signal was SIGINT.
        Raises: SystemExit with the status that a shell gives to a process ended by the signal.
        """
        if not self.interrupted:
            return
        number = self.signal.received or signal.SIGTERM  # other ranks may have got it alone
        if requeue and number != signal.SIGINT:
            requeue_job()
        before = signal.getsignal(number)
        if number in PREEMPTION and callable(before):
            before(number, None)
        raise SystemExit(128 + number)


def requeue_job() -> None:
    """`scontrol requeue` of the SLURM job that this process is part of; a failure is said, the checkpoint is there."""
    env = os.environ
    job = env.get("SLURM_JOB_ID")
    if "SLURM_ARRAY_JOB_ID" in env:
        job = f"{env['SLURM_ARRAY_JOB_ID']}_{env['SLURM_ARRAY_TASK_ID']}"
    if job is None:
        logger.warning("distributed_training.requeue=true, but SLURM_JOB_ID is not set: start the same command again")
        return
    try:
        subprocess.run(["scontrol", "requeue", job], check=True, capture_output=True, text=True)
        logger.info("job %s is back in the queue and goes on from the last checkpoint", job)
    except (OSError, subprocess.CalledProcessError) as error:
        logger.error("`scontrol requeue %s` failed (%s): submit the same command again", job, error)


@contextmanager
def heartbeat(timeout: float, doing: Doing) -> Iterator[None]:
    """Inside, `timeout` seconds without progress after the first update end the run; 0 or less: never.

    A process that is alone interrupts itself; several ranks name the one that holds the others up (runtime/vigil.py).
    """
    if timeout <= 0:
        yield
        return
    if world_size() > 1:
        with Vigil(doing, timeout).kept():
            yield
        return
    over = threading.Event()

    def watch() -> None:
        while not over.wait(min(1.0, timeout / 4)):
            if doing.armed and doing.seconds() > timeout:
                message = "%s takes more than %d s (distributed_training.heartbeat_timeout): interrupting"
                logger.error(message, doing.what, timeout)
                os.kill(os.getpid(), signal.SIGINT)
                return

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
