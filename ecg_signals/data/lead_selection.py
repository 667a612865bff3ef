"""Which rows of a stored signal an item takes."""

from collections.abc import Sequence

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.data.transforms.rng import Rng, integers
from ecg_signals.signal.leads import LEADS, lead_indices


class LeadSelection:
    """The leads of `leads_to_load`, some of which `leads_bucket` may replace by one of them, drawn per item.

    Args:
        wanted: names or indices in the standard order; None for every row of a file.
        bucket: leads of which every item holds one, drawn uniformly and put last; None for no draw.
        pad: put the rows back where they stand in a file, with zeros for the others.
    Raises: ConfigError for an unknown lead, one named twice, or a bucket that is no part of the selection.
    """

    def __init__(
        self, wanted: Sequence[str | int] | str | None, bucket: Sequence[str | int] | str | None, pad: bool
    ) -> None:
        self.every_row = wanted is None and bucket is None
        self.fixed = lead_indices(wanted)
        self.bucket = [] if bucket is None else lead_indices(bucket)
        self.pad = pad
        if len(set(self.fixed)) != len(self.fixed) or not self.fixed:
            raise ConfigError(f"task.leads_to_load={wanted} is empty or names a lead twice; list every lead once")
        if not set(self.bucket) <= set(self.fixed):
            raise ConfigError(
                f"task.leads_bucket={bucket} names leads that task.leads_to_load={wanted} leaves out; "
                f"expected some of the leads to load"
            )
        self.fixed = [lead for lead in self.fixed if lead not in self.bucket]

    def draw(self, rng: Rng | None) -> list[int]:
        """The leads of one item; `rng` is used when there is a bucket."""
        if not self.bucket or rng is None:
            return self.fixed
        return [*self.fixed, self.bucket[int(integers(rng, len(self.bucket)))]]

    def take(self, signal: np.ndarray, leads: Sequence[int], path: str) -> np.ndarray:
        """float32 [leads, samples], a copy. Raises: ConfigError naming the file that lacks one of the leads."""
        if self.every_row:
            return np.array(signal, dtype=np.float32, order="C")
        if len(signal) != len(LEADS) and len(signal) <= max(leads):
            raise ConfigError(
                f"{path} holds {len(signal)} leads, but lead {max(leads)} ({LEADS[max(leads)]}) is wanted; expected the 12 standard "
                f"leads {' '.join(LEADS)}. Choose others with task.leads_to_load"
            )
        return np.array(signal[leads], dtype=np.float32, order="C")

    def numbers(self, leads: Sequence[int], rows: int) -> Sequence[int]:
        """The standard number of every row that `take` returned."""
        return range(rows) if self.every_row else leads

    def padded(self, signal: np.ndarray, leads: Sequence[int]) -> np.ndarray:
        """With `pad`, [12, samples] with each lead on its own row."""
        if not self.pad or len(signal) == len(LEADS):
            return signal
        out = np.zeros((len(LEADS), signal.shape[-1]), dtype=np.float32)
        out[list(leads)] = signal
        return out
