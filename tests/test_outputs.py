"""Every command that writes: outputs lie below DEST whatever a text says, and no input is written over."""

import hashlib
import json
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from ecg_signals.checkpoint.convert import convert
from ecg_signals.cli import cluster, preprocess
from ecg_signals.clustering.rows import RowWriter
from ecg_signals.config import ConfigError
from ecg_signals.data.pack import pack_manifests
from ecg_signals.evaluation.extract import Extraction
from ecg_signals.inference.pictures import save_pictures
from ecg_signals.inference.predict import Prediction
from ecg_signals.limits import name_below
from ecg_signals.preprocess.archives import unpack
from ecg_signals.preprocess.destination import check_distinct

SIGNAL = np.random.default_rng(0).normal(size=(12, 2500)).astype("f4")


@pytest.fixture
def place(tmp_path, monkeypatch):
    """SOURCE `mine` with two records, one more beside it, and an empty DEST `out`."""
    for name in ("mine/a.npy", "mine/deep/b.npy", "other/c.npy"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, SIGNAL + len(name))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def hashes(folder: Path, without: str = "out") -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and without not in path.relative_to(folder).parts]
    return {str(path.relative_to(folder)): hashlib.sha1(path.read_bytes()).hexdigest() for path in files}


def hostile_table(place: Path) -> None:
    rows = [f"{place}/mine/a.npy,1,0", "../other/c.npy,2,1", "deep/../deep/b.npy,3,1"]
    (place / "mine" / "about.csv").write_text("\n".join(["path,patient_id,af", *rows, ""]))


def typed(*words: object) -> None:
    preprocess.run([*map(str, words)])


@pytest.mark.parametrize("command", [("npy",), ("hubert", "npy")])
def test_paths_in_a_table_decide_what_is_read_and_not_where_is_written(place, command):
    hostile_table(place)
    before = hashes(place)
    typed(*command, place / "mine", place / "out", "source_rate=500", "--workers", 1)
    assert hashes(place) == before
    made = [path for path in (place / "out").rglob("*") if path.suffix in (".mat", ".npy") and path.name != "y.npy"]
    names = {path.name.replace("npy__up_", "") for path in made}
    assert any("c" in name for name in names) and len([p for p in made if "segmented" not in p.parts]) == 3


def test_prepare_writes_below_its_folder_whatever_the_table_in_raw_says(place):
    hostile_table(place)
    (place / "folder").mkdir()
    (place / "mine").rename(place / "folder" / "raw")
    table = place / "folder" / "raw" / "about.csv"
    table.write_text(table.read_text().replace("/mine/", "/folder/raw/").replace("../other", "../../other"))
    before = hashes(place)
    typed("prepare", place / "folder", "source_rate=500", "--workers", 1)
    after = hashes(place)
    assert {name: after[name] for name in before} == before
    assert all(
        name.startswith(("folder/processed", "folder/metadata", "folder/progress", "folder/skipped"))
        for name in set(after) - set(before)
    )
    assert (place / "folder/processed/_up/_up/other/c.npy").is_file()


@pytest.mark.parametrize("command", [("npy",), ("hubert", "npy")])
@pytest.mark.parametrize("dest", ["mine", "link", "parent"])
def test_a_dest_that_is_or_holds_the_source_is_refused_before_anything_is_written(place, command, dest):
    if dest == "link":
        (place / "link").symlink_to("mine")
    if dest == "parent":  # outputs would go to parent/processed and parent/org, where the records lie
        folder = "processed" if command[0] == "hubert" else "org"
        (place / "parent").mkdir()
        (place / "mine").rename(place / "parent" / folder)
        source = place / "parent" / folder
    else:
        source = place / "mine"
    before = hashes(place)
    with pytest.raises(ConfigError, match="DEST"):
        typed(*command, source, place / dest, "source_rate=500", "--workers", 1)
    assert hashes(place) == before


def test_a_table_of_the_users_that_would_be_written_over_is_named(place):
    hostile_table(place)
    (place / "out").mkdir()
    (place / "mine" / "about.csv").rename(place / "out" / "meta.csv")
    kept = (place / "out" / "meta.csv").read_bytes()
    for more in ([f"table={place / 'out' / 'meta.csv'}"], []):
        with pytest.raises(ConfigError, match=r"meta\.csv.* DEST"):
            typed("npy", place / "mine", place / "out", "source_rate=500", *more)
    assert (place / "out" / "meta.csv").read_bytes() == kept and os.listdir(place / "out") == ["meta.csv"]


def test_what_an_earlier_run_wrote_below_the_source_is_no_record(place):
    for _ in range(2):
        typed("hubert", "npy", place / "mine", place / "mine" / "out", "source_rate=500", "--workers", 1)
    typed("npy", place / "mine", place / "mine" / "second", "source_rate=500", "--workers", 1)
    assert len(pd.read_csv(place / "mine/second/records.csv")) == 2


def test_names_of_outputs_stay_below_any_folder_and_break_no_line():
    names = ("/a/b", "../a", "a/../../b", "C:\\x\\y", "./a//b", "a\nb\tc", "a\0b", "\udcff")
    assert [name_below(name) for name in names] == [
        "_root/a/b",
        "_up/a",
        "a/_up/_up/b",
        "_root/C/x/y",
        "a/b",
        "a_b_c",
        "a_b",
        "_",
    ]


def test_two_inputs_of_one_output_are_an_error_that_names_both(place, monkeypatch):
    (place / "mine" / "_up" / "other").mkdir(parents=True)
    np.save(place / "mine/_up/other/c.npy", SIGNAL)
    hostile_table(place)
    with pytest.raises(ConfigError, match=r"\.\./other/c\.npy and _up/other/c\.npy would both be stored as _up/oth"):
        typed("hubert", "npy", place / "mine", place / "out", "source_rate=500")
    monkeypatch.setattr("ecg_signals.preprocess.destination._ignores_case", lambda folder: True)
    with pytest.raises(ConfigError, match=r"x/A\.hea and x/a\.hea would .*one file on this disk"):
        check_distinct(["A.mat", "a.mat"], ["x/A.hea", "x/a.hea"], place)


def test_a_long_path_and_a_strange_one_get_file_names_that_every_disk_takes(place):
    name = "/".join(["folder" * 20] * 3) + "/a\nb.npy"
    (place / "mine" / name).parent.mkdir(parents=True)
    np.save(place / "mine" / name, SIGNAL)
    typed("npy", place / "mine", place / "out", "source_rate=500", "--workers", 1)
    listed = (place / "out/manifest/train.tsv").read_text() + (place / "out/manifest/valid.tsv").read_text()
    listed += (place / "out/manifest/test.tsv").read_text()
    assert len(listed.splitlines()) == 3 + 3 and max(map(len, os.listdir(place / "out/segmented"))) < 230


# -------------------------------------------------------------------------------------------------- single steps


def split_table(path: Path, split: str) -> None:
    path.write_text(
        "idx,save_file,split,path,sample_size,patient_id\n"
        + "".join(f"{i},r{i}.mat,{split},/d/r{i}_{k}.mat,2500,p{i % 2}\n" for i in range(4) for k in range(2))
    )


@pytest.mark.parametrize("step", ["manifest", "identify"])
def test_a_split_whose_name_climbs_is_refused(place, step):
    (place / "out").mkdir()
    split_table(place / "table.csv", "../../evil")
    before = hashes(place)
    with pytest.raises(ConfigError, match="does not lie below"):
        typed(step, "--split_file_paths", place / "table.csv", "--save_dir", place / "out" / "deep")
    assert hashes(place) == before and not list((place / "out").rglob("*.tsv"))


def test_steps_never_write_over_the_tables_they_read(place):
    out = place / "tables"
    out.mkdir()
    split_table(out / "train.tsv", "train")  # a table of segments that has the name of a manifest
    (out / "labels.csv").write_text("idx,af\n0,1\n1,0\n2,1\n3,0\n")
    split_table(out / "meta.csv", "train")
    split_table(out / "segmented.csv", "train")
    (out / "label_def.csv").hardlink_to(out / "labels.csv")
    (out / "cmsc").symlink_to(out / "pairs")
    (out / "pairs").mkdir()
    (out / "pairs" / "train.tsv").write_text("/d\nr0_0.mat\t2500\nr0_1.mat\t2500\n")
    before = hashes(place)
    calls = [
        ("manifest", "--split_file_paths", out / "train.tsv", "--save_dir", out),
        ("labels", "--output_dir", out, "--labels", out / "labels.csv", "--meta_splits", out / "meta.csv"),
        ("split", "--strategy", "random", "--processed_root", out, "--save_files_suffix", ""),
        ("pairs", out / "pairs", "--dest", out),
    ]
    for call in calls:
        with pytest.raises(ConfigError, match="would be written over the input"):
            typed(*call)
    assert hashes(place) == before


# -------------------------------------------------------------------------------------------------- the other commands


def test_members_of_an_archive_stay_below_and_what_the_user_changed_is_kept(place):
    for names, reason in (
        (["../x.csv"], "does not lie below"),
        (["/x.csv"], "does not lie below"),
        (["a\\..\\..\\x.csv"], "does not lie below"),
        (["a/x.csv", "a//x.csv"], "would be one file"),
    ):
        with zipfile.ZipFile(place / "all.zip", "w") as file:
            for name in names:
                file.writestr(name, "new")
        with pytest.raises(ConfigError, match=reason):
            unpack(place / "all.zip", place / "out", lambda name: True)
    (place / "away").mkdir()
    (place / "out").mkdir(exist_ok=True)
    (place / "out" / "in").symlink_to(place / "away")
    with zipfile.ZipFile(place / "all.zip", "w") as file:
        file.writestr("in/x.csv", "new")
    with pytest.raises(ConfigError, match="a link leads out"):
        unpack(place / "all.zip", place / "out", lambda name: True)
    (place / "out" / "in").unlink()
    with zipfile.ZipFile(place / "all.zip", "w") as file:
        file.writestr("mine.csv", "as published\nrow\n")
        file.writestr("cut.csv", "as published\n")
    (place / "out" / "mine.csv").write_text("my own\n")
    (place / "out" / "cut.csv").write_text("as pub")
    with pytest.warns(UserWarning, match=r"1 files differ .* are kept, .*mine\.csv"):
        unpack(place / "all.zip", place / "out", lambda name: True)
    assert [(place / "out" / name).read_text() for name in ("mine.csv", "cut.csv")] == ["my own\n", "as published\n"]


@pytest.fixture
def manifests(place):
    typed("npy", place / "mine", place / "data", "source_rate=500", "--workers", 1)
    folder = place / "manifests"
    folder.mkdir()
    shutil.copy(place / "data" / "manifest" / "train.tsv", folder)
    return folder


def test_packing_never_writes_over_records_or_manifests(place, manifests):
    shutil.copytree(manifests, place / "second")
    before = hashes(place)
    for dest in (place / "second", place / "data" / "segmented"):
        with pytest.raises(ConfigError, match="as DEST"):
            pack_manifests(manifests, dest)
    assert hashes(place) == before
    for _ in range(2):
        pack_manifests(manifests, place / "out")
    assert hashes(place) == before


def test_converting_never_writes_over_its_source_or_a_folder_of_something_else(place, shared):
    source = place / "a.pt"
    shutil.copy(shared / "golden" / "hubert_ecg" / "checkpoints" / "finetune_linear.pt", source)
    (place / "link.pt").hardlink_to(source)
    (place / "project").mkdir()
    (place / "project" / "README.md").write_text("mine")
    before = hashes(place)
    for dest, to in ((source, "fairseq"), (place / "link.pt", "original"), (place / "project", "hf")):
        with pytest.raises(ConfigError, match=r"over the input|another DEST"):
            convert(source, dest, to)
    assert hashes(place) == before
    for _ in range(2):
        convert(source, place / "out", "hf")


@pytest.fixture
def folders(place, shared):
    """A converted folder, and one in two parts with their index, as transformers saves large models."""
    convert(shared / "golden" / "hubert_ecg" / "checkpoints" / "finetune_linear.pt", place / "whole", "hf")
    shutil.copytree(place / "whole", place / "parts")
    weights = load_file(place / "whole" / "model.safetensors")
    (place / "parts" / "model.safetensors").unlink()
    names = {key: f"model-0000{number % 2 + 1}-of-00002.safetensors" for number, key in enumerate(weights)}
    for part in sorted(set(names.values())):
        save_file({key: value for key, value in weights.items() if names[key] == part}, place / "parts" / part)
    index = {"metadata": {}, "weight_map": names}
    (place / "parts" / "model.safetensors.index.json").write_text(json.dumps(index))
    return place


@pytest.mark.parametrize("source, dest, to", [
    ("whole", "whole", "hf"),
    ("whole", "link", "hf"),
    ("whole/model.safetensors", "whole", "hf"),
    ("whole/model.safetensors", "link", "hf"),
    ("whole", "whole/model.safetensors", "fairseq"),
    ("whole", "link/model.safetensors", "original"),
    ("whole", "whole/config.json", "fairseq"),
    ("whole", "borrowed", "hf"),
    ("whole", "weights.pt", "fairseq"),
    ("parts", "parts", "hf"),
    ("parts", "parts/model-00002-of-00002.safetensors", "fairseq"),
    ("parts", "parts/model.safetensors.index.json", "original"),
    ("whole", "parts", "hf"),
])  # fmt: skip
def test_converting_never_writes_over_the_weights_it_reads_under_any_name(folders, source, dest, to):
    (folders / "link").symlink_to("whole")
    (folders / "weights.pt").symlink_to("whole/model.safetensors")
    (folders / "borrowed").mkdir()
    (folders / "borrowed" / "model.safetensors").hardlink_to(folders / "whole" / "model.safetensors")
    shutil.copy(folders / "whole" / "config.json", folders / "borrowed")
    before = hashes(folders)
    with pytest.raises(ConfigError, match=r"over the input|another DEST"):
        convert(folders / source, folders / dest, to)
    assert hashes(folders) == before


@pytest.mark.parametrize("source", ["whole", "parts", "whole/model.safetensors"])
def test_converting_writes_beside_the_weights_it_reads_and_again(folders, source):
    for _ in range(2):
        convert(folders / source, folders / "whole" / "back.pt", "original")
        convert(folders / source, folders / "other", "hf")


def test_clustering_takes_no_folder_that_holds_something_else(place):
    (place / "mine" / "values.npy").write_bytes((place / "mine" / "a.npy").read_bytes())
    (place / "table.csv").write_text("filename\na.npy\n")
    before = hashes(place)
    with pytest.raises(ConfigError, match=r"holds names\.txt or values\.npy of something else"):
        cluster.run(["dump", str(place / "table.csv"), str(place / "mine"), "--ecg-dir", str(place / "mine")])
    assert hashes(place) == before
    with pytest.raises(ConfigError, match="holds a line break"):
        RowWriter(place / "out", ["a\nb.npy"], {})


def test_extraction_replaces_a_link_and_stays_in_its_folder(place):
    (place / "out").mkdir()
    (place / "out" / "outputs_test.npy").hardlink_to(place / "mine" / "a.npy")
    (place / "out" / "outputs_valid.npy").symlink_to(place / "mine" / "a.npy")
    before = hashes(place)
    batch, output = {"id": torch.arange(3)}, {"logits": torch.ones(3, 2)}
    extraction = Extraction(["output"], str(place / "out"), "test", rows=3)
    extraction.add(batch, output, None)
    assert np.load(extraction.close()[0]).sum() == 6
    for subset, reason in (("valid", "a link leads out"), ("../../evil", "does not lie below")):
        with pytest.raises(ConfigError, match=reason):
            Extraction(["output"], str(place / "out"), subset, rows=3).add(batch, output, None)
    assert hashes(place) == before


def test_pictures_have_names_of_their_own_and_replace_links(place):
    (place / "out").mkdir()
    (place / "out" / "a.npy.png").symlink_to(place / "mine" / "a.npy")
    np.save(place / "other" / "A.npy", SIGNAL)
    before = hashes(place)
    records = [str(place / "mine" / "a.npy"), str(place / "other" / "A.npy")]
    predictions = [Prediction(name, {"af": 0.5}, [{"probabilities": {"af": 0.5}}]) for name in records]
    found = save_pictures(predictions, place / "out", sample_rate=500)
    assert hashes(place) == before and [path.name for path in found] == ["a.npy.png", "A.npy_2.png"]
