"""HuBERT-ECG's own names of the Hugging Face classes."""

import functools
from typing import Any

from torch import Tensor

from ecg_signals.interop.huggingface.classes import (
    EcgSignalsConfig,
    EcgSignalsForSequenceClassification,
    EcgSignalsModel,
    register,
)


class HuBERTECGConfig(EcgSignalsConfig):
    model_type = "hubert_ecg"


class HuBERTECGClassificationConfig(EcgSignalsConfig):
    model_type = "hubert_ecg_classification"


class _FlatInput:
    """Takes the published call too: [batch, leads * samples], leads laid end to end."""

    @functools.wraps(EcgSignalsModel.forward)  # transformers' Trainer reads the names of the arguments
    def forward(
        self, input_values: Tensor | None = None, attention_mask: Tensor | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        leads = len(self.model.signal.leads) if self.model.signal else 12  # type: ignore[attr-defined]
        if input_values is not None and input_values.dim() == 2:
            input_values = input_values.unflatten(1, (leads, -1))
            attention_mask = None if attention_mask is None else attention_mask.unflatten(1, (leads, -1))
        return super().forward(input_values, attention_mask, *args, **kwargs)  # type: ignore[misc]


class HuBERTECG(_FlatInput, EcgSignalsModel):  # type: ignore[misc]
    config_class = HuBERTECGConfig


class HuBERTECGForClassification(_FlatInput, EcgSignalsForSequenceClassification):  # type: ignore[misc]
    config_class = HuBERTECGConfig


class HuBERTECGLaterForClassification(_FlatInput, EcgSignalsForSequenceClassification):  # type: ignore[misc]
    """The folder layout that HuBERT-ECG's own package later wrote."""

    config_class = HuBERTECGClassificationConfig


register(HuBERTECGConfig, HuBERTECG, HuBERTECGForClassification)
register(HuBERTECGClassificationConfig, HuBERTECGLaterForClassification, HuBERTECGLaterForClassification)
