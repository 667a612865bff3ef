"""One's own NumPy arrays."""

from ecg_signals.preprocess.options import OwnArrayConfig
from ecg_signals.preprocess.own_files import OwnArrays


class Npy(OwnArrays):
    title = "your own .npy arrays [leads, samples]"
    layout = ".npy files at any depth, and optionally a table with columns path, sample_rate, patient_id, labels ..."
    config = OwnArrayConfig
    prefix = "npy"
    suffix = ".npy"
