"""One's own NumPy arrays."""

from ecg_signals.preprocess.options import OwnArrayConfig
from ecg_signals.preprocess.own_files import OwnArrays
from ecg_signals.registry import register_source


@register_source("npy", dataclass=OwnArrayConfig)
class Npy(OwnArrays):
    title = "your own .npy arrays [leads, samples]"
    layout = ".npy files at any depth, and optionally a table with columns path, sample_rate, patient_id, labels ..."
    prefix = "npy"
    suffix = ".npy"
