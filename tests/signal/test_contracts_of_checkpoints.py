"""Files of other projects carry no input contract: they get their family's."""

import copy
import warnings

import numpy as np
import pytest
import torch

from ecg_signals import load_model, read_record
from ecg_signals.config import ConfigError
from ecg_signals.signal import published


def test_hubert_ecg_files_reproduce_their_hidden_states_from_the_raw_record(data, golden):
    model = load_model(golden / "hubert_ecg/checkpoints/hubert_1_iteration_9_run0.pt")
    assert model.signal == published.hubert_ecg(5)
    stored = np.load(golden / "hubert_ecg/model/model_outputs.npz")
    for index, name in enumerate(stored["input_files"]):
        source = model.signal.prepare(read_record(data / "code15/org" / str(name).replace(".npy", ".mat")))[:1]
        np.testing.assert_allclose(source.flatten(), stored["input"][index], atol=1e-5)
        with torch.no_grad():
            features = model(source)["features"]
        np.testing.assert_allclose(features[0], stored["hidden_states"][-1, index], atol=1e-4)


def test_fairseq_signals_files_get_ecg_fms_contract(golden):
    model = load_model(golden / "wcr/clf/checkpoint.pt")
    assert model.signal == published.ecg_fm()


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
