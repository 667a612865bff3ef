import math

import numpy as np
import pytest
import torch
from stand_in import StandIn, batch_of, numbers, printed_by

from ecg_signals.checkpoint.load import load_model
from ecg_signals.config import ConfigError
from ecg_signals.registry import build, get_entry


@pytest.fixture
def given(golden):
    return np.load(golden / "wcr/contrastive/inputs.npz")


@pytest.fixture
def wanted(golden):
    return np.load(golden / "wcr/contrastive/outputs.npz")


def run(name, pooled, training=True, **options_and_entries):
    options = {
        key: options_and_entries.pop(key) for key in ("temp", "all_gather", "own_term") if key in options_and_entries
    }
    criterion = build("criterion", name, **options).train(training)
    return criterion(StandIn({"pooled": torch.as_tensor(pooled)}), batch_of(len(pooled), **options_and_entries))


def entries(given, *keys):
    """kg_patient_id, cmsc_patient_id_unique ... -> patient_id ..."""
    endings = {key: key.split("_", 1)[1].removesuffix("_unique").removesuffix("_repeat") for key in keys}
    return {name: torch.from_numpy(given[key]) for key, name in endings.items()}


@pytest.mark.parametrize("temp", [0.1, 0.5])
def test_simclr_equals_the_reference(wanted, temp):
    out = run("simclr", wanted["pooled"], temp=temp)
    assert float(out.loss) == pytest.approx(float(wanted[f"simclr_loss_sum_t{temp}"]), rel=1e-5)
    assert out.sample_size == 12


@pytest.mark.parametrize("temp", [0.5, 0.1])
@pytest.mark.parametrize("own_term, key", [("none", "loss_exact_T"), ("published", "loss_T")])
def test_simclr_is_nt_xent_exact_and_as_published_for_ecgs(golden, temp, own_term, key):
    arrays = np.load(golden / "benchmarks" / "ssl_losses.npz")
    rows = np.stack([arrays["ntxent/z1"], arrays["ntxent/z2"]], axis=1).reshape(16, -1)
    out = run("simclr", rows, temp=temp, own_term=own_term)
    assert float(out.loss) / out.sample_size == pytest.approx(float(arrays[f"ntxent/{key}{temp}"]), rel=1e-5)


@pytest.mark.parametrize("temp", [1.0, 2.0])
def test_at_high_temperatures_the_published_own_term_takes_from_the_others(golden, temp):
    arrays = np.load(golden / "benchmarks" / "ssl_losses.npz")
    rows = np.stack([arrays["ntxent/z1"], arrays["ntxent/z2"]], axis=1).reshape(16, -1).astype(np.float64)
    alike = np.exp(rows @ rows.T / temp)
    wanted = np.log(alike.sum(axis=1) - math.e) - np.log(alike[np.arange(16), np.arange(16) ^ 1])
    out = run("simclr", rows, temp=temp, own_term="published")
    assert float(out.loss) == pytest.approx(wanted.sum(), rel=1e-5)
    few = run("simclr", np.eye(2), temp=temp, own_term="published")  # less than nothing is left, which is 1e-6
    assert float(few.loss) == pytest.approx(2 * math.log(1e-6 if temp > 1 else 1), rel=1e-5, abs=1e-6)


def test_a_temperature_is_positive():
    with pytest.raises(ConfigError, match=r"criterion\.temp=0\.0; set criterion\.temp to more than 0"):
        build("criterion", "cmsc", temp=0.0)


def test_3kg_equals_the_reference(given, wanted):
    out = run("3kg", wanted["pooled"], **entries(given, "kg_patient_id"))
    assert float(out.loss) == pytest.approx(float(wanted["kg_loss_sum"]), rel=1e-5)
    assert out.sample_size == 12
    assert out.logs["count"] == len(wanted["kg_loss_none"])


@pytest.mark.parametrize("name", ["cmsc", "clocs"])
@pytest.mark.parametrize("patients", ["unique", "repeat"])
def test_cmsc_equals_the_reference(given, wanted, name, patients):
    out = run(name, wanted["pooled"], **entries(given, "cmsc_segment", f"cmsc_patient_id_{patients}"))
    assert float(out.loss) == pytest.approx(float(wanted[f"cmsc_loss_{patients}"]), rel=1e-5)
    assert out.sample_size == 1


def test_the_losses_equal_the_reference_from_the_signal_on(golden, given, wanted):
    model = load_model(golden / "wcr/contrastive/checkpoint.pt")
    views = [np.where(given[f"survivors_view{view}"][:, :, None], given["source_base"], 0) for view in (1, 2)]
    source = torch.from_numpy(np.stack(views, axis=1).reshape(12, 12, -1)).float()
    batch = batch_of(12, **entries(given, "kg_patient_id"))
    batch["net_input"] = {"source": source}
    for name, loss in (("simclr", "simclr_loss_sum_t0.1"), ("3kg", "kg_loss_sum")):
        out = build("criterion", name)(model, batch)
        assert float(out.loss.detach()) == pytest.approx(float(wanted[loss]), rel=1e-5)


def test_a_loss_does_not_depend_on_the_length_of_the_features(wanted):
    patient, segment = torch.arange(12) // 2, torch.arange(12) % 2
    for name in ("simclr", "3kg", "cmsc"):
        lengths = np.linspace(0.1, 9, 12, dtype=np.float32)[:, None]
        plain = run(name, wanted["pooled"], patient_id=patient, segment=segment)
        scaled = run(name, wanted["pooled"] * lengths, patient_id=patient, segment=segment)
        assert float(scaled.loss) == pytest.approx(float(plain.loss), rel=1e-5)


def test_the_gradient_does_not_pass_the_norm():
    pooled = torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0], [2.0, 1.0]], requires_grad=True)
    batch = batch_of(4, patient_id=torch.tensor([0, 0, 1, 1]), segment=torch.tensor([0, 1, 0, 1]))
    build("criterion", "cmsc")(StandIn({"pooled": pooled}), batch).loss.backward()
    rows = (pooled.detach() / pooled.detach().norm(dim=1, keepdim=True)).requires_grad_()
    build("criterion", "cmsc")(StandIn({"pooled": rows}), batch).loss.backward()
    torch.testing.assert_close(pooled.grad, rows.grad / pooled.detach().norm(dim=1, keepdim=True))


def test_accuracy_counts_positives_ahead_of_every_negative():
    views = np.array([[1, 0.1], [1, 0.2], [-1, 0.1], [-1, 0.3]], dtype=np.float32)
    mixed = views[[0, 2, 1, 3]]
    for name, entry in (("simclr", {}), ("3kg", {"patient_id": torch.tensor([0, 0, 1, 1])})):
        criterion = build("criterion", name)
        assert printed_by(criterion, run(name, views, **entry))["accuracy"] == 1.0
        assert printed_by(criterion, run(name, mixed, **entry))["accuracy"] == 0.0


def test_the_order_of_the_rows_does_not_matter_to_cmsc(wanted):
    order = torch.randperm(12, generator=torch.Generator().manual_seed(0))
    patient, segment = torch.arange(12) // 2, torch.arange(12) % 2
    plain = run("cmsc", wanted["pooled"], patient_id=patient, segment=segment)
    mixed = run("cmsc", torch.from_numpy(wanted["pooled"])[order], patient_id=patient[order], segment=segment[order])
    assert float(mixed.loss) == pytest.approx(float(plain.loss), rel=1e-6)


def test_uneven_batches_and_batches_without_pairs_stay_finite():
    pooled = torch.randn(3, 4, requires_grad=True)
    cases = [
        ("cmsc", [0, 0, 1], [0, 1, 0], True),
        ("cmsc", [0, 1, 2], [0, 1, 0], False),
        ("cmsc", [0, 1, 2], [0, 0, 0], False),
        ("3kg", [0, 0, 0], [0, 0, 0], False),
        ("3kg", [0, 0, 1], [0, 0, 0], True),
    ]
    for name, patient, segment, positive in cases:
        pooled.grad = None
        batch = batch_of(3, patient_id=torch.tensor(patient), segment=torch.tensor(segment))
        out = build("criterion", name)(StandIn({"pooled": pooled}), batch)
        out.loss.backward()
        assert torch.isfinite(pooled.grad).all() and bool(out.loss > 0) == positive
    assert math.isfinite(printed_by(build("criterion", "3kg"), out)["accuracy"])


def test_similarities_are_float32_under_autocast(wanted):
    patient, segment = torch.arange(12) // 2, torch.arange(12) % 2
    for name in ("simclr", "3kg", "cmsc"):
        plain = run(name, wanted["pooled"], patient_id=patient, segment=segment)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            cast = run(name, wanted["pooled"], patient_id=patient, segment=segment)
        assert torch.equal(plain.loss, cast.loss)


def test_each_criterion_names_the_dataset_it_reads():
    names = ("cmsc", "clocs", "simclr", "3kg", "arcface", "mse")
    assert {name: get_entry("criterion", name).cls.dataset for name in names} == {
        "cmsc": "cmsc",
        "clocs": "cmsc",
        "simclr": "perturbed_views",
        "3kg": "three_kg_views",
        "arcface": "identification",
        "mse": "ecg_file",
    }


def test_logs_never_carry_a_graph():
    pooled = torch.randn(4, 3, requires_grad=True)
    batch = batch_of(4, patient_id=torch.tensor([0, 0, 1, 1]), segment=torch.tensor([0, 1, 0, 1]))
    for name in ("simclr", "3kg", "cmsc"):
        logs = build("criterion", name)(StandIn({"pooled": pooled}), batch).logs
        assert not any(isinstance(value, torch.Tensor) and value.requires_grad for value in logs.values())
        assert all(math.isfinite(value) for value in numbers(logs).values())
