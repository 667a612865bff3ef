"""A run resumes only its own recipe, and the same command again goes on with its own progress."""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ecg_signals.checkpoint.recipe import differences, label_differences, other_update
from ecg_signals.cli import train as cli
from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.trainer import Trainer


def changed(recipe, **changes):
    recipe = copy.deepcopy(recipe)
    for name, value in changes.items():
        section, _, key = name.partition("__")
        recipe.setdefault(section, {})[key] = value
    return recipe


def train(recipe, **changes):
    trainer = Trainer(resolve_config(changed(recipe, **changes)))
    trainer.train()
    return trainer


def names(recipe, *, ranks=(1, 1), **changes):
    """What differs between a recipe and a changed one, as `section.key`."""
    stored = resolve_config(recipe).to_dict()
    found = differences(stored, resolve_config(changed(recipe, **changes)), stored_ranks=ranks[0], ranks=ranks[1])
    return [f"{one.section}.{one.key}" for one in found]


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"optimization__lr": [2e-3]}, ["optimization.lr"]),
        ({"common__seed": 2}, ["common.seed"]),
        ({"model__encoder_layers": 2}, ["model.encoder_layers"]),
        ({"criterion__pos_weight": [1.0, 2.0, 4.0]}, ["criterion.pos_weight"]),
        ({"criterion__pos_weight": [3.0, 2.0, 1.0]}, []),  # of columns in another order
        ({"task__filter": True}, ["task.filter"]),
        ({"optimizer__adam_betas": "(0.9, 0.99)"}, ["optimizer.adam_betas"]),
        ({"optimizer": {"_name": "adamw"}}, ["optimizer._name"]),
        ({"lr_scheduler": {"_name": "tri_stage", "warmup_steps": 3}}, ["lr_scheduler._name"]),
        ({"dataset__batch_size": 2}, ["dataset.batch_size"]),
        ({"dataset__batch_size": 2, "optimization__update_freq": [2]}, []),
        ({"checkpoint__best_checkpoint_metric": "auroc"}, ["checkpoint.best_checkpoint_metric"]),
        ({"model__conv_feature_layers": "[(16, 2, 2), (16, 2, 2)] * 2"}, []),
        ({"optimization__max_update": 100, "optimization__max_epoch": 9, "checkpoint__save_dir": "/x"}, []),
        ({"common__log_interval": 7, "common__bf16": True, "dataset__num_workers": 3, "common__cpu": True}, []),
    ],
)
def test_a_difference_counts_when_it_changes_what_is_computed(classification, changes, wanted):
    plain = {key: value for key, value in changes.items() if "__" in key}
    whole = {key: value for key, value in changes.items() if "__" not in key}
    recipe = classification
    stored = resolve_config(recipe).to_dict()
    present = resolve_config({**changed(recipe, **plain), **whole})
    found = differences(stored, present, stored_ranks=1, ranks=1)
    assert [f"{one.section}.{one.key}" for one in found] == wanted


def test_an_update_of_as_many_items_on_other_ranks_is_the_same_recipe(classification):
    assert names(classification, ranks=(1, 2), dataset__batch_size=2) == []
    assert names(classification, ranks=(2, 1), optimization__update_freq=[2]) == []
    assert names(classification, ranks=(2, 1), optimization__update_freq=[3]) == ["optimization.update_freq"]
    assert names(classification, ranks=(None, 1), optimization__update_freq=[3]) == []


def test_other_ranks_with_the_batch_of_before_are_warned_of_the_update_that_they_change(classification, caplog):
    first = train(classification, optimization__max_update=1)
    path = first.save_dir / "checkpoint_last.pt"
    stored = torch.load(path, weights_only=True)
    stored["extra_state"]["ecg_signals"]["world_size"] = 4
    torch.save(stored, path)
    train(classification, optimization__max_update=2)
    (told,) = [one.message for one in caplog.records if "before" in one.message and one.levelname == "WARNING"]
    assert "4 rank(s) before, 1 now: an update sees 0.25 times as many items" in told
    assert told.endswith("optimization.update_freq=[4] keeps it")
    config = resolve_config(classification)
    told = other_update(config.to_dict(), config, stored_ranks=2, ranks=3)
    assert told and "1.5 times" in told and told.endswith("change dataset.batch_size with update_freq to keep it")
    assert other_update(config.to_dict(), config, stored_ranks=2, ranks=2) is None


def test_a_schedule_that_follows_max_update_may_be_made_longer(classification):
    recipe = {**classification, "lr_scheduler": {"_name": "cosine"}}
    assert names(recipe, optimization__max_update=100) == []


def test_options_that_a_stored_recipe_lacks_are_passed_over(classification):
    config = resolve_config(classification)
    stored = config.to_dict()
    del stored["model"]["conv_pos"], stored["ema"]
    assert differences(stored, config, stored_ranks=1, ranks=1) == []


def test_moved_data_are_the_same_data_and_other_data_are_not(classification, tmp_path):
    here = classification["task"]["data"]
    gone = changed(classification, task__data=str(tmp_path / "gone" / here.rpartition("/")[2]))
    (tmp_path / "other").mkdir()
    other = changed(classification, task__data=str(tmp_path / "other"))
    assert names(gone, task__data=here) == []
    assert names(other, task__data=here) == ["task.data"]


def test_another_runs_checkpoint_is_not_resumed(classification):
    first = train(classification, optimization__max_update=2)
    with pytest.raises(ConfigError, match=r"optimization.lr=\[0.001\] \(now \[0.01\]\).*save_dir=.*restore_file="):
        train(classification, optimization__max_update=2, optimization__lr=[1e-2])
    reset = {"checkpoint__reset_optimizer": True, "optimization__lr": [1e-2]}
    assert train(classification, optimization__max_update=1, **reset).at.num_updates == 1
    last = str(first.save_dir / "checkpoint_last.pt")
    again = train(classification, checkpoint__restore_file=last, optimization__max_update=3)
    assert again.at.num_updates == 3


def label_file(recipe, folder, change=lambda table, names: (table, names), dtype=np.float32):
    """A changed copy of the recipe's table of labels and its names, in another folder."""
    source = Path(recipe["task"]["label_file"])
    header, *names = (source.parent / "label_def.csv").read_text().split()
    table, names = change(np.load(source), names)
    folder.mkdir()
    np.save(folder / "y.npy", table.astype(dtype))
    (folder / "label_def.csv").write_text("\n".join([header, *names]) + "\n")
    return str(folder / "y.npy")


def test_a_run_goes_on_with_its_labels_wherever_and_in_whatever_order_they_stand(classification, tmp_path):
    train(classification, optimization__max_update=2)
    copied = label_file(classification, tmp_path / "copied", dtype=np.float64)
    turned = label_file(classification, tmp_path / "turned", lambda table, names: (table[:, ::-1], names[::-1]))
    more = lambda table, names: (np.hstack([table[:, :1] * 0, table]), ["new", *names])  # noqa: E731
    wider = label_file(classification, tmp_path / "wider", more)
    for updates, place in enumerate((copied, turned, wider), 3):
        assert train(classification, optimization__max_update=updates, task__label_file=place).at.num_updates == updates


def test_labels_of_the_same_names_with_other_values_are_another_run(classification, tmp_path, caplog):
    first = train(classification, optimization__max_update=2)

    def corrected(table, names):
        table[0, 1] = 1 - table[0, 1]
        return table, names

    other = {"task__label_file": label_file(classification, tmp_path / "other", corrected)}
    with pytest.raises(ConfigError, match=r"label_file=.* with other values of \w+ \(now .*other/y\.npy\)") as error:
        train(classification, optimization__max_update=3, **other)
    assert "checkpoint.save_dir=" in str(error.value) and "checkpoint.restore_file=" in str(error.value)
    other["checkpoint__restore_file"] = str(first.save_dir / "checkpoint_last.pt")
    assert train(classification, optimization__max_update=3, **other).at.num_updates == 3
    del other["checkpoint__restore_file"]
    assert "with other values of" in caplog.text
    assert train(classification, optimization__max_update=4, **other).at.num_updates == 4  # its own labels from here on


def test_a_checkpoint_without_a_digest_of_its_labels_is_resumed(classification):
    at = train(classification, optimization__max_update=2).save_dir / "checkpoint_last.pt"
    state = torch.load(at, weights_only=True)
    del state["extra_state"]["ecg_signals"]["label_digests"]
    torch.save(state, at)
    assert train(classification, optimization__max_update=3).at.num_updates == 3


def test_labels_are_compared_column_by_column():
    config = resolve_config({"task": {"_name": "ecg_classification", "data": "d", "label_file": "b"}})

    def found(then, now):
        return [str(one) for one in label_differences({"task": {"label_file": "a"}}, then, now, config)]

    assert found({"x": "1", "y": "2"}, {"y": "2", "x": "1", "z": "3"}) == []
    assert found({"x": "1", "y": "2"}, {"x": "1", "y": "4"}) == ["task.label_file=a with other values of y (now b)"]
    assert found({"0": "1", "1": "2"}, {"x": "1", "y": "2"}) == []  # without names: in order
    assert found({"0": "1", "1": "2"}, {"x": "2", "y": "1"}) == ["task.label_file=a with other values of 0, 1 (now b)"]
    assert found(None, None) == []
    assert found({"x": "1"}, None) == ["task.label_file=a with other values of x (now b)"]
    assert found(None, {"x": "1"}) == ["task.label_file=a with other values of x (now b)"]


def test_a_reset_is_made_once_by_the_same_command(classification):
    train(classification, optimization__max_update=4)
    reset = {"checkpoint__reset_optimizer": True, "checkpoint__reset_dataloader": True, "optimization__lr": [1e-2]}
    assert train(classification, optimization__max_update=2, **reset).at.num_updates == 2
    resumed = train(classification, optimization__max_update=3, **reset)
    rows = map(json.loads, (resumed.save_dir / "metrics.jsonl").read_text().splitlines())
    assert [row["num_updates"] for row in rows if row["split"] == "train_inner"] == [1, 2, 3]
    other = {**reset, "optimization__lr": [1e-1]}  # another recipe: a reset of its own
    assert Trainer(resolve_config(changed(classification, **other))).at.num_updates == 0


def test_a_requeued_run_goes_on_with_its_own_progress(classification, tmp_path, caplog):
    caplog.set_level("INFO")
    start = train(classification, optimization__max_update=2).save_dir / "checkpoint_last.pt"
    second = {"checkpoint__restore_file": str(start), "checkpoint__save_dir": str(tmp_path / "second")}
    train(classification, optimization__max_update=4, **second)
    caplog.clear()
    requeued = Trainer(resolve_config(changed(classification, **second)))
    assert requeued.at.num_updates == 4
    assert f"goes on from {tmp_path / 'second' / 'checkpoint_last.pt'}" in caplog.text
    start.unlink()  # where it began is no longer needed
    assert Trainer(resolve_config(changed(classification, **second))).at.num_updates == 4


def test_going_back_to_an_older_file_is_possible_and_said(classification, caplog):
    trainer = train(classification, optimization__max_update=4, checkpoint__save_interval_updates=1)
    older = {"checkpoint__restore_file": "checkpoint_1_2.pt"}
    assert Trainer(resolve_config(changed(classification, **older))).at.num_updates == 2
    assert f"{trainer.save_dir / 'checkpoint_last.pt'}, which did not begin there, will be replaced" in caplog.text


@pytest.mark.parametrize("how", ["absolute", "hydra.job.chdir=false"])
def test_jobs_of_a_sweep_have_folders_of_their_own(classification, tmp_path, monkeypatch, how):
    import yaml

    recipe = changed(classification, optimization__max_update=1, dataset__disable_validation=True)
    recipe["checkpoint"] = {"save_dir": str(tmp_path / "ckpt") if how == "absolute" else "ckpt"}
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(recipe))
    monkeypatch.chdir(tmp_path)
    sweep = ["ecg-train", "--multirun", "--config-dir", str(tmp_path), "--config-name", "tiny", "hydra.sweep.dir=sweep"]
    monkeypatch.setattr(sys, "argv", [*sweep, "optimization.lr=[1e-3],[1e-2]", *([how] if "=" in how else [])])
    cli.main()
    for job, rate in enumerate((1e-3, 1e-2)):
        state = torch.load(tmp_path / "ckpt" / str(job) / "checkpoint_last.pt", weights_only=True)
        assert state["cfg"]["optimization"]["lr"] == [rate]
        assert state["optimizer_history"][-1]["num_updates"] == 1
