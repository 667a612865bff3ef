"""Where a model's labels and a table's columns meet: compared by name, brought into one order, never assumed."""

import logging
from collections.abc import Sequence

from ecg_signals import config
from ecg_signals.config import ConfigError

logger = logging.getLogger(__name__)


def matching_columns(wanted: Sequence[str], found: Sequence[str], source: str) -> list[int] | None:
    """Columns of `found` that are the labels `wanted`, in their order; None when both are the same lists.

    Further columns are left out and another order is repaired, both with a word.

    Args:
        wanted: the model's labels.
        found: names of the table's columns.
        source: the table, for messages.
    Raises: ConfigError listing the difference when a label has no column, or a name stands for several columns.
    """
    if list(wanted) == list(found):
        return None
    missing = [name for name in wanted if name not in found]
    further = [name for name in found if name not in wanted]
    if missing:
        raise ConfigError(
            f"the labels of {source} are not the model's {len(wanted)}: it lacks {listed(missing)}"
            + (f", and has {listed(further)} which the model does not know" if further else "")
            + ". Give labels of the same names (in any order; further ones are left out), rename the columns, or "
            "train a model for these labels"
        )
    twice = [name for name in wanted if list(found).count(name) > 1]
    if twice or len(set(wanted)) < len(wanted):
        raise ConfigError(f"{source} names {listed(twice or list(wanted))} more than once; give every label its name")
    columns = [list(found).index(name) for name in wanted]
    if further:
        unknown = f"{len(further)} labels that the model does not know"
        logger.warning("%s has %s; they are left out: %s", source, unknown, listed(further))
    if columns != sorted(columns):
        logger.warning("%s lists the labels in another order than the model; its columns are matched by name", source)
    return columns


def listed(names: Sequence[str]) -> str:
    """The first names, and how many more there are."""
    return config.listed([repr(name) for name in names])
