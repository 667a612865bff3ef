import math

import numpy as np
import pytest
import scipy.io
import torch
from stand_in import StandIn, batch_of, numbers, printed_by

from ecg_signals.checkpoint.load import load_model
from ecg_signals.config import ConfigError
from ecg_signals.criteria.arcface import add_margin
from ecg_signals.metrics.retrieval import retrieve
from ecg_signals.registry import build


@pytest.fixture
def given(golden):
    arrays = np.load(golden / "wcr/criteria/inputs.npz")
    return {key: torch.from_numpy(arrays[key]) for key in arrays}


@pytest.fixture
def wanted(golden):
    return np.load(golden / "wcr/criteria/outputs.npz")


def run(criterion, logits, **entries):
    return criterion(StandIn(logits), batch_of(len(logits), **entries))


@pytest.mark.parametrize(
    ("name", "options"),
    [("ce_plain", {}), ("ce_focal1", {"focal_loss": True}), ("ce_focal2", {"focal_loss": True, "gamma": 2.0})],
)
def test_cross_entropy_of_a_segmentation_equals_the_reference(given, wanted, name, options):
    criterion = build("criterion", "cross_entropy", **options)
    out = run(criterion, given["ce_logits"], segment_label=given["ce_target"])
    assert float(out.loss) == pytest.approx(float(wanted[f"{name}/loss"]), rel=1e-5)
    assert float(out.sample_size) == wanted[f"{name}/sample_size"]
    assert [numbers(out.logs)[key] for key in ("correct", "count")] == [wanted["ce/correct"], wanted["ce/count"]]
    assert printed_by(criterion, out)["accuracy"] == pytest.approx(float(wanted["ce/correct"] / wanted["ce/count"]))


def test_samples_under_the_segment_mask_count_for_nothing(given):
    criterion = build("criterion", "cross_entropy", focal_loss=True)
    mask = torch.zeros(given["ce_target"].shape, dtype=torch.bool)
    mask[:, 10:] = True
    out = run(criterion, given["ce_logits"], segment_label=given["ce_target"], segment_mask=mask)
    part = run(criterion, given["ce_logits"][:, :10], segment_label=given["ce_target"][:, :10])
    assert float(out.loss) == pytest.approx(float(part.loss), rel=1e-6)
    assert float(out.sample_size) == float(part.sample_size) == 40
    assert numbers(out.logs)["correct"] == numbers(part.logs)["correct"]


def test_class_numbers_and_one_column_per_class_are_the_same_target():
    torch.manual_seed(0)
    logits, label = torch.randn(5, 3), torch.tensor([0, 2, 1, 1, 0])
    columns = torch.nn.functional.one_hot(label, 3).float()
    criterion = build("criterion", "cross_entropy")
    outs = [run(criterion, logits, label=value) for value in (label, label[:, None].float(), columns)]
    assert len({float(out.loss) for out in outs}) == 1
    unclear = columns.clone()
    unclear[3], unclear[4] = 1.0, 0.0
    out = run(criterion, logits, label=unclear)
    assert float(out.sample_size) == 3
    assert float(out.loss) == pytest.approx(float(run(criterion, logits[:3], label=label[:3]).loss))


def test_unknown_classes_count_for_nothing():
    logits = torch.randn(4, 3, requires_grad=True)
    criterion = build("criterion", "cross_entropy")
    out = run(criterion, logits, label=torch.tensor([[1.0], [math.nan], [-100.0], [2.0]]))
    out.loss.backward()
    assert float(out.sample_size) == 2 and logits.grad[1:3].abs().max() == 0


def test_class_weights_scale_the_loss_of_their_class():
    logits, label = torch.zeros(2, 2), torch.tensor([0, 1])
    out = run(build("criterion", "cross_entropy", weight=[1.0, 3.0]), logits, label=label)
    assert float(out.loss) == pytest.approx(4 * math.log(2))
    with pytest.raises(ConfigError, match=r"criterion\.weight has 3 values, but there are 2 labels"):
        run(build("criterion", "cross_entropy", weight=[1.0, 3.0, 1.0]), logits, label=label)
    with pytest.raises(ConfigError, match="'right bundle'"):
        build("criterion", "cross_entropy", weight=[1.0, math.nan]).set_labels(["normal", "right bundle"])


def test_several_numbers_per_prediction_are_refused():
    with pytest.raises(ConfigError, match="8 of them in 'label' for 2 predictions"):
        run(build("criterion", "cross_entropy"), torch.zeros(2, 3), label=torch.zeros(2, 4))


def test_squared_error_equals_the_reference_and_leaves_out_unknown_values(given, wanted):
    criterion = build("criterion", "mse")
    out = run(criterion, given["mse_logits"], label=given["mse_target"])
    assert float(out.loss) == pytest.approx(float(wanted["mse/loss"]), rel=1e-5)
    assert float(out.sample_size) == 35
    target = given["mse_target"].clone()
    target[2:] = math.nan
    part = run(criterion, given["mse_logits"][:2], label=given["mse_target"][:2])
    out = run(criterion, given["mse_logits"], label=target)
    assert float(out.loss) == pytest.approx(float(part.loss)) and float(out.sample_size) == 14


def test_a_single_value_per_item_may_come_without_a_column():
    out = run(build("criterion", "mse"), torch.tensor([[1.0], [2.0]]), label=torch.tensor([1.0, 4.0]))
    assert float(out.loss) == 4.0


@pytest.mark.parametrize(("scale", "margin"), [(32.0, 0.5), (192.0, 1.0)])
def test_arcface_equals_the_reference(golden, scale, margin):
    given, wanted = (np.load(golden / f"wcr/arcface/{name}.npz") for name in ("inputs", "outputs"))
    criterion = build("criterion", "arcface", scale=scale, margin=margin)
    cosine, target = (torch.from_numpy(given[key]) for key in ("crit_logits", "crit_target"))
    each = torch.stack([run(criterion, cosine[row : row + 1], label=target[row : row + 1]).loss for row in range(40)])
    np.testing.assert_allclose(each, wanted[f"crit_loss_s{scale:g}_m{margin}"], rtol=1e-5, atol=1e-5)
    label = torch.from_numpy(given["label"])[:, None]
    out = run(criterion, torch.from_numpy(wanted["cos_logits"]), label=label)
    assert float(out.loss) == pytest.approx(float(wanted[f"loss_sum_s{scale:g}_m{margin}"]), rel=1e-5)
    assert out.sample_size == 6


def test_arcface_and_retrieval_equal_the_reference_from_the_signal_on(golden, data):
    given, wanted = (np.load(golden / f"wcr/arcface/{name}.npz") for name in ("inputs", "outputs"))
    model = load_model(golden / "wcr/arcface/checkpoint.pt")
    batch = batch_of(6, label=torch.from_numpy(given["label"]), patient_id=torch.from_numpy(given["label"]))
    batch["net_input"] = {"source": torch.from_numpy(given["source"])}
    criterion = build("criterion", "arcface", scale=192.0, margin=1.0).eval()
    with torch.no_grad():
        out = criterion(model, batch)
    assert float(out.loss) == pytest.approx(float(wanted["loss_sum_s192_m1.0"]), rel=1e-5)
    assert set(out.scores) == {"logits", "patient_id"}
    sets = []
    for key in ("probe_names", "gallery_names"):
        files = [data / "code15/segmented" / f"{name}.mat" for name in given[key]]
        source = torch.from_numpy(np.stack([scipy.io.loadmat(file)["feats"] for file in files])).float()
        with torch.no_grad():
            sets.append(model(source)["logits"].numpy())
    similarity, best = retrieve(*sets)
    np.testing.assert_allclose(similarity, wanted["retrieval_sim"], rtol=1e-4, atol=1e-5)
    assert best.tolist() == wanted["retrieval_argmax"].tolist()


def test_the_margin_adds_to_the_angle_and_keeps_falling():
    angle = torch.linspace(0.0, math.pi, 50)
    moved = add_margin(angle.cos()[:, None], torch.zeros(50, dtype=torch.long), 0.7)[:, 0]
    inside = angle < math.pi - 0.7
    torch.testing.assert_close(moved[inside], (angle[inside] + 0.7).cos(), rtol=1e-4, atol=1e-5)
    assert (moved[~inside].diff() <= 0).all() and (moved[inside].diff() <= 0).all()


def test_arcface_has_a_gradient_where_the_cosine_is_one():
    cosine = torch.tensor([[1.0, 0.0], [-1.0, 0.5]], requires_grad=True)
    run(build("criterion", "arcface"), cosine, label=torch.tensor([0, 0])).loss.backward()
    assert torch.isfinite(cosine.grad).all()


def test_people_that_were_not_trained_on_have_scores_but_no_loss():
    criterion = build("criterion", "arcface").eval()
    out = run(criterion, torch.rand(2, 3), label=torch.tensor([[7], [-1]]), patient_id=torch.tensor([5, 6]))
    assert float(out.loss) == 0 and out.scores["patient_id"].reshape(-1).tolist() == [5, 6]


COMPOSITE = {
    "criterion_names": ["cross_entropy", "binary_cross_entropy_with_logits"],
    "args": {
        "cross_entropy": {"_name": "cross_entropy", "focal_loss": True},
        "binary_cross_entropy_with_logits": {"report_auc": True},
    },
    "loss_weights": [2.0, 0.5],
}


def test_a_composite_sums_the_weighted_means_of_its_criteria(given):
    target = torch.randint(2, (4, 6), generator=torch.Generator().manual_seed(0))
    logits = [given["ce_logits"], given["logits"][:4].clone().requires_grad_()]
    model = StandIn({"logits": logits})
    criterion = build("criterion", "composite_criterion", **COMPOSITE).eval()
    out = criterion(model, batch_of(4, segment_label=given["ce_target"], label=target))
    assert len(model.calls) == 1 and out.sample_size == 1
    segments = run(build("criterion", "cross_entropy", focal_loss=True), logits[0], segment_label=given["ce_target"])
    labels = run(build("criterion", "binary_cross_entropy_with_logits"), logits[1], label=target)
    out.loss.backward()
    assert float(out.logs["loss"]) == pytest.approx(
        2 * float(segments.loss) / 100 + 0.5 * float(labels.logs["loss"]) / 24
    )
    assert logits[1].grad.abs().max() > 0
    printed = printed_by(criterion, out)
    assert printed["loss"] == pytest.approx(float(out.logs["loss"]) / math.log(2))
    assert printed["0_accuracy"] == pytest.approx(numbers(segments.logs)["correct"] / 100)
    assert printed["1_loss"] == pytest.approx(float(labels.logs["loss"]) / 24 / math.log(2))
    assert 0 <= printed["1_auroc"] <= 1 and printed["nsignals"] == 4


def test_a_composite_divides_by_weights_that_sum_to_less_than_one():
    options = {"multi_class": {"weight": [0.25, 4.0]}}
    criterion = build("criterion", "composite_criterion", criterion_names=list(options), args=options)
    out = run(criterion, torch.zeros(2, 2), label=torch.tensor([0, 0]))
    assert float(out.loss) == pytest.approx(math.log(2))
    assert float(run(criterion, torch.zeros(2, 2), label=torch.tensor([-1, -1])).loss) == 0


def test_a_composite_hands_modes_and_labels_to_its_criteria():
    options = {"binary_cross_entropy_with_logits": {"pos_weight": [1.0, 2.0], "report_auc": True}}
    criterion = build("criterion", "composite_criterion", criterion_names=list(options), args=options)
    with pytest.raises(ConfigError, match=r"criterion\.pos_weight has 2 values"):
        criterion.set_labels(["a", "b", "c"])
    assert not run(criterion.train(), torch.zeros(2, 2), label=torch.zeros(2, 2)).scores
    assert run(criterion.eval(), torch.zeros(2, 2), label=torch.zeros(2, 2)).scores


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss_weights": [1.0]}, "1 values for 2 criteria"),
        ({"args": {"mse": {}}}, "options of mse"),
        ({"criterion_names": "???"}, "has no value"),
    ],
)
def test_a_composite_that_cannot_work_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        build("criterion", "composite_criterion", **{**COMPOSITE, **changes})


def test_labels_and_values_add_the_means_of_their_columns_each_by_what_is_known():
    logits = torch.tensor([[0.0, 2.0, 1.0], [0.0, -1.0, 3.0]], requires_grad=True)
    label = torch.tensor([[1.0, math.nan, 0.5], [0.0, math.nan, math.nan]])
    criterion = build("criterion", "labels_and_values", values=1).eval()
    out = run(criterion, logits, label=label)
    out.loss.backward()
    loss = math.log(2) + 0.5  # of the second label nothing is known
    assert float(out.loss.detach()) == pytest.approx(loss) and out.sample_size == 1
    assert logits.grad[:, 1].abs().max() == 0 and logits.grad[1, 2] == 0
    assert criterion.logits == criterion.logits_of({"values": 1}) == "labels+1"
    printed = printed_by(criterion, out)
    assert printed["auroc"] == 0.5 and printed["mae"] == 0.5 and printed["selection"] == 1.0
    empty = run(criterion, logits, label=torch.full((2, 3), math.nan))
    assert float(empty.loss) == 0
    with pytest.raises(ConfigError, match="leaves no label of 3 columns"):
        run(build("criterion", "labels_and_values", values=3), logits, label=label)
