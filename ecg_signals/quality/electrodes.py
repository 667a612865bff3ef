"""Leads that cannot be what they are called: mislabelled rows, exchanged electrodes, a record upside down.

All on 0.5 to 40 Hz; where QRS complexes point is seen above 10 Hz, since hardly anything else is left there. Left arm
and left leg exchanged change a record so little that nothing here claims to see it. `tools/measure_quality.py` measures
what is caught and how often sound records are suspected.
"""

from collections.abc import Iterable, Mapping
from itertools import combinations, pairwise

import numpy as np

from ecg_signals.quality.leads import standardised
from ecg_signals.quality.pieces import ORDER
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.spectrum import band

CHEST = LEADS[6:]
RESIDUAL = 0.1  # of Einthoven's and Goldberger's equations, root mean squares over that of lead II
ARMS, ARMS_ALONE = -0.3, -0.5  # correlation of I and V6, if I points down, and however it points
LEG = -0.5  # of II and V6
REVERSED = 0.5  # correlation of I with V1 over that with V6
PAIR = 0.4  # by which exchanging two chest leads back raises the sum of correlations of neighbours
QRS_BAND = 10.0  # Hz and above, in which skewness says where QRS complexes point
UP, DOWN = ("I", "V4", "V5", "V6"), ("aVR", "V1")  # where they do in most records
MOST_SKEW, TURNED = 2.0, -0.2  # skewness that counts of a lead at most; the mean of UP and of DOWN turned over
SINE, NOISE, NOISE_PEAKS = 2.5, 5.0, 0.5  # kurtosis of the lead in which beats stand out most, and its pSQI in noise

Leads = Mapping[str, np.ndarray]  # by name, [samples] of one piece
Numbers = dict[str, float]


def electrode_numbers(leads: Leads, rate: float) -> Numbers:
    """What the leads that are there allow to compute of one piece; leads without values must not be among them."""
    rows = np.stack([*leads.values()])
    steep = band(rows, rate, QRS_BAND, np.inf, ORDER)
    found = {f"up {name}": float(value) for name, value in zip(leads, standardised(steep, 3))}
    found |= {f"skewness {name}": float(value) for name, value in zip(leads, standardised(rows, 3))}
    found["kurtosis"] = float(standardised(rows, 4).max())
    residual = _residual(leads)
    if residual is not None:
        found["residual"] = residual
    compared = (("I", "V6"), ("II", "V6"), ("V1", "I"))
    found |= {f"{one} {other}": _correlation(leads[one], leads[other])
              for one, other in compared if one in leads and other in leads}  # fmt: skip
    if all(name in leads for name in CHEST):
        found |= {f"{one}/{other}": gain for (one, other), gain in _exchanges(leads).items()}
    return {name: value for name, value in found.items() if np.isfinite(value)}


def suspicions(numbers: Numbers) -> list[str]:
    """Which electrodes or rows seem exchanged; correlations of limb leads say nothing where these are mislabelled."""
    if numbers.get("residual", 0.0) > RESIDUAL:
        found = ["the limb leads do not fit each other (Einthoven, Goldberger): mislabelled or in another order"]
    else:
        found = _limbs(numbers)
    gains = {name: value for name, value in numbers.items() if "/" in name}
    best = max(gains, key=lambda name: gains[name], default="")
    if best and gains[best] > PAIR:
        found.append(f"{best.replace('/', ' and ')} exchanged")
    return found


def _limbs(numbers: Numbers) -> list[str]:
    found = []
    arms, leg = numbers.get("I V6", 0.0), numbers.get("II V6", 0.0)
    if arms < ARMS and (arms < ARMS_ALONE or numbers["skewness I"] < 0):
        found.append("the arm electrodes exchanged (LA/RA), or dextrocardia, which looks the same")
    if leg < LEG:
        found.append("the electrodes of right arm and left leg exchanged (RA/LL)")
    if "V1 I" in numbers and "I V6" in numbers and numbers["V1 I"] - arms > REVERSED:
        found.append("V1 to V6 in reverse order")
    return found


def upside_down(numbers: Numbers) -> bool:
    """Whether QRS complexes point down where they point up in most records, and up in aVR, as when signs are turned."""
    found = [numbers.get(f"up {name}", np.nan) for name in UP] + [-numbers.get(f"up {name}", np.nan) for name in DOWN]
    return bool(np.mean(np.clip(found, -MOST_SKEW, MOST_SKEW)) < TURNED)  # False where one of them is missing


def without_beats(numbers: Numbers, peak_power: np.ndarray) -> bool:
    """Whether QRS complexes stand out in no lead: a test signal, or noise, which unlike a fast ventricular rhythm has
    little of its power below 15 Hz.

    Args:
        peak_power: pSQI of every lead, NaN where there is none.
    """
    kurtosis = numbers.get("kurtosis", np.inf)
    return kurtosis < SINE or bool(kurtosis < NOISE and not (peak_power >= NOISE_PEAKS).any())


def _residual(leads: Leads) -> float | None:
    """The largest root mean square of what the equations leave over, per that of II; None without II and two others."""
    equations: tuple[dict[str, float], ...] = (
        {"II": 1, "I": -1, "III": -1}, {"aVR": 1, "I": 0.5, "II": 0.5},
        {"aVL": 1, "I": -1, "II": 0.5}, {"aVF": 1, "II": -1, "I": 0.5},
    )  # fmt: skip
    sums = [sum(weight * leads[name] for name, weight in equation.items())
            for equation in equations if all(name in leads for name in equation)]  # fmt: skip
    if not sums:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        return max(_root_mean_square(np.asarray(left)) for left in sums) / _root_mean_square(leads["II"])


def _exchanges(leads: Leads) -> dict[tuple[str, str], float]:
    """By how much the sum of correlations of neighbouring chest leads rises when two leads are exchanged."""
    with np.errstate(invalid="ignore", divide="ignore"):
        matrix = np.corrcoef([leads[name] for name in CHEST])
    gains = {}
    for one, other in combinations(range(len(CHEST)), 2):
        order = list(range(len(CHEST)))
        order[one], order[other] = other, one
        gains[CHEST[one], CHEST[other]] = _neighbours(matrix, order) - _neighbours(matrix, range(len(CHEST)))
    return gains


def _neighbours(matrix: np.ndarray, order: Iterable[int]) -> float:
    return float(sum(matrix[pair] for pair in pairwise(order)))


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.corrcoef(one, other)[0, 1])


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values**2)))
