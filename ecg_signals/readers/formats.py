"""The formats that are known without a plugin; what reads one is imported when such a file comes."""

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from ecg_signals.readers.base import Reader
from ecg_signals.readers.stated import Stated
from ecg_signals.registry import register_reader
from ecg_signals.signal.record import Record

if TYPE_CHECKING:
    from ecg_signals.readers.wfdb_header import Header


@register_reader("wfdb")
class WfdbReader(Reader):
    """WFDB records, named by the .hea, without extension, or by a signal file that the header lists."""

    suffixes = (".hea",)
    note = " (WFDB; also without extension or by a signal file)"
    stated_by = "its header"
    rank = 1  # its signal files may have any name

    def recognise(self, path: Path) -> "Header | None":
        from ecg_signals.readers.wfdb_header import read_header

        suffix, beside = path.suffix.lower(), path.parent / f"{path.name}.hea"
        if suffix == ".hea":
            return read_header(path) if path.exists() else None
        if beside.is_file() and (not suffix or not path.is_file()):
            return read_header(beside)
        for file in (beside, path.with_suffix(".hea")) if suffix else ():
            header = read_header(file) if file.is_file() else None
            if header and any(PurePosixPath(line.file).name == path.name for line in header.signals):
                return header
        return None

    def read(self, found: "Header", id: int | str | None, stated: Stated) -> Record:
        from ecg_signals.readers.wfdb_record import read_wfdb

        return read_wfdb(found, stated.units, stated.dtype)


@register_reader("mat")
class MatReader(Reader):
    """MATLAB files: those of ecg-preprocess and fairseq-signals with `feats`, CPSC2018's with the struct `ECG`."""

    suffixes = (".mat",)
    rank = 2  # WFDB records may keep their signals in such files

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        from ecg_signals.readers.mat import read_mat_record

        return read_mat_record(found, stated)


@register_reader("hdf5")
class Hdf5Reader(Reader):
    """HDF5 files of CODE-15, SaMi-Trop and the CODE test set, which hold many records, and of SPH."""

    suffixes = (".h5", ".hdf5")
    stated_by = "its layout"
    many = True

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        from ecg_signals.readers.hdf5 import read_hdf5

        return read_hdf5(found, id, stated.units, stated.dtype)


@register_reader("npy")
class NpyReader(Reader):
    """NumPy arrays, one per file."""

    suffixes = (".npy",)

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        from ecg_signals.readers.arrays import read_npy

        return read_npy(found, stated)


@register_reader("table")
class TableReader(Reader):
    """Text tables with one column per lead and one row per sample."""

    suffixes = (".csv", ".tsv", ".txt")

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        from ecg_signals.readers.arrays import read_text_table

        return read_text_table(found, stated)
