import multiprocessing
import os
import pickle
import re
from pathlib import Path

import numpy as np
import pytest

from ecg_signals.config import LAUNCH_DIR, ConfigError
from ecg_signals.data import manifest as manifest_module
from ecg_signals.data.manifest import Manifest, Slice, write_manifest


@pytest.fixture
def write(tmp_path):
    def write(text, name="train.tsv"):
        (tmp_path / "files").mkdir(exist_ok=True)
        path = tmp_path / name
        path.write_text(text.replace("ROOT", str(tmp_path / "files")))
        return path

    return write


@pytest.fixture
def compiled(monkeypatch, tmp_path):
    """Every manifest counts as large, compiled into a folder of its own."""
    monkeypatch.setattr(manifest_module, "CACHE_FROM_BYTES", 0)
    monkeypatch.setenv(manifest_module.CACHE_DIR, str(tmp_path / "cache"))
    return tmp_path / "cache" / "manifests"


def test_a_plain_manifest_lists_paths_below_its_root(write, tmp_path):
    found = Manifest(write("\tROOT/ \na.mat\t2500\nb/c d.mat\t100\n\n"))
    assert (found.kind, len(found), found.root) == ("plain", 2, tmp_path / "files")
    assert [found.addresses(row) for row in range(2)] == [["a.mat"], ["b/c d.mat"]]
    assert found.samples.tolist() == [2500, 100] and found.samples.dtype == np.int64


def test_a_cmsc_row_names_its_segments_cut_to_an_even_number(write):
    found = Manifest(write("ROOT\nmat\na\t2500\t0\t0,1\nb\t2500\t0\t3\nc\t2500\t0\t2,4,7\n"))
    assert found.kind == "cmsc" and len(found) == 2  # b has one segment
    assert found.addresses(0) == ["a_0.mat", "a_1.mat"]
    assert found.addresses(1) == ["c_2.mat", "c_4.mat"]


def test_an_identification_row_ends_with_a_class(write):
    found = Manifest(write("ROOT\na.mat\t2500\t3\nb.mat\t2500\t0\n"))
    assert found.kind == "identification" and [found.label(0), found.label(1)] == [3, 0]


def test_packed_addresses_are_parsed_and_a_packed_pair_spans_both_segments(write):
    assert Slice.parse("a/shard_00000.npy:128:240000") == Slice("a/shard_00000.npy", 128, 240000)
    assert Slice.parse("a.mat") is None and Slice.parse("a.npy") is None
    found = Manifest(write("ROOT\nnpy\ns.npy:128:240000\t2500\t0\t0,1\n"))
    assert found.addresses(0) == ["s.npy:128:120000", "s.npy:120128:120000"]
    found = Manifest(write("ROOT\ns.npy:128:120000\t2500\n"))
    assert found.kind == "plain" and found.addresses(0) == ["s.npy:128:120000"]


def test_rows_below_min_samples_are_left_out_and_the_others_move_up(write):
    found = Manifest(write("ROOT\na.mat\t99\nb.mat\t100\nc.mat\t98\nd.mat\t500\n"), min_samples=100)
    assert found.samples.tolist() == [100, 500] and [row[0] for row in found.rows()] == ["b.mat", "d.mat"]
    assert list(found.rows()) == [("b.mat", "100"), ("d.mat", "500")]


@pytest.mark.parametrize(
    "text, message",
    [
        ("ROOT\na.mat\t2500\nb.mat\tmany\n", r"line 3 does not parse: found 'b.mat\\tmany'; expected path<TAB>samples"),
        ("ROOT\na.mat\t2500\nb.mat 2500\n", r"line 3 has 1 column: found 'b.mat 2500'; expected path<TAB>samples"),
        ("ROOT\na.mat\t2500\nb.mat\t2500\t1\t2\n", r"line 3 has 4 columns"),
        ("ROOT\na.mat\t2500\nb.mat\t0\n", r"line 3 has no path or no samples"),
        ("ROOT\na.mat\t2500\nb.mat\t10\na.mat\t20\n", r"line 4 repeats line 2: a.mat"),
        ("ROOT\nmat\na\t9\t0\t0,1\na\t9\t0\t0,1\n", r"line 4 repeats line 3: a 0,1"),
        ("ROOT\nmat\na\t9\t0\t0;1\n", r"line 3 does not parse"),
        ("ROOT\nmat\na.mat\t9\n", r"line 3 has 2 columns: .*expected stem<TAB>samples<TAB>0<TAB>segments"),
        ("", r"is empty \(0 lines\)"),
        ("ROOT\n", r"is empty \(1 line\)"),
        ("ROOT\nmat\n", r"is empty: it has no rows"),
        ("ROOT\nmat\na\t9\t0\t0\n", r"is empty: none of its rows has two segments"),
        ("ROOT/no\na.mat\t9\n", r"line 1: the root '.*/no' is not a folder"),
        ("a.mat\t9\nb.mat\t9\n", r"line 1: the root 'a.mat\\t9' is not a folder"),
    ],
)
def test_what_is_no_manifest_is_named_with_file_and_line(write, text, message):
    path = write(text)
    with pytest.raises(ConfigError, match=f"^{re.escape(str(path))}.*" + message):
        Manifest(path)


def test_equal_stems_with_other_segments_are_no_duplicates(write):
    assert len(Manifest(write("ROOT\nmat\na\t9\t0\t0,1\na\t9\t0\t2,3\n"))) == 2


def test_a_manifest_of_another_kind_names_the_dataset_that_reads_it(write):
    path = write("ROOT\nmat\na\t2500\t0\t0,1\n")
    with pytest.raises(ConfigError, match=r"of kind 'cmsc'.*dataset ecg_file reads kind 'plain'.*dataset._name=cmsc"):
        Manifest(path, "plain")


def test_too_short_rows_alone_are_an_error(write):
    with pytest.raises(ConfigError, match="all 1 rows are shorter than min_sample_size=100"):
        Manifest(write("ROOT\na.mat\t99\n"), min_samples=100)


def test_binary_and_missing_files_are_named(tmp_path):
    (tmp_path / "x.tsv").write_bytes(b"\xff\xfe\x00\x01\n\x80")
    with pytest.raises(ConfigError, match=r"x\.tsv is not a text file"):
        Manifest(tmp_path / "x.tsv")
    with pytest.raises(ConfigError, match=r"gone\.tsv cannot be read"):
        Manifest(tmp_path / "gone.tsv")


def test_a_relative_root_follows_the_launch_folder_or_the_manifest(tmp_path, monkeypatch):
    (tmp_path / "launch/data").mkdir(parents=True)
    (tmp_path / "there/near").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "there")
    (tmp_path / "a.tsv").write_text("data\na.mat\t9\n")
    (tmp_path / "there/b.tsv").write_text("near\na.mat\t9\n")
    monkeypatch.setenv(LAUNCH_DIR, str(tmp_path / "launch"))
    assert Manifest(tmp_path / "a.tsv").root == tmp_path / "launch/data"
    monkeypatch.chdir(tmp_path)
    assert Manifest(tmp_path / "there/b.tsv").root == tmp_path / "there/near"


def test_the_reference_manifests_parse(golden):
    for path in sorted((golden / "fairseq_signals_trained/manifest").rglob("*.tsv")):
        with pytest.raises(ConfigError, match="line 1: the root"):  # their roots lie elsewhere; every row parsed
            Manifest(path)


def test_a_compiled_manifest_equals_the_parsed_one(write, compiled):
    texts = ["ROOT\nä.mat\t9\nb.mat\t8\n", "ROOT\nmat\na\t9\t0\t0,1\nb\t9\t0\t1\n", "ROOT\na.mat\t9\t1\nb.mat\t9\t0\n"]
    for number, text in enumerate(texts):
        path = write(text, f"{number}.tsv")
        first = Manifest(path)
        assert len(list(compiled.glob("*.arrow"))) == number + 1
        again = Manifest(path)
        parsed = manifest_module._parse(path)
        assert list(first.rows()) == list(again.rows())
        assert [row[0] for row in again.rows()] == [parsed.path[row] for row in range(len(again))]
        assert (again.kind, again.root) == (parsed.kind, Path(parsed.root))


def test_a_changed_manifest_is_compiled_again_and_its_old_form_removed(write, compiled):
    path = write("ROOT\na.mat\t9\n")
    Manifest(path)
    path.write_text(path.read_text() + "b.mat\t9\n")
    os.utime(path, ns=(1, 1))
    assert len(Manifest(path)) == 2
    assert len(list(compiled.glob("*.arrow"))) == 1


def test_a_damaged_or_forbidden_cache_does_no_harm(write, compiled, monkeypatch, tmp_path):
    path = write("ROOT\na.mat\t9\n")
    Manifest(path)
    for file in compiled.glob("*.arrow"):
        file.write_bytes(b"ARROW1 nonsense")
    assert len(Manifest(path)) == 1
    (tmp_path / "blocked").write_text("a file where the folder should be")
    monkeypatch.setenv(manifest_module.CACHE_DIR, str(tmp_path / "blocked"))
    assert len(Manifest(path)) == 1


def test_a_manifest_travels_to_another_process_by_name(write, compiled):
    found = Manifest(write("ROOT\na.mat\t99\nb.mat\t100\n"), "plain", 100)
    assert len(pickle.dumps(found)) < 500
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.map(found.addresses, [0]) == [["b.mat"]]


def test_what_is_written_reads_back(tmp_path):
    (tmp_path / "files").mkdir()
    rows = [("a", 9, 0, "0,1"), ("b", 9, 0, "2,3")]
    write_manifest(tmp_path / "new/out.tsv", tmp_path / "files", rows, extension="mat")
    found = Manifest(tmp_path / "new/out.tsv")
    assert list(found.rows()) == [tuple(map(str, row)) for row in rows]
    assert [item.name for item in (tmp_path / "new").iterdir()] == ["out.tsv"]


def test_a_failed_write_leaves_the_old_manifest(tmp_path):
    (tmp_path / "files").mkdir()
    write_manifest(tmp_path / "a.tsv", tmp_path / "files", [("a.mat", 9)])

    def failing():
        yield ("b.mat", 9)
        raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        write_manifest(tmp_path / "a.tsv", tmp_path / "files", failing())
    assert list(Manifest(tmp_path / "a.tsv").rows()) == [("a.mat", "9")]
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.tsv", "files"]


def lines_of(kind, rng, rows):
    """Lines as our tools write them, and some that only look like it."""
    odd = [
        ("", ""),
        ("  ", ""),
        (" x{}.mat\t9", "1"),
        ("é{}.mat\t09", "-1"),
        ("y{}.mat\t+7", "07"),
        ("z{}\t5_0", "1_0"),
    ]
    for row in range(rows):
        extra = {"plain": "", "identification": f"\t{row % 7}", "cmsc": f"\t0\t{row % 3},{row + 1}"}[kind]
        yield f"r{'ä' * (row % 11 == 5)}{row}.mat\t{rng.integers(1, 10**6)}{extra}"
        start, end = odd[rng.integers(len(odd))]
        if rng.random() < 0.02:
            more = {"plain": "", "identification": f"\t{end}", "cmsc": f"\t0\t{end}, 3"}[kind] if end else ""
            yield start.format(row) + more


@pytest.mark.parametrize("kind", ["plain", "identification", "cmsc"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_blocks_of_lines_are_read_as_single_lines_are(write, monkeypatch, kind, newline):
    rng = np.random.default_rng(3)
    head = ["ROOT", *(["mat"] if kind == "cmsc" else []), *lines_of(kind, rng, 500)]
    path = write("\ufeff" + newline.join(head) + newline)
    monkeypatch.setattr(manifest_module, "BLOCK_BYTES", 1500)
    quickly = list(Manifest(path, kind).rows())
    monkeypatch.setattr(manifest_module, "parse_block", lambda block, kind: None)
    assert list(Manifest(path, kind).rows()) == quickly and len(quickly) >= 500


@pytest.mark.parametrize("row", ["r7.mat\t8", "x.mat\t", "x.mat\t12a", "x.mat\t-5", "x.mat\t0", "\t9", "x\0.mat\t9"])
def test_a_wrong_line_among_many_is_named(write, monkeypatch, row):
    monkeypatch.setattr(manifest_module, "BLOCK_BYTES", 1000)
    rows = [f"r{number}.mat\t9" for number in range(400)]
    path = write("\n".join(["ROOT", "", *rows[:300], row, *rows[300:]]) + "\n")
    with pytest.raises(ConfigError, match="line 303 repeats line 10: r7.mat" if "r7" in row else "line 303 "):
        Manifest(path)
