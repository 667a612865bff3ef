"""The hospitals of the PhysioNet/CinC Challenge 2021, by their SNOMED CT codes: each alone, and the scored classes."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np

from ecg_signals.config import BaseConfig, option
from ecg_signals.data.ptbxl_statements import frequent
from ecg_signals.evaluation.benchmarks.base import G2_ON_TRAINING, Benchmark, one_hot
from ecg_signals.evaluation.benchmarks.data import DataSet
from ecg_signals.metrics.base import Metric, make_metrics
from ecg_signals.metrics.cinc import CincScore, encode_diagnoses
from ecg_signals.metrics.cinc_codes import SCORED, codes_of
from ecg_signals.metrics.cinc_outputs import write_outputs
from ecg_signals.preprocess.datasets.cpsc2018 import COLUMNS
from ecg_signals.registry import register_benchmark
from ecg_signals.tables import Table

CPSC = {  # names of PTB-XL's benchmark, in the order of REFERENCE.csv -> SNOMED CT codes
    "NORM": "426783006", "AFIB": "164889003", "1AVB": "270492004", "CLBBB": "164909002|733534002",
    "CRBBB": "59118001|713427006", "PAC": "284470004", "VPC": "164884008|427172004", "STD_": "429622005",
    "STE_": "164931005",
}  # fmt: skip
FIRST_OF_NINGBO = 10647  # number of the record


def with_codes(texts: list[object], classes: Mapping[str, str]) -> list[set[str]]:
    """The classes of every record, by the codes of its header; codes that mean one class are joined by `|`."""
    known = {code: name for name, joined in classes.items() for code in joined.split("|")}
    return [{known[code] for code in codes_of(text) if code in known} for text in texts]


class Challenge(Benchmark):
    """Records of a hospital, known by their names; ten stratified folds, of which the last two select and test."""

    sources: ClassVar[tuple[str, ...]] = ("physionet2021",)
    names: ClassVar[str] = r".*"  # of its records

    def chosen(self, meta: Table) -> np.ndarray:
        stems = [PurePosixPath(str(path)).stem for path in meta["path"]]
        return np.array([bool(re.fullmatch(self.names, stem)) for stem in stems])

    def diagnoses(self, data: DataSet, rows: np.ndarray) -> list[object]:
        return data.columns(["diagnosis"])["diagnosis"].iloc[rows].tolist()


@dataclass
class HospitalConfig(BaseConfig):
    min_records: int = option(10, "records that a label must have", least=1)


class Hospital(Challenge):
    """Every code of enough records is a label, called as the Challenge does where it scores it.

    The labels are those of arXiv:2509.25095, whose folds are not published.
    """

    cfg: HospitalConfig

    def drops_unnamed(self) -> bool:
        """Whether a code without a name is no label."""
        return False

    def names_of_codes(self) -> dict[str, str]:
        return dict(zip("|".join(SCORED.values()).split("|"), "_".join(SCORED).split("_")))

    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        known = self.names_of_codes()
        every = [{known.get(code, "" if self.drops_unnamed() else code) for code in codes_of(text)} - {""}
                 for text in self.diagnoses(data, rows)]  # fmt: skip
        found = frequent(every, self.cfg.min_records)
        names = sorted(set().union(*found))
        rare = len(set().union(*every)) - len(names)
        if rare:
            self.remarks.append(f"{rare} codes are no labels: fewer than {self.cfg.min_records} records have them")
        return names, one_hot(found, names)


@register_benchmark("georgia", dataclass=HospitalConfig)
class Georgia(Hospital):
    """Georgia's records of the Challenge: codes of ten records or more."""

    names = r"E\d+"


class Shaoxing(Hospital):
    """Chapman-Shaoxing and Ningbo, which number their records together."""

    first: ClassVar[bool]

    def chosen(self, meta: Table) -> np.ndarray:
        found = [re.fullmatch(r"JS(\d+)", PurePosixPath(str(path)).stem) for path in meta["path"]]
        return np.array([one is not None and (int(one[1]) < FIRST_OF_NINGBO) == self.first for one in found])


@register_benchmark("chapman_shaoxing", dataclass=HospitalConfig)
class ChapmanShaoxing(Shaoxing):
    """Chapman-Shaoxing's records of the Challenge: codes of ten records or more."""

    first = True


@register_benchmark("ningbo", dataclass=HospitalConfig)
class Ningbo(Shaoxing):
    """Ningbo's records of the Challenge: codes of ten records or more."""

    first = False


@register_benchmark("cpsc2018")
class Cpsc2018(Challenge):
    """CPSC 2018 (ICBEB): nine classes; folds stratified by class, sex and age."""

    sources = ("cpsc2018", "physionet2021")
    names = r"A\d+"
    stratify_by: ClassVar[tuple[str, ...]] = ("sex", "age")
    tuning = G2_ON_TRAINING

    def metrics(self, labels: Sequence[str]) -> Mapping[str, Metric]:
        return {**super().metrics(labels), **make_metrics(("f2", "g2"), self.kind)}

    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        if set(COLUMNS) <= set(data.meta.columns):
            listed, numbers = list(CPSC), data.meta[list(COLUMNS)].to_numpy(dtype=float)[rows]
            found = [{listed[int(number) - 1] for number in row if number == number} for row in numbers]
        else:
            found = with_codes(self.diagnoses(data, rows), CPSC)
        return sorted(CPSC), one_hot(found, sorted(CPSC))


@dataclass
class Cinc2021Config(BaseConfig):
    weights_file: str | None = option(None, "the Challenge's weights.csv; without it its score is left out")


@register_benchmark("cinc2021", dataclass=Cinc2021Config)
class Cinc2021(Challenge):
    """All hospitals of the Challenge: its 26 scored classes and its score; records without any are scored, too."""

    cfg: Cinc2021Config
    keeps_unlabelled = True

    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        if self.cfg.weights_file is None:
            self.remarks.append("the Challenge's score is left out; benchmark.weights_file=weights.csv adds it")
        return list(SCORED), encode_diagnoses(self.diagnoses(data, rows), list(SCORED.values())).astype(np.float64)

    def metrics(self, labels: Sequence[str]) -> Mapping[str, Metric]:
        usual = {**super().metrics(labels), **make_metrics(("exact_match",), self.kind)}
        if self.cfg.weights_file is None:
            return usual
        return {**usual, "cinc_score": CincScore(self.cfg.weights_file, [SCORED[label] for label in labels])}

    def write_outputs(
        self, folder: Path, records: Sequence[str], labels: Sequence[str], predicted: np.ndarray, scores: np.ndarray
    ) -> Path:
        names = [Path(record).stem for record in records]
        write_outputs(folder / "outputs", names, [SCORED[label] for label in labels], predicted, scores)
        return folder / "outputs"
