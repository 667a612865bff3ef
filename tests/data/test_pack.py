import json
import multiprocessing
import os
import pickle
import shutil
import signal
import subprocess

import numpy as np
import pyarrow as pa
import pytest
import scipy.io
import torch
from data_helpers import SAMPLES, make_dataset, write_mat
from warm_commands import python

from ecg_signals import read_record
from ecg_signals.cli import pack as cli
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.data import pack_shard
from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.manifest import Manifest, Slice
from ecg_signals.data.pack import pack_manifests
from ecg_signals.data.pack_check import verify
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
    assert pack_manifests(folder / "manifest", folder / "packed", shard_bytes=shard_bytes).records == 10
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


def test_a_store_keeps_what_files_say_of_every_sample(segments):
    rng = np.random.default_rng(3)
    marks = {"segment_label": lambda record: rng.integers(0, 4, SAMPLES).astype(np.int8),
             "segment_mask": lambda record: rng.integers(0, 2, SAMPLES).astype(np.uint8)}  # fmt: skip
    home = segments(records=3, **marks)
    write_mat(home / "segmented/r0_0.mat", np.zeros((12, SAMPLES)), segment_label=np.ones(SAMPLES, np.int8))  # no mask
    (home / "manifest").mkdir()
    (home / "plain.tsv").rename(home / "manifest/train.tsv")
    pack_manifests(home / "manifest", home / "packed", shard_bytes=3 * RECORD_BYTES, workers=2)
    options = {"max_sample_size": 80, "min_sample_size": 80}
    files, packed = (batch_of("segmentation", home / f"{name}/train.tsv", **options) for name in ("manifest", "packed"))
    tracks = [batch.pop("tracks") for batch in (files, packed)]
    same(packed, files)
    assert files["segment_label"].unique().tolist() == [0, 1, 2, 3] and not files["segment_mask"][0].any()
    for name in ("segment_label", "segment_mask"):
        assert torch.equal(tracks[0][name], tracks[1][name]) and tracks[0][name].dtype == tracks[1][name].dtype
    assert not verify(home / "packed").faults


@pytest.mark.parametrize("content", [b"", b"[]\n", b'{"a": 3}\n', b'{"a": ["|O8", [1]]}\n', b'{"a": ["|i1", [-1]]}\n',
                                     b'{"a": ["|i1", [120]]}\nshort', b"[" * 100_000])  # fmt: skip
def test_damaged_annotations_of_samples_are_an_error_when_they_are_read(folder, content):
    pack_manifests(folder / "manifest", folder / "packed")
    index = packed.read_index(folder / "packed" / INDEX)
    (batch,) = index.batches
    tracks = pa.array([content] * batch.num_rows, pa.large_binary())
    damaged = batch.set_column(batch.schema.get_field_index("tracks"), "tracks", tracks)
    packed.write_index(index.path, [damaged], index.names, index.facts)
    store = PackedStore(folder / "packed")
    with pytest.raises(ConfigError, match="is not the index of a packed store"):
        store.tracks(store.index.address(0))
    assert store.read(store.index.address(0)).signal.shape == (12, SAMPLES)


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


def test_labels_that_the_files_hold_are_in_the_store(folder):
    for record in range(5):
        for segment in range(2):
            label = np.array([record % 2, segment, np.nan if record == 2 else 0.5])
            facts = {"idx": record, "patient_id": record, "label": label}
            write_mat(folder / f"segmented/r{record}_{segment}.mat", counts_of(1000.0, record), **facts)
    run(folder)
    files, packed = (batch_of("ecg_file", folder / f"{name}/train.tsv") for name in ("manifest", "packed"))
    assert files["label"].shape == (10, 3)
    torch.testing.assert_close(packed["label"], files["label"], rtol=0, atol=0, equal_nan=True)


def shard_times(folder):
    return {path.name: path.stat().st_mtime_ns for path in sorted((folder / "packed").glob("shard*"))}


def add_record(folder, name="new_0.mat", **others):
    write_mat(folder / "segmented" / name, np.ones((12, SAMPLES)), idx=9, patient_id=3, **others)
    with (folder / "manifest/train.tsv").open("a") as file:
        file.write(f"{name}\t{SAMPLES}\n")


def run(folder, dest="packed", **options):
    return pack_manifests(folder / "manifest", folder / dest, shard_bytes=3 * RECORD_BYTES, **options)


def same_batches(folder):
    for name, path in (("ecg_file", "train"), ("cmsc", "cmsc/train"), ("identification", "people")):
        same(batch_of(name, folder / f"packed/{path}.tsv"), batch_of(name, folder / f"manifest/{path}.tsv"))


def test_a_second_run_makes_only_what_is_missing_and_leaves_other_shards_untouched(folder):
    assert (run(folder).added, run(folder).added) == (10, 0)
    before = shard_times(folder)
    (folder / "packed/train.tsv").unlink()
    (folder / "packed/shard_00002.npy").unlink()
    run(folder)
    after = shard_times(folder)
    assert list(after) == list(before) and [name for name in before if before[name] != after[name]] == [
        "shard_00002.npy"
    ]
    same_batches(folder)
    assert not verify(folder / "packed").faults


def test_further_records_go_into_further_shards(folder):
    run(folder)
    before = shard_times(folder)
    add_record(folder)
    done = run(folder)
    assert (done.records, done.added, done.unnamed) == (11, 1, 0)
    assert shard_times(folder).items() > before.items() and len(shard_times(folder)) == len(before) + 1
    same_batches(folder)
    rows = (folder / "manifest/cmsc/train.tsv").read_text().replace("r0\t120\t0\t0,1", "r0\t120\t0\t1,0")
    (folder / "manifest/cmsc/train.tsv").write_text(rows)
    assert run(folder).added == 2 and run(folder).added == 0  # a pair in another order has an address of its own
    same_batches(folder)
    (folder / "manifest/train.tsv").write_text(
        (folder / "manifest/train.tsv").read_text().replace(f"new_0.mat\t{SAMPLES}\n", "")
    )
    assert run(folder).unnamed == 1 and not verify(folder / "packed").faults
    same_batches(folder)


def test_a_store_of_other_records_or_another_type_is_added_to_only_when_asked(folder):
    run(folder)
    with pytest.raises(ConfigError, match=r"holds float32 records, and dtype is int16; type --dtype float32"):
        run(folder, dtype="int16")
    write_mat(folder / "segmented/new_0.mat", np.ones((12, SAMPLES)), idx=9, patient_id=3)
    (folder / "other").mkdir()
    (folder / "other/train.tsv").write_text(f"{folder}/segmented\nnew_0.mat\t{SAMPLES}\n")
    with pytest.raises(ConfigError, match=r"holds 10 records of other files, such as .*r0_0.mat. Type --append to add"):
        pack_manifests(folder / "other", folder / "packed")
    assert pack_manifests(folder / "other", folder / "packed", append=True).records == 11
    same(batch_of("ecg_file", folder / "packed/train.tsv"), batch_of("ecg_file", folder / "other/train.tsv"))


def test_an_interrupted_run_keeps_its_finished_shards_and_the_store_before_it(folder, monkeypatch):
    original = pack_shard.write_shard

    def interrupted(shard):
        if shard.number == 3:
            raise KeyboardInterrupt
        original(shard)

    monkeypatch.setattr(pack_shard, "write_shard", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(folder)
    assert not (folder / "packed/train.tsv").exists() and not (folder / "packed" / INDEX).exists()
    assert "4 shards" not in str(verify(folder / "packed").faults) and verify(folder / "packed").faults
    written, progress = [], []
    monkeypatch.setattr(pack_shard, "write_shard", lambda shard: (written.append(shard.number), original(shard)))
    run(folder, progress=lambda *at: progress.append(at))
    assert written == [3, 4] and progress == [(2, 10), (4, 10), (6, 10), (8, 10), (10, 10)]
    same_batches(folder)
    assert not list((folder / "packed").glob("*.part.arrow"))


def test_sigterm_is_answered_and_what_is_done_is_kept(folder, monkeypatch, capfd):
    write = pack_shard.write_shard

    def stopped(shard):
        if shard.number == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        write(shard)

    words = [str(folder / "manifest"), str(folder / "packed")]
    monkeypatch.setattr(cli, "_MEGABYTE", 3 * RECORD_BYTES)
    monkeypatch.setattr(pack_shard, "write_shard", stopped)
    monkeypatch.setattr("sys.argv", ["ecg-pack", *words, "--shard-megabytes", "1"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 143 and "same command" in capfd.readouterr().err
    assert {path.name for path in (folder / "packed").iterdir()} == {"shard_00000.npy", "shard_00000.npy.part.arrow"}


def test_several_runs_and_processes_make_one_store(folder):
    waiting = [run(folder, part=(number, 3)).waiting for number in (1, 2)]
    assert waiting == [3, 1] and not (folder / "packed" / INDEX).exists()
    assert run(folder, part=(3, 3)).waiting == 0
    same_batches(folder)
    assert not verify(folder / "packed").faults
    pack_manifests(folder / "manifest", folder / "second", shard_bytes=3 * RECORD_BYTES, workers=2)
    for path in (folder / "packed").rglob("*"):
        if path.suffix == ".npy":
            assert path.read_bytes() == (folder / "second" / path.name).read_bytes()
    assert not verify(folder / "second", workers=2).faults


def counts_of(steps, record):
    return (np.random.default_rng(record).integers(-900, 900, (12, SAMPLES)) / steps).astype(np.float32)


@pytest.mark.parametrize("steps", [1000.0, 204.8, 1.0, np.arange(1, 13)[:, None] * 100.0, 1 / 0.00488])
def test_int16_gives_whole_counts_of_a_recorder_back_to_the_bit(folder, steps):
    for record in range(5):
        for segment in range(2):
            facts = {"idx": record, "patient_id": 50 + record}
            write_mat(folder / f"segmented/r{record}_{segment}.mat", counts_of(steps, 2 * record + segment), **facts)
    done = run(folder, dtype="int16")
    assert (done.records, done.exact) == (10, 10)
    same_batches(folder)


@pytest.mark.parametrize(
    "of",
    [
        lambda draw: draw(-32768, 32768),
        lambda draw: np.rint(draw(-300, 300) * 4.88),
        lambda draw: draw(20000, 32768),
        lambda draw: draw(-80, 80) * 12 + draw(0, 2) * 5,
    ],
)
def test_int16_finds_the_counts_of_the_whole_range_and_of_uneven_steps(folder, of):
    rng = np.random.default_rng(0)
    for record in range(5):
        for segment in range(2):
            counts = of(lambda low, high: rng.integers(low, high, (12, SAMPLES)))
            facts = {"idx": record, "patient_id": 50 + record}
            write_mat(folder / f"segmented/r{record}_{segment}.mat", (counts / 1000).astype(np.float32), **facts)
    assert run(folder, dtype="int16").exact == 10
    same_batches(folder)


def test_int16_is_lossless_for_records_as_recorders_store_them(shared, tmp_path):
    names = [
        *sorted((shared / "data/physionet2021_sample").rglob("*.hea"))[::12],
        *(shared / "data/ptbxl_500").rglob("*3_hr.hea"),
    ]
    for number, name in enumerate(names):
        np.save(tmp_path / f"{number}.npy", read_record(name).signal[:, :2500])
    rows = "".join(f"{number}.npy\t2500\n" for number in range(len(names)))
    (tmp_path / "manifest").mkdir()
    (tmp_path / "manifest/train.tsv").write_text(f"{tmp_path}\n{rows}")
    assert pack_manifests(tmp_path / "manifest", tmp_path / "packed", dtype="int16").exact == len(names) > 10


def test_one_record_that_is_no_whole_counts_is_rounded_alone(folder):
    write_mat(folder / "segmented/r3_0.mat", counts_of(500.0, 3), idx=3, patient_id=53)
    assert run(folder, dtype="int16").exact == 1
    files, packed = (batch_of("ecg_file", folder / f"{name}/train.tsv") for name in ("manifest", "packed"))
    equal = (files["net_input"]["source"] == packed["net_input"]["source"]).flatten(1).all(dim=1)
    assert equal.tolist() == [row == 6 for row in range(10)]


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
    assert done.stdout == f"{folder}/packed: 10 records; train on it with task.data={folder}/packed\n" + (
        "int16: 0 records exact to the bit, 10 rounded to 1/65534 of each lead's range\n"
    )
    failed = subprocess.run([*command[:3], str(folder / "none"), str(folder / "x")], capture_output=True, text=True)
    assert failed.returncode == 1 and "holds no manifest" in failed.stderr and "Traceback" not in failed.stderr


def test_records_that_only_earlier_manifests_name_are_not_said_to_be_unread(folder, capsys):
    lines = (folder / "manifest/train.tsv").read_text().splitlines()
    for name, rows in (("train", lines[1:5]), ("valid", lines[5:9])):
        (folder / name).mkdir()
        (folder / name / f"{name}.tsv").write_text("\n".join([lines[0], *rows]) + "\n")
        cli.run([str(folder / name), str(folder / "packed"), "--append"])
    told = capsys.readouterr().out.splitlines()
    assert told[-1] == "4 of them are not in these manifests; they stay in the shards"
    assert batch_of("ecg_file", folder / "packed/train.tsv")["net_input"]["source"].shape[0] == 4


def test_files_in_double_precision_are_counted(folder, capsys):
    write_mat(folder / "segmented/r3_0.mat", np.full((12, SAMPLES), 0.1), idx=3)
    write_mat(folder / "segmented/r3_1.mat", np.full((12, SAMPLES), 0.5), idx=3)
    cli.run([str(folder / "manifest"), str(folder / "packed")])
    assert capsys.readouterr().out.splitlines()[1:] == [
        "1 of them are rounded to float32, as their files hold more digits"
    ]


@pytest.mark.parametrize("words", [["manifest", "x"], ["verify", "x"]])
def test_no_processes_are_no_number_of_processes(folder, words):
    with pytest.raises(UsageError, match="--workers must be at least 1"):
        cli.run([*words, "--workers", "0"])


@pytest.mark.parametrize("words", [["URL", "x"], ["manifest", "URL"], ["verify", "URL"], ["info", "URL"]])
def test_the_command_makes_no_folder_of_a_url(folder, monkeypatch, words):
    monkeypatch.chdir(folder)
    with pytest.raises(UsageError, match=r"'https://host/store' is a URL; give a folder of this machine"):
        cli.run([word.replace("URL", "https://host/store") for word in words])
    assert not (folder / "https:").exists()


def test_a_manifest_without_records_is_left_out_and_said(folder):
    (folder / "manifest/empty.tsv").write_text(f"\t{folder}\n")
    (folder / "manifest/cmsc/empty.tsv").write_text(f"{folder}\nmat\n")
    with pytest.warns(UserWarning, match=r"list no record are left out: cmsc/empty\.tsv, empty\.tsv"):
        assert pack_manifests(folder / "manifest", folder / "packed").records == 10
    assert not list((folder / "packed").rglob("empty.tsv"))


def test_an_index_whose_column_ends_within_a_value_is_an_error(folder, monkeypatch):
    """A damaged file can state such a length; Arrow writes none."""
    pack_manifests(folder / "manifest", folder / "packed")
    index = packed.read_index(folder / "packed" / INDEX)
    (batch,) = index.batches
    ragged = pa.Array.from_buffers(pa.int64(), len(batch), [None, pa.py_buffer(bytes(8 * len(batch) + 3))])
    index.batches = [batch.set_column(batch.schema.get_field_index("idx"), "idx", ragged)]
    monkeypatch.setattr(packed, "read_index", lambda path: index)
    with pytest.raises(ConfigError, match=r"index.arrow is not the index of a packed store"):
        PackedStore(folder / "packed").read(Slice("shard_00000.npy", 128, RECORD_BYTES))


def break_nothing(store):
    pass


def corrupt(store):
    content = bytearray((store / "shard_00001.npy").read_bytes())
    content[len(content) // 2] ^= 1
    (store / "shard_00001.npy").write_bytes(content)


def corrupt_its_beginning(store):
    content = bytearray((store / "shard_00001.npy").read_bytes())
    content[200] ^= 1
    (store / "shard_00001.npy").write_bytes(content)


def shorten(store):
    os.truncate(store / "shard_00001.npy", 500)


def lengthen(store):
    with (store / "shard_00001.npy").open("ab") as file:
        file.write(b"more")


def remove(store):
    (store / "shard_00001.npy").unlink()


def cut_index(store):
    os.truncate(store / INDEX, (store / INDEX).stat().st_size // 2)


def take_another_index(store):
    """Of a store whose shards have the same names and sizes."""
    for path in (store.parent / "segmented").glob("*.mat"):
        found = scipy.io.loadmat(path)
        write_mat(path, found["feats"] + 1, idx=found["idx"], patient_id=found["patient_id"])
    run(store.parent, dest="another")
    shutil.copy(store.parent / "another" / INDEX, store / INDEX)


DAMAGE = {
    corrupt_its_beginning: "is not the shard that index.arrow beside it describes",
    shorten: "is truncated or of another store: it has 500 bytes",
    lengthen: "is truncated or of another store",
    remove: "shard_00001.npy is missing",
    cut_index: "is not the index of a packed store",
    take_another_index: "is not the shard that index.arrow beside it describes",
}


@pytest.mark.parametrize("damage", [break_nothing, corrupt, *DAMAGE], ids=lambda damage: damage.__name__)
def test_damage_to_a_store_is_one_clear_error_when_it_is_read_and_a_fault_when_it_is_verified(folder, damage, capsys):
    run(folder)
    store = folder / "packed"
    damage(store)
    if damage is break_nothing:
        cli.run(["verify", str(store)])
        assert capsys.readouterr().out == f"{store} is whole: 5 shards, 10 records and 3 manifests agree\n"
        return
    with pytest.raises(ConfigError, match=r"packed: \d faults?\n  .*(shard_0000|index\.arrow)"):
        cli.run(["verify", str(store)])
    if damage in DAMAGE:
        with pytest.raises(ConfigError, match=DAMAGE[damage]):
            batch_of("ecg_file", store / "train.tsv")


def test_verify_counts_the_rows_of_a_manifest_that_the_index_does_not_know(folder, capsys):
    run(folder)
    text = (folder / "packed/train.tsv").read_text().split("\n")
    text[3] = text[3].replace(":128:", ":132:")
    text[4] = text[4].replace(f"\t{SAMPLES}", f"\t{SAMPLES - 1}")
    (folder / "packed/train.tsv").write_text("\n".join(text))
    (folder / "packed/shard_00009.npy").write_bytes(b"")
    faults = verify(folder / "packed").faults
    assert len(faults) == 3 and "shard_00009.npy: index.arrow does not know it" in faults[0]
    assert "train.tsv: 1 of 10 rows name what is not in index.arrow (shard_00001.npy:132:" in faults[1]
    assert "train.tsv: 1 of 10 rows state another length than index.arrow" in faults[2]


def test_info_says_what_a_store_holds(folder, capsys):
    run(folder)
    cli.run(["info", str(folder / "packed")])
    assert capsys.readouterr().out.splitlines() == [
        "records     10",
        "shards      5, 5 with checksum",
        f"bytes       {10 * RECORD_BYTES:,}",
        "dtype       float32 (10)",
        "rates (Hz)  500 (10)",
        "leads       12 (10)",
        "patients    4; 2 records of no known patient",
        f"sources     {folder}/segmented (10)",
    ]


def test_a_store_of_an_earlier_version_is_read_added_to_and_verified(folder):
    run(folder)
    index = packed.read_index(folder / "packed" / INDEX)
    table = pa.Table.from_batches(index.batches).drop_columns(["step", "exact", "label"]).combine_chunks()
    table = table.replace_schema_metadata({"shards": json.dumps(index.names), "fingerprints": "[]"})
    with pa.OSFile(str(folder / "packed" / INDEX), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
    same_batches(folder)
    found = verify(folder / "packed")
    assert not found.faults and found.unsigned == 5
    add_record(folder)
    run(folder)
    same_batches(folder)
    assert verify(folder / "packed").unsigned == 5
