"""The input of ECG-JEPA's published files, which state none."""

from collections.abc import Sequence
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS, lead_index

JEPA_MEAN = (-0.002, -0.002, 0.0, 0.002, -0.001, -0.001, 0.0, -0.001, -0.002, -0.001, -0.001, -0.001)  # PTB-XL, mV
JEPA_STD = (0.191, 0.166, 0.173, 0.142, 0.149, 0.147, 0.235, 0.338, 0.335, 0.299, 0.294, 0.242)  # order of LEADS


def ecg_jepa(
    sample_rate: float = 500,
    leads: Sequence[str] = LEADS,
    *,
    mean: Sequence[float] = JEPA_MEAN,
    std: Sequence[float] = JEPA_STD,
    crop_seconds: float = 2.5,
    stride_seconds: float = 1.25,
    baseline_removed: bool = False,
) -> SignalContract:
    """ECG-JEPA: gaps interpolated, resampled, divided by the training set's deviation, clipped to +-5; crops overlap.

    Args:
        sample_rate: Hz, `sampling_frequency` of the encoder.
        leads: `channels` of the encoder, any case.
        mean, std: mV in the order I II III aVR aVL aVF V1-V6, `preprocess` of a fine-tuned file; PTB-XL's for others.
        crop_seconds, stride_seconds: the published evaluation's.
        baseline_removed: True for an encoder used on records without baseline wander, as CODE-15 was for pretraining.
    """
    rows = [lead_index(lead) for lead in leads]
    if len(mean) != len(LEADS) or len(std) != len(LEADS):
        raise ConfigError(f"mean and std need one value for each of 12 leads, found {len(mean)} and {len(std)}")
    steps: list[dict[str, Any]] = [{"name": "interpolate_nan"}]
    if baseline_removed:
        steps.append({"name": "high_pass", "cutoff": 0.5, "order": 4, "direct": True})
    steps += [
        {"name": "resample", "method": "fourier"},
        {"name": "normalise", "mean": [float(mean[row]) for row in rows], "std": [float(std[row]) for row in rows]},
        {"name": "clip", "limit": 5.0},
    ]
    window, stride = round(crop_seconds * sample_rate), round(stride_seconds * sample_rate)
    names, joined = [LEADS[row] for row in rows], {"*": "mean_logits"}
    return SignalContract(float(sample_rate), names, window, steps, stride_samples=stride, aggregate=joined)
