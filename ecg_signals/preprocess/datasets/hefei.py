"""Hefei: some 20,000 records of 10 s at 500 Hz from the Hefei Hi-tech Cup 2019, eight stored leads."""

from pathlib import Path, PurePosixPath
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.preprocess.comments import age_years, sex_code
from ecg_signals.preprocess.labels import multi_hot
from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.registry import register_source
from ecg_signals.signal.record import Record
from ecg_signals.tables import Table

RATE = 500  # Hz
UNITS = "4.88uV"  # of one count


@register_source("hefei", dataclass=SplitConfig)
class Hefei(Source):
    """III, aVR, aVL and aVF are computed from I and II."""

    title = "Hefei Hi-tech Cup ECG 2019 (tianchi.aliyun.com/competition/entrance/231754)"
    layout = "a label file (*label*.txt: file, age, sex, diagnoses, with tabs) and the records as .txt at any depth"
    prefix = "hefei"

    def records(self) -> Table:
        import pandas as pd

        paths = self.paths(".txt")
        tables = [path for path in paths if "label" in PurePosixPath(path).name.lower()]
        if not tables:
            raise ConfigError(f"there is no label file below {self.folder}; expected {self.layout}")
        rows = [row for path in tables for row in self._rows(self.folder / path)]
        about = pd.DataFrame(
            {
                "name": [row[0].removesuffix(".txt") for row in rows],
                "age": [age_years(row[1]) for row in rows],
                "sex": [sex_code(row[2]) for row in rows],
                "diagnosis": [",".join(filter(None, row[3:])) for row in rows],
            }
        ).drop_duplicates("name")
        files = {PurePosixPath(path).stem: path for path in paths if path not in tables}
        return about.assign(path=[files.get(name, f"{name}.txt") for name in about["name"]])

    def _rows(self, path: Path) -> list[list[str]]:
        rows = []
        for number, line in enumerate(path.read_text(encoding="utf-8-sig", errors="replace").splitlines(), 1):
            row = [part.strip() for part in line.split("\t")]
            if line.strip() and len(row) < 3:
                raise ConfigError(f"{path}, line {number} has {len(row)} fields; expected file, age, sex, diagnoses")
            rows += [row] if line.strip() else []
        return rows

    def reading(self, row: Row) -> dict[str, Any]:
        return {"sample_rate": RATE, "units": UNITS}

    def read(self, row: Row) -> Record:
        from ecg_signals.signal.leads import LEADS, derive_limb_leads, order_leads

        record = super().read(row)
        signal = order_leads(record.signal, record.leads)
        record.signal, _ = derive_limb_leads(signal, LEADS)
        record.leads = list(LEADS)
        return record

    def labels(self, meta: Table) -> Table:
        return multi_hot(
            meta["idx"], [set(text.split(",")) if isinstance(text, str) else None for text in meta["diagnosis"]]
        )
