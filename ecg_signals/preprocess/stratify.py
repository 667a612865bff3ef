"""Folds in which every label is as frequent as in the whole: iterative stratification, of groups where they count.

Source: Sechidis et al. 2011, On the Stratification of Multi-Label Data; drawn as PTB-XL's benchmark draws (Strodthoff
et al. 2021, arXiv:2004.13701).
"""

from collections import Counter
from collections.abc import Hashable, Sequence

import numpy as np


def stratified_folds(
    labels: Sequence[Sequence[Hashable]],
    shares: Sequence[float],
    sizes: Sequence[int] | None = None,
    seed: int = 0,
) -> np.ndarray:
    """The fold of every group, [groups], 0 and up; -1 for a group without labels, which nothing can place.

    Args:
        labels: of every group, repeated for each of its records that has them.
        shares: of the folds, which sum to 1.
        sizes: records of every group; None: one each.
    """
    draws = np.random.RandomState(seed)  # the generator that published folds were drawn by
    records = np.ones(len(labels)) if sizes is None else np.asarray(sizes, dtype=np.float64)
    left = Counter(label for own in labels for label in own)
    names = sorted(left)  # type: ignore[type-var]  # the first of equally rare ones goes first
    holders: dict[Hashable, list[int]] = {name: [] for name in names}
    for group, names_of in enumerate(labels):
        for name in dict.fromkeys(names_of):
            holders[name].append(group)
    wanted = np.asarray(shares) * records.sum()  # [folds] records that each still lacks
    wanted_of = {name: np.asarray(shares) * left[name] for name in names}
    folds = np.full(len(labels), -1)
    while any(left.values()):
        rarest = min((name for name in names if left[name] > 0), key=left.__getitem__)
        for group in _largest_first(rarest, [one for one in holders[rarest] if folds[one] < 0], labels):
            folds[group] = fold = _poorest(wanted_of[rarest], wanted, draws)
            wanted[fold] -= records[group]
            for label in labels[group]:
                wanted_of[label][fold] -= 1
                left[label] -= 1
    return folds


def _largest_first(name: Hashable, groups: Sequence[int], labels: Sequence[Sequence[Hashable]]) -> list[int]:
    """Groups by how many of their records have the label; of equals the last one first."""
    counts = [list(labels[group]).count(name) for group in groups]
    return [groups[place] for place in np.argsort(counts, kind="stable")[::-1]]


def _poorest(of_label: np.ndarray, of_all: np.ndarray, draws: np.random.RandomState) -> int:
    """The fold that lacks most of the label; of equals the one that lacks most records; of these one is drawn."""
    places = np.flatnonzero(of_label == of_label.max())
    if len(places) == 1:
        return int(places[0])
    equal = np.flatnonzero(of_all[places] == of_all[places].max())
    return int(places[draws.choice(equal)])
