"""`vit`, `jepa` and its criterion: the published numbers of forward passes, gradients, steps and schedules."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from jepa_golden import Tiny, arrays

from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.models.jepa.jepa import Jepa
from ecg_signals.registry import build, get_entry
from ecg_signals.runtime.strategy import Strategy
from ecg_signals.training.building import build_optimizer

SMALL = {
    "in_d": 2, "patch_size": 10, "dim": 16, "depth": 2, "num_heads": 2, "num_registers": 1, "pred_dim": 8,
    "pred_depth": 1, "pred_num_heads": 2, "min_block_size": 2,
}  # fmt: skip


@pytest.fixture(params=["tiny_a", "tiny_b"])
def tiny(request: pytest.FixtureRequest, golden: Path) -> Tiny:
    return Tiny(golden / "jepa" / request.param)


def jepa(**options: Any) -> Jepa:
    torch.manual_seed(0)
    return build("model", "jepa", **{**SMALL, **options})


def recipe_of(config: dict[str, Any], model: dict[str, Any]) -> Any:
    """A published config as a recipe of ours."""
    sections = {
        "task": {"_name": "ecg_pretraining", "data": "unread"}, "criterion": {"_name": "jepa"},
        "dataset": {"_name": "ecg_file", "batch_size": config["batch_size"]}, "model": model,
        "optimization": {"max_update": config["steps"], "lr": [config["learning_rate"]]},
        "optimizer": {
            "_name": "adamw", "adam_betas": tuple(config["opt_betas"]), "adam_eps": config["opt_eps"],
            "weight_decay": config["weight_decay"],
        },
        "lr_scheduler": {
            "_name": "warmup_cosine", "warmup_updates": config["learning_rate_warmup_steps"], "warmup_init_lr": 1e-6,
            "min_lr": config["final_learning_rate"],
        },
    }  # fmt: skip
    return resolve_config(sections)


# ---------------------------------------------------------------------- against the published program


@torch.no_grad()
def test_encoders_and_predictor_give_the_published_outputs(tiny: Tiny):
    model, stored = tiny.model(), arrays(tiny.folder / "forward.npz")
    batch = tiny.batch(stored)["net_input"]
    output = model(**batch, mask=True)
    close = {
        "target_full": output["features"], "target_masked": output["target"], "predictor_out": output["predicted"],
        "encoder_full": model.encoder(batch["source"])["features"],
        "encoder_short": model.encoder(batch["source"][..., : int(stored["short_len"])])["features"],
        "encoder_full_with_registers": model.encoder.states(batch["source"])[-1],
        "encoder_context": model.encoder.states(batch["source"], visible=batch["mask_encoder"])[-1],
        "pos_embed_encoder": model.encoder.positions(output["features"].shape[1])[None],
    }  # fmt: skip
    count = tiny.config["num_registers"]
    close["encoder_context"] = close["encoder_context"][:, count:]
    for key, value in close.items():
        torch.testing.assert_close(value, stored[key], rtol=0, atol=5e-6, msg=key)
    torch.testing.assert_close(model.encoder(batch["source"])["pooled"], close["encoder_full_with_registers"][:, 0])
    found = build("criterion", "jepa")(model, tiny.batch(stored))
    assert float(found.loss) / found.sample_size == pytest.approx(float(stored["loss_l1"]), abs=1e-6)


def test_training_takes_the_published_steps_by_our_optimizer_schedules_and_hooks(tiny: Tiny):
    """Loss, gradients, rates, decays, momenta, clipping and weights, before and after the last step."""
    config, freq = tiny.config, tiny.config["gradient_accumulation_steps"]
    model, inputs = tiny.model(), arrays(tiny.folder / "train_inputs.npz")
    recipe, criterion = recipe_of(config, {"_name": "jepa", **model.cfg.to_dict()}), build("criterion", "jepa")
    strategy = Strategy(recipe.distributed_training, torch.device("cpu"))
    _, trained = build_optimizer(recipe, model, criterion, strategy, 1)
    names = {id(value): name for name, value in model.named_parameters()}
    groups = [[names[id(value)] for value in group["params"]] for group in trained.optimizer.param_groups]
    assert groups == [tiny.log["decay_params"], tiny.log["no_decay_params"]]
    model.train()
    for step, wanted in enumerate(tiny.log["steps"]):
        model.set_each("before_forward", step)
        trained.optimizer.zero_grad()
        outputs = [criterion(model, tiny.batch(inputs, step * freq + k)) for k in range(freq)]
        (sum(one.loss for one in outputs) / sum(one.sample_size for one in outputs)).backward()
        loss = sum(float(one.loss.detach()) for one in outputs) / sum(one.sample_size for one in outputs)
        assert loss == pytest.approx(wanted["loss"], abs=1e-6)
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config["gradient_clip"] or float("inf"))
        if wanted.get("grad_norm_before_clip"):
            assert float(norm) == pytest.approx(wanted["grad_norm_before_clip"], abs=1e-6)
        if step == 0:
            for key, grad in tiny.file("grads_step1.pt").items():
                torch.testing.assert_close(model.get_parameter(key).grad, grad, rtol=0, atol=1e-6, msg=key)
        model.set_each("before_update", step, trained.optimizer)
        for group in trained.optimizer.param_groups:
            group["lr"] = trained.schedule.rate(step, 1)
        assert group["lr"] == pytest.approx(wanted["lr"], abs=1e-12)
        decays = [group["weight_decay"] for group in trained.optimizer.param_groups]
        assert decays == pytest.approx(wanted["weight_decay_groups"], abs=1e-12)
        trained.optimizer.step()
        model.set_each("after_update", step + 1)
        if step == 0:
            check_weights(model, tiny.file("after_step1.pt"))
    check_weights(model, tiny.file(f"chkpt_{tiny.steps}.pt")["model"])
    outputs, source = arrays(tiny.folder / "final_outputs.npz"), inputs["x_0"].float()
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(source)["features"], outputs["target_full"], rtol=0, atol=2e-5)


def check_weights(model: Jepa, stored: dict[str, Any]) -> None:
    state = model.state_dict()
    for key, value in stored.get("model", stored).items():
        torch.testing.assert_close(state[key], value, rtol=0, atol=1e-5, msg=key)


def test_schedules_are_the_published_ones(golden: Path):
    stored = json.loads((golden / "jepa" / "schedules.json").read_text())
    settings = {
        "pretrain_default": (1e-3, 1e-6, 10000, 100000), "linear": (1e-3, 1e-3, 0, 5000),
        "finetune_after_linear": (1e-4, 1e-6, 200, 5000), "finetune": (1e-3, 1e-5, 200, 10000),
    }  # fmt: skip
    for name, (peak, last, warmup, steps) in settings.items():
        schedule = build(
            "lr_scheduler", "warmup_cosine", lr=[peak], min_lr=last, warmup_init_lr=1e-6, warmup_updates=warmup,
            max_update=steps,
        )  # fmt: skip
        found = {int(step): schedule.rate(int(step), 1) for step in stored[name]["lr"]}
        assert found == pytest.approx({int(step): rate for step, rate in stored[name]["lr"].items()}, abs=1e-12)
    model = jepa(weight_decay=0.01, final_weight_decay=0.1, max_update=100000)
    for key, schedule in (("weight_decay", model.weight_decay), ("momentum", model.momentum)):
        wanted = {int(step): value for step, value in stored["pretrain_default"][key].items()}
        assert {step: schedule(step) for step in wanted} == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("size", ["xs", "s", "b"])
def test_every_size_has_the_published_keys_shapes_and_counts(size: str, golden: Path):
    stored = json.loads((golden / "jepa" / f"state_dict_vit_{size}.json").read_text())
    known = Jepa.__annotations__["cfg"].__dataclass_fields__
    options = {key: value for key, value in stored["model_config"].items() if key in known}
    with torch.device("meta"):
        model = build("model", "jepa", **options)
        older = build("model", "jepa", **options, norm_bias=True)
    state = [[key, list(value.shape), str(value.dtype).removeprefix("torch.")] for key, value in
             model.state_dict().items()]  # fmt: skip
    assert state == [list(row) for row in stored["state_dict"]]
    count = {name: sum(value.numel() for value in part.parameters()) for name, part in model.named_children()}
    assert count == {key: value for key, value in stored["parameters"].items() if key in count} and len(count) == 3
    trainable = sum(value.numel() for value in model.parameters() if value.requires_grad)
    assert trainable == stored["parameters"]["trainable"]
    groups, names = model.param_groups(None), {id(value): name for name, value in model.named_parameters()}
    for group, key in zip(groups, ("decay", "no_decay")):
        assert [names[id(value)] for value in group["params"]] == stored["optimizer_param_order"][key]
    extra = set(older.state_dict()) - set(model.state_dict())
    assert {key for key in extra if key.startswith("encoder.")} == {
        key for key in stored["legacy_extra_keys_ce8d436"] if key.startswith("encoder.")
    }


# ---------------------------------------------------------------------- the encoder


def vit(**options: Any) -> Any:
    torch.manual_seed(0)
    chosen = {key: value for key, value in SMALL.items() if key in ("in_d", "patch_size", "dim", "depth", "num_heads")}
    return build("model", "vit", **{**chosen, **options}).eval()


@torch.no_grad()
def test_the_encoder_without_masking_is_the_target_encoder():
    model, source = jepa().eval(), torch.randn(2, 2, 100)
    model.encoder.registers.add_(1)  # tells the two apart
    assert torch.equal(model(source)["features"], model.target_encoder(source)["features"])
    assert not torch.equal(model(source)["features"], model.encoder(source)["features"])


@torch.no_grad()
@pytest.mark.parametrize("registers", [0, 1, 3])
def test_features_leave_registers_out_and_pooled_is_the_first_of_them(registers: int):
    model, source = vit(num_registers=registers), torch.randn(2, 2, 105)
    output = model.extract_features(source, layers="all")
    assert output["features"].shape == (2, 10, 16) and len(output["hidden_states"]) == 3
    assert all(state.shape == (2, 10, 16) for state in output["hidden_states"])
    assert torch.equal(output["hidden_states"][-1], output["features"])
    assert ("registers" in output) == (registers > 0)
    expected = output["registers"][:, 0] if registers else output["features"].mean(dim=1)
    torch.testing.assert_close(output["pooled"], expected)
    torch.testing.assert_close(model(source[..., :100])["features"], output["features"])  # a rest is not seen


@torch.no_grad()
def test_padding_is_not_attended_to_and_an_item_of_padding_alone_stays_finite():
    model, source = vit(num_registers=1), torch.randn(2, 2, 100)
    padding = torch.zeros(2, 2, 100, dtype=torch.bool)
    padding[0, :, 63:] = True  # the seventh patch holds samples
    output = model(source, padding_mask=padding)
    assert output["padding_mask"].tolist() == [[False] * 7 + [True] * 3, [False] * 10]
    torch.testing.assert_close(output["features"][0, :7], model(source[:1, :, :70])["features"][0])
    torch.testing.assert_close(output["features"][1], model(source)["features"][1])
    alone = vit()(source, padding_mask=torch.ones(2, 100, dtype=torch.bool))
    assert alone["features"].isfinite().all() and alone["pooled"].isfinite().all()


@torch.no_grad()
def test_an_input_longer_than_any_before_has_places_of_its_own():
    model, source = vit(patch_size=1), torch.randn(1, 2, 700)
    assert model(source)["features"].shape == (1, 700, 16)
    assert torch.equal(model.positions(700)[:512], vit().positions(512))


def test_two_initialisations_are_on_offer():
    small, wide = vit(dim=64), vit(dim=64, init="xavier")
    assert small.blocks[0].mlp.fc1.weight.detach().std() == pytest.approx(0.02, rel=0.05)
    assert small.blocks[0].mlp.fc2.weight.detach().std() == pytest.approx(0.02 / 2, rel=0.05)  # sqrt(2 * 2 blocks)
    bound = (6 / (64 + 256)) ** 0.5
    assert 0.9 * bound < wide.blocks[0].mlp.fc2.weight.abs().max() <= bound


def test_nothing_is_dropped_out_in_evaluation():
    model, source = vit(dropout=0.5, attn_dropout=0.5, num_registers=1), torch.randn(2, 2, 100)
    assert torch.equal(model(source)["features"], model(source)["features"])
    assert not torch.equal(model.train()(source)["features"], model(source)["features"])


@pytest.mark.parametrize(
    ("options", "said"),
    [({"num_heads": 3}, r"model\.dim=16 with model\.num_heads=3"), ({"dim": 9, "num_heads": 3}, "even multiple")],
)
def test_widths_that_do_not_fit_are_named(options: dict[str, Any], said: str):
    with pytest.raises(ConfigError, match=said):
        vit(**options)


def test_a_wrong_number_of_leads_says_what_to_set():
    with pytest.raises(ConfigError, match=r"shape \[1, 3, 100\].*2 leads.*model\.in_d=3"):
        vit()(torch.randn(1, 3, 100))


# ---------------------------------------------------------------------- the objective


def test_predictions_see_no_masked_sample():
    model, source = jepa().eval(), torch.randn(1, 2, 100)
    visible, masked = torch.tensor([[0, 4]]), torch.tensor([[1, 2, 3, 5, 6, 7, 8, 9]])
    other = source.clone()
    other[..., 10:40] = 9
    first, second = (model(x, mask=True, mask_encoder=visible, mask_predictor=masked) for x in (source, other))
    assert torch.equal(first["predicted"], second["predicted"]) and not torch.equal(first["target"], second["target"])


def test_masks_that_do_not_name_every_patch_once_are_refused():
    with pytest.raises(ConfigError, match="each of the 10 patches"):
        jepa()(torch.randn(1, 2, 100), mask=True, mask_encoder=torch.tensor([[0]]), mask_predictor=torch.tensor([[1]]))


@pytest.mark.parametrize("order", ["rows_at_once", "published"])
def test_masks_follow_from_torchs_generator(order: str):
    model, source = jepa(mask_order=order), torch.randn(4, 2, 300)
    draws = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        draws.append(model.masks(source, None, None)[0])
    assert torch.equal(draws[0], draws[1])
    assert draws[0].shape != draws[2].shape or not torch.equal(draws[0], draws[2])


def test_the_target_follows_once_per_update_or_before_every_batch_as_published():
    """Momentum 0.5 then: after two batches and one update of +1 on a weight of 0."""
    for when, wanted in (("after_update", 0.5), ("before_forward", 0.75)):
        model = jepa(target_update=when, encoder_momentum=0.5, final_encoder_momentum=0.5).train()
        with torch.no_grad():
            for encoder in (model.encoder, model.target_encoder):
                encoder.registers.zero_()
            model.encoder.registers.add_(1)  # as if by an update before this one
        for _ in range(2):
            model(torch.randn(1, 2, 100), mask=True)
        model.set_each("after_update", 1)
        torch.testing.assert_close(model.target_encoder.registers, torch.full((1, 1, 16), wanted))
        before = copy.deepcopy(model.target_encoder.state_dict())
        model.eval()(torch.randn(1, 2, 100), mask=True)  # validation moves nothing
        assert all(torch.equal(value, before[key]) for key, value in model.target_encoder.state_dict().items())


def test_the_count_of_batches_travels_with_the_training_state():
    model = jepa(target_update="before_forward").train()
    model(torch.randn(1, 2, 100), mask=True)
    other = jepa(target_update="before_forward")
    other.load_training_state(model.training_state(None), None)
    assert other.passes == model.passes == 1


def test_the_target_encoder_neither_learns_nor_drops_out():
    model = jepa(dropout=0.5).train()
    source = torch.randn(2, 2, 100)
    output = model(source, mask=True)
    assert torch.equal(output["features"], model(source, mask=True)["features"])
    output["predicted"].sum().backward()
    assert all(value.grad is None for value in model.target_encoder.parameters())
    assert all(value.grad is not None for part in (model.encoder, model.predictor) for value in part.parameters())


def test_the_loss_of_a_batch_is_that_of_its_items_and_padding_does_not_count():
    model, criterion = jepa().eval(), build("criterion", "jepa")
    source, padding = torch.randn(2, 2, 100), torch.zeros(2, 100, dtype=torch.bool)
    padding[1, 70:] = True
    masks = {"mask_encoder": torch.tensor([[0, 1], [0, 1]]), "mask_predictor": torch.arange(2, 10).expand(2, -1)}
    together = criterion(model, {"net_input": {"source": source, "padding_mask": padding, **masks}})
    assert together.sample_size == 2
    output = model(source, padding, mask=True, **masks)
    wanted = F.l1_loss(output["predicted"][0], output["target"][0])
    wanted = wanted + F.l1_loss(output["predicted"][1, :5], output["target"][1, :5])
    torch.testing.assert_close(together.loss, wanted)


def test_a_collapse_shows_in_the_spread_of_the_features():
    model, criterion = jepa().eval(), build("criterion", "jepa")
    batch = {"net_input": {"source": torch.randn(4, 2, 100)}}

    def printed() -> dict[str, float]:
        found = criterion(model, batch)
        logs = {**found.logs, "sample_size": found.sample_size, "batches": 1.0}
        return criterion.metrics({key: float(value) for key, value in logs.items()}, {})

    before = printed()
    assert before["target_std"] > 0.1 and before["predicted_std"] > 0 and before["l1"] > 0
    with torch.no_grad():
        model.target_encoder.norm.weight.zero_()
    assert printed()["target_std"] == pytest.approx(0, abs=1e-6)


def test_options_of_schedules_follow_the_recipe():
    sections = {
        "task": {"_name": "ecg_pretraining", "data": "unread"}, "model": {"_name": "jepa"},
        "criterion": {"_name": "jepa"}, "optimizer": {"_name": "adamw", "weight_decay": 0.07},
        "lr_scheduler": {"_name": "warmup_cosine"}, "optimization": {"max_update": 77},
        "dataset": {"_name": "ecg_file"},
    }  # fmt: skip
    config = resolve_config(sections)
    assert (config.model.weight_decay, config.model.max_update, config.lr_scheduler.max_update) == (0.07, 77, 77)
    assert get_entry("criterion", "jepa").cls.dataset == "jepa_dump"
