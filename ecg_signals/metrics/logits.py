"""What a model's logits are, as its criterion says: how they become probabilities, and how they are scored."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

LABELS = "labels"  # independent yes-or-no questions
CLASSES = "classes"  # one class out of several
VALUES = "values"  # numbers of a regression
COSINES = "cosines"  # similarities, which a margin is added to in training
KINDS = (LABELS, CLASSES, VALUES, COSINES)
KINDS_OF_TASKS = {"multi_label": LABELS, "multi_class": CLASSES, "regression": VALUES}  # options called task_type


def probabilities_of(logits: Tensor, kind: str | None) -> Tensor:
    """[..., labels] logits -> probabilities; values and cosines as they are, None as independent labels."""
    if kind in (VALUES, COSINES):
        return logits
    return logits.softmax(dim=-1) if kind == CLASSES else logits.sigmoid()


def joined_logits(windows: Tensor, rules: str | Sequence[str], kind: str | None) -> Tensor:
    """The logits of an item by those of its windows: [windows, labels] -> [labels].

    Their probabilities are the mean or the maximum of the windows' probabilities; of classes, whose largest ones need
    not sum to 1, in proportion to it. Computed in logarithms and double precision, so that nothing saturates.

    Args:
        rules: one of sections.WINDOW_RULES for all labels, or one per label.
        kind: what the logits are.
    """
    if len(windows) == 1:
        return windows[0]
    wide = windows.double()
    if kind in (VALUES, COSINES):
        mean = wide.mean(dim=0)
    elif kind == CLASSES:
        wide = wide.log_softmax(dim=-1)
        mean = wide.logsumexp(dim=0) - math.log(len(wide))
    else:
        mean = F.logsigmoid(wide).logsumexp(dim=0) - F.logsigmoid(-wide).logsumexp(dim=0)
    answers = {"mean": mean, "max": wide.amax(dim=0), "mean_logits": wide.mean(dim=0)}
    if isinstance(rules, str):
        return answers[rules].to(windows)
    return torch.stack([answers[rule][label] for label, rule in enumerate(rules)]).to(windows)
