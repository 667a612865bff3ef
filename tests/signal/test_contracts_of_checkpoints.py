"""Files of other projects carry no input contract: they get their family's."""

import copy
import json
import logging
import warnings

import numpy as np
import pytest
import torch

from ecg_signals import load_model, read_record
from ecg_signals.checkpoint.convert import convert
from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.inference.predict import Predictor
from ecg_signals.interop.fairseq_signals.contract import ecg_fm
from ecg_signals.interop.hubert_ecg.contract import hubert_ecg
from ecg_signals.signal.leads import LEADS
from ecg_signals.trainer import Trainer


def test_hubert_ecg_files_reproduce_their_hidden_states_from_the_raw_record(data, golden):
    model = load_model(golden / "hubert_ecg/checkpoints/hubert_1_iteration_9_run0.pt")
    assert model.signal == hubert_ecg(5)
    stored = np.load(golden / "hubert_ecg/model/model_outputs.npz")
    for index, name in enumerate(stored["input_files"]):
        source = model.signal.prepare(read_record(data / "code15/org" / str(name).replace(".npy", ".mat")))[:1]
        np.testing.assert_allclose(source.flatten(), stored["input"][index], atol=1e-5)
        with torch.no_grad():
            features = model(source)["features"]
        np.testing.assert_allclose(features[0], stored["hidden_states"][-1, index], atol=1e-4)


def test_fairseq_signals_files_get_ecg_fms_contract(golden):
    model = load_model(golden / "wcr/clf/checkpoint.pt")
    assert model.signal == ecg_fm()


def test_a_model_of_fewer_leads_has_a_contract_only_where_its_recipe_names_them(golden, tmp_path):
    content = torch.load(golden / "wcr/clf/checkpoint.pt", weights_only=False)
    first = next(key for key in content["model"] if key.endswith("conv_layers.0.0.weight"))
    content["model"][first] = content["model"][first][:, :3].clone()
    content["cfg"]["model"]["in_d"] = 3
    torch.save(content, tmp_path / "three.pt")
    model = load_model(tmp_path / "three.pt")
    assert model.signal is None
    with torch.no_grad():
        assert len(model(torch.randn(2, 3, 2500))["logits"]) == 2
    content["cfg"]["task"]["leads_to_load"] = "[0, 1, 'V1']"
    torch.save(content, tmp_path / "three.pt")
    assert load_model(tmp_path / "three.pt").signal.leads == ["I", "II", "V1"]


def test_a_loaded_model_says_once_that_its_input_was_not_prepared(data, golden):
    model = copy.deepcopy(load_model(golden / "wcr/clf/checkpoint.pt"))
    raw = torch.from_numpy(read_record(data / "ptbxl_500/records500/00000/00001_hr").signal)[None]
    with torch.no_grad():
        with pytest.warns(UserWarning, match=r"trained on") as caught:
            model(raw)
        said = " ".join(str(warning.message) for warning in caught)
        assert "5000 samples per window; the model was trained on 2500" in said and "z-scores of each lead" in said
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model(raw)
    fresh = load_model(golden / "wcr/clf/checkpoint.pt")
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("error")
        fresh(source=fresh.signal.prepare(read_record(data / "ptbxl_500/records500/00000/00001_hr")))


def test_a_loaded_model_refuses_missing_values_and_other_lead_numbers(golden):
    with pytest.raises(ConfigError, match=r"shape \[1, 8, 2500\]; the model takes \[batch, 12, 2500\]"):
        load_model(golden / "wcr/clf/checkpoint.pt")(torch.zeros(1, 8, 2500))
    with pytest.raises(ConfigError, match=r"source holds NaN"):
        load_model(golden / "wcr/clf/checkpoint.pt")(torch.full((1, 12, 2500), torch.nan))


def test_the_check_stays_out_of_an_exported_model(golden):
    model = load_model(golden / "wcr/clf/checkpoint.pt")
    source = torch.randn(1, 12, 2500)
    exported = torch.export.export(model, (source,)).module()
    with torch.no_grad():
        torch.testing.assert_close(exported(source)["logits"], model(source)["logits"])


@pytest.fixture(params=["ecg_transformer_classifier", "hubert_ecg_classifier"])
def without_contract(request, classification, sample, tmp_path):
    """A file of ours, trained on segments whose rate nobody wrote down."""
    import scipy.io

    if request.param == "hubert_ecg_classifier":
        classification["model"] = {
            "_name": request.param, "num_labels": 3, "hidden_size": 16, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 16, "conv_dim": [4] * 5, "num_conv_pos_embeddings": 4,
            "num_conv_pos_embedding_groups": 2,
        }  # fmt: skip
    folder = tmp_path / "unrated"
    folder.mkdir()
    for path in (sample.single.parent / "segmented").iterdir():
        content = scipy.io.loadmat(path)
        kept = {"feats": content["feats"][:, :1000], "idx": content["idx"], "patient_id": content["patient_id"]}
        scipy.io.savemat(folder / path.name, kept)
    for split in ("train", "valid"):
        _, *rows = (sample.single / f"{split}.tsv").read_text().splitlines()
        shorter = [row.replace("2500", "1000") for row in rows]
        (folder / f"{split}.tsv").write_text("\n".join([str(folder), *shorter, ""]))
    classification["task"]["data"] = str(folder)
    classification["optimization"]["max_update"] = 1
    Trainer(resolve_config(classification)).train()
    return tmp_path / "checkpoints" / "checkpoint_last.pt"


def test_no_contract_is_guessed_for_a_file_of_ours_in_any_layout(without_contract, tmp_path, caplog):
    convert(without_contract, tmp_path / "folder", "hf")
    convert(tmp_path / "folder", tmp_path / "fairseq.pt", "fairseq")
    convert(tmp_path / "fairseq.pt", tmp_path / "original.pt", "original")
    convert(tmp_path / "original.pt", tmp_path / "again.pt", "fairseq")
    made = [tmp_path / name for name in ("folder", "fairseq.pt", "original.pt", "again.pt")]
    for source in (without_contract, *made):
        caplog.clear()
        assert load_model(source).signal is None
        assert f"{source} states no input contract" in caplog.text
        with pytest.raises(ConfigError, match=r"states no input contract.*config\.json"):
            Predictor(source)


def test_a_contract_is_added_as_the_message_says(without_contract, tmp_path):
    with pytest.raises(ConfigError, match=f"ecg-convert {without_contract} FOLDER --to hf"):
        Predictor(without_contract)
    convert(without_contract, tmp_path / "folder", "hf")
    path = tmp_path / "folder" / "config.json"
    config = json.loads(path.read_text())
    assert config["ecg_signals"]["signal"] is None
    config["ecg_signals"]["signal"] = {
        "sample_rate": 250, "leads": list(LEADS), "window_samples": 1000, "steps": [{"name": "standardise"}],
    }  # fmt: skip
    path.write_text(json.dumps(config))
    np.save(tmp_path / "record.npy", np.random.default_rng(0).normal(size=(12, 1000)))
    reading = {"sample_rate": 250, "leads": list(LEADS), "force": True}  # an answer to noise
    found = Predictor(tmp_path / "folder").predict(tmp_path / "record.npy", **reading)
    assert found.error is None and len(found.probabilities) == 3


def test_training_says_that_the_data_fix_no_input(without_contract, caplog):
    said = [record.getMessage() for record in caplog.get_records("setup") if record.levelno == logging.WARNING]
    assert any("checkpoints state none as input contract" in text for text in said)


def test_the_published_layout_keeps_a_contract_that_is_not_the_published_one(golden, tmp_path):
    convert(golden / "wcr/clf/checkpoint.pt", tmp_path / "folder", "hf")
    path = tmp_path / "folder" / "config.json"
    config = json.loads(path.read_text())
    config["ecg_signals"]["signal"]["window_samples"] = 1234
    path.write_text(json.dumps(config))
    convert(tmp_path / "folder", tmp_path / "original.pt", "original")
    assert load_model(tmp_path / "original.pt").signal == load_model(tmp_path / "folder").signal
    assert load_model(tmp_path / "original.pt").signal.window_samples == 1234


def test_statistics_that_a_file_does_not_hold_leave_it_without_a_contract(golden, tmp_path):
    content = torch.load(golden / "wcr/clf/checkpoint.pt", weights_only=False)
    content["cfg"]["task"]["normalize"] = content["cfg"]["model"]["normalize"] = True
    torch.save(content, tmp_path / "normalised.pt")
    assert load_model(tmp_path / "normalised.pt").signal is None
