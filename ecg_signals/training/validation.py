"""When a run validates, on which splits, and what it makes of the score that decides about the best checkpoint."""

import logging
import math
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import torch

from ecg_signals.config import ConfigError
from ecg_signals.criteria.base import BaseCriterion
from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.data.label_names import listed
from ecg_signals.evaluation.results import Answers, SplitResults, printed, undefined_labels
from ecg_signals.evaluation.run import evaluate_split
from ecg_signals.evaluation.windows import by_windows, judge_of_windows
from ecg_signals.interop.layout import logit_kind_of
from ecg_signals.metrics.base import make_metrics
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import hint, register_metric
from ecg_signals.reporting import Reporter
from ecg_signals.runtime.precision import autocast
from ecg_signals.sections import Config, DatasetConfig
from ecg_signals.tables import comma_list
from ecg_signals.tasks.base import BaseTask
from ecg_signals.training.building import Batches
from ecg_signals.training.features import FeatureCache

logger = logging.getLogger(__name__)


class Validation:
    """The validations of one run.

    Args:
        config: the composed recipe.
        task, model, criterion: what is validated, on which data.
        device: where the model is.
        batches: makes those of a split.
        is_better: whether a score is strictly better than another, as checkpoints are chosen.
    Attributes:
        best_printed: subset -> its best score so far.
        runs_without_improvement: validations since the first subset's best.
        best_update: the update of that best one.
    """

    def __init__(
        self,
        config: Config,
        task: BaseTask,
        model: BaseModel,
        criterion: BaseCriterion,
        device: torch.device,
        batches: Batches,
        is_better: Callable[[float, float], bool],
    ) -> None:
        self.config, self.task, self.model, self.criterion, self.device = config, task, model, criterion, device
        self.is_better = is_better
        self.kind = model.logit_kind or logit_kind_of(config.to_dict())
        make_metrics(config.common_eval.metrics or (), self.kind)  # an error before the first update
        self.best_printed: dict[str, float] = {}
        self.runs_without_improvement = 0
        self.best_update = 0
        self.said_undefined: set[str] = set()
        self.warned_undefined = False
        self.features: FeatureCache | None = None  # where batches may come from that hold features in place of signals
        names = [] if config.dataset.disable_validation else _subsets(task, config.dataset)
        self.subsets = {
            name: {split: batches.valid(split, model, criterion) for split in task.splits_of(name)} for name in names
        }

    def iterators(self) -> list[BatchIterator]:
        return [batches for splits in self.subsets.values() for batches in splits.values()]

    def is_due(self, num_updates: int, epoch: int, ends: bool, save: bool, last: bool) -> bool:
        """After this update, which `ends` the epoch or not, after which a `save` is due or not, the `last` or not."""
        section = self.config.dataset
        every = section.validate_interval_updates
        by_epoch = section.validate_interval > 0 and epoch % section.validate_interval == 0
        due = (save and not ends) or (ends and by_epoch) or last
        due = due or (every > 0 < num_updates and num_updates % every == 0)
        return due and bool(self.subsets) and num_updates >= section.validate_after_updates

    def check_metric(self) -> None:
        """Validate one batch, to know what is printed.

        Raises: ConfigError when the best file is to be chosen by another name.

        Those of single groups (criterion.per_log_keys) depend on the data, and are known after a validation only.
        """
        name = self.config.checkpoint.best_checkpoint_metric
        if self.subsets and name in self.task.says_nothing:
            logger.warning(
                "checkpoint.best_checkpoint_metric=%s is the same whatever %s has learned, so that checkpoint_best is "
                "the latest state: set %s",
                name, self.config.task._name, self.task.says_nothing[name],
            )  # fmt: skip
        groups = getattr(self.config.criterion, "per_log_keys", None) or []
        if not self.subsets or name == "loss" or any(key in name for key in groups):
            return
        splits = next(iter(self.subsets.values()))
        self._metric_of(self._statistics(splits, first_batch=True))

    def _metric_of(self, stats: Mapping[str, float]) -> float:
        """checkpoint.best_checkpoint_metric. Raises: ConfigError when it is not there."""
        name = self.config.checkpoint.best_checkpoint_metric
        if name in stats:
            return stats[name]
        auc = getattr(self.config.criterion, "report_auc", True)
        more = f" (common_eval.metrics=[{name}] prints it)" if name in register_metric.names() else ""
        more = more if auc else " (criterion.report_auc=true prints auroc and auprc, too)"
        raise ConfigError(
            f"checkpoint.best_checkpoint_metric={name} is not printed by {self.config.criterion._name}"
            f"{hint(name, stats)} Set it: choose one of {', '.join(stats)}{more}"
        )

    def run(self, num_updates: int, epoch: int, reporter: Reporter, first: bool) -> float:
        """Validate every subset; returns checkpoint.best_checkpoint_metric of the first one.

        Args:
            first: no score has been defined so far.
        """
        name = self.config.checkpoint.best_checkpoint_metric
        scores = []
        for subset, splits in self.subsets.items():
            if self.features is not None:
                splits |= {split: self.features.valid(batches) for split, batches in splits.items()}
            stats = self._statistics(splits)
            best, score = self.best_printed.get(subset), self._metric_of(stats)
            better = best is None or (math.isnan(best) and not math.isnan(score)) or self.is_better(score, best)
            scores.append((score, better))
            self.best_printed[subset] = score if best is None or scores[-1][1] else best
            line = {**stats, "num_updates": num_updates, f"best_{name}": self.best_printed[subset]}
            reporter.summary(subset, line, epoch)
        score, improved = scores[0]
        if math.isnan(score) and first and not self.warned_undefined:
            self.warned_undefined = True
            logger.warning(
                "%s is not defined in %s (too few records with a known answer of each kind?): as long as it is not, "
                "checkpoint_best is the latest state. Validate on more records, or set "
                "checkpoint.best_checkpoint_metric=loss",
                name,
                next(iter(self.subsets)),
            )
        self.runs_without_improvement = 0 if improved else self.runs_without_improvement + 1
        self.best_update = num_updates if improved else self.best_update
        return score

    def _statistics(self, splits: Mapping[str, BatchIterator], first_batch: bool = False) -> dict[str, float]:
        """What is printed of a subset, or of the first batch of its splits."""
        results = {split: self._evaluate(batches, first_batch) for split, batches in splits.items()}
        return printed(self.task, self.criterion, results, self.config.common_eval.metrics)

    def _evaluate(self, batches: BatchIterator, first_batch: bool) -> tuple[Any, SplitResults | None]:
        section, common, asked = self.config.dataset, self.config.common, self.config.common_eval
        metrics = asked.metrics
        answers = [Answers(batches.dataset, self.model.labels, self.kind, metrics, asked.absent)] if metrics else []
        cutting = batches.dataset.cutting
        judged = evaluate_split(
            by_windows(self.model, cutting, self.kind),
            judge_of_windows(self.criterion, cutting),
            [batches.first_batch()] if first_batch else islice(batches.batches(1), section.max_valid_steps),
            self.device,
            seed=common.seed if section.fixed_validation_seed is None else section.fixed_validation_seed,
            autocast=lambda: autocast(common, self.device),
            consumers=answers,
        )
        if not first_batch:
            self._say_undefined(batches.dataset, judged[1])
        return judged, answers[0].finish() if answers else None

    def _say_undefined(self, dataset: BaseDataset, scores: Mapping[str, Any]) -> None:
        """Once for a split: the labels that means leave out."""
        labels = undefined_labels(scores, self.model.labels)
        if labels and str(dataset.path) not in self.said_undefined:
            self.said_undefined.add(str(dataset.path))
            logger.warning("%d labels are left out of auroc, as %s has no known record with, or none without: %s",
                           len(labels), dataset.path, listed(labels))  # fmt: skip


def _subsets(task: BaseTask, section: DatasetConfig) -> list[str]:
    """The entries of dataset.valid_subset.

    Raises: ConfigError, as fairseq does, when a validation manifest lies there that is neither named nor waved through.
    """
    subsets = comma_list(section.valid_subset)
    folder = Path(str(task.cfg.to_dict()["data"]))  # ??? where the dataset names its files itself
    used = {split for subset in subsets for split in task.splits_of(subset)}
    found = {path.stem for pattern in ("valid[0-9]*.tsv", "valid_[0-9]*.tsv") for path in folder.glob(pattern)}
    unused = sorted(found - used)
    if unused and not section.ignore_unused_valid_subsets:
        raise ConfigError(
            f"{folder} also holds {', '.join(unused)}; add them to dataset.valid_subset or set "
            f"dataset.ignore_unused_valid_subsets=true"
        )
    return subsets
