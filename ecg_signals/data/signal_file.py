"""One stored segment: the signal of a .mat or .npy file and what the file says about it."""

import hashlib
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.readers.mat_file import read_mat, unreadable
from ecg_signals.readers.npy_file import load_npy

_WANTED = ("feats", "curr_sample_rate", "idx", "patient_id", "label")


@dataclass(slots=True)
class SignalFile:
    """What a file holds.

    Attributes:
        path: where it came from, for messages.
        signal: [leads, samples], any numeric dtype, read-only.
        sample_rate: Hz, None when the file does not say.
        idx: record number, the row of its labels; None when the file does not say.
        patient_id: None when the file does not say or the patient is unknown.
        label: [labels], None when the file has none.
        has_patient: the file has a place for the patient, known or not.
    """

    path: str
    signal: np.ndarray
    sample_rate: float | None = None
    idx: int | None = None
    patient_id: int | None = None
    label: np.ndarray | None = None
    has_patient: bool = False


def read_signal_file(path: str) -> SignalFile:
    """Read a .mat file (`feats` and what may stand beside it) or a .npy file (the array alone).

    Raises: ConfigError naming the file when it is missing, truncated or not of this kind.
    """
    if path.endswith(".npy"):
        return SignalFile(path, _check_shape(path, _read_npy(path)))
    found = read_mat(path, _WANTED)
    if "feats" not in found:
        raise ConfigError(
            f"{path} holds no array `feats`; expected a file that `ecg-preprocess` wrote, with feats [leads, samples]"
        )
    patient = found.get("patient_id")
    return SignalFile(
        path,
        _check_shape(path, found["feats"]),
        _number(found.get("curr_sample_rate")),
        _integer(found.get("idx")),
        None if patient is None else patient_number(patient),
        found["label"].reshape(-1) if "label" in found else None,
        patient is not None,
    )


def patient_number(patient: Any) -> int | None:
    """A patient as int64: numbers stay, text gets a number of its own; None for NaN, empty or negative."""
    value = np.asarray(patient).reshape(-1)
    if value.size == 0:
        return None
    if value.dtype.kind in "iuf":
        return None if np.isnan(value[0]) or value[0] < 0 else int(value[0])
    text = str(value[0]).strip()
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1 if text else None


def _number(value: np.ndarray | None) -> float | None:
    return None if value is None or value.size == 0 else value.reshape(-1)[0].item()


def _integer(value: np.ndarray | None) -> int | None:
    number = _number(value)
    return None if number is None or number != number else int(number)


def _read_npy(path: str) -> np.ndarray:
    try:
        return load_npy(path)
    except OSError as error:
        raise ConfigError(unreadable(path, error)) from None


def _check_shape(path: str | os.PathLike[str], signal: np.ndarray) -> np.ndarray:
    if signal.ndim != 2 or signal.dtype.kind not in "iuf":
        raise ConfigError(
            f"{path} holds {signal.dtype} of shape {list(signal.shape)}; expected numbers of shape [leads, samples]"
        )
    return signal
