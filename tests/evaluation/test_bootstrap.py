"""Intervals of predictions that several runs left."""

import json
import shutil

import numpy as np
import pandas
import pytest

from ecg_signals.cli import test
from ecg_signals.config import ConfigError
from ecg_signals.evaluation.bootstrap import bootstrap_files, write_predictions


@pytest.fixture
def runs(tmp_path):
    """Three runs of one test set whose third label has a single positive and whose fourth has none."""
    rng = np.random.default_rng(3)
    targets = np.zeros((60, 4))
    targets[:20, 0], targets[10:40, 1], targets[5, 2] = 1, 1, 1
    for number in range(3):
        write_predictions(
            tmp_path / f"run_{number}.npz", {"test": (targets, rng.random(targets.shape) + 0.3 * targets)}
        )
    return tmp_path


def test_the_published_scores_come_out_to_the_last_bit(golden):
    folder = golden / "jepa/bootstrap"
    wanted = json.loads((folder / "expected.json").read_text())
    paths = [folder / name for name in wanted["files_in_order"]]
    found = bootstrap_files(paths, rounds=wanted["n_bootstraps"], seed=wanted["seed"], published=True)
    assert found.scores.ravel().tolist() == wanted["all_scores"]
    summary = found.summary()
    assert [list(one.values()) for one in summary["files"].values()] == wanted["per_model_mean_lower_upper"]
    assert (summary["of_files"]["mean"], summary["of_files"]["std"]) == (wanted["overall_mean"], wanted["overall_std"])
    assert (summary["pooled"]["mean"], summary["pooled"]["std"]) == (wanted["pooled_mean"], wanted["pooled_std"])
    assert [summary["pooled"]["low"], summary["pooled"]["high"]] == wanted["pooled_ci"]


def test_a_rare_label_is_in_every_resample_and_an_undefined_one_is_named(runs):
    found = bootstrap_files([runs], rounds=20, seed=1)
    assert [path.name for path in found.files] == ["run_0.npz", "run_1.npz", "run_2.npz"]
    assert found.undefined == ["3"] and not np.isnan(found.scores).any()
    assert "left out, as all items have them or none: 3" in list(found.said())
    published = bootstrap_files([runs / "run_0.npz"], rounds=20, seed=1, published=True)
    assert np.isnan(published.scores).all()
    assert "20 of 20 resamples have no score and are left out" in list(published.said())
    assert np.isnan(published.summary()["pooled"]["low"])


def test_a_resample_without_a_score_leaves_the_others_an_interval(tmp_path):
    targets, rng = np.zeros((40, 1)), np.random.default_rng(0)
    targets[:3] = 1
    for name in "ab":
        write_predictions(tmp_path / f"{name}.npz", {"test": (targets, rng.random((40, 1)) + 0.2 * targets)})
    table = pandas.DataFrame({"item": range(40), "patient": np.arange(40), "target x": targets[:, 0]})
    for name in "cd":
        (tmp_path / name).mkdir()
        table.assign(**{"score x": rng.random(40)}).to_csv(tmp_path / name / "predictions_test.csv", index=False)
    published = bootstrap_files([tmp_path / "a.npz", tmp_path / "b.npz"], published=True)
    ours = bootstrap_files([tmp_path / "c", tmp_path / "d"], against=tmp_path / "c/predictions_test.csv")
    for found in (published, ours):
        summary, lost = found.summary(), np.isnan(found.scores)
        assert 0 < lost.sum() == summary["undefined_rounds"] < 60
        for row, one in zip(found.scores, summary["files"].values()):
            kept = row[~np.isnan(row)]
            assert list(one.values()) == [kept.mean(), *np.percentile(kept, (2.5, 97.5))]
        assert np.isfinite([*summary["pooled"].values(), *summary["of_files"].values()]).all()
    apart = next(iter(ours.summary()["differences"].values()))
    assert apart["low"] < apart["value"] < apart["high"]
    assert apart["undefined_rounds"] == np.isnan(ours.scores[0]).sum()
    assert f"({apart['undefined_rounds']} rounds left out)" in "\n".join(ours.said())


def test_the_order_of_the_files_changes_nothing_unless_published(runs):
    paths = [runs / f"run_{number}.npz" for number in (2, 0, 1)]
    sorted_, given = bootstrap_files([runs], rounds=5), bootstrap_files(paths, rounds=5)
    assert sorted_.summary() == given.summary()
    assert bootstrap_files(paths[:1], rounds=5).scores.tolist() == sorted_.scores[2:].tolist()


def test_files_of_another_test_set_are_named(runs, tmp_path):
    write_predictions(tmp_path / "other.npz", {"test": (np.eye(60)[:, :4], np.zeros((60, 4)))})
    with pytest.raises(ConfigError, match=r"run_0\.npz has other targets than .*other\.npz"):
        bootstrap_files([tmp_path])
    with pytest.raises(ConfigError, match=r"has no array val_targets \(found test_targets, test_predictions\)"):
        bootstrap_files([tmp_path / "run_0.npz"], split="val")
    with pytest.raises(ConfigError, match=r"no \.npz and no predictions_test\.csv"):
        bootstrap_files([tmp_path / "absent"][:0] or [(tmp_path / "empty").mkdir() or tmp_path / "empty"])


def test_patients_that_a_table_names_are_drawn_whole(tmp_path):
    rng = np.random.default_rng(0)
    targets = np.repeat(rng.integers(0, 2, 30), 10)
    table = pandas.DataFrame({"item": range(300), "patient": pandas.array(np.repeat(np.arange(30), 10), "Int64")})
    table["score a"], table["target a"] = np.repeat(rng.random(30), 10) + 0.3 * targets, targets
    table.to_csv(tmp_path / "predictions_test.csv", index=False)
    table.drop(columns="patient").to_csv(tmp_path / "alone.csv", index=False)
    wide, narrow = (bootstrap_files([tmp_path / name]) for name in ("predictions_test.csv", "alone.csv"))
    assert (wide.resampled, narrow.resampled) == ("patient", "record")
    assert wide.scores.std() > 2 * narrow.scores.std() and wide.values == narrow.values


def test_files_are_compared_on_the_same_resamples(runs, capsys):
    same = runs / "same.npz"
    shutil.copy(runs / "run_0.npz", same)
    found = bootstrap_files([runs], rounds=20, against=runs / "run_0.npz")
    apart = found.differences()[str(same)]
    assert set(apart.values()) == {0} and len(found.differences()) == 3
    whole = found.summary()
    assert whole["of_values"]["std"] == pytest.approx(np.std(list(whole["values"].values()), ddof=1))
    test.run(["bootstrap", str(runs), "--rounds", "5", "--against", str(same)])
    assert f"run_0.npz less {same}: +0.0000 [+0.0000, +0.0000]\n" in capsys.readouterr().out
    for more, message in (({"published": True}, "each file's own"), ({}, "is none of the files")):
        with pytest.raises(ConfigError, match=message):
            bootstrap_files([runs], against="other.npz", **more)


def test_the_command_writes_what_it_prints_and_overwrites_no_predictions(runs, capsys):
    test.run(["bootstrap", str(runs), "--rounds", "5", "--out", str(runs / "found.json")])
    said = capsys.readouterr().out
    content = json.loads((runs / "found.json").read_text())
    assert f"mean of 3 file(s): {content['of_files']['mean']:.4f}" in said and len(content["scores"]) == 3
    shutil.copy(runs / "run_0.npz", runs / "copy.npz")
    with pytest.raises(ConfigError):
        test.run(["bootstrap", str(runs / "copy.npz"), "--out", str(runs / "copy.npz")])
