"""Our own files: fairseq-signals' layout, which says more under `extra_state["ecg_signals"]`.

That part holds all our options, the names of the labels, the input contract and the state of the run.
"""

from collections.abc import Mapping
from typing import Any

from ecg_signals import __version__
from ecg_signals.checkpoint.origin import read_origin
from ecg_signals.checkpoint.plain import plain_values
from ecg_signals.interop.fairseq_signals.layout import FairseqSignals, peer_config_of
from ecg_signals.interop.layout import ModelSource, logit_kind_of, model_entry, model_options
from ecg_signals.metrics.calibrated import read_calibration
from ecg_signals.registry import register_layout
from ecg_signals.signal.contract import SignalContract

OURS = "ecg_signals"  # key of extra_state that holds what fairseq-signals does not have
FORMAT = 1  # of that part


def is_ours(raw: Mapping[str, Any]) -> bool:
    """Whether we wrote the file: `extra_state` holds our part."""
    return isinstance((raw.get("extra_state") or {}).get(OURS), Mapping)


def config_of(raw: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe of a file as plain sections: ours whole, or what fairseq-signals stores of one."""
    return dict(raw["extra_state"][OURS]["options"]) if is_ours(raw) else peer_config_of(raw)


def our_part(options: Mapping[str, Any], model: Any, logit_kind: str | None) -> dict[str, Any]:
    """What a file says under `extra_state["ecg_signals"]` of a model or ModelSource that this recipe describes."""
    return {
        "format": FORMAT,
        "version": __version__,
        "options": plain_values(options),
        "labels": plain_values(model.labels),
        "logit_kind": logit_kind,
        "signal": plain_values(model.signal.to_dict()) if model.signal is not None else None,
        "origin": plain_values(model.origin),
        "calibration": plain_values(model.calibration.stored) if model.calibration is not None else None,
    }


@register_layout("ecg_signals")
class EcgSignals(FairseqSignals):
    title = "ecg-signals .pt (extra_state.ecg_signals)"
    rank = 0
    models = ()

    def recognise(self, raw: Mapping[str, Any]) -> bool:
        return super().recognise(raw) and is_ours(raw)

    def read(self, raw: dict[str, Any], where: str) -> ModelSource:
        """Nothing is guessed: a file of ours that states no input contract has none."""
        cfg, ours = config_of(raw), raw["extra_state"][OURS]
        found = cfg.get("model") or {}
        entry = model_entry(found.get("_name") or found.get("arch"), cfg, where)
        signal = ours["signal"] if "signal" in ours else raw["extra_state"].get("signal")
        return ModelSource(
            name=entry.name,
            options=model_options(entry.dataclass, found),
            state=dict(raw["model"]),
            labels=list(ours["labels"]) if ours.get("labels") else None,
            signal=SignalContract.from_dict(signal) if signal else None,
            origin=read_origin(ours.get("origin")),
            calibration=read_calibration(ours.get("calibration"), where),
            cfg=cfg,
            raw=raw,
            layout="ecg-signals",
            where=where,
            logit_kind=ours.get("logit_kind") or logit_kind_of(cfg),
        )

    def write(self, source: ModelSource) -> dict[str, Any]:
        """With all that the file it comes from holds of its run: the data position, statistics, the optimizer."""
        state = self.peer_content(source)
        kept = plain_values(source.raw["extra_state"][OURS]) if is_ours(source.raw) else {}
        options = {**source.cfg, "model": {"_name": source.name, **source.options}}
        state["extra_state"][OURS] = kept | our_part(options, source, source.logit_kind)
        return state
