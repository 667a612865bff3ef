"""The input contract that travels with a model: the steps from a raw record to `source`."""

import json
import math
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from ecg_signals.config import ConfigError, UsageError, unknown_message
from ecg_signals.limits import HIGHEST_RATE, LOWEST_RATE, MAX_WINDOW_SAMPLES
from ecg_signals.sections import WINDOW_RULES
from ecg_signals.signal.leads import LEADS, derive_limb_leads, order_leads
from ecg_signals.signal.record import Record
from ecg_signals.signal.scale import scale_problem
from ecg_signals.signal.steps.base import Step, by_todays_name, make_step
from ecg_signals.signal.windows import Cutting

if TYPE_CHECKING:
    from torch import Tensor

WINDOW, PAD = "window", "pad"  # marks among the steps: where the record is cut, and a short one filled up with zeros


@dataclass
class SignalContract:
    """What a model was trained on.

    Attributes:
        sample_rate: Hz of the prepared windows.
        leads: ordered lead names.
        window_samples: samples per window at `sample_rate`.
        steps: names and options of the processing steps, in order (`ecg-list step`). The mark "window" says where
            the record is cut (at the end, if it is not named): steps before it see the whole record, steps behind
            it one window. The mark "pad" says where a short record is filled up with zeros (at the end as well).
        stride_samples: distance of two windows at `sample_rate`; None: `window_samples` (no overlap).
        window_count: that many windows instead, evenly spaced over the record; None: by the stride.
        zero_missing_leads: True for models trained with lead masking: a missing lead is zero, else an error.
        aggregate: how windows become one record, {label: rule}: "mean" or "max" of the probabilities, or "mean_logits";
            "*" stands for all labels that are not named, whose rule is the mean otherwise.
    """

    sample_rate: float = 500.0
    leads: list[str] = field(default_factory=lambda: list(LEADS))
    window_samples: int = 2500
    steps: list[dict[str, Any]] = field(default_factory=list)
    stride_samples: int | None = None
    window_count: int | None = None
    zero_missing_leads: bool = False
    aggregate: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.steps = [by_todays_name(step) for step in self.steps]
        self.made()  # an error for what does not exist
        sizes = (self.window_samples, self.stride_samples or 1, self.window_count or 1)
        if any(not isinstance(size, Integral) or not 1 <= size <= MAX_WINDOW_SAMPLES for size in sizes):
            raise ConfigError(f"the input contract has windows of {sizes} samples; 1 to {MAX_WINDOW_SAMPLES:,} can be")
        if not isinstance(self.sample_rate, Real) or not LOWEST_RATE <= self.sample_rate <= HIGHEST_RATE:
            raise ConfigError(f"the input contract has the sample rate {self.sample_rate!r}; expected Hz")
        unknown = [rule for rule in self.aggregate.values() if rule not in WINDOW_RULES]
        if unknown:
            raise ConfigError(
                f"the input contract joins windows by {unknown[0]!r}; it can be {', '.join(WINDOW_RULES)}"
            )

    def rule(self, label: str) -> str:
        """How the answers to several windows become one, one of WINDOW_RULES."""
        return self.aggregate.get(label, self.aggregate.get("*", "mean"))

    def starts(self, length: int, factor: int = 1) -> list[int]:
        """First samples of the windows of a record with `length` samples at `factor` times the contract's rate."""
        stride = None if self.stride_samples is None else self.stride_samples * factor
        return Cutting(self.window_samples * factor, stride, self.window_count).starts(length)

    def made(self) -> list[Step | str]:
        """The steps as they run, the marks by their names."""
        return [step["name"] if step["name"] in (WINDOW, PAD) else make_step(step) for step in self.steps]

    def to_dict(self) -> dict[str, Any]:
        """Plain containers; the inverse of `from_dict`."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SignalContract":
        """Raises: UsageError for a key that this version does not know, ConfigError for sizes that no window has."""
        known = [item.name for item in fields(cls)]
        for key in values:
            if key not in known:
                raise UsageError(unknown_message(f"key '{key}' of the input contract", key, known, "It has"))
        return cls(**values)

    @overload
    def prepare(self, record: Record, return_mask: Literal[False] = False) -> "Tensor": ...

    @overload
    def prepare(self, record: Record, return_mask: Literal[True]) -> "tuple[Tensor, Tensor]": ...

    def prepare(self, record: Record, return_mask: bool = False) -> "Tensor | tuple[Tensor, Tensor]":
        """A raw record -> what the model takes as `source`.

        The record may have any rate and lead order. Windows do not overlap unless the contract has a stride, and
        samples behind the last whole window are dropped. A record shorter than one window is filled up with zeros
        and gives a warning. A limb lead that is missing (absent, or NaN throughout) is derived from two others;
        any other missing lead is zero, with a warning, if the model was trained with lead masking. A flat lead is
        kept, with a warning.

        Returns: float32 [windows, leads, window_samples]; with `return_mask` also a bool mask of that shape, True =
            padding.
        Raises: ConfigError for a missing lead that the model needs, and for samples that are NaN if the contract
            has no step that fills them.
        """
        import torch

        signal, rate, missing = self.conditioned(record)
        pieces = self._cut(signal)
        behind = self.behind_cut()
        windows = np.stack([self.finished(piece, rate, behind) for piece in pieces])
        windows[:, missing] = 0
        source = torch.from_numpy(np.ascontiguousarray(windows, dtype=np.float32))
        if not return_mask:
            return source
        mask = torch.zeros(source.shape, dtype=torch.bool)
        mask[:, :, math.ceil(pieces[0].shape[-1] / self.factor) :] = True
        return source, mask

    @property
    def factor(self) -> int:
        """By how much the steps behind the cut divide the rate."""
        return _factor(self.behind_cut())

    def behind_cut(self) -> list[Step | str]:
        """The steps that see one window, and the mark "pad"."""
        steps = self.made()
        return steps[steps.index(WINDOW) + 1 :] if WINDOW in steps else []

    def conditioned(self, record: Record) -> tuple[np.ndarray, float, list[int]]:
        """A raw record behind the steps that see the whole of it: [leads, samples], its Hz, and its missing leads.

        Raises: ConfigError as `prepare`.
        """
        signal, missing = self._ordered(record)
        rate = record.sample_rate
        for step in self.made():
            if step == WINDOW:
                break
            if isinstance(step, Step):
                signal, rate = step(signal, rate, self.sample_rate)
        if not math.isclose(rate, self.sample_rate * self.factor):
            raise ConfigError(
                f"the record has {rate:g} Hz, but the model takes {self.sample_rate * self.factor:g} Hz and its "
                "contract does not resample; resample the record first"
            )
        return signal, rate, missing

    def check_source(self, source: "Tensor") -> None:
        """Say what is wrong with a batch that `prepare` did not make.

        Warns about windows of another length and about values that were visibly not scaled as in training.

        Args:
            source: [batch, leads, samples].
        Raises: ConfigError for a wrong number of leads and for NaN.
        """
        shape = tuple(source.shape)
        if len(shape) != 3 or shape[1] != len(self.leads):
            expected = f"[batch, {len(self.leads)}, {self.window_samples}]"
            raise ConfigError(f"source has the shape {list(shape)}; the model takes {expected}, leads {self._listed()}")
        if bool(source.isnan().any()):
            raise ConfigError("source holds NaN; make it with model.signal.prepare(record), which treats missing ones")
        if shape[2] != self.window_samples:
            seconds = self.window_samples / self.sample_rate
            text = f"source has {shape[2]} samples per window; the model was trained on {self.window_samples}"
            text += f" ({seconds:g} s at {self.sample_rate:g} Hz). Make it with model.signal.prepare(record)"
            warnings.warn(text, stacklevel=2)
        problem = scale_problem(source.detach().float().cpu().numpy(), self.made())
        if problem:
            warnings.warn(f"{problem}. Make source with model.signal.prepare(record)", stacklevel=2)

    def _ordered(self, record: Record) -> tuple[np.ndarray, list[int]]:
        """[leads, samples] in the contract's order, without NaN leads, and which of them are missing."""
        if record.signal.shape[-1] == 0:
            raise ConfigError("the record has no samples; give one with at least a part of a window")
        signal = order_leads(record.signal, record.leads, self.leads)
        signal = self._with_derived_leads(signal, record)
        signal[np.isinf(signal)] = np.nan
        empty = np.isnan(signal).all(axis=-1)
        missing = [int(index) for index in np.flatnonzero(empty)]
        names = ", ".join(self.leads[index] for index in missing)
        if missing and (not self.zero_missing_leads or len(missing) == len(self.leads)):
            raise ConfigError(
                f"the record has no {names} (found {', '.join(record.leads)}), but the model needs {self._listed()}; "
                "only limb leads can be derived, from two others. Give a record with these leads"
            )
        if missing:
            warnings.warn(f"the record has no {names}; zero is put in, as in training with lead masking", stacklevel=3)
        signal[missing] = 0
        self._report_gaps(signal, missing)
        return signal, missing

    def _with_derived_leads(self, signal: np.ndarray, record: Record) -> np.ndarray:
        """Missing limb leads from any two that the record has, also from such that the model does not take."""
        extra = [name for name in LEADS[:6] if name.lower() not in [lead.lower() for lead in self.leads]]
        others = order_leads(record.signal, record.leads, extra)
        complete, _ = derive_limb_leads(np.concatenate([signal, others]), [*self.leads, *extra])
        return complete[: len(self.leads)]

    def _report_gaps(self, signal: np.ndarray, missing: Sequence[int]) -> None:
        gaps = np.isnan(signal)
        if gaps.any():
            counts = [f"{lead} {int(count)}" for lead, count in zip(self.leads, gaps.sum(axis=-1)) if count]
            text = f"samples of the record are missing (NaN): {', '.join(counts)}"
            if not any(isinstance(step, Step) and step.fills_nan for step in self.made()):
                raise ConfigError(
                    f"{text}; the model was trained on records without. Cut them off, or fill them: "
                    "record.signal = ecg_signals.signal.missing.interpolate_nan(record.signal)"
                )
            warnings.warn(f"{text}; they are filled as in training", stacklevel=4)
        flat = [lead for lead, row in zip(self.leads, signal) if row[0] == row[-1] and (row == row[0]).all()]
        flat = [lead for lead in flat if self.leads.index(lead) not in missing]
        if flat:
            warnings.warn(f"flat in the whole record: {', '.join(flat)}; check the electrodes", stacklevel=4)

    def _cut(self, signal: np.ndarray) -> list[np.ndarray]:
        """Windows at `factor` times the contract's rate; a short record is one shorter window."""
        factor = self.factor
        samples = self.window_samples * factor
        if signal.shape[-1] >= samples:
            return [signal[:, at : at + samples] for at in self.starts(signal.shape[-1], factor)]
        rate = self.sample_rate * factor
        found = f"{signal.shape[-1] / rate:.3g} s, shorter than one window of {samples / rate:.3g} s"
        warnings.warn(f"the record has {found}; it is filled up with zeros", stacklevel=3)
        return [signal]

    def finished(self, piece: np.ndarray, rate: float, behind: Sequence[Step | str]) -> np.ndarray:
        """A window of a conditioned record behind the steps of `behind_cut`, and zeros up to the contract's length."""
        samples = self.window_samples * _factor(behind)
        for step in behind:
            if isinstance(step, Step):
                piece, rate = step(piece, rate, self.sample_rate)
            else:
                piece = padded(piece, samples)
        return padded(piece, self.window_samples)

    @property
    def values(self) -> str:
        """What the values of `source` are, in a few words."""
        found = [step.values for step in self.made() if isinstance(step, Step) and step.values]
        return found[-1] if found else "mV"

    @property
    def table(self) -> str:
        """The registered dataset of tables whose files hold prepared records; empty where they hold raw ones."""
        return next((step.table for step in self.made() if isinstance(step, Step) and step.table), "")

    def _listed(self) -> str:
        return ", ".join(self.leads)


def stated_contract(contract: SignalContract | None, where: str) -> SignalContract:
    """A model's input contract. Raises: ConfigError saying how one is added, where the file `where` states none."""
    if contract is None:
        raise ConfigError(no_contract(where))
    return contract


def no_contract(where: str) -> str:
    """What to say of a file that states no input contract, and what to type."""
    folder = where if Path(where).is_dir() else "FOLDER"
    example = json.dumps({**SignalContract(steps=[{"name": "standardise"}]).to_dict(), "leads": ["I", "II", "..."]})
    convert = "" if folder == where else f"convert it, ecg-convert {where} {folder} --to hf, and "
    return (
        f"{where} states no input contract (model.signal is None): how records were prepared for it is not known, and "
        f"nothing is assumed. If you know it: {convert}state it in {folder}/config.json, in place of "
        f'"ecg_signals": {{"signal": null}}, in the form {example}. In Python: model.signal = '
        f"ecg_signals.signal.contract.SignalContract(sample_rate=..., leads=[...], window_samples=..., steps=[...])"
    )


def _factor(steps: Sequence[Step | str]) -> int:
    return math.prod(step.factor for step in steps if isinstance(step, Step))


def padded(signal: np.ndarray, samples: int) -> np.ndarray:
    return np.pad(signal, ((0, 0), (0, max(0, samples - signal.shape[-1]))))
