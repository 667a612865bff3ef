"""Reading Hugging Face folders: `config.json` and weights, without transformers and without a network."""

import os
from pathlib import Path
from typing import Any

from torch import Tensor

from ecg_signals import limits
from ecg_signals.checkpoint.plain import plain_tree
from ecg_signals.checkpoint.read import DAMAGED, read_checkpoint, without_wrappers
from ecg_signals.config import ConfigError

CONFIG, WEIGHTS = "config.json", "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"  # of weights in several parts
HUB_FILES = (CONFIG, "*.safetensors", "*.safetensors.index.json", "pytorch_model.bin")


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
        names = ("checkpoint_best.pt", "checkpoint_last.pt")
        run = [path / folder / name for name in names for folder in ("", "checkpoints")]
        file = next((one for one in run if one.exists()), run[0])
        raise ConfigError(
            f"{path} is no Hugging Face folder: it has no {CONFIG} (it holds {found}). For a training run's folder "
            f"give one of its files, such as {file}"
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
    from safetensors.torch import load_file

    limits.check_safetensors(path)
    try:
        return load_file(path)
    except DAMAGED as error:
        raise ConfigError(f"{path} cannot be read as safetensors ({error}); copy or download it again") from None
