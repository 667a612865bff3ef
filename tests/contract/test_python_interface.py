"""What Python code may rely on: names to import, the keys of a model's output, masks of either shape."""

import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from test_models import NAMES, TEXTS_ALONE, make

import ecg_signals
from ecg_signals.registry import build

ROOT = Path(__file__).parents[2]
DEPTH = ("encoder_layers", "num_hidden_layers", "num_blocks")


def test_every_exported_function_resolves_and_is_documented():
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    for name in ecg_signals._LAZY:
        function = getattr(ecg_signals, name)
        assert callable(function) and function.__doc__ and name in dir(ecg_signals)
        assert f"ecg_signals.{name}(" in page, name
    with pytest.raises(AttributeError, match="no attribute 'load_modell'"):
        _ = ecg_signals.load_modell


@pytest.mark.parametrize(
    ("module", "names"),
    [
        ("ecg_signals.registry", "build register_model register_task register_criterion register_dataset"),
        ("ecg_signals.registry", "register_optimizer register_lr_scheduler import_user_dir"),
        ("ecg_signals.models", "build_model_from_checkpoint"),
        ("ecg_signals.models.classification.ecg_transformer_classifier", "ECGTransformerClassificationModel"),
        ("ecg_signals.utils.store", "MemmapReader MemmapBatchWriter memmap_batch_process"),
    ],
)
def test_import_paths_that_others_type_stay(module, names):
    found = importlib.import_module(module)
    assert all(hasattr(found, name) for name in names.split())


def test_importing_the_package_is_light():
    code = (
        "import sys, ecg_signals\n"
        "heavy = {'torch', 'transformers', 'pandas', 'wfdb', 'sklearn', 'matplotlib', 'hydra'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_outputs_answer_our_names_and_the_peers(name):
    model, source = make(name)
    output = model.eval()(source)
    batch = len(output["features"])
    assert output["pooled"].shape[0] == batch and output["saliency"] is None
    assert torch.equal(output["encoder_out"], output["features"]) and torch.equal(output["x"], output["features"])
    count = getattr(model.cfg, "num_labels", getattr(model.cfg, "output_dim", None))
    if model.of_samples:
        assert output["logits"].shape[:2] == (batch, source.shape[-1]) and output["logits"].dim() == 3
    elif count is not None:
        assert output["logits"].shape == (batch, count) and "out" in output
    else:
        assert "logits" not in output and "out" not in output
    with pytest.raises(KeyError):
        _ = output["nothing"]


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_hidden_states_are_the_input_and_every_layer(name):
    model, source = make(name)
    output = model.eval().extract_features(source, layers="all")
    assert torch.equal(output["features"], model(source)["features"])
    states = output["hidden_states"]
    depth = next((getattr(model.cfg, key) for key in DEPTH if hasattr(model.cfg, key)), None)
    if depth is not None and not name.startswith("se_wrn"):  # whose blocks come in groups
        assert len(states) == depth + 1
    assert len(states) > 1 and all(len(state) == len(source) and state.dim() >= 3 for state in states)


@pytest.mark.parametrize("name", [name for name in NAMES if name not in TEXTS_ALONE])
@torch.no_grad()
def test_a_mask_of_samples_and_the_same_for_every_lead_are_one(name):
    model, source = make(name)
    mask = torch.zeros(len(source), source.shape[-1], dtype=torch.bool)
    mask[1, -source.shape[-1] // 4 :] = True
    source = source.masked_fill(mask[:, None], 0.0)
    one, other = model.eval()(source, mask), model(source, mask[:, None].expand(source.shape))
    padding = one["padding_mask"]
    assert padding.dtype == torch.bool and padding.shape == one["features"].shape[:2]
    assert torch.equal(padding, other["padding_mask"]) and torch.equal(one["pooled"], other["pooled"])
    assert model(source, torch.zeros_like(mask))["padding_mask"] is None or not padding[0].any()


def test_build_takes_the_options_of_its_dataclass():
    sizes = {"encoder_layers": 1, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 16, "encoder_attention_heads": 2}
    convolutions = {"conv_feature_layers": "[(8, 4, 4)]", "conv_pos": 4, "conv_pos_groups": 2}
    model = build("model", "wav2vec2_cmsc", in_d=8, **sizes, **convolutions)
    assert model(torch.randn(1, 8, 100))["features"].shape[2] == 16
    assert isinstance(model.cfg.in_d, int) and model.labels is None and model.signal is None


def test_a_record_has_float32_millivolt_and_its_names(tmp_path):
    np.save(tmp_path / "ecg.npy", np.random.default_rng(0).normal(size=(2, 100)))
    record = ecg_signals.read_record(tmp_path / "ecg.npy", sample_rate=100, leads=["I", "II"])
    assert record.signal.dtype == np.float32 and record.signal.shape == (2, 100)
    assert (record.sample_rate, record.leads) == (100, ["I", "II"])
    assert isinstance(record.comments, list) and isinstance(record.metadata, dict)
