"""Files that are written whole or not at all, and what is said when they cannot be."""

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ecg_signals.config import ConfigError

# What the system answers when a place cannot take a file, whatever its content is.
REFUSALS = (
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.ENOTDIR,
    errno.EEXIST, errno.EISDIR, errno.ENAMETOOLONG,
)  # fmt: skip
PARTIAL = re.compile(r"\..+\.\d+\.tmp")  # names of files that a killed process left unfinished
AGAIN = "Make room there or choose another folder, then run the same command again; what is finished is kept"


class CannotWrite(ConfigError):
    """A file could not be written: the disk is full, a limit was met, or the place refuses."""


def cannot_write(
    path: Path, error: Exception, needed: int | None = None, advice: str = AGAIN, written: int | None = None
) -> CannotWrite:
    """The one message for a write that failed.

    Args:
        path: what was to be written.
        error: what the system or a library said. Arrays written in part carry no number, and torch a text of its own.
        needed: bytes that the file takes, None: not known.
        advice: what to type next.
        written: bytes of it that could be written, where `needed` is not known.
    """
    reason = getattr(error, "strerror", None)
    if isinstance(error, (FileExistsError, NotADirectoryError)):
        reason = f"{next(place for place in (path, *path.parents) if place.exists())} is a file, not a folder"
    reason = reason or "it could not be written in full (no space left, or a limit on the size of files)"
    folder = next(parent for parent in (path, *path.absolute().parents) if parent.is_dir())
    need = f"It needs about {needed:,} bytes, " if needed is not None else ""
    if needed is None and written:
        need = f"It needs more than {written:,} bytes, "
    free = f"{shutil.disk_usage(folder).free:,} {'are' if need else 'bytes are'} free in {folder}"
    return CannotWrite(f"cannot write {path}: {reason}. {need}{free}. {advice}")


def check_writable(folder: Path, advice: str = AGAIN) -> None:
    """Before anything is computed: whether `folder` takes files, or can be made. Leaves nothing behind.

    Raises: CannotWrite.
    """
    place = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=place):
            return
    except OSError as error:
        raise cannot_write(folder, error, advice=advice) from None


def sized(path: Path, below: Path | None = None) -> str:
    """A file or a folder of files and its size, as in "checkpoint_last.pt (1.1 GB)".

    With its whole path unless it lies in `below`.
    """
    files = path.iterdir() if path.is_dir() else [path]
    size = float(sum(file.stat().st_size for file in files if file.exists()))
    units = iter(("bytes", "kB", "MB", "GB"))
    unit = next(units)
    while size >= 1000 and unit != "GB":
        size, unit = size / 1000, next(units)
    number = f"{size:.0f}" if unit == "bytes" or size >= 100 else f"{size:.1f}"
    whole = path.absolute()
    shown = whole.relative_to(below) if below is not None and whole.is_relative_to(below) else whole
    return f"{shown} ({number} {unit})"


def file_digest(path: Path) -> str:
    """SHA-256 of a file, which is not held in memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def writing(path: Path, needed: int | None = None, advice: str = AGAIN) -> Iterator[None]:
    """Turns a failure of the system in the block, which writes `path`, into a CannotWrite."""
    try:
        yield
    except OSError as error:
        raise cannot_write(path, error, needed, advice) from None


@contextmanager
def replacing(path: Path, durable: bool = False, needed: int | None = None, advice: str = AGAIN) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well; else nothing is left of it.

    A link is replaced, not written through: what it leads to stays as it is.

    Args:
        path: the file; its folder is made.
        durable: flush the content to disk before it takes the place, so that it survives a power failure.
        needed: bytes that the file takes, for the message; None: not known.
        advice: what to type when it cannot be written.
    Raises: CannotWrite for a full disk or a place that refuses the file; other errors of the block as they are.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with _reported(path, partial, needed, advice):
            if not os.path.isdir(path.parent):  # the usual case for one question to the system
                path.parent.mkdir(parents=True, exist_ok=True)
            yield partial
            if durable:
                with partial.open("rb") as file:
                    os.fsync(file.fileno())
            os.replace(partial, path)
    except BaseException:
        with suppress(OSError):  # a folder that refuses to lose a file never held this one
            partial.unlink(missing_ok=True)
        raise


@contextmanager
def _reported(path: Path, partial: Path, needed: int | None, advice: str) -> Iterator[None]:
    """As `writing`, but for errors of `path` alone: the block may read other files, whose errors are not its own."""
    try:
        yield
    except OSError as error:
        if not _is_refusal(error, path, partial):
            raise
        written = partial.stat().st_size if partial.is_file() else None
        raise cannot_write(path, error, needed, advice, written) from None


def _is_refusal(error: OSError, path: Path, partial: Path) -> bool:
    if error.errno is None:
        return "written" in str(error)  # numpy's "9 requested and 7 written"
    named = None if error.filename is None else Path(os.fsdecode(error.filename))
    ours = named is None or named == path or named in path.parents or named.name.startswith(partial.name)
    return ours and error.errno in REFUSALS
