"""ZZU pECG: 14,190 records of 5 to 120 s at 500 Hz of 11,643 children in hospital, with AHA statements."""

from ecg_signals.preprocess.comments import age_years, sex_code
from ecg_signals.preprocess.labels import multi_hot
from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Source
from ecg_signals.registry import register_source
from ecg_signals.tables import Table, read_table

TABLE, CODES = "AttributesDictionary.csv", "ECGCode.csv"
DAYS_PER_YEAR = 365.25


@register_source("zzu_pecg", dataclass=SplitConfig)
class ZzuPecg(Source):
    """Labels are the AHA statements, and findings in words where the AHA has none; 1,856 records lack V2, V4 and V6."""

    title = "ZZU pECG, First Affiliated Hospital of Zhengzhou University (doi.org/10.6084/m9.figshare.27078763)"
    layout = f"{TABLE}, {CODES} and Child_ecg/P00/P00001/*.hea"
    prefix = "zzu_pecg"

    def records(self) -> Table:
        table = read_table(self.folder / TABLE, ["Filename", "Patient_ID", "Age", "Gender", "Lead", "AHA_code"])
        names = table["Filename"].astype(str).str.removesuffix(".hea")
        below = "Child_ecg/" if (self.folder / "Child_ecg").is_dir() else ""
        table = table.rename(columns={"Patient_ID": "patient_id", "Acquisition_date": "date"})
        age = table["Age"].astype(str).str.rstrip("d").map(age_years) / DAYS_PER_YEAR
        sex = table["Gender"].astype(str).str.strip("'").map(sex_code)
        quality = [name for name in ("pSQI", "basSQI", "bSQI") if name in table.columns]  # of every lead, as a text
        return table.drop(columns=["Age", "Gender", "Filename", *quality]).assign(
            path=below + names + ".hea", name=names.str.rsplit("/", n=1).str[-1], age=age, sex=sex
        )

    def labels(self, meta: Table) -> Table:
        """Named by the descriptions of ECGCode.csv where it is there; in the order of the whole table."""
        names = self._names()
        whole = read_table(self.folder / TABLE, ["AHA_code"])["AHA_code"]
        every = {names.get(one, one) for text in whole for one in statements(text)}
        found = [{names.get(one, one) for one in statements(text)} or None for text in meta["AHA_code"]]
        return multi_hot(meta["idx"], found, sorted(every))

    def _names(self) -> dict[str, str]:
        """Code of the AHA -> description; empty without the table."""
        path, code = self.folder / CODES, "AHA(Category&Code)"
        if not path.is_file():
            return {}
        table = read_table(path, ["Description", code], text=["Description", code]).dropna(subset=[code])
        return {str(one).strip(): str(text).strip() for one, text in zip(table[code], table["Description"])}


def statements(text: object) -> list[str]:
    """ "'D31';'Left ventricular high voltage'" -> ["D31", "Left ventricular high voltage"]."""
    parts = [part.strip().strip("'").strip() for part in str(text).split(";")]
    return [part for part in parts if part not in ("", "nan", "Null")]
