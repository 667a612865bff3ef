"""SPH: 25,770 records of 10 to 60 s from Shandong Provincial Hospital with AHA statements."""

from ecg_signals.preprocess.comments import sex_code
from ecg_signals.preprocess.labels import multi_hot
from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Source
from ecg_signals.registry import register_source
from ecg_signals.tables import Table, read_table


@register_source("sph", dataclass=SplitConfig)
class Sph(Source):
    """Labels are the primary statements: `60+310;22` means 60 and 22; what follows a + only modifies."""

    title = "SPH, Shandong Provincial Hospital (figshare.com/articles/dataset/17912441)"
    layout = "metadata.csv, code.csv and records/*.h5"
    prefix = "sph"

    def records(self) -> Table:
        table = read_table(self.folder / "metadata.csv", ["ECG_ID", "AHA_Code", "Patient_ID", "Age", "Sex"])
        names = table["ECG_ID"].astype(str).str.removesuffix(".h5")
        below = "records/" if (self.folder / "records").is_dir() else ""
        table = table.rename(columns={"Patient_ID": "patient_id", "Age": "age", "Date": "date"})
        sex = table["Sex"].map(sex_code)
        return table.drop(columns=["Sex", "N", "fs"], errors="ignore").assign(
            path=below + names + ".h5", name=names, sex=sex
        )

    def labels(self, meta: Table) -> Table:
        """Named by code.csv's descriptions where it is there, else by the codes; the classes of the whole table."""
        whole = read_table(self.folder / "metadata.csv", ["AHA_Code"])["AHA_Code"]
        codes = sorted({code for text in whole.fillna("").astype(str) for code in primary_statements(text)}, key=int)
        names = dict(zip(codes, codes))
        if (self.folder / "code.csv").is_file():
            table = read_table(self.folder / "code.csv", ["Code", "Description"])
            names |= {str(code): str(text) for code, text in zip(table["Code"], table["Description"])}
        found = [
            {names[code] for code in primary_statements(text)} or None
            for text in meta["AHA_Code"].fillna("").astype(str)
        ]
        return multi_hot(meta["idx"], found, list(dict.fromkeys(names[code] for code in codes)))


def primary_statements(text: str) -> list[str]:
    """'60+310;22' -> ['60', '22']."""
    return [part.split("+")[0].strip() for part in text.split(";") if part.split("+")[0].strip().isdecimal()]
