import struct

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from ecg_signals.config import ConfigError
from ecg_signals.readers import mat_file
from ecg_signals.readers.mat_file import read_mat_arrays

FEATS = np.random.default_rng(0).standard_normal((12, 50))
DTYPES = ["f4", "f8", "i1", "u1", "i2", "u2", "i4", "u4", "i8", "u8"]


def same(found, wanted):
    assert set(found) == {name for name in wanted if not name.startswith("__")}
    for name, value in found.items():
        assert value.dtype == wanted[name].dtype and value.shape == wanted[name].shape, name
        np.testing.assert_array_equal(value, wanted[name])


@pytest.fixture
def quick_way(monkeypatch):
    """Files of this test must not be walked through element by element."""
    monkeypatch.setattr(mat_file, "read_elements", lambda *_: pytest.fail("the quick way was left"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_numeric_arrays_are_read_as_by_scipy(tmp_path, quick_way, dtype):
    path = tmp_path / "a.mat"
    savemat(
        path,
        {
            "feats": FEATS.astype(dtype),
            "x": np.array([[3]], dtype),
            "empty": np.zeros((0, 4), dtype),
            "long_name_of_it": 7,
        },
    )
    same(read_mat_arrays(path), loadmat(path))
    assert set(read_mat_arrays(path, ("x", "absent"))) == {"x"}


def test_real_segments_are_read_as_by_scipy(data, quick_way):
    paths = sorted((data / "code15/segmented").glob("*.mat")) + sorted((data / "code15/org").glob("*.mat"))
    assert len(paths) == 24
    for path in paths:
        same(read_mat_arrays(path), loadmat(path))


@pytest.mark.parametrize("options", [{"do_compression": True}, {"format": "4"}])
def test_compressed_and_version_4_files_are_read_as_by_scipy(tmp_path, options):
    path = tmp_path / "a.mat"
    savemat(path, {"feats": FEATS, "idx": 3}, **options)
    same(read_mat_arrays(path), loadmat(path))
    assert set(read_mat_arrays(path, ("idx",))) == {"idx"}


def test_text_cells_and_complex_numbers_are_read_as_by_scipy(tmp_path):
    path = tmp_path / "a.mat"
    cells = np.array(["one", "three"], dtype=object)
    savemat(
        path, {"feats": FEATS, "text": "sinus rhythm", "cells": cells, "z": FEATS + 1j, "cube": np.zeros((2, 3, 4))}
    )
    found = read_mat_arrays(path)
    assert found["text"].item() == "sinus rhythm" and found["cells"].shape == (1, 2)
    same({name: found[name] for name in ("z", "cube")}, {name: loadmat(path)[name] for name in ("z", "cube")})


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.99])
def test_a_truncated_file_is_named(tmp_path, share):
    path = tmp_path / "a.mat"
    savemat(path, {"idx": 3, "feats": FEATS})
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(ConfigError, match=r"a\.mat"):
        read_mat_arrays(path, ("feats", "idx", "absent"))


def test_a_lying_length_inside_a_file_is_an_error_not_a_crash(tmp_path):
    path = tmp_path / "a.mat"
    savemat(path, {"feats": FEATS})
    content = bytearray(path.read_bytes())
    content[132:136] = struct.pack("<I", 1 << 30)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.mat is truncated"):
        read_mat_arrays(path)


@pytest.mark.parametrize("content", [b"", b"no matlab file", b"x" * 500, b"\x89HDF\r\n\x1a\n" + b"\0" * 400])
def test_other_files_are_refused_by_name(tmp_path, content):
    path = tmp_path / "a.mat"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"a\.mat is not a readable MATLAB"):
        read_mat_arrays(path)


def test_a_missing_file_names_the_nearest_folder(tmp_path):
    with pytest.raises(ConfigError, match=f"gone/a.mat does not exist .the folder {tmp_path} does"):
        read_mat_arrays(tmp_path / "gone/a.mat")
    with pytest.raises(ConfigError, match="is a folder"):
        read_mat_arrays(tmp_path)
