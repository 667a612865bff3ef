"""The datasets of a mixture, each with its rate, leads and statistics; where those come from is said."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from ecg_signals.config import BaseConfig, ConfigError, option, resolve_input
from ecg_signals.data.conditioning import Conditioning, has_gap
from ecg_signals.data.sources.dumps import SUFFIXES, ManifestRecords, Records, notes_path
from ecg_signals.limits import read_json
from ecg_signals.signal.leads import lead_index
from ecg_signals.signal.scale import scale_problem
from ecg_signals.signal.steps.base import make_step

logger = logging.getLogger(__name__)

LOOKED_AT = 1000  # records that statistics are computed from, evenly spread
GLANCED_AT = 16  # records that show whether given statistics fit
FAR = 2.0  # times a given deviation; published ones fit their own datasets within a tenth


@dataclass
class Statistics(BaseConfig):
    """Mean and standard deviation of every lead, in mV, in the order of `leads`."""

    mean: list[float] = option("???", "mV")
    std: list[float] = option("???", "mV", above=0)
    leads: list[str] | None = option(None, "of the numbers; None: as the records have them")


@dataclass
class Member:
    """One dataset of a mixture.

    Attributes:
        rows: the stored row of every lead that is taken.
        mean, std: float32 [leads, 1], mV, of these.
        zscored: records are z-scores already, and mean and std are 0 and 1.
        keep: [records] the numbers of those that are long enough.
    """

    name: str
    records: Records
    conditioning: Conditioning
    rows: np.ndarray
    mean: np.ndarray
    std: np.ndarray
    zscored: bool
    keep: Sequence[int]

    def excerpt(self, record: int, start: int, samples: int) -> tuple[np.ndarray, np.ndarray]:
        """`samples` samples from `start` on, in mV at the rate wanted; `start` counts at that rate, too.

        Returns: [stored leads, samples], a view of the file where nothing had to change; bool [leads], True for a lead
            that is taken and has no value in the whole record.
        """
        whole, do = int(self.records.samples[record]), self.conditioning
        first, behind = do.span(whole, start, samples)
        stored = self.records.read(record, first, behind)
        gap = has_gap(stored)
        if do.plain and not gap:
            return stored, np.zeros(len(self.rows), dtype=bool)
        if gap and (first, behind) != (0, whole) and has_gap(stored[:, [0, -1]]):  # a gap goes on outside
            first, stored = 0, self.records.read(record)
        signal, empty = do(stored)
        skipped = do.length(first)
        return signal[:, start - skipped : start - skipped + samples], empty[self.rows]


def column_order(leads: Sequence[str], wanted: Sequence[str], records: Records) -> np.ndarray:
    """The stored row of every wanted lead."""
    if len(leads) != records.rows:
        raise ConfigError(
            f"{records.path} holds {records.rows} leads, but {len(leads)} names are known for them ({', '.join(leads)})"
            f"; name every column with dataset.dump_leads, or in {notes_path(records.path).name}"
        )
    return np.array([lead_index(lead, leads) for lead in wanted])


def long_enough(records: Records, conditioning: Conditioning, samples: int, name: str) -> Sequence[int]:
    """Numbers of the records that hold an excerpt of `samples` samples at the rate wanted; how many do not is said."""
    if len(records) and conditioning.length(int(records.samples.min())) >= samples:
        return range(len(records))
    lengths, which = np.unique(records.samples, return_inverse=True)
    enough = np.array([conditioning.length(int(length)) >= samples for length in lengths], dtype=bool)[which]
    if not enough.any():
        longest = 0 if not len(lengths) else conditioning.length(int(lengths[-1]))
        raise ConfigError(
            f"{records.path} ({name}) has no record of {samples} samples at {conditioning.wanted:g} Hz: it holds "
            f"{len(records)}, the longest of {longest}. Set dataset.window_samples to at most that"
        )
    if not enough.all():
        logger.warning(
            "%s: %d of %d records are shorter than %d samples at %g Hz and are left out",
            name, (~enough).sum(), len(enough), samples, conditioning.wanted,
        )  # fmt: skip
    return cast(Sequence[int], np.flatnonzero(enough))


def measured(records: Records, conditioning: Conditioning, most: int = LOOKED_AT) -> tuple[np.ndarray, np.ndarray, int]:
    """Mean and standard deviation of every stored row, float64 [rows], in mV, and the number of records behind them.

    At most `most` records, evenly spread, one at a time; missing values are left out. Where baseline wander is
    removed, it is removed first.
    """
    numbers = np.unique(np.linspace(0, len(records) - 1, most, dtype=np.int64))
    total = LeadMoments(records.rows)
    as_stored = Conditioning(conditioning.rate, conditioning.rate, conditioning.steady, scale=conditioning.scale)
    for number in numbers:
        signal = records.read(int(number))
        if as_stored.steady:
            signal, empty = as_stored(signal)
            signal[empty] = np.nan
        elif as_stored.scale != 1.0:
            signal = signal * as_stored.scale
        total.add(signal)
    mean, std = total.mean, total.std()
    return mean, std, len(numbers)


class LeadMoments:
    """Mean and variance of every lead over any number of records, added one at a time; missing values left out."""

    def __init__(self, leads: int) -> None:
        self.count, self.mean, self.squares = (np.zeros(leads) for _ in range(3))

    def add(self, signal: np.ndarray) -> None:
        """signal [leads, samples]. The sums of squares are about the mean, and merged: no digits cancel."""
        values = np.asarray(signal, dtype=np.float64)
        there = np.isfinite(values)
        count = there.sum(axis=-1)
        some = np.maximum(count, 1)
        mean = np.where(there, values, 0).sum(axis=-1) / some
        squares = (np.where(there, values - mean[:, None], 0) ** 2).sum(axis=-1)
        whole = np.maximum(self.count + count, 1)
        step = np.where(count > 0, mean - self.mean, 0)
        self.squares += squares + step**2 * self.count * count / whole
        self.mean += step * count / whole
        self.count += count

    def std(self, ddof: int = 0) -> np.ndarray:
        """Divided by the number of values less `ddof`; NaN for a lead without a value."""
        return np.sqrt(np.where(self.count > ddof, self.squares / np.maximum(self.count - ddof, 1), np.nan))


def given(path: str, leads: Sequence[str], option_name: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation out of a JSON file, in the order of `leads`."""
    file = resolve_input(path)
    if not file.is_file():
        raise ConfigError(f"{option_name}={path} is neither a file nor published or computed; name one of these")
    found = read_json(file)
    known = {"mean", "std", "leads"}
    if not isinstance(found, Mapping) or not {"mean", "std"} <= found.keys():
        raise ConfigError(f'{file} states no statistics; expected {{"mean": [...], "std": [...], "leads": [...]}}')
    values = Statistics.from_mapping({key: found[key] for key in known & found.keys()}, where=str(file))
    order = list(range(len(leads))) if values.leads is None else [lead_index(lead, values.leads) for lead in leads]
    return tuple(_per_lead(numbers, order, str(file)) for numbers in (values.mean, values.std))  # type: ignore[return-value]


def _per_lead(numbers: Sequence[float], order: Sequence[int], where: str) -> np.ndarray:
    if len(numbers) != len(order):
        raise ConfigError(f"{where} holds {len(numbers)} numbers for {len(order)} leads; expected one for each")
    return np.asarray(numbers, dtype=np.float64)[list(order)]


def checked(mean: np.ndarray, std: np.ndarray, leads: Sequence[str], where: str) -> None:
    """Raises: ConfigError for statistics that nothing can be divided by."""
    bad = [lead for lead, m, s in zip(leads, mean, std) if not (np.isfinite(m) and np.isfinite(s) and s > 0)]
    if bad:
        raise ConfigError(
            f"{where}: the statistics of {', '.join(bad)} are no numbers to standardise with (no values, or all of "
            f"them equal). Give others with dataset.statistics, a JSON file of mean and std, or leave the lead out "
            f"with task.leads_to_load"
        )


def is_zscored(records: Records) -> bool:
    """Whether the records of a manifest are visibly z-scores, as ecg-preprocess writes them by default."""
    if not isinstance(records, ManifestRecords):
        return False
    numbers = np.unique(np.linspace(0, len(records) - 1, 8, dtype=np.int64))
    signals = [np.nan_to_num(np.asarray(records.read(int(number)), dtype=np.float32)) for number in numbers]
    shortest = min(signal.shape[-1] for signal in signals)
    joined = np.concatenate([signal[:, :shortest] for signal in signals])
    return scale_problem(joined[None], [make_step({"name": "standardise"})]) is None


def say_where_far(name: str, records: Records, conditioning: Conditioning, std: np.ndarray) -> None:
    """A warning where a few records deviate much more, or much less, than given statistics say."""
    _, found, _ = measured(records, conditioning, GLANCED_AT)
    ratio = float(np.nanmedian(found / std)) if np.isfinite(found).any() else 1.0
    if not 1 / FAR <= ratio <= FAR:
        logger.warning(
            "%s: its records deviate %.2g times as much as the statistics say that they are standardised with (%s). If "
            "they are not in mV, or baseline wander is still in them, say so (dataset.remove_baseline_wander=[%s]), or "
            "compute them: dataset.statistics={%s: computed}",
            name, ratio, records.path, name, name,
        )  # fmt: skip


def member_path(place: Path, split: str, training: bool) -> Path | None:
    """What a split reads of a dataset: SPLIT.npy, .npz or .tsv in a folder; a file is all for training.

    Returns: None where there is nothing.
    """
    if not place.is_dir():
        return place if training else None
    return next((found for suffix in SUFFIXES if (found := place / f"{split}{suffix}").is_file()), None)
