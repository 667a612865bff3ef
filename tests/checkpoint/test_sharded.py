"""Checkpoints that are folders: what is written comes back, nothing in them is executed, and a kill harms none."""

import json
import os
import pickle
import shutil

import pytest
import torch
from safetensors.torch import save_file
from torch.distributed.checkpoint import HuggingFaceStorageReader, load

from ecg_signals.checkpoint import write
from ecg_signals.checkpoint.manager import CheckpointManager
from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.checkpoint.sharded import STATE
from ecg_signals.checkpoint.write import put_in_place, remove_stale, write_checkpoint
from ecg_signals.config import ConfigError
from ecg_signals.sections import CheckpointConfig

CONTENT = {
    "model": {"a.weight": torch.arange(6.0).view(3, 2), "b": torch.ones(4, dtype=torch.int64)},
    "last_optimizer_state": {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.ones(3, 2)}}},
    "history": [{"num_updates": 3, "moments": (torch.zeros(0, 2), None, "text")}],
}


def manager(folder, **options):
    return CheckpointManager(CheckpointConfig(save_dir=str(folder), **options), sharded=True)


def save(keeper, updates, content=CONTENT, **options):
    return keeper.save(lambda: content, 1, updates, end_of_epoch=False, **options)


def assert_same(found, expected):
    if isinstance(expected, torch.Tensor):
        assert torch.equal(found, expected) and found.dtype == expected.dtype
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert_same(found[key], value)
    elif isinstance(expected, (list, tuple)):
        assert type(found) is type(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        assert found == expected


@pytest.mark.parametrize("background", [False, True])
def test_a_folder_reads_as_one_file_would_and_older_ones_are_pruned(tmp_path, background):
    options = {"save_interval_updates": 1, "keep_interval_updates": 2, "keep_best_checkpoints": 1}
    keeper = manager(tmp_path, write_checkpoints_asynchronously=background, **options)
    for updates in range(1, 5):
        save(keeper, updates, {**CONTENT, "update": updates}, score=1.0 if updates == 2 else float(updates + 1))
    keeper.close()
    kept = {"checkpoint_1_3.pt", "checkpoint_1_4.pt", "checkpoint_last.pt", "checkpoint_best.pt"}
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "checkpoint.best_loss_1.000000.pt"}
    for name, update in (("checkpoint_last.pt", 4), ("checkpoint_best.pt", 2), ("checkpoint_1_3.pt", 3)):
        assert_same(read_checkpoint(tmp_path / name), {**CONTENT, "update": update})
    chosen = manager(tmp_path).choose_restore()
    assert chosen is not None and chosen.path.name == "checkpoint_last.pt"


def test_torch_reads_the_tensors_too(tmp_path):
    save(manager(tmp_path), 1)
    wanted = {"model/a.weight": torch.zeros(3, 2)}
    load(wanted, storage_reader=HuggingFaceStorageReader(str(tmp_path / "checkpoint_last.pt")), no_dist=True)
    assert torch.equal(wanted["model/a.weight"], CONTENT["model"]["a.weight"])


class Payload:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_nothing_in_a_folder_is_executed(tmp_path):
    """Neither an index as torch.distributed.checkpoint pickles it, nor the part that is not tensors."""
    save(manager(tmp_path), 1)
    folder, trap = tmp_path / "checkpoint_last.pt", tmp_path / "executed"
    (folder / ".metadata").write_bytes(pickle.dumps(Payload(trap)))
    assert_same(read_checkpoint(folder), CONTENT)
    torch.save({"model": Payload(trap)}, folder / STATE)
    with pytest.raises(ConfigError, match="Nothing in it was executed"):
        read_checkpoint(folder)
    assert not trap.exists()


def offsets(**places):
    return {"DCP_SHARDING_INFO": json.dumps({name: {"saved_offsets": place} for name, place in places.items()})}


@pytest.mark.parametrize(
    "place, shape, part",
    [
        ([10**12, 0], [10**12 + 2, 2], (2, 2)),  # would take terabytes
        ([0, 0], [4, 2], (2, 2)),  # a part is missing
        ([3, 0], [4, 2], (4, 2)),
        ([-1, 0], [2, 2], (2, 2)),
        ([0], [2, 2], (2, 2)),
        ("x", [2, 2], (2, 2)),
        ([0, 0], [2, "x"], (2, 2)),
    ],
)
def test_parts_that_do_not_make_up_their_tensor_are_refused(tmp_path, place, shape, part):
    write_checkpoint(tmp_path / "c" / STATE, {"model": {"a": {"__tensor__": "a", "shape": shape}}})
    save_file({"a": torch.ones(part)}, tmp_path / "c" / "shard-1.safetensors", metadata=offsets(a=place))
    with pytest.raises(ConfigError):
        read_checkpoint(tmp_path / "c")


def test_parts_of_several_ranks_are_joined_and_a_missing_rank_is_named(tmp_path):
    write_checkpoint(tmp_path / "c" / STATE, {"model": {"a": {"__tensor__": "a", "shape": [3, 2]}}})
    whole = CONTENT["model"]["a.weight"]
    for rank, rows in enumerate((slice(0, 2), slice(2, 3), slice(3, 3))):
        metadata = offsets(a=[rows.start, 0])
        save_file({"a": whole[rows].clone()}, tmp_path / "c" / f"shard-{rank}.safetensors", metadata=metadata)
    assert torch.equal(read_checkpoint(tmp_path / "c")["model"]["a"], whole)
    (tmp_path / "c" / "shard-1.safetensors").unlink()
    with pytest.raises(ConfigError, match="do not make up"):
        read_checkpoint(tmp_path / "c")
    save_file({"a": whole[:1].clone()}, tmp_path / "c" / "shard-1.safetensors", metadata=offsets(a=[1, 0]))
    with pytest.raises(ConfigError, match="do not make up"):  # as many values, but of one row twice
        read_checkpoint(tmp_path / "c")


@pytest.mark.parametrize("exchanges", [True, False])
def test_a_new_folder_takes_the_place_of_a_folder_or_a_file(tmp_path, monkeypatch, exchanges):
    if not exchanges:
        monkeypatch.setattr(write, "_exchange", lambda one, other: False)
    for old in ("folder", "file", "nothing"):
        target = tmp_path / "checkpoint_last.pt"
        shutil.rmtree(target, ignore_errors=True)
        if old == "folder":
            (target / "inside").mkdir(parents=True)
        elif old == "file":
            target.write_text("old")
        new = write.new_folder(target)
        (new / "new").touch()
        put_in_place(new, target)
        assert [path.name for path in target.iterdir()] == ["new"]
        assert list(tmp_path.iterdir()) == [target]


def test_a_folder_that_was_moved_aside_by_a_killed_process_comes_back(tmp_path, monkeypatch):
    target = tmp_path / "checkpoint_last.pt"
    (target / "old").mkdir(parents=True)
    monkeypatch.setattr(write, "_exchange", lambda one, other: False)
    rename = os.rename

    def killed(one, other):
        rename(one, other)
        raise KeyboardInterrupt

    monkeypatch.setattr(write.os, "rename", killed)
    with pytest.raises(KeyboardInterrupt):
        put_in_place(write.new_folder(target), target)
    assert not target.exists()
    monkeypatch.setattr(write.os, "rename", rename)
    remove_stale(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_last.pt"] and (target / "old").is_dir()
