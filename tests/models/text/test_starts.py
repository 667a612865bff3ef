"""What models of texts begin with: BERT's weights, a pretrained ECG encoder, a model pretrained on reports."""

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from ecg_signals import load_model
from ecg_signals.config import ConfigError
from ecg_signals.registry import build

SMALL = yaml.safe_load((Path(__file__).parents[2] / "contract/small.yaml").read_text())["model"]
SOURCE = torch.randn(2, 12, 400, generator=torch.Generator().manual_seed(0))
TEXT = torch.tensor([[1, 5, 6, 2]] * 2)


def options(name, **more):
    return {**SMALL[name]["options"], **more}


def stored(model, path):
    section = {**model.cfg.to_dict(), "_name": model.cfg._name}
    torch.save({"cfg": {"model": section}, "model": model.state_dict()}, path)
    return str(path)


@pytest.fixture
def bert(tmp_path):
    """A folder as BERT's is: names of older files, a pooler, another model around it."""
    torch.manual_seed(1)
    state = build("model", "m3ae", **options("m3ae")).language_encoder.state_dict()
    names = {key: f"bert.{key}".replace("LayerNorm.weight", "LayerNorm.gamma") for key in state}
    extra = {"bert.pooler.dense.weight": torch.zeros(12, 12), "bert.embeddings.position_ids": torch.arange(8)}
    folder = tmp_path / "bert"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    save_file({**{names[key]: value for key, value in state.items()}, **extra}, folder / "model.safetensors")
    return folder, state


def test_the_texts_side_begins_with_bert(bert):
    folder, state = bert
    model = build("model", "m3ae", **options("m3ae", load_pretrained_weights=True, language_model_path=str(folder)))
    assert all(torch.equal(value, state[key]) for key, value in model.language_encoder.state_dict().items())
    sizes = {"encoder_embed_dim": 12, "load_bert_embedding": True, "language_model_path": str(folder)}
    blind = build("model", "blind_transformer_qa", **options("blind_transformer_qa", **sizes))
    assert torch.equal(blind.language_embedding.weight, state["embeddings.word_embeddings.weight"])
    assert torch.equal(blind.token_type_embedding.weight, state["embeddings.token_type_embeddings.weight"])
    sizes = {**options("blind_transformer_qa", **sizes), "max_text_size": 5, "encoder_attention_heads": 2}
    short = build("model", "blind_transformer_qa", **sizes)
    assert torch.equal(short.position_embedding.weight, state["embeddings.position_embeddings.weight"][:5])


def test_heads_of_the_texts_side_are_berts_and_not_those_of_the_layers_above(bert):
    folder, _ = bert
    wide = options("m3ae", language_embed_dim=768, hidden_dim=24, num_heads=4)
    model = build("model", "m3ae", **wide)
    assert model.language_encoder.encoder.layer[0].attention.heads == 12
    with pytest.raises(ConfigError, match=r"model\.language_attention_heads=5 does not divide"):
        build("model", "m3ae", **options("m3ae", language_attention_heads=5))
    (folder / "config.json").write_text(json.dumps({"model_type": "bert", "num_attention_heads": 3}))
    with pytest.raises(ConfigError, match=r"has 3 attention heads, not 2; set model\.language_attention_heads=3"):
        build("model", "m3ae", **options("m3ae", load_pretrained_weights=True, language_model_path=str(folder)))


def test_without_a_folder_of_berts_weights_the_message_says_what_to_type(bert):
    with pytest.raises(ConfigError, match=r"model\.language_model_path.*model\.load_pretrained_weights=false"):
        build("model", "m3ae", **options("m3ae", load_pretrained_weights=True))
    with pytest.raises(ConfigError, match=r"model\.load_bert_embedding=false"):
        build("model", "medvill", **options("medvill", load_bert_embedding=True))
    with pytest.raises(ConfigError, match="of another shape"):
        build("model", "medvill", **options("medvill", load_bert_embedding=True, language_model_path=str(bert[0])))


def test_the_ecgs_side_begins_with_a_pretrained_encoder_and_its_sizes(tmp_path):
    torch.manual_seed(2)
    encoder = build("model", "wav2vec2_cmsc", **options("wav2vec2_cmsc", encoder_layers=3))
    path = stored(encoder, tmp_path / "encoder.pt")
    kept = {key: value for key, value in options("m3ae").items() if not key.startswith("encoder_")}
    model = build("model", "m3ae", **kept, pretrained_model_path=path)
    assert model.cfg.encoder_layers == 3
    torch.testing.assert_close(model.ecg_encoder.eval()(SOURCE)["features"], encoder.eval()(SOURCE)["features"])


@pytest.mark.parametrize(("pretrained", "head"), [
    ("m3ae", "m3ae_qa"), ("medvill", "ecg_language_transformer_classifier"), ("wav2vec2_cmsc", "deaf_transformer_qa"),
])  # fmt: skip
def test_a_head_takes_over_the_encoder_that_was_pretrained(pretrained, head, tmp_path):
    torch.manual_seed(3)
    before = build("model", pretrained, **options(pretrained)).eval()
    path = stored(before, tmp_path / "before.pt")
    model = build("model", head, model_path=path, num_labels=4, num_ecgs=2).eval()
    encoder = model.encoder if head != "deaf_transformer_qa" else model
    after, published = encoder(SOURCE)["features"], load_model(path)  # as trained by fairseq-signals
    expected = before if head == "deaf_transformer_qa" else published
    if pretrained == "medvill":  # which was trained to read no later token
        expected.cfg.attn_mask_type = "bidirectional"
    torch.testing.assert_close(after, expected(SOURCE)["features"], rtol=1e-4, atol=1e-4)
    assert model(SOURCE, ecg_2=SOURCE)["logits"].shape == (2, 4)


def test_another_separator_than_the_pretrained_models_is_refused(tmp_path):
    path = stored(build("model", "medvill", **options("medvill")), tmp_path / "before.pt")
    with pytest.raises(ConfigError, match=r"model\.sep_token=5"):
        build("model", "ecg_language_transformer_classifier", model_path=path, num_labels=4, sep_token=5)


def test_texts_that_do_not_fit_are_named():
    model = build("model", "medvill", **options("medvill"))
    with pytest.raises(ConfigError, match=r"task\.max_text_size=8"):
        model(SOURCE, text=torch.zeros(2, 9, dtype=torch.long))
    with pytest.raises(ConfigError, match="a row for each of 2 ECGs"):
        model(SOURCE, text=torch.zeros(3, 4, dtype=torch.long))


def test_medvill_asks_for_as_many_tokens_of_every_text_and_for_no_separator():
    model = build("model", "medvill", **options("medvill", mask_ratio=[0.5, 0.5, 0.25, 0.25]))
    text = torch.tensor([[1, 5, 6, 7, 2, 0, 0, 0], [1, 5, 6, 7, 8, 9, 2, 0]])
    for seed in range(10):
        torch.manual_seed(seed)
        output = model(SOURCE, text=text, text_padding_mask=text == 0, mask=True)
        assert len(output["mlm_targets"]) in (2, 4, 6)
        assert not set(output["mlm_targets"].tolist()) & {0, 2}


def test_a_token_of_bi_ar_reads_no_later_one():
    model = build("model", "medvill", **options("medvill", encoder_layers=1)).eval()  # more read through the ECG
    text = torch.tensor([[1, 5, 6, 7]] * 2)
    other = text.clone()
    other[:, 3] = 9
    first, second = (model(SOURCE, text=one)["text_features"] for one in (text, other))
    torch.testing.assert_close(first[:, :3], second[:, :3])
    assert not torch.allclose(first[:, 3], second[:, 3])


def test_dropout_of_the_input_is_of_the_blind_models_words():
    rates = {"dropout_input": 1.0, "dropout": 0.0, "attention_dropout": 0.0}
    model = build("model", "blind_transformer_qa", **options("blind_transformer_qa", **rates)).train()
    other = torch.full_like(TEXT, 5)
    first, second = (model(SOURCE, text=text)["logits"] for text in (TEXT, other))
    torch.testing.assert_close(first, second)
    assert not torch.allclose(model.eval()(SOURCE, text=TEXT)["logits"], model(SOURCE, text=other)["logits"])


@pytest.mark.parametrize("name", ["ecg_language_transformer", "deaf_transformer_qa", "m3ae"])
def test_frames_are_hidden_of_every_ecg_for_itself(name, monkeypatch):
    """A first ECG that is padded in the middle of the sequence takes no frames from the second."""
    more = {} if name == "ecg_language_transformer" else {"num_ecgs": 2}
    more |= {"num_labels": 3} if name == "deaf_transformer_qa" else {}
    model = build("model", name, **options(name, **more, apply_mask=True, mask_prob=0.5, mask_length=1)).train()
    owner, asked = getattr(model, "ecg_encoder", model), []
    monkeypatch.setattr(owner, "draw_mask", lambda shape, padding: asked.append((tuple(shape), padding)))
    padding = torch.zeros(2, 400, dtype=torch.bool)
    padding[0, 200:] = True
    model.training_pass(SOURCE, padding, ecg_2=SOURCE, ecg_2_padding_mask=torch.zeros_like(padding))
    (first, hidden), (second, none) = asked
    assert first == second and none is None
    assert hidden[0, -1] and not hidden[0, 0] and not hidden[1].any()


@pytest.mark.parametrize("training", [True, False])
def test_medvill_hides_words_and_without_apply_mask_nothing_of_the_ecg(training):
    small = options("medvill", dropout=0.0, attention_dropout=0.0, mask_channel_prob=0.5, mask_channel_length=2)
    model = build("model", "medvill", **small).train(training)
    replay = {"text": TEXT, "text_mask_kind": torch.tensor([[1, 0, 2, 3]] * 2), "text_random_ids": TEXT}
    first, second = (model(SOURCE, mask=True, **replay) for _ in range(2))
    assert torch.equal(first["mlm_logits"], second["mlm_logits"])


def test_how_many_tokens_medvill_asks_for_is_rounded_once_for_texts_of_one_length():
    model = build("model", "medvill", **options("medvill", mask_ratio=[0.5, 0.5, 0.25, 0.25]))
    text = torch.tensor([[1, 5, 6, 2]]).expand(16, -1)  # three tokens to choose from: one or two are asked for
    counts = set()
    for seed in range(12):
        torch.manual_seed(seed)
        counts.add(len(model(SOURCE[:1].expand(16, -1, -1), text=text, mask=True)["mlm_targets"]))
    assert counts == {16, 32}


def test_medvill_must_ask_for_some_tokens():
    with pytest.raises(ConfigError, match=r"model\.mask_ratio.*above 0"):
        build("model", "medvill", **options("medvill", mask_ratio=[0, 0.8, 0.1, 0.1]))


def test_padding_that_is_read_as_words_is_so_in_every_call():
    small = options("ecg_language_transformer_classifier", num_ecgs=1, text_padding=False)
    model = build("model", "ecg_language_transformer_classifier", **small).eval()
    question = {"text": TEXT, "text_padding_mask": torch.tensor([[False, False, True, True]] * 2), "ecg_2": SOURCE}
    called, extracted = model(SOURCE, **question), model.extract_features(SOURCE, layers="all", **question)
    assert torch.equal(called["logits"], extracted["logits"]) and called["features"].shape == (2, 25, 16)
