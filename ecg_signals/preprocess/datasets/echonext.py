"""EchoNext: 100,000 records of 10 s at 250 Hz with what an echocardiogram found within a year."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ecg_signals.config import ConfigError, option
from ecg_signals.preprocess.comments import sex_code
from ecg_signals.preprocess.options import PreprocessConfig
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.readers.npy_file import load_npy
from ecg_signals.registry import register_source
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record
from ecg_signals.tables import Column, Table, read_table

TABLE = "EchoNext_metadata_100k.csv"
SPLITS = ("train", "val", "test", "no_split")
RATE = 250  # Hz
FINDINGS = (
    "lvef_lte_45", "lvwt_gte_13", "aortic_stenosis_moderate_or_greater", "aortic_regurgitation_moderate_or_greater",
    "mitral_regurgitation_moderate_or_greater", "tricuspid_regurgitation_moderate_or_greater",
    "pulmonary_regurgitation_moderate_or_greater", "rv_systolic_dysfunction_moderate_or_greater",
    "pericardial_effusion_moderate_large", "pasp_gte_45", "tr_max_gte_32",
)  # fmt: skip


@dataclass
class EchonextConfig(PreprocessConfig):
    scale: float = option(1.0, "factor of all samples; the published ones are z-scores of the whole data set, not mV")


@register_source("echonext", dataclass=EchonextConfig)
class Echonext(Source):
    """The rows of a split in the table are those of its array, in order; `no_split` belongs to no split."""

    title = "EchoNext 1.1.0 (physionet.org/content/echonext)"
    layout = f"{TABLE} and EchoNext_{{train,val,test,no_split}}_waveforms.npy"
    prefix = "echonext"
    reading_options = ("scale",)
    without_split = "it belongs to none of the published splits"

    @cached_property
    def table(self) -> Path:
        """Versions spell it in small letters, too."""
        found = [path for path in self.folder.glob("*.csv") if path.name.lower() == TABLE.lower()]
        return found[0] if found else self.folder / TABLE

    def records(self) -> Table:
        import pandas as pd

        table = read_table(self.table, ["ecg_key", "patient_key", "split", *map(column_of, FINDINGS)])
        unknown = table["split"][~table["split"].isin(SPLITS)]
        if len(unknown):
            raise ConfigError(f"{self.table}: the split {unknown.iloc[0]!r} is none of {', '.join(SPLITS)}")
        parts = [self._of_split(table[table["split"] == split], split) for split in SPLITS]
        table = pd.concat([part for part in parts if len(part)] or parts)
        sex = table["sex"].map(sex_code) if "sex" in table else np.nan
        return table.rename(columns={"patient_key": "patient_id", "age_at_ecg": "age"}).assign(sex=sex)

    def _of_split(self, table: Table, split: str) -> Table:
        """With the place of each record; empty, with a remark, where the array is not there."""
        path = self.folder / f"EchoNext_{split}_waveforms.npy"
        if not path.is_file():
            if len(table):
                self.remark(f"{len(table)} records are left out, as {path.name} is not there")
            return table.iloc[:0].assign(path="", record_id=0, name="")
        count = len(load_npy(path, mapped=True))
        if count != len(table):
            raise ConfigError(
                f"{path} holds {count} records, but {self.table.name} lists {len(table)} of the split {split}; "
                f"download both from one version of EchoNext"
            )
        return table.assign(path=path.name, record_id=np.arange(count), name=table["ecg_key"].astype(str))

    def read(self, row: Row) -> Record:
        path = self.folder / row["path"]
        signal = load_npy(path, mapped=True)[int(row["record_id"])]
        if signal.size % len(LEADS) or signal.shape[-1] != len(LEADS):
            raise ConfigError(f"{path} holds records {list(signal.shape)}; expected [1, samples, {len(LEADS)}]")
        values = signal.reshape(-1, len(LEADS)).T.astype(self.cfg.dtype) * self.cfg.scale
        return Record(np.ascontiguousarray(values), float(RATE), list(LEADS), format="npy")

    def labels(self, meta: Table) -> Table:
        found = meta[[column_of(name) for name in FINDINGS]]
        return meta[["idx"]].join(found.set_axis(list(FINDINGS), axis=1))

    def split(self, meta: Table) -> Column:
        names = {"train": "train", "val": "valid", "test": "test"}
        return meta["split"].map(names).astype(object).where(meta["split"].isin(names), None)


def column_of(finding: str) -> str:
    return f"{finding}_flag"
