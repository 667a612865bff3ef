"""The sets of arXiv:2509.25095, a comparison of ECG foundation models, whose labels can be made of published tables.

MIMIC-IV-ECG's 1,127 outputs are in mimic_outputs.py. Folds that are drawn are drawn as stated, but not with its seed.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ecg_signals.config import option, resolve_input
from ecg_signals.data.ptbxl_statements import frequent
from ecg_signals.evaluation.benchmarks.base import Benchmark, Examples, one_hot
from ecg_signals.evaluation.benchmarks.challenge import Cpsc2018, Hospital, HospitalConfig, Ningbo
from ecg_signals.evaluation.benchmarks.data import DataSet
from ecg_signals.evaluation.benchmarks.echonext import Echonext
from ecg_signals.evaluation.benchmarks.ptbxl import PtbxlLabels, PtbxlLabelsConfig
from ecg_signals.evaluation.benchmarks.sph import Sph
from ecg_signals.preprocess.datasets.zzu_pecg import statements
from ecg_signals.registry import register_benchmark
from ecg_signals.tables import Table, read_table

PUBLISHED = "labels and folds 1-8, 9 and 10 of arXiv:2509.25095; its signals and windows: preset=fmb"
DRAWN = "labels of arXiv:2509.25095, whose folds are not published; its numbers are of another draw of the test fold"


@dataclass
class FmbPtbxlConfig(PtbxlLabelsConfig):
    min_samples: int = option(9, "leave out classes of at most so many records", least=0)


@register_benchmark("fmb/ptbxl_all", dataclass=FmbPtbxlConfig)
class FmbPtbxlAll(PtbxlLabels):
    """PTB-XL: statements of ten records or more."""

    task, comparable = "all", PUBLISHED


@register_benchmark("fmb/ptbxl_sub", dataclass=FmbPtbxlConfig)
class FmbPtbxlSub(PtbxlLabels):
    """PTB-XL: diagnostic subclasses of ten records or more."""

    task, comparable = "subdiagnostic", PUBLISHED


@register_benchmark("fmb/ptbxl_super", dataclass=FmbPtbxlConfig)
class FmbPtbxlSuper(PtbxlLabels):
    """PTB-XL: five diagnostic superclasses."""

    task, comparable = "superdiagnostic", PUBLISHED


@dataclass
class FmbHospitalConfig(HospitalConfig):
    mappings: str | None = option(
        None, "the hospital's sheet of the Challenge's `Label mappings 2021.xlsx`, saved as CSV: its names of "
        "diagnoses are the labels, and codes that it lacks are none; without it the codes are",
    )  # fmt: skip


class FmbHospital(Hospital):
    """Ten stratified folds of records, as the Challenge tells of no patients."""

    cfg: FmbHospitalConfig
    comparable = DRAWN

    def drops_unnamed(self) -> bool:
        return self.cfg.mappings is not None

    def names_of_codes(self) -> dict[str, str]:
        if self.cfg.mappings is None:
            return super().names_of_codes()
        code, name = "SNOMED code", "Diagnosis in the dataset"
        table = read_table(Path(resolve_input(self.cfg.mappings)), [code, name], text=(code,))
        table = table[table[code].notna() & table[name].notna()].drop_duplicates(code)
        return dict(zip(table[code].astype(str).str.removesuffix(".0"), table[name].astype(str).str.strip()))


@register_benchmark("fmb/georgia", dataclass=FmbHospitalConfig)
class FmbGeorgia(FmbHospital):
    """Georgia's records of the Challenge: diagnoses of ten records or more."""

    names = r"E\d+"


@register_benchmark("fmb/cpsc_extra", dataclass=FmbHospitalConfig)
class FmbCpscExtra(FmbHospital):
    """The unused part of CPSC 2018 in the Challenge: diagnoses of ten records or more."""

    names = r"Q\d+"


@register_benchmark("fmb/ningbo", dataclass=FmbHospitalConfig)
class FmbNingbo(FmbHospital, Ningbo):
    """Ningbo's records of the Challenge: diagnoses of ten records or more."""


@register_benchmark("fmb/cpsc2018")
class FmbCpsc2018(Cpsc2018):
    """CPSC 2018: nine classes; folds stratified by class alone."""

    stratify_by = ()
    comparable = DRAWN


@register_benchmark("fmb/sph", dataclass=HospitalConfig)
class FmbSph(Sph):
    """SPH: primary AHA statements of ten records or more; folds by patient."""

    comparable = DRAWN


@register_benchmark("fmb/chapman", dataclass=HospitalConfig)
class FmbChapman(Benchmark):
    """Chapman's first edition: rhythms and other findings of ten records or more."""

    sources = ("chapman",)
    cfg: HospitalConfig
    comparable = DRAWN

    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        meta = data.columns(["rhythm", "beat"]).iloc[rows]
        texts = zip(meta["rhythm"].astype(str), meta["beat"].astype(str))
        every = [{rhythm.strip(), *beat.split()} - {"NONE", "nan", ""} for rhythm, beat in texts]
        found = frequent(every, self.cfg.min_records)
        names = sorted(set().union(*found))
        return names, one_hot(found, names)


@register_benchmark("fmb/code15")
class FmbCode15(Benchmark):
    """CODE-15%: six abnormalities, records without any as well; folds by patient, stratified by label, sex and age."""

    sources = ("code15",)
    keeps_unlabelled = True
    stratify_by = ("sex", "age")
    comparable = DRAWN
    labels = ("1dAVb", "RBBB", "LBBB", "SB", "AF", "ST")

    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        found = data.columns(self.labels)[list(self.labels)].to_numpy(dtype=np.float64)
        return list(self.labels), found[rows]


@register_benchmark("fmb/echonext")
class FmbEchonext(Echonext):
    """EchoNext: eleven findings; of validation and test only records with any."""

    comparable = "EchoNext's own split; as in arXiv:2509.25095 records without any finding train, but are not scored"

    def examples(self, data: DataSet) -> Examples:
        found = super().examples(data)
        kept = (found.split == "train") | (found.targets == 1).any(axis=1)
        self.remarks.append(f"{int((~kept).sum())} records of validation and test are left out: they have no finding")
        return found.of(kept)


LEAD_COUNT, SHORTEST = 12, 5000  # of records of ZZU pECG that count; samples at 500 Hz
AHA_CODE = re.compile(r"[A-Z]\d")  # how a statement begins that the AHA has a code for; others are in words


@register_benchmark("fmb/zzu_pecg", dataclass=HospitalConfig)
class FmbZzuPecg(Benchmark):
    """ZZU pECG, children: AHA statements of ten records or more, of records with twelve leads and 10 s or more.

    Records without any are scored, too; folds by patient, stratified by statement, sex and age.
    """

    sources = ("zzu_pecg",)
    cfg: HospitalConfig
    keeps_unlabelled = True
    stratify_by = ("sex", "age")
    ages = (1, 5, 12, 18)
    comparable = DRAWN

    def rows(self, data: DataSet) -> np.ndarray:
        meta = data.columns(["AHA_code", "Lead", "Sampling_point"])
        return np.flatnonzero((meta["Lead"] == LEAD_COUNT) & (meta["Sampling_point"] >= SHORTEST))

    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Statements are counted in all records with twelve leads."""
        meta = data.meta
        every = [{one for one in statements(text) if AHA_CODE.match(one)} for text in meta["AHA_code"]]
        counted = [own for own, leads in zip(every, meta["Lead"]) if leads == LEAD_COUNT]
        names = sorted(set().union(*frequent(counted, self.cfg.min_records)))
        return names, one_hot([every[row] for row in rows], names)


_ONE_NAME = {  # of a diagnosis of PTB: how else it is written
    "Arterial hypertension": ("Arterial Hypertension",),
    "Hyperlipoproteinemia": (
        "Hyperlipoproteinemia Type IIa", "Hyperlipoproteinemia Typ IIa", "Hyperlipoproteinemia Type IIb",
        "Hyperlipoproteinemia Type IV", "Hyperlipoproteinemia Type IV b", "Hyperlipemia", "Hyperlipidemia",
    ),
    "Ventricular tachycardia": (
        "Ventricular tachycardias", "Recurrent ventricular tachycardia", "Recurrent ventricular tachycardias",
        "Recurrent sustained ventricular tachycardia",
    ),
    "Hypertrophic obstructive cardiomyopathy": (
        "Hypertrophic obstructive cardiomyopathy (intraventricular gradient 100-160mmHg)",
        "Hypertrophic obstructive cardiomyopathy (intraventricular gradient 70-90mmHg)",
    ),
    "Peripheral atherosclerosis": ("peripheral atherosclerosis",),
    "Mitral regurgitation": ("Mitral regurgitation (grade 2)",),
    "Postop. Thyroidectomy": ("Postop. Thyriodectomy",),
    "Coronary artery disease": ("Coronary artery disease (PTCA+Stent)",),
}  # fmt: skip
_NO_DIAGNOSIS = {"no", "n/a", "unknown", "nan", "None", "", "M. Bechterew", "M. Basedow"}
INFARCTION, ACUTE_DAYS = "Myocardial infarction", 3


@register_benchmark("fmb/ptb", dataclass=HospitalConfig)
class FmbPtb(Benchmark):
    """PTB: reasons for admission and further diagnoses of ten records or more, infarctions by age and treatment.

    An infarction is acute up to three days before the record, else old; "catheterized" follows where the patient was
    so behind it. Five folds by patient.
    """

    sources = ("ptb",)
    cfg: HospitalConfig
    comparable = DRAWN
    valid_fold, test_fold = 4, 5

    @cached_property
    def one_name(self) -> Mapping[str, str]:
        return {other: name for name, others in _ONE_NAME.items() for other in others}

    def targets(self, data: DataSet, rows: np.ndarray) -> tuple[list[str], np.ndarray]:
        needed = ["diagnosis", "additional_diagnoses", "ecg_date", "infarction_date", "catheterization_date"]
        meta = data.columns(needed).iloc[rows]
        texts = zip(meta["diagnosis"].astype(str), meta["additional_diagnoses"].astype(str), infarctions(meta))
        every = []
        for reason, further, infarction in texts:
            names = {text.strip() for text in [reason, *further.split(",")]} - _NO_DIAGNOSIS
            every.append({infarction if name == INFARCTION else self.one_name.get(name, name) for name in names})
        found = frequent(every, self.cfg.min_records)
        labels = sorted(set().union(*found))
        return labels, one_hot(found, labels)


def infarctions(meta: Table) -> list[str]:
    """What an infarction of each record's patient is called."""
    import pandas as pd

    forms = {"ecg_date": "%d/%m/%Y", "infarction_date": "%d-%b-%y", "catheterization_date": "%d-%b-%y"}
    dates = {name: pd.to_datetime(meta[name], format=form, errors="coerce") for name, form in forms.items()}
    since, treated = ((dates["ecg_date"] - dates[name]).dt.days for name in ("infarction_date", "catheterization_date"))
    acute = (since >= 0) & (since <= ACUTE_DAYS)
    age = np.where(acute, np.where(treated <= since, " acute catheterized", " acute"), " old")
    return [INFARCTION + text for text in age]
