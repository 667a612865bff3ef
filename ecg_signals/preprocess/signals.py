"""One record -> org, preprocessed and segment files, and what meta.csv says about its signal."""

import hashlib
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.preprocess.mat_writer import write_mat
from ecg_signals.preprocess.options import PreprocessConfig
from ecg_signals.signal.resample import resample_linear

if TYPE_CHECKING:
    from ecg_signals.preprocess.source import Row, Source
    from ecg_signals.signal.record import Record

Centre = tuple[np.ndarray, np.ndarray, np.ndarray]  # mean [leads], deviation [leads], mean-free [leads, samples]
FOLDERS = ("org", "preprocessed", "segmented")


def process_record(source: "Source", row: "Row", dest: Path) -> dict[str, Any]:
    """Read one record, write its files below `dest`, and return its facts.

    Raises: ConfigError if the record cannot be read or has none of the leads; OSError if nothing can be written.
    """
    org = read_ordered(source, row)
    return org.facts | {"segments": store(org, row, source, dest)}


class Ordered(NamedTuple):
    """A record's wanted leads.

    Attributes:
        signal: mV [leads, samples], of the record's type, NaN rows for missing leads.
        rate: its Hz.
        facts: what meta.csv says about it.
        centre: what `centre_leads` gives of the signal.
    """

    signal: np.ndarray
    rate: float
    facts: dict[str, Any]
    centre: Centre


def read_ordered(source: "Source", row: "Row") -> Ordered:
    """Raises: ConfigError if the record cannot be read or has none of the leads."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        record = source.read(row)
    wrong_checksum = bool(record.metadata.get("wrong_checksum"))
    notes = [str(item.message) for item in caught if not ("checksum" in str(item.message) and wrong_checksum)]
    cfg = source.settings(row)
    org = ordered(record, cfg)
    if cfg.leads != source.cfg.leads:
        org.facts["lead_order"] = list(cfg.leads)
    org.facts.update({"wrong_checksum": wrong_checksum, "notes": "; ".join(dict.fromkeys(notes))})
    org.facts.update(source.facts(record))
    return org


def ordered(record: "Record", cfg: PreprocessConfig) -> Ordered:
    """The wanted leads and their statistics."""
    from ecg_signals.signal.leads import order_leads
    from ecg_signals.signal.standardise import centre_leads

    have = {name.lower() for name in record.leads}
    available = [name for name in cfg.leads if name.lower() in have]
    if not available or not record.signal.shape[-1]:
        found = ", ".join(record.leads) if not available else "no samples"
        raise ConfigError(f"holds {found}; expected {', '.join(cfg.leads)}. Set leads={','.join(record.leads)}")
    signal = order_leads(record.signal, record.leads, cfg.leads)
    derived: list[str] = []
    nan_leads: list[str] = []
    nan_any = False
    if not np.isfinite(signal).all():
        signal, derived, missing = without_infinite(signal, cfg)
        nan_leads, nan_any = named(cfg.leads, np.asarray(missing.all(axis=1))), bool(missing.any())
    mean, deviation, _ = centre = centre_leads(signal)
    constant = named(cfg.leads, deviation == 0)
    facts = {
        "avail_leads": available,
        "derived_leads": derived,
        "sample_rate": _whole(record.sample_rate),
        "sample_size": signal.shape[1],
        "units": "mv",
        "nan_any": nan_any,
        "nan_leads_any": bool(nan_leads),
        "nan_leads": nan_leads,
        "constant_leads_any": bool(constant),
        "constant_leads": constant,
    }
    facts["signal_sha1"] = hashlib.sha1(np.ascontiguousarray(signal).data).hexdigest()[:16]  # tells equal records
    facts |= {"mean": mean.astype(float).tolist(), "std": deviation.astype(float).tolist()}
    return Ordered(signal, record.sample_rate, facts, centre)


def without_infinite(signal: np.ndarray, cfg: PreprocessConfig) -> tuple[np.ndarray, list[str], np.ndarray]:
    """The signal [leads, samples] with NaN for what is not finite and limb leads from others where that is asked for,
    their names, and where NaN is left.
    """
    from ecg_signals.signal.leads import derive_limb_leads

    missing = ~np.isfinite(signal)
    signal[missing] = np.nan
    if not cfg.derive_leads:
        return signal, [], missing
    signal, derived = derive_limb_leads(signal, cfg.leads)
    return signal, derived, np.isnan(signal)


def named(leads: list[str], which: np.ndarray) -> list[str]:
    """The leads for which `which` is True."""
    return [name for name, chosen in zip(leads, which) if chosen]


def _whole(rate: float) -> float:
    return int(rate) if rate == int(rate) else float(rate)


def preprocess(
    org: np.ndarray,
    rate: float,
    cfg: PreprocessConfig,
    centre: Centre | None = None,
    resample: Callable[[np.ndarray, float, float], np.ndarray] = resample_linear,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Resample and standardise a whole record.

    Args:
        org: [leads, samples], mV; its type decides about the last bits, as in the published segments.
        rate: its Hz.
        centre: what `centre_leads` gives of `org`, where that is known; its last part is used up.
        resample: (signal, its Hz, Hz wanted) -> the signal at these.
    Returns: float64 [leads, samples] at `cfg.sample_rate` Hz, z-scores or, with standardise=false, mV; mean and
        deviation [leads] after resampling, mV.
    """
    from ecg_signals.signal.standardise import centre_leads, scale_leads

    resampled = resample(org, rate, cfg.sample_rate)
    if not resampled.shape[-1]:
        raise ConfigError(f"has {org.shape[-1]} samples at {rate} Hz, less than one at {cfg.sample_rate} Hz")
    mean, deviation, centred = centre if centre and resampled is org else centre_leads(resampled)
    if cfg.standardise:
        return scale_leads(centred, deviation, cfg.constant_leads), mean, deviation
    replacement = {"zero": 0.0, "nan": np.nan}.get(cfg.constant_leads)
    flat = deviation == 0
    if replacement is not None and flat.any():
        resampled = resampled.copy()
        resampled[flat] = replacement
    return resampled, mean, deviation


def store(record: Ordered, row: "Row", source: "Source", dest: Path) -> int:
    """Write org/, preprocessed/ and segmented/ files, each whole or not at all. Returns: the number of segments."""
    from ecg_signals.signal.windows import segment

    cfg, (org, rate, _, centre) = source.cfg, record
    result, mean, deviation = preprocess(org, rate, cfg, centre, source.resample)
    common: dict[str, Any] = {"idx": int(row["idx"]), "org_sample_rate": _whole(rate), "org_sample_size": org.shape[1]}
    if row.get("patient_number") is not None:
        common["patient_id"] = int(row["patient_number"])
    name = row["save_file"]
    if cfg.keep_org:
        write_signal(dest.joinpath("org", name), org, rate, cfg, common)
    common |= {"mean": mean[:, None], "std": deviation[:, None]}
    if cfg.keep_preprocessed:
        write_signal(dest.joinpath("preprocessed", name), result, cfg.sample_rate, cfg, common)
    size = int(cfg.segment_seconds * cfg.sample_rate) or result.shape[-1]
    pieces = segment(result, size)  # [segments, leads, samples]
    tracks = source.tracks(row, org.shape[-1], result.shape[-1], rate)
    common |= source.values(record.facts)
    for i, piece in enumerate(pieces):
        path = dest.joinpath("segmented", segment_name(name, i))
        cut = {key: values[i * size : (i + 1) * size] for key, values in tracks.items()}
        write_signal(path, piece, cfg.sample_rate, cfg, common | {"segment_i": i} | cut)
    return len(pieces)


def segment_name(save_file: str, i: int) -> str:
    """File name of the i-th segment of a record."""
    return f"{save_file.removesuffix('.mat')}_{i}.mat"


def write_signal(path: Path, feats: np.ndarray, rate: float, cfg: PreprocessConfig, more: dict[str, Any]) -> None:
    """A .mat with `feats` [leads, samples], mV or z-scores, its `rate` in Hz and `more`."""
    content = {"feats": np.asarray(feats, dtype=cfg.dtype, order="F"), "curr_sample_rate": _whole(rate)}
    write_mat(path, {**content, "curr_sample_size": feats.shape[-1], **more})
