"""ST-MEM, MTAE and MLAE against their project's outputs, and what its code does not do."""

import json

import numpy as np
import pytest
import torch

from ecg_signals import load_model
from ecg_signals.config import ConfigError
from ecg_signals.interop.st_mem.names import from_state, to_state
from ecg_signals.registry import build
from ecg_signals.runtime.strategy import Strategy
from ecg_signals.sections import Config
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS
from ecg_signals.training.building import build_optimizer

NAMES = ("st_mem", "mtae", "mlae")
SMALL = {"embed_dim": 384, "num_heads": 6}
TINY = {"seq_len": 40, "patch_size": 10, "embed_dim": 16, "depth": 2, "num_heads": 2, "head_dim": 8, "mlp_ratio": 2}
same = torch.testing.assert_close


@pytest.fixture(scope="module")
def folder(golden):
    return golden / "st_mem"


def arrays(path):
    return {key: torch.from_numpy(value) for key, value in np.load(path).items() if value.dtype.kind in "fiu"}


def weights(path):
    return torch.load(path, weights_only=True)["model"]


def pretrained(folder, name, **options):
    """The model that `init.pth` holds, which says nothing but its weights."""
    model = load_model(folder / f"{name}_tiny" / "checkpoint-0.pth", **options)
    model.load_state_dict(from_state(weights(folder / f"{name}_tiny" / "init.pth")))
    return model


def loss(model, source, noise, **options):
    out = build("criterion", "mae", **options)(model, {"net_input": {"source": source, "noise": noise}})
    return out.loss / out.sample_size


def made(name, **options):
    torch.manual_seed(0)
    model = build("model", name, **{**TINY, **({"patch_size": 1} if name == "mlae" else {}), **options})
    with torch.no_grad():
        for value in model.parameters():
            value.add_(0.1 * torch.randn_like(value))
    return model.eval()


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_masks_predictions_losses_and_latents_equal_the_projects(name, folder):
    model, stored = pretrained(folder, name), arrays(folder / f"{name}_tiny" / "forward.npz")
    source, noise = stored["series"], stored["noise"]
    output = model(source, mask=True, noise=noise)
    assert torch.equal(output["mask"].reshape(noise.shape), stored["mask"].bool())
    same(output["prediction"].reshape(stored["pred"].shape), stored["pred"], atol=1e-5, rtol=1e-5)
    same(output["target"][0, :2], stored["patchified_0"], atol=0, rtol=0)
    ends = 1 if name != "st_mem" else 2
    latent = stored["latent"].unflatten(1, (12 if ends == 2 else 1, -1))
    same(output["features"], latent[:, :, 1 : latent.shape[2] - (ends - 1)].flatten(1, 2), atol=1e-5, rtol=1e-5)
    for key, options in (("loss_norm_pix", {}), ("loss_raw", {"norm_pix_loss": False})):
        same(loss(model, source, noise, **options), stored[key], atol=1e-5, rtol=1e-5)
    for ratio in (0.5, 0.25):
        other = pretrained(folder, name, mask_ratio=ratio)
        same(loss(other, source, noise), stored[f"loss_norm_pix_ratio_{ratio}"], atol=1e-5, rtol=1e-5)
    whole = stored["latent_ratio_0"].unflatten(1, (12 if ends == 2 else 1, -1))
    whole = whole[:, :, 1 : whole.shape[2] - (ends - 1)].flatten(1, 2)
    same(model(source)["features"], whole, atol=1e-5, rtol=1e-5)
    nothing = pretrained(folder, name, mask_ratio=0.0)(source, mask=True, noise=noise)
    same(nothing["features"], whole, atol=1e-5, rtol=1e-5)
    assert not nothing["mask"].any() and torch.isfinite(nothing["prediction"]).all()


@pytest.mark.parametrize("name", NAMES)
def test_gradients_and_three_updates_equal_the_projects(name, folder):
    log = json.loads((folder / f"{name}_tiny/train_log.json").read_text())
    noises = arrays(folder / f"{name}_tiny/train_noise.npz")
    source = arrays(folder / f"{name}_tiny/forward.npz")["series"]
    model = pretrained(folder, name, decay_all=True).train()
    config = Config(model=model.cfg)
    config.optimizer = build_section("optimizer", "adamw", adam_betas=log["betas"], weight_decay=log["weight_decay"])
    config.lr_scheduler = build_section("lr_scheduler", "fixed")
    strategy = Strategy(config.distributed_training, torch.device("cpu"))
    optimizer = build_optimizer(config, model, torch.nn.Identity(), strategy, 1)[1].optimizer
    assert len(optimizer.param_groups) == 1
    for step in log["steps"]:
        optimizer.param_groups[0]["lr"] = step["lr"]
        optimizer.zero_grad()
        found = loss(model, source, noises[f"noise_step{step['step']}"])
        found.backward()
        assert float(found.detach()) == pytest.approx(step["loss"], abs=1e-5)
        if step["step"] == 1:
            check_gradients(model, torch.load(folder / f"{name}_tiny/grads_step1.pth", weights_only=True))
        optimizer.step()
    expected = weights(folder / f"{name}_tiny/checkpoint-0.pth")
    for key, value in to_state(model.state_dict()).items():
        same(value, expected[key], atol=1e-5, rtol=1e-5)


def build_section(kind, name, **options):
    from ecg_signals.registry import get_entry

    return get_entry(kind, name).dataclass.from_mapping({"_name": name, **options})


def check_gradients(model, stored):
    found = to_state({key: value.grad for key, value in model.named_parameters() if value.grad is not None})
    assert set(stored) <= set(found)
    for key, value in stored.items():
        same(found[key], value, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_what_a_head_reads_equals_the_projects(name, folder):
    model = load_model(folder / f"{name}_tiny/encoder.pth")
    stored = arrays(folder / f"{name}_tiny/downstream.npz")
    crops = stored["crops"]
    output = model(crops.flatten(0, 1))
    same(output["pooled"].unflatten(0, (2, 3)), stored["representation"], atol=1e-5, rtol=1e-5)
    if name != "st_mem":
        assert torch.equal(output["cls"], output["pooled"])
    if "short_len" in stored:
        short = crops[:, 0, :, : int(stored["short_len"])]
        same(model(short)["pooled"], stored["short_representation"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", ["base", "small"])
@pytest.mark.parametrize("name", NAMES)
def test_sizes_and_keys_are_the_projects(name, size, folder):
    stored = json.loads((folder / "state_dict_vit_base.json").read_text())
    with torch.device("meta"):
        model = build("model", name, **(SMALL if size == "small" else {}))
        prefix = {"mtae": ""}.get(name, f"{name}_")
        head = build("model", "classifier", encoder={"_name": name, "train_positions": True,
                     **(SMALL if size == "small" else {})}, no_pretrained_weights=True, num_labels=5)  # fmt: skip
    factory = f"{name}_vit_{size}_dec256d4b"
    counts, own = stored["parameters"][factory], dict(model.named_parameters())
    trained = {key: value.numel() for key, value in own.items() if value.requires_grad}
    assert sum(value.numel() for value in own.values()) == counts["total"]
    assert sum(trained.values()) == counts["trainable"]
    assert sum(value for key, value in trained.items() if key.startswith("decoder.")) == counts["decoder_trainable"]
    assert len(to_state(model.state_dict())) == counts["state_dict_entries"]
    downstream = f"{prefix}vit_{size} (num_classes=5)"
    expected = stored["parameters"][downstream]
    assert sum(value.numel() for value in head.parameters()) == expected["total"] == expected["trainable"]
    assert all(value.requires_grad for value in head.parameters())
    if size == "base":
        for made, key in ((model.state_dict(), factory), (head.state_dict(), downstream)):
            made = to_state({key.removeprefix("encoder."): value for key, value in made.items()})
            found = [[key, list(value.shape), "float32"] for key, value in made.items()]
            assert found == stored["state_dicts"][key]


# ---------------------------------------------------------------------- fewer leads


@torch.no_grad()
def test_fewer_leads_are_found_by_name_and_published_files_took_the_first(folder):
    path, stored = folder / "st_mem_tiny/encoder.pth", arrays(folder / "st_mem_tiny/downstream.npz")
    source = stored["crops"][:, 0]
    model = load_model(path)
    for count in (1, 6):
        model.signal.leads = list(LEADS[:count])
        same(model(source[:, :count])["pooled"], stored[f"representation_first_{count}_leads"], atol=1e-5, rtol=1e-5)
    model.signal.leads = ["II"]
    own, lead = model(source[:, 1:2])["pooled"], model.lead_embedding.clone()
    first = load_model(path, lead_vectors="first")
    first.signal.leads = ["II"]
    assert not torch.allclose(first(source[:, 1:2])["pooled"], own)
    first.lead_embedding[0] = lead[1]
    same(first(source[:, 1:2])["pooled"], own)
    model.signal = None
    with pytest.raises(ConfigError, match=r"source has 3 leads, but the model has 12 .* and no input contract"):
        model(source[:, :3])


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_the_order_of_leads_does_not_matter_where_the_contract_names_them(name):
    model, source = made(name), torch.randn(2, 12, 40)
    whole = model(source)
    order = [4, 2, 11, 0, 1, 3, 5, 10, 9, 8, 7, 6]
    model.signal = SignalContract(leads=[LEADS[row] for row in order])
    same(model(source[:, order])["pooled"], whole["pooled"])


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_lead_is_left_out_or_zero_and_never_told(name):
    model, source = made(name), torch.randn(2, 12, 40)
    leads = [0, 1, 6, 8, 9]
    model.signal = SignalContract(leads=[LEADS[row] for row in leads])
    masked = model(source[:, leads], mask=True)
    tokens = {"st_mem": 5 * 4, "mtae": 4, "mlae": 5}[name]
    assert masked["mask"].shape == (2, tokens) and model(source[:, leads])["features"].shape[1] == tokens
    absent = source.clone()
    absent[:, [row for row in range(12) if row not in leads]] = 0
    if name == "mtae":
        whole = made(name)(absent)["pooled"]
        same(model(source[:, leads])["pooled"], whole)
        assert torch.equal(masked["target"].unflatten(-1, (10, 12))[..., 2], torch.zeros(2, 4, 10))


# ---------------------------------------------------------------------- masking and padding


@pytest.mark.parametrize("name", NAMES)
def test_tokens_of_padding_change_nothing_and_have_no_loss(name):
    model, source = made(name), torch.randn(2, 12, 40)
    padding = torch.zeros(2, 12, 40, dtype=torch.bool)
    padding[1, :, 20:] = True
    padded = source.masked_fill(padding, 0.0)
    output, noisy = model(padded, padding), model(padded + padding * 5.0, padding)
    if name == "mlae":  # a token is a lead, none of which is padding throughout
        assert not output["padding_mask"].any()
        return
    same(output["pooled"], noisy["pooled"])
    same(output["pooled"][1:], model(padded[1:, :, :20])["pooled"])
    assert output["padding_mask"].sum() == (24 if name == "st_mem" else 2)
    removed = model(padded, padding, mask=True)["mask"].unflatten(1, (-1, 4))
    assert not removed[1, :, 2:].any() and removed[0].sum() == removed[0].shape[0] * 3


@pytest.mark.parametrize("name", NAMES)
def test_as_many_tokens_are_removed_as_the_ratio_says_in_every_group(name):
    for ratio, kept in ((0.75, 1), (0.5, 2), (0.4, 2), (1.0, 0)):
        model = made(name, mask_ratio=ratio)
        groups = model(torch.randn(2, 12, 40), mask=True)["mask"].unflatten(1, (-1, 12 if name == "mlae" else 4))
        wanted = int(groups.shape[-1] * (1 - ratio))
        assert torch.equal((~groups).sum(dim=-1), torch.full(groups.shape[:2], wanted))
        assert name == "mlae" or wanted == kept


def test_hidden_states_begin_with_the_input_of_the_first_block_and_end_before_the_norm():
    for name in NAMES:
        model = made(name)
        output = model.extract_features(torch.randn(2, 12, 40), layers="all")
        assert len(output["hidden_states"]) == 3
        same(model.norm(output["hidden_states"][-1]), output["features"])
        assert {state.shape for state in output["hidden_states"]} == {output["features"].shape}


def test_a_run_that_would_learn_nothing_or_lacks_its_targets_is_refused():
    data = type("Data", (), {"cfg": type("Options", (), {"keep_original": False})()})()
    with pytest.raises(ConfigError, match=r"model\.mask_ratio=0 removes no token"):
        build("criterion", "mae").prepare(made("mtae", mask_ratio=0.0), data)
    with pytest.raises(ConfigError, match=r"set dataset\.keep_original=true"):
        build("criterion", "mae", clean_target=True).prepare(made("mtae"), data)
    with pytest.raises(ConfigError, match=r"set model\.decoder=true"):
        made("mtae", decoder=False)(torch.randn(1, 12, 40), mask=True)


MISFITS = [
    ("st_mem", "patch_size", 7),
    ("mlae", "patch_size", 5),
    ("mtae", "embed_dim", 15),
    ("mtae", "leads", ["I", "i"]),
]


@pytest.mark.parametrize(("name", "key", "value"), MISFITS)
def test_sizes_that_do_not_fit_are_named(name, key, value):
    with pytest.raises(ConfigError, match=rf"model\.{key}="):
        made(name, **{key: value})


@torch.no_grad()
def test_lead_masking_changes_targets_unless_they_are_clean(folder):
    stored = arrays(folder / "mtae_rlm/rlm.npz")
    model = pretrained(folder, "mtae")
    batch = {"net_input": {"source": stored["series_after_rlm"], "noise": stored["noise"]}}
    out = build("criterion", "mae")(model, batch)
    same(out.loss / out.sample_size, stored["loss"], atol=1e-5, rtol=1e-5)
    clean = build("criterion", "mae", clean_target=True)(model, {**batch, "original": stored["series"]})
    told = model(**batch["net_input"], mask=True, target=stored["series"])
    target, removed = told["target"], told["mask"]
    target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6).sqrt()
    same(clean.loss, ((told["prediction"] - target) ** 2).mean(-1)[removed].sum(), atol=1e-4, rtol=1e-5)
    assert not torch.allclose(clean.loss, out.loss)


def test_weight_decay_leaves_vectors_alone_unless_told_and_positions_stay_as_they_are():
    for name in NAMES:
        model = made(name)
        decayed, free = (group["params"] for group in sorted(model.param_groups(None), key=lambda one: len(one)))
        named = {id(value): key for key, value in model.named_parameters()}
        assert all(value.dim() > 1 and "_embedding" not in named[id(value)] for value in decayed)
        assert {"decoder.mask_embedding", model.end} <= {named[id(value)] for value in free}
        assert not {"pos_embedding", "decoder.pos_embedding"} & {named[id(value)] for value in [*decayed, *free]}


def test_positions_train_under_a_head_only_when_told():
    for told in (False, True):
        encoder = {**TINY, "_name": "st_mem", "train_positions": told}
        head = build("model", "classifier", encoder=encoder, num_labels=2, no_pretrained_weights=True, pool="own")
        fixed = {key for key, value in head.named_parameters() if not value.requires_grad}
        assert fixed == (set() if told else {"encoder.pos_embedding"})
