"""File names and patient numbers of records."""

import hashlib
import re
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.preprocess.names import surely_distinct
from ecg_signals.tables import Table

LONGEST = 200  # bytes of a record's name; file systems take 255, with what is added to it


def save_files(prefix: str, records: Table) -> list[str]:
    """`<prefix>_<path>.mat`, the path without extension and with _ for / and blanks.

    A column `name`, where the dataset has one, replaces the path.
    """
    column = "name" if "name" in records.columns else "path"
    names = [str(name) if column == "name" else str(name).rpartition(".")[0] or str(name) for name in records[column]]
    files = [f"{_short(_flat(f'{prefix}_{name}'))}.mat" for name in names]
    seen: dict[str, str] = {}
    for file, path in zip(files, records["path"]) if not surely_distinct(files) else ():
        if file in seen:
            raise ConfigError(f"{seen[file]} and {path} would both be stored as {file}; rename one of them")
        seen[file] = path
    return files


def _flat(name: str) -> str:
    """A file name without folders, blanks, and characters that break tables."""
    return re.sub(r"[/\\\0- \x7f\ud800-\udfff]", "_", name)


def _short(name: str) -> str:
    """At most LONGEST bytes; a longer name ends in a digest of the whole."""
    content = name.encode()
    if len(content) <= LONGEST:
        return name
    return f"{content[: LONGEST - 17].decode(errors='ignore')}_{hashlib.sha1(content).hexdigest()[:16]}"


def patient_numbers(records: Table) -> list[Any]:
    """The integer that each record's files carry as `patient_id`; None for all if no record names a patient.

    Whole numbers stay; other names become a number computed from the text, the same in every run and dataset
    folder. A record without a patient, among others that have one, gets a negative number of its own.
    """
    if "patient_id" not in records.columns or records["patient_id"].isna().all():
        return [None] * len(records)
    patients = records["patient_id"].tolist()
    known = [str(value) for value in patients if value == value and value is not None]
    numeric = all(_is_whole(text) for text in known)
    numbers = []
    for idx, value in zip(records["idx"], patients):
        if value is None or value != value:
            numbers.append(-1 - idx)
        elif numeric:
            numbers.append(int(float(value)))
        else:
            numbers.append(int.from_bytes(hashlib.sha1(str(value).encode()).digest()[:6]))
    return numbers


def _is_whole(text: str) -> bool:
    digits = text.removesuffix(".0")
    return digits.isascii() and digits.isdigit() and len(digits) < 16
