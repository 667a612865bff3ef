"""Confidence intervals of any statistic, and of differences between two models, by resampling items."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.metrics.base import mean_defined

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
    """Intervals between percentiles of the resampled values; see `resampled_values` and `ends_of`.

    Returns: name -> [2, ...], lower and upper end.
    """
    return {name: ends_of(values, confidence) for name, values in resampled_values(statistic, items).items()}


def resampled_values(
    statistic: Callable[[np.ndarray], Mapping[str, np.ndarray | float]], items: Iterable[np.ndarray]
) -> dict[str, np.ndarray]:
    """
    Args:
        statistic: indices of items -> name -> value or [labels] values, NaN where undefined.
        items: indices of every round, drawn by a function of this file, or given.
    Returns: name -> [rounds, ...].
    """
    drawn: dict[str, list[np.ndarray | float]] = {}
    for chosen in items:
        for name, value in statistic(chosen).items():
            drawn.setdefault(name, []).append(value)
    return {name: np.array(values, dtype=np.float64) for name, values in drawn.items()}


def ends_of(values: np.ndarray, confidence: float = 0.95) -> np.ndarray:
    """[rounds, ...] -> [2, ...], the ends between which this share of the defined values lies; NaN without any.

    The interval of differences to the whole's value, added to it again ("empirical" in the benchmarks' papers), is the
    same.
    """
    columns = values.reshape(len(values), math.prod(values.shape[1:]))
    limits = np.round([50 * (1 - confidence), 50 * (1 + confidence)], 6)  # 2.5 is no other number
    found = [
        np.percentile(column[known], limits) if known.any() else [np.nan, np.nan]
        for column, known in zip(columns.T, ~np.isnan(columns).T)
    ]
    return np.array(found).T.reshape(2, *values.shape[1:])


@dataclass(frozen=True)
class Difference:
    """How much larger a value of one model is than that of another, with its 95 % interval (NaN without rounds).

    Attributes:
        undefined: rounds in which either model has no value; the interval is one of the others.
    """

    value: float
    low: float
    high: float
    undefined: int = 0

    @property
    def clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


def paired_difference(values: tuple[float, float], drawn: tuple[np.ndarray, np.ndarray]) -> Difference:
    """The first model's value less the second's, by the paired bootstrap.

    Args:
        drawn: [rounds] values of each model, of a round those of the same items.
    """
    apart = drawn[0] - drawn[1]
    low, high = ends_of(apart)
    return Difference(values[0] - values[1], float(low), float(high), int(np.isnan(apart).sum()))


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
        items: indices of every round, usually 100 of `resampled_with_positives`; those without a value do not count.
    """
    drawn = np.array([statistic(chosen) for chosen in items])
    low, high = ends_of(drawn, 0.9)
    return PublishedInterval(statistic(np.arange(count)), mean_defined(drawn), float(low), float(high))


def spread(values: Sequence[float] | np.ndarray) -> dict[str, float]:
    """Mean and standard deviation (n - 1) of several runs, such as seeds; NaN for the deviation of a single one."""
    found = np.array(values, dtype=np.float64)
    return {"mean": float(found.mean()), "std": float(found.std(ddof=1)) if len(found) > 1 else float("nan")}
