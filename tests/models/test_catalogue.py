"""What `list_models` says is what building the model gives, and docs/models.md says the same."""

import subprocess
from pathlib import Path

import pytest
import torch
from warm_commands import python

import ecg_signals
from ecg_signals.interop.hubert_ecg.contract import hubert_ecg
from ecg_signals.models.catalogue import PUBLISHED
from ecg_signals.models.hubert.hubert_ecg import HubertEcg, HubertEcgConfig
from ecg_signals.registry import build, register_model
from ecg_signals.signal.segments import segment_contract

ROOT = Path(__file__).parents[2]
HUBERT_SIZES = {
    "small": {"hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8, "intermediate_size": 2048},
    "base": {},
    "large": {"hidden_size": 960, "num_hidden_layers": 16, "num_attention_heads": 12, "intermediate_size": 3840},
}


@pytest.fixture(scope="module")
def listed():
    """What is listed, by name; `my_pretraining` is a plugin's."""
    register_model("my_pretraining", dataclass=HubertEcgConfig)(type("MyPretraining", (HubertEcg,), {}))
    try:
        return {model.name: model for model in ecg_signals.list_models()}
    finally:
        del register_model.entries["my_pretraining"]


def test_every_registered_model_is_listed_with_a_line_that_builds_it(listed):
    assert set(register_model.names()) <= set(listed)
    for name in ("se_wrn", "nejedly2021resnet_classifier"):
        options = {"num_labels": 1, "no_pretrained_weights": True} if "classifier" in name else {}
        assert sum(value.numel() for value in build("model", name, **options).parameters()) == listed[name].parameters
    assert all(model.load and model.licence and "leads" in model.input for model in listed.values())
    assert all(str(model.parameters).isdigit() for model in listed.values())


@pytest.mark.parametrize("size", HUBERT_SIZES)
def test_the_published_sizes_of_hubert_ecg_are_those_of_the_built_model(size):
    (listed,) = [model for model in PUBLISHED if model.name.endswith(f"hubert-ecg-{size}")]
    with torch.device("meta"):
        model = build("model", "hubert_ecg", **HUBERT_SIZES[size])
    heads = ("final_proj.", "label_embedding.")
    count = sum(value.numel() for name, value in model.named_parameters() if not name.startswith(heads))
    assert listed.parameters == count and listed.licence == "CC BY-NC 4.0"


def test_the_published_sizes_of_ecg_fm_are_those_of_the_built_model():
    pretrained, classifier = PUBLISHED[:2]
    with torch.device("meta"):
        model = build("model", "wav2vec2_cmsc", apply_mask=True, quantize_targets=True, final_dim=256)
        head = build("model", "ecg_transformer_classifier", num_labels=17, no_pretrained_weights=True)
    assert pretrained.parameters == sum(value.numel() for value in model.parameters())
    assert classifier.parameters == sum(value.numel() for value in head.parameters())


def test_the_page_of_models_is_up_to_date():
    done = subprocess.run([python(), "tools/model_table.py", "--check"], cwd=ROOT)
    assert done.returncode == 0, "models changed: run `python tools/model_table.py` and commit docs/models.md"


def test_a_model_says_itself_what_input_it_is_trained_on(listed):
    assert listed["my_pretraining"].signal == hubert_ecg()
    assert listed["se_wrn"].signal == segment_contract()
