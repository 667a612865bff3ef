"""ECGs filtered and cut to windows as they are loaded, each with its report: what contrastive pretraining reads."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ecg_signals.config import ConfigError, option
from ecg_signals.data.datasets.ecg_text import EcgTextConfig, EcgTextDataset
from ecg_signals.data.datasets.ecg_windows import EcgWindowsConfig, EcgWindowsDataset
from ecg_signals.data.segment import Segment
from ecg_signals.data.text.swapping import RULES
from ecg_signals.registry import register_dataset

BARE = 2  # tokens of an empty text: its first and its last


@dataclass
class EcgReportsConfig(EcgTextConfig, EcgWindowsConfig):
    text_swaps: str = option(
        "none", "half of the items get another's text: both of a pair, one as published, or none", choices=RULES,
        ours=True,
    )  # fmt: skip
    report_form: str = option(
        "sentences", "statements in lower case with full stops between, as MERL's program writes them; or as they are",
        choices=("sentences", "as_is"), ours=True,
    )  # fmt: skip
    least_words: int = option(4, "words of a report; an ECG with fewer is left out of its batch", least=1, ours=True)


@register_dataset("ecg_reports", dataclass=EcgReportsConfig)
class EcgReportsDataset(EcgTextDataset, EcgWindowsDataset):
    """Items of `ecg_windows` with the texts of `ecg_text`; ECGs without a report are left out of batches.

    Raises: ConfigError for a training batch without any report.
    """

    cfg: EcgReportsConfig

    def report(self, segment: Segment) -> tuple[str, str]:
        text, said = super().report(segment)
        text = sentences(text) if self.cfg.report_form == "sentences" else text
        return (text if len(text.split()) >= self.cfg.least_words else ""), said

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        told = [item for item in items if len(item["text"]) > BARE]
        if items and not told and self.training:
            raise ConfigError(
                f"none of the {len(items)} ECGs of a batch has a report of {self.cfg.least_words} words or more: name "
                f"their column, dataset.report_column=NAME, or set dataset.least_words to less"
            )
        return super().collate(told)


def sentences(report: str) -> str:
    """Statements that ecg-preprocess has joined by '; ' as sentences in lower case, as MERL's program writes them."""
    joined = ". ".join(part.strip() for part in report.split("; ") if part.strip())
    text = joined.replace("EKG", "ECG").replace("ekg", "ecg").strip("*=- ").lower()
    text = " ".join(text.split())
    return f"{text.rstrip('.')}." if text else ""
