"""One's own record files of any format that `read_record` knows, also mixed."""

from pathlib import Path, PurePosixPath
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.preprocess.datasets.wfdb import segments_of
from ecg_signals.preprocess.options import OwnArrayConfig
from ecg_signals.preprocess.own_files import OwnArrays, file_column
from ecg_signals.preprocess.source import Row
from ecg_signals.readers.read import reader_of
from ecg_signals.registry import register_source
from ecg_signals.tables import Table, header_of


@register_source("files", dataclass=OwnArrayConfig)
class Files(OwnArrays):
    """The content of a file says what it is, not its name. A header's signal files and segments are parts of its
    record, and tables with a column of file names are no records. Names and ids in the files are not read.
    """

    title = "your own record files: DICOM, SCP-ECG, HL7 aECG, MUSE, CardioSoft, Philips, ISHNE, EDF, WFDB, .npy, tables"
    layout = "record files at any depth, and optionally a table with columns path, patient_id, labels ..."
    prefix = "files"
    suffix = ""  # any

    def paths(self, suffix: str = "") -> list[str]:
        found = super().paths(suffix)
        headers = [name for name in found if name.lower().endswith(".hea")]
        segments = {segment for header in headers for segment in segments_of(self.folder, header)}
        table = self.table_path()
        return [
            name for name in found
            if name not in segments and self.folder / name != table and self._is_record(self.folder / name)
        ]  # fmt: skip

    def records(self) -> Table:
        """As for all one's own files; those that differ by their extension alone keep it in their names."""
        found = super().records()
        stems = found["path"].map(lambda path: str(PurePosixPath(path).with_suffix("")))
        twice = stems.duplicated(keep=False)
        if twice.any():
            found["name"] = stems.where(~twice, found["path"].map(lambda path: "_".join(path.rsplit(".", 1))))
        return found

    def _is_record(self, path: Path) -> bool:
        try:
            known = reader_of(path)
        except (ConfigError, OSError):  # reading the record will say what is wrong with it
            return True
        if known is None:
            self.remark(f"{path.relative_to(self.folder)} is left out: it is no record of a known format")
            return False
        reader, _ = known
        if reader.name == "table":
            return not file_column(header_of(path))
        return reader.name != "wfdb" or path.suffix.lower() == ".hea"

    def reading(self, row: Row) -> dict[str, Any]:
        """Rate and leads for files that may not state them alone."""
        options = super().reading(row)
        known = reader_of(self.folder / row["path"])
        if known is not None and known[0].stated_by:
            options["sample_rate"] = options["leads"] = None
        return options
