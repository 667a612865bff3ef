"""Units of stored voltages and what turns them into mV."""

import warnings

from ecg_signals.config import ConfigError

FACTORS = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6, "v": 1e3}
COUNTS_PER_MV = 200.0  # the WFDB convention for a signal without calibration


def to_millivolt(units: str, where: str) -> float | None:
    """What a value in `units` is multiplied by to be in mV; None for something that is no voltage (mmHg, bpm ...).

    Args:
        units: any case; "adu" (uncalibrated counts) is taken as 200 per mV, with a warning naming `where`.
    """
    lowered = units.lower()
    if lowered in ("adu", "adc", "count", "counts"):
        warnings.warn(f"{where} is stored without calibration ({units}); 200 counts per mV are assumed", stacklevel=2)
        return 1 / COUNTS_PER_MV
    return FACTORS.get(lowered)


def voltage_factor(units: str, where: str) -> float:
    """As `to_millivolt`, for a caller that named the units. Raises: ConfigError if they are no voltage."""
    factor = to_millivolt(units, where)
    if factor is None:
        raise ConfigError(f"units '{units}' of {where} are no voltage; give units=mV, uV or V")
    return factor
