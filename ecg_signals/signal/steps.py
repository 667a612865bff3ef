"""The named steps of an input contract: each takes a signal [leads, samples] and its rate and gives both back."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError, UsageError, unknown_message
from ecg_signals.signal.filters import butterworth, clean
from ecg_signals.signal.hubert_ecg import BAND, band_pass, decimate_crop, scale_leads
from ecg_signals.signal.missing import interpolate_nan, nan_to_mean
from ecg_signals.signal.resample import resample_fourier, resample_linear
from ecg_signals.signal.standardise import standardise_leads

Signal = np.ndarray
WINDOW, PAD = "window", "pad"  # where the record is cut, and where a short one is filled up with zeros


def _resample(signal: Signal, rate: float, *, to: float, method: str = "linear") -> tuple[Signal, float]:
    """To `to` Hz; "linear" as fairseq-signals, "fourier" as scipy.signal.resample."""
    if method not in ("linear", "fourier"):
        raise UsageError(f"the resampling method is {method!r}; it must be 'linear' or 'fourier'")
    return (resample_linear if method == "linear" else resample_fourier)(signal, rate, to), to


def _clean(signal: Signal, rate: float) -> tuple[Signal, float]:
    return clean(signal, rate), rate


def _band_pass(signal: Signal, rate: float, *, low: float = BAND[0], high: float = BAND[1]) -> tuple[Signal, float]:
    return band_pass(signal, rate, (low, high)), rate


def _high_pass(
    signal: Signal, rate: float, *, cutoff: float, order: int = 5, direct: bool = False
) -> tuple[Signal, float]:
    return butterworth(signal, rate, cutoff, "highpass", order, direct), rate


def _low_pass(signal: Signal, rate: float, *, cutoff: float, order: int = 5) -> tuple[Signal, float]:
    return butterworth(signal, rate, cutoff, "lowpass", order), rate


def _interpolate_nan(signal: Signal, rate: float) -> tuple[Signal, float]:
    return interpolate_nan(signal), rate


def _nan_to_mean(signal: Signal, rate: float) -> tuple[Signal, float]:
    return nan_to_mean(signal), rate


def _standardise(signal: Signal, rate: float, *, constant: str = "zero", jointly: bool = False) -> tuple[Signal, float]:
    """Mean 0, standard deviation 1 of each lead, or of all leads together (`jointly`)."""
    if not jointly:
        return standardise_leads(signal, constant), rate
    return standardise_leads(signal.reshape(1, -1), constant).reshape(signal.shape), rate


def _normalise(signal: Signal, rate: float, *, mean: list[float], std: list[float]) -> tuple[Signal, float]:
    """Minus `mean`, divided by `std`, one value in mV per lead of the contract."""
    if len(mean) != len(signal) or len(std) != len(signal):
        raise ConfigError(
            f"the contract has {len(mean)} means and {len(std)} deviations for {len(signal)} leads; give one of each "
            f"per lead"
        )
    return (signal - np.asarray(mean)[:, None]) / np.asarray(std)[:, None], rate


def _clip(signal: Signal, rate: float, *, limit: float) -> tuple[Signal, float]:
    return np.clip(signal, -limit, limit), rate


def _scale(signal: Signal, rate: float) -> tuple[Signal, float]:
    return scale_leads(signal), rate


def _decimate(signal: Signal, rate: float, *, factor: int, flat: bool = True) -> tuple[Signal, float]:
    return decimate_crop(signal.astype(np.float32), factor, flat), rate / factor  # as from published .npy files


STEPS: dict[str, Callable[..., tuple[Signal, float]]] = {
    "resample": _resample,
    "clean": _clean,
    "band_pass": _band_pass,
    "high_pass": _high_pass,
    "low_pass": _low_pass,
    "interpolate_nan": _interpolate_nan,
    "nan_to_mean": _nan_to_mean,
    "standardise": _standardise,
    "normalise": _normalise,
    "clip": _clip,
    "scale": _scale,
    "decimate": _decimate,
}
FILLS_NAN = ("interpolate_nan", "nan_to_mean")


def check_step(step: Mapping[str, Any]) -> None:
    """Raises: UsageError for a step or an option that does not exist."""
    name = str(step.get("name"))
    if name not in STEPS and name not in (WINDOW, PAD):
        raise UsageError(unknown_message(f"step '{name}' of the input contract", name, [*STEPS, WINDOW, PAD], "Steps"))
    known = list(inspect.signature(STEPS[name]).parameters)[2:] if name in STEPS else []
    for key in step:
        if key != "name" and key not in known:
            raise UsageError(unknown_message(f"option '{key}' of step '{name}'", key, known, "It has"))


def run_step(step: Mapping[str, Any], signal: Signal, rate: float, contract_rate: float) -> tuple[Signal, float]:
    """One step; a resampling without `to` goes to the rate of the contract."""
    options = {key: value for key, value in step.items() if key != "name"}
    if step["name"] == "resample":
        options.setdefault("to", contract_rate)
    return STEPS[step["name"]](signal, rate, **options)
