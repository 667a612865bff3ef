"""The made-up dataset of a ward that records .toy files."""
from dataclasses import dataclass

from ecg_signals.config import option
from ecg_signals.preprocess.options import SplitConfig
from ecg_signals.preprocess.source import Source, walk
from ecg_signals.registry import register_source


@dataclass
class ToyWardConfig(SplitConfig):
    beds: int = option(2, "patients that share the records")


@register_source("toy_ward", dataclass=ToyWardConfig)
class ToyWard(Source):
    title = "a made-up ward"
    layout = ".toy files"
    prefix = "toy_ward"

    def records(self):
        import pandas as pd

        paths = list(walk(self.folder, ".toy", self.skip))
        table = pd.DataFrame({"path": paths})
        return table.assign(patient_id=[f"bed {number % self.cfg.beds}" for number in range(len(paths))])

    def labels(self, meta):
        loud = [int(path[:2]) % 2 for path in meta["path"]]
        return meta[["idx"]].assign(loud=loud, quiet=[1 - value for value in loud])
