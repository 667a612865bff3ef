"""How a model is brought to a benchmark: recipes, each with the few settings that differ, and published variants."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ecg_signals.config import UsageError, unknown_message
from ecg_signals.signal.millivolt import FMB


@dataclass(frozen=True)
class Protocol:
    """One way to train.

    Attributes:
        about: one line.
        recipe: the packaged recipe whose settings it has.
        pretrained: it starts from the model's weights; False: from random ones.
        after: the protocol whose result it starts from.
        settings: dotted key -> value, over the recipe's.
        trains: False: the model is tested as it is.
        called: the leading metric's further name, for a paper that has several; "": none.
        watched: name -> what is printed of validations: its best value over all of them on the test split, which then
            is validated, too, but selects nothing.
    """

    about: str
    recipe: str = ""
    pretrained: bool = True
    after: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    trains: bool = True
    called: str = ""
    watched: Mapping[str, str] = field(default_factory=dict)


_LAYER = {"model.pool": "own", "dataset.crop_starts": "windows"}
_MERL = {**_LAYER, "dataset.batch_size": 16, "optimization.lr": [1e-3], "optimization.max_epoch": 100,
         "optimizer": {"_name": "adam", "weight_decay": 1e-8}}  # fmt: skip

PROTOCOLS = {
    "linear": Protocol("one linear layer on the vector that heads of the family read; the encoder never trains",
                       "linear/diagnosis", settings=_LAYER),
    "attentive": Protocol("a learned query reads the frames; the encoder never trains", "jepa/linear",
                          settings={"dataset.crop_starts": "windows"}),
    "finetune": Protocol("all weights train, a new linear layer on top", "jepa/finetune",
                         settings={"optimization.lr": [1e-4], "lr_scheduler.min_lr": 1e-6}),
    "finetune_after_linear": Protocol("all weights train from where the attentive probe ended",
                                      "jepa/finetune_after_linear", after="attentive"),
    "scratch": Protocol("all weights train from random ones; a supervised recipe brings its own settings",
                        "jepa/finetune", pretrained=False),
    "random": Protocol("`linear` on an encoder of random weights", "linear/diagnosis", pretrained=False,
                       settings=_LAYER),
    "merl": Protocol("MERL's probe as its script runs it: batch norms of the encoder follow the batches, a tenth of "
                     "the rate from about the 40th update on, and the best test value of all epochs",
                     "linear/diagnosis", called="merl_val",
                     watched={"merl_reported": "auroc", "merl_reported_max_f1": "max_f1"},
                     settings={**_MERL, "model.freeze_statistics": False,
                               "lr_scheduler": {"_name": "multi_step", "counts": "both"}}),
    "merl_fixed": Protocol("MERL's probe repaired: the encoder stays as it is, a tenth of the rate from epoch 41 on, "
                           "selection on validation", "linear/diagnosis", called="merl_fixed",
                           settings={**_MERL, "lr_scheduler": {"_name": "multi_step"}}),
    "as_is": Protocol("the model's own head, tested without training", trains=False),
}  # fmt: skip


@dataclass(frozen=True)
class Preset:
    """A published evaluation.

    Attributes:
        about: whose.
        window_seconds, stride_seconds: of the windows; None: the model's.
        rule: by which their answers are joined.
        last: the last state is tested; False: the best one in validation.
        settings: of every protocol it has, dotted key -> value, over the protocol's.
        recurrent: settings of encoders that say `is_recurrent`, over these.
        pools: encoder -> the pool that `linear` and `random` read; of others the usual one.
        after: protocol -> the one whose result it starts from, over the protocol's.
        selecting: the rule by which answers are joined in validation, where it is another one.
        apart: windows of an evaluation do not overlap, whatever the model's own do, and `rule` joins them.
        drawn_by: `fractions` are drawn as scikit-learn's train_test_split draws them with this random_state, for all
            seeds alike; None: by the seed of the run.
        signal: the input of checkpoints whose model has one of that name; "": their own.
    """

    about: str
    window_seconds: float | None = None
    stride_seconds: float | None = None
    rule: str = "mean"
    last: bool = False
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    recurrent: Mapping[str, Any] = field(default_factory=dict)
    pools: Mapping[str, str] = field(default_factory=dict)
    after: Mapping[str, str] = field(default_factory=dict)
    selecting: str = ""
    apart: bool = False
    drawn_by: int | None = None
    signal: str = ""


_ADAMW = {"optimizer": {"_name": "adamw", "weight_decay": 1e-3}, "lr_scheduler": {"_name": "fixed"},
          "dataset.batch_size": 128, "optimization.max_update": 0, "optimization.clip_norm": 0.0,
          "checkpoint.patience_updates": -1, "checkpoint.save_interval_updates": 0,
          "dataset.validate_interval": 1}  # fmt: skip

_FMB = {**_ADAMW, "dataset.batch_size": 64, "dataset.crop_starts": "any", "optimization.lr": [1e-3],
        "optimization.max_epoch": 100, "model.encoder_dropout": None}  # fmt: skip
_MEAN = {"model.pool": "mean"}
_QUERY = {"model.pool_heads": 16, "model.pool_query_std": None, "model.head_init": "usual", "model.decay_all": True}

PRESETS = {
    "usual": Preset("the model's own windows, probabilities averaged, selection on validation"),
    "pb": Preset("Strodthoff et al. 2021, arXiv:2004.13701", 2.5, 1.25, "max", True, {"scratch": {
        **_ADAMW, "optimizer": {"_name": "adamw", "adam_betas": [0.9, 0.99], "weight_decay": 0.01},
        "lr_scheduler": {"_name": "one_cycle"}, "optimization.lr": [1e-2], "optimization.max_epoch": 50,
    }}, recurrent={"optimization.lr": [1e-3], "optimization.clip_norm": 0.25}),
    "ssl": Preset("Mehari & Strodthoff 2022, arXiv:2103.12676", 2.5, 1.25, "mean", False, {
        "linear": {**_ADAMW, "optimization.lr": [1e-3], "optimization.max_epoch": 50},
        "finetune": {**_ADAMW, "optimization.lr": [1e-4], "optimization.max_epoch": 20},
        "scratch": {**_ADAMW, "optimization.lr": [1e-3], "optimization.max_epoch": 50},
        "random": {**_ADAMW, "optimization.lr": [1e-3], "optimization.max_epoch": 50},
    }, pools={"fc_lstm": "mean_max_last", "xresnet1d": "max_mean"}, after={"finetune": "linear"}),
    "ssm": Preset("Mehari & Strodthoff 2022, arXiv:2211.07579", 2.5, 2.5, "mean", False, {
        "scratch": {**_ADAMW, "optimization.lr": [1e-3], "optimization.max_epoch": 100},
    }, selecting="mean_logits"),
    "jepa": Preset("Weimann & Conrad 2024, arXiv:2410.13867", 2.5, 1.25, "mean_logits", False, {
        "attentive": {}, "finetune_after_linear": {}, "scratch": {},
        "finetune": {"optimization.lr": [1e-3], "lr_scheduler.min_lr": 1e-5},
    }),
    "fmb": Preset("arXiv:2509.25095", settings={
        "linear": {**_FMB, **_MEAN}, "random": {**_FMB, **_MEAN}, "attentive": {**_FMB, **_QUERY},
        "scratch": _FMB,
        "finetune": {**_FMB, **_MEAN, "model.layer_decay": 0.1, "model.layer_groups": []},
    }, apart=True, signal=FMB),
    "merl": Preset("Liu et al. 2024, arXiv:2403.06659", settings={"merl": {}, "merl_fixed": {}}, drawn_by=42),
}  # fmt: skip


def protocol_of(name: str) -> Protocol:
    """Raises: UsageError naming the nearest one."""
    if name not in PROTOCOLS:
        raise UsageError(unknown_message(f"protocol '{name}'", name, PROTOCOLS, "There are"))
    return PROTOCOLS[name]


def preset_of(name: str, protocol: str) -> Preset:
    """A published evaluation of a protocol. Raises: UsageError for an unknown one, or one without that protocol."""
    if name not in PRESETS:
        raise UsageError(unknown_message(f"preset '{name}'", name, PRESETS, "There are"))
    found = PRESETS[name]
    if found.settings and protocol not in found.settings and PROTOCOLS[protocol].trains:
        raise UsageError(f"preset={name} ({found.about}) has no protocol '{protocol}'; it has "
                         f"{', '.join(found.settings)}")  # fmt: skip
    return found


def put(sections: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key, or a whole section; changes `sections`."""
    *path, last = key.split(".")
    for part in path:
        inner = sections.get(part)
        sections[part] = dict(inner) if isinstance(inner, Mapping) else {}
        sections = sections[part]
    sections[last] = value
