"""Hugging Face folders: `config.json`, `model.safetensors`, label names, the input contract and a model card.

Reading and writing them needs neither transformers nor a network; `ecg_signals.hf` adds the classes for transformers.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ecg_signals import __version__
from ecg_signals.checkpoint.origin import read_origin
from ecg_signals.config import ConfigError
from ecg_signals.files import cannot_write, replacing
from ecg_signals.interop.huggingface.card import model_card
from ecg_signals.interop.huggingface.folder import CONFIG, INDEX, WEIGHTS
from ecg_signals.interop.layout import Layout, ModelSource, label_entries, layout_of, logit_kind_of, model_options
from ecg_signals.metrics.calibrated import read_calibration
from ecg_signals.metrics.logits import CLASSES, LABELS, VALUES
from ecg_signals.registry import get_entry, register_layout
from ecg_signals.signal.contract import SignalContract

OURS = "ecg_signals"  # key of config.json that holds all of ours
_CODE = '''"""Lets transformers load this folder with trust_remote_code=True; needs `pip install "ecg-signals[hf]"`."""

from ecg_signals.hf import {names}

__all__ = [{quoted}]
'''
KINDS_OF_PROBLEMS = {  # transformers' names of what the logits are
    "multi_label_classification": LABELS,
    "single_label_classification": CLASSES,
    "regression": VALUES,
}
_CLASSES = {
    "AutoConfig": "modeling_ecg_signals.EcgSignalsConfig",
    "AutoModel": "modeling_ecg_signals.EcgSignalsModel",
    "AutoModelForSequenceClassification": "modeling_ecg_signals.EcgSignalsForSequenceClassification",
}


@register_layout("huggingface")
class HuggingFace(Layout):
    title = "Hugging Face folder of ecg-signals"
    rank = 0

    def recognise(self, raw: Mapping[str, Any]) -> bool:
        """Whether a folder's config.json is one that `ecg-convert --to hf` writes."""
        return isinstance(raw.get("huggingface"), Mapping) and isinstance(raw["huggingface"].get(OURS), Mapping)

    def read(self, raw: dict[str, Any], where: str) -> ModelSource:
        ours = raw["huggingface"][OURS]
        entry = get_entry("model", ours["name"])
        return ModelSource(
            name=entry.name,
            options=model_options(entry.dataclass, ours["options"]),
            state=raw["weights"],
            labels=ours.get("labels"),
            signal=SignalContract.from_dict(ours["signal"]) if ours.get("signal") else None,
            cfg=ours.get("cfg") or {},
            raw=raw,
            layout=ours.get("layout", ""),
            origin=read_origin(ours.get("origin")),
            calibration=read_calibration(ours.get("calibration"), where),
            where=where,
            logit_kind=ours.get("logit_kind") or logit_kind_of(ours.get("cfg") or {}),
        )

    def save(self, source: ModelSource, dest: Path) -> dict[str, Any]:
        check_folder(dest)
        write_folder(source, dest)
        return {}

    def places(self, dest: Path) -> list[Path]:
        return [dest, dest / CONFIG, dest / WEIGHTS]


def folder_config(source: ModelSource) -> dict[str, Any]:
    """`config.json`: the family's published one where there is one, with all of ours under `ecg_signals`."""
    layout = layout_of(source.name, source.options)
    config = (layout.folder_config(source) if layout else None) or _own_config(source)
    config[OURS] = {
        "version": __version__,
        "name": source.name,
        "options": source.options,
        "labels": source.labels,
        "logit_kind": source.logit_kind,
        "signal": source.signal.to_dict() if source.signal is not None else None,
        "layout": source.layout,
        "origin": source.origin,
        "calibration": source.calibration.stored if source.calibration is not None else None,
        "cfg": source.cfg,
    }
    problems = [name for name, kind in KINDS_OF_PROBLEMS.items() if kind == source.logit_kind]
    if problems and source.logits is not None:
        config["problem_type"] = problems[0]
    return json.loads(json.dumps(config))


def _own_config(source: ModelSource) -> dict[str, Any]:
    config: dict[str, Any] = {
        "model_type": "ecg_signals",
        "architectures": ["EcgSignalsModel" if source.logits is None else "EcgSignalsForSequenceClassification"],
        "auto_map": dict(_CLASSES),
    }
    if source.logits is not None:
        config |= label_entries(source.labels, source.logits)
    return config


def write_folder(
    source: ModelSource, folder: str | os.PathLike[str], settings: Mapping[str, Any] | None = None
) -> None:
    """Write a source, complete with its options and weights, as a Hugging Face folder; see `complete`.

    `settings` are more entries of config.json, such as problem_type; what the model itself says wins.
    Raises: ConfigError when the folder cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path = Path(folder)
    config = {**(settings or {}), **folder_config(source)}
    code = _code_files(config)
    texts = {"README.md": model_card(source, path.name), **code, CONFIG: json.dumps(config, indent=2) + "\n"}
    weights = {key: value.detach().cpu().contiguous().clone() for key, value in source.state.items()}
    size = sum(value.nbytes for value in weights.values())
    with replacing(path / WEIGHTS, needed=size) as partial:
        try:
            save_file(weights, partial, metadata={"format": "pt"})
        except SafetensorError as error:
            raise cannot_write(path / WEIGHTS, error, size) from None
        _share(partial)
    for name, content in texts.items():
        with replacing(path / name) as partial:
            partial.write_text(content, encoding="utf-8")


def check_folder(folder: Path) -> None:
    """Raises: ConfigError when what `write_folder` writes would take the place of files that it did not write."""
    there = [name for name in (INDEX, CONFIG, WEIGHTS, "README.md") if (folder / name).exists()]
    if not there:
        return
    try:
        ours = INDEX not in there and OURS in json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        ours = False
    if not ours:
        raise ConfigError(f"{folder / there[0]} is there, but ecg-convert did not write it; choose another DEST")


def _share(path: Path) -> None:
    """The permissions of any other new file; safetensors makes its own private."""
    beside = path.with_name(f"{path.name}.mode")
    beside.touch()
    path.chmod(beside.stat().st_mode)
    beside.unlink()


def _code_files(config: Mapping[str, Any]) -> dict[str, str]:
    """The file that `auto_map` names: it imports the classes from `ecg_signals.hf`."""
    classes: dict[str, list[str]] = {}
    for target in config.get("auto_map", {}).values():
        module, _, name = target.rpartition(".")
        classes.setdefault(f"{module}.py", []).append(name)
    return {
        file: _CODE.format(names=", ".join(sorted(names)), quoted=", ".join(f'"{name}"' for name in sorted(names)))
        for file, names in classes.items()
    }
