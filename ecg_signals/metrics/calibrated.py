"""What a checkpoint says of its probabilities: from the logits of windows to a record's probability and its limits.

A model that was trained with `pos_weight` w gives logits that lie log w too high; `Calibration` takes them back, which
needs no data, and applies what ecg-calibrate found on validation records (metrics/recalibration.py).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals.config import ConfigError
from ecg_signals.limits import shown

TEMPERATURE = "temperature"  # of models that choose one class out of several
METHODS = ("affine", "isotonic", TEMPERATURE)
POINTS = ("f1", "youden", "sens90", "spec95")  # thresholds of a label: best F1, best Youden's J, and what they keep
Z95 = 1.959963984540054  # of a two-sided 95 % interval
Interval = tuple[float, float]


def wilson(hits: float, count: float) -> Interval:
    """95 % interval of a share (Wilson 1927); 0 to 1 of nothing."""
    if not count:
        return 0.0, 1.0
    share, square = hits / count, Z95**2
    middle = share + square / (2 * count)
    half = Z95 * math.sqrt(share * (1 - share) / count + square / (4 * count**2))
    low, high = ((middle + sign * half) / (1 + square / count) for sign in (-1, 1))
    return max(0.0, low) if hits else 0.0, min(1.0, high) if hits < count else 1.0


def log_odds(probability: float) -> float:
    """Of a probability between 0 and 1."""
    return math.log(probability) - math.log1p(-probability)


def probability_of(logit: float) -> float:
    """The inverse of `log_odds`."""
    return 1 / (1 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1 + math.exp(logit))


@dataclass(frozen=True)
class Calibration:
    """What stands under `calibration` in a checkpoint, checked.

    Attributes:
        log_pos_weight: [labels] log of the training criterion's pos_weight.
        stored: plain values as the file holds them: `log_pos_weight`, and where ecg-calibrate was run also `method`,
            `a`, `b`, `curves`, `thresholds`, `bands`, `likeness`, `prevalence`, `n_records` and so on.
    """

    log_pos_weight: tuple[float, ...]
    stored: Mapping[str, Any]

    @property
    def fitted(self) -> bool:
        """Whether ecg-calibrate was run: the answers are probabilities."""
        return "method" in self.stored

    def of_training(self) -> "Calibration":
        """What the criterion alone says."""
        return stated({"log_pos_weight": list(self.log_pos_weight)})

    def of_windows(self, logits: Tensor) -> Tensor:
        """[..., labels] logits as trained -> those that an unweighted criterion would have given."""
        return logits - torch.tensor(self.log_pos_weight, dtype=torch.float64).to(logits)

    def of_record(self, logits: Tensor) -> Tensor:
        """[..., labels] joined logits of a record's windows -> those whose sigmoid, or softmax, is the probability."""
        if not self.fitted:
            return logits
        own = self.stored["a"] * logits.double() + torch.tensor(self.stored["b"], dtype=torch.float64).to(logits.device)
        for label, curve in enumerate(self.stored["curves"]):
            if curve is not None:
                own[..., label] = torch.from_numpy(follow(curve, own[..., label].cpu().numpy())).to(own)
        return own.to(logits)

    def __call__(self, logits: Tensor) -> Tensor:
        """[..., labels] logits of items that are one window."""
        return self.of_record(self.of_windows(logits))

    def threshold(self, label: int, point: str) -> dict[str, Any] | None:
        """One of POINTS with what it reaches on the validation records; None for a label that was not validated."""
        found = self.stored["thresholds"][label]
        return None if found is None else found[point]

    def band(self, probability: float) -> Interval | None:
        """95 % interval of the share of validation answers of similar probability that were right; None: too few."""
        band = self.stored["bands"]
        if band is None:
            return None
        place = min(int(np.searchsorted(band["upto"], probability)), len(band["upto"]) - 1)
        return wilson(band["positive"][place], band["n"][place])


def follow(curve: Mapping[str, Sequence[float]], values: np.ndarray) -> np.ndarray:
    """A monotone curve through its knots; beyond the ends it goes on with slope 1."""
    knots, heights = np.asarray(curve["logit"]), np.asarray(curve["calibrated"])
    inside = np.interp(values, knots, heights)
    return inside + np.minimum(values - knots[0], 0) + np.maximum(values - knots[-1], 0)


def of_weights(weights: Any, count: int | None) -> Calibration | None:
    """What a criterion's pos_weight says of the logits; None where it does not state one per label, or all are 1.

    A weight that is no positive number, as of labels without training positives, leaves its label alone.
    """
    if not isinstance(weights, (list, tuple)) or len(weights) != count:
        return None
    if not all(isinstance(weight, (int, float)) for weight in weights):
        return None
    logs = [math.log(weight) if 0 < weight < math.inf else 0.0 for weight in weights]
    return stated({"log_pos_weight": logs}) if any(logs) else None


def stated(stored: Mapping[str, Any]) -> Calibration:
    return Calibration(tuple(stored["log_pos_weight"]), dict(stored))


def unweighted(count: int) -> Calibration:
    """Of a model whose criterion weighs nothing, whatever the recipe of the weights that it began with says."""
    return stated({"log_pos_weight": [0.0] * count})


def read_calibration(stored: Any, where: str) -> Calibration | None:
    """What a file says under `calibration`, None where it says nothing.

    Raises: ConfigError when it is not of the form that is written here.
    """
    if stored is None or stored == {}:
        return None
    try:
        return stated(_checked(stored))
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        problem = f"no {error}" if isinstance(error, KeyError) else shown(error)
        raise ConfigError(
            f"{where} states a calibration that is not of the form of this version ({problem}); run ecg-calibrate again"
        ) from None


def check_count(calibration: Calibration | None, count: int | None, where: str) -> None:
    """Raises: ConfigError when a calibration is of another number of labels than the model has logits."""
    if calibration is not None and len(calibration.log_pos_weight) != count:
        found = len(calibration.log_pos_weight)
        raise ConfigError(f"{where} has {count} logits, but a calibration of {found} labels; run ecg-calibrate again")


def _checked(stored: Mapping[str, Any]) -> dict[str, Any]:
    logs = _numbers(stored["log_pos_weight"])
    if "method" not in stored:
        return {"log_pos_weight": logs}
    count = len(logs)
    if stored["method"] not in METHODS:
        raise ValueError(f"method {stored['method']!r}; known are {', '.join(METHODS)}")
    slope = _number(stored["a"])
    if slope <= 0:
        raise ValueError(f"a is {slope}, not above 0")
    texts = {key: shown(str(stored[key])) for key in ("method", "subset", "data_hash", "date")}
    numbers = {key: _number(stored[key]) for key in ("ece_before", "ece_uncalibrated", "ece_after")}
    counts = {key: int(stored[key]) for key in ("n_records", "n_patients")}
    rows = {key: _numbers(stored[key], count) for key in ("b", "prevalence")}
    tallies = {key: [int(value) for value in _numbers(stored[key], count)] for key in ("n_positive", "n_known")}
    return {
        "log_pos_weight": logs, "a": slope, **texts, **numbers, **counts, **rows, **tallies,
        "curves": _each(stored["curves"], count, _curve),
        "thresholds": _each(stored["thresholds"], count, _points),
        "bands": None if stored["bands"] is None else _band(stored["bands"]),
        "likeness": None if stored.get("likeness") is None else _likeness(stored["likeness"]),  # older files: none
    }  # fmt: skip


def _each(values: Any, count: int, check: Any) -> list[Any]:
    if not isinstance(values, (list, tuple)) or len(values) != count:
        raise ValueError("a list that has not one entry per label")
    return [None if value is None else check(value) for value in values]


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise ValueError(f"{value!r} where a number belongs")
    return float(value)


def _numbers(values: Any, count: int | None = None) -> list[float]:
    if not isinstance(values, (list, tuple)) or len(values) != (len(values) if count is None else count):
        raise ValueError("a list that has not one number per label")
    return [_number(value) for value in values]


def _columns(values: Mapping[str, Any], names: Sequence[str]) -> dict[str, list[float]]:
    columns = {name: _numbers(values[name]) for name in names}
    rising = columns[names[0]]
    if len({len(column) for column in columns.values()}) != 1 or not rising or sorted(rising) != rising:
        raise ValueError("columns that do not belong together")
    return columns


def _curve(values: Mapping[str, Any]) -> dict[str, Any]:
    found = _columns(values, ("logit", "calibrated"))
    if sorted(found["calibrated"]) != found["calibrated"]:
        raise ValueError("a curve that falls")
    return found


def _band(values: Mapping[str, Any]) -> dict[str, Any]:
    found = _columns(values, ("upto", "n", "positive"))
    whole = {key: [int(number) for number in found[key]] for key in ("n", "positive")}
    if any(not 0 <= hits <= count or not count for hits, count in zip(whole["positive"], whole["n"])):
        raise ValueError("more positive records than records")
    return {"upto": found["upto"], **whole}


def _likeness(values: Mapping[str, Any]) -> dict[str, Any]:
    mean, variances = _numbers(values["mean"]), _numbers(values["variances"])
    directions = [_numbers(row, len(mean)) for row in values["directions"]]
    own = {key: _number(values[key]) for key in ("rest", "limit")}
    if len(directions) != len(variances) or min([*variances, *own.values()]) <= 0:
        raise ValueError("variances that belong to no directions, or are not above 0")
    return {"mean": mean, "directions": directions, "variances": variances, **own}


def _points(values: Mapping[str, Any]) -> dict[str, Any]:
    shares = ("sensitivity", "specificity")
    return {
        point: {"threshold": _number(values[point]["threshold"])}
        | {key: _number(values[point][key]) for key in shares}
        | {f"{key}_interval": _numbers(values[point][f"{key}_interval"], 2) for key in shares}
        for point in POINTS
    }
