"""ecg-preprocess as it is typed: help, exit status, messages, a run that is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from scipy.io import loadmat
from warm_commands import python

from ecg_signals.cli.preprocess import main
from ecg_signals.registry import register_source
from ecg_signals.signal.leads import LEADS

SAMPLE = Path(__file__).parents[2] / "examples" / "sample"
COMMAND = [sys.executable, "-m", "ecg_signals.cli.preprocess"]


@pytest.fixture
def typed(monkeypatch, capsys):
    """Runs the command line here; returns exit status, stdout and stderr."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["ecg-preprocess", *map(str, words)])
        previous = signal.getsignal(signal.SIGTERM)
        try:
            main()
            status = 0
        except SystemExit as end:
            status = end.code or 0
        finally:
            signal.signal(signal.SIGTERM, previous)
        out = capsys.readouterr()
        return status, out.out, out.err

    return run


def test_help_lists_datasets_and_steps_without_slow_imports():
    code = "import sys; sys.argv[1:] = ['ptbxl', '--help']\nfrom ecg_signals.cli.preprocess import main\nmain()\n"
    code += "slow = {'torch', 'pandas', 'scipy', 'wfdb', 'h5py', 'hydra'} & set(sys.modules)\nassert not slow, slow"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "sample_rate=500" in out and "valid_fold=9" in out


def test_every_dataset_and_step_has_a_help_page(typed):
    status, overview, _ = typed("--help")
    assert status == 0
    steps = ("split", "labels", "manifest", "pairs", "subset", "hubert", "windows", "identify", "prepare", "settings")
    for name in (*register_source.names(), *steps):
        assert f"  {name} " in overview
        status, page, _ = typed(name, "--help")
        assert status == 0 and page.startswith(f"usage: ecg-preprocess {name}"), name


@pytest.mark.parametrize(
    "words, message",
    [
        (["ptbxxl", "a", "b"], "did you mean 'ptbxl'"),
        (["ptbxl", "a", "b", "sample_rat=500"], "did you mean 'sample_rate'"),
        (["ptbxl", "a", "b", "--worker", "2"], "did you mean --workers"),
        (["ptbxl", "a", "b", "--workers", "0"], "at least 1"),
        (["ptbxl", "a"], "required: dest"),
        (["ptbxl", SAMPLE, "s3://bucket/b"], "'s3://bucket/b' is a URL; give a folder of this machine"),
        (["ptbxl", "a", "b", "sample_rate=0"], "sample_rate=500"),
        (["split", "--strategy", "random", "--processed_rot", "x"], "--processed_root"),
        (["split", "--strategy", "radom", "--processed_root", "x"], "did you mean 'random'"),
        ([], "name a dataset or a step"),
        (["hubert"], "name a dataset"),
        (["hubert", "ptbxxl", "a", "b"], "did you mean 'ptbxl'"),
        (["prepare"], "are required: folder. See"),
        (["prepare", "a", "--workers", "2", "source_rat=2"], "did you mean 'source_rate'"),
        (["settings", "a"], "are required: --run"),
    ],
)
def test_wrong_arguments_end_with_status_2_and_the_nearest_name(typed, words, message):
    status, _, err = typed(*words)
    assert status == 2 and message in err and "Traceback" not in err


@pytest.mark.parametrize(
    "words, message",
    [
        (["ptbxl", "nowhere", "b"], "is not a folder; ptbxl expects ptbxl_database.csv"),
        (["ptbxl", SAMPLE, "b", "dtype=float16"], "must be one of float32, float64"),
        (["ptbxl", SAMPLE, "b", "leads=I,99"], "lead 99 does not exist"),
        (["pairs", "nowhere", "--dest", "b"], "there is no .tsv in nowhere"),
        (["manifest", "--split_file_paths", "none.csv", "--save_dir", "b"], "there is no table none.csv"),
    ],
)
def test_what_the_user_can_fix_ends_with_status_1_and_one_message(typed, tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    status, _, err = typed(*words)
    assert status == 1 and message in err and "Traceback" not in err


def test_the_steps_repeat_what_the_whole_command_did(typed, tmp_path):
    dest = tmp_path / "dest"
    assert typed("ptbxl", SAMPLE, dest, "keep_org=false", "--workers", "1")[0] == 0
    again = tmp_path / "again"
    assert typed("manifest", "--split_file_paths", dest / "segmented_split.csv", "--save_dir", again)[0] == 0
    assert typed("pairs", again, "--dest", again)[0] == 0
    for name in ("train.tsv", "valid.tsv", "test.tsv", "cmsc/train.tsv"):
        assert (again / name).read_text() == (dest / "manifest" / name).read_text()
    options = ["--labels", dest / "labels/labels.csv", "--meta_splits", dest / "meta_split.csv"]
    assert typed("labels", "--output_dir", again / "labels", *options)[0] == 0
    for name in ("label_def.csv", "pos_weight.txt"):
        assert (again / "labels" / name).read_text() == (dest / "labels" / name).read_text()
    options = ["--strategy", "grouped", "--group_col", "patient_id", "--filter_cols", "nan_any,constant_leads_any"]
    status, out, _ = typed("split", "--processed_root", dest, *options, "--save_files_suffix", "_mine")
    assert status == 0 and "train" in out and (dest / "segmented_mine.csv").is_file()
    assert typed("subset", "--manifest_dir", again / "cmsc", "--percent", "0.5")[0] == 0
    assert len((again / "cmsc/0.5/train.tsv").read_text().splitlines()) == 2 + 28


def test_a_killed_run_goes_on_and_ends_with_the_same_files(typed, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert typed("ptbxl", SAMPLE, whole, "--workers", "1")[0] == 0
    process = subprocess.Popen([python(), *COMMAND[1:], "ptbxl", str(SAMPLE), str(killed)], stderr=subprocess.DEVNULL)
    journal = killed / "progress.jsonl"
    while not (journal.is_file() and journal.read_text().count("\n") > 3) and process.poll() is None:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    done = {path.name: path.stat().st_mtime_ns for path in (killed / "org").glob("*.mat")}
    assert typed("ptbxl", SAMPLE, killed, "--workers", "1")[0] == 0
    kept = [name for name, stamp in done.items() if (killed / "org" / name).stat().st_mtime_ns == stamp]
    assert len(kept) >= 3
    names = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(killed) for path in killed.rglob("*") if path.is_file())
    for name in (name for name in names if name.suffix == ".mat"):
        np.testing.assert_array_equal(loadmat(whole / name)["feats"], loadmat(killed / name)["feats"])
    for name in ("labels/y.npy", "labels/label_def.csv"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes()


def test_sigterm_ends_with_143_and_keeps_what_is_done(tmp_path):
    words = ["ptbxl", str(SAMPLE), str(tmp_path / "dest"), "--workers", "2"]
    process = subprocess.Popen([*COMMAND, *words], stderr=subprocess.PIPE, text=True)
    journal = tmp_path / "dest/progress.jsonl"
    while not (journal.is_file() and journal.stat().st_size) and process.poll() is None:
        time.sleep(0.005)
    process.terminate()
    err = process.communicate()[1]
    assert process.returncode == 143 and "run the same command again" in err


@pytest.mark.parametrize("kind", ["npy", "wfdb"])
def test_microvolts_are_counted_in_the_summary_and_read_with_units(tmp_path, typed, kind):
    raw = tmp_path / "raw"
    raw.mkdir()
    for number in range(3):
        counts = np.random.default_rng(number).integers(-900, 900, (12, 3000)).astype("<i2")
        if kind == "npy":
            np.save(raw / f"r{number}.npy", counts)
            continue
        counts.T.tofile(raw / f"r{number}.dat")
        lines = [f"r{number}.dat 16 1/mV 16 0 0 0 0 {name}" for name in LEADS]
        (raw / f"r{number}.hea").write_text("\n".join([f"r{number} 12 500 3000", *lines]))
    options = ["source_rate=500"] if kind == "npy" else []
    status, out, _ = typed(kind, raw, tmp_path / "dest", *options)
    assert status == 0 and "3 records have a remark" in out and "     3  " in out
    assert "above 8 mV in 12 of 12 leads" in out and "units=uV" in out
    status, out, _ = typed(kind, raw, tmp_path / "dest", *options, "units=uV")
    org = loadmat(next((tmp_path / "dest/org").glob("*r0.mat")))["feats"]
    assert status == 0 and 0.8 < np.abs(org).max() < 1
    assert ("remark" in out) == (kind == "wfdb")  # the header contradicts what was typed
