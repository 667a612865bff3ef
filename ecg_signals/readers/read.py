"""`read_record`: one record file in any known format -> leads x samples in mV."""

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.limits import regular_file, size_of
from ecg_signals.readers.bare import read_bare
from ecg_signals.readers.base import Reader, read_head
from ecg_signals.readers.foreign import foreign
from ecg_signals.readers.plausible import check_scale
from ecg_signals.readers.stated import Stated
from ecg_signals.registry import inherited_plugins, installed_plugins, register_reader
from ecg_signals.signal.record import Record

_TOLD_BY_CONTENT = (".dcm", ".scp", ".edf", ".bdf", ".ecg", ".xml")  # usual names of formats that none is asked for


def read_record(
    path: str | os.PathLike[str],
    id: int | str | None = None,
    *,
    sample_rate: float | None = None,
    leads: Sequence[str] | None = None,
    units: str | None = None,
    dtype: str = "float32",
    personal: bool = False,
    format: str | None = None,
    gain: float | None = None,
) -> Record:
    """One recording as [leads, samples] in mV, NaN where the file has no value.

    Reads DICOM waveforms, SCP-ECG, HL7 aECG, the XML of GE MUSE, GE CardioSoft and Philips, ISHNE, EDF, EDF+ and BDF,
    WFDB records (named by the .hea file, by a signal file or without extension), MATLAB files (those of ecg-preprocess
    and fairseq-signals, CPSC2018), HDF5 files of CODE-15, SaMi-Trop and SPH, .npy arrays and text tables. The content
    decides which of them a file is, not its name; a .hea counts for .hea, .dat, .mat and names without extension.

    Args:
        path: the file; a relative one that is not found is looked for where the command was typed.
        id: which record of a file that holds many: the exam id of CODE-15, the row in a file without ids.
        sample_rate: Hz, for an array or table that does not say it; 500 is assumed, with a warning.
        leads: names of the rows of an array or table that does not say them; the standard twelve if there are twelve.
        units: what the voltages of the file are in, in place of what it says or of mV, which is assumed where it says
            nothing: mV, uV, V, or the size of one step as in "4.88uV". Columns of a table that name a unit keep it.
        dtype: "float32", or "float64": voltages are computed from what is stored in double precision and stay so; a
            file's own float32 stays float32.
        personal: also gather names, ids and birth dates, in `Record.patient`; else nothing of them is kept.
        format: 16, 212 or another WFDB sample format, for a bare signal file without header, as Holter recorders write;
            with `sample_rate`, `leads` and `gain`.
        gain: counts per mV of such a file.
    Warns of what was left out or assumed, and of values that no ECG in mV has.
    Raises: ConfigError naming the file and what is wrong with it.
    """
    path = resolve_input(path)
    try:
        names = None if leads is None else list(leads)
        stated = Stated(sample_rate, names, units, dtype, personal, format, gain)
        if format is not None or gain is not None:
            record = read_bare(regular_file(path), stated)
        else:
            reader, found = _chosen(path, id, stated)
            record = reader.read(found, id, stated)
            record.format = record.format or reader.name
    except OSError as error:
        raise ConfigError(f"{error.filename or path} cannot be read ({error.strerror or error}); check it") from None
    check_scale(path, record)
    return record


def _chosen(path: Path, id: int | str | None, stated: Stated) -> tuple[Reader, Any]:
    """The reader of a file, and what it needs. Raises: ConfigError where there is none or arguments do not fit."""
    found = reader_of(path)
    if found is not None:
        _refuse(path, id, stated, found[0])
        return found
    _check_exists(path)
    known = f"the known ones are {_formats()}"
    vendor = foreign(read_head(path))
    if vendor is not None:
        raise ConfigError(f"{path} is {vendor}; {known}")
    beside = path.with_suffix(".hea")
    hint = f"{beside.name} beside it is one" if beside.is_file() else "convert it to one of them"
    suffix = path.suffix.lower()
    if not size_of(path):
        raise ConfigError(f"{path} is empty; get the file again")
    if not beside.is_file() and suffix in _TOLD_BY_CONTENT:
        told = f"begins like no record of any known format, whatever its extension '{suffix}' says"
        raise ConfigError(f"{path} {told}; get the file again")
    raise ConfigError(f"{path} has the extension '{suffix}', which no reader knows; {known}; {hint}")


def reader_of(path: Path) -> tuple[Reader, Any] | None:
    """The first reader that knows the file, and what it needs of it; None where none does.

    Raises: ConfigError for a WFDB header that cannot be read; OSError.
    """
    inherited_plugins()
    found = _recognised(path)
    if found is None:
        installed_plugins()
        found = _recognised(path)
    return found


def _readers() -> Sequence[Reader]:
    """In the order in which they are asked; made anew when one is registered."""
    registered = register_reader.entries
    return _readers_of(tuple((name, registered[name].cls) for name in sorted(registered)))


@lru_cache(1)
def _readers_of(registered: tuple[tuple[str, type], ...]) -> Sequence[Reader]:
    ours = register_reader.ours()
    entries = sorted(register_reader.all(), key=lambda entry: (entry.cls.rank, entry.name in ours, entry.name))
    readers = []
    for entry in entries:
        reader = entry.cls(entry.dataclass())
        reader.name, reader.ours = entry.name, entry.name in ours
        readers.append(reader)
    return readers


def _recognised(path: Path) -> tuple[Reader, Any] | None:
    """Plugins that come before all of ours are asked first, then every reader by the content, then by the name."""
    return next(((reader, found) for reader, found in _answers(path, _readers()) if found is not None), None)


def _answers(path: Path, readers: Sequence[Reader]) -> Iterator[tuple[Reader, Any]]:
    for reader in readers:
        if not reader.ours and reader.rank <= 0:
            yield reader, reader.recognise(path)
    there = path.is_file()
    head = read_head(path) if there else b""
    for reader in readers if there else ():
        yield reader, reader.sniffed(path, head)
    for reader in readers:
        if not there or not reader.by_content_alone():
            yield reader, reader.recognise(path)


def _formats() -> str:
    return ", ".join(", ".join(reader.suffixes) + reader.note for reader in _readers())


def _check_exists(path: Path) -> None:
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; give one record file in it, of a known format: {_formats()}")
    if path.is_file():
        if path.suffix.lower() == ".dat":
            raise ConfigError(
                f"{path} has no header {path.with_suffix('.hea').name} beside it that names it; WFDB signals need one"
            )
        return
    if path.exists():
        regular_file(path)
    if not path.parent.is_dir():
        raise ConfigError(f"there is no file {path}: its folder {path.parent} does not exist; check the path")
    raise ConfigError(f"there is no file {path} (nor {path.name}.hea); its folder exists, so check the name")


def _refuse(path: Path, id: int | str | None, stated: Stated, reader: Reader) -> None:
    """Arguments that the file's format leaves no room for."""
    if id is not None and not reader.many:
        raise ConfigError(f"{path} holds a single record, but id={id!r} was asked for; leave id out")
    given = [name for name in ("sample_rate", "leads") if getattr(stated, name) is not None]
    if given and reader.stated_by:
        raise ConfigError(f"{path} states its rate and leads by {reader.stated_by}; leave out {', '.join(given)}")
