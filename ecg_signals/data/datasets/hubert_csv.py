"""A CSV of file names and labels beside a folder of .npy: HuBERT-ECG's data, preprocessed at 500 Hz."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ecg_signals.config import ConfigError, another_default, option, resolve_input
from ecg_signals.data.collation import stacked_columns
from ecg_signals.data.datasets.base import BaseDataset, WindowsConfig
from ecg_signals.data.label_file import Test, column_digests, values_that_are
from ecg_signals.data.label_table import label_columns, label_values, patient_numbers, read_table
from ecg_signals.data.named_rows import NamedRows
from ecg_signals.data.sources.npy_folder import NpyFolder
from ecg_signals.interop.hubert_ecg.contract import hubert_ecg
from ecg_signals.metrics.logits import CLASSES
from ecg_signals.registry import register_dataset
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.hubert_ecg import decimate_crop
from ecg_signals.signal.missing import nan_to_mean
from ecg_signals.signal.steps.hubert_ecg import decimation_of


@dataclass
class HubertCsvConfig(WindowsConfig):
    ecg_dir: str | None = option(
        None, "folder of the .npy files, or a store that ecg-pack made of them; None: the CSV's own folder", ours=True
    )
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
    window_samples: int = another_default(WindowsConfig, "window_samples", 2500)  # shorter ECGs are padded with zeros
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
    tested_by: ClassVar[dict[str, tuple[str, ...]]] = {CLASSES: ("accuracy", "auroc", "recall", "specificity", "auprc")}
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
        self.patients = patient_numbers(table)
        self.columns = label_columns(table, path, cfg.label_columns, cfg.label_start_index)
        labelled = self.columns and not cfg.targets
        self.label_table = label_values(table, path, self.columns, cfg.task_type) if labelled else None

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

    @property
    def sizes(self) -> np.ndarray:
        samples = self.cfg.window_samples // (self.cfg.downsampling_factor or 1)
        return np.broadcast_to(np.int64(samples), len(self.names))

    @property
    def labels(self) -> list[str] | None:
        named = self.label_table is not None and self.cfg.task_type != "multi_class"
        return list(self.columns) if named else None

    @property
    def num_labels(self) -> int | None:
        return None if self.labels is None else len(self.labels)

    def known_labels(self) -> np.ndarray | None:
        return None if self.label_table is None else (~np.isnan(self.label_table)).sum(axis=0)

    def labels_that_are(self, wrong: Test) -> np.ndarray | None:
        return None if self.label_table is None else values_that_are(wrong, self.label_table)

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

    @classmethod
    def of_contract(
        cls, contract: SignalContract, path: str | Path, long: bool, seed: int, options: Mapping[str, Any]
    ) -> "HubertCsvDataset":
        """A table whose ECGs a model of this input contract can take; `long`: twice a window of each, for crops."""
        factor, decimation = decimation_of(contract.steps)
        samples = contract.window_samples * (factor or 1)
        values = {
            **options,
            "decimation": decimation,
            "downsampling_factor": factor,
            "window_samples": 2 * samples if long else samples,
            "random_crop_valid": long,
            "attention_mask": "none",
        }
        return cls(HubertCsvConfig.from_mapping(values), path, seed=seed)

    def windows(self, index: int) -> dict[str, Tensor]:
        """The one window of an item that is tested, `source` [1, 12, samples], and how many of its samples are `found`.

        Padding is no part of it: the published tests do not mask any.
        """
        window, found = self.window(index)
        existing = torch.tensor([found // (self.cfg.downsampling_factor or 1)])
        return {"source": self.prepared(window, found)["source"][None], "found": existing}

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
