"""Built-in input contracts of the published families, for files that carry none."""

from collections.abc import Sequence
from typing import Any

from ecg_signals.config import ConfigError, UsageError
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.hubert_ecg import FACTORS
from ecg_signals.signal.hubert_ecg import SAMPLE_RATE as HUBERT_RATE
from ecg_signals.signal.leads import LEADS, lead_index

ECG_FM_MAX = (
    "Poor data quality",
    "Premature ventricular contraction",
    "Ventricular tachycardia",
    "Supraventricular tachycardia with aberrancy",
    "Electronic pacemaker",
)  # labels for which one window is enough; all others are averaged

JEPA_MEAN = (-0.002, -0.002, 0.0, 0.002, -0.001, -0.001, 0.0, -0.001, -0.002, -0.001, -0.001, -0.001)  # PTB-XL, mV
JEPA_STD = (0.191, 0.166, 0.173, 0.142, 0.149, 0.147, 0.235, 0.338, 0.335, 0.299, 0.294, 0.242)  # order of LEADS


def ecg_fm() -> SignalContract:
    """ECG-FM: 5 s windows at 500 Hz of per-lead z-scores of the whole record; trained with random lead masking."""
    contract = fairseq_signals(zero_missing_leads=True)
    contract.aggregate = dict.fromkeys(ECG_FM_MAX, "max")
    return contract


def fairseq_signals(
    sample_rate: float = 500,
    leads: Sequence[str] = LEADS,
    window_samples: int = 2500,
    *,
    zero_missing_leads: bool = False,
    filtered: bool = False,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> SignalContract:
    """A model trained on what ecg-preprocess (or fairseq-signals) writes: z-scored records cut into segments.

    Args:
        sample_rate: Hz of the segments.
        leads: that the model takes, in order.
        window_samples: of a segment.
        zero_missing_leads: True if it was trained with random lead masking.
        filtered: `task.filter` was on: every segment passes the filter `clean`.
        mean, std: `task.normalize` was on: one number per lead of `leads`, applied last.
    """
    steps: list[dict[str, Any]] = [
        {"name": "resample", "method": "linear"},
        {"name": "standardise", "constant": "zero"},
    ]
    if filtered or mean is not None:
        steps.append({"name": "window"})
    if filtered:
        steps.append({"name": "clean"})
    if mean is not None and std is not None:
        steps.append({"name": "normalise", "mean": list(mean), "std": list(std)})
    return SignalContract(float(sample_rate), list(leads), window_samples, steps, zero_missing_leads=zero_missing_leads)


def hubert_ecg(factor: int | None = 5, flat: bool = True) -> SignalContract:
    """HuBERT-ECG: band-pass, 500 Hz, leads scaled to [-1, 1] over the record; 5 s crops, decimated.

    Args:
        factor: of the decimation, which the front end was built for: 5 for the released models, None or 10.
        flat: True decimates the leads laid end to end, as for the released weights.
    """
    if factor not in FACTORS:
        raise UsageError(f"the decimation factor is {factor}; HuBERT-ECG has front ends for {FACTORS}")
    steps: list[dict[str, Any]] = [
        {"name": "hubert_band_pass"},
        {"name": "resample", "method": "fourier", "to": HUBERT_RATE},
        {"name": "hubert_scale"},
        {"name": "window"},
        {"name": "nan_to_mean"},
        {"name": "pad"},
    ]
    if factor is not None:
        steps.append({"name": "hubert_decimate", "factor": factor, "flat": flat})
    rate = HUBERT_RATE / (factor or 1)
    return SignalContract(rate, list(LEADS), int(5 * rate), steps)


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
    return SignalContract(float(sample_rate), [LEADS[row] for row in rows], window, steps, stride_samples=stride)


def st_mem(window_samples: int = 2250, leads: Sequence[str] = LEADS) -> SignalContract:
    """ST-MEM, MTAE and MLAE: windows of 9 s at 250 Hz, filtered to 0.67-40 Hz, standardised over all leads together.

    Args:
        window_samples: `seq_len` of the encoder.
        leads: that the encoder takes.
    """
    steps: list[dict[str, Any]] = [
        {"name": "resample", "method": "fourier"},
        {"name": "window"},
        {"name": "high_pass", "cutoff": 0.67},
        {"name": "low_pass", "cutoff": 40.0},
        {"name": "standardise", "jointly": True},
    ]
    return SignalContract(250.0, list(leads), window_samples, steps)
