"""DEST/progress.jsonl: which records are done, with what settings; the memory of a run that was stopped."""

import hashlib
import json
import os
import re
import shutil
from array import array
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.files import PARTIAL, replacing
from ecg_signals.limits import regular_file
from ecg_signals.preprocess.executors import ADVICE
from ecg_signals.preprocess.names import Names, hashes
from ecg_signals.preprocess.options import SIGNAL_OPTIONS, PreprocessConfig
from ecg_signals.preprocess.signals import FOLDERS, segment_name
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.preprocess.workers import SHARED, Shard

NEEDED = {"segments", "mean", "std", "sample_size", "sample_rate", "notes"}  # facts of every record
VERSION = 3  # raise it when the stored signals change for the same settings
KEY_BYTES = 20  # of a SHA-1


def settings_of(source: Source) -> dict[str, Any]:
    """What the stored files depend on besides the record itself."""
    names = (*SIGNAL_OPTIONS, *source.reading_options)
    return {"version": VERSION, "dataset": source.prefix, **{name: getattr(source.cfg, name) for name in names}}


def record_key(settings: Mapping[str, Any], source: Source, row: Row, identity: Collection[str]) -> str:
    """Changes if the settings, the row's values in `identity`, or one of the record's files changes."""
    stamps = []
    for path in source.files(row):
        try:
            stat = path.stat()
        except OSError:
            continue
        stamps.append([path.name, stat.st_size, stat.st_mtime_ns])
    values = [row.get(name) for name in (*identity, "record_id", "sample_rate")]
    text = json.dumps([settings, values, stamps], sort_keys=True, default=str)
    return hashlib.sha1(text.encode()).hexdigest()


class Entries:
    """Where the line of each finished record lies in the journal: 44 bytes a record, whatever the line holds."""

    def __init__(self) -> None:
        self.names, self.keys = array("q"), bytearray()
        self.segments, self.starts, self.sizes = array("q"), array("q"), array("i")
        self.sorted: tuple[np.ndarray, np.ndarray] | None = None  # hashes in order, and whose they are

    def __len__(self) -> int:
        return len(self.names)

    def add(self, name: str, key: bytes, segments: int, start: int, size: int) -> None:
        self.segments.append(segments)
        self.names.append(hash(name))
        self.keys += key
        self.starts.append(start)
        self.sizes.append(size)
        self.sorted = None

    def find(self, names: Iterable[str]) -> np.ndarray:
        """The place of the last entry of each name; -1 for one without."""
        wanted = hashes(names)
        if not len(self):
            return np.full(len(wanted), -1)
        if self.sorted is None:
            held = np.array(self.names, np.int64)
            order = np.argsort(held, kind="stable")
            self.sorted = held[order], order
        held, order = self.sorted
        at = np.searchsorted(held, wanted, side="right") - 1
        return np.where((at >= 0) & (held[at] == wanted), order[at], -1)

    def key(self, place: int) -> bytes:
        return bytes(self.keys[KEY_BYTES * place : KEY_BYTES * (place + 1)])

    def live(self) -> np.ndarray:
        """Places, in order, of the last entry of each name."""
        held = np.array(self.names, np.int64)[::-1]
        return np.sort(len(held) - 1 - np.unique(held, return_index=True)[1])


class Journal:
    """The finished records of DEST, one line each; in the order of the records, when a run is over.

    Class attributes:
        file_name: of the journal in DEST.
        folders: below DEST, with the files of finished records.
        identity: columns of a record's row whose values its files hold.
    """

    file_name: ClassVar[str] = "progress.jsonl"
    folders: ClassVar[tuple[str, ...]] = FOLDERS
    identity: ClassVar[tuple[str, ...]] = ("idx", "path", "save_file", "patient_number")

    def __init__(self, dest: Path, prefix: str) -> None:
        """Raises: ConfigError if DEST holds another dataset, whose tables would be overwritten."""
        self.dest, self.path = dest, dest / self.file_name
        self.parts = self.path.with_suffix("")  # a folder: what shards finish before it stands in the journal
        self.entries = Entries()
        self.file: BinaryIO | None = None
        first = ours = None
        if self.path.is_file():
            with open(regular_file(self.path), "rb") as file:
                start = 0
                for line in file:
                    name = self._take(line, start)
                    start += len(line)
                    first = first or name
                    ours = ours or (name is not None and name.startswith(f"{prefix}_"))
        if first and not ours:
            raise ConfigError(f"{dest} holds another dataset ({first}, ...); give {prefix} a folder of its own as DEST")
        self.present = {name: Names(self._listing(name)) for name in self.folders}

    def _take(self, line: bytes, start: int, keys: Mapping[str, str] | None = None) -> str | None:
        """The name of the finished record in a line that lies in the journal from byte `start` on.

        Args:
            keys: of the records that it may be about, by name; None: any.
        Returns: None for a line that was being written when a run was stopped, or is damaged.
        """
        try:
            outcome = json.loads(line.decode("utf-8", errors="replace"))
            name, key, segments = outcome["save_file"], bytes.fromhex(outcome["key"]), int(outcome["facts"]["segments"])
            good = isinstance(name, str) and len(key) == KEY_BYTES and segments >= 0 and line.endswith(b"\n")
            if not good or not set(outcome["facts"]) >= NEEDED or (keys is not None and keys.get(name) != key.hex()):
                return None
            self.entries.add(name, key, segments, start, len(line))
        except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
            return None
        return str(name)

    def _listing(self, folder: str) -> Iterator[str]:
        path = self.dest / folder
        if path.is_dir():
            with os.scandir(path) as entries:
                yield from (entry.name for entry in entries)

    def done(self, rows: Sequence[Row], keys: Sequence[str], cfg: PreprocessConfig) -> list[bool]:
        """True for each record whose files are all there and were made with the same key."""
        places = self.entries.find(row["save_file"] for row in rows).tolist()
        return [
            place >= 0
            and self.entries.key(place).hex() == key
            and self._has_files(row, self.entries.segments[place], cfg)
            for row, key, place in zip(rows, keys, places)
        ]

    def _has_files(self, row: Row, segments: int, cfg: PreprocessConfig) -> bool:
        name = row["save_file"]
        kept = [folder for folder, wanted in (("org", cfg.keep_org), ("preprocessed", cfg.keep_preprocessed)) if wanted]
        pieces = (segment_name(name, i) in self.present["segmented"] for i in range(segments))
        return all(name in self.present[folder] for folder in kept) and all(pieces)

    def open(self, again: Iterable[str]) -> None:
        """Remove the files of records that are processed now, and partial files; then the journal takes their lines.

        Args:
            again: save_file of these records.
        """
        names = Names(again)
        for folder in self.folders:
            for name in self._listing(folder):
                record = re.sub(r"_\d+\.mat$", ".mat", name) if folder == "segmented" else name
                if record in names or PARTIAL.fullmatch(name):
                    (self.dest / folder / name).unlink(missing_ok=True)
        live = self.entries.live()
        old = np.isin(np.array(self.entries.names, np.int64)[live], names.hashes)
        if old.any() or len(live) < len(self.entries) or not self._ends_well():
            self._rewrite(live[~old])
        self.parts.mkdir(exist_ok=True)
        self.file = open(self.path, "ab")  # noqa: SIM115 - closed by close()

    def _ends_well(self) -> bool:
        """Whether the journal holds nothing but the lines of its entries."""
        return self.path.is_file() and self.path.stat().st_size == sum(self.entries.sizes)

    def _parts(self) -> list[Path]:
        return sorted(path for path in self.parts.glob("*.jsonl") if path.is_file()) if self.parts.is_dir() else []

    def recover(self) -> None:
        """Take what shards of a run that was stopped had finished."""
        left = self._parts()
        if left:
            self._rewrite(self.entries.live())
            with open(self.path, "ab") as file:
                for path in left:
                    self._append(file, path)
                    path.unlink()

    def take(self, shard: Shard, unreadable: int) -> None:
        """A shard's finished records become the journal's.

        Args:
            unreadable: records of the shard that have no line, because they could not be read.
        Raises: ConfigError where lines are missing.
        """
        assert self.file is not None
        keys = {row["save_file"]: row["key"] for row in shard.rows}
        found = self._append(self.file, shard.part, keys)
        if found + unreadable < len(keys):
            what = f"{shard.part} has {found} of the {len(keys) - unreadable} records that its worker finished"
            raise ConfigError(f"{what}; {SHARED}. {ADVICE}")
        shard.part.unlink()

    def _append(self, file: BinaryIO, part: Path, keys: Mapping[str, str] | None = None) -> int:
        """Lines of a shard's file, as `_take` wants them, to the end of the journal. Returns: how many."""
        if not part.exists():
            return 0
        start, kept = file.seek(0, os.SEEK_END), []
        with open(regular_file(part), "rb") as lines:
            for line in lines:
                if self._take(line, start, keys) is not None:
                    kept.append(line)
                    start += len(line)
        file.writelines(kept)
        file.flush()
        return len(kept)

    def close(self) -> None:
        """Also what unfinished shards have done is taken, if that is possible; else the next run does it."""
        if self.file is None:
            return
        with suppress(OSError), self.file as file:
            for path in self._parts():
                self._append(file, path)
                path.unlink()
        with suppress(OSError):  # logs of jobs may be left
            self.parts.rmdir()

    def sort(self, order: Iterable[str]) -> None:
        """Lines of these records, save_file, in this order, and then others: the same whoever finished first.

        Logs of jobs, also of earlier runs, go with the folder of shards' files.
        """
        places = self.entries.find(order)
        places = places[places >= 0]
        self._rewrite(np.concatenate([places, np.setdiff1d(self.entries.live(), places)]))
        shutil.rmtree(self.parts, ignore_errors=True)

    def _rewrite(self, places: np.ndarray) -> None:
        """The journal with the lines at these places alone, in this order."""
        entries, held = Entries(), self.entries
        if np.array_equal(places, np.arange(len(held))) and self._ends_well():
            return
        with replacing(self.path) as partial, open(partial, "wb") as file:
            start = 0
            for place, line in zip(places.tolist(), self._lines(places)):
                file.write(line)
                entries.segments.append(held.segments[place])
                entries.names.append(held.names[place])
                entries.keys += held.key(place)
                entries.starts.append(start)
                entries.sizes.append(len(line))
                start += len(line)
        self.entries = entries

    def _lines(self, places: np.ndarray) -> Iterator[bytes]:
        if not len(places):
            return
        with open(self.path, "rb") as file:
            for place in places.tolist():
                if file.tell() != self.entries.starts[place]:
                    file.seek(self.entries.starts[place])
                yield file.read(self.entries.sizes[place])

    def segments(self, names: Iterable[str]) -> np.ndarray:
        """How many segments each record has; -1 for one that is not finished."""
        places = self.entries.find(names)
        counts = np.array(self.entries.segments, np.int64)
        return np.where(places >= 0, counts[places], -1) if len(counts) else places

    def facts(self, names: Iterable[str]) -> Iterator[dict[str, Any]]:
        """What is known about finished records, one after the other."""
        for line in self._lines(self.entries.find(names)):
            yield json.loads(line.decode("utf-8", errors="replace"))["facts"]
