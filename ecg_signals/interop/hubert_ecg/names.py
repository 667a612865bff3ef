"""HuBERT-ECG's names of options, files and heads, and ours: both directions, as functions of plain containers."""

import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ecg_signals.config import ConfigError
from ecg_signals.interop.layout import label_entries, label_names

Parts = tuple[str, dict[str, Any], dict[str, Tensor], list[str] | None]  # registered name, options, weights, labels

ENCODER_KEYS = (
    "conv_dim", "conv_kernel", "conv_stride", "conv_bias", "feat_extract_norm", "feat_extract_activation",
    "feat_proj_layer_norm", "feat_proj_dropout", "hidden_size", "num_hidden_layers", "num_attention_heads",
    "intermediate_size", "hidden_act", "hidden_dropout", "activation_dropout", "attention_dropout", "layerdrop",
    "layer_norm_eps", "do_stable_layer_norm", "num_conv_pos_embeddings", "num_conv_pos_embedding_groups",
    "initializer_range",
)  # fmt: skip
MASK_KEYS = ("mask_time_prob", "mask_time_length", "mask_time_min_masks")
PRETRAINING_KEYS = (*MASK_KEYS, "classifier_proj_size")
HEAD_KEYS = ("activation", "classifier_hidden_size", "classifier_dropout_prob", "use_label_embedding")
REQUIRED_KEYS = ("conv_dim", "conv_kernel", "conv_stride", "hidden_size", "num_hidden_layers", "num_attention_heads")
CONSTANTS: dict[str, Any] = {  # what every published config holds and no model reads
    "apply_spec_augment": True, "bos_token_id": 1, "ctc_loss_reduction": "sum", "ctc_zero_infinity": False,
    "eos_token_id": 2, "final_dropout": 0.1, "mask_feature_length": 10, "mask_feature_min_masks": 0,
    "mask_feature_prob": 0.0, "pad_token_id": 0, "torch_dtype": "float32", "use_weighted_layer_sum": False,
    "vocab_size": 32,
}  # fmt: skip
PREFIX = "hubert_ecg."


def is_hubert_ecg(state: Mapping[str, Any]) -> bool:
    """Whether these weights are a HuBERT-ECG encoder, with or without a classification head."""
    return any(key.removeprefix(PREFIX).startswith("encoder.pos_conv_embed.conv.") for key in state) and any(
        key.removeprefix(PREFIX).startswith("feature_extractor.conv_layers.0.conv.weight") for key in state
    )


def is_published_checkpoint(content: Mapping[str, Any]) -> bool:
    """Whether a file's content is a `.pt` of HuBERT-ECG's scripts, also one stripped of its training state."""
    state = content.get("model_state_dict")
    return isinstance(state, Mapping) and is_hubert_ecg(state)


def from_checkpoint(content: Mapping[str, Any]) -> Parts:
    """Name, options, weights and labels of a published `.pt`, as `read_checkpoint` returns it.

    Raises: ConfigError when the file does not say how the encoder is built.
    """
    config = content.get("model_config")
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"a HuBERT-ECG checkpoint without 'model_config' (it holds {', '.join(map(str, content))}); the encoder "
            "cannot be rebuilt. Add the config of the pretraining run as a dict under that key"
        )
    merged = dict(config)
    if content.get("use_label_embedding") is not None:
        merged["use_label_embedding"] = bool(content["use_label_embedding"])
    labels = content.get("labels")
    return from_config(merged, content["model_state_dict"], list(labels) if labels else None)


def from_config(config: Mapping[str, Any], state: Mapping[str, Tensor], labels: list[str] | None = None) -> Parts:
    """Name, options, weights and labels from a published config and its weights; sizes of heads come from the weights.

    Raises: ConfigError when the config lacks the encoder's sizes, or asks for what no released model has.
    """
    missing = [key for key in REQUIRED_KEYS if key not in config]
    if missing:
        raise ConfigError(f"the HuBERT-ECG config lacks {', '.join(missing)}; add them to config.json or model_config")
    if config.get("conv_pos_batch_norm"):
        raise ConfigError("the HuBERT-ECG config sets conv_pos_batch_norm=true, unknown here; set it to false")
    options = {key: config[key] for key in ENCODER_KEYS if key in config}
    options["frame_mask"] = config.get("frame_mask", "count")
    weights = dict(state)
    options["masked_spec_embed"] = any(key.removeprefix(PREFIX) == "masked_spec_embed" for key in weights)
    if any(key.startswith(PREFIX) for key in weights):
        options.update(_head_options(config, weights))
        labels = labels or label_names(config.get("id2label"), options["num_labels"])
        return "hubert_ecg_classifier", options, weights, labels
    options.update({key: config[key] for key in PRETRAINING_KEYS if key in config})
    tables = sorted((key for key in weights if re.fullmatch(r"label_embedding\.\d+\.weight", key)), key=_number)
    options["vocab_sizes"] = [len(weights[key]) for key in tables]
    if tables:
        options["classifier_proj_size"] = weights[tables[0]].shape[1]
    return "hubert_ecg", options, weights, labels


def _number(key: str) -> int:
    return int(key.split(".")[1])


def _head_options(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Options of the classification head; its kind and sizes are read off the weights."""
    options: dict[str, Any] = {key: config[key] for key in HEAD_KEYS if config.get(key) is not None}
    options["use_label_embedding"] = "label_embedding.weight" in state
    options["classifier_hidden_size"] = len(state["classifier.0.weight"]) if "classifier.0.weight" in state else None
    for key in ("label_embedding.weight", "classifier.2.weight", "classifier.weight"):
        if key in state:
            options["num_labels"] = len(state[key])
            return options
    heads = ", ".join(key for key in state if not key.startswith(PREFIX)) or "none"
    raise ConfigError(
        f"the HuBERT-ECG classifier has no known head (found {heads}; expected classifier.* or label_embedding.*)"
    )


def to_config(name: str, options: Mapping[str, Any], labels: list[str] | None = None) -> dict[str, Any]:
    """A published `config.json` for a model of ours; `from_config` takes it back with the same options.

    Args:
        name: "hubert_ecg" or "hubert_ecg_classifier".
        options: the model's options, complete.
        labels: names of the logits' columns.
    """
    config = {**CONSTANTS, **{key: options[key] for key in ENCODER_KEYS}, "frame_mask": options["frame_mask"]}
    config["num_feat_extract_layers"] = len(options["conv_dim"])
    if name == "hubert_ecg":
        sizes = list(options["vocab_sizes"])
        config.update({key: options[key] for key in PRETRAINING_KEYS}, vocab_sizes=sizes, ensemble_length=len(sizes))
        return {"architectures": ["HuBERTECG"], "model_type": "hubert_ecg", **config}
    config.update({"mask_time_prob": 0.0, "mask_time_length": 1, "mask_time_min_masks": 2})
    config.update(
        {key: options[key] for key in HEAD_KEYS}, classifier_proj_size=256, vocab_sizes=[100], ensemble_length=1
    )
    config |= label_entries(labels, options["num_labels"])
    return {"architectures": ["HuBERTECGForClassification"], "model_type": "hubert_ecg_classification", **config}


def to_checkpoint(
    name: str, options: Mapping[str, Any], state: Mapping[str, Tensor], labels: list[str] | None = None
) -> dict[str, Any]:
    """A `.pt` in the published layout, of plain containers alone; `from_checkpoint` takes it back."""
    content: dict[str, Any] = {
        "global_step": 0,
        "patience_count": 0,
        "model_config": to_config(name, options, labels),
        "model_state_dict": dict(state),
    }
    if labels:
        content["labels"] = list(labels)
    if name == "hubert_ecg":
        return {**content, "pretraining_vocab_sizes": list(options["vocab_sizes"])}
    embedding = bool(options["use_label_embedding"])
    return {
        **content,
        "linear": not embedding and options["classifier_hidden_size"] is None,
        "finetuning_vocab_size": options["num_labels"],
        "use_label_embedding": embedding,
    }
