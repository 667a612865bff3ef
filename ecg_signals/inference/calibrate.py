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

from ecg_signals.config import ConfigError, UsageError, resolve_input
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.evaluation.evaluator import Evaluator
from ecg_signals.evaluation.results import class_numbers, one_hot
from ecg_signals.evaluation.run import Answer, run
from ecg_signals.evaluation.windows import by_windows, pooled_of
from ecg_signals.interop.layout import ModelSource, logit_columns
from ecg_signals.metrics import likeness
from ecg_signals.metrics.calibrated import TEMPERATURE, Calibration, read_calibration, unweighted
from ecg_signals.metrics.logits import CLASSES, LABELS, joined_logits, probabilities_of
from ecg_signals.metrics.recalibration import applied, bands, fit, folds, pooled_error, thresholds, top_error, unseen
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.runtime.placement import Placement

CRITERIA = {LABELS: "binary_cross_entropy_with_logits", CLASSES: "cross_entropy"}  # of files without a recipe
METHODS = {LABELS: ("affine", "isotonic"), CLASSES: (TEMPERATURE,)}  # the first is the usual one


@dataclass(frozen=True)
class Validation:
    """What a model answered to records of whom the truth is known.

    Attributes:
        logits: [records, labels] of windows joined as the input contract says, as trained.
        free: the same with pos_weight taken back from every window.
        targets: [records, labels] of 0 and 1, NaN where unknown; of classes, of which one is 1, a whole row of NaN.
        owners: [records] patients; negative where unknown.
        subset: which records they are.
        data_hash: of their names and targets.
        kind: what the logits are, LABELS or CLASSES.
        pooled: [records, dim] what they are to the model's head, the mean of their windows; None: it does not say.
    """

    logits: np.ndarray
    free: np.ndarray
    targets: np.ndarray
    owners: np.ndarray
    subset: str
    data_hash: str
    kind: str = LABELS
    pooled: np.ndarray | None = None


def calibrate(found: Validation, log_pos_weight: Sequence[float], method: str | None = None) -> Calibration:
    """Slope, offsets, thresholds and bands from validation records.

    `ece_before` is the error of the plain sigmoid or softmax, `ece_uncalibrated` that without pos_weight, and
    `ece_after` that of records whose patients the fit has not seen, in as many fits as there are folds; of classes it
    is the error of the most probable one.

    Args:
        method: one of METHODS of the kind of logits; None: the usual one.
    Raises: ConfigError when the records tell too little, UsageError for a method of the other kind.
    """
    usual, *others = METHODS[found.kind]
    if method not in (None, usual, *others):
        what = "chooses one class out of several" if found.kind == CLASSES else "answers independent labels"
        raise UsageError(f"method {method} is not for a model that {what}; leave it out: {usual}")
    method = method or usual
    error = top_error if found.kind == CLASSES else pooled_error
    fitted = fit(found.free, found.targets, method)
    answers = applied(fitted, found.free)
    known, positive = ~np.isnan(found.targets), found.targets == 1
    counts, total = positive.sum(axis=0), known.sum(axis=0)
    stored = {
        "log_pos_weight": list(log_pos_weight),
        **fitted,
        "n_records": len(found.targets),
        "n_patients": len(np.unique(found.owners)),
        "n_positive": counts.tolist(),
        "n_known": total.tolist(),
        "prevalence": (counts / np.maximum(total, 1)).tolist(),
        "ece_before": error(found.targets, _probabilities(found.logits, found.kind)),
        "ece_uncalibrated": error(found.targets, _probabilities(found.free, found.kind)),
        "ece_after": error(found.targets, unseen(found.free, found.targets, found.owners, method)),
        "thresholds": thresholds(found.targets, answers),
        "bands": bands(found.targets, answers),
        "likeness": None if found.pooled is None else likeness.fit(found.pooled, folds(found.owners)),
        "subset": found.subset,
        "data_hash": found.data_hash,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }
    made = read_calibration(stored, "ecg-calibrate")
    assert made is not None
    return made


def _probabilities(logits: np.ndarray, kind: str) -> np.ndarray:
    return probabilities_of(torch.from_numpy(logits), kind).numpy()


def calibrated_kind(source: ModelSource, checkpoint: str) -> str:
    """What the logits are. Raises: ConfigError for a model whose answers are no probabilities."""
    if source.logits is None:
        raise ConfigError(f"{checkpoint} holds '{source.name}', which has no classification head, nothing to calibrate")
    kind = source.logit_kind or LABELS
    if kind not in METHODS:
        raise ConfigError(
            f"{checkpoint} answers with {kind}, not with probabilities, so there is nothing to calibrate; "
            f"ecg-calibrate takes a classifier, of several labels at once or of one class out of several"
        )
    return kind


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
    Raises: ConfigError when they do not fit together, or the model's answers are no probabilities.
    """
    kind = calibrated_kind(source, checkpoint)
    sections = _sections(checkpoint, source, data, subset, settings)
    if device is not None:
        sections["common"] = {**sections.get("common", {}), "cpu": device == "cpu"}
    evaluator = Evaluator(sections, Placement())
    splits = [split for each in evaluator.subsets() for split in evaluator.task.splits_of(each)]
    parts = [_answers(evaluator, split, kind) for split in splits]
    keys = ("logits", "free", "targets", "owners")
    logits, free, targets, owners = (np.concatenate([part[key] for part in parts]) for key in keys)
    names = [name for part in parts for name in part["names"]]
    pooled = None if parts[0]["pooled"] is None else np.concatenate([part["pooled"] for part in parts])
    return Validation(logits, free, targets, owners, subset, hash_of(names, targets), kind, pooled)


def hash_of(names: Sequence[str], targets: np.ndarray) -> str:
    """sha256 of the names of records, and of what is true of them."""
    found = hashlib.sha256("\n".join(names).encode())
    found.update(np.ascontiguousarray(targets).tobytes())
    return found.hexdigest()


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
    usual = {"task": "ecg_classification", "criterion": CRITERIA[source.logit_kind or LABELS]}
    for group, name in usual.items():
        if not (source.cfg.get(group) or {}).get("_name"):
            sections[group] = {"_name": name, **sections.get(group, {})}
    for group, values in settings.items():
        sections[group] = {**sections.get(group, {}), **values}
    return sections


def _answers(evaluator: Evaluator, split: str, kind: str) -> dict[str, Any]:
    """Of one split, by record: joined logits, targets, owner and name."""
    model, criterion = evaluator.model, evaluator.task.build_criterion()
    batches = evaluator.batches(split)
    dataset = evaluator.aligned(split, criterion)
    _check_contract(model, dataset)
    dataset.with_owners = True
    items = _Items(kind)
    asked = by_windows(_Both(model) if kind == LABELS else model, dataset.cutting, kind)
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
        output = self.model(**net_input)
        logits = output["logits"].double()
        return ModelOutput(output, logits=torch.cat([logits, self.calibration.of_windows(logits)], dim=-1))


class _Items:
    """Consumes answers and truth of the items of a split; those of labels stand twice, as `_Both` gives them."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.rows: dict[int, tuple[Tensor, np.ndarray, int, int]] = {}
        self.pooled: dict[int, Tensor] = {}

    def __call__(self, answer: Answer) -> None:
        target, ids = answer.batch.get("label"), answer.batch["id"].reshape(-1).tolist()
        logits = answer.output["logits"].detach().cpu().double()
        count = logits.shape[1] // (2 if self.kind == LABELS else 1)
        truth = target.detach().cpu().double().numpy().reshape(len(ids), -1) if isinstance(target, Tensor) else None
        if truth is not None and self.kind == CLASSES:
            truth = one_hot(_classes(truth, count), count)
        if truth is None or truth.shape != (len(ids), count):
            raise ConfigError("the data have not one 0 or 1 per label and item; give their table, task.label_file=FILE")
        owners = answer.batch.get("owner", torch.tensor([-1 - number for number in ids])).tolist()
        records = answer.batch.get("record", torch.tensor(ids)).tolist()
        self.rows |= dict(zip(ids, zip(logits, truth, owners, records)))
        pooled = pooled_of(answer.output)
        self.pooled |= {} if pooled is None else dict(zip(ids, pooled.cpu()))

    def by_record(self, model: BaseModel, dataset: BaseDataset) -> dict[str, Any]:
        parts: dict[int, list[int]] = {}
        for number in sorted(self.rows):
            parts.setdefault(self.rows[number][3], []).append(number)
        count = next(iter(self.rows.values()))[1].shape[0]
        rules = [model.signal.rule(label) if model.signal else "mean" for label in model.labels or [""] * count]
        rules *= 2 if self.kind == LABELS else 1
        joined = [joined_logits(torch.stack([self.rows[number][0] for number in own]), rules, self.kind).numpy()
                  for own in parts.values()]  # fmt: skip
        firsts = [own[0] for own in parts.values()]
        pooled = [torch.stack([self.pooled[number] for number in own]).mean(dim=0).numpy() for own in parts.values()
                  if self.pooled]  # fmt: skip
        return {
            "logits": np.stack(joined)[:, :count],
            "free": np.stack(joined)[:, -count:],
            "targets": np.stack([self.rows[number][1] for number in firsts]),
            "owners": np.array([self.rows[number][2] for number in firsts]),
            "names": [Path(dataset.name_of(number)).name for number in firsts],
            "pooled": np.stack(pooled) if pooled else None,
        }


def _classes(targets: np.ndarray, count: int) -> np.ndarray:
    """[items] numbers of classes. Raises: ConfigError for one that the model does not have."""
    found = class_numbers(targets)
    if found.max(initial=0) >= count:
        raise ConfigError(f"the data have a class {found.max()}, but the model has {count} classes, from 0 on")
    return found


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
