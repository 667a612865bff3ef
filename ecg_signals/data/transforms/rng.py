"""What augmentations draw from: a keyed Generator in training, RandomState where published draws are replayed."""

import numpy as np

Rng = np.random.Generator | np.random.RandomState


def integers(rng: Rng, high: int, size: int | None = None) -> np.ndarray:
    """Uniform integers from 0 up to, not including, `high`."""
    return np.asarray(
        rng.integers(high, size=size) if isinstance(rng, np.random.Generator) else rng.randint(0, high, size)
    )
