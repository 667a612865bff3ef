"""Noise in six levels, for what is evaluated."""

import logging

import numpy as np
import pytest

from ecg_signals.data.transforms.noise_levels import LEVELS, NoiseLevel

FLAT = np.zeros((12, 5000), dtype=np.float32)


def test_each_kind_of_noise_has_the_height_of_its_level(monkeypatch):
    for kind, (deviation, same_on_all_leads) in enumerate([(50 / 6, True), (1.0, False), (0.5, False), (1.0, True)]):
        heights = [0.0] * 4
        heights[kind] = 0.4
        monkeypatch.setitem(LEVELS, 1, tuple(heights))
        noise = np.stack([NoiseLevel(1, 500)(FLAT, np.random.default_rng(seed), 500) for seed in range(40)])
        height = 0.4**2 if kind == 2 else 0.4
        assert 0 < noise.std() < height * deviation
        assert np.ptp(noise, axis=1).max() == pytest.approx(0, abs=1e-6) or not same_on_all_leads
        assert np.ptp(noise, axis=1).max() > 0.01 or same_on_all_leads


def test_the_powerline_has_its_harmonics_and_none_that_do_not_fit(monkeypatch, caplog):
    monkeypatch.setitem(LEVELS, 1, (0.0, 0.0, 1.0, 0.0))
    spectrum = np.abs(np.fft.rfft(NoiseLevel(1, 500)(FLAT, np.random.default_rng(0), 500)[3]))
    assert sorted(np.argsort(spectrum)[-3:] / 10) == [50, 100, 150]
    caplog.set_level(logging.WARNING)
    assert not NoiseLevel(1, 100)(FLAT, np.random.default_rng(0), 100).any()
    assert "0 fit into 100 Hz" in caplog.text


def test_what_is_evaluated_is_noisy_and_training_is_not(segments_of_noise):
    plain, noisy, training = segments_of_noise
    assert not np.array_equal(plain[0], noisy[0]) and np.array_equal(noisy[0], noisy[1])
    assert np.array_equal(training[0], plain[0])


@pytest.fixture
def segments_of_noise(sample):
    from ecg_signals.registry import get_entry

    entry = get_entry("dataset", "ecg_file")

    def first(training=False, **options):
        cfg = entry.dataclass.from_mapping(options, "dataset")
        dataset = entry.cls(cfg, sample.single / "train.tsv", training=training)
        return [dataset[0]["source"].numpy() for _ in range(2)]

    return first(), first(noise_level=3), first(training=True, noise_level=3)
