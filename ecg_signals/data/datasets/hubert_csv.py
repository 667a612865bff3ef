"""A CSV of file names and labels beside a folder of .npy: HuBERT-ECG's data, preprocessed at 500 Hz."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ecg_signals import tables
from ecg_signals.config import ConfigError, nearest, option, resolve_input
from ecg_signals.data.collation import stacked_columns
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.data.label_file import column_digests
from ecg_signals.data.named_rows import NamedRows
from ecg_signals.data.sources.npy_folder import NpyFolder
from ecg_signals.interop.hubert_ecg.contract import hubert_ecg
from ecg_signals.registry import register_dataset
from ecg_signals.sections import DatasetConfig
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.hubert_ecg import decimate_crop
from ecg_signals.signal.missing import nan_to_mean

if TYPE_CHECKING:
    import pandas


@dataclass
class HubertCsvConfig(DatasetConfig):
    ecg_dir: str | None = option(None, "folder of the .npy files; None: the CSV's own folder", ours=True)
    label_start_index: int = option(3, "number of columns before the labels, `filename` included", ours=True)
    label_columns: list[str] | None = option(
        None, "names of the label columns; None: from label_start_index on", ours=True
    )
    task_type: str = option(
        "multi_label",
        "what the label columns are: 0/1 each, one column of class numbers, or one of real numbers",
        choices=("multi_label", "multi_class", "regression"),
        ours=True,
    )
    window_samples: int = option(2500, "samples per item at 500 Hz; shorter ECGs are padded with zeros", ours=True)
    random_crop: bool = option(False, "training items start anywhere, instead of at the first sample", ours=True)
    random_crop_valid: bool = option(False, "validation items too, as published", ours=True)
    downsampling_factor: int | None = option(5, "5 (100 Hz), 10 (50 Hz), or None", choices=(5, 10, None), ours=True)
    decimation: str = option(
        "per_lead",
        "decimate each lead, or the leads laid end to end as released weights need it",
        choices=("per_lead", "flat"),
        ours=True,
    )
    attention_mask: str = option(
        "signal",
        "find zero padding before decimation, after it as published (it is then never found), or not at all",
        choices=("signal", "decimated", "none"),
        ours=True,
    )
    targets: str | None = option(
        None, "folder of cluster targets from `ecg-cluster assign`, for pretraining", ours=True
    )


def read_table(path: str | Path) -> "pandas.DataFrame":
    """The CSV with its `filename` column as text. Raises: ConfigError when it has none, no rows, or names one twice."""
    file = resolve_input(path)
    if not file.exists():
        raise ConfigError(f"{file} does not exist; give a CSV with a column 'filename' and the label columns last")
    table = tables.read_table(file, text=["filename"])
    if "filename" not in table.columns:
        raise ConfigError(
            f"{file} has no column 'filename' (found {', '.join(map(str, table.columns[:8]))}); rename one"
        )
    if table.empty:
        raise ConfigError(f"{file} lists no ECG; add one row per .npy file")
    unnamed = np.flatnonzero(table["filename"].isna())
    if len(unnamed):
        raise ConfigError(f"{file} names no file in row {unnamed[0] + 1}; type its name into the column 'filename'")
    twice = table["filename"][table["filename"].duplicated()]
    if len(twice):
        raise ConfigError(
            f"{file} lists {twice.iloc[0]} more than once ({len(twice)} rows too many); remove the duplicates"
        )
    return table


def crop(signal: np.ndarray, start: int, samples: int) -> tuple[np.ndarray, int]:
    """`samples` columns from `start`, missing values replaced by the mean of the others.

    Returns: floats [12, samples], zeros where the ECG is over, and the number of columns that are there.
    """
    window = np.array(signal[:, start : start + samples])
    if window.dtype.kind != "f":
        window = window.astype(np.float32)
    window = np.nan_to_num(nan_to_mean(window), nan=0.0, posinf=np.inf, neginf=-np.inf)
    found = window.shape[1]
    if found < samples:
        window = np.pad(window, ((0, 0), (0, samples - found)))
    return window, found


def valid_columns(window: np.ndarray) -> np.ndarray:
    """[samples] bool: from the first to the last column in which any lead is not zero."""
    used = np.flatnonzero(window.any(axis=0))
    valid = np.zeros(window.shape[1], dtype=bool)
    if len(used):
        valid[used[0] : used[-1] + 1] = True
    return valid


@register_dataset("hubert_csv", dataclass=HubertCsvConfig)
class HubertCsvDataset(BaseDataset):
    """One item per CSV row: {"id", "source" [12, samples], "padding" [samples], "label", "cluster_labels" [heads, 93]}.

    `label` is there when the CSV has label columns, `cluster_labels` with `targets`; rows without one are left out.
    """

    suffix: ClassVar[str] = ".csv"
    cfg: HubertCsvConfig

    def __init__(self, cfg: HubertCsvConfig, path: str | Path, *, training: bool = False, seed: int = 1) -> None:
        super().__init__(cfg, path, training=training, seed=seed)
        if cfg.downsampling_factor and cfg.window_samples % cfg.downsampling_factor:
            raise ConfigError(
                f"dataset.window_samples={cfg.window_samples} is not a multiple of dataset.downsampling_factor="
                f"{cfg.downsampling_factor}; change one"
            )
        table = read_table(path)
        self.source = NpyFolder(resolve_input(cfg.ecg_dir) if cfg.ecg_dir else self.path.parent)
        self.targets, self.target_rows = self._targets(list(table["filename"]))
        if self.target_rows is not None:
            table = table[self.target_rows >= 0]
            self.target_rows = self.target_rows[self.target_rows >= 0]
        self.names: list[str] = list(table["filename"])
        self.patients = self._patients(table)
        self.columns = self._label_columns(list(map(str, table.columns)))
        self.label_table = self._label_table(table) if self.columns and not cfg.targets else None

    def _targets(self, names: list[str]) -> tuple[NamedRows | None, np.ndarray | None]:
        """The targets and each name's row in them; -1 for an ECG without any value."""
        if self.cfg.targets is None:
            return None, None
        stored = NamedRows(self.cfg.targets)
        if stored.settings.get("what") != "targets":
            raise ConfigError(
                f"dataset.targets={stored.folder} holds no cluster targets; make them with `ecg-cluster assign`"
            )
        rows = stored.rows(names)
        empty = stored.values[:, 0, 0] < 0
        return stored, np.where(empty[rows], -1, rows)

    def name_of(self, index: int) -> str:
        return self.names[index]

    @staticmethod
    def _patients(table: "pandas.DataFrame") -> np.ndarray | None:
        """[items] a number per patient, of the column `patient_id`; negative, and of the row alone, where unknown."""
        if "patient_id" not in table.columns:
            return None
        numbers = table["patient_id"].factorize()[0]
        return np.where(numbers >= 0, numbers, -1 - np.arange(len(numbers)))

    def _label_columns(self, columns: list[str]) -> list[str]:
        if self.cfg.label_columns is None:
            return columns[self.cfg.label_start_index :]
        for name in self.cfg.label_columns:
            if name not in columns:
                guess = nearest(name, columns)
                hint = f"; did you mean '{guess}'?" if guess else ""
                raise ConfigError(
                    f"{self.path} has no column '{name}'{hint} Set dataset.label_columns to columns it has"
                )
        return list(self.cfg.label_columns)

    def _label_table(self, table: "pandas.DataFrame") -> np.ndarray:
        """[items, columns] float64, NaN = unknown. Raises: ConfigError for other values than the task takes."""
        kind = self.cfg.task_type
        if kind != "multi_label" and len(self.columns) != 1:
            raise ConfigError(
                f"{self.path} has {len(self.columns)} label columns ({', '.join(self.columns[:4])} ...), but "
                f"dataset.task_type={kind} takes one; set dataset.label_columns=[NAME] or dataset.label_start_index"
            )
        try:
            values = table[self.columns].to_numpy(dtype=np.float64)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"{self.path}: columns {self.columns[0]} ... {self.columns[-1]} are not all numbers ({error}); "
                f"set dataset.label_start_index (now {self.cfg.label_start_index}) to the number of columns before them"
            ) from None
        known = values[~np.isnan(values)]
        if kind == "multi_label" and not np.isin(known, (0.0, 1.0)).all():
            raise ConfigError(
                f"{self.path}: labels other than 0 and 1 with dataset.task_type=multi_label; correct the type"
            )
        if kind == "multi_class" and (
            (known != np.round(known)).any() or (known < 0).any() or len(known) < len(values)
        ):
            raise ConfigError(f"{self.path}: column {self.columns[0]} must hold class numbers 0, 1, 2 ... in every row")
        return values

    @property
    def sizes(self) -> np.ndarray:
        return np.full(len(self.names), self.cfg.window_samples // (self.cfg.downsampling_factor or 1), dtype=np.int64)

    @property
    def labels(self) -> list[str] | None:
        named = self.label_table is not None and self.cfg.task_type != "multi_class"
        return list(self.columns) if named else None

    @property
    def num_labels(self) -> int | None:
        return None if self.labels is None else len(self.labels)

    def known_labels(self) -> np.ndarray | None:
        return None if self.label_table is None else (~np.isnan(self.label_table)).sum(axis=0)

    def label_digests(self) -> dict[str, str] | None:
        if self.label_table is None:
            return None
        return column_digests(self.label_table, list(range(len(self.columns))), self.columns)

    def select_labels(self, columns: Sequence[int]) -> None:
        assert self.label_table is not None  # without one there are no names to match
        self.columns = [self.columns[column] for column in columns]
        self.label_table = self.label_table[:, list(columns)]

    @property
    def vocab_sizes(self) -> list[int]:
        """Clusters of each k-means model behind the targets."""
        if self.targets is None:
            raise ConfigError(
                "pretraining needs cluster targets; set dataset.targets to a folder from `ecg-cluster assign`"
            )
        return list(self.targets.settings["vocab_sizes"])

    def input_contract(self) -> SignalContract | None:
        """The published preparation of the .npy files, then this dataset's crop and decimation."""
        factor = self.cfg.downsampling_factor
        contract = hubert_ecg(factor, flat=self.cfg.decimation == "flat")
        return dataclasses.replace(contract, window_samples=self.cfg.window_samples // (factor or 1))

    def __getitem__(self, index: int) -> dict[str, Any]:
        window, found = self.window(index)
        item: dict[str, Any] = {"id": index, **self.prepared(window, found)}
        if self.with_owners and self.patients is not None:
            item["owner"] = int(self.patients[index])
        if self.target_rows is not None and self.targets is not None:
            row = self.targets.values[self.target_rows[index]]
            item["cluster_labels"] = torch.from_numpy(row.astype(np.int64))
        if self.label_table is not None:
            item["label"] = self._label(self.label_table[index])
        return item

    def window(self, index: int) -> tuple[np.ndarray, int]:
        """The item's crop at 500 Hz, and how many of its columns exist."""
        signal = self.source.read(self.names[index]).signal
        start = 0
        if self.cfg.random_crop if self.training else self.cfg.random_crop_valid:
            start = int(self.rng(index).integers(max(0, signal.shape[1] - self.cfg.window_samples) + 1))
        return crop(signal, start, self.cfg.window_samples)

    def prepared(self, window: np.ndarray, found: int) -> dict[str, Tensor]:
        """Decimate a crop: `source` float32 [12, samples] and, unless off, `padding` bool [samples], True = padding."""
        factor, rule = self.cfg.downsampling_factor, self.cfg.attention_mask
        source = decimate_crop(window, factor, flat=self.cfg.decimation == "flat")
        item = {"source": torch.from_numpy(source)}
        if rule != "none":
            valid = valid_columns(source) if rule == "decimated" else valid_columns(window)[:: factor or 1]
            valid = valid & (np.arange(len(valid)) * (factor or 1) < found)
            item["padding"] = torch.from_numpy(~valid)
        return item

    def _label(self, row: np.ndarray) -> Tensor:
        if self.cfg.task_type == "multi_class":
            return torch.tensor(int(row[0]))
        return torch.from_numpy(row.astype(np.float32))

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """`padding_mask` [batch, 12, samples] is there when some item has padding."""
        if not items:
            return {}
        net_input = {"source": torch.stack([item["source"] for item in items])}
        if "padding" in items[0]:
            padding = torch.stack([item["padding"] for item in items])
            if padding.any():
                net_input["padding_mask"] = padding[:, None].expand(-1, net_input["source"].shape[1], -1)
        return {"net_input": net_input, **stacked_columns(items, without=("source", "padding"))}
