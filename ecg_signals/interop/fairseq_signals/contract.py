"""The input of fairseq-signals' published files, which state none."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS, lead_indices
from ecg_signals.signal.segments import segment_contract

SEGMENTORS = ("unet_segmentor", "unet_cgm_segmentor")
ECG_FM_MAX = (
    "Poor data quality",
    "Premature ventricular contraction",
    "Ventricular tachycardia",
    "Supraventricular tachycardia with aberrancy",
    "Electronic pacemaker",
)  # labels for which one window is enough; all others are averaged


def ecg_fm() -> SignalContract:
    """ECG-FM: 5 s windows at 500 Hz of per-lead z-scores of the whole record; trained with random lead masking."""
    contract = segment_contract(zero_missing_leads=True)
    contract.aggregate = dict.fromkeys(ECG_FM_MAX, "max")
    return contract


def _segmentation(task: Mapping[str, Any], options: Mapping[str, Any]) -> SignalContract | None:
    """Whole records of 10 s in mV, all leads or any one alone, which is named after lead II."""
    leads = {1: ["II"], len(LEADS): list(LEADS)}.get(options.get("in_d", 1))
    rate = task.get("sample_rate")
    rate = float(rate) if isinstance(rate, (int, float)) and rate > 0 else 500.0
    if leads is None:
        return None
    steps: list[dict[str, Any]] = [{"name": "resample", "method": "linear"}]
    if task.get("normalize"):
        steps += [{"name": "window"}, {"name": "standardise", "jointly": True, "variance_eps": 1e-5}]
    return SignalContract(rate, leads, round(10 * rate), steps)


def built_in_contract(cfg: Mapping[str, Any], options: Mapping[str, Any]) -> SignalContract | None:
    """The input of fairseq-signals' files: ECG-FM's, with the rate, leads and filter that the recipe names.

    None where that is not known: for a model that takes another number of leads than its recipe names, and for input
    that was normalised with files (task.mean_path) that the checkpoint does not hold.
    """
    contract = ecg_fm()
    task = cfg.get("task") or {}
    if (cfg.get("model") or {}).get("_name") in SEGMENTORS:
        return _segmentation(task, options)
    if task.get("normalize"):
        return None
    rate = task.get("sample_rate")
    rate = float(rate) if isinstance(rate, (int, float)) and rate > 0 else contract.sample_rate
    chosen = task.get("leads_to_load")
    leads = contract.leads if chosen in (None, "???") else [LEADS[index] for index in lead_indices(chosen)]
    seconds = contract.window_samples / contract.sample_rate
    taken = options.get("in_d", options.get("input_dim"))
    if taken not in (None, len(leads)) and not options.get("leadwise"):
        return None
    window, filtered = round(seconds * rate), bool(task.get("filter"))
    found = segment_contract(rate, leads, window, zero_missing_leads=True, filtered=filtered)
    return replace(found, aggregate=contract.aggregate)
