"""Weights of reference models that are not stored but drawn by a rule (golden/ecg_text/README.md)."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch


def drawn(shapes: Mapping[str, Sequence[int]], rule: Mapping[str, Any], twin: tuple[str, str] | None = None) -> Any:
    """{key: tensor} of these shapes by the rule's seed; the sum of `rule` is checked.

    Args:
        twin: two spellings within names that stand for one tensor, which is drawn under the first in order.
    """
    rng, found = np.random.RandomState(rule["seed"]), {}
    digest = hashlib.sha256()
    for key in sorted(shapes):
        other = None if twin is None else key.replace(*twin) if twin[0] in key else key.replace(*reversed(twin))
        value = found[other] if other != key and other in found else _draw(rng, key, tuple(shapes[key]))
        found[key] = value
        digest.update(key.encode())
        digest.update(np.ascontiguousarray(value).tobytes())
    assert digest.hexdigest() == rule["sha256"]
    return {key: torch.from_numpy(np.array(found[key])) for key in shapes}


def _draw(rng: np.random.RandomState, key: str, shape: tuple[int, ...]) -> np.ndarray:
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, dtype=np.int64)
    noise = np.asarray(rng.standard_normal(shape), dtype=np.float32)
    if key.endswith("running_var"):
        noise = 0.5 + np.abs(noise)
    elif key.endswith("running_mean"):
        noise = 0.1 * noise
    elif len(shape) == 1:
        noise = 1 + 0.1 * noise if key.endswith("weight") else 0.05 * noise
    else:
        noise = noise / np.sqrt(np.prod(shape[1:]))
    return np.asarray(noise, dtype=np.float32)
