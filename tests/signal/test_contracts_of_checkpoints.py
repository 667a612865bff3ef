"""Files of other projects carry no input contract: they get their family's."""

import numpy as np
import torch

from ecg_signals import load_model, read_record
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
