"""MERL beside reports: its language model, its files, and what becomes of report texts."""

import pytest
import torch
from text_material import write_bert
from transformers import BertModel

from ecg_signals import load_model
from ecg_signals.checkpoint.convert import convert
from ecg_signals.config import ConfigError
from ecg_signals.data.datasets.ecg_reports import sentences
from ecg_signals.data.text.tokenizer import Tokenizer
from ecg_signals.interop.layout import ModelSource, get_layout
from ecg_signals.registry import build

SIZES = {
    "encoder": {"_name": "merl_resnet", "width": 4}, "frames": 40, "out_dim": 8, "hidden_dim": 6, "text_dim": 16,
    "language_layers": 1, "language_ffn_dim": 16, "language_attention_heads": 2, "language_positions": 64,
    "vocab_size": 20,
}  # fmt: skip


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return write_bert(tmp_path_factory.mktemp("bert"))


def test_reports_are_read_as_transformers_reads_them_and_the_reader_never_trains(bert):
    model = build("model", "merl", **SIZES, language_model_path=str(bert))
    tokenizer = Tokenizer(bert)
    text, padding = tokenizer.batch([tokenizer.encode(report) for report in ("sinus rhythm.", "noise in st - lead")])
    with torch.no_grad():
        expected = BertModel.from_pretrained(bert)(input_ids=text, attention_mask=(~padding).long()).pooler_output
    torch.testing.assert_close(model.train().read(text, padding), expected, rtol=1e-5, atol=1e-6)
    net_input = {"source": torch.rand(2, 12, 600), "text": text, "text_padding_mask": padding}
    told = build("criterion", "merl")(model, {"net_input": net_input})
    vectors = {"source": net_input["source"], "text_pooled": expected}
    model.view_dropout.p = 0.0
    with torch.no_grad():
        same = [model.eval()(**inputs)["projected_text"] for inputs in (net_input, vectors)]
    torch.testing.assert_close(*same)
    told.loss.backward()
    assert all(value.grad is None for value in model.lm_model.parameters())
    assert model.proj_t[0].weight.grad.abs().sum() > 0


def test_without_a_language_model_and_for_long_texts_the_message_says_what_to_set(bert):
    sizes = {key: value for key, value in SIZES.items() if "language" not in key}
    with pytest.raises(ConfigError, match=r"model\.language_layers=12"):
        build("model", "merl", **sizes).read(torch.ones(1, 3, dtype=torch.long))
    with pytest.raises(ConfigError, match=r"65 tokens, but model\.language_positions=64; set task\.max_text_size=64"):
        build("model", "merl", **SIZES).read(torch.ones(1, 65, dtype=torch.long))
    with pytest.raises(ConfigError, match=r"model\.text_dim=16 with model\.language_attention_heads=3"):
        build("model", "merl", **SIZES | {"language_attention_heads": 3})


@pytest.mark.parametrize("old", [False, True])
def test_a_whole_file_keeps_its_language_model_in_any_layout(old, bert, tmp_path):
    model = build("model", "merl", **SIZES, language_model_path=str(bert))
    before = get_layout("merl").write(ModelSource("merl", {}, model.state_dict()))
    stored = {key.replace("LayerNorm.weight", "LayerNorm.gamma") if old and "lm_model" in key else key: value
              for key, value in before.items()}  # fmt: skip
    positions = {"lm_model.embeddings.position_ids": torch.arange(64)[None]} if old else {}
    torch.save({**stored, **positions}, tmp_path / "ckpt.pth")
    (tmp_path / "config.json").write_text('{"num_attention_heads": 2}')
    for source, dest, to in (("ckpt.pth", "folder", "hf"), ("folder", "a.pt", "fairseq"),
                             ("a.pt", "back.pth", "original")):  # fmt: skip
        convert(tmp_path / source, tmp_path / dest, to)
    after = torch.load(tmp_path / "back.pth", weights_only=True)
    assert list(after) == list(before) and all(torch.equal(after[key], value) for key, value in before.items())
    assert load_model(tmp_path / "ckpt.pth").cfg.language_attention_heads == 2


def test_another_kind_of_language_model_stays_in_the_file(bert, tmp_path):
    model = build("model", "merl", **SIZES)
    state = get_layout("merl").write(ModelSource("merl", {}, model.state_dict()))
    torch.save(state | {"lm_model.shared.weight": torch.zeros(3, 4)}, tmp_path / "ckpt.pth")
    assert load_model(tmp_path / "ckpt.pth").lm_model is None


@pytest.mark.parametrize("report, expected", [
    ("Sinus rhythm; Possible LVH; Borderline EKG", "sinus rhythm. possible lvh. borderline ecg."),
    ("*** consider Acute\nInfarct *** ", "consider acute infarct."), ("===normal ecg-=", "normal ecg."), ("", ""),
    ("sinus rhythm. ", "sinus rhythm."),
])  # fmt: skip
def test_statements_become_sentences_as_in_the_program(report, expected):
    assert sentences(report) == expected
