"""What a model's logits are, as its criterion says: how they become probabilities, and how they are scored."""

from torch import Tensor

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
