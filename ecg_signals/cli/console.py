"""What a run says about its place: its folder at the start, the files in it and how to go on at the end."""

import logging
import os
import shlex
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ecg_signals.config import listed
from ecg_signals.files import sized

logger = logging.getLogger(__name__)

COMMAND = "ECG_SIGNALS_COMMAND"  # environment variable: the command line as it was typed, for a run's own advice
_LISTED = 12  # files named at the end of a run


def remember_command(command: str, argv: list[str]) -> None:
    """Keep the command line for `how_to_continue`, also for jobs that run in another process."""
    os.environ[COMMAND] = shlex.join([f"ecg-{command}", *argv])


@contextmanager
def told_where(save_dir: str) -> Iterator[None]:
    """Name the run's folder before the block, and after it, however it ends, what was written and how to continue.

    Without a last checkpoint in `save_dir` there is nothing to continue.
    """
    folder, sweep = run_folder()
    logger.info("run folder: %s", folder)
    if int(os.environ.get("TORCHELASTIC_MAX_RESTARTS") or 0) and sweep is None and not _named("hydra.run.dir"):
        logger.warning("torchrun's restarts begin anew in another folder: add hydra.run.dir=FOLDER to the command")
    began = time.time() - 1  # file systems count in whole seconds at worst
    try:
        yield
    finally:
        checkpoints = (folder / save_dir).absolute()
        files = written_since(began, {folder, checkpoints})
        if files:
            logger.info("written to %s: %s", folder, listed([sized(path, folder) for path in files], _LISTED))
        if any(checkpoints.glob("checkpoint_last*.pt")):
            logger.info("%s", how_to_continue(folder, sweep))


def _named(key: str) -> bool:
    """Whether the command line sets it."""
    return any(word.lstrip("+").startswith(f"{key}=") for word in shlex.split(os.environ.get(COMMAND, "")))


def run_folder() -> tuple[Path, Path | None]:
    """This run's folder, and that of the sweep it belongs to, if any."""
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    if not HydraConfig.initialized():
        return Path.cwd(), None
    hydra = HydraConfig.get()
    folder = Path(hydra.runtime.output_dir).absolute()
    launched = Path(hydra.runtime.cwd)
    return folder, launched / hydra.sweep.dir if hydra.mode == RunMode.MULTIRUN else None


def written_since(began: float, folders: Iterable[Path]) -> list[Path]:
    """Files, and checkpoints that are folders, directly in these folders that were written since, the newest last."""
    from ecg_signals.checkpoint.sharded import is_sharded

    found = {}
    for folder in folders:
        for entry in os.scandir(folder) if folder.is_dir() else ():
            whole = entry.is_file(follow_symlinks=False) or is_sharded(Path(entry.path))
            if whole and entry.stat().st_mtime >= began:
                found[Path(entry.path)] = entry.stat().st_mtime
    return sorted(found, key=lambda path: (found[path], path))


def how_to_continue(folder: Path, sweep: Path | None) -> str:
    """What to type so that this run, or the sweep it belongs to, goes on where it stopped."""
    typed = os.environ.get(COMMAND, "")
    key, place = ("hydra.sweep.dir", sweep) if sweep is not None else ("hydra.run.dir", folder)
    if not typed:
        return f"to continue or to train longer, add {key}={place} to the command"
    if _named(key):
        return "the same command again continues where this run stopped"
    if "RANK" in os.environ or "SLURM_PROCID" in os.environ:  # typed behind torchrun or srun, which is not known here
        return f"to continue, add this to the command: {shlex.quote(f'{key}={place}')}"
    return f"to continue where this run stopped: {typed} {shlex.quote(f'{key}={place}')}"
