"""`read_record`: one record file in any known format -> leads x samples in mV."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.limits import regular_file
from ecg_signals.readers.plausible import check_scale
from ecg_signals.readers.stated import Stated
from ecg_signals.signal.record import Record

if TYPE_CHECKING:
    from ecg_signals.readers.wfdb_header import Header

TABLES = (".csv", ".tsv", ".txt")
HDF5 = (".h5", ".hdf5")
FORMATS = ".hea (WFDB; also without extension or by a signal file), .mat, .h5, .hdf5, .npy, .csv, .tsv, .txt"


def read_record(
    path: str | os.PathLike[str],
    id: int | str | None = None,
    *,
    sample_rate: float | None = None,
    leads: Sequence[str] | None = None,
    units: str | None = None,
    dtype: str = "float32",
) -> Record:
    """One recording as [leads, samples] in mV, NaN where the file has no value.

    Reads WFDB records (named by the .hea file, by a signal file or without extension), MATLAB files (those of
    ecg-preprocess and fairseq-signals, CPSC2018), HDF5 files of CODE-15, SaMi-Trop and SPH, .npy arrays and
    text tables with one column per lead.

    Args:
        path: the file; a relative one that is not found is looked for where the command was typed.
        id: which record of a file that holds many: the exam id of CODE-15, the row in a file without ids.
        sample_rate: Hz, for an array or table that does not say it; 500 is assumed, with a warning.
        leads: names of the rows of an array or table that does not say them; the standard twelve if there are twelve.
        units: what the voltages of the file are in, in place of what it says or of mV, which is assumed where it says
            nothing: mV, uV, V, or the size of one step as in "4.88uV". Columns of a table that name a unit keep it.
        dtype: "float32", or "float64": voltages are computed from what is stored in double precision and stay so; a
            file's own float32 stays float32.
    Warns of what was left out or assumed, and of values that no ECG in mV has.
    Raises: ConfigError naming the file and what is wrong with it.
    """
    path = resolve_input(path)
    try:
        record = _read(path, id, Stated(sample_rate, None if leads is None else list(leads), units, dtype))
    except OSError as error:
        raise ConfigError(f"{error.filename or path} cannot be read ({error.strerror or error}); check it") from None
    check_scale(path, record)
    return record


def _read(path: Path, id: int | str | None, stated: Stated) -> Record:
    header = _wfdb_header(path)
    if header is not None:
        _refuse(path, id, stated, "its header")
        from ecg_signals.readers.wfdb_record import read_wfdb

        return read_wfdb(header, stated.units, stated.dtype)
    _check_exists(path)
    suffix = path.suffix.lower()
    if suffix in HDF5:
        _refuse(path, None, stated, "its layout")
        from ecg_signals.readers.hdf5 import read_hdf5

        return read_hdf5(path, id, stated.units, stated.dtype)
    _refuse(path, id, Stated(), "")
    if suffix == ".mat":
        from ecg_signals.readers.mat import read_mat

        return read_mat(path, stated)
    if suffix == ".npy" or suffix in TABLES:
        from ecg_signals.readers.arrays import read_npy, read_table

        return read_npy(path, stated) if suffix == ".npy" else read_table(path, stated)
    beside = path.with_suffix(".hea")
    hint = f"{beside.name} beside it is one" if beside.is_file() else "convert it to one of them"
    raise ConfigError(
        f"{path} has the extension '{suffix}', which no reader knows; the known ones are {FORMATS}; {hint}"
    )


def _wfdb_header(path: Path) -> "Header | None":
    """The header if `path` names a WFDB record: by its .hea, without extension, or by a signal file that it lists."""
    from ecg_signals.readers.wfdb_header import read_header

    suffix = path.suffix.lower()
    if suffix == ".hea":
        try:
            return read_header(path)
        except FileNotFoundError:
            _check_exists(path)
            raise
    beside = path.parent / f"{path.name}.hea"
    if beside.is_file() and (not suffix or not path.is_file()):
        return read_header(beside)
    if suffix in ("", ".npy", *TABLES, *HDF5):
        return None
    for file in (beside, path.with_suffix(".hea")):
        header = read_header(file) if file.is_file() else None
        if header and any(PurePosixPath(line.file).name == path.name for line in header.signals):
            return header
    return None


def _check_exists(path: Path) -> None:
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; give one record file in it, of a known format: {FORMATS}")
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


def _refuse(path: Path, id: int | str | None, stated: Stated, source: str) -> None:
    """Arguments that the file's format leaves no room for."""
    if id is not None:
        raise ConfigError(f"{path} holds a single record, but id={id!r} was asked for; leave id out")
    given = [name for name, value in vars(stated).items() if value is not None and name not in ("units", "dtype")]
    if given:
        raise ConfigError(f"{path} states its rate and leads by {source}; leave out {', '.join(given)}")
