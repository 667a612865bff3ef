"""Packed records stand wherever a dataset reads files by name, and give the same items to the bit."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from data_helpers import make_dataset, write_mat
from scipy.io import savemat

from ecg_signals.config import ConfigError
from ecg_signals.data.manifest import Manifest
from ecg_signals.data.pack import pack_manifests
from ecg_signals.data.sources.stores import Stores

SAMPLES = 2500


def values(number: int, leads: int = 12) -> np.ndarray:
    return np.random.default_rng(number).standard_normal((leads, SAMPLES)).astype(np.float32)


def packed(folder: Path, names: list[str]) -> tuple[Path, list[str]]:
    """The store of files in `folder`, and their addresses, relative to it."""
    (folder / "lists").mkdir()
    rows = "".join(f"{name}\t{SAMPLES}\n" for name in names)
    (folder / "lists" / "train.tsv").write_text(f"{folder}\n{rows}")
    store = folder / "store"
    pack_manifests(folder / "lists", store, shard_bytes=300_000)
    manifest = Manifest(store / "train.tsv")
    return store, [manifest.addresses(row)[0] for row in range(len(manifest))]


def hubert(folder: Path) -> tuple[list[str], str]:
    names = [f"part{number % 2}/HR{number}.npy" for number in range(5)]
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(exist_ok=True)
        np.save(folder / name, values(number))
    return names, "filename,a,b,AF\n{0},0,0,1\n{1},0,0,0\n{2},0,0,1\n{3},0,0,1\n{4},0,0,0\n"


def st_mem(folder: Path) -> tuple[list[str], str]:
    (folder / "0.pkl").write_bytes(pickle.dumps(values(0)))
    np.save(folder / "1.npy", values(1))
    write_mat(folder / "2.mat", values(2), patient_id=7)
    (folder / "3.hea").write_text("3 2 500 2500\n3.dat 16 200(0)/mV 16 0 0 0 0 II\n3.dat 16 200(0)/mV 16 0 0 0 0 I\n")
    (values(3, 2).T * 100).astype("<i2").tofile(folder / "3.dat")
    rows = "{0},500,1\n{1},500,0\n{2},500,1\n"
    return ["0.pkl", "1.npy", "2.mat"], f"FILE_NAME,SAMPLE_RATE,LABEL\n{rows}"


TABLES = {"hubert_csv": (hubert, "ecg_dir", {}), "st_mem_index": (st_mem, "signal_dir", {"label_col": ["LABEL"]})}


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_files_read_a_store_of_them_by_name_and_by_address(tmp_path, name):
    make, folder_option, options = TABLES[name]
    files, table = make(tmp_path)
    store, addresses = packed(tmp_path, files)
    (tmp_path / "plain.csv").write_text(table.format(*files))
    (tmp_path / "address.csv").write_text(table.format(*addresses))
    (tmp_path / "whole.csv").write_text(table.format(*(f"{store}/{one}" for one in addresses)))
    plain = make_dataset(name, tmp_path / "plain.csv", **{folder_option: str(tmp_path)}, **options)
    ways = [("plain.csv", store), ("address.csv", store), ("whole.csv", tmp_path)]
    for row in range(len(plain)):
        expected = plain[row]
        for path, folder in ways:
            found = make_dataset(name, tmp_path / path, **{folder_option: str(folder)}, **options)[row]
            assert found.keys() == expected.keys()
            assert all(torch.equal(torch.as_tensor(found[key]), torch.as_tensor(expected[key])) for key in expected)


@pytest.mark.parametrize("way", ["name", "address"])
def test_pointer_files_point_into_a_store(tmp_path, way):
    st_mem(tmp_path)
    np.save(tmp_path / "1.npy", values(1))
    store, addresses = packed(tmp_path, ["3.hea", "1.npy"])
    found = {}
    paths = {"plain": f"{tmp_path}/3.hea", "name": f"{store}/3.hea", "address": f"{store}/{addresses[0]}"}
    for kind in ("plain", way):
        (tmp_path / kind).mkdir()
        savemat(tmp_path / kind / "p.mat", {"ecg_path": paths[kind], "lead": "I,II", "label": [1.0, 0.0], "idx": 4})
        (tmp_path / f"{kind}.tsv").write_text(f"{tmp_path / kind}\np.mat\t{SAMPLES}\n")
        found[kind] = make_dataset("ecg_path", tmp_path / f"{kind}.tsv", load_specific_lead=True)[0]
    plain, other = found["plain"], found[way]
    assert torch.equal(plain["source"], other["source"]) and torch.equal(plain["label"], other["label"])
    assert plain["source"].abs().max() > 0


def test_a_name_is_found_by_the_end_of_its_path_and_must_be_one(tmp_path):
    names = [f"{folder}/same.npy" for folder in ("a", "b")] + ["a/other.npy"]
    for number, name in enumerate(names):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        np.save(tmp_path / name, values(number))
    store, _ = packed(tmp_path, names)
    stores = Stores(store)
    for number, name in enumerate(names):
        assert (stores.read(name).signal == values(number)).all()
    assert (stores.read("other.npy").signal == values(2)).all()
    assert stores.read("her.npy") is None and Stores(tmp_path).read("a/same.npy") is None
    with pytest.raises(ConfigError, match=r"holds 2 records of files called same.npy, such as .*; name more"):
        stores.read("same.npy")
