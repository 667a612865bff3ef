"""Processes of this machine, jobs of submitit and tasks of dask preprocess the same records to the same bytes."""

import json
import os
import signal
from pathlib import Path

import pandas as pd
import pytest

from ecg_signals.config import ConfigError, UsageError
from ecg_signals.preprocess import executors
from ecg_signals.preprocess.journal import Journal
from ecg_signals.preprocess.options import parse_options
from ecg_signals.preprocess.pipeline import preprocess_dataset
from ecg_signals.preprocess.signals import process_record
from ecg_signals.preprocess.workers import Job, Shard, process_shard
from ecg_signals.registry import register_source

SAMPLE = Path(__file__).parents[2] / "examples" / "sample"
QUICK = ("sample_rate=50", "keep_org=false", "labels=superdiagnostic")
MANY = ("sample_rate=100", "keep_org=false")
KINDS = ("local", "submitit:local", "dask")
KILL = "ECG_SIGNALS_TEST_KILL"  # the record whose worker ends, once


def run(source, dest, *settings, workers=2, name="ptbxl"):
    settings = settings if name == "wfdb" else (*QUICK, *settings)
    cfg = parse_options(settings, register_source.get(name).dataclass)
    return preprocess_dataset(name, source, dest, cfg, workers)


def contents(dest):
    """Every file of DEST, without the folder's own name."""
    here = str(dest.resolve()).encode()
    files = sorted(path for path in dest.rglob("*") if path.is_file())
    return {str(path.relative_to(dest)): path.read_bytes().replace(here, b"") for path in files}


def stamps(dest):
    return {path.name: path.stat().st_mtime_ns for path in (dest / "segmented").glob("[a-z]*.mat")}


def deadly(source, row, dest):
    """As `process_record`, but one record kills its process, the first time."""
    path, mark = os.environ[KILL].split(":")
    if row["save_file"] == path and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return process_record(source, row, dest)


def fails_when_full(source, row, dest):
    if row["idx"] >= 40:
        raise OSError(28, "No space left on device")
    return process_record(source, row, dest)


@pytest.fixture(scope="module")
def serial(tmp_path_factory):
    dest = tmp_path_factory.mktemp("serial")
    run(SAMPLE, dest, workers=1)
    return dest


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_worker_is_told_and_the_next_run_does_the_rest_to_the_same_bytes(kind, serial, tmp_path, monkeypatch):
    pytest.importorskip({"dask": "distributed", "submitit:local": "submitit"}.get(kind, "os"))
    dest, names = tmp_path / "dest", pd.read_csv(serial / "meta.csv")["save_file"]
    monkeypatch.setenv(KILL, f"{names[40]}:{tmp_path / 'killed'}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    monkeypatch.setattr("ecg_signals.preprocess.pipeline.process_record", deadly)
    with pytest.raises(ConfigError, match=r"(ended|killed).* run the same command again") as told:
        run(SAMPLE, dest, f"executor={kind}")
    assert "Traceback" not in str(told.value)
    before = stamps(dest)
    finished = [json.loads(line)["save_file"] for line in (dest / "progress.jsonl").read_text().splitlines()]
    run(SAMPLE, dest, workers=1)
    after = stamps(dest)
    assert len(finished) >= 8 and names[39] in finished and names[40] not in finished
    assert {name for name in after if before.get(name) == after[name]} == {
        f"{name[:-4]}_{i}.mat" for name in finished for i in range(2)
    }
    assert contents(dest) == contents(serial)


@pytest.fixture(scope="module")
def many(data, tmp_path_factory):
    """2,000 records: the 500 of PTB-XL at 100 Hz under four names; and what one process makes of them."""
    source, dest = tmp_path_factory.mktemp("many"), tmp_path_factory.mktemp("many_serial")
    for name in "abcd":
        (source / name).symlink_to(data / "ptbxl_500" / "records100" / "00000")
    run(source, dest, *MANY, workers=1, name="wfdb")
    return source, dest


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_of_2000_records_a_second_run_does_only_what_a_killed_worker_left(kind, many, tmp_path, monkeypatch):
    source, serial = many
    names = pd.read_csv(serial / "meta.csv")["save_file"]
    monkeypatch.setenv(KILL, f"{names[1001]}:{tmp_path / 'killed'}")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    monkeypatch.setattr("ecg_signals.preprocess.pipeline.process_record", deadly)
    dest, words = tmp_path / "dest", (*MANY, f"executor={kind}")
    with pytest.raises(ConfigError, match=r"(ended|killed).* run the same command again") as told:
        run(source, dest, *words, name="wfdb")
    before = stamps(dest)
    finished = {json.loads(line)["save_file"] for line in (dest / "progress.jsonl").read_text().splitlines()}
    run(source, dest, *words, name="wfdb")
    after = stamps(dest)
    kept = {name for name in after if before.get(name) == after[name]}
    print(
        f"{kind}: {told.value}; {len(finished)} of {len(names)} were done, {len(after) - len(kept)} files were written"
    )
    assert len(finished) > 100 and kept == {f"{name[:-4]}_{i}.mat" for name in finished for i in range(2)}
    assert contents(dest) == contents(serial)


def test_a_full_disk_in_a_worker_ends_the_run_with_one_message_and_keeps_what_is_done(tmp_path, monkeypatch):
    monkeypatch.setattr("ecg_signals.preprocess.pipeline.process_record", fails_when_full)
    with pytest.raises(ConfigError, match=r"No space left on device\. .* free in .*\. Make room"):
        run(SAMPLE, tmp_path)
    assert (tmp_path / "progress.jsonl").read_text().count("\n") >= 40 and not (tmp_path / "progress").exists()


def test_a_destination_that_is_not_shared_is_told(tmp_path):
    entry = register_source.get("ptbxl")
    job = Job(entry.cls, SAMPLE, entry.dataclass(), tmp_path, process_record)
    done = process_shard(job, Shard([], tmp_path / "elsewhere" / "part.jsonl"))
    assert "must lie on a file system that this machine and all workers share" in str(done.failure)
    journal = Journal(tmp_path, "ptbxl")
    journal.open([])
    with pytest.raises(ConfigError, match=r"has 0 of the 1 records that its worker finished; DEST and SOURCE must lie"):
        journal.take(Shard([{"save_file": "a", "key": "b"}], tmp_path / "progress" / "part.jsonl"), 0)


def test_lines_of_another_shard_s_records_are_not_believed(serial, tmp_path):
    line = (serial / "progress.jsonl").read_text().splitlines()[0]
    entry = json.loads(line)
    journal = Journal(tmp_path, "ptbxl")
    journal.open([])
    part = tmp_path / "progress" / "part.jsonl"
    for row, found in (({"save_file": "a"}, 0), ({"key": "0" * 40}, 0), ({}, 1)):
        part.write_text(f"{line}\n")
        shard = Shard([entry | row], part)
        if found:
            journal.take(shard, 0)
        else:
            with pytest.raises(ConfigError, match="has 0 of the 1 records"):
                journal.take(shard, 0)
    journal.close()
    assert (tmp_path / "progress.jsonl").read_text() == f"{line}\n"


@pytest.mark.parametrize(
    "words, error, message",
    [
        (["executor=dusk"], UsageError, "did you mean 'dask'"),
        (["executor=local:2"], UsageError, "There are: dask, local, submitit"),
        (["executor=submitit:pbs"], UsageError, "expected submitit .SLURM. or submitit:local"),
        (["executor.partition=cpu"], UsageError, "executor=local has no option executor.partition"),
        (["executor=dask", "executor.memory=2"], UsageError, "It has executor.memory_limit"),
        (["executor=dask:local"], UsageError, "expected dask .a cluster on this machine. or dask:tcp://HOST:PORT"),
        (["executor=dask:tcp://head"], UsageError, "expected dask .a cluster on this machine. or dask:tcp://HOST:PORT"),
    ],
)
def test_an_executor_that_is_not_there_is_told_before_anything_is_read(words, error, message):
    with pytest.raises(error, match=message):
        parse_options(words, register_source.get("ptbxl").dataclass)


def test_a_missing_extra_says_what_to_install(monkeypatch):
    monkeypatch.setattr(executors, "find_spec", lambda name: None)
    for kind, extra in (("dask:tcp://head:8786", "dask"), ("submitit", "slurm")):
        with pytest.raises(ConfigError, match=rf'pip install "ecg-signals\[{extra}\]"'):
            executors.place(kind, {})


def test_there_is_one_message_without_slurm_and_for_what_submitit_refuses(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"finds no SLURM here .*executor=local"):
        run(SAMPLE, tmp_path / "a", "executor=submitit")
    with pytest.raises(UsageError, match=r"submitit refuses an option executor\.KEY=value: .*partitoin"):
        run(SAMPLE, tmp_path / "b", "executor=submitit:local", "executor.partitoin=cpu")


@pytest.mark.parametrize("wrong", ["dashboard_address=nowhere.invalid:1", "memory_limit=lots"])
def test_a_dask_cluster_that_does_not_start_is_one_message(tmp_path, wrong):
    with pytest.raises(ConfigError, match=r"dask could not start a cluster here: .*executor\.KEY=value"):
        run(SAMPLE, tmp_path, "executor=dask", f"executor.{wrong}")


def test_shards_of_a_cluster_s_jobs_are_minutes_of_work_and_fit_into_one_array():
    for records, workers, size in ((100, 4, 16), (2000, 4, 125), (10_000_000, 100, 20_000), (10**8, 1000, 100_000)):
        assert executors.Place("submitit", "slurm", {}, workers).shard_size(records) == size
