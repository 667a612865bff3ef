"""DEST/progress.jsonl: which records are done, with what settings; the memory of a run that was stopped."""

import hashlib
import json
import os
import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

from ecg_signals.preprocess.signals import FOLDERS, segment_name
from ecg_signals.preprocess.source import Row, Source

VERSION = 1  # raise it when the stored signals change for the same settings


def settings_of(source: Source) -> dict[str, Any]:
    """What the stored files depend on besides the record itself."""
    from ecg_signals.preprocess.options import SIGNAL_OPTIONS

    names = (*SIGNAL_OPTIONS, *source.reading_options)
    return {"version": VERSION, "dataset": source.prefix, **{name: getattr(source.cfg, name) for name in names}}


def record_key(settings: Mapping[str, Any], source: Source, row: Row) -> str:
    """Changes if the settings, the row's identity, or one of the record's files changes."""
    stamps = []
    for path in source.files(row):
        try:
            stat = path.stat()
        except OSError:
            continue
        stamps.append([path.name, stat.st_size, stat.st_mtime_ns])
    identity = [row[name] for name in ("idx", "path", "save_file", "patient_number")] + [row.get("record_id")]
    text = json.dumps([settings, identity, stamps], sort_keys=True, default=str)
    return hashlib.sha1(text.encode()).hexdigest()


class Journal:
    """The finished records of DEST. One line per record, appended when its files are in place."""

    def __init__(self, dest: Path) -> None:
        self.dest, self.path = dest, dest / "progress.jsonl"
        self.entries: dict[str, dict[str, Any]] = {}
        self.file: TextIO | None = None
        if self.path.is_file():
            for line in self.path.read_text(encoding="utf-8").splitlines():
                try:
                    entry = json.loads(line)
                    self.entries[entry["save_file"]] = entry
                except (ValueError, KeyError, TypeError):
                    continue  # the line that was being written when the run was stopped
        self.present = {name: self._listing(name) for name in FOLDERS}

    def _listing(self, folder: str) -> set[str]:
        path = self.dest / folder
        return set(os.listdir(path)) if path.is_dir() else set()

    def done(self, row: Row, key: str, cfg: Any) -> dict[str, Any] | None:
        """The facts of a record whose files are all there and were made with the same key; else None."""
        entry = self.entries.get(row["save_file"])
        if entry is None or entry["key"] != key:
            return None
        kept = [name for name, wanted in (("org", cfg.keep_org), ("preprocessed", cfg.keep_preprocessed)) if wanted]
        whole = all(row["save_file"] in self.present[name] for name in kept)
        pieces = (
            segment_name(row["save_file"], i) in self.present["segmented"] for i in range(entry["facts"]["segments"])
        )
        return entry["facts"] if whole and all(pieces) else None

    def clear(self, done: Mapping[str, str], again: Collection[str]) -> None:
        """Remove what is not wanted any more: files of records with another key, of records to redo, partial files.

        Args:
            done: save_file -> key of the records that stay.
            again: save_file of the records that are processed now.
        """
        stale = {name: entry for name, entry in self.entries.items() if done.get(name) != entry["key"]}
        for name, entry in stale.items():
            del self.entries[name]
            for folder in ("org", "preprocessed"):
                (self.dest / folder / name).unlink(missing_ok=True)
            for i in range(entry["facts"]["segments"]):
                (self.dest / "segmented" / segment_name(name, i)).unlink(missing_ok=True)
        for folder, names in self.present.items():
            for name in names:
                record = re.sub(r"_\d+\.mat$", ".mat", name) if folder == "segmented" else name
                if record in again or (name.startswith(".") and name.endswith(".tmp")):
                    (self.dest / folder / name).unlink(missing_ok=True)

    def open(self) -> None:
        """Rewrite the file without what is stale, and keep it open for more."""
        from ecg_signals.preprocess.tables import write_text

        write_text(self.path, "".join(_line(entry) for entry in self.entries.values()))
        self.file = open(self.path, "a", encoding="utf-8")  # noqa: SIM115 - closed by close()

    def add(self, entries: Iterable[dict[str, Any]]) -> None:
        assert self.file is not None
        for entry in entries:
            self.entries[entry["save_file"]] = entry
            self.file.write(_line(entry))
        self.file.flush()

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def _line(entry: Mapping[str, Any]) -> str:
    return json.dumps(entry, ensure_ascii=False) + "\n"
