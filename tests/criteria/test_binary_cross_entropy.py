import json
import math

import numpy as np
import pytest
import torch
from stand_in import StandIn, batch_of, numbers, printed_by

from ecg_signals.config import ConfigError
from ecg_signals.registry import build

WITH_LOGITS = "binary_cross_entropy_with_logits"
MULTI_HEAD = "multi_head_binary_cross_entropy"


@pytest.fixture
def given(golden):
    arrays = np.load(golden / "wcr/criteria/inputs.npz")
    return {key: torch.from_numpy(arrays[key]) for key in arrays}


@pytest.fixture
def wanted(golden):
    return np.load(golden / "wcr/criteria/outputs.npz")


def run(criterion, logits, **entries):
    return criterion(StandIn(logits), batch_of(len(logits), **entries))


def logs_differ(found, wanted, prefix):
    keys = [key.removeprefix(f"{prefix}/log_") for key in wanted if key.startswith(f"{prefix}/log_")]
    assert keys
    return {key for key in keys if numbers(found)[key] != float(wanted[f"{prefix}/log_{key}"])}


def ragged(flat, lengths):
    return list(torch.split(flat, lengths.tolist()))


@pytest.mark.parametrize("name", ["binary_cross_entropy", WITH_LOGITS])
def test_loss_sample_size_and_counts_equal_the_reference(given, wanted, name):
    out = run(build("criterion", name), given["logits"], label=given["target"])
    assert float(out.loss) == pytest.approx(float(wanted[f"{name}/loss"]), rel=1e-5)
    assert float(out.sample_size) == wanted[f"{name}/sample_size"]
    assert not logs_differ(out.logs, wanted, name)
    assert out.logs["nsignals"] == 9


def test_positive_weights_and_threshold_equal_the_reference(given, wanted):
    weights, agreeing = given["pos_weight"].tolist(), []
    for threshold in (0.25, 0.3, 0.35, 0.4):  # the reference does not tell its threshold; one of these gives its counts
        criterion = build("criterion", WITH_LOGITS, pos_weight=weights, threshold=threshold)
        out = run(criterion, given["logits"], label=given["target"])
        assert float(out.loss) == pytest.approx(float(wanted["bcewl_posw/loss"]), rel=1e-5)
        agreeing += [threshold] if not logs_differ(out.logs, wanted, "bcewl_posw") else []
    assert agreeing


def test_valid_classes_restrict_loss_and_statistics_as_in_the_reference(given, wanted):
    criterion = build("criterion", WITH_LOGITS, report_auc=True).eval()
    classes = ragged(given["valid_classes_flat"], given["valid_classes_len"])
    out = run(criterion, given["logits"], label=given["target"], valid_classes=classes)
    assert not logs_differ(out.logs, wanted, "bcewl_valid")
    printed = printed_by(criterion, out)
    assert printed["auroc"] == pytest.approx(float(wanted["bcewl_valid/auroc_macro"]))
    target = out.scores["target"]
    with_positives, asked = (int(rows.any(dim=0).sum()) for rows in (target == 1, ~target.isnan()))
    every = float(wanted["bcewl_valid/auprc_macro"]) * asked  # the reference counts a label without positives as 0
    assert printed["auprc"] == pytest.approx(every / with_positives)

    mask = torch.zeros(given["logits"].shape, dtype=torch.bool)
    for row, own in enumerate(classes):
        mask[row, own] = True
    asked = torch.where(mask, given["target"], math.nan)
    without = run(criterion, given["logits"], label=asked)
    assert torch.equal(out.loss, without.loss) and out.sample_size == mask.sum() == without.sample_size
    as_mask = run(criterion, given["logits"], label=given["target"], valid_classes=mask)
    assert numbers(as_mask.logs) == numbers(out.logs)


def test_multi_head_loss_and_counts_equal_the_reference(given, wanted):
    columns, answers = (ragged(given[key], given["mh_len"]) for key in ("mh_target_idx_flat", "mh_label_flat"))
    out = run(build("criterion", MULTI_HEAD), given["logits"], target_idx=columns, label=answers)
    assert float(out.loss) == pytest.approx(float(wanted["mh/loss"]), rel=1e-5)
    assert out.sample_size == 1
    assert [numbers(out.logs)[key] for key in ("correct", "count")] == [wanted["mh/correct"], wanted["mh/count"]]


def test_statistics_of_a_whole_validation_equal_the_reference(golden):
    given, wanted = (np.load(golden / f"wcr/metrics/{name}.npz") for name in ("inputs", "outputs"))
    options = {"report_auc": True, "report_cinc_score": True, "weights_file": str(golden / "wcr/metrics/weights.csv")}
    criterion = build("criterion", WITH_LOGITS, **options).eval()
    logs, scores = {}, []
    for rows in np.split(np.arange(len(given["logits"])), np.cumsum(given["batches"])[:-1]):
        logits, label = (torch.from_numpy(given[key][rows]) for key in ("logits", "target"))
        out = run(criterion, logits, label=label)
        for key, value in {**numbers(out.logs), "sample_size": float(out.sample_size), "batches": 1.0}.items():
            logs[key] = logs.get(key, 0.0) + value
        scores.append(out.scores)
    for key in ("o_score", "c_score", "i_score"):
        assert logs[key] == pytest.approx(float(wanted[key]), rel=1e-9)
    together = {key: torch.cat([part[key] for part in scores]).numpy() for key in scores[0]}
    printed = criterion.metrics(logs, together)
    for key in ("cinc_score", "precision", "recall", "accuracy", "em_accuracy"):
        assert printed[key] == pytest.approx(float(wanted[key]), rel=1e-9)
    assert printed["auroc"] == pytest.approx(float(wanted["auroc_macro_skip_single_class"]), rel=1e-9)
    assert printed["auroc_micro"] == pytest.approx(float(wanted["auroc_default_micro"]), rel=1e-9)
    assert printed["auprc_micro"] == pytest.approx(float(wanted["auprc_default_micro"]), rel=1e-9)
    assert printed["auroc_labels"] == 25 and printed["nsignals"] == 30
    names = ["loss", "nsignals", "accuracy", "em_accuracy", "precision", "recall", "f1", "cinc_score"]
    assert list(printed) == [*names, "auroc", "auprc", "auroc_labels", "auroc_micro", "auprc_micro"]
    micro = build("criterion", WITH_LOGITS, report_auc=True, auc_average="micro").metrics(logs, together)
    assert micro["auroc"] == micro["auroc_micro"] == printed["auroc_micro"]


def test_the_log_line_of_the_published_validation_is_reproduced(golden):
    wanted = np.load(golden / "wcr/clf/outputs.npz")
    line = json.loads((golden / "wcr/clf/cli_valid_metrics.json").read_text())
    config = json.loads((golden / "wcr/clf/config.json").read_text())["criterion"]
    criterion = build("criterion", WITH_LOGITS, **{**config, "_name": WITH_LOGITS, "auc_average": "micro"}).eval()
    out = run(criterion, torch.from_numpy(wanted["cli/outputs"]), label=torch.from_numpy(wanted["cli/targets"]))
    printed = printed_by(criterion, out)
    for key in ("accuracy", "em_accuracy", "precision", "recall", "f1", "auroc", "auprc", "nsignals"):
        assert printed[key] == pytest.approx(float(line[f"valid_{key}"]), abs=6e-6), key


def test_a_fine_tuning_step_of_the_reference_has_its_loss_and_counts(golden):
    given, wanted = (np.load(golden / f"wcr/clf/{name}.npz") for name in ("inputs", "outputs"))
    criterion = build("criterion", WITH_LOGITS, pos_weight=given["pos_weight"].tolist())
    out = run(criterion, torch.from_numpy(wanted["logits"]), label=torch.from_numpy(given["label"]))
    assert float(out.loss) == pytest.approx(float(wanted["loss"]), rel=1e-5)
    assert float(out.sample_size) == wanted["sample_size"]
    logs, stored = numbers(out.logs), [key for key in wanted if key.startswith("log_")]
    assert {key: logs[key.removeprefix("log_")] for key in stored} == {key: float(wanted[key]) for key in stored}


@pytest.mark.parametrize("name", ["binary_cross_entropy", WITH_LOGITS, MULTI_HEAD])
def test_unknown_labels_change_nothing(name):
    torch.manual_seed(0)
    logits, label = torch.randn(6, 4), torch.randint(2, (6, 4)).float()
    criterion = build("criterion", name, report_auc=True).eval()
    without = run(criterion, logits[:4], label=label[:4])
    label[4:] = math.nan
    logits = logits.requires_grad_()
    out = run(criterion, logits, label=label)
    out.loss.backward()
    assert float(out.loss.detach()) == pytest.approx(float(without.loss), rel=1e-6)
    assert float(out.sample_size) == float(without.sample_size)
    assert logits.grad[4:].abs().max() == 0 and logits.grad[:4].abs().min() > 0
    found, alone = printed_by(criterion, out), printed_by(criterion, without)
    assert found["nsignals"] == 6 and alone["nsignals"] == 4
    assert {**found, "nsignals": 4} == pytest.approx(alone, nan_ok=True)


def test_a_batch_without_known_labels_has_a_loss_and_a_gradient_of_zero():
    logits = torch.zeros(2, 3, requires_grad=True)
    for name in (WITH_LOGITS, MULTI_HEAD):
        out = run(build("criterion", name), logits, label=torch.full((2, 3), math.nan))
        out.loss.backward()
        assert out.loss == 0 and logits.grad.abs().max() == 0


def test_every_label_of_the_multi_head_loss_counts_alike_however_often_it_is_asked():
    logits = torch.tensor([[0.0, 2.0], [0.0, 2.0], [0.0, 2.0]])
    columns = [torch.tensor([0]), torch.tensor([0, 1]), torch.tensor([0])]
    answers = [torch.tensor([1]), torch.tensor([1, 0]), torch.tensor([0])]
    out = run(build("criterion", MULTI_HEAD), logits, target_idx=columns, label=answers)
    assert float(out.loss) == pytest.approx((math.log(2) + math.log1p(math.exp(2))) / 2)


def test_statistics_by_attribute_count_the_answers_with_that_attribute():
    logits = torch.tensor([[3.0, -3.0], [3.0, 3.0], [-3.0, -3.0]])
    columns = [torch.tensor([0, 1]), torch.tensor([0, 1]), torch.tensor([0])]
    answers = [torch.tensor([1, 0]), torch.tensor([0, 1]), torch.tensor([0])]
    options = {"per_log_keys": ["attribute_id", "kind"], "report_auc": True, "log_per_class": True}
    criterion = build("criterion", MULTI_HEAD, **options).eval()
    ids = [torch.tensor([7, 8]), torch.tensor([7, -1]), torch.tensor([8])]
    kind = torch.tensor([0, 0, 1])
    printed = printed_by(
        criterion, run(criterion, logits, target_idx=columns, label=answers, attribute_id=ids, kind=kind)
    )
    assert printed["attribute_id_7_accuracy"] == 0.5 and printed["attribute_id_8_accuracy"] == 1.0
    assert printed["cls_0_accuracy"] == pytest.approx(2 / 3) and printed["cls_1_auroc"] == 1.0
    assert printed["kind_0_accuracy"] == 0.75 and printed["kind_1_accuracy"] == 1.0
    assert not any(key.startswith("attribute_id_-1") for key in printed)


def test_statistics_by_question_type_equal_those_of_its_items_alone():
    torch.manual_seed(3)
    logits, label = torch.randn(40, 5), torch.randint(2, (40, 5)).float()
    kinds = torch.randint(-1, 3, (40,))
    criterion = build("criterion", WITH_LOGITS, per_log_keys=["question_type1", "absent"], report_auc=True).eval()
    printed = printed_by(criterion, run(criterion, logits, label=label, question_type1=kinds))
    for kind in range(3):
        alone = printed_by(criterion, run(criterion, logits[kinds == kind], label=label[kinds == kind]))
        for key in ("accuracy", "em_accuracy", "precision", "recall", "f1", "auroc", "auprc"):
            assert printed[f"question_type1_{kind}_{key}"] == pytest.approx(alone[key], rel=1e-6)


def test_training_keeps_no_scores():
    for name in ("binary_cross_entropy", WITH_LOGITS, MULTI_HEAD):
        criterion = build("criterion", name, report_auc=True)
        assert not run(criterion.train(), torch.zeros(2, 3), label=torch.zeros(2, 3)).scores
        assert set(run(criterion.eval(), torch.zeros(2, 3), label=torch.zeros(2, 3)).scores) == {"logits", "target"}


def test_label_weights_scale_each_labels_loss():
    out = run(build("criterion", WITH_LOGITS, weight=[1.0, 2.0, 0.0]), torch.zeros(2, 3), label=torch.zeros(2, 3))
    assert float(out.loss) == pytest.approx(6 * math.log(2))


def test_the_threshold_decides_what_is_predicted():
    logits, label = torch.tensor([[-1.0, 1.0]]), torch.tensor([[1.0, 1.0]])
    for threshold, predicted in ((0.0, 2), (0.2, 2), (0.5, 1), (0.8, 0), (1.0, 0)):
        for name in ("binary_cross_entropy", WITH_LOGITS):
            assert run(build("criterion", name, threshold=threshold), logits, label=label).logs["tp"] == predicted


def test_labels_of_a_path_dataset_come_as_a_list():
    logits, label = torch.randn(3, 2), torch.randint(2, (3, 2))
    criterion = build("criterion", WITH_LOGITS)
    as_list = run(criterion, logits, label=list(label))
    assert torch.equal(as_list.loss, run(criterion, logits, label=label).loss)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1.0, 2.0], r"has 2 values, but there are 3 labels \(rhythm \.\.\. infarct\)"),
        ([1.0, 2.0, math.inf], "the label 'infarct' .*no positive example in the training split"),
        ([1.0, math.nan, 2.0], "is nan for the label 'flutter'"),
        ([-1.0, 1.0, 2.0], r"is -1\.0 for the label 'rhythm'"),
    ],
)
def test_positive_weights_that_cannot_be_used_name_the_label(weights, message):
    criterion = build("criterion", WITH_LOGITS, pos_weight=weights)
    with pytest.raises(ConfigError, match=message):
        criterion.set_labels(["rhythm", "flutter", "infarct"])
    with pytest.raises(ConfigError, match=r"criterion\.pos_weight"):
        run(build("criterion", WITH_LOGITS, pos_weight=weights), torch.zeros(2, 3), label=torch.zeros(2, 3))


def test_the_number_of_labels_must_be_that_of_the_logits():
    with pytest.raises(ConfigError, match=r"gives 3 logits, but the labels have 5 columns; set model\.num_labels=5"):
        run(build("criterion", WITH_LOGITS), torch.zeros(2, 3), label=torch.zeros(2, 5))


def test_challenge_weights_must_be_given_and_fit(golden):
    with pytest.raises(ConfigError, match=r"needs criterion\.weights_file"):
        build("criterion", WITH_LOGITS, report_cinc_score=True)
    with pytest.raises(ConfigError, match="has no value"):
        build("criterion", WITH_LOGITS, report_cinc_score=True, weights_file="???")
    build("criterion", WITH_LOGITS, weights_file="???")
    path = golden / "benchmarks/cinc2021_weights.csv"
    criterion = build("criterion", WITH_LOGITS, report_cinc_score=True, weights_file=str(path))
    with pytest.raises(ConfigError, match="has 26 classes, but there are 3 labels"):
        criterion.set_labels(["a", "b", "c"])


def test_a_threshold_must_be_a_probability_and_an_average_known():
    with pytest.raises(ConfigError, match="between 0 and 1"):
        build("criterion", WITH_LOGITS, threshold=1.5)
    with pytest.raises(ConfigError, match="must be one of macro, micro, weighted"):
        build("criterion", WITH_LOGITS, auc_average="samples")
