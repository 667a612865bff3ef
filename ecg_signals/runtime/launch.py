"""The processes of a run: started from here or by others, joined into one group, and missed when one has ended."""

import atexit
import logging
import math
import multiprocessing
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from typing import Any

import torch
import torch.distributed as dist

from ecg_signals.config import ConfigError
from ecg_signals.processes import ending
from ecg_signals.runtime.placement import Placement, device_of, find_placement, use_cuda
from ecg_signals.sections import Config

logger = logging.getLogger(__name__)

_LOST = ("connection closed by peer", "connection reset", "timed out", "socket closed", "broken pipe", "remote process")


def raise_update_freq(config: Config, placement: Placement) -> None:
    """Fewer ranks than the recipe asked for: more accumulated batches, so that an update sees about as many items."""
    there = placement.world_size
    wanted = config.distributed_training.distributed_world_size or there
    if wanted <= there:
        return
    config.distributed_training.distributed_world_size = there  # as the checkpoints should say, beside update_freq
    factor = math.floor(wanted / there + 0.5)
    config.optimization.update_freq = [freq * factor for freq in config.optimization.update_freq]
    items = "as many" if factor * there == wanted else f"{factor * there / wanted:.0%} of the"
    if placement.rank == 0:
        logger.warning(
            "%d ranks are asked for and %d run here: update_freq is now %s, so that an update sees %s items",
            wanted, there, config.optimization.update_freq, items,
        )  # fmt: skip


@contextmanager
def process_group(config: Config, child: Callable[[Placement], None] | None = None) -> Iterator[Placement]:
    """This process's place, with the process group open; starts further local processes that run `child(placement)`.

    Every rank works in rank 0's run folder. Raises: ConfigError naming the ranks that no longer answer.
    """
    placement = find_placement(config)
    children = []
    if placement.spawn and child is not None:
        children = start_children(child, placement)
    with joined(config, placement):
        yield placement
    for process in children:
        process.join()


@contextmanager
def joined(config: Config, placement: Placement) -> Iterator[None]:
    """The process group of `placement`, open; nothing with one process."""
    if placement.world_size == 1:
        yield
        return
    cuda = use_cuda(config.common)
    if cuda:
        torch.cuda.set_device(device_of(config, placement))
    backend = config.distributed_training.distributed_backend if cuda else "gloo"
    try:
        dist.init_process_group(backend, **_meeting(placement), rank=placement.rank, world_size=placement.world_size)
    except (RuntimeError, ValueError, OSError) as error:
        raise ConfigError(
            f"rank {placement.rank} cannot meet the others at {placement.init_method}: {str(error).splitlines()[0]}. "
            "Check that rank 0 runs and can be reached there, distributed_training.distributed_init_method=tcp://HOST:PORT"
        ) from None
    try:
        _share_run_folder()
        yield
    except RuntimeError as error:
        if any(sign in str(error).lower() for sign in _LOST):
            raise ConfigError(
                f"{lost_ranks()} (this is rank {placement.rank}). Look at the log of that rank; "
                f"start again to continue from the last checkpoint. [{str(error).splitlines()[0][:200]}]"
            ) from None
        raise
    finally:
        dist.destroy_process_group()


def _meeting(placement: Placement) -> dict[str, Any]:
    """Where ranks meet: an address, or under torchrun its store, apart for every restart.

    torchrun keeps one store over its restarts; where processes of before listened must not be taken for today's.
    """
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT")
    if placement.init_method != "env://" or attempt is None:
        return {"init_method": placement.init_method}
    store, _, _ = next(dist.rendezvous("env://", placement.rank, placement.world_size))
    return {"store": dist.PrefixStore(f"attempt{attempt}", store)}


def _share_run_folder() -> None:
    folder = [os.getcwd()]
    dist.broadcast_object_list(folder, src=0)
    if os.path.isdir(folder[0]):
        os.chdir(folder[0])


def lost_ranks(seconds: float = 3.0) -> str:
    """Ask every rank, through the store, who is still there. Returns: a phrase naming those that are not."""
    rank, world = dist.get_rank(), dist.get_world_size()
    missing = []
    try:
        store = dist.distributed_c10d._get_default_store()
        store.set(f"alive/{rank}", "1")
        for other in range(world):
            try:
                store.wait([f"alive/{other}"], timedelta(seconds=seconds))
            except Exception:
                missing.append(other)
    except Exception:
        missing = [0]  # the store lives in rank 0 unless torchrun holds it
    names = ", ".join(f"rank {other}" for other in missing) or "another rank"
    return f"{names} of {world} ended or no longer answers"


def start_children(child: Callable[[Placement], None], first: Placement) -> list[BaseProcess]:
    """Start ranks first.rank + 1 ...; a thread ends this process, naming the rank, if one of them fails."""
    context = multiprocessing.get_context("spawn")
    children: list[BaseProcess] = []
    for step in range(1, first.spawn + 1):
        placement = Placement(first.rank + step, first.world_size, first.local_rank + step, first.init_method)
        process = context.Process(target=child, args=(placement,), name=f"rank {placement.rank}")
        process.start()  # not as a daemon, which could have no loading processes of its own
        children.append(process)
    atexit.register(_end, children)
    threading.Thread(target=_watch, args=(list(children),), daemon=True).start()
    return children


def _end(children: list[BaseProcess]) -> None:
    """What is left of them when this process ends, by an error."""
    for process in children:
        if process.is_alive():
            process.terminate()


def _watch(children: list[BaseProcess]) -> None:
    running = {process.sentinel: process for process in children}
    while running:
        for sentinel in wait(list(running)):
            process = running.pop(sentinel)  # type: ignore[arg-type]
            process.join()
            if process.exitcode:
                logger.error("%s of this run %s; stopping the others", process.name, ending(process.exitcode))
                for other in running.values():
                    other.terminate()
                os._exit(1)
