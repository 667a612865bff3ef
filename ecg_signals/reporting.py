"""Printed and stored statistics: json, simple, tqdm, csv or none; metrics.jsonl, TensorBoard, wandb."""

import csv
import json
import logging
import math
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.files import replacing
from ecg_signals.metrics.format import format_stat, rounded
from ecg_signals.sections import Config

logger = logging.getLogger(__name__)

Stats = Mapping[str, float]


def setup_logging(config: Config, master: bool) -> None:
    """fairseq's line format on request, the log file once, and warnings only on ranks other than the first."""
    root = logging.getLogger()
    if not root.handlers:
        logging.basicConfig(level=os.environ.get("LOGLEVEL", "INFO").upper(), stream=sys.stdout)
    if config.common.reset_logging:
        for handler in root.handlers:
            handler.setFormatter(
                logging.Formatter("%(asctime)s | %(levelname)s | %(name)s | %(message)s", "%Y-%m-%d %H:%M:%S")
            )
    if not master:
        root.setLevel(logging.WARNING)
        return
    root.setLevel(os.environ.get("LOGLEVEL", "INFO").upper())
    if config.common.log_file:
        wanted = os.path.abspath(config.common.log_file)
        if wanted not in [getattr(handler, "baseFilename", None) for handler in root.handlers]:
            os.makedirs(os.path.dirname(wanted), exist_ok=True)
            handler = logging.FileHandler(wanted)
            handler.setFormatter(logging.Formatter("%(message)s"))
            root.addHandler(handler)


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
        self._writers: dict[str, Any] = {}
        self._wandb = self._start_wandb(config, save_dir) if master and config.common.wandb_project else None

    def progress(self, groups: Iterator[Any], epoch: int, total: int, done: int) -> Iterator[Any]:
        """The epoch's updates, behind a progress bar where the format is tqdm."""
        if self.format != "tqdm":
            yield from groups
            return
        from tqdm import tqdm

        self.bar = tqdm(total=total, initial=done, desc=f"epoch {epoch:03d}", leave=False)
        try:
            for group in groups:
                yield group
                self.bar.update(1)
        finally:
            self.bar.close()
            self.bar = None

    def interval(self, stats: Stats, epoch: int, step: int, total: int) -> None:
        """The periodic line of training: `step` of `total` updates in `epoch` are done."""
        shown = {key: format_stat(rounded(key, value)) for key, value in stats.items() if not key.startswith("_")}
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
        shown = {key: format_stat(rounded(key, value)) for key, value in stats.items() if not key.startswith("_")}
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
        """Forget what was stored after update `num_updates`: those updates are about to be made again."""
        if self.jsonl is None or not self.jsonl.exists():
            return
        kept = []
        for line in self.jsonl.read_text().splitlines():
            try:
                if json.loads(line).get("num_updates", 0) <= num_updates:
                    kept.append(line)
            except ValueError:
                continue  # the last line of a killed run may be cut
        with replacing(self.jsonl) as partial:
            partial.write_text("".join(f"{line}\n" for line in kept))

    def _store(self, tag: str, stats: Stats, epoch: int | None) -> None:
        if not self.master:
            return
        numbers = {
            key: value for key, value in stats.items() if isinstance(value, (int, float)) and not key.startswith("_")
        }
        if self.jsonl is not None:
            row = {"split": tag, "epoch": epoch, **{key: _jsonable(value) for key, value in numbers.items()}}
            with open(self.jsonl, "a", encoding="utf-8") as out:
                out.write(json.dumps(row) + "\n")
        if self.format == "csv":
            append_csv(
                Path(f"{tag}.csv"),
                {key: rounded(key, value) for key, value in numbers.items() if key != "num_updates"},
                int(numbers.get("num_updates", 0)),
            )
        step = int(numbers.get("num_updates", 0))
        if self.common.tensorboard_logdir:
            self._tensorboard(tag, numbers, step)
        if self._wandb is not None:
            self._wandb.log({f"{tag}/{key}": value for key, value in numbers.items()}, step=step)

    def _tensorboard(self, tag: str, numbers: Stats, step: int) -> None:
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
        for writer in self._writers.values():
            writer.close()
        if self._wandb is not None:
            self._wandb.finish()


def _jsonable(value: float) -> float | None:
    return value if math.isfinite(value) else None


def append_csv(path: Path, row: Mapping[str, Any], step: int) -> None:
    """Add a row; columns keep their order, and a new one rewrites the file with it at the end."""
    columns: Sequence[str] = ["step"]
    rows: list[dict[str, Any]] = []
    if path.exists():
        with open(path, newline="", encoding="utf-8") as source:
            reader = csv.DictReader(source)
            columns = list(reader.fieldnames or columns)
            if not set(row) <= set(columns):
                rows = list(reader)
    new = [key for key in row if key not in columns]
    fresh = bool(new) or not path.exists()
    with open(path, "w" if fresh else "a", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, [*columns, *new])
        if fresh:
            writer.writeheader()
            writer.writerows(rows)
        writer.writerow({"step": step, **row})
