"""Our models behind transformers' interface; `ecg_signals.hf` is where users import them from."""

import contextlib
import functools
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, ClassVar

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

from ecg_signals.checkpoint.hub import fetch, is_hub_name
from ecg_signals.checkpoint.load import build_source, complete, load_source
from ecg_signals.checkpoint.origin import read_origin
from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.interop.huggingface.layout import KINDS_OF_PROBLEMS, OURS, folder_config, write_folder
from ecg_signals.interop.layout import (
    ModelSource,
    check_logit_kind,
    label_names,
    logit_columns,
    logits_option,
    model_options,
)
from ecg_signals.metrics.calibrated import read_calibration, unweighted
from ecg_signals.models.hubert.layers import Attention, Block
from ecg_signals.modules.attention import SelfAttention, attention_weights
from ecg_signals.modules.transformer import TransformerLayer
from ecg_signals.registry import get_entry
from ecg_signals.runtime.placement import compute_device
from ecg_signals.signal.contract import SignalContract

_ANY_DEVICE = ("auto", "balanced", "balanced_low_0", "sequential")  # values of transformers' device_map
# arguments of transformers' from_pretrained: what is passed to the hub, and what changes nothing in the result
_HUB_OPTIONS = ("revision", "cache_dir", "token", "local_files_only", "force_download")
_WITHOUT_EFFECT = (
    "trust_remote_code", "code_revision", "low_cpu_mem_usage", "use_safetensors", "weights_only", "adapter_kwargs",
    "_from_auto", "_from_pipeline", "_commit_hash", "_fast_init",
)  # fmt: skip


@dataclass
class EcgSignalsOutput(ModelOutput):
    """What a model answers; absent parts are None."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    padding_mask: Tensor | None = None
    attentions: tuple[Tensor, ...] | None = None
    mask_time_indices: Tensor | None = None


class EcgSignalsConfig(PretrainedConfig):
    """`config.json` of a converted model; all that builds it lies under `ecg_signals`."""

    model_type = "ecg_signals"
    # transformers' Trainer then takes the logits alone for predictions
    keys_to_ignore_at_inference: ClassVar[list[str]] = [
        "last_hidden_state", "pooler_output", "hidden_states", "padding_mask", "attentions", "mask_time_indices",
    ]  # fmt: skip

    def __init__(self, ecg_signals: dict[str, Any] | None = None, **kwargs: Any) -> None:
        self.ecg_signals = ecg_signals or {}
        super().__init__(**kwargs)


class EcgSignalsModel(PreTrainedModel):
    """Any of our models behind transformers' interface; the model itself is `.model`, with `.labels` and `.signal`.

    Weights have the names that the folder's file has, `.model`'s own: `load_state_dict` takes such a file, which is how
    transformers' Trainer resumes and reloads the best checkpoint.
    """

    config_class: type[PretrainedConfig] = EcgSignalsConfig
    base_model_prefix = "model"
    main_input_name = "input_values"
    _supports_sdpa = True

    def __init__(self, config: PretrainedConfig, model: Any = None) -> None:
        super().__init__(config)
        self.model = model if model is not None else _from_config(config)
        self.source: ModelSource | None = None
        self.supports_gradient_checkpointing = bool(self._blocks())
        if self.supports_gradient_checkpointing:
            self.gradient_checkpointing = False
        self.register_state_dict_post_hook(_without_prefix)
        self.register_load_state_dict_pre_hook(_with_prefix)
        self.post_init()

    def train(self, mode: bool = True) -> Any:
        """In training the model stops being the one that its calibration was made for."""
        if mode and self.model.calibration is not None:
            self.model.calibration = unweighted(len(self.model.calibration.log_pos_weight))
        return super().train(mode)

    def _init_weights(self, module: torch.nn.Module) -> None:
        """Nothing: our models initialise themselves."""

    def _blocks(self) -> list[torch.nn.Module]:
        return [module for module in self.model.modules() if isinstance(module, (TransformerLayer, Block))]

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *model_args: Any, **kwargs: Any) -> Any:
        """The model of a folder or of `org/name` on the hub, as `ecg_signals.load_model` builds it.

        Args:
            kwargs: `config`, or keys of it (`num_labels`, `id2label`, `problem_type`, `output_hidden_states`, ...);
                keys of the model's dataclass; `ignore_mismatched_sizes`, `dtype`, `device_map` (one device),
                `state_dict`, `output_loading_info`, and what the hub takes.
        Raises: ConfigError naming any other; for a head of another size without `ignore_mismatched_sizes=True`.
        """
        if model_args:
            raise ConfigError(f"from_pretrained takes a folder and keyword arguments; found {len(model_args)} more")
        source = load_source(_local(pretrained_model_name_or_path, kwargs))
        loading = {key: kwargs.pop(key, None) for key in ("device_map", "output_loading_info", "state_dict")}
        dtypes = [kwargs.pop(key, None) for key in ("dtype", "torch_dtype")]
        fresh_head = kwargs.pop("ignore_mismatched_sizes", False)
        for key in _WITHOUT_EFFECT:
            kwargs.pop(key, None)
        if loading["state_dict"] is not None:
            source = replace(source, state=dict(loading["state_dict"]))
        config, overrides = _configured(cls, source, kwargs)
        resized = logits_option(source.options) in overrides
        if resized and not fresh_head:
            raise ConfigError(
                f"{source.where} has a head for {source.logits} labels, num_labels={config.num_labels}; add "
                f"ignore_mismatched_sizes=True to start with a fresh head, or leave num_labels out"
            )
        new = cls(config, build_source(source, **overrides))
        new._describe(source)
        new.to(device=_device(loading["device_map"]), dtype=_dtype(dtypes, config, source))  # type: ignore[call-arg]
        new.eval()
        if loading["output_loading_info"]:
            return new, {key: [] for key in ("missing_keys", "unexpected_keys", "mismatched_keys", "error_msgs")}
        return new

    def _describe(self, source: ModelSource) -> None:
        """Labels of `model` and `config` agree, and `config` alone rebuilds the model; the weights are let go."""
        self.model.labels = label_names(self.config.id2label) or (
            source.labels if source.logits == logit_columns(self.model.cfg.to_dict()) else None
        )
        self.source = replace(source, state={}, raw={})
        self.config.ecg_signals = folder_config(self._as_source({}))[OURS]

    def _as_source(self, state: dict[str, Tensor]) -> ModelSource:
        options = {key: value for key, value in self.model.cfg.to_dict().items() if key != "_name"}
        return ModelSource(
            name=self.model.cfg._name,
            options=options,
            state=state,
            labels=self.model.labels,
            signal=self.model.signal,
            cfg=self.source.cfg if self.source else {},
            layout=self.source.layout if self.source else "",
            logit_kind=KINDS_OF_PROBLEMS.get(str(self.config.problem_type), self.model.logit_kind),
            origin=self.model.origin,
            calibration=self.model.calibration,
        )

    def save_pretrained(self, save_directory: str | os.PathLike[str], *_: Any, **kwargs: Any) -> None:
        """Write the folder that `ecg-convert --to hf` writes, with what else `config` holds, such as problem_type."""
        if not kwargs.get("is_main_process", True):
            return
        if kwargs.get("safe_serialization") is False or kwargs.get("variant"):
            raise ConfigError("folders are written with model.safetensors alone; leave safe_serialization, variant out")
        own = self.model.state_dict()
        state = kwargs.get("state_dict") or own
        state = {key if key in own else key.removeprefix("model."): value for key, value in state.items()}
        write_folder(self._as_source(state), save_directory, self.config.to_diff_dict())
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
        output_attentions: bool | None = None,
        mask_time_indices: Tensor | None = None,
        text: Tensor | None = None,
        text_padding_mask: Tensor | None = None,
        ecg_2: Tensor | None = None,
        ecg_2_padding_mask: Tensor | None = None,
    ) -> Any:
        """Encode windows.

        Args:
            input_values: [batch, leads, samples] as `model.signal.prepare` returns it; `source` is the same.
            attention_mask: [batch, samples] or [batch, leads, samples], 1 = keep; `padding_mask` is its opposite.
            labels: targets of the logits; `config.problem_type` says of which kind, else floats are several labels at
                once and integers one class each. NaN is an unknown label, left out of the loss.
            output_hidden_states: also return the output of every layer; None: as `config` says.
            return_dict: False for a tuple without what is absent; None: as `config` says.
            output_attentions: also return the attention of every layer, [batch, heads, query, key] each.
            mask_time_indices: [batch, frames], frames to hide; HuBERT-ECG's pretraining model alone takes them.
            text, text_padding_mask: int64 and bool [batch, tokens], the tokens of a question or report, and True where
                there are none; `ecg_2` and `ecg_2_padding_mask`: a second ECG. Models of texts alone take them.
        Raises: ConfigError for what the model does not take.
        """
        source = input_values if source is None else source
        if source is None:
            raise ValueError("give input_values [batch, leads, samples]")
        if attention_mask is not None:
            padding_mask = attention_mask == 0
        further = {"text": text, "text_padding_mask": text_padding_mask, "ecg_2": ecg_2,
                   "ecg_2_padding_mask": ecg_2_padding_mask}  # fmt: skip
        further = {key: value for key, value in further.items() if value is not None}
        refused = [key for key in further if key not in self.model.further_inputs]
        if refused:
            raise ConfigError(f"'{self.model.cfg._name}' takes no {', '.join(refused)}; leave it out")
        config = self.config
        hidden = config.output_hidden_states if output_hidden_states is None else output_hidden_states
        attend = config.output_attentions if output_attentions is None else output_attentions
        masked = {} if mask_time_indices is None else {"mask": True, "mask_time_indices": mask_time_indices}
        if masked and ("mask_time_indices" not in inspect.signature(self.model.forward).parameters or hidden):
            raise ConfigError(
                f"mask_time_indices are not taken by '{self.model.cfg._name}', or not with output_hidden_states; "
                f"'hubert_ecg' takes them"
            )
        with contextlib.ExitStack() as stack:
            maps = stack.enter_context(_attention_of(self.model)) if attend else None
            if self.training and getattr(self, "gradient_checkpointing", False):
                stack.enter_context(_recomputed(self._blocks(), self._gradient_checkpointing_func))
            if hidden:
                found = self.model.extract_features(source, padding_mask=padding_mask, layers="all", **further)
            else:
                found = self.model(source, padding_mask=padding_mask, **masked, **further)
        logits = found.get("logits")
        output = EcgSignalsOutput(
            loss=_loss(logits, labels, config.problem_type),
            logits=logits,
            last_hidden_state=found["features"],
            pooler_output=found.get("pooled"),
            hidden_states=tuple(found["hidden_states"]) if hidden else None,
            padding_mask=found.get("padding_mask"),
            attentions=None if maps is None else tuple(maps),
            mask_time_indices=found.get("mask_time_indices"),
        )
        return output if (config.return_dict if return_dict is None else return_dict) else output.to_tuple()


class EcgSignalsForSequenceClassification(EcgSignalsModel):
    """A model with a head. Raises: ConfigError for one without."""

    def __init__(self, config: PretrainedConfig, model: Any = None) -> None:
        super().__init__(config, model)
        if logit_columns(self.model.cfg.to_dict()) is None:
            raise ConfigError(
                f"the model '{self.model.cfg._name}' has no classification head; load it with AutoModel, or fine-tune "
                f"it: ecg-train --config-name finetune/diagnosis model.model_path=FOLDER"
            )


def _from_config(config: PretrainedConfig) -> Any:
    ours = getattr(config, OURS, None) or {}
    if not ours:
        raise ConfigError("this config.json does not say how the model is built; use from_pretrained on its folder")
    entry = get_entry("model", ours["name"])
    options = model_options(entry.dataclass, ours["options"])
    labels = ours.get("labels")
    key = logits_option(options)
    if key is not None and options[key] != config.num_labels:
        options[key], labels = config.num_labels, label_names(config.id2label)
    check_logit_kind(ours.get("logit_kind"), "this config.json")
    model = entry.cls(entry.dataclass.from_mapping({"_name": entry.name, **options}, where="model"))
    model.labels, model.logit_kind = labels, model.logit_kind or ours.get("logit_kind")
    model.origin = read_origin(ours.get("origin"))
    model.calibration = read_calibration(ours.get("calibration"), "this config.json")
    model.signal = SignalContract.from_dict(ours["signal"]) if ours.get("signal") else None
    return model


def _local(name: Any, kwargs: dict[str, Any]) -> Any:
    """The folder to read; what concerns the hub is taken out of `kwargs`."""
    hub = {key: kwargs.pop(key) for key in _HUB_OPTIONS if key in kwargs}
    subfolder = kwargs.pop("subfolder", None) or ""
    if resolve_input(name).exists() or not is_hub_name(str(name)):
        return Path(name) / subfolder if subfolder else name
    if subfolder:
        raise ConfigError(f"subfolder={subfolder!r}: download {name} and give the path of the folder in it")
    return fetch(str(name), **{key: value for key, value in hub.items() if value is not None})


def _configured(
    cls: type[EcgSignalsModel], source: ModelSource, kwargs: dict[str, Any]
) -> tuple[PretrainedConfig, dict[str, Any]]:
    """The config to build with, and the options of the model in which it differs from what is stored.

    Raises: ConfigError naming a keyword argument that neither the config nor the model knows.
    """
    stored = source.raw.get("huggingface") or folder_config(complete(source))
    reference = cls.config_class.from_dict(dict(stored))
    config = kwargs.pop("config", None)
    if config is None:
        config = cls.config_class.from_dict(dict(stored))
    elif not isinstance(config, PretrainedConfig):
        config = cls.config_class.from_pretrained(config)
    for key in [key for key in kwargs if hasattr(config, key)]:
        setattr(config, key, kwargs.pop(key))
    known = {item.name for item in fields(get_entry("model", source.name).dataclass)} - {"_name"}
    overrides = {key: kwargs.pop(key) for key in list(kwargs) if key in known}
    refused = {key: value for key, value in kwargs.items() if value is not None}
    if refused:
        listed = ", ".join(f"{key}={value!r}" for key, value in refused.items())
        raise ConfigError(f"from_pretrained does not know {listed} for a model '{source.name}'; leave it out")
    return config, {**_changes(config, reference, source, known), **overrides}


def _changes(
    config: PretrainedConfig, reference: PretrainedConfig, source: ModelSource, known: set[str]
) -> dict[str, Any]:
    """Options of the model that `config` states otherwise than the folder's `reference`; the head's size included."""
    stated, stored = (getattr(each, OURS, None) or {} for each in (config, reference))
    old = stored.get("options", {})
    changes = {key: value for key, value in stated.get("options", {}).items() if old.get(key, value) != value}
    for key in known - {"num_labels"}:
        if hasattr(config, key) and getattr(config, key) != getattr(reference, key, None):
            changes[key] = getattr(config, key)
    size, count = logits_option(source.options), source.logits
    if config.num_labels != reference.num_labels:
        if size is None:
            raise ConfigError(
                f"{source.where} holds '{source.name}', which has no head for num_labels={config.num_labels} labels. "
                f"Fine-tune it: ecg-train --config-name finetune/diagnosis model.model_path={source.where}"
            )
        changes[size] = config.num_labels
    elif count is not None and size not in changes:
        config.num_labels = count  # published folders do not all say it
    if size is not None and changes.get(size) == count:
        del changes[size]
    return changes


def _device(device_map: Any) -> torch.device | None:
    """The one device a `device_map` names; None: where the model is. Raises: ConfigError for several."""
    if isinstance(device_map, Mapping):
        if len(set(device_map.values())) != 1:
            raise ConfigError(f"device_map={device_map} spreads the model over devices; name one, such as 'cuda:0'")
        device_map = next(iter(device_map.values()))
    if device_map is None:
        return None
    try:
        return compute_device(None if device_map in _ANY_DEVICE else device_map)
    except ConfigError as error:
        raise ConfigError(f"device_map={device_map!r} is no device here: {error}") from None


def _dtype(given: list[Any], config: PretrainedConfig, source: ModelSource) -> torch.dtype | None:
    """The element type that `dtype` (or `torch_dtype`) asks for; None: float32, as loaded."""
    wanted = next((dtype for dtype in given if dtype is not None), None)
    if wanted == "auto":
        stated = getattr(config, "dtype", None) or getattr(config, "torch_dtype", None)
        floats = (value.dtype for value in source.state.values() if value.is_floating_point())
        wanted = stated or next(floats, None)
    dtype = getattr(torch, wanted.removeprefix("torch."), None) if isinstance(wanted, str) else wanted
    if wanted is not None and not (isinstance(dtype, torch.dtype) and dtype.is_floating_point):
        raise ConfigError(f"dtype={wanted!r} is no floating-point type; give torch.bfloat16, torch.float32, or 'auto'")
    return dtype


def _without_prefix(module: EcgSignalsModel, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """Names of weights as the folder's file has them: `.model`'s own."""
    own = f"{prefix}model."
    for key in [key for key in state if key.startswith(own)]:
        state[prefix + key[len(own) :]] = state.pop(key)


def _with_prefix(module: EcgSignalsModel, state: dict[str, Any], prefix: str, *_: Any) -> None:
    """The way back; names that begin with `model.` are taken as well."""
    for name in [name for name, _ in [*module.model.named_parameters(), *module.model.named_buffers()]]:
        if prefix + name in state:
            state[f"{prefix}model.{name}"] = state.pop(prefix + name)


@contextlib.contextmanager
def _recomputed(blocks: list[torch.nn.Module], checkpoint: Callable[..., Any]) -> Iterator[None]:
    """Within, blocks keep only their input, and `checkpoint` computes the rest again in the backward pass."""
    for block in blocks:
        block.forward = functools.partial(checkpoint, block.forward)
    try:
        yield
    finally:
        for block in blocks:
            del block.forward


@contextlib.contextmanager
def _attention_of(model: Any) -> Iterator[list[Tensor]]:
    """Collects the attention [batch, heads, query, key] of every layer that runs within.

    Raises: ConfigError for a model without attention.
    """
    layers = [module for module in model.modules() if isinstance(module, (SelfAttention, Attention))]
    if not layers:
        raise ConfigError(f"output_attentions=True, but '{model.cfg._name}' has no attention; leave it out")
    maps: list[Tensor] = []

    def collect(layer: Any, given: tuple[Any, ...]) -> None:
        x, rest = given[0], given[1] if len(given) > 1 else None
        query, key = (proj(x).unflatten(-1, (layer.heads, -1)).transpose(1, 2) for proj in (layer.q_proj, layer.k_proj))
        attend = rest if rest is None or rest.dtype == torch.bool else rest == 0
        maps.append(attention_weights(query, key, attend))

    hooks = [layer.register_forward_pre_hook(collect) for layer in layers]
    try:
        yield maps
    finally:
        for hook in hooks:
            hook.remove()


def _loss(logits: Tensor | None, labels: Tensor | None, problem: str | None) -> Tensor | None:
    if logits is None or labels is None:
        return None
    if problem is None:
        problem = "multi_label_classification" if labels.is_floating_point() else "single_label_classification"
    if problem == "single_label_classification":
        return torch.nn.functional.cross_entropy(logits, labels.flatten().long())
    labels = labels.to(logits).view_as(logits)
    known = ~labels.isnan()
    logits, labels = logits[known], labels[known]
    if problem == "regression":
        return torch.nn.functional.mse_loss(logits, labels)
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, labels)


def register(config: type[EcgSignalsConfig], model: type, classifier: type) -> None:
    """Make transformers' Auto classes know a form of config.json."""
    AutoConfig.register(config.model_type, config, exist_ok=True)
    AutoModel.register(config, model, exist_ok=True)
    AutoModelForSequenceClassification.register(config, classifier, exist_ok=True)


register(EcgSignalsConfig, EcgSignalsModel, EcgSignalsForSequenceClassification)
