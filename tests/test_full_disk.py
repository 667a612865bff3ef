"""Every command that writes on a disk that is full: one message, nothing lost, and the same command goes on later."""

import errno
import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from ecg_signals.checkpoint.convert import convert
from ecg_signals.cli import cluster, preprocess
from ecg_signals.data.pack import pack_manifests
from ecg_signals.evaluation.extract import Extraction
from ecg_signals.files import CannotWrite
from ecg_signals.inference.pictures import save_pictures
from ecg_signals.inference.predict import Prediction
from ecg_signals.preprocess.archives import unpack


@contextmanager
def no_file_above(size: int) -> Iterator[None]:
    """Files of this process end at `size` bytes, as those on a full disk do."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("disk")
    rng = np.random.default_rng(0)
    (folder / "src").mkdir()
    for i in range(3):
        np.save(folder / "src" / f"r{i}.npy", rng.normal(size=(12, 2500)).astype("f4"))
    (folder / "table.csv").write_text("filename\n" + "".join(f"r{i}.npy\n" for i in range(3)))
    preprocess.run(["npy", str(folder / "src"), str(folder / "data"), "source_rate=500", "--workers", "1"])
    (folder / "manifests").mkdir()
    shutil.copy(folder / "data" / "manifest" / "train.tsv", folder / "manifests")
    shutil.make_archive(str(folder / "all"), "zip", folder / "src")
    return folder


def extract(place: Path, dest: Path) -> None:
    extraction = Extraction(["output"], str(dest), "test", rows=3)
    extraction.add({"id": torch.arange(3)}, {"logits": torch.ones(3, 50_000)}, None)
    extraction.close()


def draw(place: Path, dest: Path) -> None:
    prediction = Prediction(str(place / "src" / "r0.npy"), {"af": 0.5}, [{"probabilities": {"af": 0.5}}])
    save_pictures([prediction], dest, sample_rate=500)


def preprocess_as(*words: str) -> Callable[[Path, Path], None]:
    def run(place: Path, dest: Path) -> None:
        preprocess.run([*words, str(place / "src"), str(dest), "source_rate=500", "--workers", "1"])

    return run


COMMANDS: dict[str, Callable[[Path, Path], object]] = {
    "ecg-preprocess": preprocess_as("npy"),
    "ecg-preprocess hubert": preprocess_as("hubert", "npy"),
    "unpacking": lambda place, dest: unpack(place / "all.zip", dest, lambda name: True),
    "ecg-pack": lambda place, dest: pack_manifests(place / "manifests", dest),
    "ecg-cluster": lambda place, dest: cluster.run(
        ["dump", str(place / "table.csv"), str(dest), "--ecg-dir", str(place / "src")]
    ),
    "common_eval.extract": extract,
    "ecg-predict --plot": draw,
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_one_message_and_the_same_command_goes_on_when_there_is_room(place, tmp_path, command):
    before = {path: path.read_bytes() for path in (place / "src").iterdir()}
    with no_file_above(4096), pytest.raises(CannotWrite, match=r"cannot write .*free in .*\. [A-Z]"):
        COMMANDS[command](place, tmp_path / "out")
    assert not [path for path in (tmp_path / "out").rglob("*.tmp") if path.is_file()]
    COMMANDS[command](place, tmp_path / "out")
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_cannot_be_made_is_one_message(place, tmp_path, command):
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match="file is a file, not a folder"):
        COMMANDS[command](place, tmp_path / "file" / "out")


@pytest.mark.parametrize("to", ["hf", "fairseq", "original"])
def test_converting_onto_a_full_disk_leaves_what_was_there(place, tmp_path, shared, to):
    source = shared / "golden" / "hubert_ecg" / "checkpoints" / "finetune_linear.pt"
    with no_file_above(4096), pytest.raises(CannotWrite, match=r"cannot write .* needs about [\d,]+ bytes"):
        convert(source, tmp_path / "out", to)
    convert(source, tmp_path / "out", to)


def test_extraction_takes_its_space_before_anything_is_computed(place, tmp_path, monkeypatch):
    def full(handle: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(CannotWrite, match=r"outputs_test\.npy: No space left on device\. It needs about 600,000 bytes"):
        extract(place, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_run_finished_before_the_disk_was_full_is_kept(place, tmp_path, monkeypatch):
    from ecg_signals.preprocess import pipeline

    real, done = pipeline.process_record, []

    def process(source, row, dest):
        done.append(row["path"])
        if len(done) == 3:
            with no_file_above(4096):
                return real(source, row, dest)
        return real(source, row, dest)

    monkeypatch.setattr(pipeline, "process_record", process)
    with pytest.raises(CannotWrite):
        COMMANDS["ecg-preprocess"](place, tmp_path / "out")
    done.clear()
    monkeypatch.setattr(pipeline, "process_record", lambda *words: done.append(words[1]["path"]) or real(*words))
    COMMANDS["ecg-preprocess"](place, tmp_path / "out")
    assert len(done) == 1
