import json

import numpy as np
import pytest

from ecg_signals.metrics.counts import precision_recall_f1
from ecg_signals.metrics.format import format_stat, rounded
from ecg_signals.metrics.retrieval import retrieval_accuracy, retrieve


def test_statistics_are_written_as_in_the_reference(golden):
    vectors = json.loads((golden / "fairseq_signals_trained/framework_vectors.json").read_text())
    for given, wanted in vectors["format_stat"]:
        assert format_stat(float(given)) == wanted


def test_each_statistic_is_rounded_to_its_own_decimals():
    value = 1.23456789
    wanted = {
        "loss": "1.235",
        "loss_0": "1.235",
        "best_loss": "1.235",
        "code_perplexity": "1.235",
        "accuracy": "1.23457",
        "attribute_id_3_em_accuracy": "1.23457",
        "auroc": "1.23457",
        "ups": "1.23",
        "train_wall": "1",
        "lr": "1.23457",
    }
    assert {name: format_named(name, value) for name in wanted} == wanted
    assert format_named("auroc", 0.123456789) == "0.123457"
    assert format_named("accuracy", 0.012345678) == "0.01235"


def format_named(name: str, value: float) -> str:
    return format_stat(rounded(name, value))


def test_log_lines_of_the_reference_are_reproduced_from_their_own_values(golden):
    for line in (golden / "fairseq_signals_trained/train_json_lines.tsv").read_text().splitlines():
        tag, _, record = line.partition("\t")
        for name, value in json.loads(record).items():
            if isinstance(value, str):
                assert format_named(name.removeprefix(f"{tag}_"), float(value)) == value


def test_precision_recall_and_f1_of_counts():
    assert precision_recall_f1(3, 1, 2) == pytest.approx({"precision": 0.75, "recall": 0.6, "f1": 2 / 3})
    assert np.isnan(precision_recall_f1(0, 0, 2)["precision"])
    assert np.isnan(precision_recall_f1(0, 1, 2)["f1"])


def test_a_probe_is_matched_with_the_largest_dot_product():
    gallery = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.6]])
    probe = np.array([[0.9, 0.1], [0.1, 0.9], [0.5, 0.5]])
    similarity, best = retrieve(probe, gallery)
    assert best.tolist() == [0, 1, 2]
    np.testing.assert_allclose(similarity, probe @ gallery.T)
    assert retrieval_accuracy(probe, gallery, np.array([7, 8, 7]), np.array([7, 8, 9])) == pytest.approx(2 / 3)


def test_identification_without_probes_or_ids_is_refused():
    rows, ids = np.zeros((2, 3)), np.zeros(2)
    with pytest.raises(ValueError, match="0 probes and 2 gallery items"):
        retrieval_accuracy(rows[:0], rows, ids[:0], ids)
    with pytest.raises(ValueError, match="needs one patient id"):
        retrieval_accuracy(rows, rows, ids[:1], ids)
