"""Options of fairseq-signals that do nothing here: its recipes and command lines may set them, and its files hold them.

They are options of no dataclass, so no message, list or completion offers them. A value other than the usual one gets a
warning and is kept for the checkpoints that we write for fairseq-signals; the others hold the usual value.
"""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from ecg_signals.config import BaseConfig

logger = logging.getLogger(__name__)


class Ignored(NamedTuple):
    """One such option.

    Attributes:
        meaning: what it is for there, or what replaces it here.
        usual: its default there.
        stored: whether fairseq-signals' checkpoints hold it in their `cfg`; the others are of its recipes alone.
        follows: "section.key" whose value is stored instead, where that is set.
        names: the registered names whose sections hold it, () for a section that every recipe has.
    """

    meaning: str
    usual: Any
    stored: bool = True
    follows: str = ""
    names: tuple[str, ...] = ()


def _unstored(meaning: str, usual: Any = False) -> Ignored:
    return Ignored(meaning, usual, stored=False)


_PRETRAINING = ("ecg_pretraining", "ecg_classification", "ecg_identification", "ecg_text_pretraining",
                "ecg_question_answering")  # fmt: skip
_ENCODERS = (
    *("ecg_transformer", "ecg_transformer_classifier", "arcface", "wav2vec2", "wav2vec2_cmsc"),
    *("nejedly2021resnet", "nejedly2021resnet_classifier", "se_wrn", "se_wrn_classifier"),
    *("m3ae", "m3ae_qa", "medvill", "ecg_language_transformer_classifier", "resnet_lstm_classifier"),
    *("blind_transformer_qa", "deaf_transformer_qa"),
)
_SEGMENTORS = ("unet_segmentor", "unet_cgm_segmentor")

IGNORED: dict[str, dict[str, Ignored]] = {
    "common": {
        "on_cpu_convert_precision": Ignored("convert floats before the copy to the device", False),
        "amp_batch_retries": _unstored("overflowing batches are skipped at once here", 2),
        "amp_init_scale": _unstored("see fp16_init_scale", 128),
        "amp_scale_window": _unstored("see fp16_scale_window", None),
        "tpu": _unstored("TPUs are not supported"),
        "azureml_logging": _unstored("AzureML logging"),
        "aim_repo": _unstored("Aim logging", None),
        "aim_run_hash": _unstored("Aim logging", None),
        "quantization_config_path": _unstored("quantisation-aware training", None),
        "use_plasma_view": _unstored("manifests are memory-mapped here"),
        "plasma_path": _unstored("manifests are memory-mapped here", "/tmp/plasma"),
        "all_gather_list_size": Ignored("bytes per rank for statistics; no limit here", 16384),
        "model_parallel_size": Ignored("model parallel ranks", 1),
    },
    "common_eval": {"quiet": Ignored("print less", False)},
    "distributed_training": {
        "distributed_num_procs": _unstored("see distributed_world_size", None),
        "nprocs_per_node": _unstored("see distributed_world_size", None),
        "fast_stat_sync": _unstored("statistics are always summed in one exchange"),
        "zero_sharding": _unstored("see ddp_backend=fully_sharded", "none"),
        "not_fsdp_flatten_parameters": _unstored("sharded weights are never flattened"),
        "localsgd_frequency": _unstored("local SGD", 3),
        "slowmo_algorithm": _unstored("slow momentum", "LocalSGD"),
        "slowmo_base_algorithm": _unstored("slow momentum", "localsgd"),
        "slowmo_momentum": _unstored("slow momentum", None),
        "fix_batches_to_gpus": Ignored("the same batches on the same GPU", False),
        "fp16": Ignored("copied from common", False, follows="common.fp16"),
        "memory_efficient_fp16": Ignored("copied from common", False, follows="common.memory_efficient_fp16"),
    },
    "dataset": {
        "skip_invalid_size_inputs_valid_test": Ignored("skip items of invalid size", False),
        "combine_valid_subsets": Ignored("combine validation manifests", None),
        "num_shards": Ignored("shards of the data", 1),
        "shard_id": Ignored("this shard", 0),
        "grouped_shuffling": _unstored("ranks take neighbouring batches"),
        "update_epoch_batch_itr": _unstored("see update_ordered_indices_seed"),
        "required_seq_len_multiple": _unstored("lengths are padded to a multiple", 1),
        "bucket_selection": _unstored("the one way to draw from leads_bucket", "uniform"),
    },
    "optimization": {
        "sentence_avg": _unstored("the criterion says what a gradient is divided by"),
        "use_bmuf": _unstored("blockwise model updates"),
        "debug_param_names": _unstored("debugging"),
    },
    "checkpoint": {
        "checkpoint_shard_count": Ignored("shards of a checkpoint", 1),
    },
    "ema": {"ema_seed_model": _unstored("start the average from a file", None)},
    "task": {
        "bucket_selection": Ignored("the one way to draw from leads_bucket", "uniform", names=_PRETRAINING),
        "criterion_name": Ignored("copied from the criterion", None, follows="criterion._name", names=_PRETRAINING),
        "precompute_mask_indices": Ignored("draw masks in the loader", False, names=_PRETRAINING),
        "inferred_w2v_config": Ignored("copied from the model", None, names=_PRETRAINING),
        "visualize": Ignored("plot the embedding space", False, names=("ecg_identification",)),
    },
    "model": {
        "args": Ignored("always null", None, names=(*_ENCODERS, *_SEGMENTORS)),
        "sample_rate": Ignored("copied from the task", None, follows="task.sample_rate", names=_SEGMENTORS),
        "batch_first": Ignored("the order of the LSTM's axes", True, names=("resnet_lstm_classifier",)),
        "apply_norm": Ignored("read by nothing", False, names=("resnet_lstm_classifier",)),
    },
    "optimizer": {
        "use_old_adam": Ignored("an older implementation of the same arithmetic", False, names=("adam",)),
        "fp16_adam_stats": _unstored("moments are always float32"),
    },
}


def ignored_values(section: str, values: Mapping[str, Any], cls: type[BaseConfig]) -> dict[str, Any]:
    """What a section sets of the table, with a warning; nothing that is an option of `cls`, which may be a plugin's."""
    found = {}
    for key, one in IGNORED.get(section, {}).items():
        value = values.get(key, one.usual)
        if key in cls.__dataclass_fields__ or value == one.usual or (isinstance(value, str) and value.startswith("${")):
            continue
        logger.warning("%s.%s=%s has no effect (%s)", section, key, value, one.meaning)
        found[key] = value
    return found


def live_values(section: str, values: Mapping[str, Any], cls: type[BaseConfig]) -> dict[str, Any]:
    """A section without what it sets of the table."""
    table = IGNORED.get(section, {})
    return {key: value for key, value in values.items() if key in cls.__dataclass_fields__ or key not in table}


def stored_values(section: str, name: str | None, config: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What fairseq-signals' checkpoints hold of the table in a section with this registered name, at usual values."""
    found = {}
    for key, one in IGNORED.get(section, {}).items():
        if one.stored and (not one.names or name in one.names):
            leader, _, followed = one.follows.partition(".")
            found[key] = (config.get(leader) or {}).get(followed, one.usual)
    return found
