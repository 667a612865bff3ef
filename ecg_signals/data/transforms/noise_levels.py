"""How a model stands noise: four kinds at once, in six levels, for tests.

Mehari and Strodthoff 2022, Self-supervised representation learning from 12-lead ECG data, arXiv:2103.12676.
"""

import logging

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.data.transforms.baseline_wander import add_wander
from ecg_signals.data.transforms.emg_noise import add_emg
from ecg_signals.data.transforms.rng import Rng, integers

logger = logging.getLogger(__name__)

# level -> largest height of baseline wander, EMG, powerline and baseline shift, in mV
LEVELS = {
    1: (0.05, 0.25, 0.1, 0.5),
    2: (0.1, 0.5, 0.2, 1.0),
    3: (0.1, 1.0, 0.2, 2.0),
    4: (0.2, 1.0, 0.4, 2.0),
    5: (0.2, 1.5, 0.4, 2.5),
    6: (0.3, 2.0, 0.5, 3.0),
}
POWERLINE = 50.0 * np.arange(1, 4)  # Hz


class NoiseLevel:
    """Adds the noise of a level to signals in mV.

    Harmonics of the powerline at half the sample rate and above are left out: they would come back as other ones.
    """

    def __init__(self, level: int, sample_rate: float | None) -> None:
        if not sample_rate:
            raise ConfigError("dataset.noise_level needs the sample rate, which the files do not hold; set "
                              "task.sample_rate=HZ")  # fmt: skip
        self.level, self.sample_rate = level, float(sample_rate)
        fit = len(harmonics(sample_rate))
        if fit < len(POWERLINE):
            logger.warning("dataset.noise_level=%d: of the powerline's 50, 100 and 150 Hz, %d fit into %g Hz",
                           level, fit, sample_rate)  # fmt: skip

    def __call__(self, signal: np.ndarray, rng: Rng, rate: float | None = None) -> np.ndarray:
        """signal [leads, samples], mV, left unchanged -> float32; heights are even from 0 to the level's largest.

        Args:
            rate: Hz of this signal, None for the usual one.
        """
        sample_rate = rate or self.sample_rate
        leads, samples = signal.shape
        wander, emg, powerline, shift = (rng.uniform(0, largest) for largest in LEVELS[self.level])
        noisy = add_waves(signal, np.ones((leads, 1)), wander, 0.01 * np.arange(1, 51), sample_rate, rng)
        noisy = add_emg(noisy, np.array(emg), rng.normal(size=signal.shape))
        gains = rng.uniform(-1, 1, size=(leads, 1))
        noisy = add_waves(noisy, gains, powerline**2, harmonics(sample_rate), sample_rate, rng)
        return (noisy + shift * plateaus(samples, sample_rate, rng)).astype(np.float32)


def harmonics(sample_rate: float) -> np.ndarray:
    """Hz of those of the powerline that the rate holds."""
    return POWERLINE[sample_rate / 2 > POWERLINE]


def add_waves(
    signal: np.ndarray, gains: np.ndarray, height: float, hertz: np.ndarray, sample_rate: float, rng: Rng
) -> np.ndarray:
    """Cosines of these frequencies, of random amplitude and phase, times a gain for each lead [leads, 1]."""
    amplitudes, phases = height * rng.uniform(size=len(hertz)), rng.uniform(0, 2 * np.pi, size=len(hertz))
    return add_wander(signal, gains, amplitudes, hertz, phases, sample_rate)


def plateaus(samples: int, sample_rate: float, rng: Rng) -> np.ndarray:
    """[samples] stretches of about 3 s, anywhere, of heights from -1 to 1; at most three in 10 s."""
    height = np.zeros(samples)
    for _ in range(int(integers(rng, int(np.ceil(0.3 * samples / sample_rate)) + 1))):
        length = max(0, round(rng.normal(3.0, 0.6) * sample_rate))
        first = int(integers(rng, samples))
        height[first : first + length] += rng.uniform(-1, 1)
    return height
