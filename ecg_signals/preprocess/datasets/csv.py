"""One's own text tables of samples."""

from ecg_signals.preprocess.options import OwnArrayConfig
from ecg_signals.preprocess.own_files import OwnArrays


class Csv(OwnArrays):
    title = "your own .csv files, one column per lead and one row per sample"
    layout = ".csv files at any depth, and optionally a table with columns path, sample_rate, patient_id, labels ..."
    config = OwnArrayConfig
    prefix = "csv"
    suffix = ".csv"
