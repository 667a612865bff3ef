"""LUDB: 200 records of 10 s at 500 Hz whose P waves, QRS complexes and T waves are marked in every lead."""

import re
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.preprocess.comments import age_years, sex_code
from ecg_signals.preprocess.labels import multi_hot
from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.registry import register_source
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record
from ecg_signals.tables import Table

RATE = 500  # Hz of the marks
CLASSES = {"p": 0, "N": 1, "t": 2}  # symbol of the peak: class
NONE = 3
SAME_WAVE_SECONDS = 0.2  # peaks of one class that are closer than this, in any leads, are of one wave
_FIELD = re.compile(r"<(age|sex)>:?\s*(\S+)")

Wave = tuple[float, float, float]  # onset, peak, offset, samples


@register_source("ludb", dataclass=SplitConfig)
class Ludb(Source):
    """Segments hold `segment_label` (P 0, QRS 1, T 2, none 3) and `segment_mask` (true outside the marked part).

    The marks of all leads are merged: a wave lies between the mean onset and the mean offset of its marks.
    Labels are the header's diagnoses.
    """

    title = "LUDB 1.0.1 (physionet.org/content/ludb)"
    layout = "data/*.hea with .dat files and one file of marks per lead (.i, .ii, ..., or .atr_i, ...)"
    prefix = "ludb"
    suffix = ".hea"

    def about(self, path: str) -> dict[str, Any]:
        return {"name": PurePosixPath(path).stem}

    def files(self, row: Row) -> list[Path]:
        return [*super().files(row), *(path for path, _ in self._mark_files(row))]

    def facts(self, record: Record) -> dict[str, Any]:
        """The first three comments are age, sex and a heading; each further one is a diagnosis."""
        said = {key: value for line in record.comments for key, value in _FIELD.findall(line)}
        diagnoses = [line.strip().rstrip(".") for line in record.comments[3:] if line.strip()]
        return {"age": age_years(said.get("age")), "sex": sex_code(said.get("sex")), "diagnosis": ";".join(diagnoses)}

    def labels(self, meta: Table) -> Table:
        texts = meta["diagnosis"].fillna("")
        return multi_hot(meta["idx"], [set(text.split(";")) if text else None for text in texts])

    def tracks(self, row: Row, stored: int, samples: int) -> dict[str, np.ndarray]:
        waves = self.waves(row)
        classes = np.full(samples, NONE, dtype=np.int64)
        outside = np.ones(samples, dtype=bool)
        scale = (samples - 1) / max(stored - 1, 1)  # as the signal is resampled: first and last sample stay in place
        for number, marks in waves.items():
            for onset, _, offset in merged(marks):
                classes[round(onset * scale) : round(offset * scale) + 1] = number
        every = [wave for marks in waves.values() for wave in marks]
        if every:
            first, last = min(wave[0] for wave in every), max(wave[2] for wave in every)
            outside[round(first * scale) : round(last * scale) + 1] = False
        return {"segment_label": classes, "segment_mask": outside}

    def waves(self, row: Row) -> dict[int, list[Wave]]:
        """The marks of every lead, by class."""
        import wfdb

        found: dict[int, list[Wave]] = {number: [] for number in CLASSES.values()}
        for path, extension in self._mark_files(row):
            try:
                marks = wfdb.rdann(str(path.with_suffix("")), extension)
            except Exception as error:  # it has no errors of its own: broken bytes trip it anywhere
                raise ConfigError(f"{path} is no WFDB annotation file ({error!r}); get it again") from None
            for k in range(1, len(marks.sample) - 1):
                if marks.symbol[k] in CLASSES and (marks.symbol[k - 1], marks.symbol[k + 1]) == ("(", ")"):
                    onset, peak, offset = (float(value) for value in marks.sample[k - 1 : k + 2])
                    found[CLASSES[marks.symbol[k]]].append((onset, peak, offset))
        return found

    def _mark_files(self, row: Row) -> list[tuple[Path, str]]:
        base = (self.folder / row["path"]).with_suffix("")
        extensions = [prefix + lead.lower() for lead in LEADS for prefix in ("", "atr_")]
        return [(base.with_suffix(f".{name}"), name) for name in extensions if base.with_suffix(f".{name}").is_file()]


def merged(marks: list[Wave]) -> list[Wave]:
    """Marks of one class in all leads -> one wave per group whose peaks lie within 0.2 s of the group's first."""
    groups: list[list[Wave]] = []
    for mark in sorted(marks, key=lambda wave: wave[1]):
        if groups and mark[1] - groups[-1][0][1] < SAME_WAVE_SECONDS * RATE:
            groups[-1].append(mark)
        else:
            groups.append([mark])
    means = [np.mean(group, axis=0) for group in groups]
    return [(float(onset), float(peak), float(offset)) for onset, peak, offset in means]
