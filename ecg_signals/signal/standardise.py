"""Mean, spread and z-scores of a record's leads."""

import numpy as np

from ecg_signals.config import UsageError

CONSTANT_LEADS = ("zero", "nan", "constant")
_CACHED = 1 << 15  # values in double precision


def lead_statistics(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and population standard deviation of every lead, float64 [leads] each, in the unit of `signal`.

    A lead with a NaN has NaN statistics. A lead whose samples are all equal has exactly that value as its
    mean and a standard deviation of exactly 0, whatever rounding does to sums.

    Args:
        signal: [leads, samples], usually mV, at least one sample.
    """
    mean, spread, _ = centre_leads(signal)
    return mean, spread


def standardise_leads(signal: np.ndarray, constant: str = "zero") -> np.ndarray:
    """Subtract each lead's mean and divide by its standard deviation over the whole of `signal`.

    Args:
        signal: [leads, samples], any unit, left unchanged; a lead with a NaN becomes NaN throughout.
        constant: what a lead with standard deviation 0 becomes: "zero", "nan", or "constant" (its mean-free values, 0).
    Returns: float64 [leads, samples], z-scores.
    """
    _, spread, centred = centre_leads(signal)
    return scale_leads(centred, spread, constant)


def jointly_standardised(signal: np.ndarray, eps: float) -> np.ndarray:
    """All leads minus their common mean, over the root of their common variance + `eps`, as a layer norm does."""
    centred = signal - signal.mean(dtype=np.float64)
    return centred / np.sqrt(np.square(centred).mean() + eps)


def scale_leads(centred: np.ndarray, spread: np.ndarray, constant: str = "zero") -> np.ndarray:
    """The second half of `standardise_leads`: what `centre_leads` gave becomes z-scores, in place."""
    if constant not in CONSTANT_LEADS:
        raise UsageError(f"constant_lead_strategy is {constant!r}; it must be one of {', '.join(CONSTANT_LEADS)}")
    flat = spread == 0
    centred /= np.where(flat, 1.0, spread)[:, None]
    if constant == "nan":
        centred[flat] = np.nan
    return centred


def centre_leads(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and standard deviation [leads] and mean-free float64 copy of `signal` [leads, samples].

    The deviation is that of the mean-free values: the published segments show it in their last bits.
    """
    mean = signal.mean(axis=-1, dtype=np.float64)
    constant = signal[:, 0] == signal[:, -1]
    constant[constant] = signal[constant].min(axis=-1) == signal[constant].max(axis=-1)
    mean[constant] = signal[constant, 0]
    if not signal.flags.c_contiguous:  # the last bits of sums follow the order in memory
        centred = signal - mean[:, None]
        return mean, centred.std(axis=-1), centred
    centred, variance, length = np.empty(signal.shape), np.empty(len(signal)), signal.shape[1]
    together = max(1, _CACHED // length)  # leads whose values stay in the processor's cache; the bits are std's
    squares = np.empty((min(together, len(signal)), length))
    for first in range(0, len(signal), together):
        some = slice(first, first + together)
        rows, space = centred[some], squares[: len(signal) - first]
        np.copyto(rows, signal[some])
        rows -= mean[some, None]
        np.subtract(rows, (np.add.reduce(rows, axis=1) / length)[:, None], out=space)
        np.multiply(space, space, out=space)
        variance[some] = np.add.reduce(space, axis=1) / length
    return mean, np.sqrt(variance), centred
