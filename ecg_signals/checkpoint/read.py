"""Reading any `.pt` file without executing what it says."""

import logging
import os
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from ecg_signals.checkpoint.archive import ZIP_MAGIC, read_legacy, read_zip
from ecg_signals.checkpoint.sharded import STATE, is_sharded, put_together
from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.limits import regular_file, shown

logger = logging.getLogger(__name__)

DAMAGED = (Exception,)  # torch, zipfile, pickletools, ... raise almost any on arbitrary content
_WRAPPERS = re.compile(r"(?:^|(?<=\.))(?:_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module|_forward_module)\.")
_PARALLEL = "module."
_TAR_MARK = slice(257, 262)
_SIGNATURES = (
    (b"version https://git-lfs.github.com", "a Git LFS pointer, not the file; run `git lfs pull` in its repository"),
    (b"<!doctype html", "a web page, probably an error page saved by a download; download the file again"),
    (b"<html", "a web page, probably an error page saved by a download; download the file again"),
    (b"\x89hdf\r\n", "an HDF5 file, not a checkpoint"),
    (b"\x93numpy", "a .npy array, not a checkpoint"),
    (b"matlab 5.0", "a .mat signal file, not a checkpoint"),
    (b"\x1f\x8b", "a gzip file; unpack it first (gunzip)"),
    (b"{", "a JSON text, not a checkpoint; for a Hugging Face model give the folder that holds it"),
)


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """A checkpoint's content as dicts, lists, numbers, strings, arrays and CPU tensors; nothing in it is executed.

    A folder that the ranks of a run have written (checkpoint/sharded.py) reads as the file of one rank would.
    Tensors of large files stay on disk (memory-mapped, copy on write) until they are used.
    Objects of classes that are not imported become dicts with their class under `__class__`.

    Raises: ConfigError when the file is missing, is no checkpoint, is cut short, or asks for something to be run.
    """
    file = resolve_input(path)
    if is_sharded(file):
        return _read_sharded(file)
    _check_file(file)
    try:
        content = _load(file)
    except ConfigError as error:
        raise ConfigError(f"{file} was refused: {error}. Nothing in it was executed.") from None
    except DAMAGED as error:
        raise ConfigError(_unreadable(file, error)) from None
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ConfigError(f"{file} holds a {kind}; a checkpoint is a dict with the weights under 'model': save that")
    return without_wrappers(content, str(file))


def _read_sharded(folder: Path) -> dict[str, Any]:
    """Of one moment, even where a run puts its next checkpoint in place meanwhile."""
    for last in (False, False, True):
        before = folder.stat().st_ino
        try:
            found: dict[str, Any] = put_together(read_checkpoint(folder / STATE), folder)
            if folder.stat().st_ino == before:
                return found
        except (ConfigError, OSError):
            if last or folder.stat().st_ino == before:
                raise
    raise ConfigError(f"{folder} is replaced again and again while it is read; try again, or copy it first")


def without_wrappers(content: Any, where: str, depth: int = 3) -> Any:
    """The same dicts, with weight names as the model has them, not torch.compile, DataParallel, FSDP, ... around it.

    Raises: ConfigError when two weights would get one name.
    """
    if not isinstance(content, dict) or depth == 0:
        return content
    if not content or not all(isinstance(key, str) and isinstance(item, Tensor) for key, item in content.items()):
        return {key: without_wrappers(item, where, depth - 1) for key, item in content.items()}
    names = {key: _WRAPPERS.sub("", key) for key in content}
    for _ in range(3):
        if not all(name.startswith(_PARALLEL) for name in names.values()):
            break
        names = {key: name.removeprefix(_PARALLEL) for key, name in names.items()}
    changed = sum(key != name for key, name in names.items())
    if len(set(names.values())) < len(names):
        raise ConfigError(f"{where} holds weights twice, with and without the prefixes of a wrapper; save it unwrapped")
    if changed:
        logger.warning("%s: left out what a wrapper (torch.compile, DataParallel, FSDP) has put before the names of "
                       "%d of %d weights", where, changed, len(names))  # fmt: skip
    return {names[key]: item for key, item in content.items()}


def _check_file(file: Path) -> None:
    if file.is_dir():
        found = ", ".join(sorted(item.name for item in file.iterdir())[:8]) or "nothing"
        raise ConfigError(f"{file} is a folder (holding {found}); give the checkpoint file in it, such as its .pt")
    if not file.exists():
        beside = sorted(item.name for item in file.parent.glob("*.pt"))[:8] if file.parent.is_dir() else []
        hint = f"; checkpoints there: {', '.join(beside)}" if beside else "; give the path of a .pt file"
        raise ConfigError(f"{file} does not exist{hint}")
    if regular_file(file).stat().st_size == 0:
        raise ConfigError(f"{file} is empty (0 bytes); use another checkpoint of the run or download it again")


def _load(file: Path) -> Any:
    with file.open("rb") as stream:
        head = stream.read(512)
    if head[_TAR_MARK].startswith(b"ustar"):
        raise ConfigError(
            "it is a tar archive, the form of torch before 0.4, which must be unpacked to disk; have whoever made it "
            "load it there and save it again with a current torch"
        )
    return read_zip(file) if head.startswith(ZIP_MAGIC) else read_legacy(file)


def _unreadable(file: Path, error: Exception) -> str:
    """What a file that could not be read looks like, from its first bytes."""
    with file.open("rb") as stream:
        head = stream.read(512)
    lowered, size = head.lstrip().lower(), file.stat().st_size
    for signature, meaning in _SIGNATURES:
        if lowered.startswith(signature):
            return f"{file} ({size} bytes) is {meaning}"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < max(size, 1):
        return f"{file} is a safetensors file; give the folder that holds it together with config.json"
    if head.startswith(b"PK"):
        return f"{file} ({size} bytes) is cut short or damaged ({first_line(error)}). Copy it again"
    if head.startswith(b"\x80"):
        return f"{file} ({size} bytes) is a damaged pickle or one that is no checkpoint: {first_line(error)}"
    return f"{file} ({size} bytes) is not a checkpoint: it starts with {head[:16]!r}; give a file of torch.save"


def first_line(error: Exception) -> str:
    """The kind of an error and the beginning of its text, for a message."""
    return f"{type(error).__name__}: {shown(str(error).strip().partition(chr(10))[0], 200)}"
