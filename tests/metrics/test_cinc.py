import json

import numpy as np
import pytest
import torch

from ecg_signals.config import ConfigError
from ecg_signals.metrics.cinc import challenge_score, read_score_weights, score_terms, sinus_rhythm_index


def score(weights, sinus, labels, outputs) -> float:
    tensors = (torch.as_tensor(labels).bool(), torch.as_tensor(outputs).bool())
    terms = score_terms(torch.as_tensor(weights), sinus, *tensors)
    return challenge_score(*(float(terms[key]) for key in ("o_score", "c_score", "i_score")))


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
