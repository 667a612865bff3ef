"""results.json and results.csv: every run that is there, what seeds have in common, and published numbers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.comparison.running import FAILED, KIND_NAMES, PREDICTIONS, RESULT, SETTINGS
from ecg_signals.comparison.runs import lead_metric
from ecg_signals.evaluation.benchmarks.base import owners
from ecg_signals.evaluation.benchmarks.published import published_numbers
from ecg_signals.evaluation.results import class_numbers, plain_json
from ecg_signals.metrics.base import Scored, make_metrics, mean_defined
from ecg_signals.metrics.bootstrap import intervals, resampled_groups
from ecg_signals.metrics.logits import CLASSES
from ecg_signals.readers.npy_file import load_npz
from ecg_signals.tables import write_table, write_text

JSON, CSV = "results.json", "results.csv"
KEYS = ("benchmark", "protocol", "model", "fraction", "test_on")  # what seeds share
KINDS = {name: kind for kind, name in KIND_NAMES.items()}  # others are stored as they are called


def collect(out: Path, rounds: int) -> dict[str, Any]:
    """Write both tables from the results below `out`. Returns: the content of results.json."""
    found = [(path.parent, json.loads(path.read_text())) for path in sorted((out / "runs").rglob(RESULT))]
    groups: dict[tuple[str, ...], list[tuple[Path, dict[str, Any]]]] = {}
    for folder, result in found:
        groups.setdefault(tuple(result[key] for key in KEYS), []).append((folder, result))
    content = {
        "runs": [result for _, result in found],
        "summary": [dict(zip(KEYS, key)) | summary(members, rounds) for key, members in groups.items()],
        "published": published_numbers({result["benchmark"] for _, result in found}),
        "failed": {str(path.parent.relative_to(out)): json.loads(path.read_text())["error"]
                   for path in sorted((out / "runs").rglob(FAILED)) if not finished(path.parent)},
    }  # fmt: skip
    write_text(out / JSON, json.dumps(plain_json(content), indent=1, ensure_ascii=False) + "\n")
    write_csv(out / CSV, [result for _, result in found])
    return content


def finished(folder: Path) -> bool:
    """Whether all results of a run are there, its own and those of other benchmarks."""
    path = folder / SETTINGS
    further = json.loads(path.read_text())["test_on"] if path.is_file() else {}
    return all((place / RESULT).is_file() for place in [folder, *(folder / "test_on" / name for name in further)])


def summary(members: Sequence[tuple[Path, Mapping[str, Any]]], rounds: int) -> dict[str, Any]:
    """Mean and deviation over seeds of every metric, and the interval of the leading one's mean."""
    results = [result for _, result in members]
    names = dict.fromkeys(name for result in results for name in result["metrics"])
    values = {name: [result["metrics"].get(name) for result in results] for name in names}
    numbers = {name: np.array([value for value in own if value is not None]) for name, own in values.items()}
    kind = kind_of(results[0])
    lead = lead_metric(kind)
    return {
        "seeds": len(results),
        "mean": {name: float(own.mean()) if len(own) else None for name, own in numbers.items()},
        "std": {name: float(own.std(ddof=1)) if len(own) > 1 else None for name, own in numbers.items()},
        "lead": lead,
        "interval": interval([folder for folder, _ in members], lead, kind, rounds),
        "undefined": results[0]["undefined"],
        "baselines": results[0].get("baselines", {}),
    }


def kind_of(result: Mapping[str, Any]) -> str:
    """What a result's scores are, see metrics/logits.py."""
    return KINDS.get(result["kind"], result["kind"])


def interval(folders: Iterable[Path], metric: str, kind: str, rounds: int) -> list[float] | None:
    """Ends of the 95 % interval of the seeds' mean: all seeds answer to the same resampled patients."""
    read = [known_answers(folder / PREDICTIONS, kind) for folder in folders]
    if not rounds or any(len(one["ids"]) != len(read[0]["ids"]) for one in read):
        return None
    measure = make_metrics([metric], kind)[metric]
    whose = owners(read[0]["patients"], read[0]["ids"])

    def mean(rows: np.ndarray) -> dict[str, np.ndarray | float]:
        scored = [Scored.of(one["scores"][rows], one["targets"][rows], kind) for one in read]
        return {metric: float(np.mean([mean_defined(np.atleast_1d(measure(own))) for own in scored]))}

    ends = intervals(mean, resampled_groups(whose, rounds, 0))[metric]
    return [float(end) for end in ends] if np.isfinite(ends).all() else None


def known_answers(path: Path, kind: str) -> dict[str, np.ndarray]:
    """Arrays of predictions.npz; of classes those of records whose class is known, `targets` as their numbers."""
    found = load_npz(path)
    if kind != CLASSES:
        return found
    numbers = class_numbers(found["targets"])
    known = {name: found[name][numbers >= 0] for name in ("ids", "patients", "scores")}
    return {**known, "targets": numbers[numbers >= 0]}


def write_csv(path: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """One row per result."""
    import pandas as pd

    rows = []
    for result in results:
        row = {key: result[key] for key in (*KEYS, "seed", "kind", "seconds")}
        row |= {f"records {split}": count for split, count in result["counts"].items()}
        row |= {f"selected by {key}": value for key, value in result["selection"].items()}
        rows.append(row | dict(result["metrics"]) | {"undefined": "; ".join(result["undefined"])})
    write_table(path, pd.DataFrame(rows))


def said(content: Mapping[str, Any]) -> list[str]:
    """The lines that close a command."""
    lines = []
    for row in content["summary"]:
        name, mean, std = row["lead"], row["mean"].get(row["lead"]), row["std"].get(row["lead"])
        where = row["benchmark"] + (f" on {row['test_on']}" if row["test_on"] != row["benchmark"] else "")
        part = "" if row["fraction"] == "1" else f" {row['fraction']}"
        value = "undefined" if mean is None else f"{mean:.4f}" + (f" ± {std:.4f}" if std is not None else "")
        ends = f" [{row['interval'][0]:.4f}, {row['interval'][1]:.4f}]" if row["interval"] else ""
        without = f"; {len(row['undefined'])} labels undefined" if row["undefined"] else ""
        lines.append(f"{where:32} {row['protocol']:22} {row['model']:40}{part} {name} {value}{ends}{without}")
        others = (f"{other} {scores[name]:.4f}" for other, scores in row["baselines"].items() if name in scores)
        lines += [f"{where:32} without a model: {text}" for text in others]
    return list(dict.fromkeys(lines))
