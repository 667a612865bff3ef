import copy
import json
import logging
import math
import os
import re
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from ecg_signals.composition import resolve_config
from ecg_signals.config import LAUNCH_DIR, ConfigError
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput
from ecg_signals.data.batching import BatchIterator
from ecg_signals.registry import REGISTRIES, register_criterion
from ecg_signals.trainer import Trainer


def train(recipe, **changes):
    """Train with `section__key=value` changes; returns the trainer after the run."""
    recipe = copy.deepcopy(recipe)
    for name, value in changes.items():
        section, _, key = name.partition("__")
        recipe[section] = {**recipe.get(section, {}), key: value} if key else value
    trainer = Trainer(resolve_config(recipe))
    trainer.result = trainer.train()
    return trainer


def rows(trainer, split="train_inner"):
    lines = (trainer.save_dir / "metrics.jsonl").read_text().splitlines()
    return [row for row in map(json.loads, lines) if row["split"] == split]


def losses(trainer):
    return {row["num_updates"]: row["loss"] for row in rows(trainer)}


def assert_same_weights(first, second):
    for (name, value), other in zip(first.model.state_dict().items(), second.model.state_dict().values(), strict=True):
        assert torch.equal(value, other), name


def elsewhere(recipe, tmp_path, name="other"):
    return {**recipe, "checkpoint": {**recipe["checkpoint"], "save_dir": str(tmp_path / name)}}


def test_the_pretraining_loss_falls(pretraining):
    found = losses(train(pretraining, optimization__max_update=40, optimization__lr=[3e-3]))
    assert sum(found[update] for update in range(36, 41)) < 0.9 * sum(found[update] for update in range(1, 6))


def test_a_rate_counted_in_epochs_and_items_follows_the_data(classification, tmp_path):
    """16 training items make 4 updates an epoch; 4 items an update have 4 / 256 of the rate."""
    schedule = {"_name": "cosine", "warmup_epochs": 1}
    options = {"optimization__max_epoch": 2, "optimization__max_update": 0, "optimization__lr": [1.0]}
    trainer = train(classification, lr_scheduler=schedule, optimization__lr_batch_size=256, **options)
    assert trainer.at.num_updates == 8
    expected = [e if e < 1 else 0.5 * (1 + math.cos(math.pi * (e - 1))) for e in (k / 4 for k in range(9))]
    assert [row["lr"] * 64 for row in rows(trainer)] == pytest.approx(expected[1:], abs=1e-12)
    with pytest.raises(ConfigError, match=r"lr_batch_size=256 needs updates of one size.*update_freq=\[1, 2\]"):
        train(elsewhere(classification, tmp_path), optimization__lr_batch_size=256, optimization__update_freq=[1, 2])


@pytest.mark.parametrize("recipe", ["pretraining", "classification"])
def test_a_resumed_run_ends_with_the_same_losses_and_weights(recipe, request, tmp_path):
    recipe = request.getfixturevalue(recipe)
    whole = train(recipe, optimization__update_freq=[2], common__log_interval=3)
    for stop in (1, 3, 4, 6):
        other = elsewhere(recipe, tmp_path, f"stopped at {stop}")
        train(other, optimization__update_freq=[2], common__log_interval=3, optimization__max_update=stop)
        resumed = train(other, optimization__update_freq=[2], common__log_interval=3)
        assert losses(resumed) == losses(whole), stop
        assert_same_weights(resumed, whole)
        assert [row["loss"] for row in rows(resumed, "train")] == [row["loss"] for row in rows(whole, "train")], stop


def test_the_number_of_workers_may_change_in_between(pretraining, tmp_path):
    whole = train(pretraining)
    other = elsewhere(pretraining, tmp_path)
    train(other, dataset__num_workers=2, optimization__max_update=3)
    resumed = train(other, dataset__num_workers=1)
    assert losses(resumed) == losses(whole)
    assert_same_weights(resumed, whole)


def test_validating_in_between_changes_nothing(pretraining, tmp_path):
    with_validation = train(pretraining, dataset__validate_interval_updates=1)
    without = train(elsewhere(pretraining, tmp_path), dataset__disable_validation=True)
    assert losses(with_validation) == losses(without)


def test_validation_of_the_same_weights_gives_the_same_loss(pretraining):
    trainer = train(pretraining, optimization__lr=[0.0])
    found = {row["loss"] for row in rows(trainer, "valid")}
    assert len(found) == 1


def test_a_finished_run_is_not_trained_further(pretraining):
    first = train(pretraining)
    again = train(pretraining)
    assert again.at.num_updates == 8
    assert_same_weights(first, again)


def test_labels_may_be_one_column_of_class_numbers(classification, sample, tmp_path):
    (tmp_path / "classes").mkdir()
    np.save(tmp_path / "classes" / "y.npy", np.arange(12.0).reshape(12, 1) % 3)
    (tmp_path / "classes" / "label_def.csv").write_text("name\nrhythm\n")
    recipe = {**classification, "criterion": {"_name": "cross_entropy"}}
    trainer = train(recipe, task__label_file=str(tmp_path / "classes" / "y.npy"))
    assert rows(trainer, "valid")[-1]["accuracy"] >= 0
    with pytest.raises(ConfigError, match=r"has 1 labels, but model.num_labels=3"):
        train(classification, task__label_file=str(tmp_path / "classes" / "y.npy"))


@pytest.mark.parametrize(("key", "value"), [("update_freq", [0]), ("update_freq", []), ("lr", [-1.0])])
def test_numbers_that_no_training_can_have_are_named(classification, key, value):
    with pytest.raises(ConfigError, match=rf"optimization\.{key} is"):
        train(classification, **{f"optimization__{key}": value})


def test_clipping_limits_the_step_and_is_counted(classification):
    trainer = train(classification, optimization__clip_norm=1e-3)
    assert all(row["clip"] == 100.0 for row in rows(trainer))


def test_warm_up_is_visible_in_the_printed_rate(classification):
    trainer = train(classification, lr_scheduler__warmup_updates=4)
    assert [round(row["lr"], 7) for row in rows(trainer)][:4] == [5e-4, 7.5e-4, 1e-3, 1e-3]


def test_update_freq_may_change_with_the_epoch(classification):
    trainer = train(classification, optimization__update_freq=[4, 1], optimization__max_update=4)
    assert [row["epoch"] for row in rows(trainer)] == [1, 2, 2, 2]


def test_the_best_checkpoint_may_be_chosen_by_any_printed_metric(classification):
    trainer = train(
        classification, checkpoint__best_checkpoint_metric="auroc", checkpoint__maximize_best_checkpoint_metric=True
    )
    scores = [row["auroc"] for row in rows(trainer, "valid")]
    assert trainer.result == trainer.manager.best == max(scores)
    assert rows(trainer, "valid")[-1]["best_auroc"] == max(scores)


def test_an_unprinted_metric_lists_those_that_are(classification):
    with pytest.raises(ConfigError, match=r"best_checkpoint_metric=auc .*choose one of loss.*auroc"):
        train(classification, checkpoint__best_checkpoint_metric="auc")


def test_patience_counts_validations_without_improvement(classification, tmp_path):
    recipe = {**classification, "optimization": {"max_epoch": 50, "lr": [0.0]}}
    trainer = train(recipe, checkpoint__patience=3)
    assert len(rows(trainer, "valid")) == 4  # the first one is the best, the next three are equal
    other = elsewhere(recipe, tmp_path)
    train(other, optimization__max_epoch=2)
    resumed = train(other, checkpoint__patience=3)
    assert len(rows(resumed, "valid")) == 4


def test_every_subset_is_validated_and_the_first_one_decides(classification):
    trainer = train(classification, dataset__valid_subset="valid, train")
    assert len(rows(trainer, "valid")) == len([row for row in rows(trainer, "train") if "best_loss" in row]) == 2
    assert trainer.manager.best == min(row["loss"] for row in rows(trainer, "valid"))


def test_statistics_count_as_the_published_ones_do(pretraining, tmp_path):
    """8 pairs in batches of 3, 3 and 2: an update of two batches and one of the third; validation step by step."""
    recipe = {**pretraining, "optimization": {"max_epoch": 1, "lr": [1e-5], "update_freq": [2]}}
    trainer = train(recipe, dataset__batch_size=3, dataset__batch_size_valid=3)
    inner, (epoch,), (valid,) = rows(trainer), rows(trainer, "train"), rows(trainer, "valid")
    assert len(inner) == 2 and sum(row["nsignals"] for row in inner) == 16
    assert epoch["nsignals"] == 8 and valid["nsignals"] == 4  # 4 pairs in steps of 3 and 1
    for key in ("prob_perplexity", "code_perplexity", "gnorm", "temp"):
        assert epoch[key] == pytest.approx(sum(row[key] for row in inner) / 2)


def test_the_updates_per_second_count_the_waiting_for_batches(classification, monkeypatch):
    plain = BatchIterator.batches

    def slow(self, *given):
        for batch in plain(self, *given):
            time.sleep(0.2)
            yield batch

    monkeypatch.setattr(BatchIterator, "batches", slow)
    trainer = train(classification, optimization__max_update=2, dataset__disable_validation=True)
    assert all(row["ups"] <= 5 for row in rows(trainer))


def test_max_valid_steps_is_what_it_says(classification):
    trainer = train(classification, dataset__max_valid_steps=1)
    assert rows(trainer, "valid")[0]["nsignals"] == 4


@pytest.mark.parametrize("changes", [{"max_epoch": 2, "max_update": 0}, {"max_epoch": 0, "max_update": 8}])
def test_stop_rules_end_training(classification, changes):
    trainer = train({**classification, "optimization": {"lr": [1e-3], **changes}})
    assert trainer.at.num_updates == 8


def test_training_stops_when_its_time_is_up(classification):
    trainer = train({**classification, "optimization": {"lr": [1e-3], "stop_time_hours": 1e-9}})
    assert trainer.at.num_updates == 1
    assert (trainer.save_dir / "checkpoint_last.pt").exists()


def test_training_stops_at_the_smallest_rate(classification):
    trainer = train({**classification, "optimization": {"lr": [1e-3, 1e-6], "max_epoch": 9, "stop_min_lr": 1e-5}})
    assert trainer.at.epoch == 2


def test_a_signal_saves_and_the_run_goes_on_from_there(pretraining, tmp_path, monkeypatch):
    whole = train(pretraining, optimization__update_freq=[2])
    original = Trainer.train_update
    for number, status in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):

        def interrupting(self, batches, number=number):
            if self.at.num_updates == 2:
                os.kill(os.getpid(), number)
            original(self, batches)

        other = elsewhere(pretraining, tmp_path, f"signal {number}")
        with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
            patch.setattr(Trainer, "train_update", interrupting)
            train(other, optimization__update_freq=[2])
        assert stopped.value.code == status
        resumed = train(other, optimization__update_freq=[2])
        assert losses(resumed) == losses(whole)
        assert_same_weights(resumed, whole)


@pytest.fixture
def failing_criterion():
    """`not_finite`: binary cross entropy whose loss is NaN from update 3 on."""

    class NotFinite(BaseCriterion):
        calls = 0

        def forward(self, model, batch):
            NotFinite.calls += 1
            logits = model(**batch["net_input"])["logits"]
            factor = math.nan if NotFinite.calls == 3 else 1.0
            return CriterionOutput(logits.sum() * factor, len(logits), {"loss": logits.detach().sum()})

    register_criterion("not_finite")(NotFinite)
    yield NotFinite
    del REGISTRIES["criterion"].entries["not_finite"]


def test_a_gradient_that_is_not_finite_ends_training_with_the_state_kept(classification, failing_criterion):
    recipe = {**classification, "criterion": {"_name": "not_finite"}}
    with pytest.raises(ConfigError, match=r"gradient norm of update 3 is nan.*crash\.pt.*clip_norm"):
        train(recipe)
    assert (Path(recipe["checkpoint"]["save_dir"]) / "crash.pt").exists()


@pytest.mark.parametrize("recipe, name", [("pretraining", "adam"), ("classification", "adamw")])
def test_an_update_may_begin_before_the_numbers_of_the_last_one_are_read(recipe, name, request, tmp_path):
    recipe = request.getfixturevalue(recipe)
    changes = {"optimizer": {"_name": name}, "optimization__update_freq": [2], "optimization__clip_norm": 1.0}
    changes |= {"common__log_interval": 3, "checkpoint__save_interval_updates": 4}
    expected = train(recipe, **changes)
    found = train(elsewhere(recipe, tmp_path), **changes, optimization__run_ahead=True)
    assert found.runs_ahead and not expected.runs_ahead
    for split in ("train", "train_inner", "valid"):
        times = ("ups", "wall", "train_wall", "segments_per_second", "data_wait")
        kept = [[{**row, **dict.fromkeys(times)} for row in rows(trainer, split)] for trainer in (found, expected)]
        assert kept[0] == kept[1]
    assert_same_weights(found, expected)


def test_a_gradient_that_is_not_finite_is_found_one_update_later_with_the_state_before_it(
    classification, failing_criterion, tmp_path
):
    recipe = {**classification, "criterion": {"_name": "not_finite"}}
    before = train(elsewhere(recipe, tmp_path), optimization__max_update=2)
    failing_criterion.calls = 0
    with pytest.raises(ConfigError, match=r"gradient norm of update 3 is nan.*crash\.pt.*clip_norm"):
        train(recipe, optimization__run_ahead=True, common__log_interval=100)
    assert failing_criterion.calls == 5  # the third, one more, and the third again, to see what is wrong
    kept = torch.load(Path(recipe["checkpoint"]["save_dir"]) / "crash.pt", weights_only=True)["model"]
    assert all(torch.equal(value, kept[key]) for key, value in before.model.state_dict().items())


def test_a_profile_says_where_the_time_went_and_changes_no_number(classification, tmp_path, caplog):
    expected = train(classification, optimization__max_update=7, dataset__disable_validation=True)
    other = elsewhere(classification, tmp_path)
    changes = {"optimization__max_update": 7, "dataset__disable_validation": True, "common__profile": True}
    with caplog.at_level(logging.INFO):
        found = train(other, **changes)
    assert losses(found) == losses(expected)
    told = [record.getMessage() for record in caplog.records if record.getMessage().startswith("profile:")]
    shares = dict(re.findall(r"([a-z ]+) ([\d.]+)%", told[0].partition(" s each: ")[2].partition(";")[0]))
    assert list(shares) == ["waiting for data", " forward", " backward", " optimizer", " rest"]
    assert sum(map(float, shares.values())) == pytest.approx(100, abs=0.3)
    products = float(re.search(r"([\d.e+]+) FLOP per update", told[2])[1])
    assert re.search(r"TFLOP/s, MFU [\d.]+% of ", told[2])
    frames, dim = 4 * 156, 32  # 4 items of 2500 samples, 16 samples a frame
    layer = 2 * frames * (4 * dim * dim + 2 * dim * 64)  # attention's four projections and the perceptron
    assert products > 3 * layer  # forwards, and twice that backwards
    trace = json.loads((found.save_dir / "profile.json").read_text())
    assert trace["traceEvents"]


def test_a_profile_of_too_few_updates_says_so(classification, caplog):
    train(classification, optimization__max_update=2, dataset__disable_validation=True, common__profile=True)
    assert "common.profile watches updates up to 6, but there were 2" in caplog.text


@pytest.mark.parametrize("recipe", ["pretraining", "classification"])
def test_activations_that_are_computed_again_change_no_number(recipe, request, tmp_path):
    recipe = request.getfixturevalue(recipe)
    options = {**recipe["model"], "encoder_layers": 2, "dropout": 0.1, "encoder_layerdrop": 0.3}
    changes = {"optimization__max_update": 3, "dataset__disable_validation": True}
    expected = train({**recipe, "model": options}, **changes)
    found = train({**elsewhere(recipe, tmp_path), "model": {**options, "checkpoint_activations": True}}, **changes)
    assert losses(found) == losses(expected)
    assert_same_weights(found, expected)


def test_such_an_update_may_be_skipped(classification, failing_criterion):
    trainer = train({**classification, "criterion": {"_name": "not_finite"}}, optimization__skip_nonfinite_updates=True)
    assert trainer.at.num_updates == 8


def test_fp16_overflow_lowers_the_scale_and_skips_the_update(classification, failing_criterion):
    trainer = train({**classification, "criterion": {"_name": "not_finite"}}, common__fp16=True)
    assert rows(trainer)[-1]["loss_scale"] == 64
    assert trainer.at.num_updates == 8


@pytest.mark.parametrize("precision, roundoff", [("fp16", 2**-11), ("bf16", 2**-8)])
def test_one_step_in_half_precision_differs_from_single_precision_by_rounding(
    classification, tmp_path, precision, roundoff
):
    # On the way to the logits at most 24 results are rounded to the format: 4 convolutions, projection, position,
    # 8 steps of the one layer, the classifier, and the operands of these. Norms, softmax and residual sums keep the
    # size of a relative error, so the errors add up to 24 roundoffs, and to as many again on the way back.
    exact = train(classification, optimization__max_update=1)
    found = train(elsewhere(classification, tmp_path), optimization__max_update=1, **{f"common__{precision}": True})
    (exact,), (found,) = rows(exact), rows(found)
    assert found["loss"] != exact["loss"]
    assert found["loss"] == pytest.approx(exact["loss"], rel=24 * roundoff)
    assert found["gnorm"] == pytest.approx(exact["gnorm"], rel=48 * roundoff)


def test_weight_decay_in_the_recipe_wins_over_the_stored_one(classification, caplog):
    last = train(classification, optimization__max_update=2).save_dir / "checkpoint_last.pt"
    changed = {"optimizer__weight_decay": 0.5, "checkpoint__restore_file": str(last)}
    with caplog.at_level(logging.WARNING):
        trainer = train(classification, optimization__max_update=3, **changed)
    assert trainer.optimizer.param_groups[0]["weight_decay"] == 0.5
    assert "weight_decay" in caplog.text


def test_without_stored_optimizer_state_training_starts_anew_and_says_so(classification, caplog):
    train(classification, optimization__max_update=2, checkpoint__no_save_optimizer_state=True)
    with caplog.at_level(logging.WARNING):
        trainer = train(classification, optimization__max_update=3)
    assert trainer.at.num_updates == 3
    assert "no optimizer state" in caplog.text


def test_a_checkpoint_of_another_model_is_refused_by_name(classification):
    train(classification, optimization__max_update=2)
    with pytest.raises(ConfigError, match=r"checkpoint_last\.pt"):
        train(classification, model__encoder_layers=2)


def test_another_size_of_the_data_is_refused_with_the_remedy(classification, sample, tmp_path):
    train(classification, optimization__max_update=3)
    shorter = tmp_path / "shorter"
    shorter.mkdir()
    for name in ("train", "valid"):
        text = (sample.single / f"{name}.tsv").read_text().splitlines(keepends=True)
        (shorter / f"{name}.tsv").write_text("".join(text[:5]))
    with pytest.raises(ConfigError, match=r"reset_dataloader=true"):
        train(classification, task__data=str(shorter))


def test_neither_batch_size_nor_max_tokens_says_what_to_set(classification):
    with pytest.raises(ConfigError, match=r"dataset\.batch_size"):
        train({**classification, "dataset": {"num_workers": 0}})


def test_an_unused_validation_manifest_is_pointed_out(classification, sample, tmp_path):
    for name in ("train", "valid", "valid1"):
        (tmp_path / f"{name}.tsv").write_text((sample.single / f"{name.rstrip('1')}.tsv").read_text())
    with pytest.raises(ConfigError, match="also holds valid1"):
        train(classification, task__data=str(tmp_path))
    train(classification, task__data=str(tmp_path), dataset__ignore_unused_valid_subsets=True)


def test_the_moving_average_is_stored_and_restored(classification, tmp_path):
    whole = train(classification, ema__store_ema=True, ema__ema_decay=0.5)
    other = elsewhere(classification, tmp_path)
    train(other, ema__store_ema=True, ema__ema_decay=0.5, optimization__max_update=3)
    resumed = train(other, ema__store_ema=True, ema__ema_decay=0.5)
    for key, value in whole.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[key])


def test_metrics_jsonl_holds_every_update_once_after_a_killed_run(classification):
    trainer = train(classification, optimization__max_update=4)
    path = trainer.save_dir / "metrics.jsonl"
    with open(path, "a") as out:
        out.write(json.dumps({"split": "train_inner", "num_updates": 5, "loss": 0.0}) + "\n" + '{"split": "tra')
    assert sorted(losses(train(classification))) == list(range(1, 9))


def test_a_silent_run_interrupts_itself(classification, monkeypatch):
    stalled = threading.Event()
    original = Trainer.train_update

    def stall(self, batches):
        if self.at.num_updates == 1:
            stalled.wait(2.5)
        original(self, batches)

    monkeypatch.setattr(Trainer, "train_update", stall)
    with pytest.raises(SystemExit) as stopped:
        train(classification, distributed_training__heartbeat_timeout=1)
    assert stopped.value.code == 130


def test_three_functions_stand_between_main_and_backward(pretraining, monkeypatch, tmp_path):
    import inspect
    import sys

    from ecg_signals.cli import train as command

    seen = []
    original = torch.Tensor.backward

    def backward(self, *args, **kwargs):
        if not seen:
            seen.extend(
                frame.function
                for frame in inspect.stack()
                if "ecg_signals" in frame.filename and "tests" not in frame.filename
            )
        return original(self, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "backward", backward)
    monkeypatch.setenv(LAUNCH_DIR, str(tmp_path))  # set by the command; taken back after this test
    settings = [
        f"{section}.{key}={json.dumps(value)}" if not isinstance(value, str) else f"{section}.{key}='{value}'"
        for section, keys in pretraining.items()
        for key, value in keys.items()
    ]
    monkeypatch.setattr(sys, "argv", ["ecg-train", *settings, f"hydra.run.dir={tmp_path}", "optimization.max_update=1"])
    command.main()
    assert seen[-1] == "main"
    assert len(seen) - 1 <= 3, seen


def test_the_last_update_of_an_epoch_may_be_left_out_if_it_is_short(classification):
    options = {"optimization__update_freq": [3], "optimization__max_update": 0, "optimization__max_epoch": 2}
    assert train(classification, **options, optimization__skip_remainder_batch=True).at.num_updates == 2


def test_amp_is_fp16_and_dead_keys_give_one_warning(classification, tmp_path, caplog):
    half = losses(train(classification, common__fp16=True))
    assert losses(train(elsewhere(classification, tmp_path), common__amp=True, common__tpu=True)) == half
    assert len([record for record in caplog.records if "common.tpu" in record.message]) == 1


def relabelled(sample, folder, table):
    """A label file like the sample's with other values."""
    np.save(folder / "y.npy", table)
    (folder / "label_def.csv").write_text("name\nodd\nthird\nrare\n")
    return str(folder / "y.npy")


def test_training_without_any_known_target_is_refused(classification, sample, tmp_path):
    table = np.full((12, 3), np.nan)
    with pytest.raises(ConfigError, match=r"no record of train.tsv has a known label"):
        train(classification, task__label_file=relabelled(sample, tmp_path, table))
    table[8:] = 1.0  # known for the validation records alone
    with pytest.raises(ConfigError, match=r"no record of train has a known target"):
        train(classification, task__label_file=relabelled(sample, tmp_path, table), optimization__max_update=9)


@pytest.mark.parametrize("value", [-1.0, 2.0, np.inf])
def test_a_label_that_is_neither_yes_nor_no_is_named(classification, sample, tmp_path, value):
    table = np.load(sample.label_file)
    table[9, 1] = value
    with pytest.raises(ConfigError, match=rf"values that are no labels: third \({value:g}\)\. Write 1 for yes"):
        train(classification, task__label_file=relabelled(sample, tmp_path, table))
    table[9, 1] = 0.25
    train(classification, task__label_file=relabelled(sample, tmp_path, table), optimization__max_update=1)


@pytest.mark.parametrize(("values", "said"), [([0, 1, 2, 3], r"class \(3\)"), ([0, 0.5, 1, 2], r"class \(0\.5\)")])
def test_a_class_that_the_model_does_not_have_is_named(classification, tmp_path, values, said):
    np.save(tmp_path / "y.npy", np.array(values * 3, dtype=np.float64)[:, None])
    recipe = {**classification, "criterion": {"_name": "cross_entropy"}}
    with pytest.raises(ConfigError, match=rf"no classes: {said}\. Write whole numbers from 0 to 2"):
        train(recipe, task__label_file=str(tmp_path / "y.npy"))
    np.save(tmp_path / "y.npy", np.array([0, 1, 2, -1] * 3, dtype=np.float64)[:, None])
    train(recipe, task__label_file=str(tmp_path / "y.npy"), optimization__max_update=1)


def test_a_value_that_is_not_finite_is_named(classification, sample, tmp_path):
    table = np.load(sample.label_file)
    table[0, 2] = np.inf
    with pytest.raises(ConfigError, match=r"no values: rare \(inf\)"):
        train({**classification, "criterion": {"_name": "mse"}}, task__label_file=relabelled(sample, tmp_path, table))


def test_two_labels_of_one_name_are_an_error(classification, sample, tmp_path):
    labels = relabelled(sample, tmp_path, np.load(sample.label_file))
    (tmp_path / "label_def.csv").write_text("name\nodd\nthird\nodd\n")
    with pytest.raises(ConfigError, match=r"label_def\.csv names odd more than once"):
        train(classification, task__label_file=labels)


def test_a_label_of_which_nothing_is_known_is_named(classification, sample, tmp_path, caplog):
    table = np.load(sample.label_file)
    table[:, 1] = np.nan
    train(classification, task__label_file=relabelled(sample, tmp_path, table), optimization__max_update=1)
    assert "1 of 3 labels are unknown in every record, and are not trained: 'third'" in caplog.text


def test_a_metric_that_is_never_defined_is_said_and_leaves_a_best_file(classification, sample, tmp_path, caplog):
    chosen = {"checkpoint__best_checkpoint_metric": "auroc", "checkpoint__maximize_best_checkpoint_metric": True}
    none = relabelled(sample, tmp_path, np.zeros((12, 3)))
    trainer = train(classification, task__label_file=none, **chosen)
    assert caplog.text.count("auroc is not defined in valid") == 1
    last, best = (
        torch.load(trainer.save_dir / f"checkpoint_{name}.pt", weights_only=True) for name in ("last", "best")
    )
    assert best["optimizer_history"][-1]["num_updates"] == last["optimizer_history"][-1]["num_updates"] == 8
    assert trainer.result == -math.inf


PLATEAU = {"lr_scheduler": {"_name": "reduce_lr_on_plateau", "lr_shrink": 0.5}}


def test_a_plateau_is_seen_by_training_and_survives_a_stop(classification, tmp_path):
    """With a threshold that no score reaches the rate is halved after every epoch but the first."""
    recipe = {**classification, "lr_scheduler": {**PLATEAU["lr_scheduler"], "lr_threshold": 1.0}}
    options = {"optimization__max_update": 0, "optimization__lr": [1e-3]}
    whole = train(elsewhere(recipe, tmp_path / "whole"), **options, optimization__max_epoch=4)
    assert whole.state.rate() == pytest.approx(1e-3 / 8)
    for last in (2, 4):
        resumed = train(recipe, **options, optimization__max_epoch=last)
    assert losses(resumed) == losses(whole)
    assert resumed.state.rate() == whole.state.rate()


def test_another_schedule_goes_on_with_the_moments_where_it_is_reset(classification):
    train(classification, optimization__max_update=2)
    changed = {**classification, **PLATEAU}
    with pytest.raises(ConfigError, match="another recipe: lr_scheduler=fixed"):
        train(changed, optimization__max_update=4)
    resumed = train(changed, optimization__max_update=4, checkpoint__reset_lr_scheduler=True)
    stored = torch.load(resumed.save_dir / "checkpoint_last.pt", weights_only=True)
    assert {entry["step"] for entry in stored["last_optimizer_state"]["state"].values()} == {4}
    assert stored["optimizer_history"][-1]["lr_scheduler_state"]["factor"] == 1.0


def test_a_schedule_that_follows_scores_needs_validations(classification):
    recipe = {**classification, **PLATEAU}
    for none in ({"dataset__disable_validation": True}, {"dataset__valid_subset": ""}):
        with pytest.raises(ConfigError, match="follows the scores of validations"):
            train(recipe, **none)


def test_one_batch_looked_at_beforehand_says_nothing_of_the_labels_of_its_split(classification, caplog):
    chosen = {"checkpoint__best_checkpoint_metric": "auroc", "checkpoint__maximize_best_checkpoint_metric": True}
    train(classification, **chosen, dataset__batch_size_valid=1, optimization__max_update=1)
    assert "left out of auroc" not in caplog.text


def test_the_last_epoch_is_saved_although_no_save_is_due(classification):
    trainer = train(classification, checkpoint__save_interval=20, optimization__max_epoch=1, optimization__max_update=0)
    stored = torch.load(trainer.save_dir / "checkpoint_last.pt", weights_only=True)
    assert stored["optimizer_history"][-1]["num_updates"] == trainer.at.num_updates > 0
    assert train(classification, checkpoint__save_interval=20, optimization__max_epoch=1).at.epoch == 2


def test_a_save_that_is_due_is_made_whatever_else_ends_there(classification):
    often = {"checkpoint__save_interval_updates": 2, "checkpoint__no_epoch_checkpoints": True}
    trainer = train(classification, **often, dataset__validate_after_updates=7)
    names = {path.name for path in trainer.save_dir.glob("checkpoint_*_*.pt")}
    assert names == {f"checkpoint_{epoch}_{update}.pt" for epoch, update in ((1, 2), (1, 4), (2, 6), (2, 8))}
