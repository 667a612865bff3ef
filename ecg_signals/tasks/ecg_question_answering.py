"""Questions about one ECG or two, each answered by some of the answers that it may have."""

import inspect
from collections.abc import Mapping
from typing import Any, ClassVar

from ecg_signals.config import ConfigError
from ecg_signals.criteria.base import BaseCriterion
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import register_task
from ecg_signals.tasks.ecg_classification import EcgClassification
from ecg_signals.tasks.ecg_pretraining import EcgPretrainingConfig
from ecg_signals.tasks.ecg_text_pretraining import check_vocabulary


@register_task("ecg_question_answering", dataclass=EcgPretrainingConfig)
class EcgQuestionAnswering(EcgClassification):
    """Source: Oh et al. 2023, ECG-QA, arXiv:2306.15681."""

    LABELS: ClassVar[str] = "answers.csv"

    @classmethod
    def dataset_name(cls, cfg: Mapping[str, Any], usual: str) -> str:
        return "ecg_qa"

    def prepare(self, model: BaseModel, criterion: BaseCriterion, dataset: BaseDataset) -> None:
        if not model.further_inputs and "text" not in inspect.signature(model.forward).parameters:
            raise ConfigError(
                f"a model '{model.cfg._name}' takes no question; set model._name=m3ae_qa, resnet_lstm_classifier, "
                f"ecg_language_transformer_classifier, blind_transformer_qa or deaf_transformer_qa"
            )
        check_vocabulary(model, getattr(dataset, "tokenizer", None))
        super().prepare(model, criterion, dataset)
