"""How well the boundaries of waves were found, as a table."""

from collections.abc import Mapping
from pathlib import Path

from ecg_signals.metrics.delineation import TOLERANCE_SECONDS, matches_in
from ecg_signals.tables import write_table


def wave_rows(logs: Mapping[str, float]) -> list[dict[str, str | int | float]]:
    """One per wave and boundary, from the logs of a validation; [] of a model that marks no waves."""
    return [
        {
            "wave": wave, "boundary": boundary, "marked": int(one.hits + one.missed), "found": int(one.hits),
            "extra": int(one.extra), "sensitivity": one.sensitivity, "ppv": one.ppv, "f1": one.f1,
            "error_mean_ms": 1000 * one.mean, "error_sd_ms": 1000 * one.deviation,
            "tolerance_ms": 1000 * TOLERANCE_SECONDS,
        }
        for (wave, boundary), one in matches_in(logs).items()
    ]  # fmt: skip


def write_waves(folder: Path, split: str, logs: Mapping[str, float]) -> list[Path]:
    """`waves_<split>.csv`, where there is something to say."""
    import pandas as pd

    rows, path = wave_rows(logs), folder / f"waves_{split}.csv"
    if not rows:
        return []
    write_table(path, pd.DataFrame(rows))
    return [path]
