"""What a model's logits are, as its criterion says: how they become probabilities, and how they are scored."""

import math
import re
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

LABELS = "labels"  # independent yes-or-no questions
CLASSES = "classes"  # one class out of several
VALUES = "values"  # numbers of a regression
COSINES = "cosines"  # similarities, which a margin is added to in training
KINDS = (LABELS, CLASSES, VALUES, COSINES)
_BOTH = re.compile(rf"{LABELS}\+([1-9]\d*)")  # a head of labels, whose last columns are values
KINDS_OF_TASKS = {"multi_label": LABELS, "multi_class": CLASSES, "regression": VALUES}  # options called task_type


def labels_and_values(values: int) -> str:
    """The kind of logits of which so many, the last ones, are values, and the others independent labels."""
    return f"{LABELS}+{values}"


def values_behind(kind: str | None) -> int:
    """How many values stand behind the labels of such a kind; 0 of any other."""
    found = _BOTH.fullmatch(kind or "")
    return int(found[1]) if found else 0


def is_kind(kind: object) -> bool:
    return isinstance(kind, str) and (kind in KINDS or values_behind(kind) > 0)


def has_values(kind: str | None) -> bool:
    return kind == VALUES or values_behind(kind) > 0


def probabilities_of(logits: Tensor, kind: str | None) -> Tensor:
    """[..., labels] logits -> probabilities; values and cosines as they are, None as independent labels."""
    count = values_behind(kind)
    if count:
        return torch.cat([logits[..., :-count].sigmoid(), logits[..., -count:]], dim=-1)
    if kind in (VALUES, COSINES):
        return logits
    return logits.softmax(dim=-1) if kind == CLASSES else logits.sigmoid()


def joined_logits(windows: Tensor, rules: str | Sequence[str], kind: str | None) -> Tensor:
    """The logits of an item by those of its windows: [..., windows, labels] -> [..., labels].

    Their probabilities are the mean or the maximum of the windows' probabilities; of classes, whose largest ones need
    not sum to 1, in proportion to it. Computed in logarithms and double precision, so that nothing saturates.

    Args:
        rules: one of sections.WINDOW_RULES for all labels, or one per label.
        kind: what the logits are.
    """
    if windows.shape[-2] == 1:
        return windows.squeeze(-2)
    count = values_behind(kind)
    if count:
        parts = (slice(None, -count), LABELS), (slice(-count, None), VALUES)
        return torch.cat([joined_logits(windows[..., own], rules if isinstance(rules, str) else rules[own], each)
                          for own, each in parts], dim=-1)  # fmt: skip
    wide = windows.double()
    if kind == CLASSES:
        wide = wide.log_softmax(dim=-1)
    if isinstance(rules, str):
        return _joined(wide, rules, kind).to(windows)
    answers = {rule: _joined(wide, rule, kind) for rule in set(rules)}
    return torch.stack([answers[rule][..., label] for label, rule in enumerate(rules)], dim=-1).to(windows)


def _joined(wide: Tensor, rule: str, kind: str | None) -> Tensor:
    if rule == "max":
        return wide.amax(dim=-2)
    if rule == "mean_logits" or kind in (VALUES, COSINES):
        return wide.mean(dim=-2)
    if kind == CLASSES:
        return wide.logsumexp(dim=-2) - math.log(wide.shape[-2])
    return F.logsigmoid(wide).logsumexp(dim=-2) - F.logsigmoid(-wide).logsumexp(dim=-2)


def joined_items(items: Sequence[Tensor], rules: str | Sequence[str], kind: str | None) -> Tensor:
    """The same of several items, [windows, labels] each, those with as many windows at once -> [items, labels]."""
    counts = [len(item) for item in items]
    joined = items[0].new_empty(len(items), items[0].shape[-1])
    for count in set(counts):
        own = [number for number, each in enumerate(counts) if each == count]
        joined[own] = joined_logits(torch.stack([items[number] for number in own]), rules, kind)
    return joined
