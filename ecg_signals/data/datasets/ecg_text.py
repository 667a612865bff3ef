"""ECGs with their reports: what pretraining on both reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ecg_signals.config import ConfigError, option, resolve_input
from ecg_signals.data.collation import SIGNALS, stacked_columns
from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.data.segment import Segment
from ecg_signals.data.text.masking import mask_whole_words
from ecg_signals.data.text.options import TextConfig, longest_text, tokenizer_of
from ecg_signals.data.text.report_table import read_reports
from ecg_signals.data.text.swapping import RULES, swap_texts
from ecg_signals.readers.mat_file import read_mat_arrays
from ecg_signals.registry import register_dataset

TEXT = 1 << 19  # a random stream of a batch: whose text it gets, and which words are hidden
SHORT = 10  # tokens of a text, [CLS] and [SEP] included, of which a share is too few to be asked for
FOREIGN = 0.5  # share of the items that get another's text, as published


@dataclass
class EcgTextConfig(TextConfig, EcgFileConfig):
    text_file: str | None = option(
        None, "meta.csv of ecg-preprocess, with a report for every idx; None: the files' own `text`", ours=True
    )
    report_column: str = option("report", "its column of reports", ours=True)
    diagnoses_column: str | None = option(
        None, "its column of codes, by which texts say the same; None: by the reports themselves", ours=True
    )
    text_swaps: str = option(
        "exchange", "half of the items get another's text: both of a pair, one as published, or none", choices=RULES,
        ours=True,
    )  # fmt: skip


@register_dataset("ecg_text", dataclass=EcgTextConfig)
class EcgTextDataset(EcgFileDataset):
    """One item per manifest row: {"id", "source" [leads, samples], "text": token numbers, "diagnoses"}.

    Batches hold `text` and `text_padding_mask` in `net_input`, `is_aligned` [items], 0 for another's text, and with
    `compute_mlm_indices` `mlm_labels` [items, tokens], -100 for tokens that are not asked for. With `medvill` items
    whose text has 10 tokens or fewer are left out of batches, as published, but for the longest where all are so short.
    """

    longest_first = False
    cfg: EcgTextConfig

    def __init__(self, cfg: EcgTextConfig, path: str | Path, *, training: bool = False, seed: int = 1) -> None:
        super().__init__(cfg, path, training=training, seed=seed)
        self.tokenizer = tokenizer_of(cfg)
        self.reports = None
        if cfg.text_file:
            self.reports = read_reports(resolve_input(cfg.text_file), cfg.report_column, cfg.diagnoses_column)

    def facts(self, segments: Sequence[Segment], index: int) -> dict[str, Any]:
        text, said = self.report(segments[0])
        tokens = self.tokenizer.encode(text, longest_text(self.cfg.max_text_size))
        return {**super().facts(segments, index), "text": tokens, "diagnoses": said or text}

    def report(self, segment: Segment) -> tuple[str, str]:
        """The report of a segment, and what it says in codes."""
        if self.reports is not None:
            if segment.idx is None or segment.idx not in self.reports:
                raise ConfigError(f"{self.cfg.text_file} has no row with idx {segment.idx}, which {segment.path} names")
            return self.reports[segment.idx]
        found = read_mat_arrays(segment.path, ("text", "diagnoses")) if segment.path.endswith(".mat") else {}
        if "text" not in found:
            raise ConfigError(
                f"{segment.path} holds no text; set dataset.text_file to the meta.csv that ecg-preprocess wrote, or "
                f"make files with `text`"
            )
        codes = sorted(str(code).strip() for code in found.get("diagnoses", np.empty(0)).reshape(-1))
        return " ".join(map(str, found["text"].reshape(-1))), " ".join(codes)

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if self.cfg.medvill and items:
            long = [item for item in items if len(item["text"]) > SHORT]
            items = long or [max(items, key=lambda item: len(item["text"]))]
        batch = super().collate(items)
        if not items:
            return batch
        rng = self.rng(int(items[0]["id"]), TEXT)
        own = [item["text"] for item in items]
        texts, aligned = swap_texts(own, [item["diagnoses"] for item in items], FOREIGN, rng, self.cfg.text_swaps)
        if self.cfg.text_swaps == "published" and self.cfg.compute_mlm_indices:
            texts = own  # the masked words were those of the text before the exchange
        ids, padding = self.tokenizer.batch(texts)
        if self.cfg.compute_mlm_indices:
            rows = [mask_whole_words(self.tokenizer, row, self.cfg.mlm_prob, rng) for row in ids.tolist()]
            ids, batch["mlm_labels"] = (torch.tensor(part) for part in zip(*rows))
        batch["net_input"] |= {"text": ids, "text_padding_mask": padding}
        batch["is_aligned"] = torch.from_numpy(aligned)
        return batch

    def columns(self, views: Sequence[dict[str, Any]]) -> dict[str, Any]:
        return stacked_columns(views, without=(*SIGNALS, "text", "diagnoses"))
