"""Writing checkpoints so that a kill at any instant leaves the previous file intact."""

import ctypes
import errno
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecg_signals.files import cannot_write
from ecg_signals.runtime.collectives import own_part
from ecg_signals.runtime.nested import on_each

StrPath = str | os.PathLike[str]
_TEMPORARY = ".writing"  # ending of files and folders that are not complete yet
_REPLACED = ".replaced"  # of folders that make place for a new one
ADVICE = (
    "The previous file is intact. Free some space, or set checkpoint.save_dir=FOLDER to one that can be written "
    "(checkpoint.keep_last_epochs, .no_epoch_checkpoints and .no_save_optimizer_state save less)."
)


def write_checkpoint(path: StrPath, state: Mapping[str, Any], others: Iterable[StrPath] = ()) -> None:
    """Write `state` to `path` through a temporary file in the same folder: flushed to disk, then renamed.

    Args:
        path: the file; an existing one is replaced in one step, or not at all.
        state: plain containers and tensors, so that `torch.load(weights_only=True)` accepts the file.
        others: further names for the same content, see `write_links`.
    Raises: ConfigError when the folder cannot be written or the disk is full; the previous file stays as it was.
    """
    target = Path(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _temporary(target) as temporary:
            torch.save(dict(state), temporary)
            put_in_place(temporary, target)
    except (OSError, RuntimeError) as error:
        raise cannot_write(target, error, state_bytes(state), ADVICE) from error
    write_links(target, others)


def write_links(path: StrPath, others: Iterable[StrPath]) -> None:
    """Give a checkpoint further names: hard links, or copies where the file system has none; each in one step.

    Of a folder, a folder of links.
    """
    target = Path(path)
    for other in map(Path, others):
        try:
            if target.is_dir():
                folder = new_folder(other)
                for file in target.iterdir():
                    _link(file, folder / file.name)
                put_in_place(folder, other)
                continue
            with _temporary(other) as temporary:
                temporary.unlink()
                _link(target, temporary)
                put_in_place(temporary, other)
        except OSError as error:
            raise cannot_write(other, error, target.stat().st_size, ADVICE) from error


def _link(target: Path, name: Path) -> None:
    try:
        os.link(target, name)
    except OSError:
        shutil.copyfile(target, name)
        flush(name)


def put_in_place(new: Path, target: Path) -> None:
    """Give a finished file or folder its name, in one step where the system can; what had the name is removed.

    No system call replaces a folder that is not empty. Linux exchanges two names; elsewhere, and on file systems that
    do not, the old folder is moved aside first, and `remove_stale` moves it back if the process ends just there.
    """
    flush(new)
    if not new.is_dir() and not target.is_dir():
        os.replace(new, target)
    elif not target.exists():
        os.rename(new, target)
    elif _exchange(new, target):
        flush(target.parent)
        _remove(new)
    else:
        aside = new.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}{_REPLACED}")
        os.rename(target, aside)
        os.rename(new, target)
        flush(target.parent)
        _remove(aside)
    flush(target.parent)


def _exchange(one: Path, other: Path) -> bool:
    """Swap two names in one step; False where this system or file system cannot."""
    try:
        call = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    return bool(call(here, os.fsencode(one.absolute()), here, os.fsencode(other.absolute()), exchange) == 0)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def discard(path: Path) -> None:
    """Remove a checkpoint; of a folder nothing is ever half there under its name."""
    if path.is_dir() and not path.is_symlink():
        gone = new_folder(path)
        os.replace(path, gone)
        path = gone
    _remove(path)


def new_folder(target: Path) -> Path:
    """A temporary folder beside `target`, for what will be put in its place."""
    target.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{target.name}.{os.getpid()}."
    folder = Path(tempfile.mkdtemp(prefix=prefix, suffix=_TEMPORARY, dir=target.parent))
    folder.chmod(0o777 & ~_umask())
    return folder


@contextmanager
def _temporary(target: Path) -> Iterator[Path]:
    """A new file beside `target`, removed on the way out if it still exists."""
    prefix = f".{target.name}.{os.getpid()}."
    handle, name = tempfile.mkstemp(prefix=prefix, suffix=_TEMPORARY, dir=target.parent)
    os.fchmod(handle, 0o666 & ~_umask())
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def flush(path: Path) -> None:
    """fsync a file or a folder; folders cannot be opened on every system, and then need no flush."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):
            raise
    finally:
        os.close(handle)


def remove_stale(folder: StrPath) -> list[Path]:
    """Delete what killed processes left unfinished in `folder`; what running processes write stays.

    A folder that was moved aside for a new one, which then did not come, gets its name back.
    """
    removed = []
    for path in [path for ending in (_REPLACED, _TEMPORARY) for path in Path(folder).glob(f".*{ending}")]:
        name, owner, _ = path.name[1:].removesuffix(path.suffix).rsplit(".", 2)
        if owner.isdigit() and int(owner) != os.getpid() and _running(int(owner)):
            continue
        if path.suffix == _REPLACED and not path.with_name(name).exists():
            os.rename(path, path.with_name(name))
            continue
        _remove(path)
        removed.append(path)
    return removed


def _running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def state_bytes(state: Any) -> int:
    """Bytes of all tensors in `state`, of this rank's parts, shared storages once: what the file needs at least."""
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> None:
        tensor = own_part(tensor)
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()

    on_each(state, Tensor, note)
    return sum(storages.values())


class AsyncWriter:
    """Writes checkpoints in a background thread, one by one (`checkpoint.write_checkpoints_asynchronously`)."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._last: Future[None] | None = None

    def submit(self, work: Callable[[Any], None], state: Any) -> None:
        """Run `work` on a copy of `state` and return at once. Raises what the previous piece of work raised."""
        self.wait()
        self._last = self._threads.submit(work, snapshot(state))

    def wait(self) -> None:
        """Return when the last piece of work is done. Raises: ConfigError if a file could not be written."""
        last, self._last = self._last, None
        if last is not None:
            last.result()


def snapshot(value: Any) -> Any:
    """A copy of the containers and tensors that training may change afterwards."""
    return on_each(value, Tensor, lambda tensor: tensor.detach().clone())
