"""HuBERT-ECG's pretraining steps against the reference."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from ecg_signals.config import ConfigError
from ecg_signals.registry import build


@pytest.fixture(scope="module")
def reference(golden: Path) -> dict[str, Any]:
    with np.load(golden / "hubert_ecg/model/pretraining.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


@pytest.fixture
def model(golden: Path, load: Any, quiet: Any) -> Any:
    return quiet(load(golden / "hubert_ecg/checkpoints/hubert_1_iteration_9_run0.pt")).train()


def step_batch(reference: dict[str, Any], step: int) -> dict[str, Any]:
    return {
        "net_input": {
            "source": torch.from_numpy(reference["input"]).view(4, 12, 500),
            "mask_time_indices": torch.from_numpy(reference["masks"][step]),
        },
        "cluster_labels": torch.from_numpy(reference["labels"][step]),
    }


@pytest.mark.parametrize("alpha", [1.0, 0.5, 0.0])
def test_the_loss_of_the_first_step_is_the_references(model: Any, reference: dict[str, Any], alpha: float) -> None:
    output = build("criterion", "hubert_pretraining", alpha=alpha).train()(model, step_batch(reference, 0))
    assert float(output.loss.detach() / output.sample_size) == pytest.approx(
        float(reference[f"loss_alpha{alpha}_step0"]), abs=1e-5
    )
    assert float(output.sample_size) == 4 * 93
    masked = float(output.logs["masked_nll"] / output.logs["frames"])
    assert masked == pytest.approx(reference["masked_ce_step0"].sum(), abs=1e-5)


def test_gradients_of_the_first_step_have_the_references_norms(model: Any, reference: dict[str, Any]) -> None:
    alpha = float(reference["hparams"][0])
    output = build("criterion", "hubert_pretraining", alpha=alpha).train()(model, step_batch(reference, 0))
    (output.loss / output.sample_size).backward()
    found = {name: p.grad.norm().item() for name, p in model.named_parameters() if p.grad is not None}
    expected = dict(zip(map(str, reference["grad_norm_names"]), reference["grad_norms_step0"]))
    assert set(found) == set(expected)
    for name, norm in expected.items():
        assert found[name] == pytest.approx(norm, rel=1e-4, abs=1e-6), name


def test_six_updates_give_the_references_losses_and_weights(model: Any, reference: dict[str, Any]) -> None:
    alpha, lr, steps, warmup = reference["hparams"]
    schedule = build("lr_scheduler", "linear", warmup_updates=int(warmup), max_update=steps, lr=[lr])
    criterion = build("criterion", "hubert_pretraining", alpha=float(alpha)).train()
    options = {"adam_betas": (0.9, 0.98), "adam_eps": 1e-9, "weight_decay": 0.01, "lr": [lr]}
    optimizer = build_optimizer(model, options)
    losses = []
    for step in range(6):
        optimizer.param_groups[0]["lr"] = schedule.rate(step, 1)
        assert optimizer.param_groups[0]["lr"] == pytest.approx(reference["lrs"][step])
        output = criterion(model, step_batch(reference, step))
        optimizer.zero_grad()
        (output.loss / output.sample_size).backward()
        optimizer.step()
        losses.append(float(output.loss.detach() / output.sample_size))
    np.testing.assert_allclose(losses, reference["losses"], atol=1e-4)
    weights = dict(model.named_parameters())
    for name, norm in zip(reference["after_norm_names"], reference["after_norms"]):
        if not name.endswith("k_proj.bias"):  # softmax ignores it: its gradient is rounding error, which Adam scales up
            assert weights[str(name)].norm().item() == pytest.approx(norm, rel=1e-4, abs=1e-5), name
    for key in (key for key in reference if key.startswith("after/")):
        np.testing.assert_allclose(weights[key.removeprefix("after/")].detach(), reference[key], atol=2e-4)
    check_validation(model.eval(), criterion.eval(), reference)


def build_optimizer(model: Any, options: dict[str, Any]) -> Any:
    from ecg_signals.registry import get_entry

    entry = get_entry("optimizer", "adamw")
    return entry.cls(model.param_groups(None), entry.dataclass.from_mapping(options))


def check_validation(model: Any, criterion: Any, reference: dict[str, Any]) -> None:
    batch = step_batch(reference, 0)
    del batch["net_input"]["mask_time_indices"]
    with torch.no_grad():
        output = criterion(model, batch)
    logs = {key: float(value) for key, value in output.logs.items()} | {
        "sample_size": float(output.sample_size),
        "batches": 1,
    }
    printed = criterion.metrics(logs, {})
    assert printed["loss"] * np.log(2) == pytest.approx(float(reference["val_loss"]), abs=1e-4)
    assert printed["masked_loss"] == pytest.approx(printed["loss"])
    assert printed["accuracy"] == pytest.approx(float(reference["val_accuracy"]), abs=1e-6)


def test_padded_frames_count_only_as_published(tiny: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = build("model", "hubert_ecg", **tiny).eval()
    padding = torch.zeros(2, 12, 500, dtype=torch.bool)
    padding[1, :, 200:] = True
    batch = {
        "net_input": {"source": torch.randn(2, 12, 500), "padding_mask": padding},
        "cluster_labels": torch.randint(5, (2, 2, 93)),
    }
    kept = int((~model(**batch["net_input"])["padding_mask"]).sum())
    assert float(build("criterion", "hubert_pretraining").eval()(model, batch).sample_size) == kept < 2 * 93
    assert (
        float(build("criterion", "hubert_pretraining", loss_on_padding=True).eval()(model, batch).sample_size) == 2 * 93
    )


def test_heads_that_do_not_fit_the_targets_are_named(tiny: dict[str, Any]) -> None:
    model, criterion = build("model", "hubert_ecg", **tiny), build("criterion", "hubert_pretraining")
    batch = {"net_input": {"source": torch.randn(2, 12, 500)}, "cluster_labels": torch.zeros(2, 1, 93)}
    with pytest.raises(ConfigError, match="1 cluster targets"):
        criterion(model, batch)
    with pytest.raises(ConfigError, match=r"set model.vocab_sizes=\[7,9\]"):
        criterion.prepare(model, SimpleNamespace(vocab_sizes=[7, 9]))
    criterion.prepare(model, SimpleNamespace(vocab_sizes=[7, 5]))
    with pytest.raises(ConfigError, match="alpha"):
        build("criterion", "hubert_pretraining", alpha=2)


def test_the_next_iteration_keeps_encoder_and_projections_with_new_clusters(
    golden: Path, load: Any, tmp_path: Path
) -> None:
    path = golden / "hubert_ecg/checkpoints/hubert_1_iteration_9_run0.pt"
    old = load(path)
    new = build("model", "hubert_ecg", model_path=str(path), vocab_sizes=[12])
    state = new.state_dict()
    with pytest.raises(ConfigError, match="choose the recipe of that size"):
        build("model", "hubert_ecg", model_path=str(path), hidden_size=512)
    assert new.cfg.hidden_size == 32 and new.cfg.classifier_proj_size == 16
    assert [tuple(table.weight.shape) for table in new.label_embedding] == [(12, 16)]
    for key, value in old.state_dict().items():
        if not key.startswith(("label_embedding", "final_proj.1")):
            assert torch.equal(state[key], value), key
