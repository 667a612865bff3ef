"""Whether a record's values can be those of an ECG in mV."""

import os
import warnings
from pathlib import Path

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.signal.record import Record

LOWEST, HIGHEST = 0.02, 8.0  # mV; the 99th percentile of |signal - median| of a lead lies between them
_SHARE = 99  # percent; the rest may be pacemaker spikes and loose electrodes
_GLANCE = 128  # samples of a lead that are looked at first
_SHOWN = 12  # leads in one message
USUAL = (0.2, 5.0)  # mV that the median lead spans between two percentiles; 534 real records lie between 0.41 and 4.21
POSSIBLE = (0.05, 10.0)  # beyond it the unit is wrong
_SPAN = (0.5, 99.5)  # percentiles
_LOOKED_AT = 100_000  # samples of a lead, evenly spaced


def check_scale(path: Path, record: Record) -> None:
    """Warns of leads whose values are too large or too small for mV, and says what to type."""
    inner, whole = _ranges(record.signal)
    found = [(record.leads[row], spread(record.signal[row])) for row in _suspects(inner, whole)]
    large, small = [entry for entry in found if entry[1] > HIGHEST], [entry for entry in found if entry[1] < LOWEST]
    for wrong, side, so in (
        (large, f"above {HIGHEST:g}", "as in no ECG"),
        (small, f"below {LOWEST:g}", "so they are flat or in another unit"),
    ):
        if wrong:
            shown = ", ".join(f"{name} {value:.3g}" for name, value in wrong[:_SHOWN])
            more = " ..." if len(wrong) > _SHOWN else ""
            where = f"{side} mV in {len(wrong)} of {len(record.leads)} leads, {so}"
            what = f"the {_SHARE}th percentile of |signal - median| is {where}"
            warnings.warn(f"{path}: {what}. {_HINT} ({shown}{more})", stacklevel=3)
    span = USUAL[0] if _clearly_usual(inner, whole) else amplitude(record.signal)
    if not USUAL[0] <= span <= USUAL[1] and 2 * (len(large) + len(small)) <= len(record.leads):
        where = f"half of the leads span {'more' if span > USUAL[1] else 'less'} than {span:.3g} mV"
        warnings.warn(f"{path}: {where}; {USUAL[0]:g} to {USUAL[1]:g} mV are usual. {_HINT}", stacklevel=3)


def refuse_scale(path: str | os.PathLike[str], record: Record) -> None:
    """For a record whose units nobody stated. Raises: ConfigError when its values are no ECG's in mV."""
    span = amplitude(record.signal)
    if not POSSIBLE[0] <= span <= POSSIBLE[1]:
        raise ConfigError(
            f"{path}: the median lead spans {span:.3g} mV, and no ECG spans less than {POSSIBLE[0]:g} or more than "
            f"{POSSIBLE[1]:g} mV: the file is in another unit. Give it with --units, such as uV or 4.88uV for the size "
            "of one count, or --force an answer"
        )


def amplitude(signal: np.ndarray) -> float:
    """Median over the leads with a value of the range between two percentiles, in the unit of `signal` [leads,
    samples]; a comfortable value for a record without any, about which there is more to say than its scale.
    """
    step = max(1, signal.shape[1] // _LOOKED_AT)
    spans = []
    for row in signal[:, ::step]:
        values = np.sort(row[np.isfinite(row)])  # a tenth of what np.percentile takes
        if len(values):
            low, high = np.interp(np.multiply(_SPAN, (len(values) - 1) / 100), np.arange(len(values)), values)
            spans.append(high - low)
    return float(np.median(spans)) if spans else 1.0


_HINT = "If the file is not in mV, give its unit, units=uV or V, or the size of one count, such as units=4.88uV"


def spread(lead: np.ndarray) -> float:
    """99th percentile of |values - median|, in the unit of the lead [samples]; NaN where there is no value. Of a long
    lead, evenly spaced samples are looked at.
    """
    values = lead[:: max(1, len(lead) // _LOOKED_AT)]
    values = values[np.isfinite(values)].astype(np.float64)
    if not len(values):
        return float("nan")
    distances = np.abs(values - np.median(values))
    at = round((len(distances) - 1) * _SHARE / 100)
    return float(np.partition(distances, at)[at])


def _ranges(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """[leads] how far apart a few samples of each lie, several percent at either end left out, and its extremes, which
    are NaN where a value is missing.
    """
    glance = np.sort(signal[:, :: max(1, signal.shape[1] // _GLANCE)], axis=1)
    edge = glance.shape[1] // 40
    with np.errstate(over="ignore", invalid="ignore"):
        return glance[:, -1 - edge] - glance[:, edge], signal.max(axis=1) - signal.min(axis=1)


def _clearly_usual(inner: np.ndarray, whole: np.ndarray) -> bool:
    """Whether `_ranges` show that `amplitude` is usual: the extremes lie no further apart than that allows, and the
    glanced samples half as far again as it asks for. False where a value is missing.
    """
    if not len(whole) or np.isnan(whole).any():
        return False
    middle = (len(whole) - 1) // 2  # of two in the middle the worse one
    low, high = sorted(inner.tolist())[middle], sorted(whole.tolist(), reverse=True)[middle]
    return low >= 1.5 * USUAL[0] and high <= USUAL[1]


def _suspects(inner: np.ndarray, whole: np.ndarray) -> list[int]:
    """Leads that `_ranges` do not clear.

    One whose extremes lie no further apart than HIGHEST cannot exceed it. Of one whose glanced samples lie twice LOWEST
    apart, several percent at either end left out, several percent are beyond LOWEST, wherever the median is.
    """
    clear = (inner >= 2 * LOWEST) & (whole <= HIGHEST)  # False where a value is missing
    return [int(row) for row in np.flatnonzero(~clear)]
