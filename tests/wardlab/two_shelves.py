"""Segments at half their height; training draws those of the manifest's second half more often than of the first."""

from dataclasses import dataclass
from typing import Any

from ecg_signals.config import option
from ecg_signals.data.batching import BatchIterator, WeightedIterator
from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.registry import register_dataset
from ecg_signals.signal.contract import SignalContract


@dataclass
class TwoShelvesConfig(EcgFileConfig):
    second_share: float = option(0.75, "chance of an item of the second half")


@register_dataset("two_shelves", dataclass=TwoShelvesConfig)
class TwoShelves(EcgFileDataset):
    cfg: TwoShelvesConfig

    def batches(self, **options: Any) -> BatchIterator:
        if not options["shuffle"]:
            return super().batches(**options)
        first, share = len(self) // 2, self.cfg.second_share
        sizes = [first, len(self) - first]
        return WeightedIterator(self, group_sizes=sizes, weights=[1 - share, share], **options)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = super().__getitem__(index)
        return {**item, "source": item["source"] / 2}

    def input_contract(self) -> SignalContract | None:
        contract = super().input_contract()
        if contract is not None:
            contract.steps = [*contract.steps, {"name": "halve"}]
        return contract
