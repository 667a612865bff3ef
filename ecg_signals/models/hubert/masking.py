"""Which frames are masked in pretraining, and which frames are padding."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from ecg_signals.models.hubert.layers import num_frames, receptive_field


def time_mask(
    batch: int, frames: int, prob: float, length: int, min_spans: int, rng: np.random.RandomState
) -> np.ndarray:
    """Spans of masked frames, as many in every row: int(prob * frames / length + u) spans, one u in [0, 1) per call.

    Args:
        batch, frames: shape of the mask.
        prob: share of frames that start a masked span, times `length`.
        length: frames per span; spans may overlap when it is above 1.
        min_spans: spans per row at least, as far as they fit.
        rng: draws u, then each row's distinct starts.
    Returns: [batch, frames] bool, True where masked.
    """
    wanted = max(int(prob * frames / length + rng.rand()), min_spans)
    spans = max(0, min(wanted, frames // length, frames - (length - 1)))
    mask = np.zeros((batch, frames), dtype=bool)
    for row in mask[: batch if spans else 0]:
        starts = rng.choice(frames - (length - 1), spans, replace=False)
        row[(starts[:, None] + np.arange(length)).ravel()] = True
    return mask


def padded_frames(padding: Tensor, kernels: Sequence[int], strides: Sequence[int], rule: str) -> Tensor:
    """Which frames are padding.

    Args:
        padding: [batch, samples of all leads one after the other], True = padding.
        kernels, strides: of the convolutions.
        rule: "receptive_field": a frame is padding when any sample it sees is; "count": the first frames are kept,
            as many as the valid samples would make if they came first (published; drops whole leads of a padded ECG).
    Returns: [batch, frames] bool, True = padding.
    """
    frames = num_frames(padding.shape[1], kernels, strides)
    if rule == "count":
        kept = [num_frames(int(count), kernels, strides) for count in (~padding).sum(dim=1)]
        kept = [count if count > 0 else frames + count for count in kept]  # an index from the end, as published
        return torch.arange(frames, device=padding.device) >= torch.tensor(kept, device=padding.device)[:, None]
    field, step = receptive_field(kernels, strides)
    ends = torch.arange(frames, device=padding.device) * step
    count = torch.nn.functional.pad(padding.cumsum(dim=1), (1, 0))  # [batch, samples + 1], padding before each sample
    return count[:, ends + field] > count[:, ends]
