"""Weights that balance labels or classes, from the training targets."""

from typing import Any

import numpy as np

from ecg_signals.config import ConfigError


def label_weights(targets: np.ndarray) -> np.ndarray:
    """negatives / positives of each label [items, labels] -> [labels]; 1 without positives, NaN = unknown."""
    known = ~np.isnan(targets)
    positives = ((targets == 1) & known).sum(axis=0)
    return np.where(positives > 0, (known.sum(axis=0) - positives) / np.maximum(positives, 1), 1.0)


def class_weights(targets: np.ndarray, classes: int, by_frequency: bool = False) -> np.ndarray:
    """classes / items of each class [items] -> [classes]; 1 for a class without items.

    Args:
        targets: class numbers from 0.
        classes: how many there are.
        by_frequency: list the weights in the order of falling frequency instead of the classes', as published.
    """
    counts = np.bincount(targets.astype(np.int64), minlength=classes)
    weights = np.where(counts > 0, classes / np.maximum(counts, 1), 1.0)
    return weights[np.argsort(-counts, kind="stable")] if by_frequency else weights


def training_targets(dataset: Any) -> np.ndarray:
    """The label table [items, columns] of a dataset. Raises: ConfigError when it has none."""
    table = getattr(dataset, "label_table", None)
    if table is None:
        raise ConfigError(
            "criterion.use_loss_weights=true counts the labels of the training data, but the dataset has none; "
            "use dataset._name=hubert_csv, or give the weights yourself (criterion.pos_weight, criterion.weight)"
        )
    return table
