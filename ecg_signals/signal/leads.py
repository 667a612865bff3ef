"""Lead names, their order, and picking leads by name or index."""

import re
from collections.abc import Sequence

import numpy as np

from ecg_signals.config import ConfigError, nearest, parse_literal

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
LIMB_LEADS = LEADS[:6]
MIMIC_LEADS = (*LEADS[:4], "aVF", "aVL", *LEADS[6:])  # as MIMIC-IV-ECG stores them
OTHER_LEADS = ("MLI", "MLII", "MLIII", "V7", "V8", "V9", "V3R", "V4R", "V5R", "V6R", "Vx", "Vy", "Vz")
_SPELLING = {name.lower(): name for name in LEADS}
_LONGEST = 64  # characters of a name that is looked at; a longer one means no standard lead
_DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015\u2212", "-"))
_WORD = re.compile(r"(?:ecg|ekg|lead)(?:[-_.:]+(?=\w))?")  # "Lead-I": the mark parts two words
_NEGATIVE = re.compile(r"minus|neg(?:ative)?|inv(?:ert(?:ed)?)?|revers(?:e|ed)|flipped|-1\s*[*x]|[*x]\s*-1")
_MARKS = re.compile(r"[\s_.:,+(){}\[\]]+")
_BARE = re.compile(r"(?P<before>-?)(?:d(?=i))?(?P<lead>[iavrlf]+|v[1-6])(?P<after>-?)")
_OF_I_AND_II = np.array([[1, 0], [0, 1], [-1, 1], [-0.5, -0.5], [1, -0.5], [-0.5, 1]])  # rows: LIMB_LEADS


def lead_index(lead: str | int, order: Sequence[str] = LEADS) -> int:
    """Row of a lead given by name (any case) or by index. Raises: ConfigError naming the nearest lead."""
    if isinstance(lead, int) or (isinstance(lead, str) and lead.isdigit()):
        index = int(lead)
        if 0 <= index < len(order):
            return index
        raise ConfigError(f"lead {index} does not exist: there are {len(order)} leads, numbered 0 to {len(order) - 1}")
    lowered = [name.lower() for name in order]
    if lead.lower() in lowered:
        return lowered.index(lead.lower())
    guess = nearest(lead, order)
    hint = f"; did you mean '{guess}'?" if guess else "."
    raise ConfigError(f"unknown lead '{lead}'{hint} Leads are {', '.join(order)}")


def lead_indices(leads: Sequence[str | int] | str | None, order: Sequence[str] = LEADS) -> list[int]:
    """Rows of several leads; None means all of them, a string such as "[0, 1]" or "I,II" is parsed."""
    if leads is None:
        return list(range(len(order)))
    if isinstance(leads, str):
        listed = leads.strip()[:1] in "[("
        leads = parse_literal(leads, "leads") if listed else [item.strip() for item in leads.split(",")]
    return [lead_index(lead, order) for lead in leads]


def lead_places(count: int, leads: Sequence[str], stated: Sequence[str] | None) -> list[int]:
    """The place of each of `count` rows among a model's `leads`, by the names that its input contract states.

    Raises: ConfigError for a number of rows that nothing explains.
    """
    if stated is not None and len(stated) == count:
        return lead_indices(stated, leads)
    if count == len(leads):
        return list(range(count))
    contract = "no input contract" if stated is None else f"an input contract of {len(stated)}"
    raise ConfigError(
        f"source has {count} leads, but the model has {len(leads)} ({', '.join(leads)}) and {contract}; give those, or "
        f"name the leads of source: model.signal.leads = [...]"
    )


def order_leads(signal: np.ndarray, have: Sequence[str], want: Sequence[str] = LEADS) -> np.ndarray:
    """Rows of `signal` in the order `want`; names match in any case, the first of two equal names counts.

    Args:
        signal: [len(have), samples], any unit.
        have: name of each row.
        want: names of the result; a lead that is not there becomes a row of NaN, other leads are dropped.
    Returns: a new array [len(want), samples]; integers become float64, since they cannot hold NaN.
    """
    rows: dict[str, int] = {}
    for index, name in enumerate(have):
        rows.setdefault(name.lower(), index)
    if list(have) == list(want) and len(rows) == len(have) and signal.dtype.kind == "f":
        return signal.copy(order="C")
    dtype = signal.dtype if np.issubdtype(signal.dtype, np.floating) else np.dtype(np.float64)
    result = np.full((len(want), signal.shape[-1]), np.nan, dtype=dtype)
    for index, name in enumerate(want):
        if name.lower() in rows:
            result[index] = signal[rows[name.lower()]]
    return result


def derive_limb_leads(signal: np.ndarray, leads: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Fill limb leads that are NaN throughout from two others, by Einthoven's and Goldberger's equations.

    Args:
        signal: [leads, samples], mV or any one unit, left unchanged.
        leads: name of each row; of the limb leads present the first two in the order I II III aVR aVL aVF are used.
    Returns: the signal with the derived rows, and their names (none if fewer than two limb leads have a value).
    """
    lowered = [name.lower() for name in leads]
    empty = np.isnan(signal).all(axis=-1)
    rows = [(kind, lowered.index(name.lower())) for kind, name in enumerate(LIMB_LEADS) if name.lower() in lowered]
    present = [(kind, row) for kind, row in rows if not empty[row]][:2]
    absent = [(kind, row) for kind, row in rows if empty[row]]
    if len(present) < 2 or not absent:
        return signal, []
    result = signal.copy()
    given = np.linalg.inv(_OF_I_AND_II[[kind for kind, _ in present]])  # I and II from the two leads that are there
    for kind, row in absent:
        weights = _OF_I_AND_II[kind] @ given
        result[row] = weights[0] * signal[present[0][1]] + weights[1] * signal[present[1][1]]
    return result, [leads[row] for _, row in absent]


def upright_lead(text: str) -> tuple[str, int]:
    """The standard lead that a stored name means, and -1 if its values must be turned over, else 1.

    "-aVR", "aVR-", "minus aVR" and "aVR (inverted)" are all aVR upside down; in "Lead-I" and "ECG_II" the mark only
    parts the words. Names of no standard lead are returned as they are, with 1.
    """
    words = text.strip()
    plain = _SPELLING.get(words.lower())
    if plain is not None:
        return plain, 1
    if len(words) > _LONGEST:
        return words, 1
    text = _WORD.sub(" ", words.lower().translate(_DASHES))
    match = _BARE.fullmatch(_MARKS.sub("", _NEGATIVE.sub("-", text)))
    lead = _SPELLING.get(match["lead"]) if match else None
    if match is None or lead is None or (match["before"] and match["after"]):
        return words, 1
    return lead, -1 if match["before"] or match["after"] else 1
