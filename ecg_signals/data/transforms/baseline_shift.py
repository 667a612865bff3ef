"""Sudden steps of the baseline."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ecg_signals.config import option
from ecg_signals.data.transforms.base import Noise, NoiseConfig
from ecg_signals.data.transforms.rng import Rng
from ecg_signals.registry import register_transform


@dataclass
class BaselineShiftConfig(NoiseConfig):
    shift_ratio: float = option(0.2, "mean length of a baseline shift, as a share of the item", least=0, most=1)
    num_segment: int = option(1, "baseline shifts per item", least=0)
    shift_form: str = option(
        "amplitude",
        "a shift's height: sign x amplitude, or sign - amplitude as published",
        choices=("amplitude", "published"),
        ours=True,
    )


@register_transform("baseline_shift", dataclass=BaselineShiftConfig)
class BaselineShift(Noise):
    """Stretches of every lead go up or down by one amplitude, each lead with its own sign.

    The standard deviation of a stretch's length is a fifth of its mean; where stretches overlap the shift counts once.
    """

    cfg: BaselineShiftConfig

    def noisy(self, signal: np.ndarray, rng: Rng) -> np.ndarray:
        samples, ratio = signal.shape[-1], self.cfg.shift_ratio
        signs = rng.choice([1, -1], size=(len(signal), 1))
        amplitude = self.amplitude(rng, (1, 1))
        spans = []
        for _ in range(self.cfg.num_segment):
            length = rng.normal(ratio * samples, 0.2 * ratio * samples)
            first = int(rng.uniform(0, max(0.0, samples - length)))  # one longer than the item begins where it does
            spans.append((first, int(first + length)))
        return add_shift(signal, signs, amplitude, spans, published=self.cfg.shift_form == "published")


def add_shift(
    signal: np.ndarray,
    signs: np.ndarray,
    amplitude: np.ndarray | float,
    spans: Sequence[Sequence[int]],
    *,
    published: bool = False,
) -> np.ndarray:
    """signal + signs x amplitude (published: signs - amplitude) inside the spans [first, behind), float32.

    Args:
        signal: [leads, samples]; `amplitude` has its unit.
        signs: [leads, 1], 1 or -1.
        spans: in samples.
    """
    inside = np.zeros(signal.shape[-1])
    for first, behind in spans:
        inside[max(first, 0) : max(behind, 0)] = 1
    shift = signs - amplitude if published else signs * amplitude
    return (signal + shift * inside).astype(np.float32)
