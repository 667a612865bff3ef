"""Everything that a checkpoint stores and a resumed run takes back."""

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

import torch

from ecg_signals.checkpoint.manager import CheckpointManager
from ecg_signals.checkpoint.state import Moment, RestoredState, Trained, pack_state
from ecg_signals.config import ConfigError
from ecg_signals.data.batching import Batch, BatchIterator
from ecg_signals.metrics.tally import Tally
from ecg_signals.runtime.strategy import Load
from ecg_signals.sections import Config
from ecg_signals.training.start import Start
from ecg_signals.training.validation import Validation

logger = logging.getLogger(__name__)


@dataclass
class Position:
    """Where training stands: `batches` of this epoch are done, over all ranks.

    `owed` is the epoch whose validation was due after the last update and left out for a signal, 0 without one.
    """

    epoch: int = 1
    batches: int = 0
    num_updates: int = 0
    owed: int = 0


@dataclass(frozen=True)
class Piece:
    """One piece of a run's state: the plain values that a checkpoint stores, and what takes them back.

    They are not taken back from a file that lacks them, nor where the option `unless` of `checkpoint` is set.
    """

    state: Callable[[], Any]
    load: Callable[[Any], Any]
    unless: str

    @classmethod
    def attribute(cls, owner: Any, name: str, unless: str) -> "Piece":
        return cls(partial(getattr, owner, name), partial(setattr, owner, name), unless)


class TrainState:
    """What a run is, beside its recipe and its data.

    A new piece of state is one more line of `_pieces`. Weights, the optimizer and a `Moment` have places of their own
    in fairseq-signals' layout, which checkpoint/state.py knows.

    Args:
        manager: knows the best score so far.
        ranks: processes that share an epoch.
    """

    def __init__(self, config: Config, manager: CheckpointManager, ranks: int) -> None:
        self.config, self.manager, self.ranks = config, manager, ranks
        self.at = Position()
        self.train_tally, self.inner_tally = Tally(), Tally()
        self.begun, self.seconds_before = time.monotonic(), 0.0
        self.started_from: dict[str, Any] | None = None
        self.published_options: dict[str, Any] = {}

    def hold(self, trained: Trained, iterator: BatchIterator, validation: Validation) -> None:
        """Take charge of what has been built for the run."""
        self.trained, self.iterator = trained, iterator
        self.label_digests = iterator.dataset.label_digests()
        self.pieces = self._pieces(trained, validation)
        if trained.schedule.counts_epochs:
            trained.schedule.set_epoch_length(self.epoch_plan()[1])

    def _pieces(self, trained: Trained, validation: Validation) -> dict[str, Piece]:
        """By their keys in the file's `extra_state["ecg_signals"]`."""
        model, optimizer, scaler = trained.model, trained.optimizer, trained.scaler
        train, inner = self.train_tally, self.inner_tally
        return {
            "position": Piece(self._position, self._load_position, unless="reset_dataloader"),
            "owed": Piece.attribute(self.at, "owed", unless="reset_meters"),
            "train_tally": Piece(train.state_dict, train.load_state_dict, unless="reset_meters"),
            "inner_tally": Piece(inner.state_dict, inner.load_state_dict, unless="reset_meters"),
            "best_printed": Piece.attribute(validation, "best_printed", unless="reset_meters"),
            "runs_without_improvement": Piece.attribute(validation, "runs_without_improvement", unless="reset_meters"),
            "best_update": Piece.attribute(validation, "best_update", unless="reset_meters"),
            "scaler": Piece(
                lambda: scaler.state_dict() if scaler else None,
                lambda stored: scaler.load_state_dict(stored) if scaler else None,
                unless="reset_optimizer",
            ),
            "model": Piece(
                lambda: model.training_state(optimizer),
                lambda stored: model.load_training_state(stored, optimizer),
                unless="reset_optimizer",
            ),
        }

    def epoch_plan(self) -> tuple[int, int]:
        """Batches per update and rank in this epoch, and the updates in it. Raises: ConfigError for less than one."""
        section = self.config.optimization
        freqs = section.update_freq
        if not freqs or min(freqs) < 1:
            raise ConfigError(f"optimization.update_freq is {freqs}; expected batches per update, at least 1")
        freq = freqs[min(self.at.epoch - 1, len(freqs) - 1)]
        rounds = math.ceil(self.iterator.num_batches(self.at.epoch) / self.ranks)
        whole = section.skip_remainder_batch and rounds >= freq
        return freq, rounds // freq if whole else math.ceil(rounds / freq)

    def batches(self, freq: int, total: int) -> Iterator[list[Batch | None]]:
        """This rank's batches of the rest of the epoch, update by update."""
        batches = iter(self.iterator.batches(self.at.epoch, self.at.batches))
        for _ in range(total - self.at.batches // (freq * self.ranks)):
            yield list(islice(batches, freq))

    def seconds(self) -> float:
        """Of training in all, those of earlier starts included."""
        return self.seconds_before + time.monotonic() - self.begun

    def rate(self) -> float:
        """Of the next update."""
        rate: float = self.trained.schedule.rate(self.at.num_updates, self.at.epoch)
        return rate

    def set_rate(self) -> None:
        rate = self.rate()
        for group in self.trained.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)

    def stats(self, tally: Tally) -> dict[str, float]:
        """What is printed of an interval or an epoch."""
        trained, updates = self.trained, max(tally.updates, 1)
        stats: dict[str, float] = trained.criterion.metrics(tally.logs, {})
        seconds = max(tally.seconds + tally.waited, 1e-9)
        stats["ups"] = tally.updates / seconds
        stats |= {"num_updates": self.at.num_updates, "lr": trained.optimizer.param_groups[0]["lr"]}
        stats["gnorm"] = tally.gnorm / updates
        if self.config.optimization.clip_norm > 0:
            stats["clip"] = 100.0 * tally.clipped / updates
        if trained.scaler is not None:
            stats["loss_scale"] = trained.scaler.scale
        stats["train_wall"] = tally.seconds
        device = next(trained.model.parameters()).device
        if device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            stats["gb_free"] = free / 2**30
        stats["wall"] = time.monotonic() - self.begun
        stats["segments_per_second"] = tally.logs.get("segments", 0.0) / seconds
        return {**stats, "data_wait": 100.0 * tally.waited / seconds}

    def check_learned(self) -> None:
        """Raises: ConfigError after an epoch in which no item had a target."""
        sums = self.train_tally.logs
        if not sums.get("sample_size") and not sums.get("loss") and not sums.get("count"):
            section = self.config.dataset
            raise ConfigError(
                f"no record of {section.train_subset} has a known target: an epoch was trained on nothing. Look at "
                f"task.label_file (NaN is unknown) and at the warnings of the command that made it"
            )

    def content(self, states: dict[str, Any], score: float | None) -> dict[str, Any]:
        """A checkpoint's content.

        Args:
            states: `trained.states()` as the strategy gathered them.
            score: of this moment's validation, None without one.
        """
        pieces = {name: piece.state() for name, piece in self.pieces.items()}
        facts = {  # which tell whether a checkpoint is this run's (training/start.py)
            "world_size": self.ranks,
            "started_from": self.started_from,
            "published_options": self.published_options,
            "label_digests": self.label_digests,
        }
        at = self.at
        moment = Moment(
            at.num_updates, at.epoch, at.batches // self.ranks, score, self.manager.best, training_time=self.seconds()
        )
        return pack_state(self.config, self.trained, moment, states, pieces | facts)

    def restore(self, start: Start, load: Load) -> None:
        """Continue from a checkpoint, or start with its weights; `load` is the strategy's `load_state`."""
        chosen, stored, trained = start.chosen, start.stored, self.trained
        stored.load_model(trained.model, trained.criterion, load)
        if trained.average is not None and stored.average is not None:
            load(trained.average, stored.average)
        elif trained.average is not None:
            trained.average.restart(trained.model)
        unused = {key for key, value in chosen.resets.items() if value}
        if stored.optimizer is None and not chosen.reset_optimizer:
            logger.warning("%s holds no optimizer state: updates, schedule and optimizer start anew", chosen.path)
        if stored.optimizer is None or chosen.reset_optimizer:
            unused |= {"reset_optimizer", "reset_meters"}
        self._load_moment(stored, unused)
        for name, piece in self.pieces.items():
            if piece.unless not in unused and stored.ours.get(name) is not None:
                piece.load(stored.ours[name])
        if "reset_optimizer" not in unused:
            stored.load_optimizer(trained.optimizer, trained.criterion, self.config, load)
            if "reset_lr_scheduler" not in unused:
                trained.schedule.load_state_dict(stored.schedule_state)
        if "reset_dataloader" not in unused:
            self._begin_an_update()
        self.started_from, self.published_options = start.began(), start.published_options
        logger.info("continuing from %s at epoch %d, update %d", chosen.path, self.at.epoch, self.at.num_updates)

    def _load_moment(self, stored: RestoredState, unused: set[str]) -> None:
        if "reset_optimizer" not in unused:
            self.at.num_updates, self.seconds_before = stored.num_updates, stored.training_time
        if "reset_meters" not in unused:
            self.manager.best = stored.best
        if "reset_dataloader" not in unused:
            self.at.epoch, self.at.batches = stored.epoch, stored.iterations_in_epoch * self.ranks

    def _position(self) -> dict[str, int]:
        """Kept in items, so that it survives another number of ranks."""
        epoch, batches = self.at.epoch, self.at.batches
        return {"epoch": epoch, "samples": self.iterator.samples_before(epoch, batches) if batches else 0}

    def _load_position(self, stored: dict[str, int]) -> None:
        samples = stored["samples"]
        self.at.batches = self.iterator.batch_at(self.at.epoch, samples) if samples else 0

    def _begin_an_update(self) -> None:
        """Raises: ConfigError when the data has no batch there."""
        freq, _ = self.epoch_plan()
        self.at.batches -= self.at.batches % (freq * self.ranks)
        batches = self.iterator.num_batches(self.at.epoch)
        if self.at.batches >= batches > 0:
            raise ConfigError(
                f"the checkpoint stands at batch {self.at.batches} of epoch {self.at.epoch}, but the data has "
                f"{batches}; if that is meant, set checkpoint.reset_dataloader=true"
            )
