"""Which rows of a stored signal an item takes."""

from collections.abc import Sequence

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.data.blocks import item_array
from ecg_signals.data.transforms.rng import Rng, integers
from ecg_signals.signal.leads import LEADS, lead_indices


class LeadSelection:
    """The leads of `leads_to_load`, some of which `leads_bucket` may replace by one of them, drawn per item.

    Args:
        wanted: names or indices in the standard order; None for every row of a file.
        bucket: leads of which every item holds one, drawn uniformly and put last; None for no draw.
    Raises: ConfigError for an unknown lead, one named twice, or a bucket that is no part of the selection.
    """

    def __init__(self, wanted: Sequence[str | int] | str | None, bucket: Sequence[str | int] | str | None) -> None:
        self.every_row = wanted is None and bucket is None
        self.fixed = lead_indices(wanted)
        self.bucket = [] if bucket is None else lead_indices(bucket)
        if len(set(self.fixed)) != len(self.fixed) or not self.fixed:
            raise ConfigError(f"task.leads_to_load={wanted} is empty or names a lead twice; list every lead once")
        if not set(self.bucket) <= set(self.fixed):
            raise ConfigError(
                f"task.leads_bucket={bucket} names leads that task.leads_to_load={wanted} leaves out; "
                f"expected some of the leads to load"
            )
        self.fixed = [lead for lead in self.fixed if lead not in self.bucket]

    def draw(self, rng: Rng | None) -> list[int] | None:
        """The leads of one item by standard number, None for every row; `rng` draws from the bucket, if any."""
        if self.every_row or not self.bucket or rng is None:
            return None if self.every_row else self.fixed
        return [*self.fixed, self.bucket[int(integers(rng, len(self.bucket)))]]


def take_leads(signal: np.ndarray, leads: Sequence[int] | None, path: str) -> np.ndarray:
    """The rows `leads`, or all, as a float32 copy. Raises: ConfigError naming the file that lacks one of them."""
    if leads is None:
        out = item_array(signal.shape)
        np.copyto(out, signal, casting="unsafe")
        return out
    last = max(leads)
    if len(signal) <= last:
        raise ConfigError(
            f"{path} holds {len(signal)} leads, but lead {last} ({LEADS[last]}) is wanted; expected the 12 standard "
            f"leads {' '.join(LEADS)}. Choose others with task.leads_to_load"
        )
    out = item_array((len(leads), *signal.shape[1:]))
    for row, lead in zip(out, leads):
        row[...] = signal[lead]
    return out


def pad_leads(signal: np.ndarray, leads: Sequence[int] | None) -> np.ndarray:
    """[leads, samples] -> [12, samples] with every lead on its own row and zeros elsewhere."""
    if leads is None:
        return signal
    out = np.zeros((len(LEADS), signal.shape[-1]), dtype=np.float32)
    out[list(leads)] = signal
    return out
