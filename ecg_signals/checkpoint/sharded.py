"""Checkpoints that are folders, into which every rank of a run has written its part of the tensors.

`state.pt` holds all but the tensors, which it names; the tensors lie in safetensors files, one of every rank, as
torch.distributed.checkpoint writes them: each a part of a tensor and where in it that part begins. A folder has no
pickled index, and nothing in it is executed.
"""

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecg_signals import limits
from ecg_signals.config import ConfigError, listed

STATE = "state.pt"
NAMED = "__tensor__"  # key of what stands for a tensor in STATE: {NAMED: its name, "shape": its shape}
_SHARDING, _OFFSETS = "DCP_SHARDING_INFO", "saved_offsets"  # of torch.distributed.checkpoint in a file's header


def is_sharded(path: Path) -> bool:
    """Whether a checkpoint is such a folder."""
    return (path / STATE).is_file()


def files_of(folder: Path) -> list[Path]:
    """What is read of it."""
    return [folder / STATE, *_parts_in(folder)]


def taken_apart(value: Any, name: str = "") -> tuple[Any, dict[str, Tensor]]:
    """(the same without tensors, tensors by name) of a checkpoint's content; numbers in tensors stay where they are."""
    if isinstance(value, Tensor):
        if value.dim() == 0:
            return value, {}
        return {NAMED: name, "shape": list(value.shape)}, {name: value}
    if not isinstance(value, (Mapping, list, tuple)):
        return value, {}
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    below = {key: taken_apart(item, f"{name}/{key}" if name else str(key)) for key, item in items}
    tensors = {found: tensor for _, part in below.values() for found, tensor in part.items()}
    rest = {key: item for key, (item, _) in below.items()}
    return rest if isinstance(value, Mapping) else type(value)(rest.values()), tensors


def put_together(rest: Any, folder: Path) -> Any:
    """The content of a checkpoint, from that of its STATE: every tensor whole, on the CPU.

    Raises: ConfigError when a part is missing or damaged, or states a place or a size that is not so.
    """
    wanted = dict(_named(rest))
    parts = _parts_by_name(folder)
    missing = [name for name in wanted if name not in parts]
    if missing:
        raise ConfigError(f"{folder} lacks {listed([limits.shown(name) for name in missing])}; {_AGAIN}")
    tensors = {name: _whole(name, shape, parts[name], folder) for name, shape in wanted.items()}
    return _filled(rest, tensors)


_AGAIN = "a rank's file is missing or was cut short: copy the folder again, or use another checkpoint of the run"


def _named(value: Any) -> Iterator[tuple[str, list[int]]]:
    if isinstance(value, dict) and NAMED in value:
        name, shape = value[NAMED], value.get("shape")
        if not isinstance(name, str) or not isinstance(shape, list) or not all(type(n) is int for n in shape):
            raise ConfigError(f"a tensor in {STATE} has no name and shape; use another checkpoint of the run")
        yield name, shape
    elif isinstance(value, (dict, list, tuple)):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _named(item)


def _filled(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, dict):
        named = NAMED in value
        return tensors[value[NAMED]] if named else {key: _filled(item, tensors) for key, item in value.items()}
    return type(value)(_filled(item, tensors) for item in value) if isinstance(value, (list, tuple)) else value


@dataclass(frozen=True)
class _Part:
    """What one file holds of one tensor."""

    file: Any  # open, of safetensors
    begin: tuple[int, ...]
    shape: tuple[int, ...]


def _parts_in(folder: Path) -> list[Path]:
    files = sorted(folder.glob("*.safetensors"))
    if len(files) > limits.MAX_PARTS:
        raise ConfigError(f"{folder} has {len(files):,} files; up to {limits.MAX_PARTS:,} are read (docs/limits.md)")
    return files


def _parts_by_name(folder: Path) -> dict[str, list[_Part]]:
    found: dict[str, list[_Part]] = {}
    for path in _parts_in(folder):
        for name, part in _parts_of(path):
            found.setdefault(name, []).append(part)
    return found


def _parts_of(path: Path) -> Iterator[tuple[str, _Part]]:
    from safetensors import safe_open

    limits.check_safetensors(path)
    try:
        file: Any = safe_open(path, framework="pt")
        places = json.loads((file.metadata() or {}).get(_SHARDING, "{}"))
        for name in file.keys():  # noqa: SIM118, it is no dict
            shape = tuple(file.get_slice(name).get_shape())
            begin = tuple(int(at) for at in places[name][_OFFSETS]) if name in places else (0,) * len(shape)
            if len(begin) != len(shape) or min(begin, default=0) < 0:
                raise ValueError(f"{name} begins at {begin}")
            yield name, _Part(file, begin, shape)
    except Exception as error:
        raise ConfigError(f"{path} cannot be read ({limits.shown(error)}); {_AGAIN}") from None


def _whole(name: str, shape: list[int], parts: list[_Part], folder: Path) -> Tensor:
    """The tensor that parts make up, which must fill it: so no more memory is taken than the files have bytes."""
    inside = all(len(part.shape) == len(shape) for part in parts) and all(
        begin + length <= size for part in parts for begin, length, size in zip(part.begin, part.shape, shape)
    )
    wrong = ConfigError(f"the parts of {limits.shown(name)} in {folder} do not make up {shape}; {_AGAIN}")
    if not inside or sum(math.prod(part.shape) for part in parts) != math.prod(shape):
        raise wrong
    pieces = [(part, part.file.get_tensor(name)) for part in parts if math.prod(part.shape)]
    if len(pieces) == 1:
        return pieces[0][1]
    whole = torch.zeros(shape, dtype=pieces[0][1].dtype if pieces else torch.float32)
    filled = torch.zeros(shape, dtype=torch.bool)
    for part, piece in pieces:
        place = tuple(slice(begin, begin + length) for begin, length in zip(part.begin, part.shape))
        if filled[place].any():  # and so another place stays empty
            raise wrong
        whole[place], filled[place] = piece, True
    return whole
