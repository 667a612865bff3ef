"""MIMIC-IV-ECG: 800,035 records of 10 s at 500 Hz with the machine's report texts."""

from dataclasses import dataclass
from pathlib import Path

from ecg_signals.config import ConfigError, option
from ecg_signals.labeler.reports import joined_reports
from ecg_signals.preprocess.comments import sex_code
from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Source
from ecg_signals.registry import register_source
from ecg_signals.tables import Table, check_columns, numbers, read_table

DAYS_PER_YEAR = 365.25
MEASURED = ("rr_interval", "p_onset", "p_end", "qrs_onset", "qrs_end", "t_end", "p_axis", "qrs_axis", "t_axis")


@dataclass
class MimicIvEcgConfig(SplitConfig):
    mimic_iv_root: str | None = option(None, "folder of MIMIC-IV with hosp/patients.csv(.gz), for age and sex")


@register_source("mimic_iv_ecg", dataclass=MimicIvEcgConfig)
class MimicIvEcg(Source):
    """Labels come from report texts: give the labeler's table with label_file=FILE.csv (column study_id or idx).

    meta.csv has the machine's measurements as they are stored, also values that stand for none, such as 29999.
    """

    title = "MIMIC-IV-ECG 1.0 (physionet.org/content/mimic-iv-ecg)"
    layout = "record_list.csv, machine_measurements.csv and files/, at SOURCE or in one folder below it"
    prefix = "mimic_iv_ecg"

    def records(self) -> Table:
        base = self._base()
        table = read_table(base / "record_list.csv", ["subject_id", "study_id", "path"])
        below = base.relative_to(self.folder).as_posix()
        prefix = "" if below == "." else f"{below}/"
        table["path"] = table["path"].fillna("").astype(str)
        names = table["path"].str.removeprefix("files/")
        table = table.rename(columns={"subject_id": "patient_id"})
        table = table.assign(path=prefix + table["path"] + ".hea", name=names)
        table = table.merge(self._reports(base), on="study_id", how="left")
        return self._with_patients(table) if self.cfg.mimic_iv_root else table

    def _base(self) -> Path:
        """The folder of record_list.csv."""
        found = [self.folder, *sorted(path for path in self.folder.iterdir() if path.is_dir())]
        for folder in found:
            if (folder / "record_list.csv").is_file():
                return folder
        raise ConfigError(f"there is no record_list.csv in {self.folder} or a folder in it; expected {self.layout}")

    def _reports(self, base: Path) -> Table:
        """study_id, report (the lines that are not empty, joined by '; ') and the measurements that are there."""
        import pandas as pd

        path = base / "machine_measurements.csv"
        if not path.is_file():
            return pd.DataFrame({"study_id": pd.Series(dtype="int64"), "report": pd.Series(dtype=object)})
        table = read_table(path, ["study_id"])
        texts = joined_reports(table, [name for name in table.columns if name.startswith("report_")])
        measured = {name: numbers(table, name, path) for name in MEASURED if name in table.columns}
        found = pd.DataFrame({"study_id": table["study_id"], "report": texts, **measured})
        return found.drop_duplicates("study_id")

    def _with_patients(self, table: Table) -> Table:
        """Adds sex, age at the recording, and its date moved to the middle of the patient's real years."""
        import pandas as pd

        root = Path(self.cfg.mimic_iv_root).expanduser()
        places = [root / "hosp" / "patients.csv", root / "hosp" / "patients.csv.gz", root / "patients.csv"]
        path = next((place for place in places if place.is_file()), places[0])
        columns = ["subject_id", "gender", "anchor_age", "anchor_year", "anchor_year_group"]
        patients = read_table(path, columns)[columns]
        for name in ("anchor_age", "anchor_year"):
            patients[name] = numbers(patients, name, path)
        patients = patients.rename(columns={"subject_id": "patient_id"})
        table = table.merge(patients, on="patient_id", how="left")
        when = pd.to_datetime(table["ecg_time"], errors="coerce")
        check_columns(table, ["ecg_time"], "record_list.csv")
        years = table["anchor_year_group"].astype(str).str.extractall(r"(\d{4})")[0].astype(float)
        middle = years.groupby(level=0).mean().reindex(table.index)
        shift = pd.to_timedelta((middle - table["anchor_year"]) * DAYS_PER_YEAR, unit="D")
        anchor = pd.to_datetime(table["anchor_year"].astype("Int64").astype(str) + "-01-01", errors="coerce")
        age = table["anchor_age"] + (when - anchor).dt.days / DAYS_PER_YEAR
        sex = table["gender"].map(sex_code)
        return table.assign(age=age, sex=sex, anchored_date=when + shift).drop(columns=["gender"])
