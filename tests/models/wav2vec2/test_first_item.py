"""The spine against vectors that travel with the code: one real segment through a pretrained file, stage by stage."""

from pathlib import Path

import numpy as np
import torch
from reference_models import close

from ecg_signals.checkpoint.load import load_model

GOLDEN = Path(__file__).parents[2] / "golden" / "wcr"


@torch.no_grad()
def test_every_stage_of_a_published_layout_equals_the_reference() -> None:
    expected = dict(np.load(GOLDEN / "w2v_cmsc_first_item.npz"))
    model = load_model(GOLDEN / "ckpt_variants" / "w2v_cmsc_omegaconf23.pt").eval()
    source = torch.from_numpy(expected["source"])
    output = model.extract_features(source, layers="all")
    features = model.layer_norm(model.convolve(source)[0])
    projected = model.project(features)
    close(features, expected["features_ln"], 1e-5)
    close(model.conv_pos(projected) - projected, expected["conv_pos"], 1e-5)
    for layer in range(3):
        close(output["hidden_states"][layer + 1], expected[f"layer_{layer}"], 1e-5)
    close(output["features"], expected["x"], 1e-5)
    quantized, codes = model.quantize(source)
    close(quantized, expected["quantized"], 1e-5)
    np.testing.assert_array_equal(codes, expected["quantized_codes"])
