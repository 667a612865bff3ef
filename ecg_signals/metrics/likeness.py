"""How far a record's vector lies from those of the validation records: whether a model was ever asked about its like.

Lee et al. 2018, A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial Attacks,
arXiv:1807.03888, without classes; the covariance of few records by Ledoit and Wolf 2004, A well-conditioned estimator
for large-dimensional covariance matrices.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

LEAST = 50  # records; below, their largest distance says little
DIRECTIONS = 64  # of the greatest variance that are kept; in all others the variance is taken to be the same
USUAL = 0.995  # share of records that lie within the limit
DIGITS = 6  # of what is stored


def fit(vectors: np.ndarray, folds: Iterable[np.ndarray]) -> dict[str, Any] | None:
    """What `distances` needs, as plain values, and `limit`, within which USUAL of the records lie.

    Args:
        vectors: [records, dim].
        folds: bool [records] each, the records of some patients; the limit is of records that had no part in mean and
            covariance.
    Returns: None of fewer than LEAST records, and of vectors that are not finite or all the same.
    """
    if len(vectors) < LEAST or not np.isfinite(vectors).all() or not np.ptp(vectors, axis=0).any():
        return None
    vectors = vectors.astype(np.float64)
    held = np.empty(len(vectors))
    for fold in folds:
        held[fold] = distances(_gaussian(vectors[~fold]), vectors[fold])
    found = _gaussian(vectors) | {"limit": np.quantile(held, USUAL)}
    return {key: _rounded(value) for key, value in found.items()}


def distances(found: Mapping[str, Any], vectors: np.ndarray) -> np.ndarray:
    """[records] Mahalanobis distances of vectors [records, dim] from the validation records."""
    centred = vectors - np.asarray(found["mean"])
    along = centred @ np.asarray(found["directions"]).T
    rest = np.maximum(np.square(centred).sum(axis=1) - np.square(along).sum(axis=1), 0)
    return np.sqrt((np.square(along) / np.asarray(found["variances"])).sum(axis=1) + rest / found["rest"])


def _gaussian(vectors: np.ndarray) -> dict[str, Any]:
    """Mean, and covariance as its greatest directions and what is left, shrunk towards equal variances."""
    count, dim = vectors.shape
    mean = vectors.mean(axis=0)
    centred = vectors - mean
    values, directions = np.linalg.svd(centred, full_matrices=False)[1:]
    own = np.square(values) / count
    usual, power = own.sum() / dim, np.square(own).sum()
    apart = power / dim - usual**2
    noise = (np.square(np.square(centred).sum(axis=1)).sum() / count**2 - power / count) / dim
    share = min(noise / apart, 1.0) if apart > 0 else 1.0
    variances = np.full(dim, share * usual)
    variances[: len(own)] += (1 - share) * own
    kept = min(DIRECTIONS, len(own))
    rest = variances[kept:].mean() if kept < dim else variances[-1]
    return {"mean": mean, "directions": directions[:kept], "variances": variances[:kept], "rest": rest}


def _rounded(value: Any) -> Any:
    """As plain numbers of a few digits."""
    if np.ndim(value):
        return [_rounded(each) for each in value]
    return float(f"{value:.{DIGITS}g}")
