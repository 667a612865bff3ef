"""ECG-QA: questions about one ECG or two, whose records are read where they lie."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals.config import ConfigError, another_default, option, resolve_input
from ecg_signals.data.collation import cut, padding_mask, stacked_columns
from ecg_signals.data.datasets.base import BaseDataset, LongestConfig, PreparedConfig, SignalsConfig
from ecg_signals.data.label_file import read_label_names
from ecg_signals.data.lead_selection import LeadSelection
from ecg_signals.data.preparation import Preparation
from ecg_signals.data.segment import Segment
from ecg_signals.data.text.options import TextConfig, longest_text, tokenizer_of
from ecg_signals.data.text.question_manifest import read_question_manifest
from ecg_signals.readers.mat_file import read_mat_arrays
from ecg_signals.registry import register_dataset
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS, order_leads
from ecg_signals.signal.resample import resample_linear
from ecg_signals.signal.segments import segment_contract
from ecg_signals.signal.standardise import standardise_leads

KEYS = ("ecg_path", "question", "answer", "valid_classes", "question_type1", "question_type2", "question_type3",
        "attribute_id")  # fmt: skip
NUMBERS = KEYS[4:]


@dataclass
class EcgQaConfig(TextConfig, PreparedConfig, LongestConfig, SignalsConfig):
    enable_padding: bool = another_default(PreparedConfig, "enable_padding", True)
    standardise: bool = option(
        True, "every lead of a record minus its mean, by its deviation, as pretrained encoders want it; false, as "
        "published: mV", ours=True,
    )  # fmt: skip


@register_dataset("ecg_qa", dataclass=EcgQaConfig)
class EcgQaDataset(BaseDataset):
    """One item per row of `ecg-preprocess ecgqa`: {"id", "source", "ecg_2" or None, "text", "label", ...}.

    Batches hold `source`, `padding_mask`, `text`, `text_padding_mask` and, where a question is about two ECGs, `ecg_2`
    and `ecg_2_padding_mask` in `net_input`; `label` [items, answers] of 0 and 1, `valid_classes` bool [items, answers],
    the answers that each question may have, `question_type1` to 3 and `attribute_id` [items], -1 for none.
    """

    longest_first = False
    cfg: EcgQaConfig

    def __init__(self, cfg: EcgQaConfig, path: str | Path, *, training: bool = False, seed: int = 1) -> None:
        super().__init__(cfg, path, training=training, seed=seed)
        self.manifest = read_question_manifest(resolve_input(path), cfg.min_sample_size)
        self.tokenizer = tokenizer_of(cfg)
        self.selection = LeadSelection(cfg.leads_to_load, None)
        self.columns: list[int] | None = None
        self._answers = 0
        first = self._read(0)
        self._answers = first["answer"].size
        self.names = self._names()
        self.sample_rate = float(cfg.sample_rate or self._record(str(first["ecg_path"].reshape(-1)[0]))[1])
        self.preparation = Preparation(self.sample_rate, cfg)

    def _names(self) -> list[str] | None:
        names = read_label_names(self.label_source) if self.label_source.is_file() else None
        if names is not None and len(names) != self._answers:
            raise ConfigError(
                f"{self.label_source} names {len(names)} answers, but the files of {self.path} have {self._answers}; "
                f"make both with `ecg-preprocess ecgqa`"
            )
        return names

    @property
    def sizes(self) -> np.ndarray:
        return self.manifest.samples + self.manifest.tokens

    @property
    def labels(self) -> list[str] | None:
        if self.names is None or self.columns is None:
            return self.names
        return [self.names[column] for column in self.columns]

    @property
    def num_labels(self) -> int:
        return self._answers if self.columns is None else len(self.columns)

    @property
    def label_source(self) -> Path:
        return self.path.parent / "label_def.csv"

    def select_labels(self, columns: Sequence[int]) -> None:
        self.columns = list(columns)

    def name_of(self, index: int) -> str:
        return self.manifest.files[index]

    def input_contract(self) -> SignalContract:
        lengths, counts = np.unique(self.manifest.samples, return_counts=True)
        longest = self.cfg.max_sample_size or int(lengths[counts.argmax()])
        chosen = self.selection.fixed
        statistics = zip(("mean", "std"), self.preparation.statistics or ())
        contract = segment_contract(
            self.sample_rate, [LEADS[lead] for lead in chosen], longest, filtered=self.cfg.filter, clip=self.cfg.clip,
            **{name: values[chosen].tolist() for name, values in statistics},
        )  # fmt: skip
        if not self.cfg.standardise:
            contract.steps = [step for step in contract.steps if step["name"] != "standardise"]
        return contract

    def _read(self, index: int) -> dict[str, np.ndarray]:
        path = self.manifest.root / self.manifest.files[index]
        found = read_mat_arrays(path, KEYS)
        missing = [key for key in KEYS if key not in found]
        if missing:
            raise ConfigError(f"{path} holds no {', '.join(missing)}; make it with `ecg-preprocess ecgqa`")
        valid, count = found["valid_classes"], self._answers or found["answer"].size
        if found["answer"].size != count or (valid.size and not 0 <= valid.min() <= valid.max() < count):
            raise ConfigError(
                f"{path} holds {found['answer'].size} answers, or valid_classes of others; expected {count}, "
                f"as in the first file of {self.path}. Make all of them with `ecg-preprocess ecgqa`"
            )
        return found

    def _record(self, path: str) -> tuple[np.ndarray, float]:
        from ecg_signals.readers.read import read_record

        record = read_record(resolve_input(path.strip()))
        return order_leads(record.signal, record.leads), record.sample_rate

    def signal(self, path: str) -> Tensor:
        """A record as the model takes it, float32 [leads, samples]."""
        signal, rate = self._record(path)
        signal = resample_linear(signal, rate, self.sample_rate)
        if not np.isfinite(signal[self.selection.fixed]).all():
            raise ConfigError(f"{path} holds NaN or infinite values; `ecg-preprocess ecgqa` leaves such records out")
        if self.cfg.standardise:
            signal = standardise_leads(signal)
        whole = Segment(path, signal[:, : self.cfg.max_sample_size], self.sample_rate)
        return torch.from_numpy(np.ascontiguousarray(self.preparation(whole, self.selection.fixed), dtype=np.float32))

    def __getitem__(self, index: int) -> dict[str, Any]:
        found = self._read(index)
        first, *second = (self.signal(str(path)) for path in found["ecg_path"].reshape(-1))
        answer = torch.from_numpy(found["answer"].reshape(-1).astype(np.float32))
        valid = torch.zeros(self._answers, dtype=torch.bool)
        valid[torch.from_numpy(found["valid_classes"].reshape(-1).astype(np.int64))] = True
        if self.columns is not None:
            answer, valid = answer[self.columns], valid[self.columns]
        question = " ".join(map(str, found["question"].reshape(-1)))
        return {
            "id": index,
            "source": first,
            "ecg_2": second[0] if second else None,
            "text": self.tokenizer.encode(question, longest_text(self.cfg.max_text_size)),
            "label": answer,
            "valid_classes": valid,
            **{key: int(found[key].reshape(-1)[0]) for key in NUMBERS},
        }

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """ECGs padded to the longest of the batch; an item without a second one has padding throughout it."""
        if not items:
            return {}
        text, text_padding = self.tokenizer.batch([item["text"] for item in items])
        source, padding = self._together([item["source"] for item in items])
        net_input = {"source": source, "padding_mask": padding, "text": text, "text_padding_mask": text_padding}
        if any(item["ecg_2"] is not None for item in items):
            none = torch.zeros(len(source[0]), 0)
            second, padding = self._together([none if item["ecg_2"] is None else item["ecg_2"] for item in items])
            net_input |= {"ecg_2": second, "ecg_2_padding_mask": padding}
        return {"net_input": net_input, **stacked_columns(items, without=("source", "ecg_2", "text"))}

    def _together(self, signals: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """One ECG of every item, and its padding; an item without one has no samples."""
        lengths = [signal.shape[-1] for signal in signals]
        target = max(lengths) if self.cfg.enable_padding else min(filter(None, lengths))
        return cut(signals, [0] * len(signals), target), padding_mask(lengths, len(signals[0]), target)
