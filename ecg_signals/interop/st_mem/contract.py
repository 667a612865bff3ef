"""The input of ST-MEM's files: as its config says, or as all of its shipped configs do."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ecg_signals.signal.contract import WINDOW, SignalContract
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.millivolt import FMB, PUBLISHED, millivolt

CROPS = ("random_crop", "center_crop", "moving_window_crop", "n_crop")
FILTERS = {"highpass_filter": "high_pass", "lowpass_filter": "low_pass"}


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


def inputs(samples: int, leads: Sequence[str]) -> dict[str, SignalContract]:
    """By name, for an encoder of so many samples; the comparison gives it 2.4 s, 8 patches of 75."""
    return {PUBLISHED: st_mem(samples, leads), FMB: millivolt(250, min(2.4, samples / 250), leads)}


def contract_of(config: Mapping[str, Any], window_samples: int, leads: Sequence[str]) -> SignalContract:
    """What a stored config trains on: its rate, and its training transforms but the augmentations, in their order."""
    dataset = section(config, "dataset")
    usual = st_mem(window_samples, leads)
    listed = [{item: {}} if isinstance(item, str) else item for item in dataset.get("train_transforms") or []]
    transforms = [item for item in listed if isinstance(item, Mapping)]
    named = [(name, options or {}) for item in transforms for name, options in item.items()]
    rate = float(dataset.get("fs") or usual.sample_rate)
    steps = [step for name, options in named for step in _steps(name, options, rate)]
    return replace(
        usual,
        sample_rate=rate,
        steps=[usual.steps[0], *steps] if steps else usual.steps,
        zero_missing_leads=any(name == "rlm" for name, _ in named),
    )


def section(config: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """A part of a stored config, empty where there is none."""
    found = config.get(key)
    return found if isinstance(found, Mapping) else {}


def _steps(name: str, options: Mapping[str, Any], rate: float) -> list[dict[str, Any]]:
    """The steps of one transform at `rate` Hz; none for an augmentation."""
    if name in CROPS:
        return [{"name": WINDOW}]
    if name in FILTERS:
        order = {"order": int(options["order"])} if "order" in options else {}
        cutoff = float(options["cutoff"]) * (rate / float(options.get("fs") or rate))  # `fs`: what it is designed for
        return [{"name": FILTERS[name], "cutoff": cutoff, **order}]
    if name == "standardize":
        axes = options.get("axis", [-1, -2])
        return [{"name": "standardise", "jointly": isinstance(axes, Sequence) and len(axes) > 1}]
    return []
