"""The sample formats of WFDB signal files: how many bytes a count takes, and the counts that bytes hold."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError


@dataclass(frozen=True)
class Format:
    """A way of storing counts.

    Attributes:
        block: (counts, bytes) of the smallest unit that can be read alone; None for compressed formats.
        missing: the count that stands for a missing value; None where the format has none.
        decode: bytes as uint8 [bytes], number of counts -> integers [counts].
        word: bytes that are written together, where a block holds several such words.
    """

    block: tuple[int, int] | None
    missing: int | None
    decode: Callable[[np.ndarray, int], np.ndarray] | None = None
    word: int = 1

    def bytes(self, counts: int) -> int:
        """Bytes that hold `counts` counts."""
        per, size = self.block or (1, 0)
        return -(-counts * size // (per * self.word)) * self.word

    def whole_bytes(self, counts: int) -> int:
        """The same, filled up to whole blocks, as some programs write them."""
        per, size = self.block or (1, 0)
        return -(-counts // per) * size

    def counts(self, size: int) -> int:
        """Whole counts in `size` bytes."""
        per, width = self.block or (1, 1)
        return size // self.word * self.word * per // width


def _as(dtype: str, shift: int = 0) -> Callable[[np.ndarray, int], np.ndarray]:
    width = np.dtype(dtype).itemsize

    def decode(raw: np.ndarray, counts: int) -> np.ndarray:
        values = raw[: counts * width].view(dtype)
        return values.astype(np.int32) - shift if shift else values

    return decode


def _unpack_24(raw: np.ndarray, counts: int) -> np.ndarray:
    """Three bytes, the lowest first: they become the upper ones of four, and the sign comes along."""
    wide = np.zeros((counts, 4), np.uint8)
    wide[:, 1:] = raw[: counts * 3].reshape(counts, 3)
    return wide.view("<i4").reshape(-1) >> 8


def _unpack_212(raw: np.ndarray, counts: int) -> np.ndarray:
    """Two 12-bit two's-complement counts lie in three bytes: low byte, both high nibbles, low byte."""
    triples = _padded(raw, 3).reshape(-1, 3).astype(np.int16)
    pairs = np.empty((len(triples), 2), np.int16)
    pairs[:, 0] = (triples[:, 0] | ((triples[:, 1] & 0x0F) << 8)) << 4  # the sign bit now is the highest one
    pairs[:, 1] = (triples[:, 2] | ((triples[:, 1] & 0xF0) << 4)) << 4
    return (pairs >> 4).reshape(-1)[:counts]


def _unpack_310(raw: np.ndarray, counts: int) -> np.ndarray:
    """Three 10-bit counts in two 16-bit words: bits 1-10 of each, and the third from bits 11-15 of both."""
    words = _padded(raw, 4).view("<u2").reshape(-1, 2)
    triples = np.empty((len(words), 3), np.uint16)
    triples[:, :2] = (words >> 1) & 0x3FF
    triples[:, 2] = (words[:, 0] >> 11) | ((words[:, 1] >> 11) << 5)
    return _signed_10(triples)[:counts]


def _unpack_311(raw: np.ndarray, counts: int) -> np.ndarray:
    """Three 10-bit counts in the lower 30 bits of a 32-bit word."""
    words = _padded(raw, 4).view("<u4")
    triples = np.stack([(words >> shift) & 0x3FF for shift in (0, 10, 20)], axis=1).astype(np.uint16)
    return _signed_10(triples)[:counts]


def _signed_10(triples: np.ndarray) -> np.ndarray:
    return ((triples << 6).view(np.int16) >> 6).reshape(-1)


def _padded(raw: np.ndarray, width: int) -> np.ndarray:
    """The bytes, filled up with zeros to whole blocks."""
    return np.append(raw, np.zeros(-len(raw) % width, np.uint8)) if len(raw) % width else raw


FORMATS: dict[int, Format] = {
    8: Format((1, 1), None, _as("i1")),  # differences of counts
    16: Format((1, 2), -(2**15), _as("<i2")),
    24: Format((1, 3), -(2**23), _unpack_24),
    32: Format((1, 4), -(2**31), _as("<i4")),
    61: Format((1, 2), -(2**15), _as(">i2")),
    80: Format((1, 1), -128, _as("u1", 128)),
    160: Format((1, 2), -(2**15), _as("<u2", 32768)),
    212: Format((2, 3), -2048, _unpack_212),
    310: Format((3, 4), -512, _unpack_310, word=2),
    311: Format((3, 4), -512, _unpack_311),
    508: Format(None, -128),
    516: Format(None, -(2**15)),
    524: Format(None, -(2**23)),
}
_FLAC_BITS = {"PCM_S8": 8, "PCM_16": 16, "PCM_24": 24}


def flac_frames(path: Path) -> int:
    """Samples per channel of a FLAC file."""
    with _open_flac(path) as file:
        return int(file.frames)


def read_flac(path: Path, start: int, samples: int, channels: int, bits: int) -> np.ndarray:
    """int32 [samples, channels] from sample `start` of a FLAC file; fewer where it ends earlier.

    Args:
        bits: the highest resolution that the header's format allows.
    Raises: ConfigError for another number of channels, a higher resolution, or a file that is no FLAC.
    """
    with _open_flac(path) as file:
        stored = _FLAC_BITS.get(file.subtype, 32)
        if file.channels != channels or stored > bits:
            found = f"{file.channels} channels of {stored} bits"
            raise ConfigError(f"{path} holds {found}; its header describes {channels} of at most {bits} bits")
        try:
            file.seek(start)
            result = np.empty((samples, channels), np.int32)
            done = 0
            while done < samples:
                read = len(file.read(out=result[done : done + 2**20]))  # libsndfile fails on more than 2**24 counts
                if not read:
                    break
                done += read
        except RuntimeError as error:
            raise ConfigError(f"{path} cannot be read ({error}); get the record's files again") from None
    return result[:done] >> (32 - stored)


def _open_flac(path: Path) -> Any:
    import soundfile

    try:
        file = soundfile.SoundFile(path)
    except (RuntimeError, OSError) as error:
        raise ConfigError(f"{path} cannot be read ({error}); get the record's files again") from None
    if file.format != "FLAC":
        raise ConfigError(f"{path} is a {file.format} file, but its header says FLAC; get the record's files again")
    return file
