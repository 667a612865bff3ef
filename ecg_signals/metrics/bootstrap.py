"""Confidence intervals of any statistic, and of differences between two models, by resampling items."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ecg_signals.config import ConfigError

TRIES = 1000  # resamples that may be refused for each that is kept


def resampled_items(labels: np.ndarray, rounds: int, seed: int) -> Iterator[np.ndarray]:
    """Items drawn with replacement, [items] indices per round, every combination of labels as often as in the data.

    HuBERT-ECG's way: an item whose combination no other has is in every round once, so that many rare combinations
    make intervals too narrow.

    Args:
        labels: [items] or [items, labels]; rows that are equal form a stratum.
    """
    from sklearn.utils import resample

    rows = labels.reshape(len(labels), -1)
    names = np.array([" ".join(map(str, row)) for row in rows])
    _, strata = np.unique(names, return_inverse=True)
    draws = np.random.RandomState(seed)
    for _ in range(rounds):
        yield resample(np.arange(len(rows)), stratify=strata, random_state=draws)


def resampled_groups(groups: np.ndarray, rounds: int, seed: int) -> Iterator[np.ndarray]:
    """Whole groups drawn with replacement, all items of each: [items] indices per round.

    Args:
        groups: [items], equal for items that belong together, such as the segments of one patient.
    """
    _, of_item = np.unique(groups, return_inverse=True)
    order = np.argsort(of_item, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(of_item))[:-1])
    draws = np.random.RandomState(seed)
    for _ in range(rounds):
        yield np.concatenate([members[group] for group in draws.randint(len(members), size=len(members))])


def resampled_with_positives(targets: np.ndarray, rounds: int, seed: int) -> Iterator[np.ndarray]:
    """Items drawn with replacement, [items] indices per round; a round without positives of a label is drawn anew.

    As the PTB-XL benchmark does; a label without any positive is asked for nothing here.

    Args:
        targets: [items, labels] of 0 and 1, NaN where unknown.
    Raises: ConfigError when labels are so rare that hardly any round has all.
    """
    positive, draws = targets == 1, np.random.default_rng(seed)
    positive = positive[:, positive.any(axis=0)]
    for _ in range(rounds):
        for _ in range(TRIES):
            chosen = draws.integers(len(targets), size=len(targets))
            if positive[chosen].any(axis=0).all():
                break
        else:
            raise ConfigError(
                f"none of {TRIES} resamples of {len(targets)} items has positives of all {positive.shape[1]} labels, "
                f"the rarest of which has {positive.sum(axis=0).min()}; leave rare labels out, or resample by record"
            )
        yield chosen


def intervals(
    statistic: Callable[[np.ndarray], Mapping[str, np.ndarray | float]],
    items: Iterable[np.ndarray],
    confidence: float = 0.95,
) -> dict[str, np.ndarray]:
    """Intervals between percentiles of the resampled values; those of differences to the whole's value, added to it
    again ("empirical" in the benchmarks' papers), are the same.

    Args:
        statistic: indices of items -> name -> value or [labels] values. A difference between two models on the same
            items makes the interval a paired one.
        items: indices of every round, drawn by a function of this file, or given.
        confidence: share of the resampled values between the two ends.
    Returns: name -> [2, ...], lower and upper end; rounds in which a value is undefined do not count for it.
    """
    drawn: dict[str, list[np.ndarray | float]] = {}
    for chosen in items:
        for name, value in statistic(chosen).items():
            drawn.setdefault(name, []).append(value)
    ends = [50 * (1 - confidence), 50 * (1 + confidence)]
    return {name: _percentiles(np.array(values, dtype=np.float64), ends) for name, values in drawn.items()}


def _percentiles(values: np.ndarray, ends: list[float]) -> np.ndarray:
    columns = values.reshape(len(values), -1)
    defined = ~np.isnan(columns)
    found = [
        np.percentile(column[known], ends) if known.any() else [np.nan, np.nan]
        for column, known in zip(columns.T, defined.T)
    ]
    return np.array(found).T.reshape(2, *values.shape[1:])


@dataclass(frozen=True)
class PublishedInterval:
    """A value as the PTB-XL benchmark reports it: beside what its resamples give, 5 % of them below and above."""

    point: float
    mean: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """`0.925(08)`: the value and the farther end's distance in thousandths, rounded down."""
        return f"{self.point:.3f}({int(1000 * max(self.high - self.point, self.point - self.low)):02d})"


def published_interval(
    statistic: Callable[[np.ndarray], float], count: int, items: Iterable[np.ndarray]
) -> PublishedInterval:
    """
    Args:
        statistic: indices of items -> value, such as their macro AUROC.
        count: how many items there are.
        items: indices of every round, usually 100 of `resampled_with_positives`.
    """
    drawn = np.array([statistic(chosen) for chosen in items])
    low, high = np.percentile(drawn, (5, 95))
    return PublishedInterval(statistic(np.arange(count)), float(drawn.mean()), float(low), float(high))


def spread(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Mean and standard deviation (n - 1) of several runs, such as seeds; NaN for the deviation of a single one."""
    found = np.array(values, dtype=np.float64)
    return {"mean": float(found.mean()), "std": float(found.std(ddof=1)) if len(found) > 1 else float("nan")}
