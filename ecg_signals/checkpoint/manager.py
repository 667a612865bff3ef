"""Which checkpoint files a run has: their names, what is kept, and where a run restores from."""

import logging
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.checkpoint.sharded import is_sharded
from ecg_signals.checkpoint.write import AsyncWriter, discard, remove_stale, write_checkpoint
from ecg_signals.config import ConfigError, field_default, resolve_input
from ecg_signals.files import check_writable
from ecg_signals.interop.ours.layout import OURS
from ecg_signals.runtime.collectives import from_rank_zero
from ecg_signals.sections import CheckpointConfig

logger = logging.getLogger(__name__)

_NUMBER = r"(-?\d+(?:\.\d+)?(?:e[+-]?\d+)?)"
_DEFAULT_RESTORE = field_default(CheckpointConfig.__dataclass_fields__["restore_file"])
_Write = Callable[[list[Path], dict[str, Any], Callable[[], None]], None]  # paths, content, what follows
_RESETS = ("reset_optimizer", "reset_lr_scheduler", "reset_meters", "reset_dataloader")


@dataclass(frozen=True)
class Restore:
    """The file a run starts from; the flags say what of it is not used.

    `own`: it is the last checkpoint of this run's folder; `named`: it is the one that checkpoint.restore_file names.
    """

    path: Path
    own: bool = False
    named: bool = False
    reset_optimizer: bool = False
    reset_lr_scheduler: bool = False
    reset_meters: bool = False
    reset_dataloader: bool = False

    @property
    def weights_alone(self) -> bool:
        """Nothing else of the file is used; an optimizer that starts afresh has a schedule that does."""
        return self.reset_optimizer and self.reset_meters and self.reset_dataloader

    @property
    def resets(self) -> dict[str, bool]:
        """The reset options by name."""
        return {key: getattr(self, key) for key in _RESETS}

    def without_resets(self) -> "Restore":
        """The same file, all of it used."""
        return replace(self, **dict.fromkeys(_RESETS, False))  # type: ignore[arg-type]


class CheckpointManager:
    """Saves, prunes and finds the checkpoints of one run.

    Args:
        cfg: the recipe's `checkpoint` section.
        writer: True on the one rank that saves; the folder is made, and cleared of what killed runs left unfinished.
        sharded: checkpoints are folders, into which every rank writes its part.
    Attributes:
        best: the best score so far, None before the first; set it from a restored checkpoint.
    Raises: ConfigError if the folder cannot be made.
    """

    def __init__(self, cfg: CheckpointConfig, writer: bool = True, sharded: bool = False) -> None:
        self.cfg, self.writer, self.sharded = cfg, writer, sharded
        self.folder = Path(cfg.save_dir)
        self.best: float | None = None
        self._write = self._writer_of_folders() if sharded and not cfg.no_save else self._writer_of_files()
        if writer and not cfg.no_save:
            self._prepare()

    def _writer_of_files(self) -> _Write:
        background = AsyncWriter() if self.cfg.write_checkpoints_asynchronously else None
        self._wait = background.wait if background else lambda: None

        def write(paths: list[Path], state: dict[str, Any], done: Callable[[], None]) -> None:
            def work(content: dict[str, Any]) -> None:
                write_checkpoint(paths[0], content, paths[1:])
                done()

            background.submit(work, state) if background else work(state)

        return write

    def _writer_of_folders(self) -> _Write:
        from ecg_signals.checkpoint.sharded_writer import ShardedWriter

        writer = ShardedWriter(self.cfg.write_checkpoints_asynchronously)
        self._wait = writer.wait
        return writer.write

    def _prepare(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            reason = f"checkpoint.save_dir={self.folder} cannot be made ({error.strerror})"
            raise ConfigError(f"{reason}; set checkpoint.save_dir=FOLDER to one that can be written") from error
        check_writable(self.folder, advice="Set checkpoint.save_dir=FOLDER to one that can be written")
        for path in remove_stale(self.folder):
            logger.info("removed %s, which an interrupted process left unfinished", path)

    def is_better(self, score: float, than: float) -> bool:
        """Strictly better in the direction of `checkpoint.maximize_best_checkpoint_metric`; NaN is never better."""
        return score > than if self.cfg.maximize_best_checkpoint_metric else score < than

    def update_best(self, score: float | None) -> bool:
        """Whether `score` is the best so far (a tie counts), remembering it; NaN is, as long as no score is defined."""
        if score is not None and math.isnan(score):
            return self.best is None
        if score is None or (self.best is not None and self.is_better(self.best, score)):
            return False
        self.best = score
        return True

    def is_due(self, epoch: int, updates: int, end_of_epoch: bool) -> bool:
        """Whether the recipe asks for a save after this update."""
        every = self.cfg.save_interval_updates
        return (end_of_epoch and epoch % self.cfg.save_interval == 0) or (every > 0 < updates and updates % every == 0)

    def names(self, epoch: int, updates: int, *, end_of_epoch: bool, score: float | None, is_best: bool) -> list[str]:
        """File names of one save, in the order of fairseq-signals; the first is written, the others are links.

        At an epoch's end the epoch's file stands for the one that is due by updates, unless older epochs are removed.
        """
        cfg, suffix = self.cfg, self.cfg.checkpoint_suffix
        by_epoch = end_of_epoch and not cfg.no_epoch_checkpoints and epoch % cfg.save_interval == 0
        by_update = cfg.save_interval_updates > 0 and updates % cfg.save_interval_updates == 0
        candidates = {
            f"checkpoint{epoch}{suffix}.pt": by_epoch,
            f"checkpoint_{epoch}_{updates}{suffix}.pt": by_update and not (by_epoch and cfg.keep_last_epochs <= 0),
            f"checkpoint_best{suffix}.pt": is_best,
            self._best_name(score): self._among_best(score),
            f"checkpoint_last{suffix}.pt": not cfg.no_last_checkpoints,
        }
        return [name for name, wanted in candidates.items() if wanted]

    def save(
        self,
        state: Callable[[], dict[str, Any]],
        epoch: int,
        updates: int,
        *,
        end_of_epoch: bool,
        score: float | None = None,
    ) -> list[Path]:
        """Write this moment's files and remove those that are no longer wanted; every rank calls it.

        Args:
            state: makes the content; called once, after `best` is up to date, and only if a file is due.
            epoch, updates: the finished epoch (or the one under way) and finished updates.
            end_of_epoch: the update before this save ended its epoch.
            score: of this moment's validation, None without one.
        Returns: the files, the written one first.
        Raises: ConfigError when a file cannot be written.
        """
        if self.cfg.no_save or not (self.writer or self.sharded):
            return []
        started = time.perf_counter()

        def due() -> list[str]:
            is_best = self.update_best(score)
            return self.names(epoch, updates, end_of_epoch=end_of_epoch, score=score, is_best=is_best)

        names = from_rank_zero(due) if self.sharded else due()
        paths = [self.folder / name for name in names]
        if paths:
            logger.info("preparing to save checkpoint for epoch %d @ %d updates", epoch, updates)
            self._write(paths, state(), partial(self._finished, paths[0]))
            seconds = time.perf_counter() - started
            message = "Save checkpoint %s (epoch %d @ %d updates, score %s) (writing took %.3f seconds)"
            logger.info(message, paths[0], epoch, updates, score, seconds)
        return paths

    def _finished(self, path: Path) -> None:
        logger.info("Finished saving checkpoint to %s", path)
        self._prune()

    def save_crash(self, state: Callable[[], dict[str, Any]]) -> Path:
        """Write `crash.pt`, the state in which training failed; every rank calls it."""
        path = self.folder / f"crash{self.cfg.checkpoint_suffix}.pt"
        if self.writer or self.sharded:
            self._write([path], state(), lambda: None)
            self._wait()
        return path

    def close(self) -> None:
        """Return when no file is being written in the background. Raises: ConfigError if the last one failed."""
        self._wait()

    def _best_name(self, score: float | None) -> str:
        """Six decimals, or six digits below 0.001, so that close scores keep their own files."""
        value = score if score is not None else math.nan
        text = f"{value:.6f}" if abs(value) >= 1e-3 or value == 0 else f"{value:.6e}"
        metric = self.cfg.best_checkpoint_metric.replace("/", "_")
        return f"checkpoint.best_{metric}_{text}{self.cfg.checkpoint_suffix}.pt"

    def _among_best(self, score: float | None) -> bool:
        keep = self.cfg.keep_best_checkpoints
        if keep <= 0 or score is None or not math.isfinite(score):
            return False
        kept = self._best_files()
        return len(kept) < keep or not self.is_better(kept[keep - 1][0], score)

    def _best_files(self) -> list[tuple[float, Path]]:
        metric = re.escape(self.cfg.best_checkpoint_metric.replace("/", "_"))
        found = self._numbered(rf"checkpoint\.best_{metric}_{_NUMBER}")
        return found if self.cfg.maximize_best_checkpoint_metric else found[::-1]

    def _numbered(self, pattern: str) -> list[tuple[float, Path]]:
        """Files of this run whose name matches, with the number in it, largest first."""
        whole = re.compile(pattern + re.escape(self.cfg.checkpoint_suffix) + r"\.pt")
        found = [(match, path) for path in self.folder.iterdir() if (match := whole.fullmatch(path.name))]
        return sorted(((float(match[1]), path) for match, path in found), reverse=True)

    def _prune(self) -> None:
        cfg = self.cfg
        gone: list[Path] = []
        if cfg.keep_interval_updates > 0:
            pattern = cfg.keep_interval_updates_pattern
            files = self._numbered(r"checkpoint_\d+_(\d+)")
            files = [(number, path) for number, path in files if pattern <= 0 or int(number) % pattern]
            gone += [path for _, path in files[cfg.keep_interval_updates :]]
        if cfg.keep_last_epochs > 0:
            gone += [path for _, path in self._numbered(r"checkpoint(\d+)")[cfg.keep_last_epochs :]]
        if cfg.keep_best_checkpoints > 0:
            gone += [path for _, path in self._best_files()[cfg.keep_best_checkpoints :]]
        for path in gone:
            discard(path)

    def choose_restore(self) -> Restore | None:
        """The file to start from, None for a fresh start; the same on every rank.

        `checkpoint.restore_file` under its default name means the last checkpoint, if there is one; else
        `continue_once` (continued as it is) or `finetune_from_model` (weights alone); else a fresh start. A file that
        it names is where the run begins: when the last checkpoint descends from it, the run goes on from there.
        Raises: ConfigError for options that exclude each other and for a named file that does not exist.
        """
        return from_rank_zero(self._choose_restore)

    def _choose_restore(self) -> Restore | None:
        cfg = self.cfg
        resets = {key: getattr(cfg, key) for key in _RESETS}
        self._check_finetune(resets)
        last = self.folder / f"checkpoint_last{cfg.checkpoint_suffix}.pt"
        if cfg.restore_file != _DEFAULT_RESTORE:
            return self._choose_named(last, resets)
        if last.exists():
            return Restore(last, own=True, **resets)
        if cfg.continue_once:
            return Restore(_existing("continue_once", cfg.continue_once), **resets)
        if cfg.finetune_from_model:
            everything = dict.fromkeys(_RESETS, True)
            return Restore(_existing("finetune_from_model", cfg.finetune_from_model), **everything)
        return None

    def _choose_named(self, last: Path, resets: dict[str, bool]) -> Restore:
        """The file that checkpoint.restore_file names, or the last one where this run has begun there already."""
        name = self.cfg.restore_file
        if self.cfg.checkpoint_suffix:
            name = name.removesuffix(".pt") + f"{self.cfg.checkpoint_suffix}.pt"
        inside = self.folder / name
        named = inside if _is_checkpoint(inside) else resolve_input(name)
        if not last.exists() or (_is_checkpoint(named) and last.samefile(named)):
            named = named if _is_checkpoint(named) else _existing("restore_file", name)
            return Restore(named, own=last.exists(), named=True, **resets)
        if started_from(last).get("path") == str(named.resolve()):
            logger.info("this run began with %s and has its own progress since: it goes on from %s", named, last)
            return Restore(last, own=True)
        logger.warning(
            "the run begins again with %s, as checkpoint.restore_file says: %s, which did not begin there, will be "
            "replaced",
            named,
            last,
        )
        return Restore(_existing("restore_file", str(named)), named=True, **resets)

    def _check_finetune(self, resets: dict[str, bool]) -> None:
        cfg = self.cfg
        if not cfg.finetune_from_model:
            return
        if any(resets.values()):
            flags = ", ".join(f"checkpoint.{key}" for key, value in resets.items() if value)
            raise ConfigError(f"checkpoint.finetune_from_model already resets everything; leave out {flags}")
        if cfg.restore_file != _DEFAULT_RESTORE:
            raise ConfigError(
                f"checkpoint.finetune_from_model={cfg.finetune_from_model} and checkpoint.restore_file="
                f"{cfg.restore_file} exclude each other; keep the one to start from"
            )


def started_from(path: Path) -> dict[str, Any]:
    """Where the run of a checkpoint of ours began: {"path": the file, "resets": [what of it was not used]}, or {}."""
    extra = read_checkpoint(path).get("extra_state") or {}
    return dict((extra.get(OURS) or {}).get("started_from") or {})


def _is_checkpoint(path: Path) -> bool:
    return path.is_file() or is_sharded(path)


def _existing(key: str, name: str) -> Path:
    path = resolve_input(name)
    if not _is_checkpoint(path):
        raise ConfigError(
            f"checkpoint.{key}={name} does not exist (looked for {path.absolute()}); give an existing file"
        )
    return path
