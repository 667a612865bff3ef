"""What is extracted, row by row."""

import numpy as np
import torch

from ecg_signals.evaluation.extract import Extraction


def test_outputs_in_bfloat16_are_stored_as_float32(tmp_path):
    extraction = Extraction(["output"], str(tmp_path), "test", rows=2)
    logits = torch.tensor([[0.5, -2.0], [1.5, 3.0]], dtype=torch.bfloat16)
    extraction.add({"id": torch.tensor([1, 0])}, {"logits": logits}, None)
    (path,) = extraction.close()
    stored = np.load(path)
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, [[1.5, 3.0], [0.5, -2.0]])
