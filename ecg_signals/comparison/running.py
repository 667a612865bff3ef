"""One run: an ordinary training, the state that validation chose, its answers to the test split, and a result."""

import json
import logging
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

import ecg_signals
from ecg_signals.comparison.protocols import PROTOCOLS
from ecg_signals.comparison.runs import Run, Test, lead_metric
from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.evaluation.benchmarks.base import Tuning
from ecg_signals.evaluation.evaluator import Evaluator
from ecg_signals.evaluation.results import SplitResults, class_numbers, plain_json
from ecg_signals.files import PARTIAL, replacing, writing
from ecg_signals.metrics.challenge import predict
from ecg_signals.metrics.logits import CLASSES, VALUES, has_values
from ecg_signals.metrics.results import Results, evaluate
from ecg_signals.reporting import stored_rows
from ecg_signals.runtime.batch import to_device
from ecg_signals.runtime.placement import Placement
from ecg_signals.runtime.precision import autocast
from ecg_signals.tables import write_text
from ecg_signals.training.trainer import Trainer

logger = logging.getLogger(__name__)

RESULT, SETTINGS, FAILED, PREDICTIONS = "result.json", "settings.json", "failed.json", "predictions.npz"


def data_folder(run: Run, out: Path) -> Path:
    """Where the manifests of a run lie."""
    return out / "splits" / run.folder.relative_to(out / "runs")


def execute(run: Run, out: Path) -> str | None:
    """Train and test, unless that is done; what a stopped run has trained is not trained again.

    Returns: None, or why it failed, which is also stored in its folder.
    """
    write_text(run.folder / SETTINGS, json.dumps(run.settings, indent=1))
    with logged_to(run.folder / "run.log"):
        error = _attempt(run, out)
    if error is not None:
        write_text(run.folder / FAILED, json.dumps({"error": error}))
        return error
    (run.folder / FAILED).unlink(missing_ok=True)
    unfinished = [path for path in run.folder.rglob(".*") if PARTIAL.fullmatch(path.name)]  # by tries that were killed
    for path in [*run.folder.glob("checkpoint_*_*.pt"), *unfinished, *([] if run.preset.last else [last_file(run)])]:
        path.unlink(missing_ok=True)
    return None


def check_fit(run: Run, out: Path) -> None:
    """Build all that a run trains and let the model answer to one record, so that no training begins that cannot go on.

    Raises: ConfigError for settings, a model and records that do not fit together.
    """
    sections, place = with_paths(run, out), data_folder(run, out)
    sections["checkpoint"] |= {"no_save": True}
    with logged_to(place / "check.log"):
        try:
            trainer = Trainer(resolve_config(sections), Placement())
            dataset, model = trainer.iterator.dataset, trainer.model.eval()
            inputs = to_device(dataset.collate([dataset[0]])["net_input"], trainer.device)
            with torch.no_grad(), autocast(trainer.config.common, trainer.device):
                model(**inputs)
        except ConfigError as error:
            raise ConfigError(f"{run.name}: {error}") from None


def _attempt(run: Run, out: Path) -> str | None:
    began = time.monotonic()
    try:
        if run.protocol != "as_is":
            Trainer(resolve_config(with_paths(run, out)), Placement()).train()
        for test in run.tests:
            if not (test.folder / RESULT).is_file():
                judge(run, test, out, began)
    except Exception as error:  # one run that fails is no reason not to make the others
        logger.info("%s failed", run.name, exc_info=True)
        return str(error) if isinstance(error, ConfigError) else f"{type(error).__name__}: {error}"
    return None


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Messages go to a file; to the terminal only errors."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    with writing(path):
        file = logging.FileHandler(path, encoding="utf-8")
    terminal = logging.StreamHandler()
    terminal.setLevel(logging.ERROR)
    terminal.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    root.handlers[:] = [file, terminal]
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        file.close()


def last_file(run: Run) -> Path:
    return run.folder / "checkpoint_last.pt"


def state_file(run: Run) -> Path:
    """The checkpoint that is tested, and that others start from."""
    if run.protocol == "as_is":
        return Path(str(run.model.file))
    return last_file(run) if run.preset.last else run.folder / "checkpoint_best.pt"


def with_paths(run: Run, out: Path) -> dict[str, Any]:
    """The run's sections, complete."""
    data = data_folder(run, out)
    sections = {
        group: dict(values) if isinstance(values, Mapping) else values for group, values in run.sections.items()
    }
    sections["task"] |= {"data": str(data), "label_file": str(data / "y.npy")}
    sections["checkpoint"]["save_dir"] = str(run.folder)
    if run.after is not None:
        sections["model"] |= {"model_path": str(state_file(run.after)), "keep_head": True}
    return sections


def of_test(run: Run, test: Test, out: Path) -> dict[str, Any]:
    """Sections by which the chosen state answers to a test split."""
    place, sections = data_folder(run, out), with_paths(run, out)
    data = place if test is run.tests[0] else place / "test_on" / test.task.name
    sections["task"] |= {"data": str(data), "label_file": str(data / "y.npy")}
    sections["dataset"]["valid_subset"] = "test"
    if run.preset.selecting and not has_values(run.kind):
        sections["dataset"]["window_rule"] = run.preset.rule
    kept = {key: sections[key] for key in ("common", "dataset", "task", "criterion")}
    return {**kept, "common_eval": {"path": str(state_file(run))}}


def judge(run: Run, test: Test, out: Path, began: float) -> None:
    """Answers of the chosen state to a test split; writes predictions.npz, then result.json."""
    place = data_folder(run, out)
    sections = of_test(run, test, out)
    data = Path(sections["task"]["data"])
    evaluator = Evaluator(sections, Placement())
    answers = Predictions(run, test, _answers(run, test, evaluator, "test"))
    tuning = test.task.benchmark.tuning
    tuning = tuning if tuning and (data / f"{tuning.split}.tsv").is_file() else None
    cuts = thresholds(run, test, evaluator, tuning) if tuning else None
    predicted = answers.scores > 0.5
    if tuning is not None and cuts is not None:
        predicted = predict(answers.scores, cuts, tuning.fallback)
    results = answers.results(None if cuts is None else predicted)
    answers.write(test.folder / PREDICTIONS)
    test.task.benchmark.write_outputs(test.folder, answers.ids.tolist(), answers.labels, predicted, answers.scores)
    results.means.update(further_numbers(run, results.means) if test is run.tests[0] else {})
    content = result_of(run, test, results, place, answers.known) | {"seconds": round(time.monotonic() - began, 1)}
    content["baselines"], content["comparable"] = baselines(run, test, answers), test.task.benchmark.comparable
    content["thresholds"] = None if cuts is None else dict(zip(answers.labels, cuts.tolist()))
    write_text(test.folder / RESULT, json.dumps(plain_json(content), indent=1, ensure_ascii=False) + "\n")


def baselines(run: Run, test: Test, answers: "Predictions") -> dict[str, dict[str, float]]:
    """How the benchmark's answers without a model score on the records that the model answered to."""
    if test is not run.tests[0]:
        return {}
    place = {int(row): at for at, row in enumerate(run.examples.rows)}
    tested = [place[row] for row in answers.rows]
    found = test.task.benchmark.baselines(test.task.data, run.examples)
    scored = {name: values[tested][:, test.columns] for name, values in found.items()}
    shared: dict[str, Any] = {"metrics": answers.metrics, "owners": None}
    return {name: evaluate(values, answers.targets, answers.labels, run.kind, **shared).means
            for name, values in scored.items()}  # fmt: skip


def further_numbers(run: Run, means: Mapping[str, float]) -> dict[str, float]:
    """Those that the protocol names: of the state that validation chose, and the best of all validations."""
    protocol = PROTOCOLS[run.protocol]
    found = {protocol.called: means[lead_metric(run.kind)]} if protocol.called else {}
    rows = [row for row in stored_rows(run.folder / "metrics.jsonl") if row.get("split") == "test"]
    for name, printed in protocol.watched.items():
        values = [row[printed] for row in rows if row.get(printed) is not None]
        found |= {name: max(values)} if values else {}
    return found


def _answers(run: Run, test: Test, evaluator: Evaluator, split: str) -> SplitResults:
    found = evaluator.judge(split)[1].finish()
    if found is None:
        raise ConfigError(f"{state_file(run)} gives no answers of the kind that {test.task.name} asks for")
    return found


def thresholds(run: Run, test: Test, evaluator: Evaluator, tuning: Tuning) -> np.ndarray:
    """[labels] of the test, chosen on the records of the benchmark's split that it names."""
    found = _answers(run, test, evaluator, tuning.split)
    return tuning.best(found.targets[:, test.columns], found.scores[:, test.columns])


class Predictions:
    """What a model answered to a test split, in the units of the benchmark, and whose records these are."""

    def __init__(self, run: Run, test: Test, found: SplitResults) -> None:
        names = [found.dataset.name_of(int(item)) for item in found.ids]
        mean, deviation = (np.array(values) for values in run.scale)
        self.kind, self.labels = run.kind, [run.labels[column] for column in test.columns]
        self.metrics = test.task.benchmark.metrics(self.labels)
        targets = one_of(found.targets, found.scores.shape[1]) if run.kind == CLASSES else found.targets
        scaled = (targets * deviation + mean, found.scores * deviation + mean)
        self.targets, self.scores = (values[:, test.columns] for values in scaled)
        rows = {str(name): row for row, name in enumerate(test.task.data.meta["save_file"])}
        places = {int(row): place for place, row in enumerate(test.task.examples.rows)}
        self.rows = [rows[name] for name in names]
        order = [places[row] for row in self.rows]
        self.ids, self.patients = np.array(names), test.task.examples.patients[order]
        self.files = np.array([str(test.task.data.signal_file(rows[name])) for name in names])

    @property
    def known(self) -> int:
        """Records of which any answer is known."""
        return int((~np.isnan(self.targets)).any(axis=1).sum())

    def results(self, predicted: np.ndarray | None) -> Results:
        targets = class_numbers(self.targets) if self.kind == CLASSES else self.targets
        return evaluate(self.scores, targets, self.labels, self.kind, metrics=self.metrics, owners=None,
                        predicted=predicted)  # fmt: skip

    def write(self, path: Path) -> None:
        arrays = {"ids": self.ids, "patients": self.patients, "targets": self.targets, "scores": self.scores,
                  "labels": np.array(self.labels), "files": self.files}  # fmt: skip
        save: Callable[..., None] = np.savez
        with replacing(path) as partial, partial.open("wb") as file:
            save(file, **arrays)


def one_of(numbers: np.ndarray, classes: int) -> np.ndarray:
    """[records] class numbers -> [records, classes] of which one is 1; NaN throughout where negative, unknown."""
    table = (numbers[:, None] == np.arange(classes)).astype(np.float64)
    table[numbers < 0] = np.nan
    return table


def result_of(run: Run, test: Test, results: Results, place: Path, known: int) -> dict[str, Any]:
    """The content of result.json but the time.

    Args:
        known: test records of which any answer is known.
    """
    rows = {str(row.pop("label")): row for row in map(dict, results.rows())}
    counts = json.loads((place / "counts.json").read_text())
    curve, selection = history(run)
    return {
        "benchmark": run.task.name, "protocol": run.protocol, "model": run.model.name, "fraction": run.part.name,
        "seed": run.seed, "test_on": test.task.name, "labels": results.labels,
        "kind": KIND_NAMES.get(run.kind, run.kind),
        "metrics": results.means, "per_label": rows, "undefined": results.undefined.get("auroc", []),
        "counts": counts | {"test": known},
        "selection": selection, "settings": run.settings, "versions": versions(), "curve": curve,
    }  # fmt: skip


KIND_NAMES = {"labels": "multi_label", CLASSES: "multi_class", VALUES: "regression"}


def history(run: Run) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The validations of a run, and which of them chose its state."""
    section = run.sections["checkpoint"]
    metric, largest = section["best_checkpoint_metric"], section["maximize_best_checkpoint_metric"]
    curve = [{"update": row["num_updates"], "loss": row.get("loss"), "metric": row.get(metric)}
             for row in stored_rows(run.folder / "metrics.jsonl") if row.get("split") == "valid"]  # fmt: skip
    scored = [row for row in curve if row["metric"] is not None]
    if run.preset.last or not scored:
        return curve, {"metric": "last", "value": None, "update": curve[-1]["update"] if curve else None}
    best = max(scored, key=lambda row: (row["metric"] if largest else -row["metric"], row["update"]))
    return curve, {"metric": metric, "value": best["metric"], "update": best["update"]}


def versions() -> dict[str, str]:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or "CPU"
    return {"ecg_signals": ecg_signals.__version__, "torch": torch.__version__, "numpy": np.__version__,
            "python": platform.python_version(), "device": device}  # fmt: skip
