"""File names, pruning and the choice of where to start, as fairseq-signals has them and corrected where it errs."""

import os
import random

import pytest
import torch

from ecg_signals.checkpoint.manager import CheckpointManager
from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.config import ConfigError
from ecg_signals.sections import CheckpointConfig


def manager(tmp_path, **options):
    return CheckpointManager(CheckpointConfig(save_dir=str(tmp_path / "run"), **options))


def state():
    return {"model": {"w": torch.ones(2)}}


def files(tmp_path):
    return sorted(os.listdir(tmp_path / "run"))


def test_an_epoch_ends_with_its_own_the_best_and_the_last_file(tmp_path):
    saved = manager(tmp_path).save(state, 1, 10, end_of_epoch=True, score=0.5)
    assert [path.name for path in saved] == ["checkpoint1.pt", "checkpoint_best.pt", "checkpoint_last.pt"]
    assert saved[0].samefile(saved[2])


def test_a_save_inside_an_epoch_is_named_after_epoch_and_update(tmp_path):
    saved = manager(tmp_path, save_interval_updates=5).save(state, 2, 15, end_of_epoch=False)
    assert [path.name for path in saved] == ["checkpoint_2_15.pt", "checkpoint_last.pt"]


def test_an_update_that_ends_the_epoch_gives_only_the_epoch_file(tmp_path):
    saved = manager(tmp_path, save_interval_updates=5).save(state, 1, 10, end_of_epoch=True)
    assert [path.name for path in saved] == ["checkpoint1.pt", "checkpoint_last.pt"]


@pytest.mark.parametrize("options", [{"no_epoch_checkpoints": True}, {"save_interval": 2}, {"keep_last_epochs": 1}])
def test_a_save_due_by_updates_is_kept_where_the_epochs_file_is_not(tmp_path, options):
    saved = manager(tmp_path, save_interval_updates=5, **options).save(state, 1, 10, end_of_epoch=True)
    assert "checkpoint_1_10.pt" in [path.name for path in saved]


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"no_epoch_checkpoints": True}, ["checkpoint_best.pt", "checkpoint_last.pt"]),
        ({"no_last_checkpoints": True}, ["checkpoint4.pt", "checkpoint_best.pt"]),
        ({"save_interval": 3}, ["checkpoint_best.pt", "checkpoint_last.pt"]),
        ({"checkpoint_suffix": "-a"}, ["checkpoint4-a.pt", "checkpoint_best-a.pt", "checkpoint_last-a.pt"]),
        ({"no_save": True}, []),
    ],
)
def test_options_choose_the_files(tmp_path, options, names):
    assert [path.name for path in manager(tmp_path, **options).save(state, 4, 9, end_of_epoch=True, score=1.0)] == names


@pytest.mark.parametrize(
    ("maximize", "scores", "best"), [(False, [3.0, 2.0, 2.0, 2.5, float("nan")], 3), (True, [-3, -2, -4], 2)]
)
def test_the_best_file_is_the_latest_of_equally_good_ones(tmp_path, maximize, scores, best):
    run = manager(tmp_path, maximize_best_checkpoint_metric=maximize)
    for number, score in enumerate(scores, 1):
        run.save(lambda number=number: {"model": {}, "number": number}, number, number, end_of_epoch=True, score=score)
    assert read_checkpoint(tmp_path / "run" / "checkpoint_best.pt")["number"] == best


@pytest.mark.parametrize("maximize", [False, True])
@pytest.mark.parametrize("scale", [1.0, -1.0, 1e-5])
def test_the_best_n_files_are_those_of_the_n_best_scores(tmp_path, maximize, scale):
    scores = [scale * (0.9 + 0.0001 * number) for number in range(8)]
    random.Random(0).shuffle(scores)
    run = manager(
        tmp_path,
        keep_best_checkpoints=3,
        maximize_best_checkpoint_metric=maximize,
        best_checkpoint_metric="auroc",
        no_epoch_checkpoints=True,
        no_last_checkpoints=True,
    )
    for number, score in enumerate(scores, 1):
        run.save(lambda score=score: {"model": {}, "score": score}, number, number, end_of_epoch=True, score=score)
    kept = [read_checkpoint(path)["score"] for path in (tmp_path / "run").glob("checkpoint.best_auroc_*.pt")]
    assert sorted(kept, reverse=maximize) == sorted(scores, reverse=maximize)[:3]


def test_the_state_is_made_once_and_after_best_is_known(tmp_path):
    run, seen = manager(tmp_path), []
    run.save(lambda: seen.append(run.best) or state(), 1, 1, end_of_epoch=True, score=0.25)
    assert seen == [0.25]


def test_the_newest_epochs_are_kept(tmp_path):
    run = manager(tmp_path, keep_last_epochs=2)
    for epoch in range(1, 13):
        run.save(state, epoch, epoch, end_of_epoch=True)
    assert files(tmp_path) == ["checkpoint11.pt", "checkpoint12.pt", "checkpoint_last.pt"]


def test_the_newest_saves_inside_an_epoch_are_kept_and_those_of_the_pattern(tmp_path):
    run = manager(tmp_path, save_interval_updates=1, keep_interval_updates=2, keep_interval_updates_pattern=4)
    for update in range(1, 11):
        run.save(state, 1, update, end_of_epoch=False)
    kept = {int(path.stem.rpartition("_")[2]) for path in (tmp_path / "run").glob("checkpoint_1_*.pt")}
    assert kept == {4, 8, 9, 10}


def test_pruning_leaves_other_files_alone(tmp_path):
    run = manager(tmp_path, keep_last_epochs=1)
    for name in ("checkpoint1-other.pt", "notes.txt", "checkpoint_best_of_all.pt"):
        (tmp_path / "run" / name).write_text("")
    for epoch in (1, 2):
        run.save(state, epoch, epoch, end_of_epoch=True)
    assert {"checkpoint1-other.pt", "notes.txt", "checkpoint_best_of_all.pt", "checkpoint2.pt"} <= set(files(tmp_path))


def test_background_writing_gives_the_same_files(tmp_path):
    run = manager(tmp_path, write_checkpoints_asynchronously=True, keep_last_epochs=1)
    for epoch in (1, 2, 3):
        run.save(state, epoch, epoch, end_of_epoch=True, score=1.0)
    run.close()
    assert files(tmp_path) == ["checkpoint3.pt", "checkpoint_best.pt", "checkpoint_last.pt"]


def test_a_fresh_folder_starts_from_scratch_and_a_used_one_from_its_last_file(tmp_path):
    run = manager(tmp_path)
    assert run.choose_restore() is None
    run.save(state, 1, 1, end_of_epoch=True)
    chosen = run.choose_restore()
    assert chosen.path.name == "checkpoint_last.pt" and not chosen.reset_optimizer


def test_finetune_from_model_resets_everything_until_the_run_has_its_own_file(tmp_path):
    torch.save({}, tmp_path / "base.pt")
    run = manager(tmp_path, finetune_from_model=str(tmp_path / "base.pt"))
    chosen = run.choose_restore()
    assert chosen.path == tmp_path / "base.pt"
    assert chosen.reset_optimizer and chosen.reset_meters and chosen.reset_dataloader
    run.save(state, 1, 1, end_of_epoch=True)
    assert run.choose_restore().path.name == "checkpoint_last.pt"
    assert not run.choose_restore().reset_optimizer


def test_continue_once_resumes_another_run_the_first_time(tmp_path):
    torch.save({}, tmp_path / "base.pt")
    run = manager(tmp_path, continue_once=str(tmp_path / "base.pt"))
    assert run.choose_restore().path == tmp_path / "base.pt" and not run.choose_restore().reset_optimizer


def test_a_named_restore_file_is_found_as_given_or_in_the_save_folder(tmp_path):
    torch.save({}, tmp_path / "base.pt")
    assert manager(tmp_path, restore_file=str(tmp_path / "base.pt")).choose_restore().path == tmp_path / "base.pt"
    run = manager(tmp_path, restore_file="checkpoint1.pt", reset_meters=True)
    run.save(state, 1, 1, end_of_epoch=True)
    assert run.choose_restore().path == tmp_path / "run" / "checkpoint1.pt" and run.choose_restore().reset_meters


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"finetune_from_model": "a.pt", "reset_optimizer": True}, "leave out checkpoint.reset_optimizer"),
        ({"finetune_from_model": "a.pt", "restore_file": "b.pt"}, "exclude each other"),
        ({"finetune_from_model": "nowhere.pt"}, r"finetune_from_model=nowhere\.pt does not exist"),
        ({"restore_file": "nowhere.pt"}, r"restore_file=nowhere\.pt does not exist"),
        ({"continue_once": "nowhere.pt"}, r"continue_once=nowhere\.pt does not exist"),
    ],
)
def test_contradictory_and_missing_files_are_errors(tmp_path, options, message):
    with pytest.raises(ConfigError, match=message):
        manager(tmp_path, **options).choose_restore()


def test_what_a_killed_run_left_unfinished_is_removed(tmp_path):
    (tmp_path / "run").mkdir()
    stale = tmp_path / "run" / f".checkpoint1.pt.{2**22 + 1}.abc.writing"
    stale.write_text("half")
    manager(tmp_path)
    assert not stale.exists()


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "run").write_text("a file")
    with pytest.raises(ConfigError, match=r"save_dir=.*run cannot be made"):
        manager(tmp_path)
