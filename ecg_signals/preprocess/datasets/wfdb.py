"""One's own WFDB records."""

import re

from ecg_signals.preprocess.own_files import OwnFiles
from ecg_signals.preprocess.source import walk


class Wfdb(OwnFiles):
    """Every .hea below SOURCE; the segments of a multi-segment record belong to it and are no records."""

    title = "your own WFDB records"
    layout = "WFDB records (.hea with their signal files) at any depth, and optionally a table about them"
    prefix = "wfdb"
    suffix = ".hea"

    def paths(self) -> list[str]:
        headers = list(walk(self.folder, self.suffix, self.skip))
        segments: set[str] = set()
        for path in headers:
            segments.update(self._segments(path))
        return [path for path in headers if path not in segments]

    def _segments(self, path: str) -> list[str]:
        """Headers of the segments that this header lists; none for an ordinary record."""
        with open(self.folder / path, encoding="utf-8", errors="replace") as file:
            lines = [line for line in file if line.strip() and not line.startswith("#")]
        if not lines or not re.match(r"\s*\S+/\d+\s", lines[0]):
            return []
        folder = path.rpartition("/")[0]
        names = [line.split()[0] for line in lines[1:]]
        return [f"{folder}/{name}.hea" if folder else f"{name}.hea" for name in names]
