"""`classifier` on the target encoder: the published heads, their three steps, and what fine-tuning adds."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml
from jepa_golden import arrays

from ecg_signals import configs
from ecg_signals.checkpoint.initialise import begin_model
from ecg_signals.config import ConfigError
from ecg_signals.interop.ecg_jepa.names import classifier_options, classifier_state, published_state
from ecg_signals.models.encoders.vit import Vit
from ecg_signals.registry import build, get_entry

HEADS = ["attn_pool_frozen", "attn_pool_no_register", "register_fc", "mean_pool_fc_bias"]


@pytest.fixture
def folder(golden: Path) -> Path:
    return golden / "jepa"


def published_head(folder: Path, name: str, weights: str = "") -> dict[str, Any]:
    found = torch.load(folder / "classifier" / f"head_{name}{weights}.pt", weights_only=True)
    return found.get("head", found)


def head_on(folder: Path, name: str, checkpoint: str = "tiny_a/chkpt_4.pt") -> Any:
    """A published head on the encoder of a pretraining checkpoint, built as a recipe builds it."""
    pretrained = torch.load(folder / checkpoint, weights_only=True)
    config, prefix = pretrained["config"], "target_encoder."
    stored = json.loads((folder / "classifier" / "classifier.json").read_text())[name]
    encoder = {key.removeprefix("target_"): value for key, value in pretrained["model"].items() if prefix in key}
    head = published_head(folder, name)
    options = classifier_options(config, stored["eval_config"], {**encoder, **head})
    options["encoder"] = {"_name": "vit"}  # the sizes come from the file
    entry = get_entry("model", "classifier")
    options |= {"_name": "classifier", "model_path": str(folder / checkpoint)}
    cfg = entry.dataclass.from_mapping(options)
    model = begin_model(cfg)
    state = classifier_state(head, config["num_heads"])
    model.load_state_dict({**model.state_dict(), **state})
    return model, stored


@torch.no_grad()
@pytest.mark.parametrize("name", HEADS)
def test_every_published_head_gives_the_published_logits(name: str, folder: Path):
    model, stored = head_on(folder, name)
    inputs = arrays(folder / "classifier" / "classifier.npz")
    logits = model.eval()(inputs["x"].float())["logits"]
    torch.testing.assert_close(logits, inputs[f"{name}_logits"], rtol=0, atol=1e-5)
    trains = sum(value.numel() for value in model.parameters() if value.requires_grad)
    assert trains == stored["trainable"]
    if name == "register_fc":
        loss = F.cross_entropy(logits, inputs["onehot_targets"])
        assert float(loss) == pytest.approx(float(inputs["onehot_ce_loss"]), abs=1e-5)


def test_three_steps_of_the_frozen_head_are_the_published_ones(folder: Path):
    model, _ = head_on(folder, "attn_pool_frozen")
    inputs = arrays(folder / "classifier" / "classifier.npz")
    options = {"lr": [1e-3], "weight_decay": 0.1, "adam_betas": (0.9, 0.999), "adam_eps": 1e-8}
    entry = get_entry("optimizer", "adamw")
    groups = model.param_groups(None)
    assert [len(group["params"]) for group in groups] == [1, 4] and groups[0]["weight_decay"] == 0.0
    optimizer = entry.cls(groups, entry.dataclass(**options))
    model.train()
    for wanted in inputs["linear_losses"]:
        optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(model(inputs["x"].float())["logits"], inputs["linear_targets"])
        assert float(loss.detach()) == pytest.approx(float(wanted), abs=1e-6)
        loss.backward()
        torch.nn.utils.clip_grad_norm_([value for value in model.parameters() if value.requires_grad], 1.0)
        optimizer.step()
    after, state = classifier_state(published_head(folder, "attn_pool_frozen", "_after3"), 4), model.state_dict()
    for key, value in after.items():
        torch.testing.assert_close(state[key], value, rtol=0, atol=1e-5, msg=key)


@pytest.mark.parametrize("size", ["xs", "s", "b"])
def test_the_heads_of_the_recipes_have_the_published_shapes_and_counts(size: str, folder: Path):
    stored = json.loads((folder / f"state_dict_vit_{size}.json").read_text())
    known = Vit.__annotations__["cfg"].__dataclass_fields__
    encoder = {key: value for key, value in stored["model_config"].items() if key in known}
    for name, wanted in stored["classifier"].items():
        recipe = name.partition("/")[0]
        options = {**recipe_model("linear"), **recipe_model(recipe), "encoder": {"_name": "vit", **encoder}}
        options |= {"model_path": None, "no_pretrained_weights": True}
        options["num_labels"] = [*wanted["head"].values()][-1][0]
        with torch.device("meta"):
            model = build("model", options.pop("_name"), **options)
        head = {key: value for key, value in model.state_dict().items() if not key.startswith("encoder.")}
        found = {key: list(value.shape) for key, value in published_state(head, model.cfg.pool == "attentive").items()}
        assert found == wanted["head"], name
        trainable = sum(value.numel() for value in model.parameters() if value.requires_grad)
        assert trainable == wanted["trainable"]
        assert sum(value.numel() for value in model.parameters()) == wanted["total"]


def recipe_model(name: str) -> dict[str, Any]:
    return yaml.safe_load((Path(configs.__path__[0]) / "jepa" / f"{name}.yaml").read_text())["model"]


def test_a_head_starts_from_full_minified_and_fine_tuned_files_alike(folder: Path):
    full, minified = (head_on(folder, "register_fc", f"tiny_a/chkpt_4{ending}")[0] for ending in (".pt", ".min.pt"))
    state = minified.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in full.state_dict().items())
    published = torch.load(folder / "tiny_a/chkpt_4.pt", weights_only=True)["model"]
    key = "blocks.1.attn.qkv.weight"
    assert torch.equal(full.encoder.get_parameter(key), published[f"target_encoder.{key}"])
    tuned = folder / "finetune_eval" / "linear__superdiagnostic_best_chkpt.pt"
    cfg = get_entry("model", "classifier").dataclass.from_mapping(
        {"_name": "classifier", "model_path": str(tuned), "num_labels": 3}
    )
    found = begin_model(cfg)
    stored = torch.load(tuned, weights_only=True)["model"]
    assert torch.equal(found.encoder.get_parameter(key), stored[f"encoder.{key}"])


def test_fine_tuning_may_add_registers_and_layer_scale_to_an_encoder_without(folder: Path, tmp_path: Path):
    raw = torch.load(folder / "tiny_a" / "chkpt_4.min.pt", weights_only=True)
    raw["model"].pop("target_encoder.registers")
    torch.save({**raw, "config": {**raw["config"], "num_registers": 0}}, tmp_path / "plain.pt")
    options = {"_name": "classifier", "model_path": str(tmp_path / "plain.pt"), "num_labels": 2, "pool": "register"}
    entry = get_entry("model", "classifier").dataclass
    encoder = {"_name": "vit", "num_registers": 1, "layer_scale_eps": 0.1, "dropout": 0.05}
    model = begin_model(entry.from_mapping({**options, "encoder": encoder}))
    assert model.encoder.registers.shape == (1, 1, 24)
    assert float(model.encoder.blocks[1].attn_ls.weight[0].detach()) == pytest.approx(0.1)
    assert model.encoder.blocks[0].mlp.dropout.p == 0.05
    assert model(torch.randn(2, 12, 1250))["logits"].shape == (2, 2)
    plain = begin_model(entry.from_mapping({**options, "pool": "mean"}))  # as the file has it
    assert plain.encoder.registers is None
    with pytest.raises(ConfigError, match=r"gives no `registers`; set model\.pool=mean"):
        begin_model(entry.from_mapping(options))(torch.randn(2, 12, 1250))


@torch.no_grad()
def test_a_query_that_reads_registers_never_sees_padding():
    torch.manual_seed(0)
    encoder = {"_name": "vit", "in_d": 2, "patch_size": 10, "dim": 16, "depth": 1, "num_heads": 2, "num_registers": 2}
    options = {"encoder": encoder, "pool": "attentive", "pool_heads": 2, "pool_registers": True, "num_labels": 3}
    model = build("model", "classifier", **options, no_pretrained_weights=True, pool_query_proj=True).eval()
    source, padding = torch.randn(2, 2, 100), torch.zeros(2, 100, dtype=torch.bool)
    padding[0, 60:] = True
    padded, alone = model(source, padding_mask=padding)["logits"], model(source[:1, :, :60])["logits"]
    torch.testing.assert_close(padded[:1], alone)
    options["encoder"] = {**encoder, "num_registers": 0}
    with pytest.raises(ConfigError, match=r"model\.pool_registers=true"):
        build("model", "classifier", **options, no_pretrained_weights=True)(source)


def test_heads_without_biases_and_of_a_vision_transformers_start():
    encoder = {"_name": "vit", "dim": 64, "depth": 1, "num_heads": 2, "num_registers": 1}
    options = {"encoder": encoder, "num_labels": 200, "pool": "attentive", "no_pretrained_weights": True}
    torch.manual_seed(0)
    model = build("model", "classifier", **options, head_bias=False, pool_bias=False, pool_out_proj=False,
                  head_init="truncated")  # fmt: skip
    assert not [name for name, _ in model.named_parameters() if name.endswith("bias") and "encoder" not in name]
    assert model.proj.weight.detach().std() == pytest.approx(0.02, rel=0.05)
    mlp = build("model", "classifier", **options, head="mlp", head_bias=False)
    assert not [name for name, _ in mlp.proj.named_parameters() if name.endswith("bias")]


def test_every_block_is_a_part_and_registers_are_of_the_first():
    encoder = {"_name": "vit", "dim": 16, "depth": 3, "num_heads": 2, "num_registers": 1}
    model = build("model", "classifier", encoder=encoder, num_labels=2, no_pretrained_weights=True, freeze_blocks=2)
    depths = {name: model.depth(name) for name, _ in model.named_parameters()}
    assert depths["encoder.registers"] == depths["encoder.patch_embed.proj.weight"] == 0
    assert depths["encoder.norm.weight"] == 3 and set(depths.values()) == {0, 1, 2, 3, 4}
    trains = {name for name, value in model.named_parameters() if value.requires_grad}
    assert "encoder.blocks.0.norm1.weight" not in trains and "encoder.blocks.1.norm1.weight" in trains
