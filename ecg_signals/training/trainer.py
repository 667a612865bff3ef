"""The training loop: epochs, updates, validation, saving and stopping.

`Trainer.train` runs epochs; `Trainer.train_update` makes one optimizer step out of `update_freq` batches.
Everything random in a batch is drawn after seeding torch from (seed, num_updates, k), where k is the
number of the batch inside the update over all ranks: a resumed run, another number of loading processes,
or two ranks instead of update_freq=[2] draw the same numbers.
"""

import logging
import math
import time
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ecg_signals.checkpoint.manager import CheckpointManager
from ecg_signals.config import ConfigError
from ecg_signals.criteria.base import CriterionOutput
from ecg_signals.criteria.labels import item_count
from ecg_signals.data.batching import Batch
from ecg_signals.metrics.tally import LogSums, of_update
from ecg_signals.registry import get_entry
from ecg_signals.reporting import Reporter, setup_logging
from ecg_signals.runtime.batch import DeviceCopies, stream_seed, to_device
from ecg_signals.runtime.collectives import barrier
from ecg_signals.runtime.launch import raise_update_freq
from ecg_signals.runtime.placement import Placement, device_of
from ecg_signals.runtime.precision import autocast, compute_dtype, explain_nonfinite, set_matmul_precision
from ecg_signals.runtime.profile import NoProfile, Profile
from ecg_signals.runtime.vigil import Doing
from ecg_signals.sections import Config
from ecg_signals.tasks.base import BaseTask
from ecg_signals.training.building import (
    Batches,
    build_model,
    build_optimizer,
    build_strategy,
    check_config,
    trained_parameters,
)
from ecg_signals.training.features import FeatureCache
from ecg_signals.training.stand_in import without_trace
from ecg_signals.training.start import Start, find_start
from ecg_signals.training.state import TrainState
from ecg_signals.training.stopping import Stopping, heartbeat
from ecg_signals.training.update import Rule, Seen, Unread, Update, can_skip
from ecg_signals.training.validation import Validation

logger = logging.getLogger(__name__)


class Trainer:
    """One rank of one run.

    Args:
        config: the composed recipe.
        placement: this process among all ranks.
    Raises: ConfigError where the recipe, the data or a checkpoint do not fit together.
    """

    def __init__(self, config: Config, placement: Placement | None = None) -> None:
        self.config = config
        self.placement = placement or Placement()
        self.world_size, self.rank = self.placement.world_size, self.placement.rank
        self.master = self.rank == 0
        self.device = device_of(config, self.placement)
        setup_logging(config.common, self.master)
        check_config(config)
        raise_update_freq(config, self.placement)
        torch.manual_seed(config.common.seed)
        set_matmul_precision(config.common)
        self.save_dir = Path(config.checkpoint.save_dir)
        sharded = config.distributed_training.use_sharded_state
        self.manager = CheckpointManager(config.checkpoint, self.master, sharded)
        self.state = TrainState(config, self.manager, self.world_size)
        self.at = self.state.at
        self.stopping = Stopping(config.optimization, config.checkpoint.patience, config.checkpoint.patience_updates)
        self.waiting_since = 0.0  # the end of the last update, and of what was due after it
        self.doing = Doing()
        start = find_start(config, self.manager)
        self._build(start)
        if start is not None:
            self.state.restore(start, self.strategy.load_state)
        with self.strategy.whole():
            self.validation.check_metric()
        self.reporter = Reporter(config, None if config.checkpoint.no_save else self.save_dir, self.master)
        self.reporter.rewind(self.at.num_updates)
        self.saved_at = self.at.num_updates
        self.profile = self._profile() if config.common.profile else NoProfile()

    def _build(self, start: Start | None) -> None:
        config, ranks = self.config, self.world_size
        self.task: BaseTask = get_entry("task", config.task._name).cls(config.task, config)
        train = self.task.load_dataset(config.dataset.train_subset, training=True)
        self.model, self.criterion = model, criterion = build_model(config, self.task, train, self.device, ranks, start)
        model.train()  # parts that never train know it from here on
        batches = Batches(config, self.placement, self.device, self.task)
        self.iterator = batches.train(train)
        self.validation = Validation(config, self.task, model, criterion, self.device, batches, self.manager.is_better)
        self.features = FeatureCache(config, model, batches, lambda split: self.task.align(model, criterion, split))
        self.validation.features = self.features
        self.strategy = build_strategy(config, ranks, self.device)
        self.wrapped, self.trained = build_optimizer(config, model, criterion, self.strategy, ranks)
        self.optimizer, self.scaler, self.average = self.trained.optimizer, self.trained.scaler, self.trained.average
        self.rule = Rule(ranks, config.optimization.clip_norm)
        self.unread, self.runs_ahead = Unread(self._settle), self._runs_ahead()
        self.copied = DeviceCopies(self.device, beside=config.dataset.prefetch_to_device)
        self.parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.state.hold(self.trained, self.iterator, self.validation)
        count = sum(parameter.numel() for parameter in model.parameters())
        logger.info("%s: %s parameters on %s, %d rank(s)", config.model._name, f"{count:,}", self.device, ranks)

    def _profile(self) -> Profile:
        common, kept = self.config.common, self.master and not self.config.checkpoint.no_save
        folder = self.save_dir if kept else None
        return Profile(folder, self.device, compute_dtype(common), common.tf32, common.compile)

    def train(self) -> float:
        """Train until a stop rule holds. Returns: the best value of checkpoint.best_checkpoint_metric; the worst one,
        inf or -inf, if there is none.
        """
        stopping, beats = self.stopping, heartbeat(self.config.distributed_training.heartbeat_timeout, self.doing)
        with stopping.signal.watched(), beats:
            if self.at.owed and self.validation.subsets:
                self._make_up()
            while not stopping.before_epoch(self.at.num_updates, self.at.epoch, self.state.rate()):
                self.iterator = self.state.iterator = self.features.train(self.iterator)
                freq, total = self.state.epoch_plan()
                done = self.at.batches // (freq * self.world_size)
                self.state.set_rate()
                self._wait()
                for step, group in enumerate(
                    self.reporter.progress(self.state.batches(freq, total), self.at.epoch, total, done), done + 1
                ):
                    try:
                        self.train_update(group)
                    except FloatingPointError as error:
                        self._give_up(error)
                    except torch.cuda.OutOfMemoryError as error:
                        self._skip_batch(error)
                    self.at.batches = min(step * freq * self.world_size, self.iterator.num_batches(self.at.epoch))
                    self._after_update(step, total)
                    self.profile.mark("rest")
                    self.doing.armed = True
                    self._wait()
                    if stopping.now:
                        break
        if self.at.num_updates != self.saved_at:  # the last epoch, or the smallest rate, came between two saves
            self._save(self.at.epoch - 1, ends=True, score=None)
        for batches in [self.iterator, *self.validation.iterators()]:
            batches.close()
        self.profile.close()
        self.manager.close()
        self.reporter.close()
        stopping.raise_if_interrupted(self.master and self.config.distributed_training.requeue)
        worst = -math.inf if self.config.checkpoint.maximize_best_checkpoint_metric else math.inf
        return worst if self.manager.best is None else self.manager.best

    def _wait(self) -> None:
        self.waiting_since = time.perf_counter()
        self.doing.now("the wait for data", self.at.num_updates + 1)

    def train_update(self, batches: list[Batch | None]) -> None:
        """One optimizer step: accumulate the batches, sum over ranks, normalise, clip, step.

        None stands for a batch that other ranks have and this one does not: the first batch stands in, at weight 0.
        Of it nothing stays in the model (training/stand_in.py).
        Raises: FloatingPointError when the gradient is not finite.
        """
        began, common = time.perf_counter(), self.config.common
        self.profile.mark("data")
        if not self.model.training:  # a way through all layers, which only a validation makes necessary
            self.model.train()
        self.criterion.train()
        self.model.set_each("before_forward", self.at.num_updates)
        self.optimizer.zero_grad(set_to_none=True)
        logs: list[dict[str, float | Tensor]] = []
        for number, batch in enumerate(batches):
            weight = 0.0 if batch is None else 1.0
            batch = self.copied(self.iterator.first_batch() if batch is None else batch)
            torch.manual_seed(stream_seed(common.seed, self.at.num_updates, number * self.world_size + self.rank))
            self.doing.now("the forward pass")
            trace = nullcontext() if weight else without_trace(self.model, self.at.num_updates)
            with trace, self.strategy.synchronised(last=number == len(batches) - 1):
                with autocast(common, self.device):
                    output = self.criterion(self.wrapped, batch)
                self.profile.mark("forward")
                loss = output.loss * (weight * (self.scaler.scale if self.scaler else 1.0))
                self.doing.now("the backward pass")
                loss.backward()
                self.profile.mark("backward")
            logs.append(self._countable(output, weight, item_count(batch)))
            self.reporter.batch_done()
        self._step(logs, batches, began)
        self.profile.mark("optimizer")
        self.profile.update_done(sum(float(log["segments"]) for log in logs))

    def _countable(self, output: CriterionOutput, weight: float, items: int) -> dict[str, float | Tensor]:
        counted = {**output.logs, "sample_size": output.sample_size, "batches": 1.0, "segments": float(items)}
        out = {key: value * weight for key, value in counted.items()} if weight != 1.0 else counted
        return {**out, **self.stopping.votes(self.state.seconds())}

    def _runs_ahead(self) -> bool:
        """Whether the next update begins before the numbers of this one are read."""
        section, offload = self.config.optimization, self.config.distributed_training.cpu_offload
        wanted = self.device.type == "cuda" if section.run_ahead is None else section.run_ahead
        possible = not (section.skip_nonfinite_updates or offload) and self.scaler is None
        return wanted and possible and can_skip(self.optimizer)

    def _step(self, logs: list[dict[str, float | Tensor]], batches: list[Batch | None], began: float) -> None:
        """Divide the gradient by the sample_size of all batches and ranks, clip it, step, and count what was logged."""
        self.doing.now("the exchange of statistics")
        self.strategy.average(trained_parameters(self.criterion))  # which the model does not hold
        norm = self.strategy.grad_norm(self.parameters)
        sums = LogSums(logs, self.device)
        update = Update(self.at.num_updates + 1, batches, sums.read(norm), waited=began - self.waiting_since)
        if self.runs_ahead:
            factor, finite = self.rule.on_device(norm, sums.values["sample_size"])
            self.optimizer.found_inf = self.unread.failing(finite)  # type: ignore[attr-defined]
            self._advance(factor)
            self.unread.updates.append(update)
            self._catch_up(leave=1)
            update.seconds = time.perf_counter() - began
            return
        seen = self._see(update)
        if seen is not None:
            self._advance(seen.factor)
            update.seconds = time.perf_counter() - began
            self._count(update, seen)

    def _advance(self, factor: float | Tensor) -> None:
        """Step with the gradient times `factor`."""
        self.strategy.scale_gradients(self.parameters, factor)
        self.model.set_each("before_update", self.at.num_updates, self.optimizer)
        self.optimizer.step()
        self.at.num_updates += 1
        self.model.set_each("after_update", self.at.num_updates)
        if self.average:
            self.average.update(self.model, self.at.num_updates)
        self.state.set_rate()

    def _see(self, update: Update) -> Seen | None:
        """The numbers of an update, once they are here; None for one that is skipped.

        Raises: FloatingPointError when training cannot go on.
        """
        self.judged = update
        sums, (norm,) = update.reading.numbers()
        self.stopping.count(sums)
        seen = self.rule.on_host(sums, norm, self.scaler.scale if self.scaler else 1.0)
        finite = math.isfinite(seen.gnorm)
        if self.scaler is not None:
            self.scaler.update(overflow=not finite)
            if not finite:
                message = "gradient overflow detected, ignoring gradient, setting loss scale to: %g"
                logger.info(message, self.scaler.scale)
        elif not finite and not self.config.optimization.skip_nonfinite_updates:
            raise FloatingPointError(f"the gradient norm of update {update.number} is {seen.gnorm}")
        elif not finite:
            logger.warning("update skipped: the gradient norm is %s", seen.gnorm)
        return seen if finite else None

    def _count(self, update: Update, seen: Seen) -> None:
        logs = of_update(seen.sums, self.criterion.averaged)
        for tally in (self.state.train_tally, self.state.inner_tally):
            tally.add(logs, seen.gnorm, seen.clipped, update.seconds, update.waited)

    def _settle(self, update: Update) -> None:
        seen = self._see(update)
        assert seen is not None  # nothing that runs ahead is skipped
        self._count(update, seen)

    def _catch_up(self, leave: int = 0) -> None:
        """Read the numbers of all updates but the latest `leave`. Raises: ConfigError where one was not finite."""
        if self.unread.updates and not leave:
            began = time.perf_counter()
            self.unread.updates[-1].reading.numbers()
            self.unread.updates[-1].seconds += time.perf_counter() - began
        try:
            self.unread.read(leave)
        except FloatingPointError as error:
            self._give_up(error)

    def _after_update(self, step: int, total: int) -> None:
        """Print, validate and save as the recipe says; says when training is over."""
        updates, epoch, ends = self.at.num_updates, self.at.epoch, step == total
        stopping, state = self.stopping, self.state
        log = updates % self.config.common.log_interval == 0
        save, validate = self._due(ends)
        if log or save or validate or ends:
            self._catch_up()
            save, validate = self._due(ends)  # a signal may have come with the numbers
        if log and state.inner_tally.updates:
            self.reporter.interval(state.stats(state.inner_tally), epoch, step, total)
            state.inner_tally.clear()
        score = None
        if stopping.interrupted:
            saved, last = self.manager.is_due(epoch, updates, ends), self.config.optimization.max_update == updates
            self.at.owed = epoch if self.validation.is_due(updates, epoch, ends, saved, last) else 0
        elif validate:
            score = self._validate(epoch)
        if ends:
            self.reporter.summary("train", state.stats(state.train_tally), epoch)
            state.check_learned()
            state.train_tally.clear()
            if not self.at.owed:
                self.trained.schedule.after_epoch(updates, score)
            self.at.epoch, self.at.batches = epoch + 1, 0
        if save or stopping.now:  # patience, too
            self._save(epoch, ends, score)
        every = self.config.common.empty_cache_freq
        if every and updates % every == 0 and self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _validate(self, epoch: int) -> float:
        """Returns: checkpoint.best_checkpoint_metric of the first subset."""
        self.doing.now("the validation")
        with self.strategy.whole():
            score = self.validation.run(self.at.num_updates, epoch, self.reporter, first=self.manager.best is None)
        self.model.after_validation(self.validation.runs_without_improvement == 0, self.optimizer)
        since_best = self.at.num_updates - self.validation.best_update
        self.stopping.after_validation(self.validation.runs_without_improvement, since_best)
        return score

    def _make_up(self) -> None:
        """For the validation that a signal left out, before the run goes on."""
        epoch, self.at.owed = self.at.owed, 0
        ends = self.at.batches == 0
        score = self._validate(epoch)
        if ends:
            self.trained.schedule.after_epoch(self.at.num_updates, score)
        over = self.stopping.now or self.stopping.at_last_update(self.at.num_updates)
        if over or self.manager.is_due(epoch, self.at.num_updates, ends):
            self._save(epoch, ends, score)

    def _due(self, ends: bool) -> tuple[bool, bool]:
        """Whether to save and whether to validate after this update, which `ends` the epoch or not."""
        at, stopping = self.at, self.stopping
        stopping.now = stopping.now or stopping.at_last_update(at.num_updates)
        save = self.manager.is_due(at.epoch, at.num_updates, ends) or stopping.now
        return save, self.validation.is_due(at.num_updates, at.epoch, ends, save, stopping.now)

    def _save(self, epoch: int, ends: bool, score: float | None) -> None:
        self.saved_at = self.at.num_updates
        self.doing.now("the checkpoint")
        if not self.config.checkpoint.no_save:
            states = self.strategy.gather_state(self.trained.states())
            content = partial(self.state.content, states, score)
            self.manager.save(content, epoch, self.at.num_updates, end_of_epoch=ends, score=score)
        barrier()

    def _give_up(self, error: FloatingPointError) -> None:
        """Name the first module whose output is not finite, keep the weights in crash.pt, and end."""
        batches = [to_device(batch, self.device) for batch in self.judged.batches if batch]
        with self.strategy.whole():
            where = explain_nonfinite(self.model, self.criterion, batches)
        if not self.config.checkpoint.no_save:
            states = self.strategy.gather_state(self.trained.states())
            self.manager.save_crash(partial(self.state.content, states, None))
        raise ConfigError(
            f"{error}: {where}. The state before it is in {self.save_dir / 'crash.pt'}. Look at the data, lower "
            f"optimization.lr, set optimization.clip_norm, or set optimization.skip_nonfinite_updates=true"
        ) from None

    def _skip_batch(self, error: Exception) -> None:
        if self.world_size > 1:
            raise ConfigError(
                f"out of GPU memory on rank {self.rank}: lower dataset.batch_size and raise optimization.update_freq "
                f"[{error}]"
            )
        logger.warning("out of GPU memory: batch skipped; lower dataset.batch_size and raise optimization.update_freq")
        self.optimizer.zero_grad(set_to_none=True)
        torch.cuda.empty_cache()
