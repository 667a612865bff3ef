"""One shard of a packed store: its records, read from their files, encoded and written with a part of the index."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.data.segment import Segment
from ecg_signals.data.sources.index import read_signal
from ecg_signals.data.sources.packed import facts_of, read_index, row_batch, tracks_as_bytes, write_index
from ecg_signals.files import replacing
from ecg_signals.readers.npy_file import HEADER_BYTES, npy_header

INT16_MAX = 32767
_LOOKED_AT = 8  # values of a lead that show how often the step may go into the largest

# `scale` or `step` of every lead, and `exact`; empty for float32 that is the file's
Encoding = Mapping[str, list[float] | bool]


@dataclass
class Shard:
    """What a shard is made of.

    Attributes:
        paths: the file of every record.
        sizes: records of every unit, in order; those of a unit get one address, so they must have one size.
    """

    folder: Path
    number: int
    dtype: str
    paths: list[str]
    sizes: list[int]

    @property
    def path(self) -> Path:
        return self.folder / shard_name(self.number)

    @property
    def part(self) -> Path:
        return part_path(self.folder, self.number)

    def fingerprint(self) -> str:
        """Of what it is made of; a finished part of the index carries it."""
        told = hashlib.sha256(f"{self.dtype} {self.sizes}".encode())
        for path in self.paths:
            told.update(path.encode() + b"\0")
        return told.hexdigest()

    def is_written(self) -> bool:
        """Whether this shard lies there, whole, with its part of the index."""
        if not (self.path.is_file() and self.part.is_file()):
            return False
        try:
            return read_index(self.part).notes.get(b"fingerprint") == self.fingerprint().encode()
        except ConfigError:  # a part that is damaged is made again
            return False


def shard_name(number: int) -> str:
    return f"shard_{number:05}.npy"


def part_path(folder: Path, number: int) -> Path:
    return folder / f"{shard_name(number)}.part.arrow"


def make_shard(shard: Shard) -> int:
    """Writes a shard unless it is there. Returns: its records."""
    if not shard.is_written():
        write_shard(shard)
    return len(shard.paths)


def write_shard(shard: Shard) -> None:
    """The shard and its part of the index; the part, written last, says that both are complete."""
    rows: list[dict[str, Any]] = []
    shapes: set[tuple[int, ...]] = set()
    dtype = np.dtype(shard.dtype)
    with replacing(shard.path, durable=True) as partial:
        with partial.open("wb") as file:
            file.seek(HEADER_BYTES)
            for unit in _units(shard):
                for path in unit:
                    stored = read_signal(path, tracks=None)
                    content, encoding = encode(stored, shard.dtype)
                    place = {"shard": shard.number, "offset": file.tell(), "bytes": content.nbytes}
                    rows.append({**place, "leads": len(content), **_told(stored, shard.dtype, encoding, path)})
                    shapes.add(content.shape)
                    file.write(content.tobytes())
                _check_one_size(unit, rows[-len(unit) :])
            size = file.tell() - HEADER_BYTES
            file.seek(0)
            whole = (len(rows), *next(iter(shapes))) if len(shapes) == 1 else (size // dtype.itemsize,)
            file.write(npy_header(whole, dtype))
        facts = facts_of(partial)
    write_index(shard.part, [row_batch(rows)], [shard.path.name], [facts], fingerprint=shard.fingerprint())


def _units(shard: Shard) -> list[list[str]]:
    ends = np.cumsum([0, *shard.sizes]).tolist()
    return [shard.paths[first:behind] for first, behind in pairwise(ends)]


def _check_one_size(unit: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    if len({row["bytes"] for row in rows}) > 1:  # its one address is cut into equal parts
        names = ", ".join(map(os.path.basename, unit))
        raise ConfigError(f"{names} form a pair but differ in size; expected one length. Segment them again")


def _told(stored: Segment, dtype: str, encoding: Encoding, path: str) -> dict[str, Any]:
    """What the index says about a record besides its place. An unknown patient is -1, no patient at all null."""
    patient = -1 if stored.names_patient and stored.patient is None else stored.patient
    label = None if stored.label is None else stored.label.astype(np.float64).tolist()
    facts = {"rate": stored.rate, "idx": stored.idx, "patient": patient, "label": label}
    facts |= {"tracks": tracks_as_bytes(stored.tracks)}
    return {**facts, "dtype": dtype, "source": path, **encoding}


def encode(stored: Segment, dtype: str) -> tuple[np.ndarray, Encoding]:
    """The array to write, [leads, samples], and what makes float32 of it again.

    int16 holds the counts of the recorder where the values of every lead are whole multiples of one step, so that
    reading gives the same float32 to the bit; else the nearest of 65,535 levels up to the largest value of the lead.
    """
    signal = np.array(stored.signal, dtype=np.float32, order="C")
    if dtype == "float32":
        same = np.can_cast(stored.signal.dtype, np.float32) or np.array_equal(signal, stored.signal, equal_nan=True)
        return signal, {} if same else {"exact": False}
    if not np.isfinite(signal).all():
        raise ConfigError(
            f"{stored.path} holds NaN or infinite values, which int16 cannot; use dtype=float32 or leave it out"
        )
    found = [*_counted(signal)]
    if len(found) == len(signal):
        counts, steps = zip(*found)
        return np.stack(counts), {"step": list(steps), "exact": True}
    largest = np.abs(signal).max(axis=1, initial=0.0)
    scale = np.where(largest > 0, largest / INT16_MAX, 1.0).astype(np.float32)
    levels = np.clip(np.rint(signal / scale[:, None]), -INT16_MAX, INT16_MAX).astype(np.int16)
    return levels, {"scale": scale.tolist(), "exact": bool((levels * scale[:, None] == signal).all())}


def _counted(signal: np.ndarray) -> Iterator[tuple[np.ndarray, float]]:
    """int16 and a step whose product, rounded to float32, is a lead to the bit; of leads up to one that has none."""
    step = 1.0  # that of the lead before, which is likely
    for lead in signal:
        found = next((one for step in chain([step], _steps(lead)) if (one := _whole(lead, step)) is not None), None)
        if found is None:
            return
        yield found
        step = found[1]


def _steps(lead: np.ndarray) -> Iterator[float]:
    """Numbers of which all values could be multiples, the largest first; known as exactly as the largest value is."""
    values = np.unique(np.abs(lead[lead != 0])).astype(np.float64)
    if not len(values):
        yield 1.0
        return
    largest = values[-1]
    times = np.arange(1.0, INT16_MAX + 2)  # how often the step goes into the largest value
    for value in values[:: max(1, len(values) // _LOOKED_AT)]:
        times = times[_are_whole(value / largest * times)]
    for count in times:
        if _are_whole(values / largest * count).all():
            yield float(largest / count)


def _are_whole(numbers: np.ndarray) -> np.ndarray:
    """Whether quotients of two float32 can be whole numbers."""
    return np.abs(numbers - np.rint(numbers)) <= numbers * 2.0**-22


def _whole(lead: np.ndarray, step: float) -> tuple[np.ndarray, float] | None:
    """The counts of a lead and their step, which is nearly known; None where it is not.

    Each value bounds the step, since it is one of the float32 around count x step; of the steps within all bounds, one
    that is 1 / a whole number comes first.
    """
    counts = np.rint(lead.astype(np.float64) / step)
    if counts.max(initial=0) > INT16_MAX:
        return None
    used = counts != 0
    value, half, count = np.abs(lead[used].astype(np.float64)), np.spacing(np.abs(lead[used])) / 2, np.abs(counts[used])
    low, high = ((value - half) / count).max(initial=0.0), ((value + half) / count).min(initial=np.inf)
    if not low <= high:
        return None
    middle = (low + high) / 2 if np.isfinite(high) else 1.0
    whole = 1 / max(1.0, np.rint(1 / middle))
    step = float(whole if low <= whole <= high else middle)
    stored = counts.astype(np.int16)
    again = (stored * np.float64(step)).astype(np.float32)
    return (stored, step) if (again.view(np.int32) == lead.view(np.int32)).all() else None  # -0.0, too, is no count
