"""The label sets of PTB-XL that ECG-JEPA is fine-tuned on, whose files name the set but not its classes."""

from ecg_signals.data.ptbxl_statements import TASKS, class_of

SINGLE_LABEL = "ST-MEM"  # the superdiagnostic classes of records that have one of them

CLASSES = {task: sorted(set(class_of(task).values())) for task in TASKS}
CLASSES[SINGLE_LABEL] = CLASSES["superdiagnostic"]


def labels_of(task: object, columns: int) -> list[str] | None:
    """Names of the logits' columns; None where the number is not that of all PTB-XL."""
    labels = CLASSES.get(str(task))
    return list(labels) if labels is not None and len(labels) == columns else None


def task_of(labels: list[str] | None, single: bool) -> str | None:
    """The published name of a label set, None for another."""
    found = next((task for task, known in CLASSES.items() if known == labels), None)
    return SINGLE_LABEL if single and labels == CLASSES[SINGLE_LABEL] else found
