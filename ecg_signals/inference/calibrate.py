"""A classifier's answers to validation records -> what makes probabilities of them (metrics/recalibration.py)."""

import datetime
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.evaluation.evaluator import Evaluator
from ecg_signals.evaluation.run import Answer, run
from ecg_signals.evaluation.windows import by_windows
from ecg_signals.interop.layout import ModelSource, logit_columns
from ecg_signals.metrics.calibrated import Calibration, read_calibration, unweighted
from ecg_signals.metrics.logits import LABELS, joined_logits
from ecg_signals.metrics.recalibration import applied, bands, fit, pooled_error, thresholds, unseen
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.runtime.placement import Placement

USUAL = {"task": "ecg_classification", "criterion": "binary_cross_entropy_with_logits"}  # of files without a recipe


@dataclass(frozen=True)
class Validation:
    """What a model answered to records of whom the truth is known.

    Attributes:
        logits: [records, labels] of windows joined as the input contract says, as trained.
        free: the same with pos_weight taken back from every window.
        targets: [records, labels] of 0 and 1, NaN where unknown.
        owners: [records] patients; negative where unknown.
        subset: which records they are.
        data_hash: of their names and targets.
    """

    logits: np.ndarray
    free: np.ndarray
    targets: np.ndarray
    owners: np.ndarray
    subset: str
    data_hash: str


def calibrate(found: Validation, log_pos_weight: Sequence[float], method: str = "affine") -> Calibration:
    """Slope, offsets, thresholds and bands from validation records.

    `ece_before` is the error of the plain sigmoid, `ece_uncalibrated` that without pos_weight, and `ece_after` that of
    records whose patients the fit has not seen, in as many fits as there are folds.
    Raises: ConfigError when the records tell too little.
    """
    fitted = fit(found.free, found.targets, method)
    answers = applied(fitted, found.free)
    known, positive = ~np.isnan(found.targets), found.targets == 1
    counts, total = positive.sum(axis=0), known.sum(axis=0)
    stored = {
        "method": method,
        "log_pos_weight": list(log_pos_weight),
        **fitted,
        "n_records": len(found.targets),
        "n_patients": len(np.unique(found.owners)),
        "n_positive": counts.tolist(),
        "n_known": total.tolist(),
        "prevalence": (counts / np.maximum(total, 1)).tolist(),
        "ece_before": pooled_error(found.targets, _sigmoid(found.logits)),
        "ece_uncalibrated": pooled_error(found.targets, _sigmoid(found.free)),
        "ece_after": pooled_error(found.targets, unseen(found.free, found.targets, found.owners, method)),
        "thresholds": thresholds(found.targets, answers),
        "bands": bands(found.targets, answers),
        "subset": found.subset,
        "data_hash": found.data_hash,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    made = read_calibration(stored, "ecg-calibrate")
    assert made is not None
    return made


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return torch.from_numpy(logits).sigmoid().numpy()


def log_pos_weight_of(model: BaseModel | ModelSource, count: int) -> tuple[float, ...]:
    """[labels] what is taken back from the logits of a model."""
    return (model.calibration or unweighted(count)).log_pos_weight


def answers_to(
    checkpoint: str, source: ModelSource, data: str, subset: str, settings: Mapping[str, Any], device: str | None = None
) -> Validation:
    """A checkpoint's answers to the records of labelled manifests.

    Args:
        source: what the checkpoint holds.
        data: a folder of manifests, or the one that ecg-preprocess wrote.
        subset: names of manifests in it.
        settings: more of the recipe, by section, as for ecg-validate.
    Raises: ConfigError when they do not fit together, or the model answers no independent labels.
    """
    if source.logits is None or source.logit_kind not in (None, LABELS):
        raise ConfigError(
            f"{checkpoint} gives no independent labels (it holds '{source.name}', logits: {source.logit_kind}); "
            f"ecg-calibrate takes a classifier of several labels at once"
        )
    sections = _sections(checkpoint, source, data, subset, settings)
    if device is not None:
        sections["common"] = {**sections.get("common", {}), "cpu": device == "cpu"}
    evaluator = Evaluator(sections, Placement())
    parts = [_answers(evaluator, split) for each in evaluator.subsets() for split in evaluator.task.splits_of(each)]
    keys = ("logits", "free", "targets", "owners")
    logits, free, targets, owners = (np.concatenate([part[key] for part in parts]) for key in keys)
    names = hashlib.sha256("\n".join(name for part in parts for name in part["names"]).encode())
    names.update(np.ascontiguousarray(targets).tobytes())
    return Validation(logits, free, targets, owners, subset, names.hexdigest())


def _sections(
    checkpoint: str, source: ModelSource, data: str, subset: str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    folder = resolve_input(data)
    if not folder.is_dir():
        raise ConfigError(f"--data {data} is no folder; give one of manifests, or the one that ecg-preprocess wrote")
    manifests = folder / "manifest" if (folder / "manifest").is_dir() else folder
    sections: dict[str, Any] = {
        "common_eval": {"path": checkpoint},
        "task": {"data": str(manifests)},
        "dataset": {"valid_subset": subset, "batch_size": 64, "num_workers": 0, "max_tokens": None},
    }
    table = manifests.parent / "labels" / "y.npy"
    if table.is_file():
        sections["task"]["label_file"] = str(table)
    for group, name in USUAL.items():
        if not (source.cfg.get(group) or {}).get("_name"):
            sections[group] = {"_name": name, **sections.get(group, {})}
    for group, values in settings.items():
        sections[group] = {**sections.get(group, {}), **values}
    return sections


def _answers(evaluator: Evaluator, split: str) -> dict[str, Any]:
    """Of one split, by record: joined logits, targets, owner and name."""
    model, criterion = evaluator.model, evaluator.task.build_criterion()
    batches = evaluator.batches(split)
    dataset = evaluator.aligned(split, criterion)
    _check_contract(model, dataset)
    dataset.with_owners = True
    items = _Items()
    asked = by_windows(_Both(model), dataset.cutting, LABELS)
    run(asked, batches.batches(1), evaluator.device, [items])
    return items.by_record(model, dataset)


class _Both(nn.Module):
    """A model whose logits stand twice in a row: as trained, and with pos_weight taken back."""

    def __init__(self, model: BaseModel) -> None:
        super().__init__()
        self.model = model
        count = logit_columns(model.cfg.to_dict()) or 0
        self.calibration = model.calibration or unweighted(count)

    def forward(self, **net_input: Any) -> ModelOutput:
        logits = self.model(**net_input)["logits"].double()
        return ModelOutput(logits=torch.cat([logits, self.calibration.of_windows(logits)], dim=-1))


class _Items:
    """Consumes answers and truth of the items of a split."""

    def __init__(self) -> None:
        self.rows: dict[int, tuple[Tensor, np.ndarray, int, int]] = {}

    def __call__(self, answer: Answer) -> None:
        target, ids = answer.batch.get("label"), answer.batch["id"].reshape(-1).tolist()
        logits = answer.output["logits"].detach().cpu()
        if not isinstance(target, Tensor) or target.shape != (len(ids), logits.shape[1] // 2):
            raise ConfigError("the data have not one 0 or 1 per label and item; give their table, task.label_file=FILE")
        truth = target.detach().cpu().double().numpy()
        owners = answer.batch.get("owner", torch.tensor([-1 - number for number in ids])).tolist()
        records = answer.batch.get("record", torch.tensor(ids)).tolist()
        self.rows |= dict(zip(ids, zip(logits, truth, owners, records)))

    def by_record(self, model: BaseModel, dataset: BaseDataset) -> dict[str, Any]:
        parts: dict[int, list[int]] = {}
        for number in sorted(self.rows):
            parts.setdefault(self.rows[number][3], []).append(number)
        count = next(iter(self.rows.values()))[0].shape[0] // 2
        rules = [model.signal.rule(label) if model.signal else "mean" for label in model.labels or [""] * count]
        joined = [joined_logits(torch.stack([self.rows[number][0] for number in own]), 2 * rules, LABELS).numpy()
                  for own in parts.values()]  # fmt: skip
        firsts = [own[0] for own in parts.values()]
        return {
            "logits": np.stack(joined)[:, :count],
            "free": np.stack(joined)[:, count:],
            "targets": np.stack([self.rows[number][1] for number in firsts]),
            "owners": np.array([self.rows[number][2] for number in firsts]),
            "names": [Path(dataset.name_of(number)).name for number in firsts],
        }


def _check_contract(model: BaseModel, dataset: BaseDataset) -> None:
    """Raises: ConfigError when the data are prepared otherwise than records are for this model."""
    found, wanted = dataset.input_contract(), model.signal
    if found is None or wanted is None:
        return
    for key in ("sample_rate", "leads"):
        if getattr(found, key) != getattr(wanted, key):
            raise ConfigError(
                f"{dataset.path} holds records of {key} {getattr(found, key)}, but the model was trained on "
                f"{getattr(wanted, key)}; give validation records that are prepared as its own were"
            )
