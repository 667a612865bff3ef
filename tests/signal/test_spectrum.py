"""Spectra and filters in NumPy alone are those of `scipy.signal`."""

import numpy as np
import pytest
from scipy import signal as published

from ecg_signals.signal.spectrum import band, welch


@pytest.mark.parametrize(("length", "samples"), [(5000, 2000), (5000, 5000), (999, 401), (300, 7), (2, 2)])
def test_the_density_is_that_of_welch(length, samples):
    rows = np.random.default_rng(0).standard_normal((3, length)) + np.arange(length)
    found, wanted = welch(rows, 250.0, samples), published.welch(rows, 250.0, nperseg=samples)
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-12)
    np.testing.assert_allclose(found[1], wanted[1], rtol=1e-12, atol=1e-12 * wanted[1].max())


def forwards_and_backwards(rows, rate, low, high, order):
    for edge, kind in ((low, "highpass"), (high, "lowpass")):
        if edge < rate / 2:
            rows = published.sosfiltfilt(published.butter(order, edge, kind, output="sos", fs=rate), rows, axis=1)
    return rows


@pytest.mark.parametrize(("rate", "order"), [(500.0, 3), (100.0, 2), (81.0, 4), (60.0, 3)])
def test_a_band_is_that_of_two_butterworth_filters_run_forwards_and_backwards(rate, order):
    rows = np.zeros((2, round(100 * rate)))
    middle = slice(round(45 * rate), round(55 * rate))
    rows[:, middle] = np.random.default_rng(0).standard_normal(rows[:, middle].shape) + 1
    found, wanted = band(rows, rate, 0.5, 40.0, order), forwards_and_backwards(rows, rate, 0.5, 40.0, order)
    np.testing.assert_allclose(found, wanted, atol=1e-11)


def test_ends_are_mirrored_so_that_a_step_is_no_burst_and_a_gap_stays_in_its_lead():
    rows = np.stack([np.full(1000, 3.0), np.full(1000, np.nan), np.sin(np.arange(1000) / 8)])
    found = band(rows, 250.0, 0.5, 40.0, 3)
    np.testing.assert_allclose(found[0], 0, atol=1e-12)
    assert np.isnan(found[1]).all() and np.isfinite(found[2]).all()
    assert band(np.ones((2, 1)), 250.0, 0.5, 40.0, 3).shape == (2, 1)
