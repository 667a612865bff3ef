"""What every task is: it owns the splits and builds dataset, model and criterion by registered name."""

import dataclasses
import logging
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ecg_signals.checkpoint.initialise import begin_model, continue_model
from ecg_signals.checkpoint.state import RestoredState
from ecg_signals.config import BaseConfig
from ecg_signals.criteria.base import BaseCriterion
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.data.label_names import listed
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import get_entry
from ecg_signals.sections import Config
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.windows import Cutting

logger = logging.getLogger(__name__)


class BaseTask:
    """Built as `cls(cfg, config)`: its own options and the whole Config (alone: the sections' defaults).

    Class attribute `says_nothing`: statistics of its validations that tell no good model from a bad one, each with the
    settings that choose another one.
    """

    says_nothing: ClassVar[dict[str, str]] = {}

    PEER_METHODS: ClassVar[dict[str, str]] = {
        "setup_task": "__init__(self, cfg, config)",
        "train_step": "nothing: the trainer calls criterion(model, batch) itself",
    }

    def __init__(self, cfg: BaseConfig, config: Config | None = None) -> None:
        self.cfg = cfg
        self.config = Config() if config is None else config
        self.datasets: dict[str, BaseDataset] = {}

    @classmethod
    def dataset_name(cls, cfg: Mapping[str, Any], usual: str) -> str:
        """The registered dataset when the recipe names none; `usual` is the criterion's, `cfg` the plain section."""
        return usual

    def splits_of(self, subset: str) -> list[str]:
        """Manifest names behind one entry of `dataset.train_subset` or `dataset.valid_subset`."""
        return [subset]

    def load_dataset(self, split: str, *, training: bool = False) -> BaseDataset:
        """The split's dataset, built once. Raises: ConfigError naming the manifest that is missing."""
        if split not in self.datasets:
            entry = get_entry("dataset", self.config.dataset._name or "ecg_file")
            path = entry.cls.find(self.config.dataset, self.cfg, split)
            self.datasets[split] = entry.cls(self.config.dataset, path, training=training, seed=self.config.common.seed)
        return self.datasets[split]

    def align(self, model: BaseModel, criterion: BaseCriterion, dataset: BaseDataset) -> list[int] | None:
        """Bring the dataset's labels into the order of the model's, by name; before `prepare`, and for every split.

        Returns: the columns that were chosen, None where nothing had to change.
        Raises: ConfigError listing the difference when the names are not the model's.
        """
        return None

    def prepare(self, model: BaseModel, criterion: BaseCriterion, dataset: BaseDataset) -> None:
        """Called once with the training data before training. Raises: ConfigError for what does not fit together."""
        contract = dataset.input_contract()
        if contract is not None:
            contract = contract if model.signal is None else succeed(model.signal, contract)
            model.signal = in_windows(contract, dataset.cutting)
        elif dataset.training:
            kept = "none" if model.signal is None else "the pretrained model's"
            logger.warning(
                "the training data do not say how a raw record becomes their input (rate unknown, leads drawn per "
                "item, rows without names, ...): checkpoints state %s as input contract, which ecg-predict goes by",
                kept,
            )
        model.origin["records"] = dataset.records()
        criterion.prepare(model, dataset)

    def subset_metrics(
        self, criterion: BaseCriterion, results: Mapping[str, tuple[dict[str, float], dict[str, np.ndarray]]]
    ) -> dict[str, float]:
        """Printed statistics of one validation subset from its splits' (logs, scores)."""
        (logs, scores), *_ = results.values()
        return criterion.metrics(logs, scores)

    def build_model(self, restored: RestoredState | None = None) -> BaseModel:
        """The recipe's model; `restored`: the checkpoint whose weights it is about to get, of the run that goes on."""
        section = self.config.model
        return begin_model(section) if restored is None else continue_model(section, restored)

    def build_criterion(self) -> BaseCriterion:
        return get_entry("criterion", self.config.criterion._name).cls(self.config.criterion)


def warn_unnamed(model: BaseModel, dataset: BaseDataset, where: str) -> None:
    """Says it where the data name their labels, but the model, the file `where`, does not."""
    if not model.labels and dataset.labels:
        logger.warning("%s does not name its labels: the columns of %s are taken in order, %s", where, dataset.path,
                       listed(dataset.labels))  # fmt: skip


def succeed(pretrained: SignalContract, data: SignalContract) -> SignalContract:
    """The contract of a model trained further on `data`; warns where that is not what it was pretrained on."""
    if pretrained.sample_rate != data.sample_rate:
        logger.warning(
            "the model was pretrained at %g Hz, but the training data have %g Hz; segments of the same rate "
            "(ecg-preprocess ... sample_rate=%g) fit its filters",
            pretrained.sample_rate,
            data.sample_rate,
            pretrained.sample_rate,
        )
    elif pretrained.steps != data.steps:
        old, new = ([step for step in one.steps if step not in other.steps] for one, other in
                    ((pretrained, data), (data, pretrained)))  # fmt: skip
        logger.warning("the model was pretrained on input made with %s, the training data are made with %s", old, new)
    return dataclasses.replace(
        data,
        zero_missing_leads=data.zero_missing_leads or pretrained.zero_missing_leads,
        aggregate=dict(pretrained.aggregate),
    )


def in_windows(contract: SignalContract, cutting: Cutting | None) -> SignalContract:
    """The contract with the windows, and the rule that joins them, by which the model is validated."""
    if cutting is None:
        return contract
    return dataclasses.replace(
        contract,
        window_samples=cutting.samples,
        stride_samples=cutting.stride,
        window_count=cutting.count,
        aggregate={**contract.aggregate, "*": cutting.rule},
    )
