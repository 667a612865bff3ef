"""HuBERT-ECG's fine-tuning against the reference: steps, what trains, rates, loss weights."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ecg_signals.checkpoint.write import write_checkpoint
from ecg_signals.config import ConfigError
from ecg_signals.criteria.loss_weights import class_weights, label_weights
from ecg_signals.interop.layout import ModelSource, get_layout
from ecg_signals.models.hubert.hubert_ecg import HubertEcg, HubertEcgConfig
from ecg_signals.registry import build, register_model


@pytest.fixture(scope="module")
def reference(golden: Path) -> dict[str, Any]:
    with np.load(golden / "hubert_ecg/model/finetuning.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def start(golden: Path, load: Any, **options: Any) -> Any:
    """The fine-tuned MLP reference, rebuilt with other training options."""
    stored = load(golden / "hubert_ecg/checkpoints/finetune_mlp.pt")
    model = build("model", "hubert_ecg_classifier", **{**stored.cfg.to_dict(), **options})
    model.load_state_dict(stored.state_dict())
    return model


def test_five_updates_give_the_references_losses_and_logits(
    golden: Path, load: Any, quiet: Any, reference: dict[str, Any]
) -> None:
    lr, steps, warmup = reference["hparams_lr_steps_warmup"]
    blocks = int(reference["n_blocks"])
    model = quiet(start(golden, load, transformer_blocks_to_unfreeze=blocks)).train()
    assert {name for name, p in model.named_parameters() if p.requires_grad} == set(
        map(str, reference["trainable_names"])
    )
    criterion = build("criterion", "multi_label", pos_weight=reference["pos_weight"].tolist()).train()
    schedule = build("lr_scheduler", "linear", warmup_updates=int(warmup), max_update=steps, lr=[lr])
    optimizer = torch.optim.AdamW(model.param_groups(None), betas=(0.9, 0.98), eps=1e-9, weight_decay=0.01)
    source = torch.from_numpy(reference["input"]).view(4, 12, 500)
    batch = {
        "id": torch.arange(4),
        "net_input": {"source": source, "padding_mask": torch.zeros(4, 500, dtype=torch.bool)},
        "label": torch.from_numpy(reference["labels"]),
    }
    losses = []
    for step in range(5):
        model.before_forward(step)
        optimizer.param_groups[0]["lr"] = schedule.rate(step, 1)
        output = criterion(model, batch)
        optimizer.zero_grad()
        (output.loss / output.sample_size).backward()
        optimizer.step()
        losses.append(float(output.loss.detach() / output.sample_size))
    np.testing.assert_allclose(losses, reference["losses"], atol=1e-5)
    with torch.no_grad():
        np.testing.assert_allclose(model(**batch["net_input"])["logits"], reference["after_logits"], atol=1e-4)


def test_weighted_cross_entropy_is_the_references(reference: dict[str, Any]) -> None:
    criterion = build("criterion", "multi_class", weight=reference["ce_weight"].tolist()).eval()
    logits, labels = torch.from_numpy(reference["logits_step0"]), torch.from_numpy(reference["ce_labels"])
    output = criterion(lambda: {"logits": logits}, {"id": torch.arange(4), "net_input": {}, "label": labels})
    assert float(output.loss / output.sample_size) == pytest.approx(float(reference["ce_loss"]), abs=1e-5)


def test_what_trains_is_the_references_for_every_number_of_blocks(golden: Path, load: Any) -> None:
    expected = json.loads((golden / "hubert_ecg/model/trainable_parameters.json").read_text())
    for key, names in expected.items():
        blocks, conv = (part.partition("=")[2] for part in key.split(","))
        model = start(golden, load, transformer_blocks_to_unfreeze=int(blocks), unfreeze_conv_embedder=conv == "True")
        assert [name for name, p in model.named_parameters() if p.requires_grad] == names, key
        assert {id(p) for g in model.param_groups(None) for p in g["params"]} == {
            id(p) for p in model.parameters() if p.requires_grad
        }


def test_without_a_number_of_blocks_everything_trains_but_the_mask_vector(golden: Path, load: Any) -> None:
    frozen = [name for name, p in start(golden, load).named_parameters() if not p.requires_grad]
    assert frozen == ["hubert_ecg.masked_spec_embed"]


def test_the_encoder_is_frozen_for_the_first_updates_and_learns_afterwards(golden: Path, load: Any, quiet: Any) -> None:
    model = quiet(start(golden, load, freezing_steps=2, transformer_blocks_to_unfreeze=1)).train()
    optimizer = torch.optim.AdamW(model.param_groups(None), lr=0.01)
    source, label = torch.randn(2, 12, 500), torch.tensor([[0.0, 1, 0, 1], [1, 0, 0, 0]])
    block, head = model.hubert_ecg.encoder.layers[2].feed_forward.output_dense.weight, model.classifier[0].weight
    moved = []
    for step in range(4):
        before = block.detach().clone(), head.detach().clone()
        model.before_forward(step)
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.binary_cross_entropy_with_logits(model(source)["logits"], label).backward()
        optimizer.step()
        moved.append((not torch.equal(before[0], block), not torch.equal(before[1], head)))
    assert moved == [(False, True), (False, True), (True, True), (True, True)]


def test_layer_wise_rates_are_the_published_ones(tiny_encoder: dict[str, Any]) -> None:
    options = {**tiny_encoder, "num_hidden_layers": 6, "num_labels": 3, "layer_wise_lr": True}
    model = build("model", "hubert_ecg_classifier", **options)
    groups = model.param_groups(SimpleNamespace(optimization=SimpleNamespace(lr=[2e-5])))
    rates = {id(p): 2e-5 * group["lr_scale"] for group in groups for p in group["params"]}
    found = {name: rates[id(p)] for name, p in model.named_parameters() if id(p) in rates}
    assert found["hubert_ecg.feature_projection.projection.weight"] == pytest.approx(1e-7)
    assert found["hubert_ecg.encoder.layers.1.layer_norm.weight"] == pytest.approx(1e-7)
    assert found["hubert_ecg.encoder.layers.2.layer_norm.weight"] == pytest.approx(2e-5)
    assert found["classifier.weight"] == pytest.approx(1e-5)
    assert len(found) == len(list(model.named_parameters())) - 1


def test_learning_rates_are_the_references(golden: Path) -> None:
    expected = json.loads((golden / "hubert_ecg/model/schedules.json").read_text())["lr_multipliers"]
    for key, values in expected.items():
        steps, warmup = (int(part.partition("=")[2]) for part in key.split(","))
        schedule = build("lr_scheduler", "linear", warmup_ratio=0.08, max_update=steps, lr=[1.0])
        assert schedule.warmup == warmup
        np.testing.assert_allclose([schedule.rate(step, 1) for step in range(len(values))], values, atol=1e-12)


def test_loss_weights_are_the_references_and_classes_keep_their_order(golden: Path) -> None:
    with np.load(golden / "hubert_ecg/dataset/dataset_items.npz") as arrays:
        by_frequency, positives = arrays["mc_weights_peer_order_by_frequency"], arrays["ml_pos_weights"]
    targets = np.array([2.0, 0, 2, 1, 2])
    np.testing.assert_allclose(class_weights(targets, 3, by_frequency=True), by_frequency)
    np.testing.assert_allclose(class_weights(targets, 3), [3, 3, 1])
    np.testing.assert_allclose(class_weights(targets, 4)[3], 1)
    table = np.loadtxt(golden / "hubert_ecg/dataset/multi_label.csv", delimiter=",", skiprows=1, usecols=(3, 4, 5, 6))
    np.testing.assert_allclose(label_weights(table), positives, rtol=1e-6)
    unknown = np.array([[1.0, 0], [np.nan, 0], [0, 0], [0, np.nan]])
    np.testing.assert_allclose(label_weights(unknown), [2, 1])


def test_criteria_take_their_weights_from_the_training_data(tiny_encoder: dict[str, Any]) -> None:
    model = build("model", "hubert_ecg_classifier", **tiny_encoder, num_labels=3)
    labels = build("criterion", "multi_label", use_loss_weights=True)
    labels.prepare(model, SimpleNamespace(label_table=np.array([[1.0, 0, 1], [0, 0, 1], [0, 1, 1]])))
    assert labels.pos_weight.tolist() == [2, 2, 0]
    classes = build("criterion", "multi_class", use_loss_weights=True)
    classes.prepare(model, SimpleNamespace(label_table=np.array([[2.0], [0], [2]])))
    assert classes.weight.tolist() == pytest.approx([3, 1, 1.5])
    with pytest.raises(ConfigError, match=r"model\.num_labels=4"):
        classes.prepare(model, SimpleNamespace(label_table=np.array([[3.0]])))
    with pytest.raises(ConfigError, match="the dataset has none"):
        labels.prepare(model, SimpleNamespace())


def test_multi_class_statistics_are_the_references(golden: Path) -> None:
    with np.load(golden / "hubert_ecg/eval/metrics.npz") as arrays:
        labels, probabilities = arrays["mc_labels"], arrays["mc_probs"]
    expected = json.loads((golden / "hubert_ecg/eval/metrics.json").read_text())["multi_class"]
    criterion = build("criterion", "multi_class").eval()
    batch = {"id": torch.arange(len(labels)), "net_input": {}, "label": torch.from_numpy(labels)}
    output = criterion(lambda: {"logits": torch.from_numpy(np.log(probabilities))}, batch)
    logs = {key: float(value) for key, value in output.logs.items()} | {"sample_size": float(output.sample_size)}
    printed = criterion.metrics(logs, {key: value.numpy() for key, value in output.scores.items()})
    assert printed["accuracy"] == pytest.approx(expected["test_accuracy"], abs=1e-6)
    assert printed["accuracy_macro"] == pytest.approx(expected["finetune_accuracy_macro"], abs=1e-6)
    assert printed["auroc"] == pytest.approx(expected["test_auroc"], abs=1e-6)
    assert printed["auprc"] == pytest.approx(expected["test_auprc"], abs=1e-6)


@pytest.mark.parametrize(
    "options", [{}, {"classifier_hidden_size": 6, "activation": "gelu"}, {"use_label_embedding": True}]
)
def test_a_classifier_starts_from_a_pretrained_or_a_fine_tuned_file(
    golden: Path, load: Any, options: dict[str, Any]
) -> None:
    for name in ("hubert_1_iteration_9_run0", "finetune_mlp", "legacy_hubertconfig_weight_gv"):
        path = golden / f"hubert_ecg/checkpoints/{name}.pt"
        model = build(
            "model", "hubert_ecg_classifier", model_path=str(path), num_labels=5, hidden_dropout=0.0, **options
        )
        stored = load(path)
        encoder = getattr(stored, "hubert_ecg", stored)
        source = torch.randn(2, 12, 500)
        with torch.no_grad():
            output = model.eval()(source)
            assert torch.equal(output["features"], encoder.eval()(source)["features"])
        assert output["logits"].shape == (2, 5) and model.signal is not None
        assert model.cfg.hidden_size == 32 and model.cfg.hidden_dropout == 0.0
        if options.get("use_label_embedding"):
            assert output["logits"].abs().max() <= 1
        again = build("model", "hubert_ecg_classifier", **{**model.cfg.to_dict(), "no_pretrained_weights": True})
        again.load_state_dict(model.state_dict())


def test_dropout_and_weight_decay_follow_validation_as_in_the_reference(golden: Path, load: Any) -> None:
    reference = json.loads((golden / "hubert_ecg/model/schedules.json").read_text())
    model = load(golden / "hubert_ecg/checkpoints/hubert_1_iteration_9_run0.pt")
    model = build("model", "hubert_ecg", **{**model.cfg.to_dict(), "dynamic_reg_interval": 1})
    assert list(model.dropouts()) == reference["dynamic_regularizer_modules"]
    optimizer = torch.optim.AdamW(model.param_groups(None), weight_decay=0.01)
    for step in reference["dynamic_regularizer_trace"]:
        model.after_validation(not step["penalty"], optimizer)
        assert optimizer.param_groups[0]["weight_decay"] == pytest.approx(step["weight_decay"])
        for name, p in step["p"].items():
            assert model.get_submodule(name).p == pytest.approx(p), name


def test_regularisation_waits_for_its_interval_and_survives_a_restart(tiny: dict[str, Any]) -> None:
    def fresh(interval: int) -> tuple[Any, Any]:
        model = build("model", "hubert_ecg", **tiny, dynamic_reg_interval=interval)
        return model, torch.optim.AdamW(model.param_groups(None), weight_decay=0.01)

    model, optimizer = fresh(2)
    decays = []
    for improved in (True, False, False, False, False):
        model.after_validation(improved, optimizer)
        decays.append(optimizer.param_groups[0]["weight_decay"])
    assert decays == pytest.approx([0.01, 0.01, 0.05, 0.05, 0.25])
    again, other = fresh(2)
    again.load_training_state(json.loads(json.dumps(model.training_state(optimizer))), other)
    assert other.param_groups[0]["weight_decay"] == pytest.approx(0.25)
    assert again.encoder.dropout.p == pytest.approx(model.encoder.dropout.p) == pytest.approx(0.2)
    off, untouched = fresh(0)
    off.after_validation(False, untouched)
    assert untouched.param_groups[0]["weight_decay"] == 0.01 and off.training_state(untouched) == {}


def test_a_plugins_pretraining_on_the_encoder_is_fine_tuned_like_ours(tiny: dict[str, Any], tmp_path: Path) -> None:
    register_model("my_hubert", dataclass=HubertEcgConfig)(type("MyHubert", (HubertEcg,), {}))
    try:
        model = build("model", "my_hubert", **tiny)
        source = ModelSource("my_hubert", {**tiny, "layerdrop": 0.0}, model.state_dict())
        write_checkpoint(tmp_path / "mine.pt", get_layout("ecg_signals").write(source))
        tuned = build("model", "hubert_ecg_classifier", model_path=str(tmp_path / "mine.pt"), num_labels=2)
    finally:
        del register_model.entries["my_hubert"]
    for name, value in tuned.hubert_ecg.state_dict().items():
        assert torch.equal(value, model.state_dict()[name]), name
