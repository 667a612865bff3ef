"""Values of options that no stored output covers: hubert_ecg, arcface, the residual CNNs and convnet.

HuBERT-ECG's encoder is a HubertModel of transformers, the others are compared with their formulas written out.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ecg_signals.config import ConfigError
from ecg_signals.criteria.arcface import add_margin
from ecg_signals.registry import build

same = torch.testing.assert_close
HUBERT = {
    "conv_dim": [6, 8],
    "conv_kernel": [5, 3],
    "conv_stride": [3, 2],
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 24,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}
QUIET = {"hidden_dropout": 0.0, "activation_dropout": 0.0, "attention_dropout": 0.0, "layerdrop": 0.0}
FUNCTIONS = {
    "gelu": lambda x: x * (1 + torch.erf(x / 2**0.5)) / 2,
    "relu": lambda x: x.clamp(min=0),
    "tanh": torch.tanh,
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
}


@torch.no_grad()
def shaken(model):
    """The model in eval mode, every weight and statistic away from its first value."""
    generator = torch.Generator().manual_seed(1)
    for parameter in model.parameters():
        parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator) + (parameter.dim() == 1) * 0.5)
    for name, buffer in model.named_buffers():
        if name.endswith(("running_mean", "running_var")):
            buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return model.eval()


def hubert(**options):
    return shaken(build("model", "hubert_ecg", **{**HUBERT, "vocab_sizes": [], **options}))


def classifier(**options):
    return shaken(build("model", "hubert_ecg_classifier", **{**HUBERT, "num_labels": 3, **options}))


def signal(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2))


@pytest.mark.parametrize(
    "options",
    [
        {},
        *({"feat_extract_activation": name} for name in ("gelu", "relu", "tanh", "sigmoid", "silu")),
        *({"hidden_act": name} for name in ("relu", "tanh", "sigmoid", "silu")),
        *({"feat_extract_norm": norm, "conv_bias": bias} for norm in ("group", "layer") for bias in (False, True)),
        {"feat_proj_layer_norm": False},
        {"do_stable_layer_norm": True},
        {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True, "layer_norm_eps": 0.1},
        {"layer_norm_eps": 0.1},
        *({"num_conv_pos_embeddings": width} for width in (1, 2, 7, 64, 65)),
        *({"num_conv_pos_embedding_groups": groups} for groups in (1, 16)),
        *({"num_attention_heads": heads} for heads in (1, 16)),
        {"num_hidden_layers": 1, "intermediate_size": 5, "hidden_size": 32},
        {"conv_dim": [4], "conv_kernel": [7], "conv_stride": [7]},
        {"conv_dim": [4, 5, 6], "conv_kernel": [10, 1, 4], "conv_stride": [4, 1, 3]},
    ],
    ids=str,
)
@torch.no_grad()
def test_the_encoder_is_transformers_hubert_for_every_value_of_its_options(options):
    hf = pytest.importorskip("transformers.models.hubert.modeling_hubert")
    model = hubert(**options)
    kwargs = {**HUBERT, **options}
    config = hf.HubertConfig(**kwargs, num_feat_extract_layers=len(kwargs["conv_dim"]), attn_implementation="eager")
    other = hf.HubertModel(config).eval()
    state = dict(model.state_dict())
    other.load_state_dict(state)
    source = signal(2, 3, 100)
    same(model(source)["features"], other(source.flatten(1)).last_hidden_state, rtol=1e-4, atol=2e-5)
    padding = torch.zeros(2, 3, 100, dtype=torch.bool)
    padding[1, 2] = padding[1, 1, 50:] = True  # the end of the stream
    model.cfg.frame_mask = "count"
    ours = model(source, padding)
    theirs = other(source.flatten(1), attention_mask=(~padding).flatten(1).long()).last_hidden_state
    valid = ~ours["padding_mask"]
    assert (~valid).sum() > 0 and not (~valid[0]).any()
    same(ours["features"][valid], theirs[valid], rtol=1e-4, atol=2e-5)
    same(ours["pooled"][1], theirs[1][valid[1]].mean(0), rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("prob", [0.0, 0.1, 0.5, 1.0])
@pytest.mark.parametrize("length", [1, 4, 40])
@pytest.mark.parametrize("least", [0, 2, 1000])
def test_masks_are_transformers_for_every_share_length_and_least_number(prob, length, least):
    hf = pytest.importorskip("transformers.models.hubert.modeling_hubert")
    model = hubert(mask_time_prob=prob, mask_time_length=length, mask_time_min_masks=least)
    source = torch.zeros(3, 3, 100)
    frames = model(source)["features"].shape[1]
    torch.manual_seed(5)
    found = model.draw_mask(source)
    torch.manual_seed(5)
    np.random.seed(int(torch.randint(2**31, ())))
    wanted = hf._compute_mask_indices((3, frames), prob, length, min_masks=least)
    assert found.tolist() == wanted.tolist()
    if prob == 0.0 and least == 0:
        assert not found.any()
    if length == 1 and (prob == 1.0 or least == 1000):
        assert found.all()


@torch.no_grad()
def test_a_stream_is_masked_by_one_vector_after_the_projection():
    model = hubert(mask_time_prob=1.0)
    one, other = (model(x, mask=True)["features"] for x in (signal(1, 3, 100), torch.zeros(1, 3, 100)))
    same(one, other)
    model = hubert(masked_spec_embed=False)
    assert "masked_spec_embed" not in model.state_dict()
    with pytest.raises(ConfigError, match=r"model\.masked_spec_embed=true"):
        model(signal(1, 3, 100), mask=True)


@pytest.mark.parametrize("length", [0, -1])
def test_a_masked_span_without_a_frame_is_refused(length):
    with pytest.raises(ConfigError, match=f"model.mask_time_length={length}"):
        hubert(mask_time_length=length)


@torch.no_grad()
def test_a_span_without_a_frame_is_nothing_where_nothing_is_masked():
    model = hubert(mask_time_length=0, mask_time_prob=0.0, mask_time_min_masks=0)
    source = signal(2, 3, 100)
    output = model(source, mask=True)
    assert not output["mask_time_indices"].any()
    same(output["features"], model(source)["features"])


@pytest.mark.parametrize("stable", [False, True])
@torch.no_grad()
def test_layerdrop_of_1_skips_every_block_in_training_and_0_none(stable):
    source = signal(2, 3, 100)
    model = hubert(**{**QUIET, "layerdrop": 1.0}, do_stable_layer_norm=stable)
    first = model.extract_features(source, layers=0)["features"]
    normed = model.encoder.layer_norm(first) if stable else first
    evaluated = model(source)["features"]
    same(model.train()(source)["features"], normed)
    assert not torch.allclose(evaluated, normed)
    model = hubert(**QUIET, do_stable_layer_norm=stable)
    same(model(source)["features"], model.train()(source)["features"])


@pytest.mark.parametrize("name", ["feat_proj_dropout", "hidden_dropout", "activation_dropout", "attention_dropout"])
@torch.no_grad()
def test_a_dropout_of_1_leaves_what_the_biases_give(name):
    source = signal(2, 3, 100)
    model = hubert(**{**QUIET, name: 1.0}).train()
    silent = hubert(**QUIET)
    if name == "hidden_dropout":  # nothing but the norms' biases goes through the blocks
        norms = silent.encoder.layers[-1]
        x = torch.zeros(2, 49, 16)
        for block in silent.encoder.layers:
            x = block.final_layer_norm(block.layer_norm(x))
        assert norms is block
    else:
        if name == "feat_proj_dropout":
            silent.feature_projection.projection.weight.zero_()
            silent.feature_projection.projection.bias.zero_()
        for block in silent.encoder.layers:
            if name == "activation_dropout":
                block.feed_forward.output_dense.weight.zero_()
            if name == "attention_dropout":
                block.attention.out_proj.weight.zero_()
        x = silent(source)["features"]
    same(model(source)["features"], x)


@pytest.mark.parametrize("spread", [0.0, 0.02, 0.5])
def test_initializer_range_is_the_spread_of_the_encoders_linear_weights_alone(spread):
    torch.manual_seed(0)
    options = {**HUBERT, "hidden_size": 64, "intermediate_size": 64}
    model = build("model", "hubert_ecg", **options, initializer_range=spread)
    weights = torch.cat([block.attention.q_proj.weight.flatten() for block in model.encoder.layers])
    assert float(weights.detach().std()) == pytest.approx(spread, rel=0.05)
    assert not model.encoder.layers[0].feed_forward.output_dense.bias.any()
    assert float(model.label_embedding[0].weight.detach().std()) == pytest.approx(1.0, rel=0.05)
    assert float(model.final_proj[0].weight.detach().abs().max()) == pytest.approx(1 / 8, rel=0.01)  # 1 / sqrt(64)


@pytest.mark.parametrize("sizes", [[], [1], [5, 2, 9]])
@pytest.mark.parametrize("width", [1, 6])
@torch.no_grad()
def test_every_head_gives_ten_times_the_cosine_with_each_of_its_clusters(sizes, width):
    model = hubert(vocab_sizes=sizes, classifier_proj_size=width)
    output = model(signal(2, 3, 100), heads=True)
    assert [logits.shape[-1] for logits in output["cluster_logits"]] == sizes
    for head, logits in enumerate(output["cluster_logits"]):
        projected = model.final_proj[head](output["features"])[..., None, :]
        same(logits, 10 * F.cosine_similarity(projected, model.label_embedding[head].weight, dim=-1))
        assert width > 1 or (logits.abs() - 10).abs().max() < 1e-4


@pytest.mark.parametrize("kernels, strides", [([5, 3], [3, 2]), ([4, 1], [4, 1]), ([2, 6], [5, 3])])
@torch.no_grad()
def test_frame_mask_receptive_field_marks_the_frames_that_padding_changes_and_count_those_past_the_end(
    kernels, strides
):
    options = {"conv_kernel": kernels, "conv_stride": strides, "feat_extract_norm": "layer"}
    padding = torch.zeros(1, 3, 100, dtype=torch.bool)
    padding[0, 0, :20] = padding[0, 1, 37:61] = padding[0, 2, 99:] = True
    source = signal(1, 3, 100)
    model = hubert(**options, frame_mask="receptive_field")
    differs = (model.frames(source) != model.frames(torch.where(padding, source + 5, source))).any(dim=-1)
    assert model(source, padding)["padding_mask"].tolist() == differs.tolist()
    same(model(source, padding)["pooled"][0], model(source, padding)["features"][0][~differs[0]].mean(0))
    kept = 300 - int(padding.sum())
    for kernel, stride in zip(kernels, strides):
        kept = (kept - kernel) // stride + 1
    marked = hubert(**options, frame_mask="count")(source, padding)["padding_mask"]
    assert marked[0].tolist() == [frame >= kept for frame in range(marked.shape[1])]


@pytest.mark.parametrize("labels", [1, 4])
@torch.no_grad()
def test_the_three_heads_of_the_classifier_are_their_formulas(labels):
    source = signal(2, 3, 100)
    model = classifier(num_labels=labels)
    output = model(source)
    same(output["pooled"], output["features"].mean(1))
    same(output["logits"], output["pooled"] @ model.classifier.weight.T + model.classifier.bias)
    for name, function in FUNCTIONS.items():
        model = classifier(num_labels=labels, classifier_hidden_size=5, activation=name)
        output, (first, _, last) = model(source), model.classifier
        hidden = function(output["pooled"] @ first.weight.T + first.bias)
        assert hidden.shape == (2, 5)
        same(output["logits"], hidden @ last.weight.T + last.bias)
    model = classifier(num_labels=labels, use_label_embedding=True, classifier_hidden_size=5)
    output = model(source)
    wanted = F.cosine_similarity(output["pooled"][:, None], model.label_embedding.weight[None], dim=-1)
    same(output["logits"], wanted)
    model.label_embedding.weight[0] = 7 * output["pooled"][0]
    same(model(source)["logits"][0, 0], torch.tensor(1.0))


@pytest.mark.parametrize("head", [{}, {"classifier_hidden_size": 5}, {"use_label_embedding": True}])
@torch.no_grad()
def test_classifier_dropout_of_1_shows_the_head_nothing_and_0_all(head):
    source = signal(2, 3, 100)
    model = classifier(**QUIET, **head, classifier_dropout_prob=1.0).train()
    same(model(source)["logits"], model.eval().classify(torch.zeros(2, 16)))
    model = classifier(**QUIET, **head, classifier_dropout_prob=0.0)
    same(model(source)["logits"], model.train()(source)["logits"])


@pytest.mark.parametrize("blocks", [None, 0, 1, 3, 9])
@pytest.mark.parametrize("convolutions", [False, True])
@pytest.mark.parametrize("steps", [0, 4])
def test_what_trains_is_head_and_projection_then_the_last_blocks_and_the_convolutions_if_asked(
    blocks, convolutions, steps
):
    model = classifier(transformer_blocks_to_unfreeze=blocks, unfreeze_conv_embedder=convolutions, freezing_steps=steps)
    optimised = {id(p) for group in model.param_groups(None) for p in group["params"]}
    always = ["classifier.", "hubert_ecg.feature_projection."]
    later = [*always, *(f"hubert_ecg.encoder.layers.{i}." for i in range(max(0, 3 - (blocks or 0)), 3))]
    later += ["hubert_ecg.feature_extractor."] * convolutions
    later = later if blocks is not None else [*always, "hubert_ecg.feature_extractor.", "hubert_ecg.encoder."]
    for update in (0, 3, 4, 5):
        model.before_forward(update)
        parts = tuple(always if update < steps else later)
        for name, parameter in model.named_parameters():
            assert parameter.requires_grad == name.startswith(parts), (update, name)
            assert (id(parameter) in optimised) == name.startswith(tuple(later)), name


@pytest.mark.parametrize("layers", [2, 4, 6])
@pytest.mark.parametrize("lr", [1e-5, 3e-3])
def test_layer_wise_rates_are_1e7th_below_the_last_four_blocks_the_rate_in_them_and_1e5th_in_the_head(layers, lr):
    model = classifier(num_hidden_layers=layers, layer_wise_lr=True)
    cfg = SimpleNamespace(optimization=SimpleNamespace(lr=[lr]))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    rates = {names[id(p)]: group["lr_scale"] * lr for group in model.param_groups(cfg) for p in group["params"]}
    assert set(names.values()) - set(rates) == {"hubert_ecg.masked_spec_embed"}
    fast = tuple(f"hubert_ecg.encoder.layers.{i}." for i in range(max(0, layers - 4), layers))
    for name, rate in rates.items():
        wanted = lr if name.startswith(fast) else 1e-5 if name.startswith("classifier.") else 1e-7
        assert rate == pytest.approx(wanted), name


ARCFACE = {
    "encoder_layers": 1,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 16,
    "encoder_attention_heads": 2,
    "conv_feature_layers": "[(8, 4, 4), (8, 2, 2)]",
    "conv_pos": 8,
    "conv_pos_groups": 4,
    "no_pretrained_weights": True,
}


@pytest.mark.parametrize("interval", [0, 1, 2, 3])
@pytest.mark.parametrize("make", [hubert, classifier])
def test_dropout_and_weight_decay_follow_every_interval_of_validations_without_improvement(make, interval):
    model = make(**QUIET, dynamic_reg_interval=interval)
    optimizer = torch.optim.AdamW([{"params": [p], "weight_decay": 0.02} for p in list(model.parameters())[:2]])
    dropouts = [module for name, module in model.named_modules() if name.endswith("dropout")]
    before = [module.p for module in dropouts]
    decay, shares, failures = 0.02, before, 0
    for improved in [False] * 7 + [True, False, True, True] + [False] * 4:
        model.after_validation(improved, optimizer)
        failures = 0 if improved else failures + 1
        if interval and improved:
            decay, shares = max(0.01, decay / 5), [max(0.1, p - 0.05) for p in shares]
        elif interval and failures % interval == 0:
            decay, shares = decay * 5, [min(1.0, p + 0.05) for p in shares]
        assert [group["weight_decay"] for group in optimizer.param_groups] == pytest.approx([decay] * 2)
        assert [module.p for module in dropouts] == pytest.approx(shares)
    assert (shares == before) == (interval == 0)
    layers = getattr(model, "hubert_ecg", model).encoder.layers
    assert {block.attention.dropout_probability for block in layers} == {0.0}


@pytest.mark.parametrize("labels, leads", [(1, 12), (5, 3)])
@pytest.mark.parametrize("pooling", ["valid", "nonzero"])
@torch.no_grad()
def test_arcface_gives_cosines_that_no_length_of_a_persons_vector_changes(labels, leads, pooling):
    model = shaken(build("model", "arcface", **ARCFACE, num_labels=labels, in_d=leads, pooling=pooling))
    source = signal(3, leads, 120)
    padding = torch.zeros(3, 120, dtype=torch.bool)
    padding[1, 60:] = True
    for mask in (None, padding):
        output = model(source, mask)
        frames = output["features"]
        mean = frames.mean(1)
        if mask is not None and pooling == "valid":
            mean[1] = frames[1][~output["padding_mask"][1]].mean(0)
        if mask is not None and pooling == "nonzero":
            mean = frames.sum(1) / (frames != 0).sum(1)
        same(output["pooled"], mean / mean.norm(dim=1, keepdim=True))
        same(output["logits"], F.cosine_similarity(mean[:, None], model.kernel[None], dim=-1))
    before = model(source)["logits"]
    model.kernel.mul_(torch.arange(1.0, labels + 1)[:, None])
    same(model(source)["logits"], before)
    model.kernel[0] = model(source)["pooled"][2]
    same(model(source)["logits"][2, 0], torch.tensor(1.0))


@pytest.mark.parametrize("options", [
    {"mask_prob": 0.4, "mask_length": 1},
    {"mask_prob": 0.4, "mask_length": 4, "mask_selection": "uniform", "mask_other": 1.0},
    {"mask_prob": 0.4, "mask_length": 4, "mask_selection": "normal", "mask_other": 2.0},
    {"mask_prob": 0.4, "mask_length": 4, "mask_selection": "poisson"},
    {"mask_prob": 0.8, "mask_length": 3, "no_mask_overlap": True, "mask_min_space": 2},
], ids=str)  # fmt: skip
def test_what_arcface_hides_in_training_has_no_part_in_its_cosines(options, monkeypatch):
    shape = {**ARCFACE, "num_labels": 4, "feature_grad_mult": 1.0, "extractor_mode": "layer_norm"}
    model = shaken(build("model", "arcface", **shape, apply_mask=True, **options))
    drawn, draw = [], model.encoder.draw_mask
    monkeypatch.setattr(model.encoder, "draw_mask", lambda *given: drawn.append(draw(*given)) or drawn[-1])
    source = signal(2, 12, 120).requires_grad_()
    model.train()(source)["logits"].square().sum().backward()
    (hidden,) = drawn
    assert 0 < hidden.sum() < hidden.numel()
    seen = source.grad.abs().sum(1).unflatten(1, (15, 8)).sum(2) > 0  # a frame sees 8 samples
    assert torch.equal(seen, ~hidden) and model.encoder.mask_emb.grad.any()
    plain = shaken(build("model", "arcface", **shape))
    missing = plain.load_state_dict(model.state_dict(), strict=False)
    assert missing.unexpected_keys == ["encoder.mask_emb"]
    same(model.eval()(source)["logits"], plain(source)["logits"])
    assert len(drawn) == 1


@pytest.mark.parametrize("options", [
    {"mask_channel_prob": 0.5, "mask_channel_length": 3},
    {"mask_channel_prob": 0.5, "mask_channel_length": 2, "mask_channel_selection": "poisson"},
    {"mask_channel_prob": 0.6, "mask_channel_length": 3, "no_mask_channel_overlap": True, "mask_channel_min_space": 2},
], ids=str)  # fmt: skip
def test_channels_that_arcface_hides_pass_no_gradient_to_their_projection(options, monkeypatch):
    model = shaken(build("model", "arcface", **ARCFACE, num_labels=4, apply_mask=True, **options))
    drawn, draw = [], model.encoder._draw_channel_mask
    monkeypatch.setattr(model.encoder, "_draw_channel_mask", lambda frames: drawn.append(draw(frames)) or drawn[-1])
    source = signal(1, 12, 120)
    model.train()(source)["logits"].square().sum().backward()
    (hidden,) = drawn
    assert 0 < hidden.sum() < hidden.numel()
    assert torch.equal(model.encoder.post_extract_proj.weight.grad.abs().sum(1) == 0, hidden[0])
    model.eval()(source)
    assert len(drawn) == 1


@torch.no_grad()
def test_arcface_with_a_final_dropout_of_1_sees_a_zero_vector():
    model = shaken(build("model", "arcface", **ARCFACE, num_labels=4, final_dropout=1.0)).train()
    assert not model(signal(2, 12, 120))["logits"].any()


@pytest.mark.parametrize("margin", [0.0, 0.3, 1.0, 3.0])
@pytest.mark.parametrize("scale", [0.0, 1.0, 64.0])
def test_the_arcface_loss_is_its_formula_for_every_margin_and_scale(margin, scale):
    cosine = torch.linspace(-0.99, 0.99, 15).view(5, 3)
    target = torch.tensor([0, 1, 2, 0, 1])
    wanted = cosine.clone()
    for row, column in enumerate(target.tolist()):
        c = float(cosine[row, column])
        turned = np.cos(np.arccos(c) + margin)
        wanted[row, column] = turned if c > np.cos(np.pi - margin) else c - margin * np.sin(margin)
    same(add_margin(cosine, target, margin), wanted)
    criterion = build("criterion", "arcface", margin=margin, scale=scale)
    batch = {"net_input": {}, "label": target[:, None], "id": torch.arange(5)}
    loss = criterion(lambda **_: {"logits": cosine}, batch).loss
    same(loss, F.cross_entropy(scale * wanted, target, reduction="sum"))
    if scale == 0:
        same(loss, torch.tensor(5 * np.log(3), dtype=torch.float32))


def norm(x, module):
    shape = (1, -1, 1)
    centred = (x - module.running_mean.view(shape)) / (module.running_var.view(shape) + 1e-5).sqrt()
    return centred * module.weight.view(shape) + module.bias.view(shape)


def conv(x, module, stride=1):
    return F.conv1d(x, module.weight, module.bias, stride, padding=module.weight.shape[-1] // 2)


def window_means(x, size):
    return torch.stack([x[..., i : i + size].mean(-1) for i in range(0, x.shape[-1], size)], dim=-1)


def leaky(x):
    return torch.where(x > 0, x, 0.01 * x)


NEJEDLY = [
    {},
    *({"stride": stride, "num_blocks": 2} for stride in (1, 3, 5)),
    *({"kernel_size": kernel} for kernel in ("[1, 1]", "[3, 21]")),
    *({"num_blocks": blocks} for blocks in (0, 1, 4)),
    {"conv_bias": True},
    {"in_d": 1},
    {"in_d": 3, "num_filters": 1},
]


@pytest.mark.parametrize("options", NEJEDLY, ids=str)
@torch.no_grad()
def test_nejedly2021resnet_is_its_formula_for_every_value(options):
    options = {"num_filters": 8, "num_blocks": 2, "kernel_size": "[5, 3]", **options}
    model = shaken(build("model", "nejedly2021resnet", **options))
    source, stride = signal(2, options.get("in_d", 12), 203), options.get("stride", 2)
    x = leaky(norm(conv(source, model.conv, stride), model.bn))
    for block in model.blocks:
        y = leaky(norm(conv(x, block.conv1, stride), block.bn1))
        y = leaky(norm(conv(y, block.conv2), block.bn2))
        x = y + conv(window_means(x, stride), block.idfunc_1)
    assert x.shape[1] == options["num_filters"] and len(model.blocks) == options["num_blocks"]
    assert (model.conv.bias is not None) == options.get("conv_bias", False)
    output = model(source)
    same(output["features"], x.transpose(1, 2), rtol=1e-4, atol=1e-4)
    same(output["pooled"], x.mean(-1), rtol=1e-4, atol=1e-4)


SE_WRN = [
    {},
    *({"num_blocks": blocks} for blocks in (1, 3)),
    *({"num_filters": filters} for filters in ("[4]", "[4, 4]", "[3, 8, 8, 5]")),
    *({"widening_factor": factor} for factor in (2, 3)),
    *({"kernel_size": kernel} for kernel in (1, 21)),
    *({"ratio": ratio} for ratio in (1, 2, 100)),
    {"conv_bias": True},
    {"in_d": 1},
]


@pytest.mark.parametrize("options", SE_WRN, ids=str)
@torch.no_grad()
def test_se_wrn_is_its_formula_for_every_value(options):
    options = {"num_filters": "[4, 4, 8]", "num_blocks": 2, "kernel_size": 5, **options}
    model = shaken(build("model", "se_wrn", **options))
    source = signal(2, options.get("in_d", 12), 203)
    x = norm(conv(source, model.conv), model.bn).relu()
    first = True
    for group in model.groups:
        assert len(group.layers) == options["num_blocks"]
        for i, block in enumerate(group.layers):
            stride = 1 if i else 2
            y = x if first else norm(x, block.bn1).relu()
            y = norm(conv(y, block.conv1, stride), block.bn2).relu()
            y = conv(y, block.conv2)
            weights = torch.sigmoid(block.fc2(block.fc1(y.mean(-1)).relu()))
            assert block.fc1.out_features == max(1, y.shape[1] // options.get("ratio", 8))
            x = (conv(window_means(x, stride), block.idfunc_1) if i == 0 else x) + y * weights[..., None]
            first = False
    widths = [int(n) for n in options["num_filters"].strip("[]").split(",")]
    assert x.shape[1] == widths[-1] * (options.get("widening_factor", 1) if len(widths) > 1 else 1)
    output = model(source)
    same(output["features"], x.transpose(1, 2), rtol=1e-4, atol=1e-4)
    same(output["pooled"], x.amax(-1), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "name, options",
    [
        ("nejedly2021resnet", {"num_filters": 4, "num_blocks": 2, "stride": 3}),
        ("nejedly2021resnet", {"num_filters": 4, "num_blocks": 1, "conv_bias": True, "kernel_size": "[5, 1]"}),
        ("se_wrn", {"num_filters": "[4, 6]", "num_blocks": 2}),
        ("se_wrn", {"num_filters": "[2, 2]", "num_blocks": 1, "conv_bias": True, "widening_factor": 2}),
    ],
)
@torch.no_grad()
def test_a_leadwise_network_is_the_one_lead_network_on_every_lead(name, options):
    model = shaken(build("model", name, **options, in_d=1, leadwise=True))
    single = build("model", name, **options, in_d=1).eval()
    shapes = {key: value.shape for key, value in single.state_dict().items()}
    single.load_state_dict({key: value.view(shapes[key]) for key, value in model.state_dict().items()})
    for leads in (1, 5, 12):
        source = signal(2, leads, 150)
        each = [single(source[:, lead : lead + 1]) for lead in range(leads)]
        for key in ("features", "pooled"):
            axis = -1 if name == "nejedly2021resnet" else -2  # channel by channel, or lead by lead
            wanted = torch.stack([output[key] for output in each], dim=axis).flatten(-2)
            same(model(source)[key], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("labels", [1, 4])
@pytest.mark.parametrize("leadwise", [False, True])
@torch.no_grad()
def test_the_head_of_se_wrn_is_a_linear_layer_on_the_largest_activated_frames(labels, leadwise):
    options = {"num_filters": "[4, 8]", "num_blocks": 1, "in_d": 1 if leadwise else 12, "leadwise": leadwise}
    model = shaken(
        build("model", "se_wrn_classifier", **options, num_labels=labels, final_dropout=1.0, no_pretrained_weights=True)
    )
    source = signal(2, 12, 150)
    frames = model.encoder(source)["features"].unflatten(-1, (-1, 8))  # [batch, frames, 1 or leads, channels]
    activated = torch.stack([norm(x.transpose(1, 2), model.bn).relu() for x in frames.unbind(2)], dim=1)
    pooled = activated.amax(-1).flatten(1)
    output = model(source)
    same(output["logits"], pooled @ model.proj.weight.T + model.proj.bias, rtol=1e-4, atol=1e-4)
    same(model.train()(source)["logits"], model.proj.bias.expand(2, -1))


@pytest.mark.parametrize("options", [{}, {"use_mha": True}, {"indicate_leads": True},
                                     {"use_mha": True, "indicate_leads": True}], ids=str)  # fmt: skip
@pytest.mark.parametrize("leads", [12, 3, "leadwise"])
@torch.no_grad()
def test_the_head_of_nejedly_is_a_linear_layer_on_mean_frames_and_leads_without_a_zero(options, leads):
    shape = {"in_d": 1, "leadwise": True} if leads == "leadwise" else {"in_d": leads}
    model = build("model", "nejedly2021resnet_classifier", num_filters=8, num_blocks=1, num_labels=2, **shape,
                  **options, final_dropout=1.0, no_pretrained_weights=True)  # fmt: skip
    model = shaken(model)
    source = signal(2, 12 if leads == "leadwise" else leads, 100)
    source[0, 1] = 0.0
    source[1, 2, 40] = 0.0
    frames = model.encoder(source)["features"]
    if options.get("use_mha"):
        heads = model.mha.num_heads
        q, k, v = F.linear(frames, model.mha.in_proj_weight, model.mha.in_proj_bias).chunk(3, dim=-1)
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
        mixed = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1) @ v
        frames = model.mha.out_proj(mixed.transpose(1, 2).flatten(2))
        assert heads == 8
    known, nothing = frames.mean(1), torch.zeros(2, frames.shape[-1])
    if options.get("indicate_leads"):
        flags = torch.ones(2, source.shape[1])
        flags[0, 1] = flags[1, 2] = 0.0
        known, nothing = torch.cat([known, flags], 1), torch.cat([nothing, flags], 1)
    same(model(source)["logits"], known @ model.proj.weight.T + model.proj.bias, rtol=1e-4, atol=1e-4)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            module.eval()
    same(model(source)["logits"], model.proj(nothing))


@pytest.mark.parametrize("mode", ["default", "layer_norm"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("layers", ["[(6, 2, 2)]", "[(6, 5, 3), (4, 1, 1), (8, 3, 4)]", "[(256, 2, 2)] * 4"])
@pytest.mark.parametrize("leads, labels", [(1, 1), (3, 5)])
@torch.no_grad()
def test_convnet_is_its_formula_for_every_value(mode, bias, layers, leads, labels):
    model = shaken(
        build("model", "convnet", extractor_mode=mode, conv_bias=bias, conv_feature_layers=layers, input_dim=leads,
              output_dim=labels)
    )  # fmt: skip
    source = x = signal(2, leads, 150)
    spec = eval(layers)
    for i, ((dim, kernel, stride), (convolution, _, normalise)) in enumerate(
        zip(spec, model.feature_extractor.conv_layers)
    ):
        assert convolution.weight.shape[::2] == (dim, kernel) and (convolution.bias is not None) == bias
        x = F.conv1d(x, convolution.weight, convolution.bias, stride)
        if mode == "layer_norm" or i == 0:
            axis, layer = (1, normalise[1]) if mode == "layer_norm" else (2, normalise)
            centred = x - x.mean(axis, keepdim=True)
            x = centred / (centred.square().mean(axis, keepdim=True) + 1e-5).sqrt()
            x = x * layer.weight[:, None] + layer.bias[:, None]
        x = FUNCTIONS["gelu"](x)
    wanted = x.mean(-1) @ model.final_proj.weight.T + model.final_proj.bias
    assert wanted.shape == (2, labels)
    same(model(source)["logits"], wanted, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_convnet_whose_dropout_is_1_answers_alike_to_all_and_with_0_trains_on_what_it_evaluates():
    layers = {"conv_feature_layers": "[(6, 5, 3), (4, 3, 2)]", "output_dim": 3}
    source = signal(2, 12, 150)
    model = shaken(build("model", "convnet", **layers, dropout=1.0)).train()
    same(model(source)["logits"], model(5 * source.flip(0))["logits"])
    model = shaken(build("model", "convnet", **layers, dropout=0.0))
    same(model(source)["logits"], model.train()(source)["logits"])


def test_a_convnet_that_gets_another_number_of_leads_names_its_own_option():
    model = build("model", "convnet", conv_feature_layers="[(6, 5, 3)]", input_dim=3, output_dim=1)
    with pytest.raises(ConfigError, match=r"model\.input_dim") as error:
        model(signal(2, 12, 150))
    assert "model.in_d " not in str(error.value)
