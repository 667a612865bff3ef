"""The training loop: epochs, updates, validation, saving and stopping.

`Trainer.train` runs epochs; `Trainer.train_update` makes one optimizer step out of `update_freq` batches.
Everything random in a batch is drawn after seeding torch from (seed, num_updates, k), where k is the
number of the batch inside the update over all ranks: a resumed run, another number of loading processes,
or two ranks instead of update_freq=[2] draw the same numbers.
"""

import logging
import math
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecg_signals.checkpoint.manager import CheckpointManager, Restore
from ecg_signals.checkpoint.origin import read_origin
from ecg_signals.checkpoint.recipe import another_run, differences, label_differences, without_excused
from ecg_signals.checkpoint.state import RestoredState, pack_state, unpack_state, without_pretrained_file
from ecg_signals.config import ConfigError, nearest
from ecg_signals.criteria.base import CriterionOutput
from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.data.label_names import listed
from ecg_signals.distributed.collectives import barrier
from ecg_signals.distributed.ddp import average_gradients, heartbeat, synchronised, wrap
from ecg_signals.distributed.launch import Placement, device_of
from ecg_signals.guards import StopSignal, check_config, check_unused_subsets, profiler
from ecg_signals.metrics.tally import Tally, of_update, sum_logs
from ecg_signals.optim.ema import WeightAverage
from ecg_signals.optim.scaler import LossScaler
from ecg_signals.precision import autocast, explain_nonfinite, set_matmul_precision, uses_fp16
from ecg_signals.registry import get_entry
from ecg_signals.reporting import Reporter, setup_logging
from ecg_signals.sections import Config
from ecg_signals.tasks.base import BaseTask
from ecg_signals.tasks.evaluate import evaluate_split, stream_seed, to_device

logger = logging.getLogger(__name__)

Batch = dict[str, Any]


@dataclass
class Position:
    """Where training stands: `batches` of this epoch are done, over all ranks."""

    epoch: int = 1
    batches: int = 0
    num_updates: int = 0


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
        setup_logging(config, self.master)
        check_config(config)
        torch.manual_seed(config.common.seed)
        set_matmul_precision(config)
        self.save_dir = Path(config.checkpoint.save_dir)
        self.manager = CheckpointManager(config.checkpoint, writer=self.master)
        self.at = Position()
        self.train_tally, self.inner_tally = Tally(), Tally()
        self.started, self.seconds_before = time.monotonic(), 0.0
        self.waiting_since = 0.0  # the end of the last update, and of what was due after it
        self.best_printed: dict[str, float] = {}
        self.runs_without_improvement = 0
        self.warned_undefined = False
        self.signal, self.interrupted, self.stopping = StopSignal(), False, False
        self.restore = self.manager.choose_restore()
        self.started_from: dict[str, Any] | None = None
        self.state = unpack_state(self.restore.path, config) if self.restore else None
        self.published_options = self.state.keep_arithmetic(config) if self.state else {}
        self._build()
        if self.restore is not None and self.state is not None:
            self._restore(self.restore, self.state)
        self.state = None  # its weights are in the model
        self._check_metric()
        self.reporter = Reporter(config, None if config.checkpoint.no_save else self.save_dir, self.master)
        self.reporter.rewind(self.at.num_updates)

    # ------------------------------------------------------------------ building

    def _build(self) -> None:
        config = self.config
        self.task: BaseTask = get_entry("task", config.task._name).cls(config.task, config)
        train = self.task.load_dataset(config.dataset.train_subset, training=True)
        with without_pretrained_file(config, self.restore.path if self.restore else None):
            self.model = self.task.build_model().to(self.device)
        self.criterion = self.task.build_criterion().to(self.device)
        if self.restore is not None and self.state is not None:
            try:
                self.restore = self._checked(self.restore, self.state, train)
            except ConfigError:
                self.task.prepare(self.model, self.criterion, train)  # says first what is wrong with the recipe itself
                raise
        self._match_labels(train)
        self.label_digests = train.label_digests()
        self.task.prepare(self.model, self.criterion, train)
        self.iterator = self._iterator(train, config.dataset.batch_size, config.dataset.max_tokens, shuffle=True)
        self.valid = {} if config.dataset.disable_validation else self._valid_iterators()
        groups = self.model.param_groups(config)
        self.criterion_parameters = [parameter for parameter in self.criterion.parameters() if parameter.requires_grad]
        groups[0]["params"] = [*groups[0]["params"], *self.criterion_parameters]
        self.optimizer = get_entry("optimizer", config.optimizer._name).cls(groups, config.optimizer)
        self.parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        self.schedule = get_entry("lr_scheduler", config.lr_scheduler._name).cls(config.lr_scheduler)
        self.scaler = LossScaler.from_config(config, self.world_size) if uses_fp16(config) else None
        self.average = WeightAverage(self.model, config.ema) if config.ema.store_ema else None
        self.wrapped = wrap(self.model, config, self.device, self.world_size)
        count = sum(parameter.numel() for parameter in self.model.parameters())
        logger.info(
            "%s: %s parameters on %s, %d rank(s)", config.model._name, f"{count:,}", self.device, self.world_size
        )

    def _checked(self, restore: Restore, state: RestoredState, train: BaseDataset) -> Restore:
        """The choice, when it is a checkpoint of this recipe; without resets that this run has made already.

        Raises: ConfigError when the folder's last checkpoint is another run's, naming the differences.
        """
        if all(restore.resets.values()):
            return restore  # only the weights are taken
        found = differences(state.cfg, self.config, stored_ranks=state.ours.get("world_size"), ranks=self.world_size)
        if "label_digests" in state.ours:
            found += label_differences(state.cfg, state.ours["label_digests"], train.label_digests(), self.config)
        made = state.ours.get("started_from", {}) or {}
        asked = [key for key, value in restore.resets.items() if value]
        if restore.own and asked and not found and set(asked) <= set(made.get("resets", [])):
            logger.info("%s has %s behind it: not done again", restore.path, ", ".join(asked))
            return restore.without_resets()
        found = without_excused(found, restore.resets)
        if found and restore.own and not restore.named and state.ours.get("format"):
            raise another_run(restore.path, found)
        if found:
            changed = ", ".join(map(str, found))
            logger.warning("this recipe is used, although that of %s was another: %s", restore.path, changed)
        return restore

    def _match_labels(self, train: BaseDataset) -> None:
        """A run that continues keeps the labels it was started with: the data's columns follow them, by name."""
        if self.state is not None:
            self.model.labels = list(self.state.ours.get("labels") or []) or None
            self.model.origin = {**read_origin(self.state.ours.get("origin")), **self.model.origin}
            if self.model.labels is None and train.labels:
                logger.warning(
                    "%s does not name its labels: the columns of the data are taken in order, %s",
                    self.state.where,
                    listed(train.labels),
                )
        found = train.num_labels
        columns = self.task.align(self.model, self.criterion, train)
        if columns is not None and found is not None:
            self.criterion.select_labels(columns, found)

    def _iterator(self, dataset: Any, batch_size: int | None, max_tokens: int | None, shuffle: bool) -> BatchIterator:
        section = self.config.dataset
        return BatchIterator(
            dataset,
            batch_size=batch_size,
            max_tokens=max_tokens,
            seed=self.config.common.seed,
            shuffle=shuffle,
            required_batch_size_multiple=section.required_batch_size_multiple,
            redraw=section.update_ordered_indices_seed,
            curriculum=section.curriculum,
            num_workers=section.num_workers,
            buffer=section.data_buffer_size,
            rank=self.rank,
            world_size=self.world_size,
            pin_memory=self.device.type == "cuda",
        )

    def _valid_iterators(self) -> dict[str, dict[str, BatchIterator]]:
        """subset -> split -> its batches in manifest order."""
        section = self.config.dataset
        subsets = [name.strip() for name in section.valid_subset.split(",") if name.strip()]
        check_unused_subsets(self.task, self.config, subsets)
        return {
            subset: {split: self._valid_iterator(split) for split in self.task.splits_of(subset)} for subset in subsets
        }

    def _valid_iterator(self, split: str) -> BatchIterator:
        dataset = self.task.load_dataset(split)
        if split != self.config.dataset.train_subset:
            self.task.align(self.model, self.criterion, dataset)
        section = self.config.dataset
        return self._iterator(dataset, section.batch_size_valid, section.max_tokens_valid, shuffle=False)

    # ------------------------------------------------------------------ the loop

    def train(self) -> float:
        """Train until a stop rule holds. Returns: the best value of checkpoint.best_checkpoint_metric; the worst one,
        inf or -inf, if there is none.
        """
        with self.signal.watched(), profiler(self.config, self.save_dir) as profile, heartbeat(self.config) as beat:
            while not self.stopping and not self._finished():
                freq, total = self._epoch_plan()
                done = self.at.batches // (freq * self.world_size)
                self._set_rate()
                self.waiting_since = time.perf_counter()
                for step, group in enumerate(
                    self.reporter.progress(self._groups(freq, total), self.at.epoch, total, done), done + 1
                ):
                    try:
                        self.train_update(group)
                    except FloatingPointError as error:
                        self._give_up(group, error)
                    except torch.cuda.OutOfMemoryError as error:
                        self._skip_batch(error)
                    self.at.batches = min(step * freq * self.world_size, self.iterator.num_batches(self.at.epoch))
                    self._after_update(step, total)
                    profile()
                    beat()
                    self.waiting_since = time.perf_counter()
                    if self.stopping:
                        break
        self.manager.close()
        self.reporter.close()
        if self.interrupted:
            raise SystemExit(128 + (self.signal.received or signal.SIGTERM))
        worst = -math.inf if self.config.checkpoint.maximize_best_checkpoint_metric else math.inf
        return worst if self.manager.best is None else self.manager.best

    def train_update(self, batches: list[Batch | None]) -> None:
        """One optimizer step: accumulate the batches, sum over ranks, normalise, clip, step.

        None stands for a batch that other ranks have and this one does not: the first batch stands in, at weight 0.
        Raises: FloatingPointError when the gradient is not finite.
        """
        began = time.perf_counter()
        self.model.train()
        self.criterion.train()
        self.model.set_each("before_forward", self.at.num_updates)
        self.optimizer.zero_grad(set_to_none=True)
        logs: list[dict[str, float | Tensor]] = []
        for number, batch in enumerate(batches):
            weight = 0.0 if batch is None else 1.0
            batch = to_device(self.iterator.first_batch() if batch is None else batch, self.device)
            torch.manual_seed(
                stream_seed(self.config.common.seed, self.at.num_updates, number * self.world_size + self.rank)
            )
            with synchronised(self.wrapped, number == len(batches) - 1):
                with autocast(self.config, self.device):
                    output = self.criterion(self.wrapped, batch)
                loss = output.loss * (weight * (self.scaler.scale if self.scaler else 1.0))
                loss.backward()
            logs.append(self._countable(output, weight))
            self.reporter.batch_done()
        self._step(logs, began)

    def _countable(self, output: CriterionOutput, weight: float) -> dict[str, float | Tensor]:
        counted = {**output.logs, "sample_size": output.sample_size, "batches": 1.0}
        out = {key: value * weight for key, value in counted.items()} if weight != 1.0 else counted
        return {**out, "_signal": float(self.signal.received > 0), "_time": float(self._time_is_up())}

    def _step(self, logs: list[dict[str, float | Tensor]], began: float) -> None:
        """Divide the gradient by the sample_size of all batches and ranks, clip it, step, and count what was logged."""
        average_gradients(self.criterion_parameters)  # DDP averages the model's only
        grads = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        norm = (
            torch.linalg.vector_norm(torch.stack(torch._foreach_norm(grads)))
            if grads
            else torch.zeros((), device=self.device)
        )
        sums, (norm_on_host,) = sum_logs(logs, [norm], self.device)
        self.interrupted = sums.pop("_signal") > 0  # summed over ranks: all of them stop after the same update
        self.stopping = sums.pop("_time") > 0 or self.interrupted or self.stopping
        factor = self.world_size / ((sums["sample_size"] or 1.0) * (self.scaler.scale if self.scaler else 1.0))
        gnorm = norm_on_host * factor
        if not self._usable(gnorm):
            return
        clip_norm = self.config.optimization.clip_norm
        clip = min(1.0, clip_norm / (gnorm + 1e-6)) if clip_norm > 0 else 1.0
        if factor * clip != 1.0:
            torch._foreach_mul_(grads, factor * clip)
        self.optimizer.step()
        self.at.num_updates += 1
        self.model.set_each("after_update", self.at.num_updates)
        if self.average:
            self.average.update(self.model, self.at.num_updates)
        self._set_rate()
        seconds = time.perf_counter() - began
        for tally in (self.train_tally, self.inner_tally):
            tally.add(of_update(sums, self.criterion.averaged), gnorm, clip < 1.0, seconds, began - self.waiting_since)

    def _usable(self, gnorm: float) -> bool:
        """False when this update is to be skipped. Raises: FloatingPointError when training cannot go on."""
        finite = math.isfinite(gnorm)
        if self.scaler is not None:
            self.scaler.update(overflow=not finite)
            if not finite:
                logger.info(
                    "gradient overflow detected, ignoring gradient, setting loss scale to: %g", self.scaler.scale
                )
        elif not finite and not self.config.optimization.skip_nonfinite_updates:
            raise FloatingPointError(f"the gradient norm of update {self.at.num_updates + 1} is {gnorm}")
        elif not finite:
            logger.warning("update skipped: the gradient norm is %s", gnorm)
        return finite

    # ------------------------------------------------------------------ around an update

    def _epoch_plan(self) -> tuple[int, int]:
        """update_freq of this epoch, and the updates in it."""
        freqs = self.config.optimization.update_freq
        if not freqs or min(freqs) < 1:
            raise ConfigError(f"optimization.update_freq is {freqs}; expected batches per update, at least 1")
        freq = freqs[min(self.at.epoch - 1, len(freqs) - 1)]
        rounds = math.ceil(self.iterator.num_batches(self.at.epoch) / self.world_size)
        whole = self.config.optimization.skip_remainder_batch and rounds >= freq
        return freq, rounds // freq if whole else math.ceil(rounds / freq)

    def _groups(self, freq: int, total: int) -> Iterator[list[Batch | None]]:
        """This rank's batches of the rest of the epoch, update by update."""
        batches = iter(self.iterator.batches(self.at.epoch, self.at.batches))
        for _ in range(total - self.at.batches // (freq * self.world_size)):
            yield list(islice(batches, freq))

    def _set_rate(self) -> None:
        rate = self.schedule.rate(self.at.num_updates, self.at.epoch)
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group.get("lr_scale", 1.0)

    def _after_update(self, step: int, total: int) -> None:
        """Print, validate and save as the recipe says; sets `stopping` when training is over."""
        updates, epoch, ends = self.at.num_updates, self.at.epoch, step == total
        if self.inner_tally.updates and updates % self.config.common.log_interval == 0:
            self.reporter.interval(self._train_stats(self.inner_tally), epoch, step, total)
            self.inner_tally = Tally()
        self.stopping = self.stopping or self._last_update_made()
        save = self._save_is_due(ends) or self.stopping
        score = None
        if self._validation_is_due(ends, save) and not self.interrupted:
            score = self._validate()
            self.model.after_validation(self.runs_without_improvement == 0, self.optimizer)
            self.stopping = self._out_of_patience() or self.stopping
        if ends:
            self.reporter.summary("train", self._train_stats(self.train_tally), epoch)
            self._check_learned()
            self.train_tally = Tally()
            self.at.epoch, self.at.batches = epoch + 1, 0
        if save or self.stopping:
            self._save(epoch, ends, score)
        if (
            self.config.common.empty_cache_freq
            and updates % self.config.common.empty_cache_freq == 0
            and self.device.type == "cuda"
        ):
            torch.cuda.empty_cache()

    def _check_learned(self) -> None:
        """Raises: ConfigError after an epoch in which no item had a target."""
        sums = self.train_tally.logs
        if not sums.get("sample_size") and not sums.get("loss") and not sums.get("count"):
            section = self.config.dataset
            raise ConfigError(
                f"no record of {section.train_subset} has a known target: an epoch was trained on nothing. Look at "
                f"task.label_file (NaN is unknown) and at the warnings of the command that made it"
            )

    def _train_stats(self, tally: Tally) -> dict[str, float]:
        stats = self.criterion.metrics(tally.logs, {})
        elapsed = max(tally.seconds + tally.waited, 1e-9)
        stats |= {
            "ups": tally.updates / elapsed,
            "num_updates": self.at.num_updates,
            "lr": self.optimizer.param_groups[0]["lr"],
        }
        stats["gnorm"] = tally.gnorm / max(tally.updates, 1)
        if self.config.optimization.clip_norm > 0:
            stats["clip"] = 100.0 * tally.clipped / max(tally.updates, 1)
        if self.scaler is not None:
            stats["loss_scale"] = self.scaler.scale
        stats["train_wall"] = tally.seconds
        if self.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self.device)
            stats["gb_free"] = free / 2**30
        return {**stats, "wall": time.monotonic() - self.started}

    def _time_is_up(self) -> bool:
        hours = self.config.optimization.stop_time_hours
        return hours > 0 and self._seconds_trained() > hours * 3600

    def _seconds_trained(self) -> float:
        return self.seconds_before + time.monotonic() - self.started

    def _last_update_made(self) -> bool:
        limit = self.config.optimization.max_update
        if 0 < limit <= self.at.num_updates:
            logger.info("Stopping training due to num_updates: %d >= max_update: %d", self.at.num_updates, limit)
            return True
        return False

    def _finished(self) -> bool:
        section = self.config.optimization
        return (
            self._last_update_made()
            or 0 < section.max_epoch < self.at.epoch
            or self.schedule.rate(self.at.num_updates, self.at.epoch) <= section.stop_min_lr
        )

    def _save_is_due(self, ends: bool) -> bool:
        section, updates = self.config.checkpoint, self.at.num_updates
        by_epoch = ends and self.at.epoch % section.save_interval == 0
        every = section.save_interval_updates
        return by_epoch or (every > 0 < updates and updates % every == 0)

    def _validation_is_due(self, ends: bool, save: bool) -> bool:
        section, updates = self.config.dataset, self.at.num_updates
        every = section.validate_interval_updates
        due = (save and not ends) or (ends and self.at.epoch % section.validate_interval == 0) or self.stopping
        due = due or (every > 0 < updates and updates % every == 0)
        return due and bool(self.valid) and updates >= section.validate_after_updates

    # ------------------------------------------------------------------ validation

    def _check_metric(self) -> None:
        """Validate one batch, to know what is printed.

        Raises: ConfigError when the best file is to be chosen by another name.

        Those of single groups (criterion.per_log_keys) depend on the data, and are known after a validation only.
        """
        name = self.config.checkpoint.best_checkpoint_metric
        groups = getattr(self.config.criterion, "per_log_keys", None) or []
        if not self.valid or name == "loss" or any(key in name for key in groups):
            return
        splits = next(iter(self.valid.values()))
        results = {split: self._evaluate(batches, [batches.first_batch()]) for split, batches in splits.items()}
        stats = self.task.subset_metrics(self.criterion, results)
        if name not in stats:
            raise self._not_printed(name, stats)

    def _not_printed(self, name: str, stats: Mapping[str, float]) -> ConfigError:
        guess = nearest(name, stats)
        hint = f"; did you mean '{guess}'?" if guess else "."
        auc = getattr(self.config.criterion, "report_auc", True)
        more = "" if auc else " (criterion.report_auc=true prints auroc and auprc, too)"
        return ConfigError(
            f"checkpoint.best_checkpoint_metric={name} is not printed by {self.config.criterion._name}{hint} Set it: "
            f"choose one of {', '.join(stats)}{more}"
        )

    def _validate(self) -> float:
        """Validate every subset; returns checkpoint.best_checkpoint_metric of the first."""
        name = self.config.checkpoint.best_checkpoint_metric
        scores = []
        for subset, splits in self.valid.items():
            stats = self.task.subset_metrics(
                self.criterion, {split: self._evaluate(batches) for split, batches in splits.items()}
            )
            if name not in stats:
                raise self._not_printed(name, stats)
            best, score = self.best_printed.get(subset), stats[name]
            scores.append((score, best is None or self.manager.is_better(score, than=best)))
            self.best_printed[subset] = score if best is None or scores[-1][1] else best
            self.reporter.summary(
                subset,
                {**stats, "num_updates": self.at.num_updates, f"best_{name}": self.best_printed[subset]},
                self.at.epoch,
            )
        score, improved = scores[0]
        if math.isnan(score) and self.manager.best is None and not self.warned_undefined:
            self.warned_undefined = True
            logger.warning(
                "%s is not defined in %s (too few records with a known answer of each kind?): as long as it is not, "
                "checkpoint_best is the latest state. Validate on more records, or set "
                "checkpoint.best_checkpoint_metric=loss",
                name,
                next(iter(self.valid)),
            )
        self.runs_without_improvement = 0 if improved else self.runs_without_improvement + 1
        return score

    def _evaluate(self, batches: BatchIterator, chosen: list[Batch] | None = None) -> Any:
        section = self.config.dataset
        seed = self.config.common.seed if section.fixed_validation_seed is None else section.fixed_validation_seed
        return evaluate_split(
            self.model,
            self.criterion,
            islice(batches.batches(1), section.max_valid_steps) if chosen is None else chosen,
            self.device,
            seed=seed,
            autocast=lambda: autocast(self.config, self.device),
        )

    def _out_of_patience(self) -> bool:
        """True after `checkpoint.patience` validations without a strictly better score of the first subset."""
        patience = self.config.checkpoint.patience
        if 0 < patience <= self.runs_without_improvement:
            logger.info("early stop since valid performance hasn't improved for last %d runs", patience)
            return True
        return False

    # ------------------------------------------------------------------ checkpoints

    def _save(self, epoch: int, ends: bool, score: float | None) -> None:
        if self.master and not self.config.checkpoint.no_save:
            self.manager.save(
                lambda: self._state(score), epoch=epoch, updates=self.at.num_updates, end_of_epoch=ends, score=score
            )
        barrier()

    def _state(self, score: float | None) -> dict[str, Any]:
        in_epoch = self.at.batches > 0
        ours: dict[str, Any] = {
            "position": {
                "epoch": self.at.epoch,
                "samples": self.iterator.samples_before(self.at.epoch, self.at.batches) if in_epoch else 0,
            },
            "train_tally": self.train_tally.state_dict(),
            "inner_tally": self.inner_tally.state_dict(),
            "best_printed": dict(self.best_printed),
            "runs_without_improvement": self.runs_without_improvement,
            "scaler": self.scaler.state_dict() if self.scaler else None,
            "model": self.model.training_state(self.optimizer),
            "world_size": self.world_size,
            "started_from": self.started_from,
            "published_options": self.published_options,
            "label_digests": self.label_digests,
        }
        return pack_state(
            config=self.config,
            model=self.model,
            criterion=self.criterion,
            optimizer=self.optimizer,
            schedule=self.schedule,
            num_updates=self.at.num_updates,
            epoch=self.at.epoch,
            iterations_in_epoch=self.at.batches // self.world_size,
            val_loss=score,
            best=self.manager.best,
            training_time=self._seconds_trained(),
            average=self.average,
            ours=ours,
        )

    def _restore(self, chosen: Restore, state: RestoredState) -> None:
        """Continue from, or start with the weights of, the checkpoint that the recipe names."""
        state.load_model(self.model, self.criterion)
        if self.average:
            self.average.restore(self.model, state.average)
        if not chosen.reset_optimizer and state.optimizer is not None:
            self.model.load_training_state(state.ours.get("model", {}), self.optimizer)
            state.load_optimizer(self.optimizer, self.criterion, self.config)
            self.at.num_updates = state.num_updates
            self.seconds_before = state.training_time
            if self.scaler and state.ours.get("scaler"):
                self.scaler.load_state_dict(state.ours["scaler"])
            if not chosen.reset_meters:
                self._restore_meters(state)
        elif not chosen.reset_optimizer:
            logger.warning("%s holds no optimizer state: updates, schedule and optimizer start anew", chosen.path)
        if not chosen.reset_dataloader:
            self._restore_position(state)
        resets = [key for key, value in chosen.resets.items() if value]
        self.started_from = state.ours.get("started_from") if chosen.own else None
        if not chosen.own or resets:
            self.started_from = {"path": str(chosen.path.resolve()), "resets": resets}
        logger.info("continuing from %s at epoch %d, update %d", chosen.path, self.at.epoch, self.at.num_updates)

    def _restore_meters(self, state: RestoredState) -> None:
        self.manager.best = state.best
        self.best_printed = dict(state.ours.get("best_printed", {}))
        self.runs_without_improvement = state.ours.get("runs_without_improvement", 0)
        if state.ours.get("inner_tally"):
            self.train_tally = Tally.from_state(state.ours["train_tally"])
            self.inner_tally = Tally.from_state(state.ours["inner_tally"])

    def _restore_position(self, state: RestoredState) -> None:
        """Epoch and batch; the position is kept in items, so it survives another number of ranks."""
        self.at.epoch = state.epoch
        position = state.ours.get("position")
        if position is not None:
            self.at.batches = self.iterator.batch_at(state.epoch, position["samples"]) if position["samples"] else 0
        else:
            self.at.batches = state.iterations_in_epoch * self.world_size
        freq, _ = self._epoch_plan()
        self.at.batches -= self.at.batches % (freq * self.world_size)
        if self.at.batches >= self.iterator.num_batches(self.at.epoch) > 0:
            raise ConfigError(
                f"the checkpoint stands at batch {self.at.batches} of epoch {self.at.epoch}, but the data has "
                f"{self.iterator.num_batches(self.at.epoch)}; if that is meant, set checkpoint.reset_dataloader=true"
            )

    # ------------------------------------------------------------------ accidents

    def _give_up(self, group: list[Batch | None], error: FloatingPointError) -> None:
        """Name the first module whose output is not finite, keep the weights in crash.pt, and end."""
        where = explain_nonfinite(self.model, self.criterion, [to_device(b, self.device) for b in group if b])
        if self.master and not self.config.checkpoint.no_save:
            self.manager.save_crash(lambda: self._state(None))
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
