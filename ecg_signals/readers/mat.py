"""MATLAB files that are no WFDB record: `feats` files of ecg-preprocess and fairseq-signals, and CPSC2018."""

from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.readers.base import Reader
from ecg_signals.readers.mat_file import read_mat_arrays
from ecg_signals.readers.stated import Stated, array_record
from ecg_signals.registry import register_reader
from ecg_signals.signal.record import Record

CPSC2018_RATE = 500  # Hz; the files do not say it


@register_reader("mat")
class MatReader(Reader):
    """MATLAB files: those of ecg-preprocess and fairseq-signals with `feats`, CPSC2018's with the struct `ECG`."""

    suffixes = (".mat",)
    rank = 2  # WFDB records may keep their signals in such files

    def sniff(self, head: bytes) -> bool:
        return head.startswith(b"MATLAB 5.0")

    def read(self, found: Path, id: int | str | None, stated: Stated) -> Record:
        """A file holding `feats` [leads, samples] with `curr_sample_rate`, or the struct `ECG` of CPSC2018.

        `stated` counts where the file says nothing; it is taken to be in mV, in the standard order.
        """
        return _record(found, stated)


def _record(path: Path, stated: Stated) -> Record:
    if not path.stat().st_size:
        raise ConfigError(f"{path} is truncated: it is empty; get the file again")
    content = read_mat_arrays(path)
    if "feats" in content:
        signal_keys = ("feats", "curr_sample_rate", "leads")
        metadata = {key: _plain(value) for key, value in content.items() if key not in signal_keys}
        own = Stated(_rate(path, content.get("curr_sample_rate")), _names(path, content.get("leads")))
        return array_record(path, content["feats"], own.with_caller(path, stated), metadata, comments=[])
    struct = content.get("ECG")
    if struct is not None and struct.dtype.names and "data" in struct.dtype.names and struct.size == 1:
        fields = {name: struct[name].reshape(-1)[0] for name in struct.dtype.names}
        signal = np.asarray(fields.pop("data"))
        own = Stated(CPSC2018_RATE).with_caller(path, stated)
        return array_record(path, signal, own, {key: _plain(fields[key]) for key in fields}, comments=[])
    if "val" in content:
        header = path.with_suffix(".hea").name
        raise ConfigError(f"{path} needs its header {header} beside it, which states gain and rate")
    raise ConfigError(f"{path} holds {', '.join(content) or 'nothing'}; expected 'feats' or the struct 'ECG'")


def _rate(path: Path, value: Any) -> float | None:
    if value is None:
        return None
    found = np.asarray(value).reshape(-1)
    if found.size != 1 or found.dtype.kind not in "fiu":
        raise ConfigError(f"{path} holds a curr_sample_rate that is no number; write it again")
    return float(found[0])


def _names(path: Path, value: Any) -> list[str] | None:
    """Texts, or cells of texts."""
    if value is None:
        return None
    cells = np.asarray(value).reshape(-1)
    texts = [cell for item in cells for cell in np.asarray(item).reshape(-1)] if cells.dtype.kind == "O" else cells
    if any(not isinstance(text, str) for text in texts):
        raise ConfigError(f"{path} holds lead names that are no texts; write it again")
    return [text.strip() for text in texts]


def _plain(value: Any) -> Any:
    """A MATLAB 1x1 array as its Python scalar, text as str, anything else as the array."""
    value = np.asarray(value)
    return value.reshape(-1)[0].item() if value.size == 1 and value.dtype.kind in "biufU" else value
