"""The .mat files of preprocessing are those of scipy, but for the time in their first line."""

import io

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from ecg_signals.preprocess.mat_writer import HEADER, write_mat

RNG = np.random.default_rng(0)


def test_files_are_those_of_scipy_to_the_byte_but_for_the_time(tmp_path):
    kinds = ["f8", "f4", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]
    arrays = {f"values_{kind}": RNG.uniform(0, 99, (3, 5)).astype(kind) for kind in kinds}
    arrays |= {f"one_{kind}": np.array(7, kind) for kind in kinds}
    arrays |= {f"s{kind}": np.arange(3, dtype=kind) for kind in kinds}
    arrays |= {"feats": RNG.normal(size=(12, 40))[:, 3:33], "idx": 3, "rate": 500.5, "empty": np.zeros((12, 0), "f4")}
    theirs = io.BytesIO()
    savemat(theirs, arrays)
    write_mat(tmp_path / "a.mat", arrays)
    content = (tmp_path / "a.mat").read_bytes()
    assert content[116:] == theirs.getvalue()[116:] and len(HEADER) == 128
    found = loadmat(tmp_path / "a.mat")
    for name, value in arrays.items():
        np.testing.assert_array_equal(found[name].reshape(np.shape(value)), value)


def test_texts_and_truth_values_are_written_as_well_and_what_no_file_holds_leaves_none(tmp_path):
    write_mat(tmp_path / "a.mat", {"text": "abc", "flags": np.array([True, False]), "z": 1j})
    found = loadmat(tmp_path / "a.mat")
    assert found["text"] == ["abc"] and found["flags"].tolist() == [[1, 0]] and found["z"].item() == 1j
    with pytest.raises(TypeError):
        write_mat(tmp_path / "b.mat", {"value": [None]})
    assert [path.name for path in tmp_path.iterdir()] == ["a.mat"]
