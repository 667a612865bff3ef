"""What a step of an input contract is."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from ecg_signals.registry import Entry, register_step

Leads = list[np.ndarray]  # of one record, without zeros, none of them flat


class Step(ABC):
    """Extend it, write `__call__`, and name it with `@register_step("name", dataclass=Options)`.

    A contract stores the name with the options, and goes wherever the model goes: what a name computes must never
    change. The contract cuts windows and pads short records itself, at its marks "window" and "pad".

    Class attributes:
        fills_nan: no sample is NaN afterwards.
        earlier: names under which files of earlier versions store it.
        values: what the values are afterwards, in a few words; empty where it does not bring them to a scale. With it,
            write `problem` as well.
        table: registered dataset of tables whose files hold records as this step leaves them; empty where files are
            raw records.
    """

    fills_nan: ClassVar[bool] = False
    earlier: ClassVar[tuple[str, ...]] = ()
    values: ClassVar[str] = ""
    table: ClassVar[str] = ""

    def __init__(self, cfg: Any) -> None:
        self.cfg = cfg

    @property
    def factor(self) -> int:
        """By how much the step divides the rate of a window: behind the mark "window" rates change by this alone."""
        return 1

    @abstractmethod
    def __call__(self, signal: np.ndarray, rate: float, contract_rate: float) -> tuple[np.ndarray, float]:
        """signal [leads, samples] at `rate` Hz, left unchanged -> the same with its new rate, in Hz.

        Values are mV until a step brings them to another scale, which its class attribute `values` then names.

        Args:
            contract_rate: Hz at the end of all steps.
        """

    def problem(self, records: list[Leads]) -> str | None:
        """How the values of a batch show that this step did not make them; None where nothing is visible."""
        return None


def make_step(step: Mapping[str, Any]) -> Step:
    """A step of a stored contract, `{"name": ..., option: value}`.

    Raises: UsageError for a step or an option that does not exist, ConfigError for a value of the wrong type.
    """
    entry: Entry[Step] = register_step.get(str(step.get("name")))
    options = {key: value for key, value in step.items() if key != "name"}
    return entry.cls(entry.dataclass.from_mapping(options, where=f"step {entry.name}"))


def by_todays_name(step: Mapping[str, Any]) -> dict[str, Any]:
    """A step of a stored contract, whenever it was stored."""
    name = str(step.get("name"))
    known = [] if name in register_step.names() else register_step.all()
    return {**step, "name": next((entry.name for entry in known if name in entry.cls.earlier), name)}
