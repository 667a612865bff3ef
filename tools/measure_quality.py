"""What the checks of `ecg_signals/quality` catch, and how often they are wrong.

    python tools/measure_quality.py ../shared/data/ptbxl_500/records500       the table of thresholds, and what is shown
    python tools/measure_quality.py --shown ../shared/data/wfdb_samples ...   what is shown of other records

Exchanged electrodes and spoilt leads are simulated on the records themselves. Files that no reader knows are left out.
"""

import argparse
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.quality import electrodes
from ecg_signals.quality.assess import assess
from ecg_signals.quality.electrodes import electrode_numbers
from ecg_signals.quality.leads import FLAT_EQUAL, FLAT_RANGE, NOISE, PEAK_POWER, PEAKS, WANDER, flags, numbers_of
from ecg_signals.quality.pieces import beats_of, pieces
from ecg_signals.readers.read import read_record
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.missing import interpolate_nan
from ecg_signals.signal.record import Record

CHEST = LEADS[6:]
Leads = dict[str, np.ndarray]
Numbers = dict[str, float]


@dataclass(frozen=True)
class Measured:
    """A row: shares of the changed and of the recorded `units` ("records" or "leads") that a check hits."""

    check: str
    change: str
    caught: float
    false: float
    units: str


def relabelled(*names: str) -> Callable[[Leads], Leads]:
    """Limb leads as they are read when they are stored in the order `names` (of the six) but called I ... aVF."""
    return lambda leads: {**leads, **{call: leads[stored] for call, stored in zip(LEADS, names)}}


def arms(leads: Leads) -> Leads:
    """RA and LA exchanged."""
    return {**relabelled("I", "III", "II", "aVL", "aVR", "aVF")(leads), "I": -leads["I"]}


def right_arm_leg(leads: Leads) -> Leads:
    """RA and LL exchanged."""
    turned = {"I": -leads["III"], "II": -leads["II"], "III": -leads["I"]}
    return {**leads, **turned, "aVR": leads["aVF"], "aVF": leads["aVR"]}


def left_arm_leg(leads: Leads) -> Leads:
    """LA and LL exchanged."""
    return {**relabelled("II", "I", "III", "aVR", "aVF", "aVL")(leads), "III": -leads["III"]}


def chest(*order: str) -> Callable[[Leads], Leads]:
    """Chest leads in another order."""
    return lambda leads: {**leads, **{call: leads[stored] for call, stored in zip(CHEST, order)}}


def upside_down(leads: Leads) -> Leads:
    return {name: -row for name, row in leads.items()}


def as_recorded(leads: Leads) -> Leads:
    return leads


def pair(one: str, other: str) -> Callable[[Leads], Leads]:
    return chest(*({one: other, other: one}.get(name, name) for name in CHEST))


def exchanged(numbers: Numbers) -> bool:
    return max(value for name, value in numbers.items() if "/" in name) > electrodes.PAIR


def any_suspicion(numbers: Numbers) -> bool:
    return bool(electrodes.suspicions(numbers))


ELECTRODES: Sequence[tuple[str, str, Callable[[Leads], Leads], Callable[[Numbers], bool]]] = (
    ("residual > 0.1", "aVR and aVL exchanged", relabelled("I", "II", "III", "aVL", "aVR", "aVF"),
     lambda n: n["residual"] > electrodes.RESIDUAL),
    ("residual > 0.1", "II and III exchanged", relabelled("I", "III", "II", "aVR", "aVL", "aVF"),
     lambda n: n["residual"] > electrodes.RESIDUAL),
    ("residual > 0.1", "alphabetical order", relabelled("aVF", "aVL", "aVR", "I", "II", "III"),
     lambda n: n["residual"] > electrodes.RESIDUAL),
    ("corr(I, V6) < -0.3", "LA/RA", arms, lambda n: n["I V6"] < electrodes.ARMS),
    ("corr(I, V6) < -0.5", "LA/RA", arms, lambda n: n["I V6"] < electrodes.ARMS_ALONE),
    ("the same or < -0.3 and I down", "LA/RA", arms, lambda n: "LA/RA" in " ".join(electrodes.suspicions(n))),
    ("corr(II, V6) < -0.5", "RA/LL", right_arm_leg, lambda n: n["II V6"] < electrodes.LEG),
    ("corr(V1, I) - corr(V6, I) > 0.5", "V1 to V6 reversed", chest(*CHEST[::-1]),
     lambda n: n["V1 I"] - n["I V6"] > electrodes.REVERSED),
    ("best exchange > 0.4", "V3/V5", pair("V3", "V5"), exchanged),
    ("best exchange > 0.4", "V1/V2", pair("V1", "V2"), exchanged),
    ("any of these", "LA/LL", left_arm_leg, any_suspicion),
    ("QRS of most leads down", "upside down", upside_down, electrodes.upside_down),
)  # fmt: skip


def spoilt(signal: np.ndarray, rate: float) -> dict[str, np.ndarray]:
    """The leads of a piece, spoilt in every way."""
    time, draw = np.arange(signal.shape[1]) / rate, np.random.default_rng(0)
    white = draw.standard_normal(signal.shape)
    return {
        "flat": np.zeros_like(signal),
        "hum of 0.3 mV": signal + 0.3 * np.sin(2 * np.pi * 50 * time),
        "white noise of 0.2 mV": signal + 0.2 * white,
        "noise alone": white,
        "wander of 2 mV": signal + 2.0 * np.sin(2 * np.pi * 0.3 * time),
    }


LEAD_CHECKS = (
    ("flat: span < 0.05 mV", "flat", lambda n: n.span < FLAT_RANGE),
    ("flat: > 90 % equal", "flat", lambda n: n.equal > FLAT_EQUAL),
    ("power 40-150 / 5-40 > 0.5", "hum of 0.3 mV", lambda n: n.noise > NOISE),
    ("power 40-150 / 5-40 > 0.5", "white noise of 0.2 mV", lambda n: n.noise > NOISE),
    ("power 40-150 / 5-40 > 0.5", "noise alone", lambda n: n.noise > NOISE),
    ("power 0-1 / 0-40 > 0.5", "wander of 2 mV", lambda n: n.slow > WANDER),
    ("the same, shown", "wander of 2 mV", lambda n: np.array(["wander" in own for own in flags(n)])),
    ("kurtosis < 5", "noise alone", lambda n: n.kurtosis < PEAKS),
    ("pSQI < 0.5", "noise alone", lambda n: n.peak_power < PEAK_POWER),
)


def table(records: Iterable[Record]) -> list[Measured]:
    """The table, from 12-lead records; of longer ones the first piece counts."""
    limbs: list[list[tuple[bool, bool]]] = []
    leads: list[np.ndarray] = []
    for record in records:
        signal, rate = next(pieces(record))
        own = dict(zip(record.leads, beats_of(signal, rate)))
        limbs.append([(hit(electrode_numbers(change(own), rate)), hit(electrode_numbers(own, rate)))
                      for _, _, change, hit in ELECTRODES])  # fmt: skip
        changed = {name: numbers_of(row, row, rate) for name, row in spoilt(interpolate_nan(signal), rate).items()}
        plain = numbers_of(signal, interpolate_nan(signal), rate)
        leads.append(np.array([[hit(changed[name]), hit(plain)] for _, name, hit in LEAD_CHECKS]))
    of_limbs, of_leads = np.mean(limbs, axis=0), np.mean(leads, axis=(0, 3))
    rows = [Measured(check, name, *of_limbs[at], "records") for at, (check, name, _, _) in enumerate(ELECTRODES)]
    return rows + [Measured(check, name, *of_leads[at], "leads") for at, (check, name, _) in enumerate(LEAD_CHECKS)]


def warned(record: Record) -> list[str]:
    """What is shown of a record, each without the leads' names."""
    found = assess(record)
    said = [] if found.swap is None else found.swap.split("suspected: ")[1].split(" or ")
    kinds = [text.split(":")[0].split(" in ")[0] for text in found.texts]
    return [*said, *kinds, *[f"verdict {found.verdict}"] * (found.verdict != "ok")]


def records_of(paths: Iterable[Path]) -> Iterator[tuple[str, Record]]:
    """Every record below folders, or in files, that a reader knows, each once."""
    for path in paths:
        below = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
        headers = {file.with_suffix("") for file in below if file.suffix == ".hea"}
        for file in below:
            if file.suffix != ".hea" and file.with_suffix("") in headers:
                continue  # the samples of a header
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                try:
                    yield str(file), read_record(file)
                except ConfigError:
                    continue


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="record files, or folders of them")
    parser.add_argument("--shown", action="store_true", help="only what is shown, with the records' names")
    arguments = parser.parse_args()
    records = list(records_of(arguments.paths))
    if not arguments.shown:
        twelve = [replace(record, leads=[*LEADS]) for _, record in records if record.leads == [*LEADS]]
        print(f"{'check':33}{'simulated':25}{'caught':>8}{'false':>8}  of {len(twelve)} records")
        for row in table(twelve):
            print(f"{row.check:33}{row.change:25}{row.caught:8.1%}{row.false:8.1%}  {row.units}")
    shown: dict[str, list[str]] = {}
    for name, record in records:
        for text in warned(record):
            shown.setdefault(text, []).append(name)
    print(f"\nshown of {len(records)} records:")
    for text, names in sorted(shown.items(), key=lambda item: -len(item[1])):
        listed = [f"\n           {name}" for name in names] if arguments.shown else []
        print(f"{len(names) / len(records):7.1%}  {text}", *listed)


if __name__ == "__main__":
    main()
