"""Supervised training on labelled ECG segments."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import numpy as np

from ecg_signals import config
from ecg_signals.config import ConfigError, option
from ecg_signals.criteria.base import BaseCriterion
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.data.label_file import Test
from ecg_signals.data.label_names import listed, matching_columns
from ecg_signals.metrics.logits import LABELS, VALUES, values_behind
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import register_task
from ecg_signals.tasks.base import BaseTask
from ecg_signals.tasks.ecg_pretraining import EcgPretrainingConfig

logger = logging.getLogger(__name__)


@dataclass
class EcgClassificationConfig(EcgPretrainingConfig):
    path_dataset: bool = option(False, "manifest rows point to WFDB records through their `ecg_path`")


@register_task("ecg_classification", dataclass=EcgClassificationConfig)
class EcgClassification(BaseTask):
    LABELS: ClassVar[str] = "task.label_file"  # where labels come from, for messages

    @classmethod
    def dataset_name(cls, cfg: Mapping[str, Any], usual: str) -> str:
        return "ecg_path" if cfg.get("path_dataset") else usual

    def align(self, model: BaseModel, criterion: BaseCriterion, dataset: BaseDataset) -> list[int] | None:
        found = dataset.num_labels
        if found is None or self._class_numbers(criterion, dataset) or not model.labels:
            return None
        names, source = dataset.labels, dataset.label_source
        if names is None:
            if found == len(model.labels):
                logger.warning(
                    "%s does not name its %d columns (no label_def.csv beside it): they are taken to be the model's "
                    "labels in order, %s",
                    source,
                    found,
                    listed(model.labels),
                )
            return None
        columns = matching_columns(model.labels, names, str(source))
        if columns is not None:
            dataset.select_labels(columns)
        return columns

    @staticmethod
    def _class_numbers(criterion: BaseCriterion, dataset: BaseDataset) -> bool:
        """Whether the labels are one column of class numbers, whose name is no label's."""
        return dataset.num_labels == 1 and criterion.takes_class_numbers

    def prepare(self, model: BaseModel, criterion: BaseCriterion, dataset: BaseDataset) -> None:
        """Name the labels, and check that model, criterion and labels agree on their number."""
        wanted, found = getattr(model.cfg, "num_labels", None), dataset.num_labels
        one_column = self._class_numbers(criterion, dataset)
        checked = not one_column and not getattr(self.cfg, "path_dataset", False)
        if checked and wanted is not None and found is not None and int(wanted) != found:
            raise ConfigError(
                f"{self.LABELS} has {found} labels, but model.num_labels={wanted}; set model.num_labels={found}"
            )
        if dataset.labels and not one_column and not model.labels:
            model.labels = list(dataset.labels)
        names = model.labels or [str(index) for index in range(int(wanted or found or 0))]
        criterion.set_labels(names)
        _check_answers(dataset, names, criterion.logits, one_column)
        if dataset.training:
            _check_known(dataset, names)
        super().prepare(model, criterion, dataset)


def _check_answers(dataset: BaseDataset, names: list[str], kind: str | None, class_numbers: bool) -> None:
    """Raises: ConfigError for a label of the table that is none of its kind, such as -1 for a yes-or-no question."""
    wrong: Test
    if kind == VALUES:
        wrong, said = np.isinf, "Write numbers, and NaN for what is unknown"
    elif class_numbers:
        wrong, said = partial(_no_class, len(names)), f"Write whole numbers from 0 to {len(names) - 1}, the classes"
    elif kind == LABELS or values_behind(kind):
        wrong = _no_answer
        said = "Write 1 for yes, 0 for no, a share in between, NaN for what is unknown, or choose another criterion"
    else:
        return
    found = dataset.labels_that_are(wrong)
    if found is None:
        return
    columns = ["class"] if class_numbers else names[: -values_behind(kind) or None]
    told = [f"{name} ({value:g})" for name, value in zip(columns, found) if not np.isnan(value)]
    if told:
        raise ConfigError(f"{dataset.label_source} holds values that are no {kind}: {config.listed(told)}. {said}")


def _no_answer(values: np.ndarray) -> np.ndarray:
    found: np.ndarray = (values < 0) | (values > 1)
    return found


def _no_class(count: int, values: np.ndarray) -> np.ndarray:
    """Unknown ones are negative, or NaN."""
    found: np.ndarray = (values >= count) | ((values >= 0) & (values % 1 != 0))
    return found


def _check_known(dataset: BaseDataset, names: list[str]) -> None:
    """Says which labels nothing is known of. Raises: ConfigError when that is all of them."""
    counts = dataset.known_labels()
    if counts is None or counts.all():
        return
    if not counts.any():
        raise ConfigError(
            f"no record of {dataset.path.name} has a known label: every value of the label table is NaN. Make it again "
            f"with `ecg-preprocess labels`, and look at what that command says it could not match"
        )
    empty = [name for name, count in zip(names, counts) if not count]
    logger.warning("%d of %d labels are unknown in every record, and are not trained: %s", len(empty), len(names),
                   listed(empty))  # fmt: skip
