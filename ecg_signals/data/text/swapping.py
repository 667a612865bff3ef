"""Reports that are not the ECG's own: what tells a model which belong together."""

from collections.abc import Sequence
from typing import Any

import numpy as np

RULES = ("exchange", "published", "none")


def swap_texts(
    texts: Sequence[Any], contents: Sequence[Any], share: float, rng: np.random.Generator, rule: str = "exchange"
) -> tuple[list[Any], np.ndarray]:
    """Texts of a batch, some of them exchanged in pairs, and [items] 1 where a text is the ECG's own.

    Args:
        contents: what texts say, such as their diagnoses; those of a pair differ.
        share: of the items that get another's text.
        rule: exchange; published: one of a pair keeps its own, and both count as foreign; none: nothing is swapped.
    """
    texts, own = list(texts), np.ones(len(texts), dtype=np.float32)
    if rule == "none":
        return texts, own
    pairs = int((share * len(texts) + rng.random()) / 2)
    free = rng.permutation(len(texts)).tolist()
    while pairs and len(free) > 1:
        first = free.pop()
        second = next((item for item in free if contents[item] != contents[first]), None)
        if second is None:
            continue
        free.remove(second)
        pairs -= 1
        own[[first, second]] = 0
        if rule == "published":
            texts[first] = texts[second]
        else:
            texts[first], texts[second] = texts[second], texts[first]
    return texts, own
