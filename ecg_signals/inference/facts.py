"""What an answer says of the record and of the model, beside what the model says."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ecg_signals.config import resolve_input
from ecg_signals.limits import file_beside
from ecg_signals.readers.wfdb_header import read_header
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record


def facts(path: str | os.PathLike[str], record: Record) -> dict[str, Any]:
    """`format`, `sha256`, `seconds`, `rate`, `leads`, `derived` and `start` of a record; nothing names a person."""
    return {
        "format": record.format,
        "sha256": digest(_files(resolve_input(path))),
        "seconds": record.signal.shape[-1] / record.sample_rate,
        "rate": float(record.sample_rate),
        "leads": in_order(record.leads),
        "derived": in_order(record.derived),
        "start": record.start,
    }


def in_order(leads: Sequence[str]) -> list[str]:
    """The standard leads in their usual order, then the others: files of one record list them in several."""
    return sorted(leads, key=lambda name: LEADS.index(name) if name in LEADS else len(LEADS))


def digest(files: Iterable[Path]) -> str:
    """SHA-256 of the content of files, one behind the other; folders among them are passed over."""
    found = hashlib.sha256()
    for path in files:
        if not path.is_file():
            continue
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                found.update(piece)
    return found.hexdigest()


def version_of(labels: Sequence[str]) -> str:
    """A short name for these labels in this order."""
    return hashlib.sha256("\n".join(labels).encode()).hexdigest()[:12]


def _files(path: Path) -> Iterator[Path]:
    """The file that was named; of a WFDB header, also of one that is named without extension, and what it names."""
    beside = path.parent / f"{path.name}.hea"
    if path.suffix.lower() != ".hea" and not beside.is_file():
        yield path
        return
    header = read_header(path if path.suffix.lower() == ".hea" else beside)
    yield header.path
    named = dict.fromkeys(line.file for line in header.signals)
    found = [file_beside(header.path, name) for name in named if name not in ("", "~", "-")]
    yield from (file for file in found if file.is_file())
    for name, _ in header.segments:
        part = file_beside(header.path, f"{name}.hea") if name != "~" else header.path
        if part.is_file() and part != header.path:
            yield from _files(part)
