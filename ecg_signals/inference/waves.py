"""The waves of a record, by a model that marks every sample."""

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ecg_signals.checkpoint.load import load_model
from ecg_signals.config import ConfigError, listed
from ecg_signals.metrics.delineation import delineate
from ecg_signals.runtime.placement import compute_device
from ecg_signals.signal.contract import SignalContract, stated_contract
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record
from ecg_signals.signal.steps.base import Step

MARGIN_SECONDS = 1.0  # at the beginning of a further window that the one before it answers
BATCH = 16  # windows per forward pass

Waves = dict[str, dict[str, np.ndarray]]  # lead -> wave -> [waves, 2], first and last second


@dataclass(frozen=True)
class Delineator:
    """A model that marks waves, and how records become its input."""

    model: Any  # with `waves`, see BaseModel.of_samples
    contract: SignalContract

    def __call__(self, record: Record) -> Waves:
        """The waves of a record, of any length, lead by lead; a model of all leads together gives every lead the same.

        Raises: ConfigError for a record without the leads that the model needs.
        """
        contract, leads = self.contract, list(self.contract.leads)
        if len(leads) == 1:  # a model of any lead alone
            found = {name.lower() for name in record.leads}
            leads = [name for name in LEADS if name.lower() in found]
            if not leads:
                names = listed(record.leads)
                raise ConfigError(f"the record has {names}; expected at least one of {', '.join(LEADS)}")
        rate = contract.sample_rate
        signal, _, _ = replace(contract, leads=leads).conditioned(record)
        rows = signal[:, None] if len(contract.leads) == 1 else signal[None]  # [items, leads, samples]
        classes = [self._classes(row) for row in rows]
        waves = [{wave: spans / rate for wave, spans in delineate(row, self.model.waves).items()} for row in classes]
        return dict(zip(leads, waves * (len(leads) if len(waves) == 1 else 1)))

    @torch.inference_mode()
    def _classes(self, signal: np.ndarray) -> np.ndarray:
        """[leads, samples] -> [samples], in overlapping windows as long as those that the model was trained on."""
        size = self.contract.window_samples
        margin = min(round(MARGIN_SECONDS * self.contract.sample_rate), size // 4)  # of short windows half is new
        device, samples = next(self.model.parameters()).device, signal.shape[-1]
        starts = list(_starts(samples, size, margin))
        out = np.empty(samples, dtype=np.int64)
        for at in range(0, len(starts), BATCH):
            chosen = starts[at : at + BATCH]
            windows = torch.stack([self._window(signal[:, start : start + size]) for start in chosen]).to(device)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # a short record is one short window
                answers = self.model(windows)["logits"].argmax(dim=-1).cpu().numpy()
            for start, answer in zip(chosen, answers):
                own = margin if start else 0
                out[start + own : start + size] = answer[own:]
        return out

    def _window(self, piece: np.ndarray) -> torch.Tensor:
        """[leads, samples] behind the steps that see one window alone; a short record stays short."""
        for step in self.contract.behind_cut():
            if isinstance(step, Step):
                piece, _ = step(piece, self.contract.sample_rate, self.contract.sample_rate)
        return torch.from_numpy(np.ascontiguousarray(piece, dtype=np.float32))


def _starts(samples: int, size: int, margin: int) -> Iterator[int]:
    """First samples of the windows; the last one ends with the record."""
    step = max(1, size - 2 * margin)
    yield from range(0, max(samples - size, 0), step)
    yield max(samples - size, 0)


def open_delineator(source: str | os.PathLike[str], device: str | None = None) -> Delineator:
    """Raises: ConfigError for a model that marks no waves, or states no input contract."""
    model = load_model(source, device=str(compute_device(device)))
    if not model.of_samples:
        raise ConfigError(
            f"{source} holds a model that marks no waves; train one: ecg-train --config-name scratch/segmentation"
        )
    return Delineator(model, stated_contract(model.signal, str(source)))
