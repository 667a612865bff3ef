"""Option values of the wav2vec 2.0 family that no stored reference covers, each by a formula or a symmetry."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from ecg_signals.config import ConfigError
from ecg_signals.registry import build
from ecg_signals.signal import span_mask
from ecg_signals.signal.span_mask import _place_apart

TINY = {
    "encoder_layers": 2, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 24, "encoder_attention_heads": 2,
    "conv_feature_layers": "[(8, 4, 4)] * 2", "conv_pos": 8, "conv_pos_groups": 2, "dropout": 0.0,
    "attention_dropout": 0.0,
}  # fmt: skip
MASKED = {**TINY, "apply_mask": True, "mask_prob": 0.5, "mask_length": 4, "num_negatives": 5, "latent_vars": 6}
SAMPLES, FRAMES = 480, 30


def make(name, options, seed=0, **more):
    torch.manual_seed(seed)
    model = build("model", name, **{**options, **more}).double()
    with torch.no_grad():
        for parameter in model.parameters():  # no scale is 1 and no bias 0
            parameter.add_(torch.randn_like(parameter), alpha=0.2)
    return model


def signal(leads=12, items=2, samples=SAMPLES):
    return torch.randn(items, leads, samples, generator=torch.Generator().manual_seed(5), dtype=torch.float64)


def norm(x, module):
    x = (x - x.mean(-1, keepdim=True)) / (x.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
    return x * module.weight + module.bias


def affine(x, module):
    return x @ module.weight.t() + module.bias


def formula_convolutions(model, x):
    for index, (conv, _, place) in enumerate(model.feature_extractor.conv_layers):
        x = F.conv1d(x, conv.weight, stride=conv.stride)
        if model.cfg.conv_bias:
            x = x + conv.bias[:, None]
        if model.cfg.extractor_mode == "layer_norm":
            x = norm(x.mT, place[1]).mT
        elif index == 0:
            x = (x - x.mean(2, keepdim=True)) / (x.var(2, unbiased=False, keepdim=True) + 1e-5).sqrt()
            x = x * place.weight[:, None] + place.bias[:, None]
        x = F.gelu(x)
    return x.mT


def formula_context(model, x):
    """Position and layers, pre-norm or post-norm -> frames, attention averaged over heads [batch, layers, q, k]."""
    cfg, conv, maps = model.cfg, model.conv_pos.pos_conv[0], []
    v = conv.parametrizations.weight.original1
    weight = conv.parametrizations.weight.original0 * v / v.square().sum((0, 1), keepdim=True).sqrt()
    around = F.conv1d(x.mT, weight, conv.bias, padding=cfg.conv_pos // 2, groups=cfg.conv_pos_groups)
    x = x + F.gelu(around[..., : x.shape[1]].mT)
    pre = cfg.layer_norm_first
    x = x if pre else norm(x, model.encoder.layer_norm)
    for layer in model.encoder.layers:
        attention, first, second = layer.self_attn, layer.self_attn_layer_norm, layer.final_layer_norm
        seen = norm(x, first) if pre else x
        q, k, v = (
            affine(seen, part).unflatten(2, (cfg.encoder_attention_heads, -1))
            for part in (attention.q_proj, attention.k_proj, attention.v_proj)
        )
        share = (torch.einsum("bqhd,bkhd->bhqk", q, k) / q.shape[-1] ** 0.5).softmax(-1)
        x = x + affine(torch.einsum("bhqk,bkhd->bqhd", share, v).flatten(2), attention.out_proj)
        x = x if pre else norm(x, first)
        x = x + affine(F.gelu(affine(norm(x, second) if pre else x, layer.fc1)), layer.fc2)
        x = x if pre else norm(x, second)
        maps.append(share.mean(1))
    return (norm(x, model.encoder.layer_norm) if pre else x), torch.stack(maps, 1)


@pytest.mark.parametrize("name", ["ecg_transformer", "ecg_transformer_classifier"])
@pytest.mark.parametrize("options", [
    {"extractor_mode": "layer_norm"},
    {"extractor_mode": "layer_norm", "conv_bias": True, "layer_norm_first": True},
    {"extractor_mode": "default", "conv_bias": True, "in_d": 1},
    {"layer_norm_first": True, "in_d": 3, "conv_pos": 7, "conv_pos_groups": 16},
    {"conv_pos": 1, "conv_pos_groups": 1, "encoder_attention_heads": 1},
    {"conv_pos": 64, "encoder_attention_heads": 16, "encoder_layers": 1},
    {"conv_feature_layers": "[(4, 6, 3), (16, 5, 5)]", "encoder_layers": 3},
])  # fmt: skip
@torch.no_grad()
def test_the_encoder_is_its_formula_at_every_option_value(name, options):
    head = {"num_labels": 3, "no_pretrained_weights": True} if name.endswith("classifier") else {}
    model = make(name, TINY, **options, **head, saliency=True).eval()
    encoder = model.encoder if head else model
    source = signal(encoder.cfg.in_d)
    convolved = formula_convolutions(encoder, source)
    assert (encoder.post_extract_proj is None) == (convolved.shape[2] == 16)
    frames = norm(convolved, encoder.layer_norm)
    frames = frames if encoder.post_extract_proj is None else affine(frames, encoder.post_extract_proj)
    expected, maps = formula_context(encoder, frames)
    output = model(source)
    torch.testing.assert_close(output["features"], expected)
    torch.testing.assert_close(output["saliency"], maps)
    torch.testing.assert_close(output["pooled"], expected.mean(1))
    if head:
        torch.testing.assert_close(output["logits"], affine(expected.mean(1), model.proj))


def formula_quantized(quantizer, x):
    logits = affine(x, quantizer.weight_proj).unflatten(-1, (quantizer.groups, -1))
    words = quantizer.vars.view(quantizer.groups, quantizer.num_vars, -1)
    return torch.cat([words[group][logits[..., group, :].argmax(-1)] for group in range(quantizer.groups)], -1)


def formula_compared(model, y):
    y = affine(y, model.project_q)
    if model.target_glu is None:
        return y
    left, right = affine(y, model.target_glu[0]).chunk(2, -1)
    return left * torch.sigmoid(right)


def formula_task(model, source, mask):
    """-> predictions and targets of the hidden frames, and the candidates for negatives."""
    cfg = model.cfg
    features = norm(formula_convolutions(model, source), model.layer_norm)
    if cfg.quantize_input:
        frames = affine(formula_quantized(model.input_quantizer or model.quantizer, features), model.project_inp)
    else:
        frames = affine(features, model.post_extract_proj)
    x, _ = formula_context(model, torch.where(mask[..., None], model.mask_emb, frames))
    y = formula_compared(model, formula_quantized(model.quantizer, features) if cfg.quantize_targets else features)
    targets = torch.stack([y[item, mask[item]] for item in range(len(y))])
    predicted = affine(torch.stack([x[item, mask[item]] for item in range(len(x))]), model.final_proj)
    return predicted, targets, y if cfg.negatives_from_everywhere else targets


@pytest.mark.parametrize("name, options", [
    ("wav2vec2", {"quantize_targets": False, "final_dim": 0}),
    ("wav2vec2", {"quantize_targets": False, "final_dim": 6, "target_glu": True, "logit_temp": 1.0}),
    ("wav2vec2_cmsc", {"quantize_targets": True, "target_glu": True, "latent_groups": 1, "logit_temp": 0.01}),
    ("wav2vec2_cmsc", {"quantize_targets": True, "latent_dim": 12, "latent_groups": 3, "final_dim": 6}),
    ("wav2vec2", {"quantize_targets": False, "negatives_from_everywhere": True}),
    ("wav2vec2", {"quantize_targets": True, "negatives_from_everywhere": True, "layer_norm_first": True}),
    ("wav2vec2", {"quantize_targets": False, "quantize_input": True}),
    ("wav2vec2", {"quantize_targets": False, "quantize_input": True, "final_dim": 5}),
    ("wav2vec2", {"quantize_targets": True, "quantize_input": True, "same_quantizer": True, "final_dim": 6,
                  "latent_groups": 3}),
    ("wav2vec2", {"quantize_targets": False, "quantize_input": True, "same_quantizer": True}),
    ("wav2vec2", {"quantize_targets": True, "quantize_input": True, "final_dim": 6}),
    ("wav2vec2_cmsc", {"quantize_targets": True, "quantize_input": True, "same_quantizer": True, "final_dim": 6}),
    ("wav2vec2", {"quantize_targets": True, "cross_sample_negatives": 3, "num_negatives": 0}),
    ("wav2vec2", {"quantize_targets": False, "cross_sample_negatives": 3, "extractor_mode": "layer_norm"}),
])  # fmt: skip
@torch.no_grad()
def test_the_contrastive_logits_are_their_formula_at_every_option_value(name, options):
    model = make(name, MASKED, **options).eval()
    cfg, source = model.cfg, signal()
    assert (model.input_quantizer is not None) == (cfg.quantize_input and not (model.quantizer and cfg.same_quantizer))
    mask = torch.zeros(2, FRAMES, dtype=torch.bool)
    mask[0, 3:13] = mask[1, 15:25] = True
    predicted, targets, candidates = formula_task(model, source, mask)
    number, rows = cfg.num_negatives + cfg.cross_sample_negatives, candidates.flatten(0, 1)
    if cfg.cross_sample_negatives:
        negatives = torch.randint(len(rows), (2, 10, number))
    else:
        negatives = torch.randint(candidates.shape[1], (2, 10, number)) + torch.arange(2).view(2, 1, 1) * len(rows) // 2
    chosen = rows[negatives]
    same = (chosen == targets[:, :, None]).all(-1)
    against = torch.cat([targets[:, :, None], chosen], 2)
    cosine = (predicted[:, :, None] * against).sum(-1) / (
        predicted.norm(dim=-1)[:, :, None].clamp(min=1e-8) * against.norm(dim=-1).clamp(min=1e-8)
    )
    cosine[:, :, 1:][same] = -torch.inf
    output = model(source, mask=True, mask_indices=mask, neg_idxs=negatives.flatten(1))
    expected = (cosine / cfg.logit_temp).permute(2, 0, 1)
    torch.testing.assert_close(output["pred_logits"].double(), expected, rtol=1e-5, atol=2e-6 / cfg.logit_temp)
    assert ("prob_perplexity" in output) == (cfg.quantize_targets or cfg.quantize_input)


@pytest.mark.parametrize("across, everywhere", [(0, False), (0, True), (40, False), (40, True)])
@torch.no_grad()
def test_drawn_negatives_are_candidates_of_the_item_and_across_items_of_all(across, everywhere):
    options = {"num_negatives": 40 if not across else 0, "cross_sample_negatives": across}
    model = make("wav2vec2", MASKED, **options, negatives_from_everywhere=everywhere, layer_norm_first=True).eval()
    mask = torch.zeros(2, FRAMES, dtype=torch.bool)
    mask[0, 3:7] = mask[1, 15:19] = True
    predicted, targets, candidates = formula_task(model, signal(), mask)
    logits = model(signal(), mask=True, mask_indices=mask)["pred_logits"][1:]
    assert logits.shape == (40, 2, 4)
    for item, frame in itertools.product(range(2), range(4)):
        others = candidates.flatten(0, 1) if across else candidates[item]
        cosines = F.cosine_similarity(predicted[item, frame], others, dim=-1) / model.cfg.logit_temp
        cosines[(others == targets[item, frame]).all(-1)] = torch.inf
        distance = (logits[:, item, frame].double()[:, None] - cosines).abs()
        assert distance.min(1).values.max() < 1e-4
        assert everywhere or set(distance.argmin(1).tolist()) == set(cosines.isfinite().nonzero()[:, 0].tolist())


@torch.no_grad()
def test_codebook_negatives_are_projected_codewords_and_never_the_targets_own():
    model = make("wav2vec2", MASKED, quantize_targets=True, latent_vars=2, num_negatives=0, codebook_negatives=60,
                 target_glu=True).eval()  # fmt: skip
    mask = torch.zeros(2, FRAMES, dtype=torch.bool)
    mask[:, 3:7] = True
    predicted, targets, _ = formula_task(model, signal(), mask)
    logits = model(signal(), mask=True, mask_indices=mask)["pred_logits"][1:]
    words = model.quantizer.vars.view(2, 2, -1)
    book = formula_compared(model, torch.stack([torch.cat([a, b]) for a in words[0] for b in words[1]]))
    for item, frame in itertools.product(range(2), range(4)):
        own = (book - targets[item, frame]).abs().sum(-1) < 1e-9
        expected = F.cosine_similarity(predicted[item, frame], book[~own], dim=-1) / 0.1
        found = logits[:, item, frame].double()
        drawn = found[found.isfinite()]
        assert own.sum() == 1 and 3 <= found.isinf().sum() <= 30  # a quarter of 60
        distance = (drawn[:, None] - expected).abs()
        assert distance.min(1).values.max() < 1e-4 and set(distance.argmin(1).tolist()) == {0, 1, 2}


@torch.no_grad()
def test_without_negatives_only_the_positive_is_left():
    model = make("wav2vec2", MASKED, num_negatives=0).train()
    logits = model(signal(), mask=True)["pred_logits"]
    assert logits.shape[:2] == (1, 2) and logits.log_softmax(0).abs().max() == 0


@pytest.mark.parametrize("temperature", [(3.0, 3.0, 1.0), (2.0, 0.5, 0.9)])
def test_the_gradient_of_a_codeword_is_that_of_the_softmax_at_latent_temp(temperature):
    model = make("wav2vec2", MASKED, quantize_targets=True, latent_temp=temperature).train()
    model.before_forward(4)
    quantizer, x = model.quantizer, signal(8, 2, 5).mT.contiguous()
    target = torch.randn(2, 5, 16, dtype=torch.float64)
    tau = max(temperature[0] * temperature[2] ** 4, temperature[1])
    found = quantizer(x, torch.zeros(20, 6, dtype=torch.float64))["quantized"]
    torch.testing.assert_close(found, formula_quantized(quantizer, x))
    (grad,) = torch.autograd.grad((found * target).sum(), quantizer.weight_proj.weight)
    soft = (affine(x, quantizer.weight_proj).unflatten(-1, (2, 6)) / tau).softmax(-1)
    mixed = torch.einsum("btgv,gvd->btgd", soft, quantizer.vars.view(2, 6, -1)).flatten(2)
    (expected,) = torch.autograd.grad((mixed * target).sum(), quantizer.weight_proj.weight)
    torch.testing.assert_close(grad, expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("factor", [0.1, 0.0, 2.5])
def test_feature_grad_mult_scales_the_gradient_of_the_convolutions_and_no_other(factor):
    grads = []
    for value in (1.0, factor):
        model = make("wav2vec2", MASKED, quantize_targets=False, feature_grad_mult=value).train()
        torch.manual_seed(1)
        output = model(signal(), mask=True)
        (output["pred_logits"][0].sum() + output["features_pen"]).backward()
        grads.append({key: parameter.grad for key, parameter in model.named_parameters()})
    for key, whole in grads[0].items():
        if not key.startswith("feature_extractor"):
            torch.testing.assert_close(grads[1][key], whole)
        elif factor == 0:
            assert grads[1][key] is None
        else:
            torch.testing.assert_close(grads[1][key], factor * whole)


@pytest.mark.parametrize("first", [False, True])
@torch.no_grad()
def test_dropout_of_everything_equals_the_network_without_that_part(first):
    plain = make("ecg_transformer", TINY, layer_norm_first=first).eval()

    def same(option, silence):
        dropped = make("ecg_transformer", TINY, layer_norm_first=first, **{option: 1.0})
        other = make("ecg_transformer", TINY, layer_norm_first=first).eval()
        silence(other)
        torch.testing.assert_close(dropped.train()(signal())["features"], other(signal())["features"])
        torch.testing.assert_close(dropped.eval()(signal())["features"], plain(signal())["features"])

    def silence_layers(part):
        return lambda model: [layer.get_submodule(part).weight.zero_() for layer in model.encoder.layers]

    def silence_projection(model):
        model.post_extract_proj.weight.zero_(), model.post_extract_proj.bias.zero_()

    same("attention_dropout", silence_layers("self_attn.out_proj"))
    same("activation_dropout", silence_layers("fc2"))
    same("dropout_input", silence_projection)
    same("encoder_layerdrop", lambda model: model.encoder.layers.__delitem__(slice(None)))


@torch.no_grad()
def test_dropout_features_of_one_leaves_targets_that_are_all_equal():
    model = make("wav2vec2", MASKED, quantize_targets=False, dropout_features=1.0).train()
    assert model(signal(), mask=True)["pred_logits"][1:].isinf().all()
    assert model.eval()(signal(), mask=True)["pred_logits"].isfinite().all()


@torch.no_grad()
def test_layerdrop_keeps_each_layer_at_its_chance():
    model = make("ecg_transformer", TINY, encoder_layerdrop=0.25).train()
    torch.manual_seed(0)
    kept = torch.tensor([model.encoder._draw_layers() for _ in range(4000)]).double()
    assert (kept.mean(0) - 0.75).abs().max() < 0.03
    assert abs(float((kept[:, 0] * kept[:, 1]).mean()) - 0.75**2) < 0.03


@pytest.mark.parametrize("pooling", ["valid", "nonzero"])
@torch.no_grad()
def test_the_classifier_pools_unpadded_frames_and_only_its_bias_survives_final_dropout_of_one(pooling):
    options = {"num_labels": 3, "no_pretrained_weights": True, "pooling": pooling, "saliency": True}
    model = make("ecg_transformer_classifier", TINY, **options, final_dropout=1.0)
    padding = torch.arange(SAMPLES).expand(2, -1) >= torch.tensor([[SAMPLES], [320]])
    torch.testing.assert_close(model.train()(signal(), padding)["logits"], model.proj.bias.expand(2, 3))
    output = model.eval()(signal(), padding)
    for item, frames in enumerate((30, 20)):
        pooled = output["features"][item, :frames].mean(0)
        torch.testing.assert_close(output["pooled"][item], pooled)
        torch.testing.assert_close(output["logits"][item], affine(pooled, model.proj))
        assert (output["saliency"][item, :, :, frames:] == 0).all() and (output["features"][item, frames:] == 0).all()
    torch.testing.assert_close(output["saliency"].sum(-1), torch.ones(2, 2, 30, dtype=torch.float64))


def test_the_encoder_is_frozen_before_the_update_of_freeze_finetune_updates_and_trains_from_it():
    options = {"num_labels": 3, "no_pretrained_weights": True, "feature_grad_mult": 1.0, "freeze_finetune_updates": 2}
    model = make("ecg_transformer_classifier", TINY, **options).train()
    for update in range(4):
        model.before_forward(update)
        model.zero_grad()
        model(signal())["logits"].square().sum().backward()
        trains = {key.split(".")[0]: parameter.grad is not None for key, parameter in model.named_parameters()}
        assert trains == {"encoder": update >= 2, "proj": True}


def runs(hidden):
    """bool [places] -> starts and ends of the stretches of True."""
    change = np.diff(np.r_[0, np.asarray(hidden).astype(int), 0])
    return np.flatnonzero(change == 1), np.flatnonzero(change == -1)


def draw(kind, seed, places, **options):
    """One row of the frames, or of the channels, that the options hide."""
    torch.manual_seed(seed)
    if kind == "mask":
        model = make("ecg_transformer", {**TINY, "apply_mask": True}, seed, **options, encoder_layers=0)
        return model.draw_mask((1, places), None)[0]
    named = {key.replace("mask_", "mask_channel_", 1): value for key, value in options.items()}
    model = make("ecg_transformer", {**TINY, "encoder_embed_dim": places}, seed, **named, encoder_layers=0, conv_pos=1)
    hidden = model.hide(torch.ones(1, 7, places), None, channels=True) == 0
    assert (hidden == hidden[:, :1]).all()
    return hidden[0, 0]


@pytest.mark.parametrize("kind", ["mask", "mask_channel"])
@pytest.mark.parametrize("selection, other, lengths", [
    ("static", 0, {4}), ("static", 3, {4}), ("uniform", 8, {8}), ("uniform", 7, {7, 8}), ("uniform", 1, range(1, 9)),
    ("normal", 0, {4}), ("normal", 1, range(1, 10)),
])  # fmt: skip
def test_spans_are_as_long_as_the_selection_says(kind, selection, other, lengths):
    options = {"mask_prob": 0.2, "mask_length": 4, "mask_selection": selection, "mask_other": other}
    starts, ends = runs(draw(kind, 1, 640, **options, no_mask_overlap=True))
    assert len(starts) == 32
    assert set(ends - starts) <= set(lengths) and len(set(ends - starts)) >= min(len(lengths), 4)


@pytest.mark.parametrize("kind", ["mask", "mask_channel"])
def test_poisson_spans_have_the_mean_and_variance_of_their_length(kind):
    options = {"mask_prob": 0.2, "mask_length": 6, "mask_selection": "poisson", "no_mask_overlap": True}
    found = [runs(draw(kind, seed, 1600, **options)) for seed in range(8)]
    lengths = np.concatenate([ends - starts for starts, ends in found])
    assert abs(lengths.mean() - 6) < 0.5 and abs(lengths.var() - 6) < 1.5


@pytest.mark.parametrize("kind", ["mask", "mask_channel"])
@pytest.mark.parametrize("space", [1, 2, 5])
def test_spans_that_must_not_overlap_are_whole_and_min_space_apart(kind, space):
    for seed in range(10):
        options = {"mask_prob": 0.9, "mask_length": 3, "mask_min_space": space, "no_mask_overlap": True}
        starts, ends = runs(draw(kind, seed, 64, **options))
        assert set(ends - starts) == {3} and (starts[1:] - ends[:-1] >= space).all()


@pytest.mark.parametrize("selection", ["uniform", "normal", "poisson"])
def test_spans_of_any_lengths_may_touch_but_never_overlap_when_min_space_is_zero(selection, monkeypatch):
    found = []

    def place(*given):
        found.append(_place_apart(*given))
        return found[-1]

    monkeypatch.setattr(span_mask, "_place_apart", place)
    for seed in range(200):
        rng = np.random.RandomState(seed)
        span_mask.compute_mask_indices((1, 40), None, 0.9, 4, selection, 2, 2, no_overlap=True, min_space=0, rng=rng)
    assert len(found) == 200
    assert all(len(np.unique(places)) == len(places) and (places < 40).all() for places in found)


@pytest.mark.parametrize("include", [False, True])
@pytest.mark.parametrize("mode", ["default", "layer_norm"])
@torch.no_grad()
def test_the_penalty_and_the_statistics_are_their_formula_with_padding(include, mode):
    model = make("wav2vec2", MASKED, quantize_targets=True, include_padding=include, extractor_mode=mode).eval()
    padding = torch.arange(SAMPLES).expand(2, -1) >= torch.tensor([[SAMPLES], [320]])
    mask = torch.zeros(2, FRAMES, dtype=torch.bool)
    mask[:, 2:12] = True
    output = model(signal(), padding, mask=True, mask_indices=mask)
    if include:
        convolved = list(formula_convolutions(model, signal()))
    else:
        alone = (signal()[:1], signal()[1:, :, :320])
        convolved = [formula_convolutions(model, item)[0] for item in alone]
    penalty = torch.cat(convolved).square().mean()
    torch.testing.assert_close(output["features_pen"].double(), penalty, rtol=1e-5, atol=1e-7)
    hidden = torch.cat([norm(item, model.layer_norm)[2:12] for item in convolved])
    logits = affine(hidden, model.quantizer.weight_proj).unflatten(-1, (2, 6))
    for key, shares in (("prob", logits.softmax(-1)), ("code", F.one_hot(logits.argmax(-1), 6).double())):
        mean = shares.mean(0)
        expected = torch.exp(-(mean * torch.log(mean + 1e-7)).sum(-1)).sum()
        torch.testing.assert_close(output[f"{key}_perplexity"].double(), expected, rtol=1e-5, atol=1e-6)
    assert output["num_vars"] == 12


@torch.no_grad()
def test_frames_are_hidden_only_in_a_masked_pass_of_a_model_with_apply_mask():
    hidden = {"mask_prob": 0.5, "mask_length": 4}
    plain, off = (make("ecg_transformer", TINY, **more).eval() for more in ({}, hidden))
    torch.testing.assert_close(off(signal(), mask=True)["features"], plain(signal())["features"])
    never = make("ecg_transformer", TINY, apply_mask=True, mask_prob=0.0).eval()
    torch.testing.assert_close(never(signal(), mask=True)["features"], never(signal())["features"])
    on = make("ecg_transformer", TINY, apply_mask=True, **hidden).eval()
    assert not torch.allclose(on(signal(), mask=True)["features"], on(signal())["features"])
    head = {"num_labels": 3, "no_pretrained_weights": True, "apply_mask": True, **hidden}
    classifier = make("ecg_transformer_classifier", TINY, **head).eval()
    torch.testing.assert_close(classifier(signal())["features"], classifier.encoder(signal())["features"])
    trained = classifier.train()(signal())["logits"]
    assert not torch.allclose(trained, classifier.eval()(signal())["logits"])


@pytest.mark.parametrize("options, message", [
    ({"mask_length": 0}, "model.mask_length to 1 or more"),
    ({"mask_selection": "uniform", "mask_other": 9.0}, "model.mask_other to 0 to 8"),
    ({"mask_selection": "normal", "mask_other": -1.0}, "model.mask_other to 0 or more"),
    ({"mask_channel_prob": 0.5, "mask_channel_length": 0}, "model.mask_channel_length to 1 or more"),
    ({"mask_length": 40, "no_mask_overlap": True}, "model.mask_length or model.mask_min_space to less"),
    ({"mask_min_space": 40, "no_mask_overlap": True}, "model.mask_length or model.mask_min_space to less"),
    ({"quantize_targets": True, "quantize_input": True, "final_dim": 6, "latent_groups": 3}, "the 16 values"),
])  # fmt: skip
def test_values_that_no_span_or_codebook_can_have_say_what_to_set(options, message):
    with pytest.raises(ConfigError) as error:
        make("wav2vec2", MASKED, **options)(signal(), mask=True)
    assert message in str(error.value)


def test_span_options_that_nothing_is_drawn_with_are_not_looked_at():
    make("ecg_transformer", TINY, mask_length=0, mask_channel_length=0, mask_selection="uniform", mask_other=99.0)
