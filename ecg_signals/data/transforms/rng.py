"""What augmentations draw from: a keyed Generator in training, RandomState where published draws are replayed."""

from typing import Any, cast

import numpy as np
from numpy.random.bit_generator import ISeedSequence

Rng = np.random.Generator | np.random.RandomState


class _Unseeded(ISeedSequence):
    """Keeps a bit generator from asking the system for random numbers, which takes longer than all else it does."""

    def generate_state(self, n_words: int, dtype: Any = np.uint32) -> np.ndarray:
        return np.zeros(n_words, dtype=dtype)


_UNSEEDED, _NO_BUFFER = _Unseeded(), np.zeros(4, dtype=np.uint64)


def keyed(key: tuple[int, int], counter: tuple[int, int, int, int]) -> np.random.Generator:
    """The stream that Philox(key=key, counter=counter) gives."""
    bits: Any = np.random.Philox(cast(Any, _UNSEEDED))  # NumPy takes any ISeedSequence; its stubs do not say so
    place = {"key": key, "counter": counter}
    bits.state = {"bit_generator": "Philox", "state": place, "buffer": _NO_BUFFER, "buffer_pos": 4, "has_uint32": 0,
                  "uinteger": 0}  # fmt: skip
    return np.random.Generator(bits)


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
