"""Keyword arguments of transformers are honoured or refused by name; Trainer resumes from what it wrote."""

import json
import logging

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from ecg_signals import load_model
from ecg_signals.config import ConfigError
from ecg_signals.interop.fairseq_signals.contract import ecg_fm
from ecg_signals.interop.hubert_ecg.contract import hubert_ecg
from ecg_signals.interop.huggingface.layout import write_folder
from ecg_signals.interop.layout import ModelSource
from ecg_signals.registry import build

transformers = pytest.importorskip("transformers")

import ecg_signals.hf  # noqa: E402

TRANSFORMER = {
    "encoder_layers": 2,
    "encoder_embed_dim": 16,
    "encoder_ffn_embed_dim": 32,
    "encoder_attention_heads": 4,
    "conv_feature_layers": "[(8, 4, 4)] * 3",
    "conv_pos": 8,
    "conv_pos_groups": 4,
}
HUBERT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "conv_dim": [8, 8, 8, 8, 8],
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 4,
}
CLASSIFIERS = {
    "ours": ("ecg_transformer_classifier", {**TRANSFORMER, "no_pretrained_weights": True}, ecg_fm),
    "hubert": ("hubert_ecg_classifier", HUBERT, hubert_ecg),
    "hubert_mlp": ("hubert_ecg_classifier", {**HUBERT, "classifier_hidden_size": 12}, hubert_ecg),
}
LABELS = ["NORM", "AFIB", "LBBB"]


def folder_of(root, name, options, contract, labels=None):
    torch.manual_seed(0)
    model = build("model", name, **options, **({"num_labels": len(labels)} if labels else {}))
    options = {key: value for key, value in model.cfg.to_dict().items() if key != "_name"}
    write_folder(ModelSource(name, options, model.state_dict(), labels, contract()), root)
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("hf")
    made = {name: folder_of(root / name, *about, labels=LABELS) for name, about in CLASSIFIERS.items()}
    made["headless"] = folder_of(root / "headless", "ecg_transformer", TRANSFORMER, ecg_fm)
    made["convolutions"] = folder_of(
        root / "convolutions", "se_wrn_classifier", {"no_pretrained_weights": True}, ecg_fm, LABELS
    )
    return made


def source_for(model, batch=2):
    torch.manual_seed(1)
    return torch.rand(batch, 12, model.model.signal.window_samples) * 2 - 1


def classifier(folder, **kwargs):
    return transformers.AutoModelForSequenceClassification.from_pretrained(folder, **kwargs)


def by_config(folder, **kwargs):
    config = transformers.AutoConfig.from_pretrained(folder, num_labels=5)
    return classifier(folder, config=config, **kwargs)


def by_argument(folder, **kwargs):
    return classifier(folder, num_labels=5, **kwargs)


def by_the_class_itself(folder, **kwargs):
    base = ecg_signals.hf.HuBERTECGForClassification if "hubert" in folder.name else None
    return (base or ecg_signals.hf.EcgSignalsForSequenceClassification).from_pretrained(folder, num_labels=5, **kwargs)


@pytest.mark.parametrize("way", [by_argument, by_config, by_the_class_itself])
@pytest.mark.parametrize("name", CLASSIFIERS)
def test_another_number_of_labels_gives_a_fresh_head_of_that_size(folders, tmp_path, caplog, name, way):
    with pytest.raises(ConfigError, match=r"head for 3 labels, num_labels=5; add ignore_mismatched_sizes=True"):
        way(folders[name])
    with caplog.at_level(logging.WARNING):
        model = way(folders[name], ignore_mismatched_sizes=True)
    assert caplog.text.count("starts with random weights for 5 unnamed labels") == 1
    assert model.config.num_labels == 5 and model(source_for(model)).logits.shape == (2, 5)
    assert model.model.labels is None and len(model.config.id2label) == 5
    old = load_model(folders[name]).state_dict()
    kept = {key for key, value in model.state_dict().items() if value.shape == old[key].shape}
    assert all(torch.equal(model.state_dict()[key], old[key]) for key in kept) and len(old) - len(kept) in (1, 2)
    model.save_pretrained(tmp_path)
    again = classifier(tmp_path)
    assert again.config.num_labels == 5 and again.model.labels is None
    torch.testing.assert_close(again(source_for(model)).logits, model.eval()(source_for(model)).logits)


def test_names_of_labels_follow_the_config(folders, tmp_path):
    renamed = {0: "normal", 1: "fibrillation", 2: "block"}
    model = classifier(folders["ours"], id2label=renamed, label2id={name: key for key, name in renamed.items()})
    assert model.model.labels == list(renamed.values()) == list(model.config.id2label.values())
    model.save_pretrained(tmp_path)
    assert load_model(tmp_path).labels == list(renamed.values())
    two = {0: "no", 1: "yes"}
    model = classifier(folders["hubert"], num_labels=2, id2label=two, ignore_mismatched_sizes=True)
    assert model.model.labels == ["no", "yes"] and model(source_for(model)).logits.shape == (2, 2)
    assert classifier(folders["ours"]).model.labels == LABELS


def test_a_model_without_a_head_says_so(folders):
    with pytest.raises(ConfigError, match="'ecg_transformer', which has no head for num_labels=5"):
        transformers.AutoModel.from_pretrained(folders["headless"], num_labels=5, ignore_mismatched_sizes=True)
    with pytest.raises(ConfigError, match=r"no option num_labels.*'classifier', model_path=.*num_labels=5"):
        load_model(folders["headless"], num_labels=5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, "bfloat16"])
def test_dtype_is_the_weights_type(folders, dtype):
    for key in ("dtype", "torch_dtype"):
        model = classifier(folders["ours"], **{key: dtype})
        assert {value.dtype for value in model.parameters()} == {torch.bfloat16}


def test_dtype_auto_is_the_type_of_the_file(folders, tmp_path):
    classifier(folders["hubert"], dtype=torch.float16).save_pretrained(tmp_path)
    assert next(classifier(tmp_path, dtype="auto").parameters()).dtype == torch.float16
    assert next(load_model(tmp_path).parameters()).dtype == torch.float32


@pytest.mark.parametrize("place", ["cpu", torch.device("cpu"), {"": "cpu"}])
def test_a_device_map_of_one_device_is_that_device(folders, place):
    model = ecg_signals.hf.EcgSignalsModel.from_pretrained(folders["ours"], device_map=place)
    assert next(model.parameters()).device.type == "cpu"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"device_map": {"model.encoder": "cpu", "model.proj": "meta"}}, "spreads the model"),
        ({"device_map": "nowhere"}, "'nowhere' is no device"),
        ({"dtype": "int8"}, "dtype='int8'"),
        ({"quantization_config": {"load_in_8bit": True}}, "quantization_config"),
        ({"num_lables": 5}, "num_lables=5"),
        ({"gguf_file": "x.gguf"}, "gguf_file='x.gguf'"),
    ],
)
def test_what_is_not_honoured_is_refused_by_name(folders, arguments, named):
    with pytest.raises(ConfigError, match=named):
        ecg_signals.hf.EcgSignalsForSequenceClassification.from_pretrained(folders["ours"], **arguments)


def test_options_of_the_model_and_of_its_config_are_honoured(folders):
    model = classifier(folders["ours"], attention_dropout=0.25, final_dropout=0.5)
    assert (model.model.cfg.attention_dropout, model.model.final_dropout.p) == (0.25, 0.5)
    config = transformers.AutoConfig.from_pretrained(folders["hubert"])
    config.hidden_dropout = 0.3
    model = classifier(folders["hubert"], config=config)
    assert model.model.cfg.hidden_dropout == 0.3
    assert ecg_signals.hf.HuBERTECGForClassification(model.config).model.cfg.hidden_dropout == 0.3
    built = transformers.AutoModelForSequenceClassification.from_config(
        transformers.AutoConfig.from_pretrained(folders["ours"], num_labels=7)
    )
    assert built(torch.randn(1, 12, 500)).logits.shape == (1, 7) and built.model.labels is None


def test_weights_may_be_given(folders):
    state = {key: torch.zeros_like(value) for key, value in load_file(folders["ours"] / "model.safetensors").items()}
    model = ecg_signals.hf.EcgSignalsForSequenceClassification.from_pretrained(folders["ours"], state_dict=state)
    assert all(not value.any() for value in model.parameters())


def test_what_a_config_says_about_outputs_holds_without_saying_it_again(folders):
    model = classifier(folders["hubert"], output_hidden_states=True, output_attentions=True)
    output = model(source_for(model))
    assert len(output.hidden_states) == 3 and len(output.attentions) == 2
    assert model(source_for(model), output_attentions=False).attentions is None
    model = classifier(folders["hubert"], return_dict=False)
    output = model(source_for(model), labels=torch.ones(2, 3))
    assert isinstance(output, tuple) and output[0].dim() == 0 and output[1].shape == (2, 3)
    assert model(source_for(model), return_dict=True).logits.shape == (2, 3)


@pytest.mark.parametrize("name", ["ours", "hubert"])
@torch.no_grad()
def test_attentions_are_the_weights_that_mix_the_values(folders, name):
    """With one head, the values mixed by them are what the layer gives to its output projection."""
    model = classifier(folders[name])
    layers = [m for m in model.modules() if hasattr(m, "v_proj")]
    seen = []
    hooks = [m.register_forward_pre_hook(lambda m, args: seen.append(m.v_proj(args[0]))) for m in layers]
    mixed = []
    hooks += [m.out_proj.register_forward_pre_hook(lambda m, args: mixed.append(args[0])) for m in layers]
    source = source_for(model)
    mask = torch.ones(2, source.shape[-1], dtype=torch.long)
    mask[1, source.shape[-1] // 2 :] = 0
    output = model(source, attention_mask=mask, output_attentions=True)
    for hook in hooks:
        hook.remove()
    for weights, values, found in zip(output.attentions, seen, mixed, strict=True):
        values = values.unflatten(-1, (4, -1)).transpose(1, 2)
        torch.testing.assert_close((weights @ values).transpose(1, 2).flatten(2), found, rtol=1e-4, atol=1e-5)


def test_attentions_of_a_network_without_attention_are_refused(folders):
    model = classifier(folders["convolutions"])
    with pytest.raises(ConfigError, match="'se_wrn_classifier' has no attention"):
        model(torch.randn(1, 12, 500), output_attentions=True)
    with pytest.raises(ValueError, match=r"does not support \w+ checkpointing"):
        model.gradient_checkpointing_enable()


def test_problem_type_says_what_the_labels_are(folders, tmp_path):
    model = classifier(folders["ours"])
    source = source_for(model)
    logits = model(source).logits
    F = torch.nn.functional
    several = torch.tensor([[1, 0, 1], [0, 0, 1]])
    cases = {
        "multi_label_classification": (several, F.binary_cross_entropy_with_logits(logits, several.float())),
        "single_label_classification": (torch.tensor([2.0, 0.0]), F.cross_entropy(logits, torch.tensor([2, 0]))),
        "regression": (several, F.mse_loss(logits, several.float())),
    }
    for problem, (labels, expected) in cases.items():
        model = classifier(folders["ours"], problem_type=problem)
        torch.testing.assert_close(model(source, labels=labels).loss, expected)
    model.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text())["problem_type"] == "regression"
    unknown = torch.tensor([[1.0, float("nan"), 0.0], [0.0, 1.0, float("nan")]])
    known = ~unknown.isnan()
    expected = F.binary_cross_entropy_with_logits(logits[known], unknown[known])
    torch.testing.assert_close(classifier(folders["ours"])(source, labels=unknown).loss, expected)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_recomputing_blocks_changes_no_gradient(folders, name):
    gradients = []
    for recompute in (False, True):
        model = classifier(folders[name]).train()
        if recompute:
            model.gradient_checkpointing_enable()
            assert model.is_gradient_checkpointing
        model(source_for(model), labels=torch.ones(2, 3)).loss.backward()
        gradients.append({key: value.grad for key, value in model.named_parameters() if value.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for key, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][key], value, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["ours", "hubert", "headless"])
def test_a_written_file_holds_the_names_of_the_state_dict(folders, tmp_path, name):
    model = transformers.AutoModel.from_pretrained(folders[name])
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1.0)
    model.save_pretrained(tmp_path, state_dict=model.state_dict())
    stored = load_file(tmp_path / "model.safetensors")
    assert stored.keys() == model.state_dict().keys() == load_file(folders[name] / "model.safetensors").keys()
    fresh = transformers.AutoModel.from_pretrained(folders[name])
    result = fresh.load_state_dict(stored, strict=False)  # what Trainer does to resume
    assert not result.missing_keys and not result.unexpected_keys
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in fresh.state_dict().items())
    with_prefix = {f"model.{key}": value for key, value in stored.items()}
    assert not fresh.load_state_dict(with_prefix).missing_keys
    assert {type(each).__name__ for each in (model, transformers.AutoModel.from_pretrained(tmp_path))} == {
        type(model).__name__
    }


@pytest.mark.parametrize("name", ["ours", "hubert"])
def test_trainer_goes_on_where_it_stopped_and_reloads_the_best(folders, tmp_path, name):
    pytest.importorskip("accelerate")
    torch.manual_seed(0)
    samples = load_model(folders[name]).signal.window_samples
    data = [{"input_values": torch.rand(12, samples), "labels": torch.ones(3)} for _ in range(4)]

    def trainer(epochs, **settings):
        return transformers.Trainer(
            classifier(folders[name]),
            transformers.TrainingArguments(
                str(tmp_path), num_train_epochs=epochs, learning_rate=0.02, lr_scheduler_type="constant",
                per_device_train_batch_size=2, save_strategy="epoch", eval_strategy="epoch", report_to="none",
                use_cpu=True, disable_tqdm=True, logging_strategy="no", **settings,
            ),
            train_dataset=data, eval_dataset=data,
        )  # fmt: skip

    first = trainer(2, load_best_model_at_end=True, gradient_checkpointing=True)
    first.train()
    best = load_model(first.state.best_model_checkpoint)
    assert all(torch.equal(value, best.state_dict()[key]) for key, value in first.model.state_dict().items())
    assert first.predict(data).predictions.shape == (4, 3)
    stopped = load_model(tmp_path / "checkpoint-4")
    again = trainer(2)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))  # nothing is left to do
    for key, value in again.model.state_dict().items():
        assert torch.equal(value, stopped.state_dict()[key]), key
    again = trainer(3)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert again.state.global_step == 6 and np.isfinite(again.evaluate()["eval_loss"])
