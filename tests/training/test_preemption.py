"""A cluster's signal ends a run with a checkpoint; the job goes back into the queue, its launcher is told."""

import os
import signal

import pytest
import torch

from ecg_signals.composition import resolve_config
from ecg_signals.reporting import stored_rows
from ecg_signals.trainer import Trainer


@pytest.fixture
def scontrol(tmp_path, monkeypatch):
    """A file that notes how `scontrol` was called."""
    (tmp_path / "bin").mkdir()
    command, noted = tmp_path / "bin" / "scontrol", tmp_path / "noted.txt"
    last = tmp_path / "checkpoints" / "checkpoint_last.pt"
    command.write_text(f'#!/bin/sh\ntest -f {last} && echo "$@" >> {noted}\n')
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{command.parent}:{os.environ['PATH']}")
    return noted


def interrupted(recipe, monkeypatch, number, **distributed):
    """Train, with the signal in the second update. Returns: the exit status and the updates of the checkpoint."""
    original = Trainer.train_update

    def update(self, batches):
        if self.at.num_updates == 1:
            os.kill(os.getpid(), number)
        original(self, batches)

    monkeypatch.setattr(Trainer, "train_update", update)
    recipe["dataset"]["disable_validation"] = True
    trainer = Trainer(resolve_config({**recipe, "distributed_training": distributed}))
    with pytest.raises(SystemExit) as stopped:
        trainer.train()
    content = torch.load(trainer.save_dir / "checkpoint_last.pt", weights_only=True)
    return stopped.value.code, content["optimizer_history"][-1]["num_updates"]


@pytest.mark.parametrize("name", ["SIGUSR1", "SIGUSR2", "SIGTERM"])
def test_the_job_is_requeued_behind_the_checkpoint(name, classification, monkeypatch, scontrol):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    number = getattr(signal, name)
    assert interrupted(classification, monkeypatch, number, requeue=True) == (128 + number, 2)
    assert scontrol.read_text() == "requeue 77\n"


def test_a_task_of_an_array_is_requeued_by_its_own_name(classification, monkeypatch, scontrol):
    for key, value in {"SLURM_JOB_ID": "78", "SLURM_ARRAY_JOB_ID": "77", "SLURM_ARRAY_TASK_ID": "3"}.items():
        monkeypatch.setenv(key, value)
    interrupted(classification, monkeypatch, signal.SIGUSR1, requeue=True)
    assert scontrol.read_text() == "requeue 77_3\n"


def test_without_being_asked_nothing_is_requeued(classification, monkeypatch, scontrol):
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    assert interrupted(classification, monkeypatch, signal.SIGUSR1) == (128 + signal.SIGUSR1, 2)
    assert not scontrol.exists()


def test_a_run_without_a_job_says_so(classification, monkeypatch, scontrol, caplog):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    interrupted(classification, monkeypatch, signal.SIGTERM, requeue=True)
    assert "SLURM_JOB_ID is not set" in caplog.text and not scontrol.exists()


def test_submitit_gets_its_signal_behind_the_checkpoint_and_keeps_the_one_it_ignores(classification, monkeypatch):
    """Its handler puts the job back into the queue; torch.save has finished by then."""
    told = []
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "slurm")
    before = {number: signal.signal(number, lambda number, frame: told.append(number))
              for number in (signal.SIGUSR2, signal.SIGTERM)}  # fmt: skip
    try:
        with monkeypatch.context() as patched:
            assert interrupted(classification, patched, signal.SIGUSR2) == (128 + signal.SIGUSR2, 2)
        assert told == [signal.SIGUSR2]
        os.kill(os.getpid(), signal.SIGTERM)
        assert told[-1] == signal.SIGTERM
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def rows(trainer, split):
    stored = [row for row in stored_rows(trainer.save_dir / "metrics.jsonl") if row["split"] == split]
    return [(row["num_updates"], row["loss"], row.get("best_loss")) for row in stored]


@pytest.mark.parametrize("at", [4, 6])  # the end of an epoch, and a validation inside one
def test_a_validation_that_a_signal_left_out_is_made_up_for(classification, monkeypatch, tmp_path, at):
    classification["dataset"] |= {"disable_validation": False, "validate_interval_updates": 3}
    classification["checkpoint"] |= {"save_interval_updates": 3, "patience": 2}
    classification["lr_scheduler"] = {"_name": "reduce_lr_on_plateau", "lr_threshold": 1.0}
    classification["optimization"] |= {"max_update": 0, "max_epoch": 3}

    def run(name):
        recipe = {**classification, "checkpoint": {**classification["checkpoint"], "save_dir": str(tmp_path / name)}}
        trainer = Trainer(resolve_config(recipe))
        return trainer, trainer.train

    whole, train = run("whole")
    train()
    stopped, train = run("stopped")
    original = Trainer.train_update

    def update(self, batches):
        if self.at.num_updates == at - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, batches)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train_update", update)
        with pytest.raises(SystemExit):
            train()
    assert stopped.at.num_updates == at
    resumed, train = run("stopped")
    train()
    for split in ("train_inner", "valid"):
        assert rows(whole, split) == rows(resumed, split) != []
    best = [torch.load(one.save_dir / "checkpoint_best.pt", weights_only=True) for one in (whole, resumed)]
    assert best[0]["optimizer_history"] == best[1]["optimizer_history"]
    assert resumed.at.num_updates == whole.at.num_updates


def test_a_signal_in_the_very_last_update_leaves_its_validation_to_the_next_start(classification, monkeypatch):
    classification["optimization"] |= {"max_update": 2, "max_epoch": 0}
    original = Trainer.train_update

    def update(self, batches):
        if self.at.num_updates == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        original(self, batches)

    with monkeypatch.context() as patched:
        patched.setattr(Trainer, "train_update", update)
        with pytest.raises(SystemExit):
            Trainer(resolve_config(classification)).train()
    without = {**classification, "dataset": {**classification["dataset"], "disable_validation": True}}
    Trainer(resolve_config(without)).train()
    trainer = Trainer(resolve_config(classification))
    trainer.train()
    assert [number for number, *_ in rows(trainer, "valid")] == [2] and (
        trainer.save_dir / "checkpoint_best.pt"
    ).exists()
