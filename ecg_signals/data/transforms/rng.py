"""What augmentations draw from: a keyed Generator in training, RandomState where published draws are replayed."""

import numpy as np

Rng = np.random.Generator | np.random.RandomState


def span(rng: Rng, samples: int, largest_share: float, smallest_share: float = 0.0) -> slice:
    """A stretch of `samples`: its length uniform between these shares of them, then its place."""
    length = int((smallest_share + rng.uniform() * (largest_share - smallest_share)) * samples)
    start = int(integers(rng, max(1, samples - length)))
    return slice(start, start + length)


def integers(rng: Rng, high: int, size: int | None = None) -> np.ndarray:
    """Uniform integers from 0 up to, not including, `high`."""
    return np.asarray(
        rng.integers(high, size=size) if isinstance(rng, np.random.Generator) else rng.randint(0, high, size)
    )
