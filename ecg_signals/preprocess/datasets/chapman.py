"""Chapman-Shaoxing: 10 s records at 500 Hz with rhythms and other findings, in either of its two editions."""

from pathlib import Path, PurePosixPath
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.preprocess.archives import check_spreadsheet
from ecg_signals.preprocess.comments import age_years, patient_facts, sex_code
from ecg_signals.preprocess.labels import multi_hot
from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.registry import register_source
from ecg_signals.signal.record import Record
from ecg_signals.tables import Table, check_columns, read_table

RATE = 500  # Hz
NAMES = "ConditionNames_SNOMED-CT.csv"


@register_source("chapman", dataclass=SplitConfig)
class Chapman(Source):
    """The first edition (10,646 .csv files in uV) has one rhythm and several beat findings per record; the full
    one (45,152 WFDB records) SNOMED CT codes, named by the acronyms of its table of conditions."""

    title = (
        "Chapman-Shaoxing: ECGData (figshare 4560497) or ecg-arrhythmia 1.0.0 (physionet.org/content/ecg-arrhythmia)"
    )
    layout = "ECGData/*.csv with Diagnostics.xlsx (or .csv), or WFDBRecords/ with ConditionNames_SNOMED-CT.csv"
    prefix = "chapman"
    suffix = ".hea"

    def records(self) -> Table:
        headers = super().records()
        if len(headers):
            return headers
        table = self._diagnostics()
        files = {PurePosixPath(path).stem: path for path in self.paths(".csv")}
        names = table["FileName"].astype(str)
        renamed = table.rename(columns={"PatientAge": "age", "Gender": "sex", "Rhythm": "rhythm", "Beat": "beat"})
        paths = [files.get(name, f"ECGData/{name}.csv") for name in names]
        return renamed.assign(
            path=paths, name=names, sex=renamed["sex"].map(sex_code), age=renamed["age"].map(age_years)
        )

    def about(self, path: str) -> dict[str, Any]:
        return {"name": PurePosixPath(path).stem}

    def _diagnostics(self) -> Table:
        import pandas as pd

        needed = ["FileName", "Rhythm", "Beat", "PatientAge", "Gender"]
        sheet = self.folder / "Diagnostics.xlsx"
        if (self.folder / "Diagnostics.csv").is_file() or not sheet.is_file():
            return read_table(self.folder / "Diagnostics.csv", needed)
        check_spreadsheet(sheet)
        try:
            table = pd.read_excel(sheet)
        except ImportError:
            raise ConfigError(
                f"reading {sheet} needs openpyxl: pip install openpyxl, or save it as Diagnostics.csv"
            ) from None
        check_columns(table, needed, str(sheet))
        return table

    def reading(self, row: Row) -> dict[str, Any]:
        return {} if row["path"].endswith(".hea") else {"sample_rate": RATE, "units": "uV"}

    def facts(self, record: Record) -> dict[str, Any]:
        return patient_facts(record.metadata)

    def labels(self, meta: Table) -> Table | None:
        if "rhythm" in meta.columns:
            texts = zip(meta["rhythm"], meta["beat"])
            found = [{str(rhythm), *str(beat).split()} - {"NONE", "nan"} for rhythm, beat in texts]
            return multi_hot(meta["idx"], found)
        if "diagnosis" not in meta.columns:
            return None
        names = self._acronyms()
        codes = [text.split(",") if isinstance(text, str) else [] for text in meta["diagnosis"]]
        return multi_hot(meta["idx"], [{names.get(code, code) for code in own} or None for own in codes])

    def _acronyms(self) -> dict[str, str]:
        """SNOMED CT code -> acronym; empty without the table."""
        found = self.paths(NAMES.lower())
        path: Path = self.folder / (found[0] if found else NAMES)
        if not path.is_file():
            return {}
        table = read_table(path)
        code = next((name for name in table.columns if "snomed" in name.lower()), None)
        acronym = next((name for name in table.columns if "acronym" in name.lower()), None)
        if code is None or acronym is None:
            raise ConfigError(
                f"{path} has the columns {', '.join(table.columns)}; expected an acronym and a Snomed_CT code"
            )
        return {str(key): str(name).strip() for key, name in zip(table[code], table[acronym])}
