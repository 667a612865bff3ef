"""Writing checkpoints so that a kill at any instant leaves the previous file intact."""

import errno
import os
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
from ecg_signals.runtime.nested import on_each

StrPath = str | os.PathLike[str]
_TEMPORARY = ".writing"  # ending of files that are not complete yet
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
            _flush(temporary)
            os.replace(temporary, target)
            _flush(target.parent)
    except (OSError, RuntimeError) as error:
        raise cannot_write(target, error, state_bytes(state), ADVICE) from error
    write_links(target, others)


def write_links(path: StrPath, others: Iterable[StrPath]) -> None:
    """Give the file `path` further names: hard links, or copies where the file system has none; each in one step."""
    target = Path(path)
    for other in map(Path, others):
        try:
            with _temporary(other) as temporary:
                temporary.unlink()
                try:
                    os.link(target, temporary)
                except OSError:
                    shutil.copyfile(target, temporary)
                    _flush(temporary)
                os.replace(temporary, other)
                _flush(other.parent)
        except OSError as error:
            raise cannot_write(other, error, target.stat().st_size, ADVICE) from error


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


def _flush(path: Path) -> None:
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
    """Delete the unfinished files that killed processes left in `folder`; those of running processes stay."""
    removed = []
    for path in Path(folder).glob(f".*{_TEMPORARY}"):
        owner = path.name.removesuffix(_TEMPORARY).split(".")[-2]
        if not owner.isdigit() or int(owner) == os.getpid() or not _running(int(owner)):
            path.unlink(missing_ok=True)
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
    """Bytes of all tensors in `state`, shared storages once: what the file needs at least."""
    storages: dict[int, int] = {}

    def note(tensor: Tensor) -> None:
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
