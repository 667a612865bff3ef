"""wav2vec2 and wav2vec2_cmsc against the reference outputs, and what they promise beyond them."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from reference_models import Reference, close, pretraining_terms, without_dropout

from ecg_signals.checkpoint.load import load_model
from ecg_signals.config import ConfigError
from ecg_signals.models.wav2vec2.negatives import draw_negatives
from ecg_signals.modules.conv_stem import ConvStem
from ecg_signals.registry import build

TINY = {
    "encoder_layers": 2, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 32, "encoder_attention_heads": 2,
    "conv_feature_layers": "[(8, 4, 4)] * 2", "conv_pos": 8, "conv_pos_groups": 2, "apply_mask": True,
    "mask_prob": 0.65, "mask_length": 4, "quantize_targets": True, "final_dim": 8, "latent_vars": 8, "num_negatives": 5,
}  # fmt: skip


@pytest.fixture(scope="module", params=["w2v_cmsc", "w2v"])
def reference(request, golden):
    torch.set_num_threads(1)
    folder = Reference(golden / "wcr" / request.param)
    folder.name = request.param
    return folder


def replay(reference, phase, source=None, padding_mask=None):
    inputs = reference.inputs
    given = {"mask_indices": inputs[f"{phase}/mask_indices"], "neg_idxs": inputs[f"{phase}/neg_idxs"]}
    for key in ("gumbel_noise", "gumbel_temp"):
        given |= {key: inputs[f"{phase}/{key}"]} if f"{phase}/{key}" in inputs else {}
    return reference.model(inputs["source"] if source is None else source, padding_mask, mask=True, **given)


def check_terms(reference, phase, output):
    cmsc = reference.name == "w2v_cmsc" and phase != "padloss"
    terms = pretraining_terms(output, reference.inputs if cmsc else None)
    for key, value in terms.items():
        reference.check(f"{phase}/{key}", value)
    loss = sum(terms.values())
    reference.check(f"{phase}/loss", loss)
    return loss


@torch.no_grad()
def test_layers_and_features_equal_the_reference(reference):
    reference.model.eval()
    output = reference.model.extract_features(reference.inputs["source"], layers="all")
    reference.check("x", output["features"])
    assert output["padding_mask"] is None
    layers = [key for key in reference.outputs if key.startswith("layer_")]
    assert len(output["hidden_states"]) == len(layers) + 1
    for key in layers:
        reference.check(key, output["hidden_states"][int(key.removeprefix("layer_")) + 1])
    convolved, _ = reference.model.convolve(reference.inputs["source"])
    reference.check("features_ln", reference.model.layer_norm(convolved))
    reference.check("post_extract_proj", reference.model.project(reference.model.layer_norm(convolved)))
    torch.testing.assert_close(output["pooled"], output["features"].mean(dim=1))


@torch.no_grad()
def test_every_stage_before_the_layers_equals_the_reference(reference):
    model, source = reference.model.eval(), reference.inputs["source"]
    whole = model.feature_extractor
    for blocks in range(1, len(whole.spec) + 1):
        stem = ConvStem(whole.spec[:blocks], 12)
        stem.load_state_dict({key: value for key, value in whole.state_dict().items() if key in stem.state_dict()})
        reference.check(f"conv_{blocks - 1}", stem(source).transpose(1, 2))
    projected = model.project(model.layer_norm(model.convolve(source)[0]))
    reference.check("conv_pos", model.conv_pos(projected) - projected)
    if not model.cfg.layer_norm_first:
        reference.check("encoder_input_ln", model.extract_features(source, layers="all")["hidden_states"][0])


@torch.no_grad()
def test_quantized_frames_equal_the_reference(reference):
    reference.model.eval()
    if "quantized" in reference.outputs:
        quantized, codes = reference.model.quantize(reference.inputs["source"])
        reference.check("quantized", quantized)
        np.testing.assert_array_equal(codes[:2], reference.outputs["quantized_codes"])


@torch.no_grad()
def test_the_masked_pass_equals_the_reference_in_eval_mode(reference):
    reference.model.eval()
    output = replay(reference, "eval")
    reference.check("eval/pred_logits", output["pred_logits"], 5e-5)
    for key in ("features_pen", "prob_perplexity", "code_perplexity", "num_vars"):
        reference.check(f"eval/out_{key}", output[key])
    check_terms(reference, "eval", output)
    if reference.name == "w2v_cmsc":
        reference.check("eval/out_features", output["masked_features"])
        reference.check("eval/pooled_features", output["masked_pooled"])


def test_loss_and_gradients_equal_the_reference_in_training_mode(reference):
    model = without_dropout(reference.model)
    model.zero_grad()
    output = replay(reference, "train")
    reference.check("train/pred_logits", output["pred_logits"], 5e-5)
    check_terms(reference, "train", output).backward()
    for name, parameter in model.named_parameters():
        if f"train/grad/{name}" in reference.outputs:
            close(parameter.grad, reference.outputs[f"train/grad/{name}"], 1e-4, name)
        else:
            assert name.endswith("k_proj.bias")


@torch.no_grad()
def test_a_padded_batch_equals_the_reference(reference):
    reference.model.eval()
    source, mask = reference.padded()
    for padding in (mask, mask[:, 0]):
        output = reference.model.extract_features(source, padding, layers="all")
        np.testing.assert_array_equal(output["padding_mask"], reference.outputs["pad/padding_mask"])
        reference.check("pad/x", output["features"])
        reference.check("pad/layer_1", output["hidden_states"][2])
    if reference.name == "w2v":
        output = replay(reference, "padloss", source, mask)
        reference.check("padloss/pred_logits", output["pred_logits"], 5e-5)
        check_terms(reference, "padloss", output)


@pytest.mark.parametrize("file", ["checkpoint_last.pt"])
@torch.no_grad()
def test_a_checkpoint_of_a_real_run_gives_its_outputs(golden, file):
    import scipy.io

    folder = golden / "fairseq_signals_trained"
    signals = [scipy.io.loadmat(folder / "synth" / f"synth_{i}.mat")["feats"] for i in range(3)]
    source = torch.from_numpy(np.stack(signals)).float()
    expected = np.load(folder / "expected.npz")
    model = load_model(folder / file)
    close(model(source)["features"], expected["pretrain_x"], 1e-5)
    convolved = model.layer_norm(model.convolve(source)[0])
    close(convolved, expected["pretrain_features"], 1e-5)
    found = model.quantizer(convolved)
    close(found["quantized"], expected["pretrain_quantizer_x"], 1e-5)
    np.testing.assert_array_equal(found["codes"], expected["pretrain_quantizer_targets"])
    for key in ("code_perplexity", "prob_perplexity"):
        close(found[key], expected[f"pretrain_{key}"], 1e-5)


@pytest.mark.parametrize("size, options, count", [
    ("base", {}, 90_883_072),
    ("large", {"encoder_layers": 24, "encoder_embed_dim": 1024, "encoder_ffn_embed_dim": 4096,
               "encoder_attention_heads": 16}, 311_940_352),
])  # fmt: skip
def test_state_dict_of_the_published_sizes(golden, size, options, count):
    with torch.device("meta"):
        model = build(
            "model", "wav2vec2_cmsc", apply_mask=True, quantize_targets=True, final_dim=256, in_d=12, **options
        )
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    expected = json.loads((golden / "wcr" / f"state_dict_{size}.json").read_text())
    assert list(shapes.items()) == list(expected.items())
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize("options", [
    {"quantize_input": True},
    {"quantize_input": True, "same_quantizer": True},
    {"negatives_from_everywhere": True, "cross_sample_negatives": 3},
    {"codebook_negatives": 4, "target_glu": True},
    {"final_dim": 0, "quantize_targets": False, "cross_sample_negatives": 2},
    {"extractor_mode": "layer_norm", "conv_bias": True, "layer_norm_first": True, "encoder_layerdrop": 0.3},
    {"mask_channel_prob": 0.3, "mask_channel_length": 2, "mask_selection": "poisson"},
    {"conv_feature_layers": "[(8, 5, 3), (16, 3, 2)]", "no_mask_overlap": True},
    {"in_d": 1, "num_negatives": 0, "cross_sample_negatives": 5},
])  # fmt: skip
def test_every_option_trains_with_and_without_padding(options):
    torch.manual_seed(0)
    model = build("model", "wav2vec2", **{**TINY, **options}).train()
    source = torch.randn(3, model.cfg.in_d, 800)
    padding = torch.arange(800).expand(3, -1) >= torch.tensor([800, 640, 500])[:, None]
    for mask in (None, padding):
        output = model(source, mask, mask=True)
        negatives = sum(
            options.get(key, TINY.get(key, 0))
            for key in ("num_negatives", "cross_sample_negatives", "codebook_negatives")
        )
        assert output["pred_logits"].shape[:2] == (1 + negatives, 3)
        output["pred_logits"].flatten(1).t().log_softmax(dim=1)[:, 0].sum().backward()
    if mask is not None and not options.get("encoder_layerdrop"):
        assert all(parameter.grad is not None for parameter in model.parameters())


def test_padding_never_changes_an_item_and_published_arithmetic_does():
    torch.manual_seed(0)
    source = torch.randn(2, 12, 800)
    padding = torch.zeros(2, 800, dtype=torch.bool)
    padding[1, 560:] = True
    source[1, :, 560:] = 0
    ours = build("model", "wav2vec2", **TINY).eval()
    theirs = build("model", "wav2vec2", **TINY, include_padding=True, pooling="nonzero").eval()
    theirs.load_state_dict(ours.state_dict())
    with torch.no_grad():
        alone = source[1:, :, :560]
        torch.testing.assert_close(ours(source, padding)["pooled"][1:], ours(alone)["pooled"])
        assert not torch.allclose(theirs(source, padding)["pooled"][1:], theirs(alone)["pooled"], atol=1e-3)
        torch.testing.assert_close(ours(source)["pooled"], theirs(source)["pooled"])


@pytest.mark.parametrize("options", [
    {"negatives_from_everywhere": True},
    {"quantize_input": True, "quantize_targets": False},
    {"quantize_input": True, "same_quantizer": True, "negatives_from_everywhere": True},
])  # fmt: skip
def test_padded_frames_use_no_codewords(options):
    torch.manual_seed(0)
    source = torch.randn(2, 12, 800)
    source[1, :, 560:] = 0
    padding = torch.zeros(2, 800, dtype=torch.bool)
    padding[1, 560:] = True
    longer = F.pad(source, (0, 160)), F.pad(padding, (0, 160), value=True)
    model = build("model", "wav2vec2", **{**TINY, "quantize_targets": True, **options}).eval()
    frames = [model.feature_extractor.frames(samples) for samples in (800, 960)]
    hidden = [torch.arange(count).expand(2, -1) % 8 < 2 for count in frames]
    hidden[1] = F.pad(hidden[0], (0, frames[1] - frames[0]))
    for mask in hidden:
        mask[:, model.feature_extractor.frames(560) :] = False
    with torch.no_grad():
        short, long = (
            model(*given, mask=True, mask_indices=mask) for given, mask in zip(((source, padding), longer), hidden)
        )
    for key in ("prob_perplexity", "code_perplexity"):
        torch.testing.assert_close(short[key], long[key])


def test_the_same_seed_gives_the_same_step_and_another_seed_another():
    model = build("model", "wav2vec2_cmsc", **TINY, dropout_input=0.1, dropout_features=0.1).train()
    source = torch.randn(3, 12, 800)

    def step(seed):
        torch.manual_seed(seed)
        return model(source, mask=True)["pred_logits"]

    assert torch.equal(step(1), step(1))
    assert not torch.equal(step(1), step(2))


def test_inference_draws_nothing():
    model = build("model", "wav2vec2_cmsc", **TINY, encoder_layerdrop=0.9).eval()
    before = torch.get_rng_state()
    model(torch.randn(2, 12, 400, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize("across", [0, 3])
def test_negatives_are_never_the_frame_itself_and_reach_all_others(across):
    own = torch.tensor([[0, 3, 4], [1, 2, 5]])
    drawn = draw_negatives(own, torch.tensor([5, 6]), stride=8, in_item=200, across=across * 100).view(2, 3, -1)
    for item, count in enumerate((5, 6)):
        for frame in range(3):
            inside = set(drawn[item, frame, :200].tolist())
            mine = item * 8 + int(own[item, frame])
            assert inside == {item * 8 + place for place in range(count)} - {mine}
            if across:
                assert set(drawn[item, frame, 200:].tolist()) == {*range(5), *range(8, 14)} - {mine}


def test_a_negative_equal_to_the_positive_does_not_count():
    torch.manual_seed(0)
    model = build("model", "wav2vec2", **{**TINY, "latent_vars": 1}).eval()
    logits = model(torch.randn(2, 12, 800), mask=True)["pred_logits"]
    assert torch.isfinite(logits[0]).all() and torch.isinf(logits[1:]).all()


def test_the_temperature_follows_the_updates():
    model = build("model", "wav2vec2", **TINY, latent_temp=[2.0, 0.5, 0.9])
    model.before_forward(3)
    assert model(torch.randn(2, 12, 800), mask=True)["temp"].item() == pytest.approx(2 * 0.9**3)
    model.before_forward(1000)
    assert model.quantizer.temperature == 0.5


@pytest.mark.parametrize("options, message", [
    ({"apply_mask": False}, "model.apply_mask=true"),
    ({"mask_prob": 0.0}, "model.mask_prob=0.65"),
    ({"latent_groups": 3}, "model.latent_dim"),
    ({"encoder_attention_heads": 3}, "model.encoder_attention_heads"),
    ({"conv_feature_layers": "[(8, 2)]"}, "(dim, kernel, stride)"),
    ({"conv_feature_layers": "__import__('os').getcwd()"}, "conv_feature_layers"),
    ({"codebook_negatives": 3, "quantize_targets": False}, "model.quantize_targets=true"),
    ({"in_d": 8}, "model.in_d"),
    ({"in_d": 0}, "model.in_d=0"),
    ({"encoder_attention_heads": 0}, "model.encoder_attention_heads"),
    ({"latent_groups": 0}, "model.latent_groups to 1 or more"),
])  # fmt: skip
def test_options_that_do_not_fit_say_what_to_set(options, message):
    with pytest.raises(ConfigError) as error:
        build("model", "wav2vec2", **{**TINY, **options})(torch.randn(2, 12, 800), mask=True)
    assert message in str(error.value)
