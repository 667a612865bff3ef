"""Words hidden from a model that is to tell them: masked language modelling by whole words."""

from collections.abc import Sequence

import numpy as np

from ecg_signals.data.text.tokenizer import Tokenizer

IGNORED = -100  # label of a token that is not asked for
HIDDEN, REPLACED = 0.8, 0.1  # shares of the chosen tokens that become [MASK], or any token; the rest stays


def word_groups(tokenizer: Tokenizer, ids: Sequence[int]) -> list[list[int]]:
    """Places of the tokens of every word of a row: a token and the pieces behind it. [CLS] and [SEP] are in none."""
    groups: list[list[int]] = []
    for place, number in enumerate(ids):
        if number in (tokenizer.first, tokenizer.separator):
            continue
        if groups and tokenizer.continues(number):
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups


def mask_whole_words(
    tokenizer: Tokenizer, ids: Sequence[int], prob: float, rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """A row as the model sees it, and the tokens it is asked for (IGNORED elsewhere).

    Words are drawn until `prob` of the row's tokens, padding included, at least one, are chosen; one that would make
    them more is passed over. Padding is drawn like words, so that a row of mostly padding may be asked for nothing.

    Args:
        ids: of one row of a batch, padded.
    Source: Devlin et al. 2018, arXiv:1810.04805; whole words as in its later code.
    """
    most = max(1, round(len(ids) * prob))
    groups = word_groups(tokenizer, ids)
    chosen: list[int] = []
    for number in rng.permutation(len(groups)):
        if len(chosen) >= most:
            break
        if len(chosen) + len(groups[number]) <= most:
            chosen += groups[number]
    seen, labels = list(ids), [IGNORED] * len(ids)
    for place in chosen:
        if ids[place] in tokenizer.special:
            continue
        labels[place] = ids[place]
        draw = rng.random()
        if draw < HIDDEN:
            seen[place] = tokenizer.mask
        elif draw < HIDDEN + REPLACED:
            seen[place] = int(rng.integers(len(tokenizer)))
    return seen, labels
