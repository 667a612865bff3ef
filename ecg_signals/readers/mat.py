"""MATLAB files that are no WFDB record: `feats` files of ecg-preprocess and fairseq-signals, and CPSC2018."""

import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.readers.stated import Stated, array_record
from ecg_signals.signal.record import Record

CPSC2018_RATE = 500  # Hz; the files do not say it


def read_mat(path: Path, stated: Stated) -> Record:
    """A file holding `feats` [leads, samples] with `curr_sample_rate`, or the struct `ECG` of CPSC2018.

    Args:
        stated: rate, leads and units where the file says nothing; it is taken to be in mV, in the standard order.
    """
    content = _load(path)
    if "feats" in content:
        signal_keys = ("feats", "curr_sample_rate", "leads")
        metadata = {key: _plain(value) for key, value in content.items() if key not in signal_keys}
        rate = content.get("curr_sample_rate")
        names = content.get("leads")
        own = Stated(
            None if rate is None else float(np.asarray(rate).reshape(-1)[0]),
            None if names is None else [str(name).strip() for name in np.asarray(names).reshape(-1)],
        )
        return array_record(path, content["feats"], own.over(stated), metadata, comments=[])
    struct = content.get("ECG")
    if struct is not None and struct.dtype.names and "data" in struct.dtype.names:
        fields = {name: struct[name].reshape(-1)[0] for name in struct.dtype.names}
        signal = np.asarray(fields.pop("data"))
        own = Stated(CPSC2018_RATE)
        return array_record(path, signal, own.over(stated), {key: _plain(fields[key]) for key in fields}, comments=[])
    if "val" in content:
        header = path.with_suffix(".hea").name
        raise ConfigError(f"{path} needs its header {header} beside it, which states gain and rate")
    raise ConfigError(f"{path} holds {', '.join(content) or 'nothing'}; expected 'feats' or the struct 'ECG'")


def _load(path: Path) -> dict[str, Any]:
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        content = loadmat(path)
    except NotImplementedError as error:
        raise ConfigError(f"{path} is a MATLAB 7.3 file; save it with '-v7' and read it again") from error
    except (ValueError, TypeError, KeyError, IndexError, OSError, EOFError, MatReadError, zlib.error) as error:
        raise ConfigError(f"{path} is truncated or no MATLAB file ({error}); get the file again") from error
    return {key: value for key, value in content.items() if not key.startswith("__")}


def _plain(value: Any) -> Any:
    """A MATLAB 1x1 array as its Python scalar, text as str, anything else as the array."""
    value = np.asarray(value)
    return value.reshape(-1)[0].item() if value.size == 1 and value.dtype.kind in "biufU" else value
