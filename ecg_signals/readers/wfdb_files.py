"""Signal files of a WFDB record: found beside the header, measured before they are read, and decoded to counts."""

import struct
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.limits import believable, file_beside, size_of
from ecg_signals.readers.mat_file import read_mat_arrays
from ecg_signals.readers.wfdb_formats import FORMATS, Format, flac_frames, read_flac
from ecg_signals.readers.wfdb_header import Header

_CONTAINERS = {
    b"\x89HDF\r\n\x1a\n": "an HDF5 file (a MATLAB 7.3 .mat is one)",
    b"\x93NUMPY": "a NumPy array",
    b"PK\x03\x04": "a zip archive",
    b"\x1f\x8b\x08": "a gzip file",
    b"fLaC": "a FLAC file",
}  # what is no bare row of samples, by its first bytes


@dataclass
class SignalFile:
    """One signal file and the signals that lie in it, sample after sample of each frame.

    Attributes:
        header: the header that names it.
        indices: rows of the header's signals, in the order of their samples in a frame.
        width: samples per frame, all signals together.
        size: bytes of the whole file.
        remarks: what is odd about it; complete after `read`.
    """

    path: Path
    header: Header
    indices: list[int]
    format: Format
    offset: int
    width: int
    size: int
    remarks: list[str] = field(default_factory=list)

    def frames(self) -> int:
        """Whole frames in the file."""
        if self.format.block is None:
            return max(0, flac_frames(self.path) - self.offset) // self._per_frame()
        if self._in_matlab_array():
            return self._matlab_array().size // self.width
        return self.format.counts(max(0, self.size - self.offset)) // self.width

    def check_length(self, frames: int) -> None:
        """Raises: ConfigError when a file of uncompressed samples is too short for `frames`."""
        if self.format.block is None or self._in_matlab_array():
            return
        needed = self.format.bytes(frames * self.width)
        if self.size - self.offset < needed:
            raise self._truncated(f"{self.size} bytes", f"{needed + self.offset}", frames)

    def read(self, frames: int) -> np.ndarray:
        """Counts [frames, width]. Raises: ConfigError for a file that is too short, or holds something else."""
        if self.format.block is None:
            return self._read_flac(frames)
        if self._in_matlab_array():
            counts = self._matlab_array()
            if len(counts) < frames:
                raise self._truncated(f"{len(counts)} samples", f"{frames}", frames)
            self._remark_rest(len(counts) - frames, "samples")
            return counts[:frames]
        total = frames * self.width
        raw = self._read_bytes(self.format.bytes(total))
        self._refuse_containers(raw[:8].tobytes())
        self._remark_rest(self.size - self.offset - self.format.whole_bytes(total), "bytes")
        assert self.format.decode is not None
        counts = self.format.decode(raw, total).reshape(frames, self.width)
        return self._without_differences(counts) if self.format is FORMATS[8] else counts

    def _read_bytes(self, needed: int) -> np.ndarray:
        raw = np.empty(needed, np.uint8)
        with open(self.path, "rb", buffering=0) as file:
            file.seek(self.offset)
            done = 0
            while done < needed and (read := file.readinto(raw[done:].data)):
                done += read
        if done < needed:
            raise ConfigError(f"{self.path} became shorter while it was read; try again")
        return raw

    def _without_differences(self, differences: np.ndarray) -> np.ndarray:
        """Format 8: each signal's counts from their differences and what its line calls the first one."""
        counts, end = np.empty(differences.shape, np.int64), 0
        for index in self.indices:
            line = self.header.signals[index]
            start, end = end, end + line.per_frame
            own = np.cumsum(differences[:, start:end], dtype=np.int64) + line.first
            counts[:, start:end] = own.reshape(len(counts), -1)
        return counts

    def _truncated(self, found: str, expected: str, frames: int) -> ConfigError:
        about = f"{frames} samples of {len(self.indices)} signals ({self.header.path.name})"
        return ConfigError(f"{self.path} is truncated: {found} found, {expected} expected for {about}; get it again")

    def _remark_rest(self, rest: int, unit: str) -> None:
        if rest > 0:
            self.remarks.append(f"{self.path.name} holds {rest} {unit} more than the header accounts for; left out")

    def _refuse_containers(self, start: bytes) -> None:
        kind = next((text for mark, text in _CONTAINERS.items() if start.startswith(mark)), None)
        if kind is not None:
            found = f"{self.path} is {kind}, but {self.header.path.name} says that it holds bare samples"
            raise ConfigError(f"{found}; get the record again")

    def _per_frame(self) -> int:
        return self.width // len(self.indices)

    def _read_flac(self, frames: int) -> np.ndarray:
        """One channel per signal; several samples of a frame follow each other in it."""
        lines = [self.header.signals[index] for index in self.indices]
        each = lines[0].per_frame
        if any(line.per_frame != each for line in lines):
            raise ConfigError(f"{self.path}: signals of one FLAC file must have equally many samples in a frame")
        believable(4 * frames * self.width, self.size, f"{self.path}: its content")
        self._remark_rest(flac_frames(self.path) - self.offset - frames * each, "samples")
        counts = read_flac(self.path, self.offset, frames * each, len(lines), lines[0].format - 500)
        if len(counts) < frames * each:
            raise self._truncated(f"{len(counts)} samples", f"{frames * each}", frames)
        return counts.reshape(frames, each, len(lines)).transpose(0, 2, 1).reshape(frames, self.width)

    def _in_matlab_array(self) -> bool:
        """Whether a .mat file is no MATLAB 4 file of 16-bit integers whose array begins at the header's offset.

        Such a file is a plain signal file with 24 bytes before it, as the PhysioNet challenges publish them; any other
        .mat file, saved again by scipy or a newer MATLAB, is not.
        """
        if not self.path.name.lower().endswith(".mat"):
            return False
        with open(self.path, "rb") as file:
            start = file.read(128)
        self._refuse_containers(start)
        if start.startswith(b"MATLAB"):
            return True
        if len(start) < 20:
            return False
        code, rows, columns, imaginary, length = struct.unpack("<5i", start[:20])
        if code not in range(0, 60, 10) or imaginary not in (0, 1) or not 0 < length <= 64 or min(rows, columns) < 1:
            return False
        return not (code == 30 and rows == self.width and 20 + length == self.offset)

    def _matlab_array(self) -> np.ndarray:
        """Counts [frames, width] of the array `val`, or of the only array there is."""
        found = {name: value for name, value in read_mat_arrays(self.path).items() if value.ndim == 2}
        value = found.get("val", next(iter(found.values())) if len(found) == 1 else None)
        if value is None or self.width not in value.shape or value.dtype.kind not in "iuf":
            shapes = ", ".join(f"{name} {list(array.shape)}" for name, array in list(found.items())[:5]) or "nothing"
            raise ConfigError(f"{self.path} holds {shapes}; expected an array val of {self.width} signals")
        believable(8 * value.size, self.size, f"{self.path}: its array")
        counts = value.T if value.shape[0] == self.width else value
        if counts.dtype.kind == "f" and not np.array_equal(counts, np.rint(counts)):
            raise ConfigError(f"{self.path} holds fractions, but its header describes counts; save the counts")
        text = f"{self.path.name} is a MATLAB file of another kind than the header says; its array is read"
        self.remarks[:] = [text]
        return counts.astype(np.int64, copy=False)


def signal_files(header: Header) -> list[SignalFile]:
    """The signal files of a header, in its order.

    Raises: ConfigError for one that is absent, no ordinary file, or not below the header's folder, and for signals of
        one file that do not agree about it.
    """
    groups: dict[str, list[int]] = {}
    for index, line in enumerate(header.signals):
        groups.setdefault(line.file, []).append(index)
    return [_signal_file(header, name, indices) for name, indices in groups.items()]


def _signal_file(header: Header, name: str, indices: list[int]) -> SignalFile:
    lines = [header.signals[index] for index in indices]
    first = lines[0]
    if any((line.format, line.offset) != (first.format, first.offset) for line in lines):
        raise ConfigError(f"{header.path} gives {name} several formats or offsets; get the header again")
    path, remarks = file_beside(header.path, name), []
    try:
        size = size_of(path)
    except OSError:
        beside = file_beside(header.path, name.replace("\\", "/").rpartition("/")[2])
        if beside == path or not beside.exists():
            raise ConfigError(
                f"{path} does not exist, but {header.path.name} says that it holds samples; put it there"
            ) from None
        path, size = beside, size_of(beside)
        remarks = [f"{name} does not exist; {beside.name} beside the header is read"]
    width = sum(line.per_frame for line in lines)
    return SignalFile(path, header, indices, FORMATS[first.format], first.offset, width, size, remarks)
