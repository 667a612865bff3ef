"""Evaluation of fine-tuned models against the reference: per label, intervals, score, test-time augmentation, CSV."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pytest
import torch

from ecg_signals.cli import test
from ecg_signals.config import ConfigError
from ecg_signals.evaluation.run import run
from ecg_signals.evaluation.table import TableOptions, run_table
from ecg_signals.evaluation.windows import Logits, aggregate_crops, crop_batches, model_batches
from ecg_signals.interop.hubert_ecg.contract import hubert_ecg
from ecg_signals.metrics.base import Scored, fill, make_metrics, mean_defined, measure
from ecg_signals.metrics.bootstrap import intervals, resampled_items
from ecg_signals.metrics.condition_score import condition_name, condition_score
from ecg_signals.metrics.logits import CLASSES, LABELS, VALUES
from ecg_signals.metrics.results import USUAL
from ecg_signals.registry import build

LABEL_METRICS = ("f1_score", "recall", "precision", "specificity", "auroc", "auprc")


def label_performance(scores, targets, zeros=False):
    found = measure(make_metrics(LABEL_METRICS, LABELS), Scored.of(scores, targets, LABELS))
    return {name: fill(values, "zero" if zeros else "skip") for name, values in found.items()}


@pytest.fixture(scope="module")
def reference(golden: Path) -> dict[str, Any]:
    with np.load(golden / "hubert_ecg/eval/metrics.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


@pytest.fixture(scope="module")
def expected(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "hubert_ecg/eval/metrics.json").read_text())


def test_values_of_every_label_and_their_means_are_the_references(reference: Any, expected: Any) -> None:
    found = label_performance(reference["ml_probs"], reference["ml_labels"])
    for name in LABEL_METRICS:
        np.testing.assert_allclose(found[name], expected["multi_label"][f"test_{name}"], atol=1e-6)
        assert mean_defined(found[name]) == pytest.approx(expected["multi_label"][f"test_{name}_macro"], abs=1e-6)


def test_training_prints_the_means_that_choose_the_best_file(reference: Any, expected: Any) -> None:
    criterion = build("criterion", "multi_label").eval()
    logits, labels = torch.from_numpy(reference["ml_logits"]), torch.from_numpy(reference["ml_labels"])
    batch = {"id": torch.arange(len(labels)), "net_input": {}, "label": labels.float()}
    output = criterion(lambda: {"logits": logits}, batch)
    logs = {key: float(value) for key, value in output.logs.items()} | {"sample_size": float(output.sample_size)}
    printed = criterion.metrics(logs, {key: value.numpy() for key, value in output.scores.items()})
    for name, printed_as in (("f1_score", "f1_macro"), ("recall", "recall_macro"), ("precision", "precision_macro"),
                             ("specificity", "specificity_macro"), ("auroc", "auroc"), ("auprc", "auprc")):  # fmt: skip
        assert printed[printed_as] == pytest.approx(expected["multi_label"][f"test_{name}_macro"], abs=1e-6), name


def test_values_over_classes_are_the_references(reference: Any, expected: Any) -> None:
    names = ("accuracy", "auroc", "recall", "specificity", "auprc")
    scored = Scored.of(reference["mc_probs"], reference["mc_labels"], CLASSES)
    for name, value in measure(make_metrics(names, CLASSES), scored).items():
        assert mean_defined(np.atleast_1d(value)) == pytest.approx(expected["multi_class"][f"test_{name}"], abs=1e-6), (
            name
        )


def test_a_label_without_positives_is_undefined_and_left_out_of_the_mean() -> None:
    labels = np.array([[1.0, 0, 1], [0, 0, 1], [np.nan, 0, 1]])
    found = label_performance(np.array([[0.9, 0.2, 0.9], [0.1, 0.7, 0.8], [0.6, 0.1, 0.7]]), labels)
    assert np.isnan(found["auroc"]).tolist() == [False, True, True] and mean_defined(found["auroc"]) == 1
    assert np.isnan(found["recall"]).tolist() == [False, True, False]
    assert found["precision"][0] == 1 and np.isnan(found["specificity"][2])
    zeros = label_performance(np.zeros((3, 3)), labels, zeros=True)
    assert not any(np.isnan(values).any() for values in zeros.values())


def test_errors_of_a_regression_are_worked_by_hand() -> None:
    scored = Scored.of(np.array([[1.0], [3], [9]]), np.array([[2.0], [4], [np.nan]]), VALUES)
    values = measure(make_metrics(USUAL[VALUES], VALUES), scored)
    found = {name: float(value[0]) for name, value in values.items()}
    assert found == {"mse": 1.0, "mae": 1.0, "r2": 0.0}


def test_resampled_items_and_intervals_are_the_references(reference: Any, expected: Any) -> None:
    rounds = expected["bootstrap"]["N"]
    labels, probabilities = reference["ml_labels"], reference["ml_probs"]
    drawn = list(resampled_items(labels, rounds, expected["bootstrap"]["seed"]))
    np.testing.assert_array_equal(drawn, reference["bootstrap_ids"])
    found = intervals(lambda chosen: label_performance(probabilities[chosen], labels[chosen]), iter(drawn))
    lines = []
    for name in LABEL_METRICS:
        lines.append(f"test_{name}:")
        lines += [f"  Class {label}: {low:.4f} - {high:.4f}" for label, (low, high) in enumerate(found[name].T)]
    assert lines == expected["bootstrap"]["intervals"]["none"]

    def macro(chosen: np.ndarray) -> dict[str, float]:
        values = label_performance(probabilities[chosen], labels[chosen], zeros=True)
        return {name: mean_defined(value) for name, value in values.items()}

    found = intervals(macro, iter(drawn))
    lines = [f"test_{name}: {found[name][0]:.4f} - {found[name][1]:.4f}" for name in LABEL_METRICS]
    assert lines == expected["bootstrap"]["intervals"]["macro"]


def test_the_challenge_score_of_condition_names_is_the_references(golden: Path, reference: Any, expected: Any) -> None:
    wanted = expected["cinc2020"]
    assert [condition_name(name) for name in wanted["labels"]] == wanted["mapped"]
    predicted = reference["ml_probs"] > wanted["threshold"]
    weights = golden / "hubert_ecg/eval/cinc_weights_synthetic.csv"
    score, scored = condition_score(predicted, reference["ml_labels"] == 1, wanted["labels"], weights)
    assert score == pytest.approx(wanted["score"], abs=1e-9) and len(scored) == 4


def test_every_published_spelling_has_its_name(golden: Path) -> None:
    aliases = json.loads((golden / "hubert_ecg/data/label_aliases.json").read_text())["aliases"]
    assert {name: condition_name(name) for name in aliases} == aliases


@pytest.fixture(scope="module")
def linear(golden: Path, load: Any) -> Any:
    model = load(golden / "hubert_ecg/checkpoints/finetune_linear.pt")
    model.signal = hubert_ecg()
    return model


def evaluate(golden: Path, out: Path, *arguments: str) -> None:
    folder = golden / "hubert_ecg"
    model = str(folder / "checkpoints/finetune_linear.pt")
    data = [str(folder / "dataset/multi_label.csv"), "--ecg-dir", str(folder / "dataset/ecgs")]
    test.run([*data, "--model", model, "--out", str(out), *arguments])


def test_the_table_and_the_probabilities_are_the_references(golden: Path, tmp_path: Path) -> None:
    evaluate(golden, tmp_path, "--save-id", "linear", "--save-probs", "--batch-size", "5", "--published-zeros")
    found = pandas.read_csv(tmp_path / "performance/performance_linear.csv", index_col=0)
    expected = pandas.read_csv(golden / "hubert_ecg/eval/performance_linear.csv", index_col=0)
    pandas.testing.assert_frame_equal(found, expected, atol=1e-6)
    saved = np.load(tmp_path / "probs/multi_label/probs_0_bs5.npy")
    np.testing.assert_allclose(saved, np.load(golden / "hubert_ecg/eval/test_linear_probs_0_bs5.npy"), atol=1e-5)


def crops_of(windows: torch.Tensor, found: list[int], crop: int, count: int, seed: int) -> torch.Tensor:
    batch = {"id": torch.arange(len(windows)), "source": windows, "found": torch.tensor(found)}
    rounds = crop_batches([batch], crop, count, np.random.RandomState(seed))
    return torch.stack([cut["source"] for cut in rounds])


def test_crops_and_their_probabilities_are_the_references(golden: Path, linear: Any) -> None:
    with np.load(golden / "hubert_ecg/eval/tta.npz") as arrays:
        windows, seed = torch.from_numpy(arrays["full_10s"]).view(2, 12, 1000), int(arrays["crop_seed"])
        crops = crops_of(windows, [1000, 1000], 500, 3, seed)
        np.testing.assert_array_equal(crops.flatten(2), arrays["crops"])
        found = Logits()
        batches = [{"id": torch.arange(2), "source": crop} for crop in crops]
        run(linear, model_batches(batches), torch.device("cpu"), [found])
        parts = [part.sigmoid().numpy() for part in found.parts]
        for how in ("mean", "max"):
            np.testing.assert_allclose(aggregate_crops(parts, how), arrays[f"probs_{how}"], atol=1e-5)


def test_augmented_evaluation_is_seeded_and_writes_intervals(golden: Path, tmp_path: Path) -> None:
    tables = []
    for seed, batch in ((1, 5), (1, 2), (2, 5)):
        out = tmp_path / f"{seed}_{batch}"
        weights = str(golden / "hubert_ecg/eval/cinc_weights_synthetic.csv")
        evaluate(golden, out, "--tta", "--tta-aggregation", "max", "--seed", str(seed), "--batch-size", str(batch),
                 "--intervals", "10", "--save-probs", "--challenge-weights", weights)  # fmt: skip
        ends = pandas.read_csv(out / "performance/performance_test_max_intervals.csv", index_col=0)
        assert list(ends.columns) == ["NORM", "AFIB", "1AVB", "LBBB"] and len(ends) == 12
        low, high = ends.loc["test_specificity_low"], ends.loc["test_specificity_high"]
        assert (low <= high).all()
        assert (out / "cinc2020.txt").read_text().startswith("test : ")
        tables.append(np.load(out / f"probs/multi_label/probs_0_bs{batch}.npy"))
    assert not np.array_equal(tables[0], tables[2])


def test_an_ecg_shorter_than_two_crops_is_cropped_inside_itself() -> None:
    windows = torch.zeros(1, 12, 1000)
    windows[:, :, :600] = 1
    assert (crops_of(windows, [600], 500, 20, seed=0) == 1).all()
    assert crops_of(windows[..., :500], [300], 500, 2, seed=0).shape == (2, 1, 12, 500)


def test_classes_and_real_numbers_are_evaluated(golden: Path, tmp_path: Path, tiny_encoder: dict[str, Any]) -> None:
    folder = golden / "hubert_ecg/dataset"
    model = build("model", "hubert_ecg_classifier", **tiny_encoder, num_labels=3).eval()
    model.signal = hubert_ecg()
    options = {"ecg_dir": str(folder / "ecgs"), "out": str(tmp_path)}
    path = run_table(model, TableOptions(str(folder / "multi_class.csv"), task="multi_class", **options)).path
    assert list(pandas.read_csv(path, index_col=0).index) == [
        "test_accuracy", "test_auroc", "test_recall", "test_specificity", "test_auprc",
    ]  # fmt: skip
    model = build("model", "hubert_ecg_classifier", **tiny_encoder, num_labels=1).eval()
    model.signal = hubert_ecg()
    path = run_table(model, TableOptions(str(folder / "multi_class.csv"), task="regression", **options)).path
    assert list(pandas.read_csv(path, index_col=0).index) == ["test_mse", "test_mae", "test_r2"]


def test_a_model_that_does_not_fit_the_table_is_named(golden: Path, linear: Any, tiny: dict[str, Any]) -> None:
    folder = golden / "hubert_ecg/dataset"
    with pytest.raises(ConfigError, match="4 logits"):
        run_table(linear, TableOptions(str(folder / "multi_label.csv"), str(folder / "ecgs"), label_start_index=4))
    with pytest.raises(ConfigError, match="no label columns"):
        run_table(linear, TableOptions(str(folder / "multi_label.csv"), str(folder / "ecgs"), label_start_index=9))
    with pytest.raises(ConfigError, match="hubert_ecg has no classification head"):
        run_table(build("model", "hubert_ecg", **tiny), TableOptions(str(folder / "multi_label.csv")))
