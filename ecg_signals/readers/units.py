"""Units of stored voltages and what turns them into mV."""

import re

from ecg_signals.config import ConfigError

_PREFIXES = {"m": 1.0, "milli": 1.0, "": 1e3, "n": 1e-6, "nano": 1e-6}
_PREFIXES |= dict.fromkeys(("u", "µ", "μ", "âµ", "micro"), 1e-3)  # the fourth: UTF-8 that was read as Latin-1
FACTORS = {prefix + volt: factor for prefix, factor in _PREFIXES.items() for volt in ("v", "volt", "volts")}
COUNTS = ("adu", "adc", "count", "counts")  # units of a signal without calibration
COUNTS_PER_MV = 200.0  # the WFDB convention for such a signal
_STEP = re.compile(
    r"\s*(?P<step>\d{0,20}(?:\.\d{1,20})?(?:e[+-]?\d{1,2})?)\s*(?P<unit>[^\W\d]{1,10})\s*", re.IGNORECASE
)


def to_millivolt(units: str) -> float | None:
    """What a value in `units` is multiplied by to be in mV; None for something that is no voltage (mmHg, bpm ...).

    Args:
        units: any case; a number before the unit counts, as in "4.88uV" for steps of 4.88 uV.
    """
    plain = FACTORS.get(units.lower())
    match = _STEP.fullmatch(units) if plain is None else None
    if match is None or not match["step"]:
        return plain
    factor = FACTORS.get(match["unit"].lower())
    step = float(match["step"])
    return None if factor is None or not step else step * factor


def voltage_factor(units: str, where: str) -> float:
    """As `to_millivolt`, for a caller that named the units. Raises: ConfigError if they are no voltage."""
    factor = to_millivolt(units)
    if factor is None:
        hint = "give units=mV, uV or V, or the size of one step, such as units=4.88uV"
        raise ConfigError(f"units '{units[:40]}' of {where} are no voltage; {hint}")
    return factor
