"""Small .mat files that point to the record to load, and say which leads of it and which labels."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals.config import ConfigError, option, resolve_input
from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.data.signal_file import SignalFile
from ecg_signals.readers.mat_file import read_mat
from ecg_signals.registry import register_dataset
from ecg_signals.signal.leads import LEADS, lead_index, order_leads

_NAMES = ("ecg_path", "lead", "target_idx", "label", "attribute_id", "idx")


@dataclass
class EcgPathConfig(EcgFileConfig):
    load_specific_lead: bool = option(
        False,
        "take the leads that each file names instead of leads_to_load",
        section="task",
    )


@dataclass(slots=True)
class PointedFile(SignalFile):
    """A record with what the file that points to it says: leads by number, labels asked for, kind of question."""

    lead: list[int] | None = None
    target_idx: np.ndarray | None = None
    attribute_id: np.ndarray | None = None


@register_dataset("ecg_path", dataclass=EcgPathConfig)
class EcgPathDataset(EcgFileDataset):
    """One item per manifest row: {"id", "source" [leads, samples], mV, "label"} and what else its file says.

    When files name the labels they hold (`target_idx`), `label` and `target_idx` of a batch are lists of tensors, one
    for each item; `attribute_id` always is.
    """

    cfg: EcgPathConfig

    def open(self, address: str) -> SignalFile:
        from ecg_signals.readers.read import read_record

        path = os.path.join(self.reader.root, address)
        found = read_mat(path, _NAMES)
        if "ecg_path" not in found:
            raise ConfigError(
                f"{path} holds no ecg_path; expected a file that points to a record. For files that hold the signal "
                f"itself set task.path_dataset=false"
            )
        record = read_record(resolve_input(str(found["ecg_path"].reshape(-1)[0]).strip()))
        label, target, attribute = (
            found[name].reshape(-1) if name in found else None for name in ("label", "target_idx", "attribute_id")
        )
        idx = int(found["idx"].reshape(-1)[0]) if "idx" in found else None
        signal = order_leads(record.signal, record.leads)
        lead = _numbers(found["lead"]) if "lead" in found else None
        return PointedFile(path, signal, record.sample_rate, idx, None, label, False, lead, target, attribute)

    def __getitem__(self, index: int) -> dict[str, Any]:
        stored = self.read(self.manifest.addresses(index)[0])
        assert isinstance(stored, PointedFile)
        item: dict[str, Any] = {"id": index, **self.signals(stored, index)}
        label = self.label(stored)
        if label is not None:
            item["label"] = label
        for key, value in (("target_idx", stored.target_idx), ("attribute_id", stored.attribute_id)):
            if value is not None:
                item[key] = torch.from_numpy(value.astype(np.int64))
        return item

    def label(self, stored: SignalFile) -> Tensor | None:
        assert isinstance(stored, PointedFile)
        if stored.target_idx is None:
            return super().label(stored)
        if stored.label is None or len(stored.label) != len(stored.target_idx):
            found = "no label" if stored.label is None else f"{len(stored.label)} labels"
            raise ConfigError(
                f"{stored.path} holds {found} for {len(stored.target_idx)} entries of target_idx; expected one each"
            )
        return torch.from_numpy(stored.label.astype(np.float32))

    @property
    def num_labels(self) -> int | None:
        named = isinstance(self.first, PointedFile) and self.first.target_idx is not None
        return None if named else super().num_labels

    def select_labels(self, columns: Sequence[int]) -> None:
        if self.num_labels is None:
            raise ConfigError(
                f"the files of {self.path} number their labels (target_idx) in another order than the model's; make "
                f"them, and label_def.csv, in the model's order"
            )
        super().select_labels(columns)

    def leads_of(self, stored: SignalFile, index: int, stream: int = 0) -> Sequence[int] | None:
        if self.cfg.load_specific_lead and isinstance(stored, PointedFile) and stored.lead is not None:
            return stored.lead
        return super().leads_of(stored, index, stream)

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if not items:
            return {}
        if len({len(item["source"]) for item in items}) > 1:
            raise ConfigError(
                "items of one batch have different numbers of leads (task.load_specific_lead=true); set "
                "task.enable_padding_leads=true"
            )
        batch = {"id": torch.tensor([item["id"] for item in items]), **self.collate_sources(items)}
        for key in ("label", "target_idx", "attribute_id"):
            if key in items[0]:
                batch[key] = [item[key] for item in items]
        if "label" in batch and "target_idx" not in batch:
            batch["label"] = torch.stack(batch["label"])
        return batch


def _numbers(lead: np.ndarray) -> list[int]:
    """Leads by number or name, as one text or an array, -> standard numbers; none means all."""
    values = [
        value.item() if isinstance(value, np.ndarray) and value.size == 1 else value
        for value in lead.reshape(-1).tolist()
    ]
    if len(values) == 1 and isinstance(values[0], str):
        values = values[0].replace(",", " ").split()
    return [lead_index(value if isinstance(value, str) else int(value)) for value in values] or list(range(len(LEADS)))
