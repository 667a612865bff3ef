"""Confidence intervals of any statistic by resampling items."""

from collections.abc import Callable, Iterator, Mapping

import numpy as np


def resampled_items(labels: np.ndarray, rounds: int, seed: int) -> Iterator[np.ndarray]:
    """Items drawn with replacement, [items] indices per round, every combination of labels as often as in the data.

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


def intervals(
    statistic: Callable[[np.ndarray], Mapping[str, np.ndarray | float]],
    items: Iterator[np.ndarray],
    confidence: float = 0.95,
) -> dict[str, np.ndarray]:
    """Empirical bootstrap intervals.

    Args:
        statistic: indices of items -> name -> value or [labels] values.
        items: from `resampled_items`.
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
