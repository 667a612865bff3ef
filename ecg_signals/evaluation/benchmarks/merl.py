"""MERL's six sets: PTB-XL's label sets on its folds, CPSC 2018 and CSN on the splits of its tables.

Source: Liu et al. 2024, Zero-Shot ECG Classification with Multimodal Learning and Test-time Clinical Knowledge
Enhancement, arXiv:2403.06659. Whose merl_splits.npz is says merl_splits.txt beside it.
"""

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from ecg_signals.config import BaseConfig, option, parse_literal
from ecg_signals.data.ptbxl_statements import label_sets
from ecg_signals.evaluation.benchmarks.base import SPLITS, Benchmark, Examples, one_hot
from ecg_signals.evaluation.benchmarks.data import DataSet
from ecg_signals.evaluation.benchmarks.ptbxl import Ptbxl
from ecg_signals.readers.npy_file import load_npz
from ecg_signals.registry import register_benchmark

SHIPPED = Path(__file__).with_name("merl_splits.npz")
COMPARABLE = (
    "the split and labels of MERL (arXiv:2403.06659); only merl_reported of protocol=[merl] is comparable with numbers "
    "published for it, as these are the best of all epochs on the test split"
)


class MerlPtbxl(Ptbxl):
    """A label set of PTB-XL, named without the underscores that end or begin a class, in the columns of MERL's tables.

    The tables are taken to have the order of ptbxl_database.csv, by which parts of the training split are drawn.
    """

    task: ClassVar[str]
    labels: ClassVar[tuple[str, ...]]
    comparable = COMPARABLE

    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        texts = data.columns(["scp_codes"])["scp_codes"].iloc[rows]
        found = label_sets([parse_literal(text, "scp_codes") for text in texts], self.task)
        return list(self.labels), one_hot([{name.strip("_") for name in own} for own in found], self.labels)


@register_benchmark("merl/super")
class MerlSuper(MerlPtbxl):
    """MERL's PTB-XL: five diagnostic superclasses."""

    task = "superdiagnostic"
    labels = ("HYP", "NORM", "MI", "CD", "STTC")


@dataclass
class MerlSubConfig(BaseConfig):
    columns: str = option(
        "named", "named: a column is one label throughout; published: the validation and test tables have AVB, RAO/RAE "
        "and ISC in another order than the training table, so that answers are scored against other labels",
        choices=("named", "published"),
    )  # fmt: skip


@register_benchmark("merl/sub", dataclass=MerlSubConfig)
class MerlSub(MerlPtbxl):
    """MERL's PTB-XL: 23 diagnostic subclasses."""

    cfg: MerlSubConfig
    task = "subdiagnostic"
    labels = (
        "AMI", "LAFB/LPFB", "LVH", "STTC", "IMI", "SEHYP", "CRBBB", "WPW", "LAO/LAE", "NORM", "AVB", "RAO/RAE", "ISC",
        "LMI", "ISCI", "ISCA", "NST", "CLBBB", "ILBBB", "IRBBB", "PMI", "RVH", "IVCD",
    )  # fmt: skip
    swapped: ClassVar[dict[str, str]] = {"AVB": "ISC", "RAO/RAE": "AVB", "ISC": "RAO/RAE"}  # column -> what it holds

    def examples(self, data: DataSet) -> Examples:
        found = super().examples(data)
        if self.cfg.columns == "published":
            order = [self.labels.index(self.swapped.get(label, label)) for label in self.labels]
            scored = found.split != "train"
            found.targets[scored] = found.targets[scored][:, order]
            found.remarks.append("AVB, RAO/RAE and ISC are scored against ISC, AVB and RAO/RAE, as published")
        return found


@register_benchmark("merl/form")
class MerlForm(MerlPtbxl):
    """MERL's PTB-XL: 19 statements on the form of the beats."""

    task = "form"
    labels = (
        "PAC", "DIG", "HVOLT", "STD", "LPR", "QWAVE", "VCLVH", "NDT", "TAB", "LOWT", "ABQRS", "LNGQT", "PRC(S)", "NT",
        "STE", "NST", "PVC", "INVT", "LVOLT",
    )  # fmt: skip


@register_benchmark("merl/rhythm")
class MerlRhythm(MerlPtbxl):
    """MERL's PTB-XL: 12 rhythms."""

    task = "rhythm"
    labels = (
        "SVARR", "BIGU", "STACH", "SARRH", "SBRAD", "TRIGU", "AFIB", "SR", "SVTAC", "PSVT", "AFLT", "PACE",
    )  # fmt: skip


@dataclass(frozen=True)
class Listed:
    """The tables of a set, one after the other: [records] numbers of records and their splits, labels [records, n]."""

    numbers: np.ndarray
    split: np.ndarray
    labels: np.ndarray


class MerlTables(Benchmark):
    """Records of MERL's tables, by their numbers; those without any label stay."""

    tables: ClassVar[str]
    names: ClassVar[str]  # of records, with their number
    labels: ClassVar[tuple[str, ...]]
    keeps_unlabelled = True
    comparable = COMPARABLE

    def rows(self, data: DataSet) -> np.ndarray:
        found = [re.fullmatch(self.names, PurePosixPath(str(path)).stem) for path in data.meta["path"]]
        there = {int(one[1]): row for row, one in enumerate(found) if one is not None}
        listed = shipped(self.tables, len(self.labels))
        known = np.isin(listed.numbers, list(there))
        if not known.all():
            counts = [f"{(~known & (listed.split == name)).sum():,} of {(listed.split == name).sum():,} {name}"
                      for name in SPLITS]  # fmt: skip
            self.remarks.append(
                f"MERL's records that are not there: {', '.join(counts)}; published results are of all of them"
            )
        return np.array([there[number] for number in listed.numbers[known].tolist()], dtype=np.int64)

    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        return list(self.labels), shipped(self.tables, len(self.labels)).labels[self._places(data, rows)]

    def folds(self, data: DataSet, rows: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """One of training, and those that select and test."""
        split = shipped(self.tables, len(self.labels)).split[self._places(data, rows)]
        return np.select([split == "valid", split == "test"], [self.valid_fold, self.test_fold], 1)

    def _places(self, data: DataSet, rows: np.ndarray) -> list[int]:
        """Of rows of meta.csv in the tables."""
        place = {number: at for at, number in enumerate(shipped(self.tables, len(self.labels)).numbers.tolist())}
        stems = [PurePosixPath(str(path)).stem for path in data.meta["path"].iloc[rows]]
        return [place[int(re.sub(r"\D", "", stem))] for stem in stems]


@cache
def shipped(name: str, labels: int) -> Listed:
    """MERL's tables of a set, with so many labels."""
    arrays = load_npz(SHIPPED)
    numbers = [arrays[f"{name}_{split}_number"].astype(np.int64) for split in SPLITS]
    bits = [np.unpackbits(arrays[f"{name}_{split}_labels"], axis=1)[:, :labels] for split in SPLITS]
    split = np.repeat(SPLITS, [len(own) for own in numbers])
    return Listed(np.concatenate(numbers), split, np.concatenate(bits).astype(np.float64))


@register_benchmark("merl/cpsc2018")
class MerlCpsc2018(MerlTables):
    """MERL's CPSC 2018: nine classes, 4,950 records to train on, 551 to select, 1,376 to test; their first 5 s."""

    sources = ("cpsc2018", "physionet2021")
    tables, names = "cpsc2018", r"A(\d+)"
    first_seconds = 5.0
    labels = ("AFIB", "VPC", "NORM", "1AVB", "CRBBB", "STE", "PAC", "CLBBB", "STD")


@register_benchmark("merl/csn")
class MerlCsn(MerlTables):
    """MERL's CSN: 38 labels of 23,026 of its 45,152 records.

    The labels were made by searching names in names: AFIB is also AF, 1AVB also AVB, STE, STDD and STTC also ST,
    LVQRSAL also SA; SB, the most frequent one, is none. They are for comparison only.
    """

    sources = ("chapman", "physionet2021")
    tables, names = "csn", r"JS(\d+)"
    labels = (
        "AQW", "UW", "SR", "WPW", "2AVB", "AT", "VB", "ARS", "STTC", "SA", "STE", "VPB", "TWO", "STTU", "ALS", "APB",
        "2AVB1", "PRIE", "CCR", "CR", "AF", "AVB", "QTIE", "LBBB", "VEB", "SVT", "RBBB", "1AVB", "STDD", "MI", "AFIB",
        "TWC", "PWC", "ERV", "RVH", "LVH", "ST", "JEB",
    )  # fmt: skip
