"""Hugging Face folders: `config.json`, `model.safetensors`, label names, the input contract and a model card.

Reading and writing them needs neither transformers nor a network; `ecg_signals.hf` adds the classes for transformers.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ecg_signals import __version__, limits
from ecg_signals.checkpoint.layout import Layout, ModelSource, layout_of, logit_kind_of, model_options
from ecg_signals.checkpoint.origin import notes, read_origin
from ecg_signals.checkpoint.plain import plain_tree
from ecg_signals.checkpoint.read import DAMAGED, read_checkpoint, without_wrappers
from ecg_signals.config import ConfigError
from ecg_signals.files import cannot_write, replacing
from ecg_signals.metrics.logits import CLASSES, LABELS, VALUES
from ecg_signals.registry import get_entry
from ecg_signals.signal.contract import SignalContract

CONFIG, WEIGHTS, OURS = "config.json", "model.safetensors", "ecg_signals"
INDEX = f"{WEIGHTS}.index.json"  # of weights in several parts
HUB_FILES = (CONFIG, "*.safetensors", "*.safetensors.index.json", "pytorch_model.bin")
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


def read_folder(folder: str | os.PathLike[str], weights: str | None = None) -> dict[str, Any]:
    """A folder's content as the layouts see it: `{"huggingface": config.json, "weights": {name: Tensor}}`.

    Args:
        folder: with config.json and weights.
        weights: name of the safetensors file in it; None: the usual one, its parts, or pytorch_model.bin.
    Raises: ConfigError naming the file that is missing or damaged.
    """
    path = Path(folder)
    if not (path / CONFIG).exists():
        found = ", ".join(sorted(item.name for item in path.iterdir())[:8]) or "nothing"
        if weights is not None:
            raise ConfigError(
                f"{path / weights} holds weights alone; put the {CONFIG} of its model beside it (it holds the options)"
            )
        raise ConfigError(
            f"{path} is no Hugging Face folder: it has no {CONFIG} (it holds {found}). For a training run's folder "
            f"give one of its files, such as {path / 'checkpoint_best.pt'}"
        )
    content = limits.read_json(path / CONFIG)
    try:
        config = plain_tree(content, limits.MAX_JSON_BYTES)
    except ConfigError as error:
        raise ConfigError(f"{path / CONFIG} cannot be read: {error}") from None
    state = _read_weights(path) if weights is None else _read_safetensors(path / weights)
    return {"huggingface": config, "weights": without_wrappers(state, str(path))}


def files_of(folder: Path) -> list[Path]:
    """What `read_folder` reads of a folder: its description, then its weights."""
    index = folder / INDEX
    return [folder / CONFIG, *([index] if index.is_file() else []), *_weight_files(folder)]


def _weight_files(folder: Path) -> list[Path]:
    """Its usual file, its parts, or the older kind. Raises: ConfigError when there is none."""
    if (folder / INDEX).is_file():
        return _parts(folder / INDEX)
    for name in (WEIGHTS, "pytorch_model.bin"):
        if (folder / name).is_file():
            return [folder / name]
    raise ConfigError(f"{folder} has a {CONFIG} but no weights; put {WEIGHTS} beside it")


def _read_weights(folder: Path) -> dict[str, Any]:
    files = _weight_files(folder)
    if files[0].suffix == ".bin":
        return read_checkpoint(files[0])
    weights: dict[str, Any] = {}
    for part in files:
        weights |= _read_safetensors(part)
    return weights


def _parts(index: Path) -> list[Path]:
    """The files that an index names, each once. Raises: ConfigError when it names none, or one outside its folder."""
    content = limits.read_json(index)
    parts = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(parts, dict) or not parts or not all(isinstance(name, str) for name in parts.values()):
        raise ConfigError(f"{index} has no weight_map of names and files; copy or download the folder again")
    files = {file.resolve(): file for file in (limits.file_beside(index, name) for name in set(parts.values()))}
    if len(files) > limits.MAX_PARTS:
        raise ConfigError(f"{index} names {len(files):,} files; up to {limits.MAX_PARTS:,} are read (docs/limits.md)")
    return sorted(files.values())


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    with limits.regular_file(path).open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
    if header > limits.MAX_SAFETENSORS_HEADER:
        raise ConfigError(f"{path} states a header of {header:,} bytes; it is damaged, or no safetensors file")
    try:
        return load_file(path)
    except (SafetensorError, *DAMAGED) as error:
        raise ConfigError(f"{path} cannot be read as safetensors ({error}); copy or download it again") from None


def recognised(raw: Mapping[str, Any]) -> bool:
    """Whether a folder's config.json is one that `ecg-convert --to hf` writes."""
    return isinstance(raw.get("huggingface"), Mapping) and isinstance(raw["huggingface"].get(OURS), Mapping)


def convert(raw: dict[str, Any], where: str) -> ModelSource:
    """The model of such a folder."""
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
        where=where,
        logit_kind=ours.get("logit_kind") or logit_kind_of(ours.get("cfg") or {}),
    )


LAYOUTS = [Layout("Hugging Face folder of ecg-signals", recognised, convert)]


def folder_config(source: ModelSource) -> dict[str, Any]:
    """`config.json`: the family's published one where there is one, with all of ours under `ecg_signals`."""
    layout = layout_of(source.name)
    config = layout.folder_config(source) if layout and layout.folder_config else _own_config(source)
    config[OURS] = {
        "version": __version__,
        "name": source.name,
        "options": source.options,
        "labels": source.labels,
        "logit_kind": source.logit_kind,
        "signal": source.signal.to_dict() if source.signal is not None else None,
        "layout": source.layout,
        "origin": source.origin,
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
        names = source.labels or [f"LABEL_{index}" for index in range(source.logits)]
        config["id2label"] = {str(index): name for index, name in enumerate(names)}
        config["label2id"] = {name: index for index, name in enumerate(names)}
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


def model_card(source: ModelSource, title: str) -> str:
    """README.md of a folder: what it is, what it wants as input, what it answers, how it is used."""
    count = sum(value.numel() for value in source.state.values())
    tags = ["ecg", "electrocardiogram", source.name]
    licence = source.origin.get("licence")
    head = f"---\nlicense: {licence.lower().replace(' ', '-')}\n" if licence else "---\n"
    head += "library_name: ecg-signals\ntags:\n" + "".join(f"- {tag}\n" for tag in tags) + "---\n"
    labels = ", ".join(source.labels) if source.labels else "not named in the checkpoint"
    origin = f"Converted from a checkpoint of {source.layout or 'ecg-signals'} by ecg-signals {__version__}."
    parts = [
        f"{head}\n# {title}\n",
        f"`{source.name}`, {count:,} weights. {origin}\n",
        *(f"**{note[0].upper()}{note[1:]}.**\n" for note in notes(source.origin)),
        f"## Input\n\n{_input_text(source.signal)}\n",
        "## Output\n\n`features` [batch, frames, dim] and `pooled` [batch, dim]"
        + (f"; `logits` [batch, {source.logits}], labels: {labels}.\n" if source.logits is not None else ".\n"),
        f"## Use\n\n```python\n{_USE.strip()}\n```\n",
        "The same folder works with transformers, after `import ecg_signals.hf` or with `trust_remote_code=True`:\n\n"
        '```python\nfrom transformers import AutoModel\n\nmodel = AutoModel.from_pretrained("FOLDER", '
        "trust_remote_code=True)\n```\n",
        "Not a medical device. Check the terms of the data and weights this model was trained from before use.\n",
    ]
    return "\n".join(parts)


_USE = """
import ecg_signals
import torch

model = ecg_signals.load_model("FOLDER")
record = ecg_signals.read_record("RECORD")
source = model.signal.prepare(record)  # [windows, leads, samples]
with torch.no_grad():
    output = model(source)
"""


def _step_text(step: Mapping[str, Any]) -> str:
    options = ", ".join(f"{key} {value}" for key, value in step.items() if key != "name")
    return f"{step['name']} ({options})" if options else str(step["name"])


def _input_text(signal: SignalContract | None) -> str:
    if signal is None:
        return "The checkpoint does not say how its input was prepared."
    steps = "; ".join(_step_text(step) for step in signal.steps) or "none"
    seconds = signal.window_samples / signal.sample_rate
    return (
        f"Windows of {signal.window_samples} samples ({seconds:g} s) at {signal.sample_rate:g} Hz, leads "
        f"{', '.join(signal.leads)}. Steps from a record in mV: {steps}. `model.signal.prepare(record)` does all of it."
    )
