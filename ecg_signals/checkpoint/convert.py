"""From any layout that `load_model` reads to any that is registered."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ecg_signals.checkpoint.initialise import encoder_alone
from ecg_signals.checkpoint.load import complete, files_read, load_source
from ecg_signals.checkpoint.sharded import is_sharded
from ecg_signals.config import ConfigError
from ecg_signals.files import check_writable
from ecg_signals.interop.layout import Layout, ModelSource, get_layout, layout_of
from ecg_signals.limits import check_no_input
from ecg_signals.metrics.calibrated import Calibration

SHORT = {"fairseq": "ecg_signals", "hf": "huggingface"}  # a file of ours is one of fairseq-signals that says more


@dataclass(frozen=True)
class Converted:
    """What `convert` did: the model's registered name, its weights in number, and where they lie now.

    `optimizer_left`: the source holds an optimizer's state, which the written layout has no place for.
    """

    name: str
    weights: int
    labels: list[str] | None
    dest: Path
    optimizer_left: bool


def convert(
    source: str | os.PathLike[str], dest: str | os.PathLike[str], to: str, *, minify: bool = False
) -> Converted:
    """Convert a checkpoint and check that what was written gives the same weights, bit by bit.

    Args:
        source: as for `load_model`.
        dest: a folder for `hf`, else a file.
        minify: write the encoder alone, without a head or what only its pretraining needs.
        to: a registered layout, `fairseq` or `hf` for short, or `original` for the published one of the model's family.
    Raises: ConfigError when the source cannot be read, has no such form, or the result cannot be written.
    """
    named = None if to == "original" else get_layout(SHORT.get(to, to))
    check_writable(Path(dest).absolute().parent, advice="Choose another DEST")
    found = load_source(source)
    model = complete(encoder_alone(found) if minify else found)
    layout = named or layout_of(model.name, model.options)
    if layout is None:
        raise ConfigError(f"no other project publishes the model '{model.name}'; use --to fairseq or --to hf")
    if layout.models and not layout.publishes(model.name, model.options):
        raise ConfigError(f"the layout '{to}' has no model '{model.name}'; use --to fairseq or --to hf")
    place = Path(dest)
    check_no_input(layout.places(place), files_read(source))
    content = layout.save(model, place)
    _check_written(model, dest)
    count = sum(value.numel() for value in model.state.values())
    return Converted(model.name, count, model.labels, place, _has_optimizer(model.raw) and not _has_optimizer(content))


def check_calibrates(source: ModelSource, where: str | os.PathLike[str], dest: Path) -> None:
    """Raises: ConfigError when a calibration of `source` cannot be written to `dest`."""
    place = Path(where)
    if dest != place:
        check_no_input(_layout_for(source).places(dest), files_read(where))
    elif place.is_dir() and is_sharded(place):
        raise ConfigError(f"{where} is a sharded checkpoint, which stays as it is; give a file, --out calibrated.pt")
    elif not any(get_layout(name).recognise(source.raw) for name in SHORT.values()):
        raise ConfigError(
            f"{where} was not written by ecg-signals ({source.layout}) and stays as it is; give a file, "
            f"--out calibrated.pt"
        )


def store_calibration(source: ModelSource, calibration: Calibration, dest: Path) -> None:
    """The same model with a calibration, in one step, and read back. Raises: ConfigError if it cannot be written."""
    model = complete(replace(source, calibration=calibration))
    _layout_for(source).save(model, dest)
    _check_written(model, dest)


def _layout_for(source: ModelSource) -> Layout:
    """A folder stays one; everything else becomes a file of ours."""
    return get_layout("huggingface" if isinstance(source.raw.get("huggingface"), Mapping) else "ecg_signals")


def _has_optimizer(content: Mapping[str, Any]) -> bool:
    """Whether a file holds what a run needs to go on, in any layout that holds it."""
    return any(content.get(key) for key in ("last_optimizer_state", "optimizer_state_dict", "optimizer"))


def _check_written(model: ModelSource, dest: str | os.PathLike[str]) -> None:
    written = complete(load_source(dest))
    wrong = [key for key, value in model.state.items() if not _equal(value, written.state.get(key))]
    if written.calibration != model.calibration:
        wrong.append("calibration")
    if wrong or written.name != model.name:
        raise ConfigError(f"{dest} was written, but reads back differently: {', '.join(wrong[:8]) or written.name}")


def _equal(first: Tensor, second: Tensor | None) -> bool:
    return second is not None and first.shape == second.shape and torch.equal(first.nan_to_num(), second.nan_to_num())
