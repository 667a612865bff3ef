"""Segments, one file each: the usual dataset, and what other datasets of segments extend."""

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ecg_signals.config import ConfigError, option
from ecg_signals.data.collation import SIGNALS, Cropping, split_views, stacked_columns
from ecg_signals.data.datasets.base import CROP, BaseDataset, LongestConfig, PreparedConfig, SignalsConfig
from ecg_signals.data.input_contract import contract_of_segments
from ecg_signals.data.label_file import LabelFile
from ecg_signals.data.lead_selection import LeadSelection, pad_leads
from ecg_signals.data.manifest import Listing, Manifest
from ecg_signals.data.preparation import Preparation
from ecg_signals.data.segment import Segment, SegmentSource, owner_of, record_of
from ecg_signals.data.sources.files import FileSource
from ecg_signals.data.transforms.noise_levels import LEVELS, NoiseLevel
from ecg_signals.data.transforms.pipeline import build_pipeline
from ecg_signals.registry import register_dataset
from ecg_signals.signal.contract import SignalContract

READ_BY_ITEMS = ("leads_to_load", "filter", "normalize", "clip", "enable_padding_leads", "max_sample_size",
                 "min_sample_size", "window_stride", "window_count", "window_length", "noise_level")  # fmt: skip
FEW = 1000  # items whose files are opened to count their recordings
BUCKET = 1 << 17  # a random stream of an item; the numbers below CROP belong to its signals' augmentations
NOISE = 1 << 18  # that of an evaluation's noise


@dataclass
class EcgFileConfig(PreparedConfig, LongestConfig, SignalsConfig):
    options_of = ("transform", "task")

    leads_bucket: list[str | int] | str | None = option(
        None, "leads of which every item gets one at random, put last", section="task"
    )
    enable_padding_leads: bool = option(
        False, "zeros in place of leads that are not loaded, so that there are always 12", section="task"
    )
    num_batch_buckets: int = option(
        0, "pad batches to one of this many lengths, so that few shapes occur; 0 off", least=0, section="task"
    )
    perturbation_mode: list[str] | None = option(None, "augmentations of training items, in order", section="task")
    p: list[float] = option([1.0], "probability of every augmentation, or one for each", least=0, most=1,
                             section="task")  # fmt: skip
    keep_original: bool = option(
        False, "give batches the signals before augmentation as `original`; published: true, read by nothing", ours=True
    )
    noise_level: int | None = option(
        None, "noise of that level in what is not trained on, before filter and normalize; of segments in mV",
        choices=LEVELS, ours=True,
    )  # fmt: skip
    remote_cache: float | None = option(
        None,
        "GB of records of a server that stay on the local disk, for the next epoch; None: none",
        above=0,
        ours=True,
    )
    label_file: str | None = option(
        None, "y.npy, one row of labels per record idx; None: the files' own `label`", section="task"
    )


@register_dataset("ecg_file", dataclass=EcgFileConfig)
class EcgFileDataset(BaseDataset):
    """One item per manifest row: {"id", "source" [leads, samples], "label" [labels] if known}.

    `id` is the row number among the rows that are long enough. With `keep_original`, `original` is the signal before
    augmentation.

    Another dataset of segments extends this one and says what differs:

    Class attributes:
        kind: of manifest.
        tracks: arrays [..., samples] that files hold beside the signal. They are cropped and padded as it is; items
            have them in `tracks`, by name, batches as [batch, ..., samples].
        optional_tracks: those of them that are False throughout where a file does not hold them.
        several: an item is several views, `source` a list of signals; batches hold them in order.
        one_rate: all files must have the same sample rate.
    """

    kind: ClassVar[str] = "plain"
    tracks: ClassVar[tuple[str, ...]] = ()
    optional_tracks: ClassVar[tuple[str, ...]] = ()
    several: ClassVar[bool] = False
    crops_as_windows = True
    one_rate: ClassVar[bool] = True
    cfg: EcgFileConfig

    def __init__(self, cfg: EcgFileConfig, path: str | Path, *, training: bool = False, seed: int = 1) -> None:
        super().__init__(cfg, path, training=training, seed=seed)
        self.manifest: Listing = self.open_manifest()
        self.source = self.open_source()
        self.selection = LeadSelection(cfg.leads_to_load, cfg.leads_bucket)
        self.label_file = LabelFile(cfg.label_file) if cfg.label_file else None
        if cfg.crop_starts == "windows" and self.cutting is None:
            raise ConfigError("dataset.crop_starts=windows needs the windows: set dataset.window_stride=SAMPLES")
        self.whole = not training and self.cutting is not None  # items as long as they are, to be cut into windows
        buckets = 0 if self.whole else cfg.num_batch_buckets
        self.cropping = Cropping(self.manifest.samples, cfg.enable_padding or self.whole, self.longest, buckets)
        self.first = self.read_first()
        self.sample_rate = cfg.sample_rate if (cfg.sample_rate or 0) > 0 else self.first.rate
        self.preparation = self.make_preparation()
        self.pipeline = build_pipeline(cfg, self.sample_rate) if training else None
        self.noise = NoiseLevel(cfg.noise_level, self.sample_rate) if cfg.noise_level and not training else None

    def as_evaluated(self) -> "EcgFileDataset":
        twin = super().as_evaluated()
        assert isinstance(twin, EcgFileDataset)
        twin.noise = self.noise  # what is trained on stays without that of evaluations
        return twin

    def open_manifest(self) -> Listing:
        """What lists the segments."""
        return Manifest(self.path, self.kind, self.cfg.min_sample_size)

    def open_source(self) -> SegmentSource:
        """What reads the segments that the manifest names."""
        tracks = {name: name not in self.optional_tracks for name in self.tracks}
        return FileSource(self.manifest.root, tracks, int((self.cfg.remote_cache or 0) * 1e9))

    def make_preparation(self) -> Preparation:
        """What brings stored signals into the form of items."""
        return Preparation(self.sample_rate, self.cfg)

    def fetch(self, indices: Sequence[int]) -> None:
        if isinstance(self.source, FileSource) and self.source.remote:
            self.source.fetch(address for index in indices for address in self.manifest.addresses(index))

    def views(self, segments: Sequence[Segment], index: int) -> list[dict[str, Any]]:
        """What `view` returns for every signal of an item, from the segments of its manifest row."""
        return [self.view(segment, index, stream) for stream, segment in enumerate(segments)]

    def facts(self, segments: Sequence[Segment], index: int) -> dict[str, Any]:
        """What else an item holds: numbers and arrays that batches stack; lists have one entry for each view."""
        label = self.label(segments[0])
        owner = {"owner": owner_of(segments[0], index), "record": record_of(segments[0], index)}
        owner = owner if self.with_owners else {}
        return owner if label is None else {**owner, "label": label}

    def __getitem__(self, index: int) -> dict[str, Any]:
        segments = [self.read(address) for address in self.manifest.addresses(index)]
        if self.noise is not None:
            segments = [self.noisy(segment, self.rng(index, NOISE + place)) for place, segment in enumerate(segments)]
        views = self.views(segments, index)
        signals = {key: [view[key] for view in views] for key in views[0]} if self.several else views[0]
        return {"id": index, **signals, **self.facts(segments, index)}

    def noisy(self, segment: Segment, rng: np.random.Generator) -> Segment:
        """With the noise of an evaluation's level."""
        assert self.noise is not None
        return replace(segment, signal=self.noise(segment.signal, rng, segment.rate))

    def view(self, segment: Segment, index: int, stream: int = 0) -> dict[str, Any]:
        """`source` and, with `keep_original`, `original`: float32 [leads, samples]; `tracks`, if any.

        Args:
            stream: views of an item with different numbers draw independently.
        """
        leads = self.leads_of(segment, index, stream)
        prepared = self.prepared(segment, leads, index, stream)
        view: dict[str, Any] = self.augmented(prepared, leads, index, stream, own=True)
        if segment.tracks:
            view["tracks"] = {name: torch.from_numpy(np.array(track)) for name, track in segment.tracks.items()}
        return view

    def prepared(self, segment: Segment, leads: Sequence[int] | None, index: int, stream: int) -> np.ndarray:
        """[leads, samples]: what is augmented."""
        return self.preparation(segment, leads)

    def leads_of(self, segment: Segment, index: int, stream: int = 0) -> Sequence[int] | None:
        """The leads that an item takes, by standard number; None for every row of the file."""
        return self.selection.draw(self.rng(index, BUCKET + stream) if self.selection.bucket else None)

    def augmented(
        self, signal: np.ndarray, leads: Sequence[int] | None, index: int, stream: int = 0, own: bool = False
    ) -> dict[str, Tensor]:
        """`source` and `original` of a view, from a prepared signal [leads, samples]; `own`: nobody else needs it."""
        found = {"source": signal}
        if self.pipeline is not None:
            keep = bool(self.cfg.keep_original)
            numbers = range(len(signal)) if leads is None else leads
            found["source"] = self.pipeline(signal, self.rng(index, stream), numbers, own=own and not keep)
            if keep:
                found["original"] = signal
        if self.cfg.enable_padding_leads:
            found = {key: pad_leads(value, leads) for key, value in found.items()}
        return {key: torch.from_numpy(value) for key, value in found.items()}

    def open(self, address: str) -> Segment:
        """What a manifest's address names, unchecked."""
        try:
            return self.source.read(address)
        except ConfigError as error:
            raise ConfigError(f"{error} [named by {self.manifest.path}]") from None

    def read_first(self) -> Segment:
        """The first segment, which says what all must agree in. Without its signal, only its shape is kept."""
        first = self.open(self.manifest.addresses(0)[0])
        first.signal = np.empty((len(first.signal), 0), dtype=np.float32)
        first.tracks = {}
        return first

    def read(self, address: str) -> Segment:
        """One segment. Raises: ConfigError when its sample rate or number of leads is not the others'."""
        segment = self.open(address)
        if self.one_rate and segment.rate != self.sample_rate and segment.rate is not None:
            raise ConfigError(self._wrong_rate(segment))
        if len(segment.signal) != len(self.first.signal) and self.selection.every_row:
            raise ConfigError(
                f"{segment.path} holds {len(segment.signal)} leads, but {self.first.path} holds "
                f"{len(self.first.signal)}; set task.leads_to_load to leads that all files have, or make the manifest "
                f"without the odd ones"
            )
        return segment

    def _wrong_rate(self, segment: Segment) -> str:
        found, wanted = _short(segment.rate), _short(self.sample_rate)
        reason = (
            f"task.sample_rate is {wanted} Hz"
            if self.cfg.sample_rate
            else f"the first file, {self.first.path}, holds {wanted} Hz"
        )
        remedy = f" or set task.sample_rate={found}" if self.cfg.sample_rate else ""
        advice = f"Resample the files (ecg-preprocess ... sample_rate={wanted}){remedy}"
        return f"{segment.path} holds {found} Hz, but {reason}. {advice}"

    @property
    def num_labels(self) -> int | None:
        if self.label_file is not None or self.first.label is None:
            return super().num_labels
        return len(self.first.label)

    def label(self, segment: Segment) -> Tensor | None:
        """float32 [labels] from the label file, else from the signal file when the first one has a label."""
        if self.label_file is not None:
            return torch.from_numpy(self.label_file.row(segment.idx, segment.path))
        if self.first.label is None:
            return None
        if segment.label is None or len(segment.label) != len(self.first.label):
            found = "no label" if segment.label is None else f"{len(segment.label)} labels"
            raise ConfigError(
                f"{segment.path} holds {found}, but {self.first.path} holds {len(self.first.label)}; set "
                f"task.label_file to a table of labels for all records"
            )
        return torch.from_numpy(segment.label.astype(np.float32))

    def input_contract(self) -> SignalContract | None:
        return contract_of_segments(self)

    def records(self) -> int:
        """Recordings by the files' `idx`, where there are few enough files to open them all."""
        if len(self) > FEW:
            return len(self)
        try:
            numbers = [self.open(self.manifest.addresses(row)[0]).idx for row in range(len(self))]
        except ConfigError:
            return len(self)  # a damaged file is named when training reads it
        return len(self) if None in numbers else len(set(numbers))

    @property
    def sizes(self) -> np.ndarray:
        return self.manifest.samples

    @property
    def longest(self) -> int | None:
        return None if self.whole else self.cfg.max_sample_size

    @property
    def crop_samples(self) -> int | None:
        return self.cfg.max_sample_size

    def name_of(self, index: int) -> str:
        return self.manifest.addresses(index)[0]

    def collate(self, items: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Signals cropped or padded to one length, tracks alike; crops are drawn per item. Other keys are stacked."""
        if not items:
            return {}
        views = split_views(items) if self.several else items
        return {**self.columns(views), **self.cropping(views, self._crop_start)}

    def columns(self, views: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """What a batch holds besides its signals."""
        return stacked_columns(views, without=SIGNALS)

    @property
    def varies(self) -> str | None:
        cfg, cutting, lengths = self.cfg, self.cutting, self.sizes
        if self.several or self.selection.bucket or self.pipeline is not None:
            return "items are augmented, or take leads at random"
        if cutting is not None and lengths.min() < cutting.samples:
            return f"{self.path} has items shorter than a window"
        if cutting is None and lengths.min() < lengths.max():
            return f"the items of {self.path} differ in length"
        if cutting is None and (self.longest or lengths.max()) < lengths.max():
            return "items are cropped at random (dataset.window_stride sees all of them)"
        drawn = cfg.crop_starts == "any" or (cutting is not None and cutting.samples != self.crop_samples)
        if cutting is not None and self.training and drawn:
            return "training crops begin anywhere (dataset.crop_starts=windows lets them begin as windows do)"
        return None

    def digest(self) -> str | None:
        if not isinstance(self.source, FileSource):
            return None
        if self.source.remote:
            return None
        listed, shards = hashlib.sha256(), set[str]()
        for address in (address for row in range(len(self)) for address in self.manifest.addresses(row)):
            listed.update(f"{address}\n".encode())
            path, packed = self.source.path(address)
            if path not in shards:
                stat = os.stat(path)
                listed.update(f"{path}\t{stat.st_size}\t{stat.st_mtime_ns}\n".encode())
                shards.update((path,) * packed)
        options = {key: value for key, value in self.cfg.to_dict().items() if key in READ_BY_ITEMS}
        statistics = [values.tolist() for values in self.preparation.statistics or ()]
        told = json.dumps([type(self).__name__, options, statistics, listed.hexdigest()], default=str)
        return hashlib.sha256(told.encode()).hexdigest()

    def _crop_start(self, view: dict[str, Any], surplus: int) -> int:
        if self.cutting is not None and self.training and self.cfg.crop_starts == "windows":
            return min(surplus, self.cutting.starts(int(self.sizes[view["id"]]))[self.drawn_window(view["id"])])
        return int(self.rng(view["id"], CROP + view.get("view", 0)).integers(surplus + 1))


def _short(number: float | None) -> str:
    return f"{number:g}" if number is not None else "unknown"
