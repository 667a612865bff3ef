import multiprocessing
import pickle
import subprocess

import numpy as np
import pyarrow as pa
import pytest
import torch
from data_helpers import SAMPLES, make_dataset, write_mat
from warm_commands import python

from ecg_signals.config import ConfigError
from ecg_signals.data import pack
from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.manifest import Manifest, Slice
from ecg_signals.data.pack import pack_manifests
from ecg_signals.data.sources import packed
from ecg_signals.data.sources.files import FileSource
from ecg_signals.data.sources.packed import INDEX, PackedStore

RECORD_BYTES = 12 * SAMPLES * 4


@pytest.fixture
def folder(segments):
    """Five records of two segments: manifest/train.tsv, manifest/people.tsv and manifest/cmsc/train.tsv."""
    home = segments(records=5, patient_id=lambda record: np.nan if record == 1 else 50 + record)
    (home / "manifest/cmsc").mkdir(parents=True)
    for name, target in (("plain", "train"), ("people", "people"), ("pairs", "cmsc/train")):
        (home / f"{name}.tsv").rename(home / f"manifest/{target}.tsv")
    return home


def batch_of(name, path, **options):
    dataset = make_dataset(name, path, enable_padding=True, **options)
    return next(iter(BatchIterator(dataset, batch_size=100, shuffle=False).batches(1)))


def same(found, wanted, tolerance=0.0):
    assert set(found) == set(wanted)
    for key in set(found) - {"net_input"}:
        assert torch.equal(found[key], wanted[key]), key
    torch.testing.assert_close(found["net_input"]["source"], wanted["net_input"]["source"], rtol=0, atol=tolerance)


@pytest.mark.parametrize("shard_bytes", [1 << 30, 3 * RECORD_BYTES])
def test_packed_records_equal_the_files_under_every_kind_of_manifest(folder, shard_bytes):
    assert pack_manifests(folder / "manifest", folder / "packed", shard_bytes=shard_bytes) == 10
    for name, path in (
        ("ecg_file", "train"),
        ("identification", "people"),
        ("cmsc", "cmsc/train"),
        ("three_kg_views", "train"),
    ):
        same(batch_of(name, folder / f"packed/{path}.tsv"), batch_of(name, folder / f"manifest/{path}.tsv"))
    shards = sorted((folder / "packed").glob("*.npy"))
    assert len(shards) == (1 if shard_bytes > 1 << 20 else 5)
    whole = np.concatenate([np.load(shard) for shard in shards])
    assert whole.shape == (10, 12, SAMPLES) and whole.dtype == np.float32
    assert sorted(item.name for item in (folder / "packed").iterdir() if item.suffix != ".npy") == [
        "cmsc",
        INDEX,
        "people.tsv",
        "train.tsv",
    ]


def test_a_packed_pair_is_one_address_of_both_segments(folder):
    pack_manifests(folder / "manifest", folder / "packed")
    found = Manifest(folder / "packed/cmsc/train.tsv")
    assert found.root == folder / "packed"
    whole = Slice.parse(list(found.rows())[1][0])
    assert whole.bytes == 2 * RECORD_BYTES
    assert found.addresses(1) == [f"{whole.shard}:{whole.offset + k * RECORD_BYTES}:{RECORD_BYTES}" for k in (0, 1)]
    assert list(found.rows())[1] == (str(whole), str(SAMPLES), "0", "0,1")


def test_the_index_tells_rate_record_and_patient(folder):
    pack_manifests(folder / "manifest", folder / "packed")
    store = PackedStore(folder / "packed")
    source = FileSource(folder / "packed")
    manifest = Manifest(folder / "packed/train.tsv")
    found = [source.read(manifest.addresses(row)[0]) for row in range(10)]
    assert [file.idx for file in found] == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4] and len(store) == 10
    assert {file.rate for file in found} == {500}
    assert [file.patient for file in found[::2]] == [50, None, 52, 53, 54] and all(file.names_patient for file in found)


def test_int16_halves_the_bytes_within_half_a_step(folder):
    pack_manifests(folder / "manifest", folder / "packed", dtype="int16")
    files, packed = (batch_of("ecg_file", folder / f"{name}/train.tsv") for name in ("manifest", "packed"))
    step = files["net_input"]["source"].abs().max().item() / 32767
    same(packed, files, tolerance=0.51 * step)
    assert np.load(folder / "packed/shard_00000.npy").dtype == np.int16


def test_records_of_several_lengths_share_a_flat_shard(segments):
    home = segments(lengths=[50, 90])
    (home / "manifest").mkdir()
    (home / "plain.tsv").rename(home / "manifest/train.tsv")
    pack_manifests(home / "manifest", home / "packed")
    same(batch_of("ecg_file", home / "packed/train.tsv"), batch_of("ecg_file", home / "manifest/train.tsv"))
    assert np.load(home / "packed/shard_00000.npy").shape == (2 * 12 * 140,)


def test_a_second_run_makes_only_what_is_missing(folder, monkeypatch):
    written = []
    original = pack._write_shard
    monkeypatch.setattr(pack, "_write_shard", lambda *given: (written.append(given[1]), original(*given)))

    def run():
        written.clear()
        pack_manifests(folder / "manifest", folder / "packed", shard_bytes=3 * RECORD_BYTES)
        return list(written)

    assert run() == [0, 1, 2, 3, 4] and run() == []
    (folder / "packed/train.tsv").unlink()
    assert run() == [] and (folder / "packed/train.tsv").exists()
    write_mat(folder / "segmented/new_0.mat", np.ones((12, SAMPLES)), idx=9, patient_id=3)
    with (folder / "manifest/train.tsv").open("a") as file:
        file.write(f"new_0.mat\t{SAMPLES}\n")
    assert run() == [0, 1, 2, 3, 4]  # other records: the store is made anew
    same(batch_of("ecg_file", folder / "packed/train.tsv"), batch_of("ecg_file", folder / "manifest/train.tsv"))


def test_an_interrupted_run_keeps_its_finished_shards(folder, monkeypatch):
    original = pack._write_shard

    def interrupted(home, number, units, plan):
        if number == 3:
            raise KeyboardInterrupt
        original(home, number, units, plan)

    monkeypatch.setattr(pack, "_write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pack_manifests(folder / "manifest", folder / "packed", shard_bytes=3 * RECORD_BYTES)
    assert not (folder / "packed/train.tsv").exists() and not (folder / "packed" / INDEX).exists()
    written = []
    monkeypatch.setattr(pack, "_write_shard", lambda *given: (written.append(given[1]), original(*given)))
    progress = []
    pack_manifests(
        folder / "manifest", folder / "packed", shard_bytes=3 * RECORD_BYTES, progress=lambda *at: progress.append(at)
    )
    assert written == [3, 4] and progress == [(2, 10), (4, 10), (6, 10), (8, 10), (10, 10)]
    same(batch_of("cmsc", folder / "packed/cmsc/train.tsv"), batch_of("cmsc", folder / "manifest/cmsc/train.tsv"))


def test_what_cannot_be_packed_is_named(folder):
    with pytest.raises(ConfigError, match="holds no manifest"):
        pack_manifests(folder / "segmented", folder / "packed")
    pack_manifests(folder / "manifest", folder / "packed")
    with pytest.raises(ConfigError, match="names packed records already"):
        pack_manifests(folder / "packed", folder / "again")
    bad = np.full((12, SAMPLES), np.nan)
    write_mat(folder / "segmented/r3_1.mat", bad, idx=3)
    with pytest.raises(ConfigError, match=r"r3_1.mat holds NaN .*int16"):
        pack_manifests(folder / "manifest", folder / "small", dtype="int16")
    write_mat(folder / "segmented/r3_1.mat", np.ones((12, SAMPLES - 1)), idx=3)
    with pytest.raises(ConfigError, match=r"r3_0.mat, r3_1.mat form a pair but differ in size"):
        pack_manifests(folder / "manifest", folder / "other")
    with pytest.raises(ConfigError, match="dtype is 'int8'"):
        pack_manifests(folder / "manifest", folder / "other", dtype="int8")


def test_a_store_without_index_or_with_a_foreign_manifest_is_an_error(folder):
    pack_manifests(folder / "manifest", folder / "packed")
    store = PackedStore(folder / "packed")
    with pytest.raises(ConfigError, match="manifest and store belong to different runs"):
        store.read(Slice("shard_00000.npy", 128, 10 * RECORD_BYTES + 1))
    with pytest.raises(ConfigError, match="manifest and store belong to different runs"):
        store.read(Slice("shard_00007.npy", 128, RECORD_BYTES))
    shard = folder / "packed/shard_00000.npy"
    shard.write_bytes(shard.read_bytes()[: 3 * RECORD_BYTES])
    with pytest.raises(ConfigError, match="is truncated"):
        PackedStore(folder / "packed").read(Slice("shard_00000.npy", 128 + 4 * RECORD_BYTES, RECORD_BYTES))
    (folder / "packed" / INDEX).write_bytes(b"nothing")
    with pytest.raises(ConfigError, match=r"is not the index of a packed store"):
        PackedStore(folder / "packed")
    (folder / "packed" / INDEX).unlink()
    with pytest.raises(ConfigError, match=r"index.arrow does not exist"):
        make_dataset("ecg_file", folder / "packed/train.tsv")


def test_a_store_travels_to_another_process_by_name(folder):
    pack_manifests(folder / "manifest", folder / "packed")
    dataset = make_dataset("ecg_file", folder / "packed/train.tsv")
    dataset[0]
    assert len(pickle.dumps(dataset)) < 10_000
    with multiprocessing.get_context("fork").Pool(1) as pool:
        found = pool.map(dataset.__getitem__, [3])[0]
    assert torch.equal(found["source"], dataset[3]["source"])


def test_the_command_packs_and_says_what_to_type_next(folder):
    command = [
        python(),
        "-m",
        "ecg_signals.cli.pack",
        str(folder / "manifest"),
        str(folder / "packed"),
        "--dtype",
        "int16",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{folder}/packed: 10 records; train on it with task.data={folder}/packed\n"
    failed = subprocess.run([*command[:3], str(folder / "none"), str(folder / "x")], capture_output=True, text=True)
    assert failed.returncode == 1 and "holds no manifest" in failed.stderr and "Traceback" not in failed.stderr


def test_a_manifest_without_records_is_left_out_and_said(folder):
    (folder / "manifest/empty.tsv").write_text(f"\t{folder}\n")
    (folder / "manifest/cmsc/empty.tsv").write_text(f"{folder}\nmat\n")
    with pytest.warns(UserWarning, match=r"list no record are left out: cmsc/empty\.tsv, empty\.tsv"):
        assert pack_manifests(folder / "manifest", folder / "packed") == 10
    assert not list((folder / "packed").rglob("empty.tsv"))


def test_an_index_whose_column_ends_within_a_value_is_an_error(folder, monkeypatch):
    """A damaged file can state such a length; Arrow writes none."""
    pack_manifests(folder / "manifest", folder / "packed")
    columns, notes = packed.read_index(folder / "packed" / INDEX)
    rows = len(columns["idx"])
    ragged = pa.Array.from_buffers(pa.int64(), rows, [None, pa.py_buffer(bytes(8 * rows + 3))])
    monkeypatch.setattr(packed, "read_index", lambda path: ({**columns, "idx": ragged}, notes))
    with pytest.raises(ConfigError, match=r"index.arrow is not the index of a packed store"):
        PackedStore(folder / "packed")
