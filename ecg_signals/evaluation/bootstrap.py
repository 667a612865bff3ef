"""Files of predictions of one test set, as of several runs: their macro AUROC with intervals, and that of all together.

A file is an .npz with `<split>_targets` and `<split>_predictions` (`common_eval.predictions` writes it, as ECG-JEPA's
fine-tuning does), or a predictions_<split>.csv of ecg-validate.
"""

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.evaluation.results import class_numbers
from ecg_signals.files import replacing
from ecg_signals.metrics.base import mean_defined
from ecg_signals.metrics.bootstrap import resampled_items
from ecg_signals.metrics.ranking import ranking_metrics
from ecg_signals.readers.npy_file import load_npz
from ecg_signals.tables import read_table

TARGETS, PREDICTIONS = "_targets", "_predictions"
ENDS = (2.5, 97.5)  # percentiles of the resampled scores


@dataclass
class Bootstrapped:
    """What came of it.

    Attributes:
        files: in the order in which they were drawn.
        scores: [files, rounds] macro AUROC of resampled test sets; NaN where it is undefined.
        undefined: labels (columns) that no resample can score: all items have them, or none.
    """

    files: list[Path]
    scores: np.ndarray
    undefined: list[str] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Mean and 95 % interval of every file, mean and deviation of their means, and of all scores together."""
        files = {str(path): _interval(row) for path, row in zip(self.files, self.scores)}
        means = np.array([found["mean"] for found in files.values()])
        pooled = {**_interval(self.scores.ravel()), "std": float(self.scores.std())}
        over = {"mean": float(means.mean()), "std": float(means.std())}
        over |= {"lowest": min(found["low"] for found in files.values())}
        over |= {"highest": max(found["high"] for found in files.values())}
        drawn = {"rounds": self.scores.shape[1], "undefined_rounds": int(np.isnan(self.scores).sum())}
        return {"files": files, "of_files": over, "pooled": pooled, **drawn, "undefined_labels": self.undefined}

    def said(self) -> Iterator[str]:
        """The lines that are printed."""
        found = self.summary()
        for path, one in found["files"].items():
            yield f"{path}: {one['mean']:.4f} [{one['low']:.4f}, {one['high']:.4f}]"
        over, pooled = found["of_files"], found["pooled"]
        yield (
            f"mean of {len(self.files)} file(s): {over['mean']:.4f} ± {over['std']:.4f} "
            f"[{over['lowest']:.4f}, {over['highest']:.4f}]"
        )
        yield f"all scores: {pooled['mean']:.4f} ± {pooled['std']:.4f} [{pooled['low']:.4f}, {pooled['high']:.4f}]"
        if self.undefined:
            yield f"left out, as all items have them or none: {', '.join(self.undefined)}"
        if found["undefined_rounds"]:
            yield f"{found['undefined_rounds']} of {self.scores.size} resamples have no score"


def _interval(scores: np.ndarray) -> dict[str, float]:
    low, high = np.percentile(scores, ENDS)
    return {"mean": float(scores.mean()), "low": float(low), "high": float(high)}


def bootstrap_files(
    paths: Sequence[str | Path], *, split: str = "test", rounds: int = 100, seed: int = 42, published: bool = False
) -> Bootstrapped:
    """Resample the test set that all files share.

    Args:
        paths: files, or folders whose files are taken, those below them too.
        published: ECG-JEPA's arithmetic: one stream of random numbers through all files in the order given (in a
            folder, the file system's), any items drawn, NaN for a resample that lacks positives of a label. Else files
            are sorted, each is drawn alike, every combination of labels as often as in the data, and a mean is one over
            the labels that are defined.
    Raises: ConfigError for files that are no predictions, or of another test set.
    """
    files = [file for path in paths for file in _files(Path(path), split, published)]
    if not files:
        raise ConfigError(f"{', '.join(map(str, paths))}: no .npz and no predictions_{split}.csv is there")
    files = files if published else sorted(dict.fromkeys(files))
    read = [read_predictions(path, split) for path in files]
    labels, targets = read[0][0], read[0][1]
    for path, (_, others, _) in zip(files, read):
        if others.shape != targets.shape or not np.array_equal(others, targets, equal_nan=True):
            raise ConfigError(f"{path} has other targets than {files[0]}: compare predictions of one test set")
    shared, count = np.random.RandomState(seed), len(targets)

    def drawn() -> Iterable[np.ndarray]:
        if not published:
            return resampled_items(targets, rounds, seed)
        return (shared.randint(0, count, size=count) for _ in range(rounds))

    scores = [[_auroc(scores[rows], targets[rows], published) for rows in drawn()] for _, _, scores in read]
    whole = ranking_metrics(read[0][2], targets).auroc
    return Bootstrapped(files, np.array(scores), [labels[column] for column in np.flatnonzero(np.isnan(whole))])


def _auroc(scores: np.ndarray, targets: np.ndarray, published: bool) -> float:
    if not published:
        return mean_defined(ranking_metrics(scores, targets).auroc)
    from sklearn.metrics import roc_auc_score

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return float(roc_auc_score(targets, scores, average="macro"))


def _files(path: Path, split: str, published: bool) -> list[Path]:
    """A file itself; of a folder what lies below it."""
    if not path.is_dir():
        return [path]
    found = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    table = "" if published else f"predictions_{split}.csv"
    return [file for file in found if file.suffix == ".npz" or file.name == table]


def read_predictions(path: Path, split: str) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Label names (numbers where there are none), targets and scores, both [items, labels].

    Raises: ConfigError for a file that holds none.
    """
    if path.suffix == ".csv":
        return _read_table(path)
    arrays = load_npz(path)
    missing = [f"{split}{end}" for end in (TARGETS, PREDICTIONS) if f"{split}{end}" not in arrays]
    if missing:
        raise ConfigError(
            f"{path} has no array {missing[0]} (found {', '.join(arrays)}); set --split to one of its own"
        )
    targets, scores = arrays[f"{split}{TARGETS}"], arrays[f"{split}{PREDICTIONS}"]
    if targets.ndim == 1 and scores.ndim == 2:
        targets = _one_hot(targets, scores.shape[1])
    if targets.ndim != 2 or targets.shape != scores.shape:
        raise ConfigError(f"{path} has targets {list(targets.shape)} and predictions {list(scores.shape)}; both are "
                          f"[items, labels]")  # fmt: skip
    return [str(number) for number in range(scores.shape[1])], targets, scores


def _read_table(path: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    table = read_table(path)
    labels = [str(name).removeprefix("score ") for name in table.columns if str(name).startswith("score ")]
    wanted = ["target"] if "target" in table.columns else [f"target {label}" for label in labels]
    if not labels or not set(wanted) <= set(table.columns):
        raise ConfigError(f"{path} has no columns `score LABEL` and `target LABEL`; give a predictions_<split>.csv of "
                          f"ecg-validate")  # fmt: skip
    scores = table[[f"score {label}" for label in labels]].to_numpy(np.float64)
    targets = table[wanted].to_numpy(np.float64)
    return labels, _one_hot(class_numbers(targets), len(labels)) if wanted == ["target"] else targets, scores


def _one_hot(classes: np.ndarray, count: int) -> np.ndarray:
    """[items] class numbers, negative where unknown -> [items, classes], NaN where unknown."""
    table = (classes[:, None] == np.arange(count)).astype(np.float64)
    return np.where(classes[:, None] >= 0, table, np.nan)


def write_predictions(path: Path, splits: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """An .npz with `<split>_targets` and `<split>_predictions`, float32; `valid` is called `val`, as published."""
    arrays: dict[str, np.ndarray] = {}
    for split, (targets, scores) in splits.items():
        name = "val" if split == "valid" else split
        wide = _one_hot(targets, scores.shape[1]) if targets.ndim == 1 else targets
        arrays |= {f"{name}{TARGETS}": wide.astype(np.float32), f"{name}{PREDICTIONS}": scores.astype(np.float32)}
    save: Callable[..., None] = np.savez
    with replacing(path) as partial, partial.open("wb") as file:
        save(file, **arrays)
