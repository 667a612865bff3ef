"""Every published checkpoint of fairseq-signals loads and gives the reference outputs."""

import numpy as np
import pytest
import torch

from ecg_signals import load_model
from ecg_signals.checkpoint.load import load_source

PRETRAINED = {
    "w2v_cmsc/checkpoint.pt": "w2v_cmsc",
    "w2v/checkpoint.pt": "w2v",
    "ckpt_variants/w2v_cmsc_omegaconf20_weightg.pt": "w2v_cmsc",
    "ckpt_variants/w2v_cmsc_omegaconf23.pt": "w2v_cmsc",
}
CLASSIFIERS = {
    "clf/checkpoint.pt": "clf",
    "ckpt_variants/clf_numpy1_meters.pt": "clf",
}


def run(file, source):
    model = load_model(file)
    with torch.no_grad():
        return model, model(torch.from_numpy(source))


def check(found, wanted, tolerance=1e-5):
    torch.testing.assert_close(found, torch.from_numpy(wanted), rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("file", PRETRAINED)
def test_pretrained_encoders_give_the_reference_features(golden, file):
    folder = golden / "wcr" / PRETRAINED[file]
    model, output = run(golden / "wcr" / file, np.load(folder / "inputs.npz")["source"][:2])
    check(output["features"], np.load(folder / "outputs.npz")["x"])
    assert model.signal.sample_rate == 500 and model.signal.window_samples == 2500 and len(model.signal.leads) == 12


@pytest.mark.parametrize("file", CLASSIFIERS)
def test_fine_tuned_classifiers_give_the_reference_logits(golden, file):
    folder = golden / "wcr" / CLASSIFIERS[file]
    _, output = run(golden / "wcr" / file, np.load(folder / "inputs.npz")["source"])
    check(output["logits"], np.load(folder / "outputs.npz")["logits"])
    check(output["pooled"], np.load(folder / "outputs.npz")["embedding"])


def test_checkpoints_of_a_whole_run_give_the_reference_outputs(golden):
    from scipy.io import loadmat

    folder = golden / "fairseq_signals_trained"
    expected = np.load(folder / "expected.npz")
    source = np.stack([loadmat(folder / "synth" / f"synth_{i}.mat")["feats"] for i in range(3)]).astype(np.float32)
    check(run(folder / "checkpoint_last.pt", source)[1]["features"], expected["pretrain_x"])
    output = run(folder / "finetune" / "checkpoint_last.pt", source)[1]
    check(output["logits"], expected["finetune_out"])
    check(output["features"], expected["finetune_encoder_out"])


def test_the_pretrained_file_of_a_fine_tuned_one_is_not_needed(golden):
    model = load_model(golden / "fairseq_signals_trained" / "finetune" / "checkpoint_last.pt")
    assert model.cfg.model_path == "pretrain/checkpoint_last.pt" and not model.cfg.no_pretrained_weights


@pytest.mark.parametrize("file", [*PRETRAINED, *CLASSIFIERS, "arcface/checkpoint.pt", "contrastive/checkpoint.pt"])
def test_trained_weights_come_in_the_order_of_the_file(golden, file):
    """The optimizer's state is stored by position, so parameters must come in fairseq-signals' order."""
    source = load_source(golden / "wcr" / file)
    stored = [key for key in source.state if not key.endswith(("weight_g", "weight_v"))]
    built = [key for key in load_model(golden / "wcr" / file).state_dict() if key in stored]
    assert built == stored


def test_sizes_come_from_the_weights_where_the_stored_options_are_wrong(golden, tmp_path, caplog):
    raw = torch.load(golden / "wcr" / "w2v_cmsc" / "checkpoint.pt", weights_only=True)
    for key, value in {"encoder_layers": 12, "encoder_embed_dim": 768, "encoder_ffn_embed_dim": 3072}.items():
        raw["cfg"]["model"][key] = value
    torch.save(raw, tmp_path / "a.pt")
    model = load_model(tmp_path / "a.pt")
    assert (model.cfg.encoder_layers, model.cfg.encoder_embed_dim, model.cfg.encoder_ffn_embed_dim) == (3, 32, 64)
    assert "encoder_layers=3" in caplog.text
