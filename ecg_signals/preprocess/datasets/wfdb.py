"""One's own WFDB records."""

from pathlib import Path

from ecg_signals.config import ConfigError
from ecg_signals.preprocess.options import OwnConfig
from ecg_signals.preprocess.own_files import OwnFiles
from ecg_signals.readers.wfdb_header import read_header
from ecg_signals.registry import register_source


@register_source("wfdb", dataclass=OwnConfig)
class Wfdb(OwnFiles):
    """Every .hea below SOURCE; the segments of a multi-segment record belong to it and are no records."""

    title = "your own WFDB records"
    layout = "WFDB records (.hea with their signal files) at any depth, and optionally a table about them"
    prefix = "wfdb"
    suffix = ".hea"

    def paths(self, suffix: str = "") -> list[str]:
        headers = super().paths(suffix)
        segments = {segment for path in headers for segment in segments_of(self.folder, path)}
        return [path for path in headers if path not in segments]


def segments_of(folder: Path, path: str) -> list[str]:
    """Headers of the segments that the header `path`, below `folder`, lists; none for an ordinary record."""
    try:
        header = read_header(folder / path)
    except (ConfigError, OSError):  # reading the record will say what is wrong with it
        return []
    below = path.rpartition("/")[0]
    return [f"{below}/{name}.hea" if below else f"{name}.hea" for name, _ in header.segments]
