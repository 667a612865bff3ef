"""One file per manifest row, .mat or .npy, or an address in a packed store."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.data.manifest import Slice
from ecg_signals.data.remote import is_url
from ecg_signals.data.segment import Segment, SegmentSource
from ecg_signals.data.sources.remote import RemoteStore
from ecg_signals.data.sources.stores import Stores
from ecg_signals.readers.mat_file import read_mat_arrays, unreadable
from ecg_signals.readers.npy_file import load_npy

_WANTED = ("feats", "curr_sample_rate", "idx", "patient_id", "label")
NO_TRACKS: Mapping[str, bool] = {}


class FileSource(SegmentSource):
    """The files that a manifest names below its root, and packed addresses.

    Args:
        root: the manifest's.
        tracks: arrays [..., samples] that files hold beside `feats`: name -> whether every file must, or it is False
            throughout where one does not.
        cache_bytes: of records of a server that stay on the local disk.
    """

    def __init__(
        self, root: str | os.PathLike[str], tracks: Mapping[str, bool] = NO_TRACKS, cache_bytes: int = 0
    ) -> None:
        self.root, self.tracks = os.fspath(root), dict(tracks)
        self.remote = is_url(self.root)
        self.stores = Stores(self.root, cache_bytes)

    def read(self, address: str) -> Segment:
        packed = Slice.parse(address)
        if packed is None:
            if self.remote:
                raise ConfigError(
                    f"{self.root}/{address} is a file on a server, where only packed stores are read; pack the files "
                    f"(ecg-pack) and copy the store there, or copy the files to a local folder"
                )
            return read_segment(os.path.join(self.root, address), self.tracks)
        store, packed = self.stores.find(packed)
        found = store.read(packed)
        return _with_tracks(found, self.tracks, store.tracks(packed)) if self.tracks else found

    def fetch(self, addresses: Iterable[str]) -> None:
        if not self.remote:
            return
        wanted: dict[RemoteStore, list[Slice]] = {}
        for packed in filter(None, map(Slice.parse, addresses)):
            store, there = self.stores.find(packed)
            assert isinstance(store, RemoteStore)
            wanted.setdefault(store, []).append(there)
        for store, slices in wanted.items():
            store.fetch(slices)

    def path(self, address: str) -> tuple[str, bool]:
        """The file behind an address, and whether it is one of a packed store."""
        packed = Slice.parse(address)
        return os.path.join(self.root, packed.shard if packed else address), packed is not None


def read_segment(path: str, tracks: Mapping[str, bool] | None = NO_TRACKS) -> Segment:
    """Read a .mat file (`feats` and what may stand beside it) or a .npy file (the array alone).

    Args:
        tracks: see FileSource; None: all that the file holds.
    Raises: ConfigError naming the file when it is missing, truncated or not of this kind.
    """
    if path.endswith(".npy"):
        return _with_tracks(Segment(path, _check_shape(path, _read_npy(path))), tracks or NO_TRACKS, {})
    found = read_mat_arrays(path, None if tracks is None else (*_WANTED, *tracks))
    if "feats" not in found:
        raise ConfigError(
            f"{path} holds no array `feats`; expected a file that `ecg-preprocess` wrote, with feats [leads, samples]"
        )
    patient = found.get("patient_id")
    segment = Segment(
        path,
        _check_shape(path, found["feats"]),
        _number(found.get("curr_sample_rate")),
        _integer(found.get("idx")),
        None if patient is None else patient_number(patient),
        found["label"].reshape(-1) if "label" in found else None,
        patient is not None,
    )
    if tracks is None:
        several = segment.signal.shape[-1] > 1  # else every number would be a track
        tracks = {name: True for name, value in found.items() if several and _is_track(name, value, segment)}
    return _with_tracks(segment, tracks, found)


def _is_track(name: str, value: np.ndarray, segment: Segment) -> bool:
    numbers = value.dtype.kind in "biuf" and value.ndim > 0
    return name not in _WANTED and numbers and value.shape[-1] == segment.signal.shape[-1]


def _with_tracks(segment: Segment, wanted: Mapping[str, bool], found: Mapping[str, np.ndarray]) -> Segment:
    """Raises: ConfigError for a track that is not there, or has not one value for every sample."""
    empty = {name: np.zeros((1, segment.signal.shape[-1]), bool) for name, needed in wanted.items() if not needed}
    found = {**empty, **found}
    for name in wanted:
        shape = found[name].shape if name in found else None
        if shape is None or shape[-1:] != segment.signal.shape[-1:]:
            raise ConfigError(
                f"{segment.path} holds {f'{name} {list(shape)}' if shape else f'no array {name}'}; expected one with "
                f"a value for each of {segment.signal.shape[-1]} samples, {name} [..., samples]"
            )
    segment.tracks = {name: found[name] for name in wanted}
    return segment


def patient_number(patient: Any) -> int | None:
    """A patient as int64: numbers stay, text gets a number of its own; None for NaN, empty or negative."""
    value = np.asarray(patient).reshape(-1)
    if value.size == 0:
        return None
    if value.dtype.kind in "iuf":
        return None if np.isnan(value[0]) or value[0] < 0 else int(value[0])
    text = str(value[0]).strip()
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1 if text else None


def _number(value: np.ndarray | None) -> float | None:
    return None if value is None or value.size == 0 else value.reshape(-1)[0].item()


def _integer(value: np.ndarray | None) -> int | None:
    number = _number(value)
    return None if number is None or number != number else int(number)


def _read_npy(path: str) -> np.ndarray:
    try:
        return load_npy(path)
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from None


def _check_shape(path: str | os.PathLike[str], signal: np.ndarray) -> np.ndarray:
    if signal.ndim != 2 or signal.dtype.kind not in "iuf":
        raise ConfigError(
            f"{path} holds {signal.dtype} of shape {list(signal.shape)}; expected numbers of shape [leads, samples]"
        )
    return signal
