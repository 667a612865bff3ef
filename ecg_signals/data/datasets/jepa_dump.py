"""Whole datasets, one or a weighted mixture of them, each a dump of one array or a manifest: ECG-JEPA's pretraining."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals.config import (
    MISSING,
    BaseConfig,
    ConfigError,
    UsageError,
    another_default,
    option,
    resolve_input,
    unknown_message,
)
from ecg_signals.data.batching import BatchIterator, WeightedIterator
from ecg_signals.data.conditioning import Conditioning
from ecg_signals.data.datasets.base import BaseDataset, SignalsConfig, WindowsConfig
from ecg_signals.data.members import (
    Member,
    checked,
    column_order,
    given,
    is_zscored,
    long_enough,
    measured,
    member_path,
    say_where_far,
)
from ecg_signals.data.remote import is_url
from ecg_signals.data.sources.dumps import ManifestRecords, Records, notes_path, open_records
from ecg_signals.data.sources.remote import fetched_manifest
from ecg_signals.interop.ecg_jepa.contract import ecg_jepa
from ecg_signals.interop.ecg_jepa.datasets import DATASETS, published_name
from ecg_signals.registry import register_dataset
from ecg_signals.sections import DatasetConfig
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS, lead_index, lead_indices

logger = logging.getLogger(__name__)

CROP, ANOTHER = 1 << 16, 1 << 17  # random streams of an item
MOST_TRIES = 100  # records drawn in place of one with an empty lead


@dataclass
class JepaDumpConfig(SignalsConfig, WindowsConfig):
    mixture: dict[str, float] | None = option(
        None, "chance of every dataset, made to sum to 1; None: all records are equally likely", ours=True
    )
    dumps: dict[str, str] | None = option(
        None,
        "dataset -> its .npy, .npz or .tsv, or a folder of SPLIT.npy, .npz or .tsv; None: task.data is that of the "
        "only one, or the folder with those of all in mixture, by name",
        ours=True,
    )
    sample_rate: int | None = another_default(SignalsConfig, "sample_rate", 500)
    clip: float | None = another_default(SignalsConfig, "clip", 5.0)  # standard deviations
    rates: dict[str, float] | None = option(None, "Hz of datasets whose files do not say it", ours=True)
    dump_leads: dict[str, list[str]] | None = option(
        None, "names of the columns of datasets whose files do not say them", ours=True
    )
    statistics: dict[str, str] | None = option(
        None,
        "dataset -> published, computed, or a JSON file of mean and std; left out: the dump's own, else published, "
        "else computed",
        ours=True,
    )
    remove_baseline_wander: list[str] = option(
        [], "datasets whose records are high-passed when they are read (0.5 Hz)", ours=True
    )
    empty_leads: str = option(
        "zero",
        "what becomes of a lead without any value: zeros, or another record is drawn in its place",
        choices=("zero", "redraw"),
        ours=True,
    )
    arithmetic: str = option(
        "float32",
        "of the steps before a batch, which is float32; float16 as published",
        choices=("float32", "float16"),
        ours=True,
    )
    batches_per_epoch: int | None = option(
        None, "batches that count as an epoch of drawing without end; None: as many as hold every record once",
        least=1, ours=True,
    )  # fmt: skip


@register_dataset("jepa_dump", dataclass=JepaDumpConfig)
class JepaDumpDataset(BaseDataset):
    """Excerpts of records: {"id", "source" [stored leads, window_samples] in mV, "start", "empty" [leads]}.

    Batches are float32 [batch, leads, window_samples], standardised and clipped; `empty` names leads without any value,
    which are zeros. Training draws with replacement, a dataset by its weight, then a
    record; it has no end. Other splits hold every record once. `start` is where in the record, at the rate wanted.

    Args:
        path: the only dataset, a dump or a manifest; of several the name of the split, in the folder of all of them.
    Raises: ConfigError where a rate, the leads or statistics are not known, or cannot be.
    """

    cfg: JepaDumpConfig

    def __init__(self, cfg: JepaDumpConfig, path: str | Path, *, training: bool = False, seed: int = 1) -> None:
        super().__init__(cfg, path, training=training, seed=seed)
        self.rate: float | None = cfg.sample_rate if (cfg.sample_rate or 0) > 0 else None  # that all are brought to
        self.leads = [LEADS[row] for row in lead_indices(cfg.leads_to_load)]
        self.members = [self._member(name, place) for name, place in _places(cfg, self.path).items()]
        _check_names(cfg, [member.name for member in self.members], training)
        self.counts = [len(member.keep) for member in self.members]
        self._behind = np.cumsum(self.counts)
        self._told = False

    @classmethod
    def find(cls, cfg: DatasetConfig, task: BaseConfig, split: str) -> Path:
        """task.data itself, if it is a file, or the split in it; of several only the name of the split."""
        assert isinstance(cfg, JepaDumpConfig)
        if cfg.dumps:
            return Path(split)
        if task.to_dict()["data"] == MISSING:
            raise ConfigError(
                "no data: set task.data to a dump (.npy, .npz) or to a folder with train.npy, train.npz or train.tsv; "
                "for several datasets dataset.dumps={NAME: FILE, ...}"
            )
        if is_url(task.data):
            return fetched_manifest(f"{task.data.rstrip('/')}/{split}.tsv")
        place = resolve_input(task.data)
        if len(cfg.mixture or {}) > 1:
            return place / split
        found = member_path(place, split, split == cfg.train_subset)
        if found is None:
            raise ConfigError(
                f"task.data={place} has no {split} split: expected {split}.npy, {split}.npz or {split}.tsv in that "
                f"folder, or for training a dump itself. Without a split to validate on, set "
                f"dataset.disable_validation=true"
            )
        return found

    def _member(self, name: str, place: Path) -> Member:
        cfg, records = self.cfg, open_records(place)
        name = name or _name_of(cfg, records)
        notes, published = records.notes, DATASETS.get(name)
        steady = name in cfg.remove_baseline_wander and not notes.baseline_removed
        half = cfg.arithmetic == "float16"
        rate = _rate(cfg, name, records)
        self.rate = self.rate or rate
        conditioning = Conditioning(rate, self.rate, steady, half, notes.scale)
        leads = (cfg.dump_leads or {}).get(name) or notes.leads
        if leads is None:
            leads = list(published.leads) if published and not isinstance(records, ManifestRecords) else list(LEADS)
        rows = column_order(leads, self.leads, records)
        keep = long_enough(records, conditioning, cfg.window_samples, name)
        zscored = is_zscored(records)
        mean, std, source = np.zeros(len(leads)), np.ones(len(leads)), "as they are: they are z-scores already"
        if not zscored:
            mean, std, source = statistics_of(name, records, conditioning, leads, (cfg.statistics or {}).get(name))
        checked(mean[rows], std[rows], self.leads, f"{name} ({records.path})")
        logger.info("%s: %d records of %s at %g Hz, %s", name, len(keep), records.path, conditioning.rate, source)
        centre, spread = (values[rows, None].astype(np.float32) for values in (mean, std))
        return Member(name, records, conditioning, rows, centre, spread, zscored, keep)

    @property
    def sizes(self) -> np.ndarray:
        return np.broadcast_to(np.int64(self.cfg.window_samples), self._behind[-1])

    def batches(self, **options: Any) -> BatchIterator:
        if not options.get("shuffle", True):
            return super().batches(**options)
        chances = [(self.cfg.mixture or {}).get(one.name, count) for one, count in zip(self.members, self.counts)]
        every = self.cfg.batches_per_epoch
        return WeightedIterator(self, group_sizes=self.counts, weights=chances, batches_per_epoch=every, **options)

    def locate(self, index: int) -> tuple[Member, int]:
        """An item's dataset, and the number of its record there."""
        number = int(np.searchsorted(self._behind, index, side="right"))
        member = self.members[number]
        return member, int(member.keep[index - int(self._behind[number]) + self.counts[number]])

    def name_of(self, index: int) -> str:
        member, record = self.locate(index)
        return f"{member.name}:{record}"

    def fetch(self, indices: Sequence[int]) -> None:
        places = [self.locate(index) for index in indices]
        for member in self.members:
            member.records.fetch(record for owner, record in places if owner is member)

    def __getitem__(self, index: int) -> dict[str, Any]:
        item = self._item(index, CROP, index)
        for attempt in range(1, MOST_TRIES) if self.cfg.empty_leads == "redraw" else ():
            if not item["empty"].any():
                break
            item = self._item(self._another(index, attempt), CROP + attempt, index)
        if item["empty"].any():
            self._say_empty(item["id"], item["empty"])
        return item

    def _item(self, index: int, stream: int, drawn: int) -> dict[str, Any]:
        """An item, its start drawn by the random stream of the item `drawn`."""
        member, record = self.locate(index)
        surplus = member.conditioning.length(int(member.records.samples[record])) - self.cfg.window_samples
        start = int(self.rng(drawn, stream).integers(surplus + 1)) if surplus else 0
        source, empty = member.excerpt(record, start, self.cfg.window_samples)
        return {"id": index, "source": source, "start": start, "empty": empty}

    def _another(self, index: int, attempt: int) -> int:
        """An item of the same dataset, drawn."""
        number = int(np.searchsorted(self._behind, index, side="right"))
        place = int(self.rng(index, ANOTHER + attempt).integers(self.counts[number]))
        return int(self._behind[number]) - self.counts[number] + place

    def _say_empty(self, index: int, empty: np.ndarray) -> None:
        """Once in every process; an error where no other record could be drawn."""
        leads = ", ".join(lead for lead, is_empty in zip(self.leads, empty) if is_empty)
        if self.cfg.empty_leads == "redraw":
            raise ConfigError(
                f"{MOST_TRIES} records drawn one after the other have empty leads (the last, {self.name_of(index)}, in "
                f"{leads}); set dataset.empty_leads=zero, or leave leads out with task.leads_to_load"
            )
        if not self._told:
            logger.warning(
                "%s has no value in %s: zeros stand there, as in further records of this kind (dataset.empty_leads)",
                self.name_of(index), leads,
            )  # fmt: skip
        self._told = True

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        if not items:
            return {}
        # numpy asks the kernel for huge pages, which makes the first touch of a new batch several times faster.
        shape = (len(items), len(self.leads), self.cfg.window_samples)
        source = torch.from_numpy(np.empty(shape, dtype=np.float32))
        for row, item in zip(source, items):
            self._standardise(row, item["source"], self.locate(item["id"])[0])
        empty = torch.from_numpy(np.stack([item["empty"] for item in items]))
        source[empty] = 0
        numbers = {key: torch.tensor([item[key] for item in items]) for key in ("id", "start")}
        return {"net_input": {"source": source}, "empty": empty, **numbers}

    def _standardise(self, row: Tensor, source: np.ndarray, member: Member) -> None:
        """Fill a row of a batch, while it is in the processor's cache."""
        limit, source = self.cfg.clip, source[member.rows]
        if self.cfg.arithmetic == "float16":
            values = source.astype(np.float16, copy=False)
            values -= member.mean.astype(np.float16)
            values /= member.std.astype(np.float16)
            row.copy_(torch.from_numpy(values if limit is None else np.clip(values, -limit, limit)))
            return
        row.copy_(as_tensor(source))
        if not member.zscored:
            row.sub_(torch.from_numpy(member.mean)).div_(torch.from_numpy(member.std))
        if limit is not None:
            row.clamp_(-limit, limit)

    def input_contract(self) -> SignalContract | None:
        """With the statistics of PTB-XL where that is in the mixture, as for published files; else of the likeliest."""
        weights = self.cfg.mixture or {}
        member = max(self.members, key=lambda one: (one.name == "ptb-xl", weights.get(one.name, len(one.keep))))
        rate, samples = float(self.members[0].conditioning.wanted), self.cfg.window_samples
        mean, std = (_in_standard_order(values, self.leads) for values in (member.mean, member.std))
        contract = ecg_jepa(
            rate,
            self.leads,
            mean=mean,
            std=std,
            crop_seconds=samples / rate,
            stride_seconds=samples / rate,
            baseline_removed=member.conditioning.steady or member.records.notes.baseline_removed,
        )
        steps = [step for step in contract.steps if step["name"] != "clip"]
        if self.cfg.clip is not None:
            steps.append({"name": "clip", "limit": self.cfg.clip})
        if member.zscored:
            steps = [{"name": "standardise"} if step["name"] == "normalise" else step for step in steps]
        contract.steps = steps
        return contract


def _in_standard_order(values: np.ndarray, leads: Sequence[str]) -> list[float]:
    """[12] a number for each standard lead; 1 for those that are not taken, whose numbers nothing reads."""
    numbers = dict(zip(leads, np.round(values[:, 0].astype(np.float64), 6).tolist()))
    return [numbers.get(lead, 1.0) for lead in LEADS]


def as_tensor(values: np.ndarray) -> Tensor:
    """Of the same type where torch has it, else float32."""
    known = values.dtype.isnative and values.dtype.name in ("float16", "float32", "float64", "int16", "int32", "int64")
    return torch.from_numpy(values if known else values.astype(np.float32))


def _places(cfg: JepaDumpConfig, path: Path) -> dict[str, Path]:
    """Dataset -> its file for this split; the only one may have no name here. `path`: as the dataset is built with."""
    names = list(cfg.dumps or cfg.mixture or {})
    if not cfg.dumps and len(names) < 2:
        return {names[0] if names else "": path}
    training, places = path.name == cfg.train_subset, {}
    for name in names:
        place = resolve_input(cfg.dumps[name]) if cfg.dumps else _below(path.parent, name)
        found = member_path(place, path.name, training)
        if found is not None:
            places[name] = found
        elif training:
            raise ConfigError(f"{name}: {place} has no {path.name}.npy, {path.name}.npz or {path.name}.tsv")
    if not places:
        raise ConfigError(
            f"none of {', '.join(names)} has a split {path.name!r}: expected {path.name}.npy, .npz or .tsv in a folder "
            f"that dataset.dumps names. Without a split to validate on, set dataset.disable_validation=true"
        )
    return places


def _below(folder: Path, name: str) -> Path:
    """A dataset of the mixture in the folder of all: NAME.npy, NAME.npz, NAME.tsv or the folder NAME."""
    found = member_path(folder, name, True)
    if found is not None and found != folder:
        return found
    if (folder / name).is_dir():
        return folder / name
    raise ConfigError(
        f"{folder} has neither {name}.npy, {name}.npz, {name}.tsv nor a folder {name}, which dataset.mixture names; "
        f"say where it is: dataset.dumps={{{name}: FILE, ...}}"
    )


def _name_of(cfg: JepaDumpConfig, records: Records) -> str:
    """What the only dataset is called: by its notes, the file or its folder."""
    path = records.path.absolute()
    stem = path.stem.removesuffix("-split").removesuffix("-preprocessed")
    return records.notes.dataset or published_name(stem) or published_name(path.parent.name) or stem


def _check_names(cfg: JepaDumpConfig, names: list[str], training: bool) -> None:
    """Raises: UsageError for an option about a dataset that is not there, ConfigError for one without a chance."""
    listed = names if training else [*names, *(cfg.mixture or {}), *(cfg.dumps or {})]
    for key in ("mixture", "rates", "dump_leads", "statistics", "remove_baseline_wander"):
        for name in getattr(cfg, key) or []:
            if name not in listed:
                raise UsageError(unknown_message(f"dataset '{name}' of dataset.{key}", name, listed, "There are"))
    left = [name for name in names if cfg.mixture and name not in cfg.mixture]
    if left:
        raise ConfigError(f"dataset.mixture has no chance for {', '.join(left)}; give it a number, 0 to leave it out")


def _rate(cfg: JepaDumpConfig, name: str, records: Records) -> float:
    """Hz of the stored records: as typed, as the files say, or as published of a dataset whose lengths agree."""
    typed, stated, published = (cfg.rates or {}).get(name), records.notes.sample_rate, DATASETS.get(name)
    advice = f"say it: dataset.rates={{{name}: HZ}}"
    if typed is not None:
        if typed <= 0 or (stated and typed != stated):
            raise ConfigError(f"dataset.rates has {typed:g} Hz for {name}, but {records.path} says {stated} Hz")
        return typed
    if stated:
        return stated
    if published is None:
        raise ConfigError(f"the sample rate of {name} ({records.path}) is not known; {advice}")
    found = np.unique(records.samples)
    if published.samples is not None and found.tolist() != [published.samples] and len(found):
        raise ConfigError(
            f"{records.path} holds records of {found[0]}{'' if len(found) == 1 else f' to {found[-1]}'} samples; "
            f"{name} has {published.samples} at {published.sample_rate:g} Hz. If these differ, {advice}"
        )
    return published.sample_rate


def statistics_of(
    name: str, records: Records, conditioning: Conditioning, leads: Sequence[str], choice: str | None
) -> tuple[np.ndarray, np.ndarray, str]:
    """Mean and deviation of every stored row, in mV, and in words where they come from.

    Args:
        choice: published, computed, a file, or None: the dump's own, else published ones of a dump, else computed.
    """
    notes, published = records.notes, DATASETS.get(name)
    own = notes.mean is not None and notes.std is not None and not conditioning.steady
    if choice is None and own and len(notes.mean or ()) == len(notes.std or ()) == len(leads):
        return np.array(notes.mean), np.array(notes.std), f"standardised as {notes_path(records.path).name} says"
    if choice is None:
        choice = "published" if published and not isinstance(records, ManifestRecords) else "computed"
    if choice == "computed":
        mean, std, number = measured(records, conditioning)
        return mean, std, f"standardised as {number} of its {len(records)} records are distributed"
    if choice != "published":
        mean, std = given(choice, leads, f"dataset.statistics.{name}")
    elif published is None:
        known = ", ".join(DATASETS)
        raise ConfigError(f"dataset.statistics.{name}=published, but there are published ones only of {known}")
    else:
        stated_raw = published.raw and notes.dataset and not (conditioning.steady or notes.baseline_removed)
        values = published.raw if published.raw and stated_raw else (published.mean, published.std)
        order = [lead_index(lead, published.leads) for lead in leads]
        mean, std = (np.array(numbers)[order] for numbers in values)
    say_where_far(name, records, conditioning, std)
    return mean, std, f"standardised with {'the published' if choice == 'published' else choice} mean and deviation"
