"""The Hugging Face classes: after `import ecg_signals.hf`, AutoConfig and AutoModel know our folders.

`AutoModel.from_pretrained(FOLDER)` builds the model with `ecg_signals.load_model`; `.last_hidden_state` is the
model's `features`, `.pooler_output` its `pooled`, `.logits` its `logits`.
"""

import os
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

try:
    from transformers import (
        AutoConfig,
        AutoModel,
        AutoModelForSequenceClassification,
        PretrainedConfig,
        PreTrainedModel,
    )
    from transformers.utils import ModelOutput
except ImportError as error:
    raise ImportError('ecg_signals.hf needs transformers: pip install "ecg-signals[hf]"') from error

from ecg_signals.checkpoint.huggingface import OURS, write_folder
from ecg_signals.checkpoint.layout import ModelSource, logit_columns
from ecg_signals.checkpoint.load import build_source, load_source
from ecg_signals.config import ConfigError
from ecg_signals.registry import build
from ecg_signals.signal.contract import SignalContract


@dataclass
class EcgSignalsOutput(ModelOutput):
    """What a model answers; absent parts are None."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    padding_mask: Tensor | None = None


class EcgSignalsConfig(PretrainedConfig):
    """`config.json` of a converted model; all that builds it lies under `ecg_signals`."""

    model_type = "ecg_signals"

    def __init__(self, ecg_signals: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.ecg_signals = ecg_signals or {}
        super().__init__(**kwargs)


class HuBERTECGConfig(EcgSignalsConfig):
    model_type = "hubert_ecg"


class HuBERTECGClassificationConfig(EcgSignalsConfig):
    model_type = "hubert_ecg_classification"


class EcgSignalsModel(PreTrainedModel):
    """Any of our models behind transformers' interface; the model itself is `.model`, with `.labels` and `.signal`."""

    config_class: type[PretrainedConfig] = EcgSignalsConfig
    base_model_prefix = "model"
    main_input_name = "input_values"
    _supports_sdpa = True

    def __init__(self, config: PretrainedConfig, model: Any = None) -> None:
        super().__init__(config)
        self.model = model if model is not None else _from_config(config)
        self.source: ModelSource | None = None
        self.post_init()

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Nothing: our models initialise themselves."""

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *_: Any, **kwargs: Any) -> Any:
        """The model of a folder or of `org/name` on the hub, as `ecg_signals.load_model` builds it."""
        source = load_source(pretrained_model_name_or_path)
        config = kwargs.get("config")
        if not isinstance(config, PretrainedConfig):
            config = cls.config_class(**source.raw["huggingface"])
        new = cls(config, build_source(source))
        new.source = source
        dtype = kwargs.get("dtype", kwargs.get("torch_dtype"))
        if isinstance(dtype, torch.dtype):
            new.to(dtype)  # type: ignore[arg-type]
        new.eval()
        return (new, {"missing_keys": []}) if kwargs.get("output_loading_info") else new

    def save_pretrained(self, save_directory: str | os.PathLike[str], *_: Any, **kwargs: Any) -> None:
        """Write the folder that `ecg-convert --to hf` writes."""
        if not kwargs.get("is_main_process", True):
            return
        options = {key: value for key, value in self.model.cfg.to_dict().items() if key != "_name"}
        state = kwargs.get("state_dict") or self.model.state_dict()
        state = {key.removeprefix("model."): value for key, value in state.items()}
        source = ModelSource(
            name=self.model.cfg._name,
            options=options,
            state=state,
            labels=self.model.labels,
            signal=self.model.signal,
            cfg=self.source.cfg if self.source else {},
            layout=self.source.layout if self.source else "",
        )
        write_folder(source, save_directory)
        if kwargs.get("push_to_hub"):
            raise ConfigError(f"{save_directory} is written; upload it with `hf upload ORG/NAME {save_directory}`")

    def forward(
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
        source: Tensor | None = None,
        padding_mask: Tensor | None = None,
    ) -> Any:
        """Encode windows.

        Args:
            input_values: [batch, leads, samples] as `model.signal.prepare` returns it; `source` is the same.
            attention_mask: [batch, samples] or [batch, leads, samples], 1 = keep; `padding_mask` is its opposite.
            labels: targets of the logits; floats for several labels at once, integers for one class each.
            output_hidden_states: also return the output of every layer.
        """
        source = input_values if source is None else source
        if source is None:
            raise ValueError("give input_values [batch, leads, samples]")
        if attention_mask is not None:
            padding_mask = attention_mask == 0
        if output_hidden_states:
            found = self.model.extract_features(source, padding_mask=padding_mask, layers="all")
        else:
            found = self.model(source, padding_mask=padding_mask)
        logits = found.get("logits")
        output = EcgSignalsOutput(
            loss=_loss(logits, labels),
            logits=logits,
            last_hidden_state=found["features"],
            pooler_output=found.get("pooled"),
            hidden_states=tuple(found["hidden_states"]) if output_hidden_states else None,
            padding_mask=found.get("padding_mask"),
        )
        return output if return_dict is not False else output.to_tuple()


class EcgSignalsForSequenceClassification(EcgSignalsModel):
    """A model with a head. Raises: ConfigError for one without."""

    def __init__(self, config: PretrainedConfig, model: Any = None) -> None:
        super().__init__(config, model)
        if logit_columns(self.model.cfg.to_dict()) is None:
            raise ConfigError(
                f"the model '{self.model.cfg._name}' has no classification head; load it with AutoModel, or fine-tune "
                f"it: ecg-train --config-name finetune/diagnosis model.model_path=FOLDER"
            )


class _FlatInput:
    """Takes the published call too: [batch, leads * samples], leads laid end to end."""

    def forward(self, input_values: Tensor | None = None, attention_mask: Tensor | None = None, **kwargs: Any) -> Any:
        leads = len(self.model.signal.leads) if self.model.signal else 12  # type: ignore[attr-defined]
        if input_values is not None and input_values.dim() == 2:
            input_values = input_values.unflatten(1, (leads, -1))
            attention_mask = None if attention_mask is None else attention_mask.unflatten(1, (leads, -1))
        return super().forward(input_values, attention_mask, **kwargs)  # type: ignore[misc]


class HuBERTECG(_FlatInput, EcgSignalsModel):  # type: ignore[misc]
    config_class = HuBERTECGConfig


class HuBERTECGForClassification(_FlatInput, EcgSignalsForSequenceClassification):  # type: ignore[misc]
    config_class = HuBERTECGConfig


class HuBERTECGLaterForClassification(_FlatInput, EcgSignalsForSequenceClassification):  # type: ignore[misc]
    """The folder layout that HuBERT-ECG's own package later wrote."""

    config_class = HuBERTECGClassificationConfig


def _from_config(config: PretrainedConfig) -> Any:
    ours = getattr(config, OURS, None) or {}
    if not ours:
        raise ConfigError("this config.json does not say how the model is built; use from_pretrained on its folder")
    model = build("model", ours["name"], **ours["options"])
    model.labels = ours.get("labels")
    model.signal = SignalContract.from_dict(ours["signal"]) if ours.get("signal") else None
    return model


def _loss(logits: Tensor | None, labels: Tensor | None) -> Tensor | None:
    if logits is None or labels is None:
        return None
    if labels.is_floating_point():
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)
    return torch.nn.functional.cross_entropy(logits, labels.flatten())


for _config, _model, _classifier in (
    (EcgSignalsConfig, EcgSignalsModel, EcgSignalsForSequenceClassification),
    (HuBERTECGConfig, HuBERTECG, HuBERTECGForClassification),
    (HuBERTECGClassificationConfig, HuBERTECGLaterForClassification, HuBERTECGLaterForClassification),
):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
    AutoModelForSequenceClassification.register(_config, _classifier, exist_ok=True)
