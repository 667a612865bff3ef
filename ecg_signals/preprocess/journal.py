"""DEST/progress.jsonl: which records are done, with what settings; the memory of a run that was stopped."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, TextIO

from ecg_signals.config import ConfigError
from ecg_signals.files import PARTIAL, replacing
from ecg_signals.limits import regular_file
from ecg_signals.preprocess.options import SIGNAL_OPTIONS, PreprocessConfig
from ecg_signals.preprocess.signals import FOLDERS, segment_name
from ecg_signals.preprocess.source import Row, Source

NEEDED = {"segments", "mean", "std", "sample_size", "sample_rate", "notes"}  # facts of every record
VERSION = 3  # raise it when the stored signals change for the same settings


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


class Entry(NamedTuple):
    """A finished record. Its facts stay text until meta.csv is made: as dicts, a million would fill the memory."""

    key: str
    segments: int
    facts: str


class Journal:
    """The finished records of DEST. One line per record, appended when its files are in place.

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
        self.entries: dict[str, Entry] = {}
        self.file: TextIO | None = None
        if self.path.is_file():
            with open(regular_file(self.path), encoding="utf-8", errors="replace") as file:
                for line in file:
                    self._take(line)
        if self.entries and not any(name.startswith(f"{prefix}_") for name in self.entries):
            first = next(iter(self.entries))
            raise ConfigError(f"{dest} holds another dataset ({first}, ...); give {prefix} a folder of its own as DEST")
        self.present = {name: self._listing(name) for name in self.folders}

    def _take(self, line: str) -> None:
        try:
            outcome = json.loads(line)
            self._remember(outcome)
        except (ValueError, KeyError, TypeError, RecursionError):
            return  # the line that was being written when the run was stopped, or a damaged one

    def _remember(self, outcome: Mapping[str, Any]) -> str:
        facts = json.dumps(outcome["facts"], ensure_ascii=False)
        if not isinstance(outcome["save_file"], str) or not set(outcome["facts"]) >= NEEDED:
            raise KeyError("no finished record")
        self.entries[outcome["save_file"]] = Entry(outcome["key"], int(outcome["facts"]["segments"]), facts)
        return facts

    def _listing(self, folder: str) -> set[str]:
        path = self.dest / folder
        return set(os.listdir(path)) if path.is_dir() else set()

    def done(self, row: Row, key: str, cfg: PreprocessConfig) -> bool:
        """True for a record whose files are all there and were made with the same key."""
        name = row["save_file"]
        entry = self.entries.get(name)
        if entry is None or entry.key != key:
            return False
        kept = [folder for folder, wanted in (("org", cfg.keep_org), ("preprocessed", cfg.keep_preprocessed)) if wanted]
        pieces = (segment_name(name, i) in self.present["segmented"] for i in range(entry.segments))
        return all(name in self.present[folder] for folder in kept) and all(pieces)

    def clear(self, again: Collection[str]) -> None:
        """Remove the files of records that are processed now, and partial files. Nothing else is touched.

        Args:
            again: save_file of these records.
        """
        for name in again:
            self.entries.pop(name, None)
        for folder, names in self.present.items():
            for name in names:
                record = re.sub(r"_\d+\.mat$", ".mat", name) if folder == "segmented" else name
                if record in again or PARTIAL.fullmatch(name):
                    (self.dest / folder / name).unlink(missing_ok=True)

    def open(self) -> None:
        """Rewrite the file without what `clear` removed, and keep it open for more."""
        with replacing(self.path) as partial, open(partial, "w", encoding="utf-8") as file:
            file.writelines(_line(name, entry.key, entry.facts) for name, entry in self.entries.items())
        self.file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()

    def add(self, outcome: Mapping[str, Any]) -> None:
        assert self.file is not None
        facts = self._remember(outcome)
        self.file.write(_line(outcome["save_file"], outcome["key"], facts))
        self.file.flush()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def _line(name: str, key: str, facts: str) -> str:
    return f'{{"save_file": {json.dumps(name)}, "key": "{key}", "facts": {facts}}}\n'
