"""Files of predictions of one test set, as of several runs: their macro AUROC with intervals, and that of all together.

A file is an .npz with `<split>_targets` and `<split>_predictions` (`common_eval.predictions` writes it, as ECG-JEPA's
fine-tuning does), or a predictions_<split>.csv of ecg-validate, which also knows patients.
"""

import math
import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError, listed
from ecg_signals.evaluation.results import class_numbers, one_hot
from ecg_signals.files import replacing
from ecg_signals.metrics.areas import mean_auroc
from ecg_signals.metrics.bootstrap import ends_of, paired_difference, resampled_groups, resampled_items, spread
from ecg_signals.metrics.ranking import ranking_metrics
from ecg_signals.readers.npy_file import load_npz
from ecg_signals.tables import Column, read_table

TARGETS, PREDICTIONS = "_targets", "_predictions"


@dataclass
class Bootstrapped:
    """What came of it.

    Attributes:
        files: in the order in which they were drawn.
        scores: [files, rounds] macro AUROC of resampled test sets; NaN where it is undefined.
        values: [files] macro AUROC of the test set itself.
        undefined: labels (columns) that no resample can score: all items have them, or none.
        resampled: what was drawn, "patient" or "record".
        against: the file that all others are compared with, on the same resamples.
    """

    files: list[Path]
    scores: np.ndarray
    values: np.ndarray
    undefined: list[str]
    resampled: str
    against: Path | None = None

    def summary(self) -> dict[str, Any]:
        """Mean and 95 % interval of every file, mean and deviation of their means, and of all scores together."""
        files = {str(path): _interval(row) for path, row in zip(self.files, self.scores)}
        means, lows, highs = (_defined([found[key] for found in files.values()]) for key in ("mean", "low", "high"))
        over = {"mean": _mean(means), "std": _deviation(means)}
        over |= {"lowest": min(lows, default=math.nan), "highest": max(highs, default=math.nan)}
        pooled = {**_interval(self.scores.ravel()), "std": _deviation(_defined(self.scores.ravel()))}
        drawn = {"rounds": self.scores.shape[1], "undefined_rounds": int(np.isnan(self.scores).sum())}
        drawn |= {"resampled": self.resampled, "undefined_labels": self.undefined, "differences": self.differences()}
        values = {"values": dict(zip(files, self.values.tolist())), "of_values": spread(self.values)}
        return {"files": files, "of_files": over, **values, "pooled": pooled, **drawn}

    def differences(self) -> dict[str, dict[str, float]]:
        """Of every other file: its value less that of `against`, and the paired 95 % interval."""
        if self.against is None:
            return {}
        base = self.files.index(self.against)
        found = {}
        for row, path in enumerate(self.files):
            if row != base:
                own, other = self.scores[row], self.scores[base]
                one = paired_difference((float(self.values[row]), float(self.values[base])), (own, other))
                ends = {"low": one.low, "high": one.high, "undefined_rounds": one.undefined}
                found[str(path)] = {"mean": _mean(_defined(own - other)), **ends, "value": one.value}
        return found

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
        values = found["of_values"]
        yield f"of the test set itself, over files: {values['mean']:.4f} ± {values['std']:.4f} (n - 1)"
        yield f"all scores: {pooled['mean']:.4f} ± {pooled['std']:.4f} [{pooled['low']:.4f}, {pooled['high']:.4f}]"
        for path, one in found["differences"].items():
            apart = "" if one["low"] <= 0 <= one["high"] else ", which excludes 0"
            lost = f" ({one['undefined_rounds']} rounds left out)" if one["undefined_rounds"] else ""
            ends = f"[{one['low']:+.4f}, {one['high']:+.4f}]"
            yield f"{path} less {self.against}: {one['value']:+.4f} {ends}{lost}{apart}"
        if self.undefined:
            yield f"left out, as all items have them or none: {', '.join(self.undefined)}"
        if found["undefined_rounds"]:
            yield f"{found['undefined_rounds']} of {self.scores.size} resamples have no score and are left out"


def _interval(scores: np.ndarray) -> dict[str, float]:
    """Of those that are defined."""
    low, high = ends_of(scores)
    return {"mean": _mean(_defined(scores)), "low": float(low), "high": float(high)}


def _defined(values: Sequence[float] | np.ndarray) -> np.ndarray:
    found = np.asarray(values)
    return found[~np.isnan(found)]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _deviation(values: np.ndarray) -> float:
    return float(values.std()) if len(values) else math.nan


def bootstrap_files(
    paths: Sequence[str | Path], *, split: str = "test", rounds: int = 100, seed: int = 42, published: bool = False,
    against: str | Path | None = None,
) -> Bootstrapped:  # fmt: skip
    """Resample the test set that all files share: patients with all their records where the first file knows them.

    Args:
        paths: files, or folders whose files are taken, those below them too.
        against: one of the files, whose scores the others' are compared with.
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
    base = _base(against, files, published)
    read = _read_all(files, split)
    targets, owners = read[0].targets, None if published else read[0].owners
    shared, count = np.random.RandomState(seed), len(targets)

    def drawn() -> Iterable[np.ndarray]:
        if published:
            return (shared.randint(0, count, size=count) for _ in range(rounds))
        return resampled_items(targets, rounds, seed) if owners is None else resampled_groups(owners, rounds, seed)

    scores = [[_auroc(one.scores[rows], targets[rows], published) for rows in drawn()] for one in read]
    whole = ranking_metrics(read[0].scores, targets).auroc
    return Bootstrapped(
        files,
        np.array(scores),
        np.array([mean_auroc(targets, one.scores) for one in read]),
        [read[0].labels[column] for column in np.flatnonzero(np.isnan(whole))],
        "record" if owners is None else "patient",
        base,
    )


def _base(against: str | Path | None, files: list[Path], published: bool) -> Path | None:
    """The file that the others are compared with. Raises: ConfigError when they are not drawn alike, or lack it."""
    if against is not None and published:
        raise ConfigError("--against compares files on the same resamples, and --published draws each file's own; "
                          "leave one of them out")  # fmt: skip
    if against is not None and Path(against) not in files:
        raise ConfigError(f"--against {against} is none of the files {listed(files)}; name one of them")
    return None if against is None else Path(against)


def _read_all(files: list[Path], split: str) -> list["Predictions"]:
    """Raises: ConfigError for files of several test sets."""
    read = [read_predictions(path, split) for path in files]
    targets = read[0].targets
    for path, one in zip(files, read):
        if one.targets.shape != targets.shape or not np.array_equal(one.targets, targets, equal_nan=True):
            raise ConfigError(f"{path} has other targets than {files[0]}: compare predictions of one test set")
    return read


def _auroc(scores: np.ndarray, targets: np.ndarray, published: bool) -> float:
    if not published:
        return mean_auroc(targets, scores)
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


@dataclass(frozen=True)
class Predictions:
    """What a file holds.

    Attributes:
        labels: names, numbers where there are none.
        targets, scores: [items, labels].
        owners: [items], equal for items of one patient; None where no patient is known.
    """

    labels: list[str]
    targets: np.ndarray
    scores: np.ndarray
    owners: np.ndarray | None = None


def read_predictions(path: Path, split: str) -> Predictions:
    """An .npz or a table. Raises: ConfigError for a file that holds none."""
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
        targets = one_hot(targets, scores.shape[1])
    if targets.ndim != 2 or targets.shape != scores.shape:
        raise ConfigError(f"{path} has targets {list(targets.shape)} and predictions {list(scores.shape)}; both are "
                          f"[items, labels]")  # fmt: skip
    return Predictions([str(number) for number in range(scores.shape[1])], targets, scores)


def _read_table(path: Path) -> Predictions:
    table = read_table(path)
    labels = [str(name).removeprefix("score ") for name in table.columns if str(name).startswith("score ")]
    wanted = ["target"] if "target" in table.columns else [f"target {label}" for label in labels]
    if not labels or not set(wanted) <= set(table.columns):
        raise ConfigError(f"{path} has no columns `score LABEL` and `target LABEL`; give a predictions_<split>.csv of "
                          f"ecg-validate")  # fmt: skip
    scores = table[[f"score {label}" for label in labels]].to_numpy(np.float64)
    targets = table[wanted].to_numpy(np.float64)
    targets = one_hot(class_numbers(targets), len(labels)) if wanted == ["target"] else targets
    return Predictions(labels, targets, scores, _owners(table["patient"]) if "patient" in table.columns else None)


def _owners(patients: Column) -> np.ndarray | None:
    """One number per patient; a record of none is a group of its own."""
    codes, _ = patients.factorize()
    return np.where(codes < 0, -1 - np.arange(len(codes)), codes) if (codes >= 0).any() else None


def write_predictions(path: Path, splits: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> None:
    """An .npz with `<split>_targets` and `<split>_predictions`, float32; `valid` is called `val`, as published."""
    arrays: dict[str, np.ndarray] = {}
    for split, (targets, scores) in splits.items():
        name = "val" if split == "valid" else split
        wide = one_hot(targets, scores.shape[1]) if targets.ndim == 1 else targets
        arrays |= {f"{name}{TARGETS}": wide.astype(np.float32), f"{name}{PREDICTIONS}": scores.astype(np.float32)}
    save: Callable[..., None] = np.savez
    with replacing(path) as partial, partial.open("wb") as file:
        save(file, **arrays)
