"""The `.pth` files of ST-MEM's project: pretraining checkpoints, encoders, and encoders with a head.

`model` holds the weights; `config`, a plain dict, says which of the three models they are. What the project has no
place for (options, input contract, labels) we write into `config["ecg_signals"]`.
"""

import logging
from collections.abc import Mapping
from typing import Any

from ecg_signals.checkpoint.origin import read_origin
from ecg_signals.checkpoint.plain import plain_values
from ecg_signals.config import ConfigError
from ecg_signals.interop.layout import Layout, ModelSource, model_options
from ecg_signals.interop.st_mem.contract import contract_of, section
from ecg_signals.interop.st_mem.names import from_state, is_st_mem, model_name, sizes, to_state
from ecg_signals.metrics.calibrated import read_calibration
from ecg_signals.metrics.logits import CLASSES, LABELS
from ecg_signals.registry import get_entry, register_layout
from ecg_signals.signal.contract import SignalContract

logger = logging.getLogger(__name__)

OURS = "ecg_signals"  # key of `config` that holds all of ours
LICENCE = "CC BY-NC 4.0"  # of the project
LOSSES = {"cross_entropy": CLASSES, "bce": LABELS}
KEPT = ("epoch", "optimizer", "scaler", "metrics")  # what a file holds of its run


@register_layout("st_mem")
class StMemFiles(Layout):
    title = "ST-MEM, MTAE, MLAE .pth"
    models = ("st_mem", "mtae", "mlae")

    def recognise(self, raw: Mapping[str, Any]) -> bool:
        return is_st_mem(_weights(raw))

    def publishes(self, name: str, options: Mapping[str, Any]) -> bool:
        """Also a linear layer on what one of its encoders pools by itself."""
        encoder = options.get("encoder") if name == "classifier" else None
        if not isinstance(encoder, Mapping):
            return name in self.models
        head = (options["pool"], options["head"], options["head_bias"])
        return encoder.get("_name") in self.models and head == ("own", "linear", True)

    def read(self, raw: dict[str, Any], where: str) -> ModelSource:
        config = section(raw, "config")
        ours, state = section(config, OURS), from_state(_weights(raw))
        name, options = (ours["name"], ours["options"]) if ours else _described(state, config, where)
        options = model_options(get_entry("model", name).dataclass, options)
        if name == "classifier":
            state = {key if key.startswith("proj.") else f"encoder.{key}": state[key] for key in state}
        stated = SignalContract.from_dict(ours["signal"]) if ours.get("signal") else None
        return ModelSource(
            name, options, state, ours.get("labels"),
            signal=stated if ours else contract_of(config, *_input(options)),  # nothing is guessed for a file of ours
            raw=raw, layout="ST-MEM .pth", where=where, logit_kind=ours.get("logit_kind") or _logit_kind(config),
            origin=read_origin(ours.get("origin", {"licence": LICENCE})),
            calibration=read_calibration(ours.get("calibration"), where),
        )  # fmt: skip

    def write(self, source: ModelSource) -> dict[str, Any]:
        """With the run's state and config, where the source is a file of this layout."""
        head = source.name == "classifier"
        options = source.options["encoder"] if head else source.options
        state = {key.removeprefix("encoder."): value for key, value in source.state.items()}
        kept = source.raw if self.recognise(source.raw) else {}
        name = options["_name"] if head else source.name
        size = {"num_classes": source.options["num_labels"]} if head else {"norm_pix_loss": _norm_pix_loss(source)}
        sizes = {"seq_len": options["seq_len"], "patch_size": options["patch_size"], "num_leads": len(options["leads"])}
        usual = {"model_name": model_name(name, options, head or not options["decoder"]), "model": {**sizes, **size}}
        ours = {"name": source.name, "options": source.options, "labels": source.labels,
                "logit_kind": source.logit_kind, "signal": source.signal and source.signal.to_dict(),
                "origin": dict(source.origin),
                "calibration": source.calibration and dict(source.calibration.stored)}  # fmt: skip
        return {
            "epoch": 0,
            "model": to_state(state),
            "optimizer": None,
            "scaler": None,
            **{key: plain_values(kept[key]) for key in KEPT if key in kept},
            "config": plain_values({**usual, **(kept.get("config") or {}), OURS: ours}),
        }


def _weights(raw: Mapping[str, Any]) -> Any:
    """The weights of a file, which may hold nothing else."""
    return raw["model"] if isinstance(raw.get("model"), Mapping) else raw


def _described(state: Mapping[str, Any], config: Mapping[str, Any], where: str) -> tuple[str, dict[str, Any]]:
    """Registered name and options of a file of the project, from weights under our names."""
    encoder = _encoder_of(state, config, where)
    options = sizes(encoder, state, config)
    if "proj.weight" not in state:
        return encoder, options
    options = {"_name": encoder, **options, "train_positions": True}
    return "classifier", {"encoder": options, "pool": "own", "head": "linear", "num_labels": len(state["proj.weight"])}


def _input(options: Mapping[str, Any]) -> tuple[int, list[str]]:
    encoder = options.get("encoder", options)
    return encoder["seq_len"], encoder["leads"]


def _encoder_of(state: Mapping[str, Any], config: Mapping[str, Any], where: str) -> str:
    """Which of the three: by the marks around leads, the config's name, the shapes, or, last, the file's name.

    Raises: ConfigError where nothing tells MTAE from MLAE.
    """
    if "sep_embedding" in state:
        return "st_mem"
    stated = str(config.get("model_name") or "")
    if stated:
        return "mlae" if "mlae" in stated else "mtae"
    tokens, size = state["pos_embedding"].shape[1] - 1, len(state["patch_embed.0.weight"])
    if tokens > 12 or size % 12:  # MLAE has at most as many tokens as leads, MTAE patches of as many values
        return "mtae" if tokens > 12 else "mlae"
    named = [name for name in ("mtae", "mlae") if name in where.lower()]
    if len(named) == 1:
        logger.warning("%s holds weights of MTAE or MLAE and no config: taken for %s by its path", where, named[0])
        return named[0]
    if tokens != 12:
        return "mtae"  # of twelve leads, as all models that the project ships
    raise ConfigError(
        f"{where} holds weights of MTAE or MLAE, which have the same shapes, and no config that tells them apart; add "
        f"config={{'model_name': 'mtae_vit_base_dec256d4b'}} or 'mlae_...' to it, or put mtae or mlae into its name"
    )


def _logit_kind(config: Mapping[str, Any]) -> str | None:
    """By the loss that a downstream config names, as a text or as the name within a section."""
    return LOSSES.get(str(section(config, "loss").get("name") or config.get("loss")))


def _norm_pix_loss(source: ModelSource) -> bool:
    return bool((source.cfg.get("criterion") or {}).get("norm_pix_loss", True))
