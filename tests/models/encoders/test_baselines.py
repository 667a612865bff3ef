"""The baselines of PTB-XL against the published programs' outputs, sizes and keys, and by symmetries."""

import json
import math

import numpy as np
import pytest
import torch
from published_baselines import fill, own_state, renamed

from ecg_signals.config import ConfigError
from ecg_signals.modules.s4 import S4Kernel, as_complex, doubled
from ecg_signals.registry import build

CONV = {"conv_kernel": [10, 4, 4, 4], "conv_stride": [2, 2, 2, 2]}
TINY_CPC = {"conv_dim": [16] * 4, "hidden_dim": 12}
TINY_S4 = {"hidden_dim": 8, "state_dim": 4, "num_layers": 2, "frames": 80}
CONCAT, WITH_LAST = {"pool": "max_mean", "head": "norm_mlp"}, {"pool": "mean_max_last", "head": "norm_mlp"}
LSTM = {"backward_end": "last"}
# fixture -> encoder, its options, the head's options, the head's key there and the place of its first batch norm
TINY = {
    "xresnet1d_tiny": ("xresnet1d", {"blocks": [2, 1, 2, 1], "width": 16}, CONCAT, "8.", 2),
    "xresnet1d_tiny_exp1": (
        "xresnet1d", {"blocks": [1, 2, 1, 1, 1], "expansion": 1, "width": 16, "stem": [8, 8, 64]}, CONCAT, "9.", 2,
    ),
    "inception1d_tiny": ("inception1d", {"bottleneck": 6, "filters": 5}, CONCAT, "layers.1.", 2),
    "resnet1d_wang_tiny": ("resnet1d_wang", {"width": 12}, CONCAT, "6.", 2),
    "fcn_wang_tiny": ("fcn_wang", {"filters": [8, 16, 8]}, CONCAT, "3.", 2),
    "lstm_tiny": ("lstm", {"hidden_dim": 9, **LSTM}, WITH_LAST, "5.", 1),
    "lstm_bidir_tiny": ("lstm_bidir", {"hidden_dim": 9, **LSTM}, WITH_LAST, "5.", 1),
    "cpc_fc_cls": ("fc_lstm", TINY_CPC, {**WITH_LAST, "hidden_size": 14}, "head.", 1),
    "cpc_fc_linear": ("fc_lstm", TINY_CPC, {"pool": "mean_max_last", "head": "linear"}, "head.", None),
    "cpc_conv_cls_nopool": (
        "fc_lstm", {**TINY_CPC, **CONV}, {"pool": "last", "head": "norm_mlp", "hidden_size": 14}, "head.", 0,
    ),
    "cpc_s4_cls": ("fc_lstm", {**TINY_CPC, **TINY_S4, "context": "s4"}, {"head": "linear"}, "head.", None),
    "s4_bidir": ("s4", TINY_S4, {"head": "linear"}, "decoder.", None),
    "s4_causal": ("s4", {**TINY_S4, "bidirectional": False}, {"head": "linear"}, "decoder.", None),
}  # fmt: skip
S4 = {"s4_bidir", "s4_causal", "cpc_s4_cls"}
BIG = {"hidden_size": 128}
FULL = {
    "xresnet1d50": ("xresnet1d", {}, {**CONCAT, **BIG}, "8.", 2),
    "xresnet1d101": ("xresnet1d", {"depth": 101}, {**CONCAT, **BIG}, "8.", 2),
    "inception1d": ("inception1d", {}, {**CONCAT, **BIG}, "layers.1.", 2),
    "resnet1d_wang": ("resnet1d_wang", {}, {**CONCAT, **BIG}, "6.", 2),
    "fcn_wang": ("fcn_wang", {}, {**CONCAT, **BIG}, "3.", 2),
    "lstm": ("lstm", {}, {**WITH_LAST, **BIG}, "5.", 1),
    "lstm_bidir": ("lstm_bidir", {}, {**WITH_LAST, **BIG}, "5.", 1),
    "cpc_4fc_2lstm_2fc": ("fc_lstm", {}, {**WITH_LAST, "hidden_size": 512}, "head.", 1),
    "cpc_4fc_2lstm_linear": ("fc_lstm", {}, {"pool": "mean_max_last"}, "head.", None),
    "cpc_4conv_2lstm_2fc": ("fc_lstm", CONV, {**WITH_LAST, "hidden_size": 512}, "head.", 1),
    "s4_bidirectional": ("s4", {}, {}, "decoder.", None),
    "s4_causal": ("s4", {"bidirectional": False}, {}, "decoder.", None),
    "cpc_s4_cls": ("fc_lstm", {"context": "s4", "num_layers": 4}, {}, "head.", None),
}
PRETRAINING = {
    "cpc_4fc_2lstm_pretrain": {},
    "cpc_4conv_2lstm_pretrain": CONV,
    "cpc_s4_pretrain": {"context": "s4", "num_layers": 4, "mlp": True},
}


def classifier(encoder, options, head, labels=7):
    head = {"hidden_size": 10, "activation": "relu", **head}
    return build(
        "model", "classifier", encoder={"_name": encoder, **options}, no_pretrained_weights=True, num_labels=labels,
        **head,
    )  # fmt: skip


@pytest.fixture(scope="module")
def fixtures(golden):
    folder = golden / "benchmarks"
    return {**np.load(folder / "models_tiny_ptbxl.npz"), **{  # x of the second file is another one
        "ssl_x" if key == "x" else key: value for key, value in np.load(folder / "models_tiny_ssl.npz").items()
    }}  # fmt: skip


def published(fixtures, name):
    return {key.partition("/sd/")[2]: value for key, value in fixtures.items() if key.startswith(f"{name}/sd/")}


def close(found, expected, s4=False):
    rtol, atol = (1e-3, 1e-3) if s4 else (1e-4, 1e-5)
    torch.testing.assert_close(found, torch.from_numpy(expected), rtol=rtol, atol=atol)


@pytest.mark.parametrize("name", TINY)
@torch.no_grad()
def test_published_weights_give_the_published_logits(fixtures, name):
    family, options, head, key, first = TINY[name]
    state = renamed(family.removesuffix("_bidir"), published(fixtures, name), key, first)
    model = fill(classifier(family, options, head), state)
    for x, y in [("x", "y"), ("x2", "y2")] if f"{name}/y2" in fixtures else [("ssl_x", "y")]:
        close(model(torch.from_numpy(fixtures[x]))["logits"], fixtures[f"{name}/{y}"], name in S4)


@pytest.mark.parametrize("name", ["s4_bidir", "s4_causal"])
@torch.no_grad()
def test_s4_has_the_published_kernel_and_takes_shorter_inputs_and_other_rates(fixtures, name):
    family, options, head, key, first = TINY[name]
    model = fill(classifier(family, options, head), renamed(family, published(fixtures, name), key, first))
    close(model.encoder.stack.layers[0].kernel(80), fixtures[f"{name}/K_layer0"], s4=True)
    source = torch.from_numpy(fixtures["ssl_x"])
    close(model(source[..., :60])["logits"], fixtures[f"{name}/y_len60"], s4=True)
    model.encoder.cfg.rate = 2.0
    close(model(source[..., ::2])["logits"], fixtures[f"{name}/y_rate2"], s4=True)
    features = model.encoder(source[..., ::2])["features"]
    model.encoder.cfg.rate = 1.0
    assert torch.equal(model.encoder(source[..., ::2], rate=2.0)["features"], features)


def shapes(golden, name):
    folder = golden / "benchmarks"
    return {**json.loads((folder / "shapes_ptbxl.json").read_text()),
            **json.loads((folder / "shapes_ssl.json").read_text())}[name]  # fmt: skip


def compare_sizes(model, found):
    own = {key: math.prod(value.shape) for key, value in own_state(model).items()}
    assert own == {key: math.prod(shape) for key, shape in found.items()}


def compare_shapes(model, found, expected):
    compare_sizes(model, found)
    assert sum(value.numel() for value in model.parameters()) == expected["n_params"]


@pytest.mark.parametrize("name", FULL)
def test_sizes_and_weights_are_those_of_the_published_models(golden, name):
    family, options, head, key, first = FULL[name]
    expected = shapes(golden, name)
    with torch.device("meta"):
        model = classifier(family, options, head, labels=71)
    found = renamed(family.removesuffix("_bidir"), {**expected["params"], **expected["buffers"]}, key, first)
    compare_shapes(model, found, expected)


@pytest.mark.parametrize("name", PRETRAINING)
def test_sizes_and_weights_of_pretraining_are_published_ones(golden, name):
    expected = shapes(golden, name)
    with torch.device("meta"):
        model = build("model", "cpc", **PRETRAINING[name])
    compare_shapes(model, renamed("fc_lstm", {**expected["params"], **expected["buffers"]}), expected)


@pytest.mark.parametrize("depth, parameters", [(18, 373_447), (34, 703_175), (152, 2_799_047)])
def test_the_other_depths_of_xresnet1d_have_the_published_sizes(depth, parameters):
    model = classifier("xresnet1d", {"depth": depth}, {**CONCAT, **BIG}, labels=71)
    assert sum(value.numel() for value in model.parameters()) == parameters


@pytest.mark.parametrize("name, parameters", [("lstm", 711_495), ("lstm_bidir", 1_806_663)])
def test_gru_cells_have_the_published_sizes(name, parameters):
    model = classifier(name, {"cell": "gru"}, {**WITH_LAST, **BIG}, labels=71)
    assert sum(value.numel() for value in model.parameters()) == parameters


def features_of(expected):
    """The encoder's sizes in a model of ecg-selfsupervised, whose layers are those of xresnet1d under `features`."""
    found = {**expected["params"], **expected["buffers"]}
    return {key.removeprefix("features."): size for key, size in found.items() if key.startswith("features.")}


@pytest.mark.parametrize("depth", [50, 101])
def test_the_xresnet_of_self_supervision_has_the_published_sizes(golden, depth):
    expected = shapes(golden, f"ecgresnet_xresnet1d{depth}")
    options = {"stem_bias": True, "depth": depth}
    with torch.device("meta"):
        model = classifier("xresnet1d", options, {"pool": "max_mean", "head": "norm_linear"}, labels=71)
    assert sum(value.numel() for value in model.parameters()) == expected["n_params"]
    compare_sizes(model.encoder, renamed("xresnet1d", features_of(expected)))


def test_simclr_on_xresnet_has_the_published_sizes(golden):
    expected = shapes(golden, "ssl_resnet_simclr_xresnet1d50_hidden_out16")
    with torch.device("meta"):
        model = build("model", "simclr", encoder={"_name": "xresnet1d", "stem_bias": True})
    assert sum(value.numel() for value in model.parameters()) == expected["n_params"] == 1_157_296
    compare_sizes(model.encoder, renamed("xresnet1d", features_of(expected)))


# ---------------------------------------------------------------------- symmetries and closed forms

SMALL = {
    "xresnet1d": {"blocks": [1, 1], "width": 4, "stem": [4, 4]},
    "inception1d": {"depth": 3, "filters": 3, "bottleneck": 2},
    "resnet1d_wang": {"width": 4},
    "fcn_wang": {"filters": [4, 4, 4]},
    "lstm": {"hidden_dim": 4},
    "lstm_bidir": {"hidden_dim": 4},
    "s4": TINY_S4,
    "fc_lstm": {"conv_dim": [4] * 4, "hidden_dim": 4, **CONV},
}


@pytest.mark.parametrize("name", SMALL)
@torch.no_grad()
def test_padding_does_not_change_a_record(name):
    torch.manual_seed(0)
    model = classifier(name, SMALL[name], {"pool": "mean_max_last"}).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d):
            module.bias.normal_()  # padding would show
    short, long = torch.randn(1, 12, 83), torch.randn(1, 12, 131)
    source = torch.cat([torch.nn.functional.pad(short, (0, 48), value=9.0), long])
    padding = torch.arange(131) >= torch.tensor([[83], [131]])
    found = model(source, padding_mask=padding)
    alone = model(short)
    torch.testing.assert_close(found["logits"][:1], alone["logits"])
    torch.testing.assert_close(found["logits"][1:], model(long)["logits"])
    frames = alone["features"].shape[1]
    torch.testing.assert_close(found["features"][:1, :frames], alone["features"])
    assert torch.equal((~found["padding_mask"]).sum(dim=1), torch.tensor([frames, found["features"].shape[1]]))


@pytest.mark.parametrize("name", SMALL)
def test_every_weight_of_an_encoder_belongs_to_a_part(name):
    model = classifier(name, SMALL[name], {"layer_decay": 0.5})
    assert all(model.depth(key) >= 0 for key, _ in model.named_parameters())


@torch.no_grad()
def test_what_a_backward_layer_reached_is_its_first_frame():
    model = build("model", "lstm", hidden_dim=4, num_layers=1, bidirectional=True)
    source = torch.randn(2, 12, 30)
    backwards = build("model", "lstm", hidden_dim=4, num_layers=1)
    reverse = {key.removesuffix("_reverse"): value for key, value in model.state_dict().items() if "_reverse" in key}
    backwards.load_state_dict(reverse)
    torch.testing.assert_close(model(source)["last"][:, 4:], backwards(source.flip(-1))["last"])


@torch.no_grad()
def test_the_kernel_of_s4_is_the_impulse_response_of_its_state_space_at_any_length():
    torch.manual_seed(3)
    kernel = S4Kernel(3, 6, frames=20, channels=2).double()
    w, b, p, q = (doubled(as_complex(value)).squeeze(0) for value in (kernel.w, kernel.B, kernel.P, kernel.Q))
    matrix = torch.diag_embed(w) - p[:, :, None] * q[:, None, :]
    dt, one = kernel.log_dt.exp()[:, None, None], torch.eye(6)
    left = torch.linalg.inv(one - dt / 2 * matrix)
    step, state = left @ (one + dt / 2 * matrix), left @ (dt * b[..., None])
    stored = doubled(as_complex(kernel.C))
    inverse = torch.linalg.inv(one - torch.linalg.matrix_power(step, 20))
    read = torch.einsum("chm,hmn->chn", stored, inverse)
    expected = []
    for _ in range(70):
        expected.append(torch.einsum("chn,hn->ch", read, state[..., 0]).real)
        state = step @ state
    torch.testing.assert_close(kernel(70), torch.stack(expected, dim=-1), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(kernel(20), kernel(70)[..., :20], rtol=1e-6, atol=1e-8)


@torch.no_grad()
def test_a_causal_s4_reads_nothing_that_comes_later():
    model = build("model", "s4", **{**TINY_S4, "bidirectional": False}).eval()
    source = torch.randn(1, 12, 150)
    shorter = model(source[..., :90])["features"]
    torch.testing.assert_close(model(source)["features"][:, :90], shorter, rtol=1e-4, atol=1e-5)


def test_weights_of_s4_keep_their_shapes_after_a_longer_input():
    model = build("model", "s4", **TINY_S4)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    model.eval()(torch.randn(1, 12, 400))
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    "name, options, message",
    [
        ("xresnet1d", {"kernel_size": 4}, "model.kernel_size=4; it must be odd"),
        ("xresnet1d", {"depth": 51}, "must be one of 18, 34, 50, 101, 152"),
        ("resnet1d_wang", {"kernel_size": [5]}, "set two numbers"),
        ("resnet1d_wang", {"kernel_size": [5, 4]}, r"model.kernel_size=\[5, 4\]; both must be odd"),
        ("resnet1d_wang", {"stem_kernel_size": 8}, "model.stem_kernel_size=8; it must be odd"),
        ("fcn_wang", {"filters": [4, 4]}, "give one kernel for each"),
        ("fc_lstm", {"conv_kernel": [1]}, "as many numbers"),
        ("s4", {"state_dim": 5}, "must be even"),
    ],
)
def test_sizes_that_do_not_fit_are_named(name, options, message):
    with pytest.raises(ConfigError, match=message):
        build("model", name, **options)


@pytest.mark.parametrize("name", SMALL)
def test_another_number_of_leads_is_named(name):
    with pytest.raises(ConfigError, match=r"expected \[batch, 12 leads, samples\]\. Set model\.in_d to 3"):
        build("model", name, **SMALL[name])(torch.zeros(1, 3, 100))
