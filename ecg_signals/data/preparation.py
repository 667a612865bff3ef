"""From a segment's signal to an item's: filtered, normalised, and in training augmented, as the options say."""

from collections.abc import Sequence
from typing import Any, NoReturn

import numpy as np

from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.data.lead_selection import take_leads
from ecg_signals.data.segment import Segment
from ecg_signals.limits import size_of
from ecg_signals.signal.leads import LEADS


class Preparation:
    """The part without chance.

    Attributes:
        statistics: mean and standard deviation per lead, float32 [leads]; None where signals are not normalised.
    Raises: ConfigError for statistics that are missing or no numbers.
    """

    def __init__(self, sample_rate: float | None, cfg: Any) -> None:
        """`cfg`: filter, clip, normalize, and mean_path and std_path, text files of one number per lead, for it."""
        self.filter, self.sample_rate, self.clip = cfg.filter, sample_rate, cfg.clip
        self.statistics = _statistics(cfg) if cfg.normalize else None

    def __call__(self, segment: Segment, leads: Sequence[int] | None) -> np.ndarray:
        """The chosen leads, by standard number (None: every row), filtered and normalised: float32 [leads, samples].

        Raises: ConfigError naming a file whose chosen leads hold NaN or infinite values.
        """
        signal = take_leads(segment.signal, leads, segment.path)
        flat = signal.ravel()
        with np.errstate(over="ignore"):  # the quick test overflows for values beyond 1e17: these are looked at twice
            quick = flat.dot(flat)
        if not np.isfinite(quick) and not np.isfinite(signal).all():
            _refuse(signal, leads, segment.path)
        if self.filter:
            signal = self._filtered(signal, segment.rate or self.sample_rate)
        if self.statistics is not None:
            mean, std = (_of_leads(values, leads, len(signal)) for values in self.statistics)
            signal = (signal - mean) / std
        return signal if self.clip is None else np.clip(signal, -self.clip, self.clip)

    @staticmethod
    def _filtered(signal: np.ndarray, rate: float | None) -> np.ndarray:
        from ecg_signals.signal.filters import clean

        if not rate:
            raise ConfigError(
                "task.filter=true needs the sample rate, which the files do not hold; set task.sample_rate=HZ"
            )
        return clean(signal, rate).astype(np.float32)


def _refuse(signal: np.ndarray, leads: Sequence[int] | None, path: str) -> NoReturn:
    """Raises: ConfigError naming the leads that are not finite."""
    bad = np.flatnonzero(~np.isfinite(signal).all(axis=1)).tolist()
    numbers = [row if leads is None else leads[row] for row in bad]
    names = ", ".join(LEADS[number] if number < len(LEADS) else str(number) for number in numbers)
    raise ConfigError(
        f"{path} holds NaN or infinite values in lead {names}. Leave such records out (ecg-preprocess split "
        f"filter_cols=nan_any), or choose other leads with task.leads_to_load"
    )


def _of_leads(values: np.ndarray, leads: Sequence[int] | None, rows: int) -> np.ndarray:
    """[leads, 1]: the statistic of every row, found by its standard number."""
    wanted = list(range(rows) if leads is None else leads)
    if max(wanted) >= len(values):
        raise ConfigError(
            f"task.mean_path and task.std_path hold {len(values)} numbers, but lead {max(wanted)} is loaded; expected "
            f"one number for every lead, in the standard order"
        )
    return values[wanted, None]


def _statistics(cfg: Any) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per lead, float32 [leads]."""
    values = []
    for key in ("mean_path", "std_path"):
        path = getattr(cfg, key)
        if path is None:
            raise ConfigError(f"task.normalize=true needs task.{key}=FILE, a text file with one number per lead")
        try:
            size_of(resolve_input(path))  # an ordinary file, or an error
            values.append(np.loadtxt(resolve_input(path), dtype=np.float32).reshape(-1))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"task.{key}={path} is not a text file of numbers ({error}); expected one number per lead"
            ) from None
    if len(values[0]) != len(values[1]) or not (values[1] > 0).all():
        found = f"task.mean_path holds {len(values[0])} numbers and task.std_path {len(values[1])}"
        raise ConfigError(f"{found}; expected one per lead in both, the standard deviations above 0")
    return values[0], values[1]
