"""The input contract of a model that is trained on a manifest of segments, read off the segments themselves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ecg_signals.data.transforms.pipeline import loses_leads
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.scale import scale_problem
from ecg_signals.signal.segments import segment_contract
from ecg_signals.signal.steps.base import make_step

if TYPE_CHECKING:
    from ecg_signals.data.datasets.ecg_file import EcgFileDataset

LOOKED_AT = 8  # segments whose values tell whether records were standardised


def contract_of_segments(dataset: "EcgFileDataset", names: Sequence[str] = LEADS) -> SignalContract | None:
    """Rate, leads, window and steps that bring a raw record to what `dataset` yields.

    Args:
        names: of the rows of files, where every row is taken.

    Returns: None where no fixed contract exists: the rate is unknown, leads are drawn per item, or rows have no name.
    """
    cfg, selection = dataset.cfg, dataset.selection
    unnamed = selection.every_row and len(dataset.first.signal) != len(names)
    if not dataset.sample_rate or selection.bucket or cfg.enable_padding_leads or unnamed:
        return None
    leads = list(range(len(names))) if selection.every_row else selection.fixed
    chosen = list(names) if selection.every_row else [LEADS[lead] for lead in leads]
    statistics = zip(("mean", "std"), dataset.preparation.statistics or ())
    contract = segment_contract(
        dataset.sample_rate,
        chosen,
        _window(dataset.sizes, cfg.max_sample_size),
        zero_missing_leads=loses_leads(cfg, dataset.sample_rate),
        filtered=cfg.filter,
        clip=cfg.clip,
        **{name: values[leads].tolist() for name, values in statistics},
    )
    if _in_millivolt(dataset):
        contract.steps = [step for step in contract.steps if step["name"] != "standardise"]
    return contract


def _window(sizes: np.ndarray, longest: int | None) -> int:
    """The most frequent segment length, cut to the longest that training takes."""
    usual = int(sizes[0])
    if sizes.min() < sizes.max():
        lengths, counts = np.unique(sizes, return_counts=True)
        usual = int(lengths[counts.argmax()])
    return usual if longest is None else min(usual, longest)


def _in_millivolt(dataset: "EcgFileDataset") -> bool:
    """Whether stored segments are visibly no z-scores of their records (ecg-preprocess standardise=false)."""
    rows = np.unique(np.linspace(0, len(dataset) - 1, LOOKED_AT, dtype=int))
    signals = [dataset.open(dataset.manifest.addresses(int(row))[0]).signal for row in rows]
    shortest = min(signal.shape[-1] for signal in signals)
    leads = np.concatenate([np.asarray(signal, dtype=np.float32)[:, :shortest] for signal in signals])
    return scale_problem(leads[None], [make_step({"name": "standardise"})]) is not None
