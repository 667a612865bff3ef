"""The classifier and arcface on a pretrained encoder: reference outputs, and what is taken over from a file."""

import json
import logging

import numpy as np
import pytest
import scipy.io
import torch
import torch.nn.functional as F
from reference_models import Reference, close, without_dropout

from ecg_signals.checkpoint.load import load_model
from ecg_signals.config import ConfigError
from ecg_signals.registry import build


@pytest.fixture(scope="module")
def classifier(golden):
    torch.set_num_threads(1)
    return Reference(golden / "wcr" / "clf")


@torch.no_grad()
def test_logits_embeddings_and_layers_equal_the_reference(classifier):
    output = classifier.model.eval().extract_features(classifier.inputs["source"], layers="all")
    for key in ("logits", "encoder_out"):
        classifier.check(key, output[key])
    classifier.check("embedding", output["pooled"])
    for layer in range(3):
        classifier.check(f"layer_{layer}", output["hidden_states"][layer + 1])
    assert torch.equal(output["out"], output["logits"])


@torch.no_grad()
def test_saliency_equals_the_reference(golden, classifier):
    model = load_model(golden / "wcr" / "clf" / "checkpoint.pt", saliency=True)
    output = model(classifier.inputs["source"])
    classifier.check("sal/saliency", output["saliency"])
    classifier.check("sal/attn_max", output["saliency"][:, -1].amax(dim=-1))
    classifier.check("sal/logits", output["logits"])


@torch.no_grad()
def test_a_padded_batch_equals_the_reference(classifier):
    source, mask = classifier.padded()
    output = classifier.model.eval()(source, mask)
    np.testing.assert_array_equal(output["padding_mask"], classifier.outputs["pad/padding_mask"])
    for key in ("logits", "encoder_out"):
        classifier.check(f"pad/{key}", output[key])
    classifier.check("pad/embedding", output["pooled"])


@torch.no_grad()
def test_real_segments_get_the_reference_scores(golden, data, classifier):
    names = np.load(golden / "wcr" / "clf" / "inputs.npz")["cli/names"]
    signals = [scipy.io.loadmat(data / "code15" / "segmented" / name)["feats"] for name in names]
    logits = classifier.model.eval()(torch.from_numpy(np.stack(signals)).float())["logits"]
    classifier.check("cli/outputs", logits)


def test_five_updates_equal_the_reference(golden, classifier):
    model = without_dropout(load_model(golden / "wcr" / "clf" / "checkpoint.pt", dropout=0.0, activation_dropout=0.0))
    inputs, outputs = classifier.inputs, classifier.outputs
    parameters = list(model.parameters())
    moments = [(torch.zeros_like(p), torch.zeros_like(p)) for p in parameters]
    for update, order in enumerate(inputs["trace/order"]):
        model.zero_grad()
        logits = model(inputs["source"][order])["logits"]
        target, weight = inputs["label"][order], inputs["pos_weight"]
        loss = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction="sum")
        close(loss, outputs["trace/loss"][update], 1e-4)
        loss.backward()
        trained = [(p, m) for p, m in zip(parameters, moments) if p.grad is not None]
        grads = [p.grad / logits.numel() for p, _ in trained]
        close(torch.stack([g.norm() for g in grads]).norm(), outputs["trace/grad_norm"][update], 1e-4)
        adam_step(trained, grads, update + 1)
    final = {
        key.removeprefix("trace/final/"): value for key, value in outputs.items() if key.startswith("trace/final/")
    }
    assert final
    for name, value in final.items():
        close(model.get_parameter(name), value, 1e-4, name)


@torch.no_grad()
def adam_step(trained, grads, step, rate=1e-3, betas=(0.9, 0.98), eps=1e-8, decay=0.01):
    for (parameter, (mean, square)), grad in zip(trained, grads):
        mean.lerp_(grad, 1 - betas[0])
        square.mul_(betas[1]).addcmul_(grad, grad, value=1 - betas[1])
        parameter.mul_(1 - rate * decay)
        size = rate * (1 - betas[1] ** step) ** 0.5 / (1 - betas[0] ** step)
        parameter.addcdiv_(mean, square.sqrt() + eps, value=-size)


@torch.no_grad()
def test_a_checkpoint_of_a_real_run_gives_its_outputs(golden):
    folder = golden / "fairseq_signals_trained"
    signals = [scipy.io.loadmat(folder / "synth" / f"synth_{i}.mat")["feats"] for i in range(3)]
    source = torch.from_numpy(np.stack(signals)).float()
    expected = np.load(folder / "expected.npz")
    model = load_model(folder / "finetune" / "checkpoint_last.pt")
    output = model(source)
    close(output["logits"], expected["finetune_out"], 1e-5)
    close(output["features"], expected["finetune_encoder_out"], 1e-5)
    padding = torch.zeros(source.shape, dtype=torch.bool)
    padding[1, :, 2000:] = True
    output = model(source.masked_fill(padding, 0.0), padding)
    close(output["logits"], expected["finetune_out_padded"], 1e-5)
    np.testing.assert_array_equal(output["padding_mask"], expected["padding_mask_frames"])


def test_state_dict_of_the_published_classifier(golden):
    with torch.device("meta"):
        model = build("model", "ecg_transformer_classifier", num_labels=17, no_pretrained_weights=True)
        encoder = build("model", "ecg_transformer")
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    expected = json.loads((golden / "wcr" / "state_dict_base_finetune.json").read_text())
    assert list(shapes.items()) == list(expected.items())
    assert sum(parameter.numel() for parameter in model.parameters()) == 90_386_321
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 90_373_248


@torch.no_grad()
def test_arcface_equals_the_reference(golden):
    reference = Reference(golden / "wcr" / "arcface")
    output = reference.model(reference.inputs["source"])
    reference.check("embedding", output["pooled"])
    reference.check("cos_logits", output["logits"])
    reference.check("layer_last", output["features"])


@torch.no_grad()
def test_arcface_scales_the_columns_of_its_first_kernel_and_pools_no_padding(golden):
    model = build(
        "model", "arcface", model_path=str(golden / "wcr" / "w2v_cmsc" / "checkpoint.pt"), num_labels=5
    ).eval()
    torch.testing.assert_close(model.kernel.norm(dim=0), torch.ones(32))
    source = torch.randn(2, 12, 2500)
    padding = torch.zeros(2, 2500, dtype=torch.bool)
    padding[1, 2000:] = True
    model.encoder.cfg.include_padding = model.encoder.feature_extractor.over_padding = False
    padded = model(source.masked_fill(padding.unsqueeze(1), 0.0), padding)
    torch.testing.assert_close(padded["logits"][1:], model(source[1:, :, :2000])["logits"])


@torch.no_grad()
def test_pooled_contrastive_output_equals_the_reference(golden):
    reference = Reference(golden / "wcr" / "contrastive")
    base = reference.inputs["source_base"]
    views = [base * reference.inputs[f"survivors_view{view}"].unsqueeze(-1) for view in (1, 2)]
    output = reference.model(torch.stack(views, dim=1).flatten(0, 1))
    reference.check("pooled", output["pooled"])
    reference.check("x", output["features"])


@pytest.mark.parametrize("name", ["w2v_cmsc", "w2v", "clf", "contrastive"])
def test_an_encoder_and_its_sizes_are_taken_over_from_any_file(golden, name):
    path = golden / "wcr" / name / "checkpoint.pt"
    model = build(
        "model", "ecg_transformer_classifier", model_path=str(path), num_labels=3, activation_dropout=0.1
    ).eval()
    pretrained = load_model(path)
    source = torch.randn(2, 12, 1600)
    torch.testing.assert_close(model(source)["features"], pretrained(source)["features"])
    assert model.proj.weight.shape == (3, pretrained.cfg.encoder_embed_dim)
    assert model.cfg.encoder_layers == pretrained.cfg.encoder_layers and model.cfg.dropout == 0.0
    alone = build(
        "model", "ecg_transformer_classifier", **{**model.cfg.to_dict(), "_name": None, "no_pretrained_weights": True}
    )
    alone.load_state_dict(model.state_dict())
    torch.testing.assert_close(alone.eval()(source)["logits"], model(source)["logits"])


def test_masking_options_follow_the_file_only_where_masking_is_on(golden):
    path = str(golden / "wcr" / "w2v_cmsc" / "checkpoint.pt")
    plain = build("model", "ecg_transformer_classifier", model_path=path, num_labels=3)
    masked = build("model", "ecg_transformer_classifier", model_path=path, num_labels=3, apply_mask=True)
    assert plain.cfg.mask_prob == 0.0 and plain.encoder.mask_emb is None
    assert masked.cfg.mask_prob == 0.65
    source = torch.randn(2, 12, 2500)
    assert torch.equal(masked.eval()(source)["features"], plain.eval()(source)["features"])
    assert not torch.equal(masked.train()(source)["features"], plain(source)["features"])


def test_only_the_head_trains_while_frozen(golden):
    path = str(golden / "wcr" / "w2v_cmsc" / "checkpoint.pt")
    model = build("model", "ecg_transformer_classifier", model_path=path, num_labels=3, freeze_finetune_updates=2,
                  feature_grad_mult=1.0).train()  # fmt: skip
    for update in range(4):
        model.before_forward(update)
        model.zero_grad()
        model(torch.randn(2, 12, 1600))["logits"].sum().backward()
        trained = {name.split(".")[0] for name, parameter in model.named_parameters() if parameter.grad is not None}
        assert trained == ({"proj"} if update < 2 else {"proj", "encoder"})


def test_convolutions_get_no_gradient_by_default(golden):
    path = str(golden / "wcr" / "w2v_cmsc" / "checkpoint.pt")
    model = build("model", "ecg_transformer_classifier", model_path=path, num_labels=3).train()
    model(torch.randn(2, 12, 1600))["logits"].sum().backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {name for name, _ in model.named_parameters() if "feature_extractor" in name}


@pytest.mark.parametrize("options, message", [
    ({"model_path": "missing.pt"}, "missing.pt"),
    ({"model_path": "w2v_cmsc", "encoder_embed_dim": 64}, "leave model.encoder_embed_dim out"),
    ({"model_path": "w2v_cmsc", "encoder_attention_heads": 8}, "model.encoder_attention_heads"),
    ({"model_path": "w2v_cmsc", "normalize": True}, "task.normalize=false"),
    ({"model_path": "nejedly"}, "model.no_pretrained_weights=true"),
    ({"model_path": "???"}, "model_path"),
])  # fmt: skip
def test_a_file_that_does_not_fit_is_an_error_that_says_what_to_type(golden, options, message):
    files = {"w2v_cmsc": golden / "wcr/w2v_cmsc/checkpoint.pt", "nejedly": golden / "wcr/other_models/nejedly.pt"}
    path = options.pop("model_path")
    with pytest.raises(ConfigError) as error:
        build("model", "ecg_transformer_classifier", num_labels=3, model_path=str(files.get(path, path)), **options)
    assert message in str(error.value)


def test_random_weights_are_announced_unless_asked_for(caplog):
    small = {
        "encoder_layers": 1,
        "encoder_embed_dim": 16,
        "encoder_ffn_embed_dim": 16,
        "encoder_attention_heads": 2,
        "num_labels": 2,
    }
    with caplog.at_level(logging.WARNING):
        build("model", "ecg_transformer_classifier", **small)
        assert "model.model_path" in caplog.text
        caplog.clear()
        build("model", "ecg_transformer_classifier", **small, no_pretrained_weights=True, model_path="???")
        assert not caplog.text


def test_the_peer_import_paths_answer(golden):
    from ecg_signals.models import build_model_from_checkpoint
    from ecg_signals.models.classification.ecg_transformer_classifier import ECGTransformerClassificationModel

    model = build_model_from_checkpoint(checkpoint_path=golden / "wcr" / "clf" / "checkpoint.pt")
    assert isinstance(model, ECGTransformerClassificationModel)
