"""A record's quality: a verdict, what is wrong with which lead, and whether electrodes seem exchanged."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.quality.electrodes import Numbers, electrode_numbers, suspicions, upside_down, without_beats
from ecg_signals.quality.leads import LEAST_SECONDS, LeadNumbers, flags, numbers_of
from ecg_signals.quality.pieces import HIGHEST, beats_of, pieces
from ecg_signals.readers.plausible import POSSIBLE, amplitude
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.missing import interpolate_nan
from ecg_signals.signal.record import Record

OK, LIMITED, UNUSABLE = "ok", "limited", "unusable"
SPOILT = ("flat", "noise")  # flags of leads that say nothing of the heart
MOST_SPOILT = 6  # of twelve leads, or half of fewer, that a record may have
KEY_LEADS = ("II", "V1")  # a record without both says nothing of the rhythm


@dataclass(frozen=True)
class Quality:
    """How far a record can be trusted.

    Attributes:
        verdict: "ok"; "limited": answered, with `texts` or `swap` beside it; "unusable": not to be answered.
        leads: by name of every lead its flags, "missing", "flat", "noise", "wander", "no beats"; mostly none.
        texts: what is wrong, in words.
        swap: which electrodes or rows seem to be exchanged, None if nothing looks like it; it never makes a record
            unusable.
    """

    verdict: str
    leads: dict[str, list[str]]
    texts: list[str]
    swap: str | None = None

    def line(self) -> str:
        """The verdict and all that is wrong, a suspicion of exchanged electrodes first."""
        said = [*([self.swap] if self.swap else []), *self.texts]
        return f"{self.verdict}: {'; '.join(said)}" if said else self.verdict

    def headline(self) -> str:
        """For a sheet's header: the line, or nothing of a record that is sound."""
        return "" if self.verdict == OK else f"quality {self.line()}"

    def to_dict(self) -> dict[str, Any]:
        """For json."""
        return asdict(self)


def assess(record: Record, scale_stated: bool = False) -> Quality:
    """Look at a record of any rate, length and leads; checks whose leads are missing, flat or noisy are left out.

    Args:
        scale_stated: whether somebody said what the values are, so that their size raises no doubt.
    """
    found: list[LeadNumbers] = []
    electrodes: list[Numbers] = []
    for signal, rate in pieces(record):
        numbers = numbers_of(signal, interpolate_nan(signal), rate)
        found.append(numbers)
        electrodes.append(_electrodes(signal, rate, record.leads, flags(numbers)))
    if not found:
        return Quality(UNUSABLE, {name: ["missing"] for name in record.leads}, ["the record has no samples"])
    whole = LeadNumbers.median(found)
    of_leads: dict[str, list[str]] = {}
    for name, said in zip(record.leads, flags(whole)):
        of_leads.setdefault(name, said)
    joined = _median(electrodes)
    swap, texts = suspicions(joined), _of_leads(of_leads)
    if without_beats(joined, whole.peak_power):
        texts.append("no QRS complexes stand out in any lead")
    elif upside_down(joined) and not swap:
        texts.append("the QRS complexes of most leads point down; the record may be upside down")
    blocked = _blocked(record, of_leads, scale_stated)
    verdict = UNUSABLE if blocked else LIMITED if texts or swap else OK
    suspected = f"check the electrodes, suspected: {'; or '.join(swap)}" if swap else None
    return Quality(verdict, of_leads, [*blocked, *texts], suspected)


def refuse_unusable(path: str | os.PathLike[str], quality: Quality) -> None:
    """Raises: ConfigError for a record that is not to be answered."""
    if quality.verdict == UNUSABLE:
        raise ConfigError(
            f"{path}: the record is unusable: {'; '.join(quality.texts)}. Record it again, or --force an answer"
        )


def without_flat(record: Record, quality: Quality) -> Record:
    """The record with its flat leads missing (NaN), for models that know missing leads; some lead stays as it is."""
    flat = [row for row, name in enumerate(record.leads) if "flat" in quality.leads[name]]
    if not flat or len(flat) == len(record.leads):
        return record
    signal = record.signal.copy()
    signal[flat] = np.nan
    return replace(record, signal=signal)


def _electrodes(signal: np.ndarray, rate: float, leads: Sequence[str], own: Sequence[list[str]]) -> Numbers:
    """Of one piece, from the standard leads that are sound."""
    if signal.shape[1] < LEAST_SECONDS * rate or rate <= 2 * HIGHEST:
        return {}
    spellings = {name.lower(): name for name in LEADS}
    bad = {"missing", *SPOILT}
    sound = [row for row, said in enumerate(own) if not bad & {*said} and leads[row].lower() in spellings]
    if not sound:
        return {}
    named = [spellings[leads[row].lower()] for row in sound]
    return electrode_numbers(dict(zip(named, beats_of(signal[sound], rate))), rate)


def _median(several: Sequence[Numbers]) -> Numbers:
    names = dict.fromkeys(name for numbers in several for name in numbers)
    return {name: float(np.median([numbers[name] for numbers in several if name in numbers])) for name in names}


def _of_leads(leads: dict[str, list[str]]) -> list[str]:
    """A text per flag, which names its leads."""
    words = {"missing": "no values in", "flat": "flat:", "noise": "noise in", "wander": "wandering baseline in"}
    named = {flag: [name for name, own in leads.items() if flag in own] for flag in words}
    return [f"{words[flag]} {', '.join(names)}" for flag, names in named.items() if names]


def _blocked(record: Record, leads: dict[str, list[str]], scale_stated: bool) -> list[str]:
    """Why the record cannot be answered."""
    found = []
    span = amplitude(record.signal)
    if not scale_stated and not POSSIBLE[0] <= span <= POSSIBLE[1]:
        found.append(f"the median lead spans {span:.3g} mV, which no ECG in mV does")
    spoilt = [name for name, own in leads.items() if {*SPOILT} & {*own}]
    recorded = sum("missing" not in own for own in leads.values())
    if not recorded:
        found.append("no lead has values")
    elif len(spoilt) > min(MOST_SPOILT, recorded / 2):
        found.append(f"{len(spoilt)} of {recorded} leads are flat or noise")
    elif {name.lower() for name in KEY_LEADS} <= {name.lower() for name in spoilt}:
        found.append(f"{' and '.join(KEY_LEADS)} are both flat or noise")
    return found
