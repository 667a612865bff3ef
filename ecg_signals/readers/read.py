"""`read_record`: one record file in any known format -> leads x samples in mV."""

import os
from collections.abc import Sequence
from pathlib import Path

from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.readers.stated import Stated
from ecg_signals.signal.record import Record

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
) -> Record:
    """One recording as float32 [leads, samples] in mV, NaN where the file has no value.

    Reads WFDB records (named by the .hea file, by a signal file or without extension), MATLAB files (those of
    ecg-preprocess and fairseq-signals, CPSC2018), HDF5 files of CODE-15, SaMi-Trop and SPH, .npy arrays and
    text tables with one column per lead.

    Args:
        path: the file; a relative one that is not found is looked for where the command was typed.
        id: which record of a file that holds many: the exam id of CODE-15, the row in a file without ids.
        sample_rate: Hz, for an array or table that does not say it; 500 is assumed, with a warning.
        leads: names of the rows of an array or table that does not say them; the standard twelve if there are twelve.
        units: mV (assumed), uV or V, for an array or table that does not say them.
    Raises: ConfigError naming the file and what is wrong with it.
    """
    path = resolve_input(path)
    stated = Stated(sample_rate, None if leads is None else list(leads), units)
    header = _wfdb_header(path)
    if header is not None:
        _refuse(path, id, stated, "its header")
        from ecg_signals.readers.wfdb_record import read_wfdb

        return read_wfdb(header)
    _check_exists(path)
    suffix = path.suffix.lower()
    if suffix in HDF5:
        _refuse(path, None, stated, "its layout")
        from ecg_signals.readers.hdf5 import read_hdf5

        return read_hdf5(path, id)
    _refuse(path, id, Stated(), "")
    if suffix == ".mat":
        from ecg_signals.readers.mat import read_mat

        return read_mat(path, stated)
    if suffix == ".npy" or suffix in TABLES:
        from ecg_signals.readers.arrays import read_npy, read_table

        return read_npy(path, stated) if suffix == ".npy" else read_table(path, stated)
    raise ConfigError(f"{path} has the extension '{suffix}', which no reader knows; the known ones are {FORMATS}")


def _wfdb_header(path: Path) -> Path | None:
    """The header file if `path` names a WFDB record, else None."""
    if path.suffix.lower() == ".hea":
        _check_exists(path)
        return path
    beside = path.parent / f"{path.name}.hea"
    if beside.is_file():
        return beside
    own_format = path.suffix.lower() in (*TABLES, *HDF5, ".npy", ".hea", "")
    beside = path.with_suffix(".hea") if path.name else path
    return beside if not own_format and beside.is_file() else None


def _check_exists(path: Path) -> None:
    if path.is_dir():
        raise ConfigError(f"{path} is a folder; give one record file in it, of a known format: {FORMATS}")
    if path.is_file():
        if path.suffix.lower() == ".dat":
            raise ConfigError(f"{path} has no header {path.with_suffix('.hea').name} beside it; WFDB signals need one")
        return
    if not path.parent.is_dir():
        raise ConfigError(f"there is no file {path}: its folder {path.parent} does not exist; check the path")
    raise ConfigError(f"there is no file {path} (nor {path.name}.hea); its folder exists, so check the name")


def _refuse(path: Path, id: int | str | None, stated: Stated, source: str) -> None:
    """Arguments that the file's format leaves no room for."""
    if id is not None:
        raise ConfigError(f"{path} holds a single record, but id={id!r} was asked for; leave id out")
    given = [name for name, value in vars(stated).items() if value is not None]
    if given:
        raise ConfigError(f"{path} states its rate, leads and units by {source}; leave out {', '.join(given)}")
