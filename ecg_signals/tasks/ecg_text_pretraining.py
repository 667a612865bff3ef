"""Pretraining on ECGs and their reports."""

from collections.abc import Mapping
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.criteria.base import BaseCriterion
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.data.text.tokenizer import Tokenizer
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import get_entry, register_task
from ecg_signals.tasks.base import BaseTask
from ecg_signals.tasks.ecg_pretraining import EcgPretrainingConfig


@register_task("ecg_text_pretraining", dataclass=EcgPretrainingConfig)
class EcgTextPretraining(BaseTask):
    """The criteria m3ae and medvill, on dataset ecg_text."""

    @classmethod
    def dataset_name(cls, cfg: Mapping[str, Any], usual: str) -> str:
        return "ecg_text"

    def prepare(self, model: BaseModel, criterion: BaseCriterion, dataset: BaseDataset) -> None:
        if criterion.of_model and not isinstance(model, get_entry("model", criterion.of_model).cls):
            raise ConfigError(
                f"criterion._name={criterion.cfg._name} judges a model '{criterion.of_model}', but this is "
                f"'{model.cfg._name}'; set model._name={criterion.of_model}, or another criterion"
            )
        check_vocabulary(model, getattr(dataset, "tokenizer", None))
        super().prepare(model, criterion, dataset)


def check_vocabulary(model: BaseModel, tokenizer: Tokenizer | None) -> None:
    """Raises: ConfigError where the tokenizer has numbers that the model has no embedding for, or others of its own."""
    if tokenizer is None:
        return
    for key, number in (("pad_token", tokenizer.pad), ("sep_token", tokenizer.separator)):
        if getattr(model.cfg, key, number) != number:
            raise ConfigError(
                f"the model has {key}={getattr(model.cfg, key)}, but that is {number} in {tokenizer.path}; give the "
                f"vocabulary that the model was pretrained with, or set model.{key}={number} for a new one"
            )
    size = getattr(model.cfg, "vocab_size", None)
    if size is not None and len(tokenizer) > size:
        raise ConfigError(
            f"{tokenizer.path} has {len(tokenizer):,} tokens, but model.vocab_size={size:,}; set "
            f"model.vocab_size={len(tokenizer)}, or give the vocabulary that the model was pretrained with"
        )
