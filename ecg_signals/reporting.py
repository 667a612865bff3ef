"""Printed and stored statistics: json, simple, tqdm, csv or none; metrics.jsonl, TensorBoard, wandb."""

import csv
import json
import logging
import math
import os
import shutil
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.files import cannot_write, replacing, writing
from ecg_signals.metrics.format import format_stat, rounded
from ecg_signals.pulse import Pulse
from ecg_signals.sections import CommonConfig, Config
from ecg_signals.tables import header_of, read_rows

logger = logging.getLogger(__name__)

Stats = Mapping[str, float]
ADVICE = (
    "Make room there, then run the same command again: it continues from the last checkpoint, which is intact "
    "(checkpoint.keep_last_epochs and .no_epoch_checkpoints save less, checkpoint.save_dir=FOLDER elsewhere)"
)


def setup_logging(common: CommonConfig, master: bool) -> None:
    """fairseq's line format on request, the log file once, and warnings only on ranks other than the first."""
    root = logging.getLogger()
    if not root.handlers:
        logging.basicConfig(level=os.environ.get("LOGLEVEL", "INFO").upper(), stream=sys.stdout)
    if common.reset_logging:
        for handler in root.handlers:
            handler.setFormatter(
                logging.Formatter("%(asctime)s | %(levelname)s | %(name)s | %(message)s", "%Y-%m-%d %H:%M:%S")
            )
    if not master:
        root.setLevel(logging.WARNING)
        return
    root.setLevel(os.environ.get("LOGLEVEL", "INFO").upper())
    if common.log_file:
        wanted = os.path.abspath(common.log_file)
        if wanted not in [getattr(handler, "baseFilename", None) for handler in root.handlers]:
            with writing(Path(wanted), advice="Give common.log_file another path, or leave it out"):
                os.makedirs(os.path.dirname(wanted), exist_ok=True)
                handler = logging.FileHandler(wanted)
            handler.setFormatter(logging.Formatter("%(message)s"))
            root.addHandler(handler)
    for handler in root.handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handleError = partial(_give_up_log, handler)  # type: ignore[method-assign]


def _give_up_log(handler: logging.FileHandler, record: logging.LogRecord) -> None:
    """A log that cannot be written does not end a run, nor does it print a traceback for every line."""
    logging.getLogger().removeHandler(handler)
    error = sys.exc_info()[1]
    assert isinstance(error, Exception)
    logger.warning("%s", cannot_write(Path(handler.baseFilename), error, advice="The run goes on without this log"))


def choose_format(log_format: str | None, no_progress_bar: bool) -> str:
    """The format in use: a progress bar needs a terminal, else plain lines."""
    wanted = log_format or ("simple" if no_progress_bar else "tqdm")
    return "simple" if wanted == "tqdm" and not sys.stderr.isatty() else wanted


class Reporter:
    """Writes every statistic of a run. Only rank 0's writes anything.

    Args:
        config: the composed recipe; `common.log_format` and its neighbours decide what is written.
        save_dir: folder of metrics.jsonl; None writes none (evaluation).
        master: True on rank 0.
    """

    def __init__(self, config: Config, save_dir: Path | None, master: bool) -> None:
        self.common = config.common
        self.format = choose_format(config.common.log_format, config.common.no_progress_bar) if master else "none"
        self.master = master
        self.jsonl = save_dir / "metrics.jsonl" if save_dir and master else None
        self.bar: Any = None
        self.pulse: Pulse | None = None
        self._writers: dict[str, Any] = {}
        self._wandb = self._start_wandb(config, save_dir) if master and config.common.wandb_project else None

    def progress(self, groups: Iterator[Any], epoch: int, total: int, done: int) -> Iterator[Any]:
        """The epoch's updates, behind a progress bar where the format is tqdm, else with a line if one takes long."""
        if self.format == "none":
            yield from groups
            return
        if self.format == "tqdm":
            from tqdm import tqdm

            self.bar = tqdm(total=total, initial=done, desc=f"epoch {epoch:03d}", leave=False)
        try:
            with Pulse(epoch, total, done, self.bar) as self.pulse:
                for group in groups:
                    self.pulse.update_starts(len(group))
                    yield group
                    self.pulse.update_done()
                    if self.bar is not None:
                        self.bar.update(1)
        finally:
            self.pulse = None
            if self.bar is not None:
                self.bar.close()
                self.bar = None

    def batch_done(self) -> None:
        """One of the batches of the update in progress is through."""
        if self.pulse is not None:
            self.pulse.batch_done()

    def interval(self, stats: Stats, epoch: int, step: int, total: int) -> None:
        """The periodic line of training: `step` of `total` updates in `epoch` are done."""
        shown = _shown(stats)
        log = logging.getLogger("train_inner")
        if self.format == "json":
            log.info(json.dumps({"epoch": epoch, "update": round(epoch - 1 + step / total, 3), **shown}))
        elif self.format in ("simple", "csv"):
            listed = ", ".join(f"{key}={value}" for key, value in shown.items())
            log.info(f"epoch {epoch:03d}: {step:6d} / {total} {listed}")
        elif self.format == "tqdm" and self.bar is not None:
            self.bar.set_postfix(shown, refresh=False)
        self._store("train_inner", stats, epoch)

    def summary(self, tag: str, stats: Stats, epoch: int | None = None) -> None:
        """The line at an epoch's end (`tag` train) or after a validation (`tag` the subset)."""
        shown = _shown(stats)
        log = logging.getLogger(tag)
        if self.format == "json":
            first = {} if epoch is None else {"epoch": epoch}
            log.info(json.dumps({**first, **{f"{tag}_{key}": value for key, value in shown.items()}}))
        elif self.format != "none":
            head = "" if epoch is None else f"epoch {epoch:03d} | "
            middle = "" if tag == "train" else f"valid on '{tag}' subset | "
            log.info(head + middle + " | ".join(f"{key} {value}" for key, value in shown.items()))
        self._store(tag, stats, epoch)

    def rewind(self, num_updates: int) -> None:
        """Forget what was stored after update `num_updates`: those updates are about to be made again.

        Lines that no run wrote are taken out, and the file as it was is kept beside it.
        Raises: ConfigError if metrics.jsonl is no ordinary file or cannot be written.
        """
        if self.jsonl is None or not self.jsonl.exists():
            return
        if not self.jsonl.is_file():
            raise ConfigError(
                f"{self.jsonl} is not an ordinary file, but training writes its statistics there; move it away: "
                f"mv {self.jsonl} {self.jsonl}.old"
            )
        with writing(self.jsonl, advice=ADVICE):
            lines = self.jsonl.read_bytes().split(b"\n")
            last = lines.pop()  # empty, or cut when a run was killed
            rows = [_updates_of(line) for line in lines]
            strange = sum(row is None for row in rows)
            if strange:
                kept = _free_name(self.jsonl)
                with replacing(kept, advice=ADVICE) as copy:
                    shutil.copyfile(self.jsonl, copy)
                logger.warning(
                    "%s: %d of %d lines hold no statistics of a run and are left out; the file as it was is %s",
                    self.jsonl, strange, len(rows), kept,
                )  # fmt: skip
            if last:
                lines, rows = [*lines, last], [*rows, _updates_of(last)]
            with replacing(self.jsonl, advice=ADVICE) as whole:
                wanted = [line for line, row in zip(lines, rows) if row is not None and row <= num_updates]
                whole.write_bytes(b"".join(line + b"\n" for line in wanted))

    def _store(self, tag: str, stats: Stats, epoch: int | None) -> None:
        if not self.master:
            return
        if self.pulse is not None:
            self.pulse.spoke()
        numbers = {
            key: value for key, value in stats.items() if isinstance(value, (int, float)) and not key.startswith("_")
        }
        if self.jsonl is not None:
            row = {"split": tag, "epoch": epoch, **{key: _jsonable(value) for key, value in numbers.items()}}
            with writing(self.jsonl, advice=ADVICE), open(self.jsonl, "a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")
        step = int(numbers.get("num_updates", 0))
        if self.format == "csv":
            columns = {key: rounded(key, value) for key, value in numbers.items() if key != "num_updates"}
            append_csv(Path(f"{tag}.csv"), columns, step)
        if self.common.tensorboard_logdir:
            with writing(Path(self.common.tensorboard_logdir), advice=ADVICE):
                self._tensorboard(tag, numbers, step)
        if self._wandb is not None:
            self._wandb.log({f"{tag}/{key}": value for key, value in numbers.items()}, step=step)

    def _tensorboard(self, tag: str, numbers: Stats, step: int) -> None:
        if not self._writers:
            _hush_writers()
        if tag not in self._writers:
            from torch.utils.tensorboard import SummaryWriter

            self._writers[tag] = SummaryWriter(os.path.join(self.common.tensorboard_logdir or "", tag))
            self._writers[tag].add_text("sys.argv", " ".join(sys.argv))
        for key, value in numbers.items():
            self._writers[tag].add_scalar(key, value, step)
        self._writers[tag].flush()

    def _start_wandb(self, config: Config, save_dir: Path | None) -> Any:
        try:
            import wandb
        except ImportError:
            raise ConfigError('common.wandb_project needs wandb: pip install "ecg-signals[track]"') from None
        name = os.environ.get("WANDB_NAME") or os.path.basename(str(save_dir or "run"))
        project, entity = config.common.wandb_project, config.common.wandb_entity
        settings: dict[str, Any] = {"project": project, "entity": entity, "dir": os.getcwd()}  # this run's folder
        try:
            return wandb.init(**settings, name=name, config=config.to_dict())
        except wandb.Error as error:  # not logged in, or no network: no reason to lose a run
            logger.warning("wandb is kept offline in ./wandb, `wandb sync` sends it: %s", str(error).splitlines()[0])
            return wandb.init(**settings, name=name, config=config.to_dict(), mode="offline")

    def close(self) -> None:
        if self._writers:
            with writing(Path(self.common.tensorboard_logdir or ""), advice=ADVICE):
                for writer in self._writers.values():
                    writer.close()
        if self._wandb is not None:
            self._wandb.finish()


def _hush_writers() -> None:
    """No traceback from TensorBoard's writing threads: what stops one is raised again by the next call, and told."""
    before = threading.excepthook

    def told(failed: threading.ExceptHookArgs) -> None:
        if not (isinstance(failed.exc_value, OSError) and type(failed.thread).__name__ == "_AsyncWriterThread"):
            before(failed)

    threading.excepthook = told


def _shown(stats: Stats) -> dict[str, Any]:
    """As lines print them."""
    return {key: format_stat(rounded(key, value)) for key, value in stats.items() if not key.startswith("_")}


def _jsonable(value: float) -> float | None:
    return value if math.isfinite(value) else None


def stored_rows(path: Path) -> list[dict[str, Any]]:
    """The lines of a metrics.jsonl; none where there is no such file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _updates_of(line: bytes) -> float | None:
    """`num_updates` of a line of metrics.jsonl, 0 without one; None for a line that is no object of ours."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    updates = row.get("num_updates", 0) if isinstance(row, dict) else None
    return updates if isinstance(updates, (int, float)) else None


def _free_name(path: Path) -> Path:
    """A name beside `path` that nothing has."""
    number = 1
    while os.path.lexists(name := path.with_name(f"{path.name}.strange{number}")):
        number += 1
    return name


def append_csv(path: Path, row: Mapping[str, Any], step: int) -> None:
    """Add a row; columns keep their order, and a new one rewrites the file with it at the end.

    Raises: ConfigError if the file holds no table or cannot be written.
    """
    line = {"step": step, **row}
    with writing(path, advice=ADVICE):
        there = path.exists() and path.stat().st_size > 0
        header = header_of(path) if there else []
        if set(line) <= set(header):
            with open(path, "a", newline="", encoding="utf-8") as out:
                csv.DictWriter(out, header).writerow(line)
            return
        columns, *rows = _read_csv(path) if there else [["step"]]
        with replacing(path, advice=ADVICE) as whole, open(whole, "w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, [*columns, *(key for key in row if key not in columns)])
            writer.writeheader()
            writer.writerows([*(dict(zip(columns, cells)) for cells in rows), line])


def _read_csv(path: Path) -> list[list[str]]:
    """Columns, then the rows."""
    with suppress(ConfigError):
        found = read_rows(path)
        if "step" in found[0]:
            return found
    raise ConfigError(f"{path} is not a table of a run's statistics; move it away: mv {path} {path}.old")
