"""What MIMIC-IV and MIMIC-IV-ED tell of a patient around the time of an ECG.

Source: Al-Masud et al. 2025, Benchmarking ECG Foundational Models, arXiv:2509.25095, whose tables, items, units and
windows of time these are.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from ecg_signals.tables import Table, first_file, table_parts

BODY = ("Height (Inches)", "Weight (Lbs)", "BMI (kg/m2)")
LABS = (
    "PT", "Albumin", "Anion Gap", "Bicarbonate", "Bilirubin, Total", "Calcium, Total", "Creatinine", "Ferritin",
    "Urea Nitrogen", "Hematocrit", "Hemoglobin", "Lymphocytes", "MCHC", "RDW", "Red Blood Cells", "RDW-SD",
    "Creatine Kinase (CK)", "NTproBNP",
)  # fmt: skip
VITALS = ("dbp", "heartrate", "o2sat", "resprate", "sbp", "temperature")
LAB_ITEMS = (
    50811, 50862, 50868, 50882, 50885, 50893, 50910, 50912, 50924, 50963, 51006, 51221, 51222, 51237, 51244, 51249,
    51274, 51277, 51279, 51480, 51638, 51639, 51640, 51675, 52028, 52172, 52500, 52546, 52647, 52921, 53085, 53089,
)  # fmt: skip
POUND, INCH = 2.20462, 0.393701  # of a kilogram, of a centimetre
CHARTED = {  # label of an item of the intensive care unit -> what it is, factor, and what is added
    "Height (cm)": ("Height (Inches)", INCH, 0.0), "Height": ("Height (Inches)", 1.0, 0.0),
    "Daily Weight": ("Weight (Lbs)", POUND, 0.0), "Admission Weight (Kg)": ("Weight (Lbs)", POUND, 0.0),
    "Temperature Celsius": ("temperature", 1.8, 32.0), "Temperature Fahrenheit": ("temperature", 1.0, 0.0),
    "Heart Rate": ("heartrate", 1.0, 0.0), "Respiratory Rate": ("resprate", 1.0, 0.0),
    "O2 saturation pulseoxymetry": ("o2sat", 1.0, 0.0), "Albumin": ("Albumin", 1.0, 0.0),
    "Total Bilirubin": ("Bilirubin, Total", 1.0, 0.0), "Creatinine (serum)": ("Creatinine", 1.0, 0.0),
    "Hematocrit (serum)": ("Hematocrit", 1.0, 0.0), "Hemoglobin": ("Hemoglobin", 1.0, 0.0),
}  # fmt: skip
WITH_UNIT = ("Albumin", "Total Bilirubin", "Creatinine (serum)", "Hematocrit (serum)")  # charted without one: left out
MONTH, HOUR = "30D 23:59:59", "1h"  # how far from the ECG, before or behind it; whole days of the first
EVENT = ["subject_id", "time", "name", "value"]


def around(ecgs: Table, root: Path | None, ed_root: Path | None) -> Table:
    """BODY and LABS by a folder of MIMIC-IV, VITALS by one of MIMIC-IV-ED, around every row of `ecgs`.

    `ecgs` has subject_id and ecg_time; NaN where none is near. What was charted in MIMIC-IV counts among all of them.
    """
    import pandas as pd

    patients = set(ecgs["subject_id"])
    charted = read_charted(root, patients) if root else _joined([])
    found: list[tuple[Sequence[str], str, Table]] = []
    if root:
        found += [(BODY, MONTH, read_omr(root, patients)), (LABS, HOUR, read_labs(root, patients))]
    if ed_root:
        found += [(VITALS, HOUR, read_vitals(ed_root, patients))]
    near = []
    for names, within, events in found:
        every = _joined([events, charted[charted["name"].isin(names)]])
        near.append(nearest(ecgs, common(every), names, within))
    return pd.concat(near, axis=1)


def read_vitals(ed_root: Path, patients: Iterable[int]) -> Table:
    """EVENTs of VITALS in the emergency department."""
    path = first_file(ed_root, "ed/vitalsign.csv", "vitalsign.csv")
    parts = table_parts(path, ["subject_id", "charttime", *VITALS])
    own = (part[part["subject_id"].isin(patients)].rename(columns={"charttime": "time"}) for part in parts)
    return _joined(part.melt(["subject_id", "time"], list(VITALS), "name", "value") for part in own)


def read_omr(root: Path, patients: Iterable[int]) -> Table:
    """EVENTs of BODY that the outpatient clinic measured."""
    parts = table_parts(first_file(root, "hosp/omr.csv"), ["subject_id", "chartdate", "result_name", "result_value"])
    return _joined(
        part[part["result_name"].isin(BODY) & part["subject_id"].isin(patients)].set_axis(EVENT, axis=1)
        for part in parts
    )


def read_labs(root: Path, patients: Iterable[int]) -> Table:
    """EVENTs of LABS: of every label's items and of their units the most frequent, the middle 98 % of their values."""
    import pandas as pd

    items = pd.concat(table_parts(first_file(root, "hosp/d_labitems.csv"), ["itemid", "label"]))
    names = dict(zip(items["itemid"], items["label"]))
    columns = ["subject_id", "storetime", "itemid", "valuenum", "valueuom"]
    parts = (part[part["itemid"].isin(LAB_ITEMS) & part["subject_id"].isin(patients) & part["valuenum"].notna()]
             for part in table_parts(first_file(root, "hosp/labevents.csv"), columns))  # fmt: skip
    found = _joined(parts, columns).rename(columns={"storetime": "time", "valuenum": "value"})
    found = found.assign(name=found["itemid"].map(names))
    found = found[found["name"].isin(LABS)]
    found = common(found[_is_commonest(found, "name", "itemid")])
    return found[_is_commonest(found, "itemid", "valueuom")][EVENT]


def read_charted(root: Path, patients: Iterable[int]) -> Table:
    """EVENTs of CHARTED by their common names, in common units."""
    import pandas as pd

    items = pd.concat(table_parts(first_file(root, "icu/d_items.csv"), ["itemid", "label"]))
    labels = {item: label for item, label in zip(items["itemid"], items["label"]) if label in CHARTED}
    columns = ["subject_id", "storetime", "itemid", "valuenum", "valueuom"]

    def chosen(part: Table) -> Table:
        own = part[part["itemid"].isin(labels) & part["subject_id"].isin(patients)]
        label = own["itemid"].map(labels)
        own, label = (one[~(label.isin(WITH_UNIT) & own["valueuom"].isna())] for one in (own, label))
        names, factors, added = (label.map({key: row[place] for key, row in CHARTED.items()}) for place in range(3))
        value = own["valuenum"] * factors.astype(float) + added.astype(float)
        return pd.DataFrame({"subject_id": own["subject_id"], "time": own["storetime"], "name": names, "value": value})

    return _joined(map(chosen, table_parts(first_file(root, "icu/chartevents.csv"), columns)))


def common(events: Table) -> Table:
    """Those between the 1st and the 99th percentile of all with their name, with a number and a time."""
    import pandas as pd

    value = pd.to_numeric(events["value"], errors="coerce")
    found = events.assign(value=value, time=pd.to_datetime(events["time"], format="ISO8601", errors="coerce"))
    found = found[found["value"].notna() & found["time"].notna()]
    groups = found.groupby("name")["value"]
    return found[
        (found["value"] >= groups.transform("quantile", 0.01)) & (found["value"] <= groups.transform("quantile", 0.99))
    ]


def nearest(ecgs: Table, events: Table, names: Sequence[str], within: str) -> Table:
    """The value of every name that lies nearest in time to each row of `ecgs`, NaN where none lies `within`."""
    import pandas as pd

    when = pd.to_datetime(ecgs["ecg_time"], format="ISO8601", errors="coerce").to_numpy("datetime64[ns]")
    patients = ecgs["subject_id"].astype("int64").to_numpy()
    left = pd.DataFrame({"subject_id": patients, "row": range(len(ecgs)), "time": when})
    left = left[left["time"].notna()].sort_values("time")
    found = pd.DataFrame(index=range(len(ecgs)))
    for name in names:
        own = events.loc[events["name"] == name, ["subject_id", "time", "value"]].sort_values("time", kind="stable")
        own = own.astype({"subject_id": "int64", "time": "datetime64[ns]", "value": "float64"})
        joined = pd.merge_asof(
            left, own, on="time", by="subject_id", direction="nearest", tolerance=pd.Timedelta(within)
        )
        found[name] = joined.set_index("row")["value"]
    return found


def _is_commonest(table: Table, group: str, column: str) -> np.ndarray:
    """Bool [rows]: their `column` is the most frequent one of their group."""
    counts = table.groupby([group, column]).size()
    best = dict(counts.groupby(level=0).idxmax()) if len(counts) else {}
    return (table[column] == table[group].map({name: pair[1] for name, pair in best.items()})).to_numpy()


def _joined(parts: Iterable[Table], columns: Sequence[str] = EVENT) -> Table:
    """Below each other, those that are not empty, which keep their types."""
    import pandas as pd

    found = [part for part in parts if len(part)]
    return pd.concat(found) if found else pd.DataFrame(columns=list(columns))
