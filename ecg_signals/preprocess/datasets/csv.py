"""One's own text tables of samples."""

from ecg_signals.preprocess.options import OwnArrayConfig
from ecg_signals.preprocess.own_files import OwnArrays
from ecg_signals.registry import register_source


@register_source("csv", dataclass=OwnArrayConfig)
class Csv(OwnArrays):
    title = "your own .csv files, one column per lead and one row per sample"
    layout = ".csv files at any depth, and optionally a table with columns path, sample_rate, patient_id, labels ..."
    prefix = "csv"
    suffix = ".csv"
