"""LUDB: 200 records of 10 s at 500 Hz whose P waves, QRS complexes and T waves are marked in every lead."""

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError, listed, option
from ecg_signals.preprocess.comments import age_years, sex_code
from ecg_signals.preprocess.labels import multi_hot
from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.registry import register_source
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record
from ecg_signals.signal.resample import resample_linear, resample_spline
from ecg_signals.tables import Table

WAVES = ("p", "qrs", "t")  # numbers of the classes, in this order; where waves overlap, the first one counts
NONE = 3
SAME_WAVE_SECONDS = 0.2  # peaks, in any leads, that are closer than this to a group's first one are of one wave
LONGEST_SECONDS = {"p": 0.3, "qrs": 0.3, "t": 0.4}  # of a wave; a longer one is an error in the marks
_FIELD = re.compile(r"<(age|sex)>:?\s*(\S+)")
_RESAMPLING = {"linear": resample_linear, "spline": resample_spline}
_NAMES = """
Aberrant conduction | Atrial extrasystole, type: allorhythmic pattern | Atrial extrasystole, type: bigemini |
Atrial extrasystole, type: quadrigemini | Atrial extrasystole, type: single PAC | Atrial extrasystole: SA-nodal
extrasystole | Atrial extrasystole: left atrial | Atrial extrasystole: low atrial | Atrial extrasystole: undefined
| BIpolar ventricular pacing | Biventricular pacing | Complete left bundle branch block | Complete right bundle
branch block | Early repolarization syndrome | Electric axis of the heart: horizontal | Electric axis of the
heart: left axis deviation | Electric axis of the heart: normal | Electric axis of the heart: right axis deviation
| Electric axis of the heart: vertical | I degree AV block | III degree AV-block | Incomplete left bundle branch
block | Incomplete right bundle branch block | Ischemia: anterior wall | Ischemia: apical | Ischemia: inferior
wall | Ischemia: lateral wall | Ischemia: posterior wall | Ischemia: septal | Left anterior hemiblock | Left
atrial hypertrophy | Left atrial overload | Left ventricular hypertrophy | Left ventricular overload |
Non-specific intravintricular conduction delay | Non-specific repolarization abnormalities: anterior wall |
Non-specific repolarization abnormalities: apical | Non-specific repolarization abnormalities: inferior wall |
Non-specific repolarization abnormalities: lateral wall | Non-specific repolarization abnormalities: posterior
wall | Non-specific repolarization abnormalities: septal | P-synchrony | Rhythm: Atrial fibrillation | Rhythm:
Atrial flutter, typical | Rhythm: Irregular sinus rhythm | Rhythm: Sinus arrhythmia | Rhythm: Sinus bradycardia |
Rhythm: Sinus rhythm | Rhythm: Sinus tachycardia | Right atrial hypertrophy | Right atrial overload | Right
ventricular hypertrophy | STEMI: anterior wall | STEMI: apical | STEMI: inferior wall | STEMI: lateral wall |
STEMI: septal | Scar formation: anterior wall | Scar formation: apical | Scar formation: inferior wall | Scar
formation: lateral wall | Scar formation: posterior wall | Scar formation: septal | Sinoatrial blockade, undefined
| UNIpolar atrial pacing | UNIpolar ventricular pacing | Undefined ischemia/scar/supp.NSTEMI: anterior wall |
Undefined ischemia/scar/supp.NSTEMI: apical | Undefined ischemia/scar/supp.NSTEMI: inferior wall | Undefined
ischemia/scar/supp.NSTEMI: lateral wall | Undefined ischemia/scar/supp.NSTEMI: posterior wall | Undefined
ischemia/scar/supp.NSTEMI: septal | Ventricular extrasystole, localisation: IVS, middle part | Ventricular
extrasystole, localisation: LV, undefined | Ventricular extrasystole, localisation: LVOT, LVS | Ventricular
extrasystole, localisation: RVOT, anterior wall | Ventricular extrasystole, localisation: RVOT, antero-septal part
| Ventricular extrasystole, morphology: polymorphic | Ventricular extrasystole, type: couplet | Ventricular
extrasystole, type: intercalary PVC | Ventricular extrasystole, type: single PVC | Wandering atrial pacemaker
"""
DIAGNOSES = tuple(" ".join(name.split()) for name in _NAMES.split("|"))

Wave = tuple[int, int, int]  # onset, peak, offset, samples


@dataclass
class LudbConfig(SplitConfig):
    segment_seconds: float = option(
        0.0, "length of a segment; a remainder at the end of a record is dropped. 0: the whole record"
    )
    standardise: bool = option(False, "z-score every lead over the whole record; false keeps mV")
    separate_leads: bool = option(False, "a file for every lead, with that lead's own marks, instead of merged ones")
    split_leads: bool = option(False, "leads of one record may come into several splits, as published")
    resampling: str = option(
        "linear", "to sample_rate; spline, as published, moves waves by less", choices=tuple(_RESAMPLING)
    )


@register_source("ludb", dataclass=LudbConfig)
class Ludb(Source):
    """Segments hold `segment_label` (P 0, QRS 1, T 2, none 3), `segment_mask` (true outside the marked part), `p`,
    `qrs`, `t` and `none`, true where a sample is of such a wave, and `label`, one value per diagnosis.

    The marks of all leads are merged, a wave lies between the mean onset and the mean offset of its marks; or, with
    separate_leads, every lead has its own. Labels are the header's diagnoses, always in the same order.
    """

    title = "LUDB 1.0.1 (physionet.org/content/ludb)"
    layout = "data/*.hea with .dat files and one file of marks per lead (.i, .ii, ..., or .atr_i, ...)"
    prefix = "ludb"
    suffix = ".hea"
    reading_options = ("separate_leads", "resampling")
    cfg: LudbConfig

    def records(self) -> Table:
        table = super().records()
        marked = [(row, self._mark_files(row)) for row in table.to_dict("records")]
        wanted = [lead for lead in LEADS if lead in self.cfg.leads]
        unmarked = [f"{row['path']} {lead}" for row, files in marked for lead in wanted if lead not in files]
        if unmarked:
            self.remark(f"{len(unmarked)} leads have no file of marks, their waves are not known: {listed(unmarked)}")
        if not self.cfg.separate_leads:
            return table
        rows = [(row, lead) for row, files in marked for lead in wanted if lead in files]
        several = [{**row, "record_id": lead, "name": f"{row['name']}_{lead.lower()}"} for row, lead in rows]
        return table.__class__(several, columns=[*table.columns, "record_id"], dtype=object)

    def about(self, path: str) -> dict[str, Any]:
        """One record is of one patient."""
        name = PurePosixPath(path).stem
        return {"name": name, "patient_id": None if self.cfg.split_leads else name}

    def settings(self, row: Row) -> LudbConfig:
        if not self.cfg.separate_leads:
            return self.cfg
        options = copy.copy(self.cfg)
        options.leads = [row["record_id"]]
        return options

    def resample(self, signal: np.ndarray, rate: float, wanted: float) -> np.ndarray:
        return _RESAMPLING[self.cfg.resampling](signal, rate, wanted)

    def files(self, row: Row) -> list[Path]:
        return [*super().files(row), *(path for path, _ in self._mark_files(row).values())]

    def facts(self, record: Record) -> dict[str, Any]:
        """The first three comments are age, sex and a heading; each further one is a diagnosis."""
        said = {key: value for line in record.comments for key, value in _FIELD.findall(line)}
        diagnoses = [line.strip().rstrip(".") for line in record.comments[3:] if line.strip()]
        return {"age": age_years(said.get("age")), "sex": sex_code(said.get("sex")), "diagnosis": ";".join(diagnoses)}

    def values(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        found = set(facts["diagnosis"].split(";"))
        return {"label": np.array([name in found for name in DIAGNOSES], dtype=np.int8)}

    def labels(self, meta: Table) -> Table:
        found = [set(filter(None, text.split(";"))) for text in meta["diagnosis"].fillna("")]
        unknown = sorted(set().union(*found).difference(DIAGNOSES))
        if unknown:
            self.remark(f"{len(unknown)} diagnoses are none of LUDB's {len(DIAGNOSES)}, no labels: {listed(unknown)}")
        return multi_hot(meta["idx"], [classes or None for classes in found], DIAGNOSES)

    def tracks(self, row: Row, stored: int, samples: int, rate: float) -> dict[str, np.ndarray]:
        """Raises: ConfigError for marks that are not there, that cannot be read, or of waves that none can have."""
        wanted = self.cfg.sample_rate
        ends = (samples - 1) / max(stored - 1, 1)  # the linear way keeps first and last sample in place
        marks = self.waves(row, wanted / rate if self.cfg.resampling == "spline" else ends)
        found = {wave: np.zeros(samples, dtype=np.int8) for wave in WAVES}
        for wave, spans in marks.items():
            spans = spans if self.cfg.separate_leads else merged(spans, wanted)
            for onset, _, offset in spans:
                checked = wave != "p" or not self.cfg.separate_leads
                if checked and offset - onset > int(LONGEST_SECONDS[wave] * wanted):
                    seconds = (offset - onset) / wanted
                    raise ConfigError(f"the marks have a {wave} wave of {seconds:.2f} s; get the record's files again")
                found[wave][onset : offset + 1] = 1
        marked = np.flatnonzero(sum(found.values()))
        if not len(marked):
            raise ConfigError(f"has no marked wave; expected {self.layout}")
        outside = np.ones(samples, dtype=np.uint8)
        outside[marked[0] : marked[-1] + 1] = 0
        stack = np.stack([*found.values(), np.zeros_like(outside)])
        stack[NONE] = 1 - stack.max(axis=0)
        rest = {"none": stack[NONE], "segment_label": stack.argmax(axis=0).astype(np.int8), "segment_mask": outside}
        return {**found, **rest}

    def waves(self, row: Row, scale: float) -> dict[str, list[Wave]]:
        """The marks of every lead, or of the row's, by wave; their samples times `scale`."""
        import wfdb

        found: dict[str, list[Wave]] = {wave: [] for wave in WAVES}
        files = self._mark_files(row)
        chosen = [row["record_id"]] if self.cfg.separate_leads else list(files)
        for path, extension in (files[lead] for lead in chosen):
            try:
                marks = wfdb.rdann(str(path.with_suffix("")), extension)
            except Exception as error:  # it has no errors of its own: broken bytes trip it anywhere
                raise ConfigError(f"{path} is no WFDB annotation file ({error!r}); get it again") from None
            samples = [round(sample * scale) for sample in marks.sample.tolist()]
            for wave, span in spans_of(samples, marks.symbol):
                found[wave].append(span)
        return found

    def _mark_files(self, row: Row) -> dict[str, tuple[Path, str]]:
        """lead -> its file of marks and how the name of that ends."""
        base, found = (self.folder / row["path"]).with_suffix(""), {}
        for lead in LEADS:
            for name in (f"atr_{lead.lower()}", lead.lower()):
                if base.with_suffix(f".{name}").is_file():
                    found[lead] = base.with_suffix(f".{name}"), name
        return found


def spans_of(samples: list[int], symbols: list[str]) -> list[tuple[str, Wave]]:
    """The waves of one lead: a peak, p or t or of any other name for QRS, perhaps an onset before it, and an offset.

    A wave without an onset begins at its peak; one without an offset is left out.
    """
    found: list[tuple[str, Wave]] = []
    onset: int | None = None
    peak: tuple[str, int] | None = None
    for sample, symbol in zip(samples, symbols):
        if symbol == "(":
            onset = sample
        elif symbol != ")":
            peak = (symbol if symbol in ("p", "t") else "qrs"), sample
        elif peak is not None:
            wave, place = peak
            found.append((wave, (place if onset is None else onset, place, sample)))
            onset = None
    return found


def merged(marks: list[Wave], rate: float) -> list[Wave]:
    """Marks of one wave in all leads -> one per group whose peaks lie within 0.2 s of the group's first."""
    groups: list[list[Wave]] = []
    for mark in sorted(marks, key=lambda wave: wave[1]):
        if groups and mark[1] - groups[-1][0][1] < int(SAME_WAVE_SECONDS * rate):
            groups[-1].append(mark)
        else:
            groups.append([mark])
    means = [np.mean(group, axis=0) for group in groups]
    return [(int(onset), int(peak), int(offset)) for onset, peak, offset in means]
