"""What a run is made of, built in the one order that every rank and every start repeats."""

import dataclasses
import logging
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from ecg_signals.checkpoint.origin import read_origin
from ecg_signals.checkpoint.state import Trained
from ecg_signals.config import ConfigError
from ecg_signals.criteria.base import BaseCriterion
from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.evaluation.run import batches_of
from ecg_signals.models.base import BaseModel
from ecg_signals.modules.recompute import recompute_layers
from ecg_signals.optim.ema import WeightAverage
from ecg_signals.optim.scaler import LossScaler
from ecg_signals.registry import get_entry
from ecg_signals.runtime.placement import Placement
from ecg_signals.runtime.precision import uses_fp16
from ecg_signals.runtime.strategy import DDP, Strategy
from ecg_signals.sections import Config
from ecg_signals.tables import comma_list
from ecg_signals.tasks.base import BaseTask, warn_unnamed
from ecg_signals.training.start import Start

logger = logging.getLogger(__name__)


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
    section, schedule = config.dataset, config.lr_scheduler._name
    validated = section.validate_interval > 0 and comma_list(section.valid_subset) and not section.disable_validation
    if get_entry("lr_scheduler", schedule).cls.needs_scores and not validated:
        raise ConfigError(
            f"lr_scheduler={schedule} follows the scores of validations at the ends of epochs, and there are none: set "
            f"dataset.disable_validation=false, dataset.validate_interval=1 and dataset.valid_subset"
        )


@dataclass
class Batches:
    """The batches of a run's splits, as this rank sees them."""

    config: Config
    placement: Placement
    device: torch.device
    task: BaseTask

    def train(self, dataset: BaseDataset) -> BatchIterator:
        section = self.config.dataset
        return self._of(dataset, section.batch_size, section.max_tokens, shuffle=True)

    def in_order(self, dataset: BaseDataset) -> BatchIterator:
        """As splits are validated."""
        section = self.config.dataset
        return self._of(dataset, section.batch_size_valid, section.max_tokens_valid, shuffle=False)

    def valid(self, split: str, model: BaseModel, criterion: BaseCriterion) -> BatchIterator:
        """In manifest order, nothing drawn, the labels' columns as the model has them."""
        dataset = self.task.load_dataset(split)
        dataset = dataset.as_evaluated() if dataset.training else dataset  # the split that trains may be named, too
        self.task.align(model, criterion, dataset)
        return self.in_order(dataset)

    def _of(self, dataset: BaseDataset, batch_size: int | None, max_tokens: int | None, shuffle: bool) -> BatchIterator:
        section = self.config.dataset
        return batches_of(
            dataset,
            self.config,
            self.placement,
            self.device,
            batch_size,
            max_tokens,
            shuffle=shuffle,
            required_batch_size_multiple=section.required_batch_size_multiple,
            redraw=section.update_ordered_indices_seed,
            drop_last=section.drop_last and shuffle,
            curriculum=section.curriculum,
        )


def build_model(
    config: Config, task: BaseTask, train: BaseDataset, device: torch.device, ranks: int, start: Start | None
) -> tuple[BaseModel, BaseCriterion]:
    """Model and criterion with the labels of the data, or of the checkpoint that is continued; weights are not loaded.

    Raises: ConfigError where recipe, data and checkpoint do not fit together.
    """
    model = task.build_model(start.stored if start else None).to(device)
    criterion = task.build_criterion().to(device)
    try:
        if start is not None:
            start.check(config, ranks, train)
    except ConfigError:
        task.prepare(model, criterion, train)  # says first what is wrong with the recipe itself
        raise
    _match_labels(start, task, model, criterion, train)
    task.prepare(model, criterion, train)
    if getattr(config.model, "checkpoint_activations", False) and not recompute_layers(model):
        logger.warning("model.checkpoint_activations: %s has no layers that can be recomputed", config.model._name)
    return model, criterion


def _match_labels(
    start: Start | None, task: BaseTask, model: BaseModel, criterion: BaseCriterion, train: BaseDataset
) -> None:
    """A run that continues keeps the labels it was started with: the data's columns follow them, by name."""
    if start is not None:
        stored = start.stored
        model.labels = list(stored.ours.get("labels") or []) or None
        model.origin = {**read_origin(stored.ours.get("origin")), **model.origin}
        warn_unnamed(model, train, str(stored.where))
    found = train.num_labels
    columns = task.align(model, criterion, train)
    if columns is not None and found is not None:
        criterion.select_labels(columns, found)


def build_strategy(config: Config, ranks: int, device: torch.device) -> Strategy:
    """As `distributed_training.ddp_backend` says, where there are several ranks."""
    kind: type[Strategy] = DDP if ranks > 1 else Strategy
    if ranks > 1 and config.distributed_training.ddp_backend == "fully_sharded":
        from ecg_signals.runtime.sharding import FullySharded

        kind = FullySharded
    return kind(config.distributed_training, device, config.common)


def build_optimizer(
    config: Config, model: BaseModel, criterion: BaseCriterion, strategy: Strategy, ranks: int
) -> tuple[nn.Module, Trained]:
    """The model as the criterion calls it, and all that training changes."""
    called = strategy.setup(model)
    groups = model.param_groups(config)
    # In the first group with the recipe's rate, under its options: a group of their own would be another layout
    # of the optimizer's state in checkpoints, which stored runs and fairseq-signals do not have.
    usual = (group for group in groups if group.get("lr_scale", 1.0) == 1.0 and "weight_decay" not in group)
    shared = next(usual, groups[0])
    shared["params"] = [*shared["params"], *trained_parameters(criterion)]
    optimizer = get_entry("optimizer", config.optimizer._name).cls(groups, config.optimizer)
    schedule = get_entry("lr_scheduler", config.lr_scheduler._name).cls(scaled_to_batch(config, ranks))
    average = WeightAverage(model, config.ema) if config.ema.store_ema else None
    freqs = config.optimization.update_freq
    scaler = LossScaler.from_config(config.common, freqs, ranks) if uses_fp16(config.common) else None
    return called, Trained(model, criterion, optimizer, schedule, average, scaler)


def scaled_to_batch(config: Config, ranks: int) -> Any:
    """The options of the schedule, its rates as `optimization.lr_batch_size` says.

    Source: Goyal et al. 2017, Accurate, Large Minibatch SGD, arXiv:1706.02677.
    Raises: ConfigError where an update has no fixed number of items.
    """
    meant, options = config.optimization.lr_batch_size, config.lr_scheduler
    if meant is None:
        return options
    size, freqs = config.dataset.batch_size, set(config.optimization.update_freq)
    if size is None or len(freqs) > 1:
        raise ConfigError(
            f"optimization.lr_batch_size={meant} needs updates of one size, but dataset.batch_size={size} and "
            f"optimization.update_freq={sorted(freqs)}; set dataset.batch_size and one update_freq, or leave it out"
        )
    times = size * ranks * freqs.pop() / meant
    return dataclasses.replace(options, lr=[rate * times for rate in options.lr])


def trained_parameters(module: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in module.parameters() if parameter.requires_grad]
