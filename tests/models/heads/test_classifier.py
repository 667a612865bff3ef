"""`classifier`: any encoder, pool, head, freezing and rates, by closed forms and symmetries."""

import copy

import pytest
import torch
import torch.nn.functional as F

from ecg_signals.checkpoint.load import load_model
from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.metrics.logits import COSINES
from ecg_signals.modules.heads import make_head
from ecg_signals.modules.pooling import AttentivePool, pool_output
from ecg_signals.registry import build, get_entry
from ecg_signals.runtime.strategy import Strategy
from ecg_signals.signal.contract import SignalContract
from ecg_signals.trainer import Trainer
from ecg_signals.training.building import build_optimizer

TRANSFORMER = {
    "_name": "ecg_transformer", "encoder_layers": 2, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 2, "conv_feature_layers": "[(8, 4, 4)] * 2", "conv_pos": 8, "conv_pos_groups": 2,
}  # fmt: skip
ENCODERS = {
    "ecg_transformer": TRANSFORMER,
    "pre_norm": {**TRANSFORMER, "layer_norm_first": True},
    "hubert_ecg": {
        "_name": "hubert_ecg", "conv_dim": [8, 8], "conv_kernel": [10, 4], "conv_stride": [8, 4], "hidden_size": 16,
        "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2, "layerdrop": 0.0,
    },
    "nejedly2021resnet": {"_name": "nejedly2021resnet", "num_blocks": 2, "num_filters": 8},
    "leadwise": {"_name": "nejedly2021resnet", "num_blocks": 2, "num_filters": 8, "leadwise": True, "in_d": 1},
    "se_wrn": {"_name": "se_wrn", "num_blocks": 2, "num_filters": "[4, 8]", "ratio": 2},
    "st_mem": {
        "_name": "st_mem", "seq_len": 400, "patch_size": 50, "embed_dim": 16, "depth": 2, "num_heads": 2,
        "train_positions": True,
    },
    "mlae": {"_name": "mlae", "seq_len": 400, "embed_dim": 16, "depth": 2, "num_heads": 2, "train_positions": True},
    "convnet": {"_name": "convnet", "conv_feature_layers": "[(8, 5, 3), (8, 3, 2)]"},
}  # fmt: skip


def classifier(encoder=TRANSFORMER, **options):
    torch.manual_seed(0)
    return build("model", "classifier", encoder=encoder, no_pretrained_weights=True, num_labels=3, **options)


def frames(padded=0):
    torch.manual_seed(1)
    features = torch.randn(2, 7, 8)
    padding = torch.zeros(2, 7, dtype=torch.bool)
    padding[1, 7 - padded :] = True
    return features, padding if padded else None


# ---------------------------------------------------------------------- pools


@pytest.mark.parametrize("padded", [0, 3])
def test_pools_are_their_closed_forms_over_unpadded_frames(padded):
    features, padding = frames(padded)
    valid = [features[0], features[1, : 7 - padded]]
    output = {"features": features, "padding_mask": padding}
    mean, largest = torch.stack([x.mean(0) for x in valid]), torch.stack([x.amax(0) for x in valid])
    torch.testing.assert_close(pool_output(output, "mean"), mean)
    torch.testing.assert_close(pool_output(output, "max"), largest)
    torch.testing.assert_close(pool_output(output, "max_mean"), torch.cat([largest, mean], dim=1))
    features[0, :4, 2] = 0.0
    counted = torch.stack([x.sum(0) / (x != 0).sum(0) for x in valid])
    torch.testing.assert_close(pool_output(output, "nonzero"), counted)


def test_tokens_are_read_or_missed_by_name():
    features, _ = frames()
    registers = torch.stack([features[:, 0], -features[:, 0]], dim=1)
    output = {"features": features, "cls": torch.ones(2, 8), "registers": registers}
    assert torch.equal(pool_output(output, "cls"), torch.ones(2, 8))
    assert torch.equal(pool_output({**output, "pooled": torch.full((2, 8), 2.0)}, "own"), torch.full((2, 8), 2.0))
    assert torch.equal(pool_output(output, "register"), features[:, 0])
    with pytest.raises(ConfigError, match=r"model\.pool=cls, but this encoder gives no `cls`; set model\.pool=mean"):
        classifier(pool="cls")(torch.randn(2, 12, 400))


@torch.no_grad()
def test_attention_pools_alike_in_any_order_of_frames_and_never_sees_padding():
    features, padding = frames(3)
    pool = AttentivePool(8, 2)
    pool.query.mul_(50)
    pooled = pool(features, padding)
    torch.testing.assert_close(pooled[1:], pool(features[1:, :4], None))
    order = torch.tensor([2, 0, 3, 1, 4, 5, 6])
    torch.testing.assert_close(pool(features[:, order], padding), pooled)
    pool.query.zero_()  # every frame alike: the mean
    mean = torch.stack([features[0].mean(0), features[1, :4].mean(0)])
    torch.testing.assert_close(pool(features, padding), pool.out_proj(pool.v_proj(mean)))
    with pytest.raises(ConfigError, match=r"pool_heads=3 does not divide the 8"):
        AttentivePool(8, 3)


# ---------------------------------------------------------------------- heads


@torch.no_grad()
def test_heads_are_their_closed_forms():
    x = torch.randn(5, 8)
    head = make_head("linear", 8, 3, 4, "relu")
    torch.testing.assert_close(head(x), x @ head.weight.T + head.bias)
    head = make_head("mlp", 8, 3, 4, "relu")
    torch.testing.assert_close(head(x), head[2](head[0](x).clamp(min=0)))
    head = make_head("cosine", 8, 3, 4, "relu")
    torch.testing.assert_close(head(x), F.cosine_similarity(x[:, None], head.kernel[None], dim=-1))
    torch.testing.assert_close(head(2 * x), head(x))
    head = make_head("label_embedding", 8, 3, 4, "relu")
    torch.testing.assert_close(head(x), F.cosine_similarity(x[:, None], head.weight[None], dim=-1))


def test_a_cosine_head_says_what_its_logits_are():
    assert classifier(head="cosine").logit_kind == COSINES
    assert classifier(head="label_embedding").logit_kind is None


@torch.no_grad()
def test_it_is_the_old_classifier_where_both_can_be_it():
    old = build("model", "ecg_transformer_classifier", no_pretrained_weights=True, num_labels=3,
                **{key: value for key, value in TRANSFORMER.items() if key != "_name"}).eval()  # fmt: skip
    new = classifier().eval()
    assert list(new.state_dict()) == list(old.state_dict())
    new.load_state_dict(old.state_dict())
    source = torch.randn(2, 12, 400)
    assert torch.equal(new(source)["logits"], old(source)["logits"])


# ---------------------------------------------------------------------- encoders, freezing, rates


@pytest.mark.parametrize("name", ENCODERS)
def test_every_weight_of_every_encoder_has_one_part_and_its_rate(name):
    model = classifier(ENCODERS[name], layer_decay=0.5)
    parts = model.encoder.parts()
    depths = {key: model.depth(key) for key, _ in model.named_parameters()}
    assert set(depths.values()) == set(range(len(parts) + 1)) and depths["proj.weight"] == len(parts)
    assert model.encoder.dim == model.eval()(torch.randn(2, 12, 400))["features"].shape[-1]
    rates = {id(value): group["lr_scale"] for group in model.param_groups(None) for value in group["params"]}
    for key, value in model.named_parameters():
        assert rates[id(value)] == 0.5 ** (len(parts) - depths[key])


@pytest.mark.parametrize("name", ENCODERS)
def test_the_first_parts_never_train_and_never_change(name):
    model = classifier(ENCODERS[name], freeze_blocks=2)
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.param_groups(None), lr=0.1)
    model.train()(torch.randn(4, 12, 400))["logits"].square().sum().backward()
    optimizer.step()
    changed = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert changed and all(model.depth(key) >= 2 for key in changed)
    with pytest.raises(ConfigError, match=r"model\.freeze_blocks=9; this encoder has \d parts"):
        classifier(ENCODERS[name], freeze_blocks=9)


@pytest.mark.parametrize("name", ENCODERS)
def test_a_linear_probe_sees_the_encoder_as_in_inference(name):
    model = classifier(ENCODERS[name], freeze_encoder=True)
    source = torch.randn(4, 12, 400)
    with torch.no_grad():
        expected = model.eval()(source)["features"]
    output = model.train()(source)
    assert torch.equal(output["features"], expected) and not output["features"].requires_grad
    output["logits"].sum().backward()
    assert {key for key, value in model.named_parameters() if value.grad is not None} == {"proj.weight", "proj.bias"}
    assert [len(group["params"]) for group in model.param_groups(None)] == [2]


def test_a_frozen_encoder_that_runs_as_in_training_learns_statistics_and_no_weights():
    model = classifier(ENCODERS["nejedly2021resnet"], freeze_encoder=True, freeze_statistics=False)
    before = copy.deepcopy(model.encoder.state_dict())
    model.train()(torch.randn(4, 12, 400))["logits"].sum().backward()
    after = model.encoder.state_dict()
    changed = {key.rpartition(".")[2] for key, value in after.items() if not torch.equal(value, before[key])}
    assert changed == {"running_mean", "running_var", "num_batches_tracked"} and not model.encoder_fixed
    assert all(value.grad is None for value in model.encoder.parameters())


def test_head_and_halves_of_the_encoder_have_rates_of_their_own():
    model = classifier(TRANSFORMER, layer_decay=0.1, layer_groups=[])
    parts = len(model.encoder.parts())
    rates = {model.depth(name): model.lr_scale(name, None) for name, _ in model.named_parameters()}
    wanted = [0.01] * -(-parts // 2) + [0.1] * (parts // 2) + [1.0]
    assert [rates[depth] for depth in sorted(rates)] == pytest.approx(wanted)


@pytest.mark.parametrize("encoder, slowest, next_slowest", [
    ({"_name": "cropa_vit", "depth": 12, "dim": 8, "num_heads": 2}, "blocks.2.norm1.weight", "blocks.3.norm1.weight"),
    ({"_name": "net1d", "base_dim": 16, "dims": [16] * 7, "blocks": [1] * 7}, "stages.2.0.conv1.weight",
     "stages.3.0.conv1.weight"),
    ({"_name": "merl_resnet", "width": 2}, "stages.1.1.convs.0.0.weight", "stages.2.0.convs.0.0.weight"),
    ({"_name": "xresnet1d", "width": 4, "blocks": [1, 2, 1, 1]}, "stages.1.1.convs.0.0.weight",
     "stages.2.0.convs.0.0.weight"),
    ({"_name": "fc_lstm", "conv_dim": [8], "conv_kernel": [3], "conv_stride": [2], "hidden_dim": 8, "context": "s4",
      "context_proj": False}, "layers.0.0.weight", "context.norms.0.weight"),
    ({**TRANSFORMER, "encoder_layers": 12}, "encoder.layers.5.fc1.weight", "encoder.layers.6.fc1.weight"),
])  # fmt: skip
def test_a_familys_first_parts_learn_slowest_as_in_the_reference_comparison(encoder, slowest, next_slowest):
    model = classifier(encoder, layer_decay=0.1, layer_groups=[])
    rates = [model.lr_scale(f"encoder.{name}", None) for name in (slowest, next_slowest)]
    assert [*rates, model.lr_scale("proj.weight", None)] == pytest.approx([0.01, 0.1, 1.0])
    assert f"encoder.{slowest}" in model.state_dict() and f"encoder.{next_slowest}" in model.state_dict()


def test_the_reference_comparisons_query_begins_by_its_width():
    torch.manual_seed(0)
    model = classifier({"_name": "cropa_vit", "depth": 1, "dim": 768}, pool="attentive", pool_heads=16,
                       pool_query_std=None)  # fmt: skip
    assert model.pool.query.std().item() == pytest.approx(768**-0.5, rel=0.1)


def test_weight_decay_can_leave_out_biases_norms_and_embeddings():
    assert all("weight_decay" not in group for group in classifier().param_groups(None))
    model = classifier(decay_all=False, layer_decay=0.5)
    named = {id(value): key for key, value in model.named_parameters()}
    groups = model.param_groups(None)
    kept = {named[id(value)] for group in groups if "weight_decay" in group for value in group["params"]}
    assert all(group.get("weight_decay", 0.0) == 0.0 for group in groups)
    assert kept == {key for key, value in model.named_parameters() if value.dim() < 2}
    assert {"proj.bias", "encoder.layer_norm.weight"} <= kept
    assert sum(len(group["params"]) for group in groups) == len(named)


def test_a_head_tells_its_encoder_the_input_contract():
    model = classifier()
    assert model.signal is None and model.encoder.signal is None
    model.signal = SignalContract(leads=["II"])
    assert model.encoder.signal is model.signal


def test_only_the_head_trains_for_a_while():
    model = classifier(freeze_finetune_updates=2).train()
    for update in (0, 2):
        model.set_each("before_forward", update)
        model.zero_grad()
        model(torch.randn(2, 12, 400))["logits"].sum().backward()
        trained = {key.split(".")[0] for key, value in model.named_parameters() if value.grad is not None}
        assert trained == ({"proj"} if update < 2 else {"proj", "encoder"})


def test_what_the_encoder_masks_is_masked_in_training_alone():
    model = classifier({**TRANSFORMER, "apply_mask": True, "mask_prob": 0.5, "mask_length": 4, "dropout": 0.0,
                        "attention_dropout": 0.0})  # fmt: skip
    source = torch.randn(2, 12, 400)
    assert not torch.equal(model.train()(source)["features"], model.eval()(source)["features"])
    plain = classifier({**TRANSFORMER, "dropout": 0.0, "attention_dropout": 0.0})
    assert torch.equal(plain.train()(source)["features"], plain.eval()(source)["features"])


# ---------------------------------------------------------------------- options and files


def test_mistakes_in_its_options_are_named():
    with pytest.raises(ConfigError, match=r"set model\.model_path=FILE, or, for random weights, model\.encoder\._name"):
        build("model", "classifier", num_labels=3, no_pretrained_weights=True)
    with pytest.raises(UsageError, match=r"unknown key 'model\.encoder\.encoder_layer'; did you mean 'encoder_layers'"):
        classifier({"_name": "ecg_transformer", "encoder_layer": 2})
    with pytest.raises(UsageError, match="unknown model 'ecg_transformers'; did you mean 'ecg_transformer'"):
        classifier({"_name": "ecg_transformers"})


def test_an_encoder_that_is_still_to_be_named_is_an_error_when_it_is_built():
    config = resolve_config({"model": {"_name": "classifier", "num_labels": 3, "encoder": "???"}})
    with pytest.raises(ConfigError, match=r"model\.encoder has no value"):
        get_entry("model", "classifier").cls(config.model)


def test_keys_that_an_encoder_no_longer_has_are_dropped_from_stored_options():
    stored = {"_name": "classifier", "num_labels": 3, "encoder": {**TRANSFORMER, "gone_since": 1}}
    config = resolve_config({"model": stored, "criterion": None}, lenient=True)
    assert config.model.encoder.encoder_layers == 2
    with pytest.raises(UsageError, match="gone_since"):
        resolve_config({"model": stored})


def run(recipe, folder, model, updates, **checkpoint):
    recipe = {**copy.deepcopy(recipe), "model": {"_name": "classifier", "num_labels": 3, **model}}
    recipe["checkpoint"] = {"save_dir": str(folder), "save_interval_updates": 2, **checkpoint}
    recipe["criterion"] = {"_name": "binary_cross_entropy_with_logits"}
    recipe["optimization"] |= {"max_update": updates}
    trainer = Trainer(resolve_config(recipe))
    trainer.train()
    return trainer


def same(first, second):
    return all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())


def test_a_run_of_it_resumes_bit_by_bit_and_its_file_is_an_encoder_again(classification, tmp_path):
    model = {"encoder": TRANSFORMER, "no_pretrained_weights": True, "layer_decay": 0.7, "freeze_blocks": 1}
    whole = run(classification, tmp_path / "whole", model, 4)
    run(classification, tmp_path / "parts", model, 2)
    assert same(whole.model, run(classification, tmp_path / "parts", model, 4).model)
    path = tmp_path / "parts" / "checkpoint_last.pt"
    assert same(load_model(path), whole.model)
    seen = load_model(path, encoder={"saliency": True})
    assert same(seen, whole.model) and seen(torch.randn(2, 12, 2500))["saliency"].shape[:2] == (2, 2)
    tuned = run(classification, tmp_path / "tuned", {"model_path": str(path), "pool": "max", "head": "mlp"}, 1)
    assert tuned.model.cfg.encoder.encoder_layers == 2 and tuned.model.signal == whole.model.signal
    old = build("model", "ecg_transformer_classifier", model_path=str(path), num_labels=5)
    assert same(old.encoder, whole.model.encoder)
    again = build("model", "classifier", model_path=str(path), num_labels=5, encoder={"dropout": 0.3})
    assert again.cfg.encoder.dropout == 0.3 and same(again.encoder, whole.model.encoder)
    with pytest.raises(ConfigError, match=r"model\.encoder\.encoder_layers=3, but the encoder of .* has 2"):
        build("model", "classifier", model_path=str(path), num_labels=5, encoder={"encoder_layers": 3})
    with pytest.raises(ConfigError, match=r"task\.normalize=false"):
        build("model", "classifier", model_path=str(path), num_labels=5, normalize=True)
    with pytest.raises(ConfigError, match=r"holds a model 'classifier', whose encoder this model cannot use"):
        build("model", "classifier", model_path=str(path), num_labels=5, encoder={"_name": "se_wrn"})


def test_a_criterion_learns_at_the_recipes_rate_whatever_the_encoder_does(classification):
    options = {"_name": "classifier", "encoder": TRANSFORMER, "no_pretrained_weights": True, "num_labels": 3}
    config = resolve_config({**classification, "model": {**options, "layer_decay": 0.5}})
    model, criterion = build("model", options.pop("_name"), **options, layer_decay=0.5), torch.nn.Linear(2, 2)
    strategy = Strategy(config.distributed_training, torch.device("cpu"))
    groups = build_optimizer(config, model, criterion, strategy, 1)[1].optimizer.param_groups
    assert [group["lr_scale"] for group in groups if any(p is criterion.weight for p in group["params"])] == [1.0]


def test_a_classifier_on_an_unknown_encoder_is_named(classification, tmp_path):
    run(classification, tmp_path, {"encoder": TRANSFORMER, "no_pretrained_weights": True}, 1)
    path = tmp_path / "checkpoint_last.pt"
    stored = torch.load(path, weights_only=True)
    for options in (stored["cfg"]["model"], stored["extra_state"]["ecg_signals"]["options"]["model"]):
        options["encoder"]["_name"] = "slow_target"
    torch.save(stored, path)
    with pytest.raises(ConfigError, match=rf"{path}.*unknown model 'slow_target'.*--user-dir PATH"):
        load_model(path)


def test_another_encoder_option_is_another_run(classification, tmp_path):
    model = {"encoder": TRANSFORMER, "no_pretrained_weights": True}
    run(classification, tmp_path, model, 2)
    with pytest.raises(ConfigError, match=r"model\.encoder\.dropout=0\.1 \(now 0\.2\)"):
        run(classification, tmp_path, {**model, "encoder": {**TRANSFORMER, "dropout": 0.2}}, 4)


@pytest.mark.parametrize("file", ["wcr/w2v_cmsc/checkpoint.pt", "hubert_ecg/checkpoints/finetune_mlp.pt",
                                  "hubert_ecg/checkpoints/hubert_1_iteration_9_run0.pt"])  # fmt: skip
@torch.no_grad()
def test_published_encoders_come_from_their_files(golden, file):
    stored = load_model(golden / file)
    model = build("model", "classifier", model_path=str(golden / file), num_labels=3, pool="attentive").eval()
    source = torch.randn(2, 12, 1600)
    features = getattr(stored, "hubert_ecg", stored)(source)["features"]
    assert torch.equal(model(source)["features"], features) and model.signal == stored.signal
    assert not any("masked_spec_embed" in key or "quantizer" in key for key in model.state_dict())
