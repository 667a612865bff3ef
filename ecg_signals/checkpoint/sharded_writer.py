"""Writing checkpoints that are folders (checkpoint/sharded.py), by torch.distributed.checkpoint."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch.distributed as dist
from torch.distributed.checkpoint import HuggingFaceStorageWriter, async_save, save

from ecg_signals.checkpoint.sharded import STATE, taken_apart
from ecg_signals.checkpoint.write import (
    ADVICE,
    new_folder,
    put_in_place,
    snapshot,
    state_bytes,
    write_checkpoint,
    write_links,
)
from ecg_signals.config import ConfigError
from ecg_signals.files import cannot_write
from ecg_signals.runtime.collectives import all_gather_object, from_rank_zero, world_size


class ShardedWriter:
    """Made on every rank, each of which calls `write` and `wait` as often as the others.

    Args:
        asynchronous: `write` returns when the tensors have been copied; they are written while training goes on.
    """

    def __init__(self, asynchronous: bool) -> None:
        self.asynchronous = asynchronous
        # of its own: what it exchanges in the background must not come between training's messages
        self.group = dist.new_group(backend="gloo") if world_size() > 1 else None
        self._last: Any = None
        self._target: tuple[Path, int] | None = None

    def write(self, paths: list[Path], state: dict[str, Any], done: Callable[[], None]) -> None:
        """Write a checkpoint to the first path and link it to the others.

        Every rank writes its part of the tensors into a temporary folder, which takes its place, in one step, when all
        of them have; until then, and wherever the run is killed, the previous checkpoint is there.

        Args:
            state: a checkpoint's content; of tensors that are sharded over ranks, this rank's part.
            done: called on rank 0 when it is written.
        Raises: ConfigError on every rank when the previous one or this one could not be written.
        """
        self.wait()
        rest, tensors = taken_apart(state)
        temporary = Path(from_rank_zero(lambda: str(new_folder(paths[0]))))
        if not all(all_gather_object(temporary.is_dir())):
            raise ConfigError(
                f"{paths[0].parent} is not the same folder for all ranks: set checkpoint.save_dir to one on a file "
                f"system that all nodes share, or distributed_training.use_sharded_state=false"
            )
        self._target = paths[0], state_bytes(tensors)
        storage = _Storage(temporary, snapshot(rest), paths, done)
        call = async_save if self.asynchronous else save
        self._last = self._reported(
            lambda: call(tensors, storage_writer=storage, process_group=self.group, no_dist=self.group is None)
        )

    def wait(self) -> None:
        """Return when nothing is being written. Raises: ConfigError on every rank if it could not be written."""
        last, self._last = self._last, None
        if self.asynchronous and last is not None:
            self._reported(last.result)

    def _reported(self, work: Callable[[], Any]) -> Any:
        from torch.distributed.checkpoint import CheckpointException

        try:
            return work()
        except CheckpointException as error:
            assert self._target is not None
            path, size = self._target
            first: Any = next(iter(error.failures.values()))[0]
            raise first if isinstance(first, ConfigError) else cannot_write(path, first, size, ADVICE) from None


class _Storage(HuggingFaceStorageWriter):
    """One safetensors file for each rank; the folder takes its place when all are there."""

    def __init__(self, folder: Path, rest: Any, paths: list[Path], done: Callable[[], None]) -> None:
        super().__init__(str(folder), save_distributed=True)
        self.folder, self.rest, self.paths, self.done = folder, rest, paths, done

    def finish(self, metadata: Any, results: Any) -> None:
        """On rank 0, when all have written: torch calls it."""
        try:
            write_checkpoint(self.folder / STATE, self.rest)
            put_in_place(self.folder, self.paths[0])
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        write_links(self.paths[0], self.paths[1:])
        self.done()
