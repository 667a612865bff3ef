import json

import numpy as np
import pytest
import torch

from ecg_signals.config import ConfigError
from ecg_signals.metrics.base import Scored, make_metrics, mean_defined, measure
from ecg_signals.metrics.cinc import (
    CincScore,
    cinc_score,
    encode_diagnoses,
    read_score_weights,
    score_terms,
    sinus_rhythm_index,
)
from ecg_signals.metrics.cinc_outputs import read_outputs, write_outputs
from ecg_signals.metrics.logits import LABELS


def score(weights, sinus, labels, outputs) -> float:
    return cinc_score(np.asarray(labels, dtype=bool), np.asarray(outputs, dtype=bool), weights, sinus)


def test_the_score_of_the_official_weights_equals_the_reference(golden):
    arrays = np.load(golden / "benchmarks/cinc2021_metrics.npz")
    wanted = json.loads((golden / "benchmarks/cinc2021_metrics.json").read_text())
    classes, weights = read_score_weights(golden / "benchmarks/cinc2021_weights.csv")
    sinus = sinus_rhythm_index(classes, "weights.csv")
    assert classes == wanted["classes"] and sinus == wanted["sinus_rhythm_index"]
    np.testing.assert_array_equal(weights, arrays["weights"])
    labels, outputs = arrays["labels"], arrays["outputs_binary"]
    answers = torch.as_tensor(labels).bool(), torch.as_tensor(outputs).bool()
    terms = score_terms(torch.as_tensor(weights), sinus, *answers)
    for key, name in (("o_score", "observed"), ("c_score", "correct"), ("i_score", "inactive")):
        assert float(terms[key]) == pytest.approx(wanted[name], rel=1e-9)
    assert score(weights, sinus, labels, outputs) == pytest.approx(wanted["challenge_metric"], rel=1e-9)
    always_sinus = np.zeros_like(labels)
    always_sinus[:, sinus] = 1
    assert score(weights, sinus, labels, labels) == pytest.approx(wanted["all_correct"])
    assert score(weights, sinus, labels, always_sinus) == pytest.approx(wanted["always_sinus"])
    assert score(weights, sinus, labels, np.zeros_like(labels)) == pytest.approx(wanted["all_negative"], rel=1e-9)
    assert score(weights, sinus, labels, np.ones_like(labels)) == pytest.approx(wanted["all_positive"], rel=1e-9)
    for threshold, value in wanted["threshold_sweep"].items():
        found = score(weights, sinus, labels, arrays["outputs_scalar"] > float(threshold))
        assert found == pytest.approx(value, rel=1e-9)


def test_the_score_is_zero_when_sinus_rhythm_is_all_there_is():
    weights, labels = np.eye(2), np.array([[1, 0], [1, 0]])
    assert score(weights, 0, labels, labels) == 0.0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "does not exist"),
        ("", "is empty"),
        (",1,2\n1,1,0.5\n", "1 rows and 2 columns"),
        (",1,2\n2,1,0.5\n1,0.5,1\n", "same order"),
        (",1,2\n1,1,0.5\n2,0.5\n", "line 3 has 2 fields"),
        (",1,2\n1,1,x\n2,0.5,1\n", "could not convert string to float: 'x'"),
        (",1,2\n1,1,nan\n2,0.5,1\n", "not finite"),
    ],
)
def test_a_broken_weights_file_is_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "weights.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_score_weights(tmp_path / "weights.csv")


def test_weights_without_sinus_rhythm_are_refused():
    assert sinus_rhythm_index(["1", "2|426783006"], "weights.csv") == 1
    with pytest.raises(ConfigError, match="normal sinus rhythm"):
        sinus_rhythm_index(["1", "2"], "weights.csv")


def test_labels_of_raw_diagnoses_equal_the_reference(golden):
    wanted = json.loads((golden / "benchmarks/cinc2021_metrics.json").read_text())
    found = encode_diagnoses(wanted["dx_strings"], wanted["classes"])
    np.testing.assert_array_equal(found, np.load(golden / "benchmarks/cinc2021_dx_encoded.npy") == 1)


def test_the_metric_and_its_companions_equal_the_reference(golden):
    with np.load(golden / "benchmarks/cinc2021_metrics.npz") as found:
        arrays = {key: found[key] for key in found.files}
    wanted = json.loads((golden / "benchmarks/cinc2021_metrics.json").read_text())
    scores, targets = arrays["outputs_scalar"], arrays["labels"].astype(np.float64)
    names = ("auroc", "auprc", "exact_match", "f1_score", "f2", "g2")
    weights_file, reverse = golden / "benchmarks/cinc2021_weights.csv", slice(None, None, -1)
    codes = [name.partition("|")[0] for name in wanted["classes"]][reverse]
    metrics = make_metrics(names, LABELS) | {"cinc_score": CincScore(weights_file, codes)}
    columns = (table[:, reverse] for table in (scores, targets, arrays["outputs_binary"] == 1))
    values = measure(metrics, Scored(*columns))
    keys = ("macro_auroc", "macro_auprc", "exact_match_accuracy", "macro_f1", "f2", "g2", "challenge_metric")
    means = [mean_defined(np.atleast_1d(value)) for value in values.values()]
    assert means == pytest.approx([wanted[key] for key in keys], rel=1e-9)
    np.testing.assert_allclose(values["f1_score"][reverse], arrays["f1_per_class"], rtol=1e-9)


def test_codes_of_one_class_count_as_one_and_others_are_named(tmp_path):
    sinus, block, pair = "426783006", "270492004", ("713427006", "59118001")
    table = tmp_path / "weights.csv"
    rows = {sinus: "1,.3,.2,.2", block: ".3,1,.5,.5", pair[0]: ".2,.5,1,1", pair[1]: ".2,.5,1,1"}  # as of 2020
    table.write_text("\n".join([",".join(["", *rows]), *(f"{code},{row}" for code, row in rows.items())]))
    metric = CincScore(table, [pair[1], "999", pair[0], sinus])
    assert metric.classes == [sinus, block, "|".join(pair)]
    assert metric.ignored == ["999"]
    targets = np.array([[1.0, 0, 0, 0], [0, 1, 0, 1], [0, 0, np.nan, 1]])
    predicted = np.array([[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 1, 1]], dtype=bool)
    assert metric(Scored(targets, targets, predicted)) == 1
    with pytest.raises(ConfigError, match="scores none of the labels AF, MI; expected SNOMED CT codes"):
        CincScore(table, ["AF", "MI"])
    table.write_text(table.read_text().replace(".2,.5,1,1", ".2,.4,1,1", 1))
    with pytest.raises(ConfigError, match=r"the weights of 713427006 and 59118001, one condition, differ"):
        CincScore(table, [sinus])


def test_output_files_are_as_the_challenge_reads_them(tmp_path):
    classes = ["164889003", "733534002|164909002", "426783006"]
    predicted, scores = np.array([[0, 1, 0], [0, 0, 1]], dtype=bool), np.array([[0.1, 0.7, 1 / 3], [0, 0.25, 1]])
    write_outputs(tmp_path, ["JS1", "JS2"], classes, predicted, scores)
    assert (tmp_path / "JS1.csv").read_text() == (
        "#JS1\n164889003,733534002,164909002,426783006\n0,1,1,0\n0.1,0.7,0.7,0.3333333333333333\n"
    )
    for found, given in zip(read_outputs(tmp_path, ["JS1", "JS2"], classes), (predicted, scores)):
        np.testing.assert_array_equal(found, given)
    (tmp_path / "JS1.csv").write_text("#JS1\n\n 164909002, 5, 733534002\n False, 1, True\n 0.2, 0.9, 0.6\n")
    found, values = read_outputs(tmp_path, ["JS1"], classes)
    assert found.tolist() == [[False, True, False]] and values.tolist() == [[0, pytest.approx(0.4), 0]]


@pytest.mark.parametrize(
    ("text", "message"),
    [(None, "no outputs"), ("#A\n1,2\n1,0\n", "lines of 2, 2 fields"), ("1,2\n1,0\n0.1\n", "lines of 2, 2, 1 fields"),
     ("1,2\n1,0\n0.1,x\n", "could not convert string to float: 'x'")],
)  # fmt: skip
def test_broken_outputs_are_refused(tmp_path, text, message):
    if text is not None:
        (tmp_path / "A.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_outputs(tmp_path, ["A"], ["1", "2"])
    with pytest.raises(ConfigError):
        write_outputs(tmp_path, ["../A"], ["1"], np.array([[True]]), np.array([[1.0]]))
