"""ST-MEM's data: an index CSV that names pickled signals, [12, samples] in mV at any rate."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ecg_signals.config import ConfigError, option
from ecg_signals.data.datasets.ecg_windows import EcgWindowsConfig, EcgWindowsDataset
from ecg_signals.data.label_file import Test, column_digests, values_that_are
from ecg_signals.data.sources.index import SignalIndex
from ecg_signals.registry import register_dataset
from ecg_signals.signal.contract import SignalContract

LEAD_CHOICES: dict[str, list[str | int] | None] = {
    "12lead": None,
    "limb_lead": list(range(6)),
    "lead1": [0],
    "lead2": [1],
}


@dataclass
class StMemIndexConfig(EcgWindowsConfig):
    signal_dir: str | None = option(
        None, "folder of the signal files, or a store that ecg-pack made of them; None: the index's own", ours=True
    )
    filename_col: str = option("FILE_NAME", "column of the index that names the files", ours=True)
    fs_col: str | None = option(
        "SAMPLE_RATE", "column of their rates in Hz; None: as the files say, else not resampled", ours=True
    )
    label_col: list[str] | None = option(
        None, "column of class numbers 0, 1, ..., or several columns of 0 and 1; None: no labels", ours=True
    )
    class_names: list[str] | None = option(
        None, "names of the classes in label_col; with them every class is a column of 0 and 1", ours=True
    )
    lead: str | None = option(
        None, "leads by their published name; None: task.leads_to_load", choices=tuple(LEAD_CHOICES), ours=True
    )


@register_dataset("st_mem_index", dataclass=StMemIndexConfig)
class StMemIndexDataset(EcgWindowsDataset):
    """One item per row of the index: {"id", "source": windows [leads, crop_samples], "label" if known}.

    Files are pickled arrays, .npy, .mat, or any record file that `read_record` knows, of which the twelve leads are
    taken in order. Nothing in a pickle is executed, and a file is looked at when its item is. `label` is one class
    number, or 0 and 1 for each of several labels; an empty cell is unknown. A column `patient_id` is used where
    patients matter.
    """

    suffix: ClassVar[str] = ".csv"
    cfg: StMemIndexConfig
    manifest: SignalIndex

    def __init__(self, cfg: StMemIndexConfig, path: str | Path, *, training: bool = False, seed: int = 1) -> None:
        if cfg.lead is not None:
            cfg = dataclasses.replace(cfg, leads_to_load=LEAD_CHOICES[cfg.lead])
        if cfg.min_sample_size is not None:
            raise ConfigError(
                "task.min_sample_size needs the lengths of the signals, which an index does not say; leave it out"
            )
        if cfg.label_file and cfg.label_col:
            raise ConfigError("task.label_file and dataset.label_col both give labels; leave one out")
        super().__init__(cfg, path, training=training, seed=seed)

    def open_manifest(self) -> SignalIndex:
        cfg = self.cfg
        if cfg.class_names and len(cfg.label_col or []) != 1:
            raise ConfigError(f"dataset.class_names names classes of one column; dataset.label_col is {cfg.label_col}")
        return SignalIndex(
            self.path,
            cfg.signal_dir,
            filename=cfg.filename_col,
            rate=cfg.fs_col,
            labels=cfg.label_col or [],
            classes=cfg.class_names,
        )

    def open_source(self) -> SignalIndex:
        return self.manifest

    def name_of(self, index: int) -> str:
        return self.manifest.file(index)

    def records(self) -> int:
        return len(self)

    @property
    def labels(self) -> list[str] | None:
        return super().labels if self.manifest.table is None else self.manifest.names

    def known_labels(self) -> np.ndarray | None:
        table = self.manifest.table
        return super().known_labels() if table is None else (~np.isnan(table)).sum(axis=0)

    def labels_that_are(self, wrong: Test) -> np.ndarray | None:
        table = self.manifest.table
        return super().labels_that_are(wrong) if table is None else values_that_are(wrong, table)

    def label_digests(self) -> dict[str, str] | None:
        table, names = self.manifest.table, self.manifest.names
        return super().label_digests() if table is None else column_digests(table, list(range(table.shape[1])), names)

    def select_labels(self, columns: Sequence[int]) -> None:
        table, names = self.manifest.table, self.manifest.names
        if table is None or names is None:
            super().select_labels(columns)
            return
        self.manifest.table, self.manifest.names = table[:, list(columns)], [names[column] for column in columns]
        self.first.label = self.manifest.table[0]

    def earlier_steps(self, made: SignalContract) -> list[dict[str, Any]]:
        """The files are raw records."""
        return [step for step in made.steps if step["name"] in ("clean", "normalise")]
