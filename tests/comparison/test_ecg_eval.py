"""ecg-eval on invented records: what it leaves behind, what it makes again, and what it refuses before it trains."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from small_data import CODES, RECORDS, write_data

import ecg_signals
from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.cli import eval as command
from ecg_signals.cli.running import run_command
from ecg_signals.comparison import running, schedule
from ecg_signals.comparison.models import usual_signal
from ecg_signals.comparison.signals import read_stored
from ecg_signals.data.datasets.ecg_prepared import EcgPreparedConfig, EcgPreparedDataset
from ecg_signals.evaluation.benchmarks.published import published_numbers
from ecg_signals.metrics.ranking import ranking_metrics
from ecg_signals.preprocess.datasets.mimic_iv_ecg import MEASURED

SUPER, RHYTHM, SINGLE = "ptbxl/superdiagnostic", "ptbxl/rhythm", "ptbxl/superdiagnostic_single"


def ecg_eval(data: Path, out: Path, model: Any, benchmark: str = SUPER, protocol: str = "scratch", *more: str) -> int:
    """Exit status of the command."""
    words = [f"benchmark=[{benchmark}]", f"protocol=[{protocol}]", f"model=[{model}]", f"data={data}", f"out={out}"]
    before, sys.argv = sys.argv, ["ecg-eval", *words, "rounds=20", *more]
    try:
        run_command(command.run)
    except SystemExit as error:
        return int(error.code or 0)
    finally:
        sys.argv = before
    return 0


def results(out: Path) -> dict[str, Any]:
    return json.loads((out / "results.json").read_text())


@pytest.fixture(scope="module")
def compared(small_ptbxl: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One benchmark, one protocol, two seeds."""
    out = tmp_path_factory.mktemp("compared")
    assert ecg_eval(small_ptbxl, out, tiny, SUPER, "scratch", "seeds=2") == 0
    return out


@pytest.fixture(scope="module")
def checkpoint(compared: Path) -> Path:
    return compared / "runs" / SUPER / "scratch" / slug(compared) / "1" / "seed1" / "checkpoint_best.pt"


def slug(out: Path) -> str:
    return results(out)["runs"][0]["model"]


def comparable(out: Path) -> dict[str, Any]:
    """What two undisturbed runs have in common."""
    content = results(out)
    for run in content["runs"]:
        run["seconds"] = 0
    return content


def test_results_of_every_run_and_of_all_seeds_are_there(compared: Path):
    content = results(compared)
    assert [run["seed"] for run in content["runs"]] == [1, 2]
    run, summary = content["runs"][0], content["summary"][0]
    assert run["labels"] == ["HYP", "MI", "NORM"] and run["kind"] == "multi_label" and run["test_on"] == SUPER
    assert run["counts"] == {"train": 24, "valid": 6, "test": 6}
    assert run["selection"]["metric"] == "auroc" and len(run["curve"]) >= 1 and run["versions"]["torch"]
    values = [one["metrics"]["auroc"] for one in content["runs"]]
    assert summary["seeds"] == 2 and summary["mean"]["auroc"] == pytest.approx(np.mean(values))
    assert summary["std"]["auroc"] == pytest.approx(np.std(values, ddof=1))
    assert summary["interval"][0] <= summary["mean"]["auroc"] <= summary["interval"][1]
    assert f"{summary['mean']['auroc']:.3f}" in (compared / "report.html").read_text()
    table = pd.read_csv(compared / "results.csv")
    assert len(table) == 2 and table["auroc"].tolist() == [one["metrics"]["auroc"] for one in content["runs"]]


def test_answers_are_stored_with_patients_and_the_records_they_are_about(compared: Path):
    run = results(compared)["runs"][0]
    arrays = np.load(compared / "runs" / SUPER / "scratch" / run["model"] / "1" / "seed1" / "predictions.npz")
    assert arrays["labels"].tolist() == run["labels"] and arrays["scores"].shape == (6, 3)
    assert len(set(arrays["patients"].tolist())) == 3 and all(Path(path).is_file() for path in arrays["files"])
    auroc = ranking_metrics(arrays["scores"], arrays["targets"]).auroc
    np.testing.assert_allclose(auroc, [run["per_label"][label]["auroc"] for label in run["labels"]])


def test_published_numbers_of_the_benchmarks_stand_beside_ours(compared: Path):
    found = {(row["model"], row["benchmark"]): row for row in results(compared)["published"]}
    assert found["xresnet1d101", SUPER]["value"] == 0.928 and found["xresnet1d101", SUPER]["spread"] == 0.005
    assert all(row["source"] for row in found.values()) and {row["benchmark"] for row in found.values()} == {SUPER}
    assert len(published_numbers(["cpsc2018"])) == 21 and not published_numbers(["georgia"])


def test_public_numbers_of_ecg_fm_stand_under_what_made_them():
    found = {row["benchmark"]: row for row in published_numbers(["merl/form", "mimic_multitask/age"])}
    assert found["merl/form"]["metric"] == found["merl/form"]["protocol"] + "_reported" == "merl_reported"
    assert found["merl/form"]["value"] == 0.7819 and "not ECG-FM's own" in found["merl/form"]["source"]
    age = found["mimic_multitask/age"]
    assert age["metric"] == "mae" and "not to be matched" in age["source"]


def test_published_probes_stand_under_the_protocol_that_made_them():
    found = {(row["benchmark"], row["model"], row["protocol"]): row for row in published_numbers(["ptbxl/all", SINGLE])}
    of_jepa = {protocol for _, model, protocol in found if model.startswith("JEPA")}
    assert of_jepa == {"finetune", "attentive"}  # a learned query reads the tokens of what the README calls linear
    assert found["ptbxl/all", "JEPA, ViT-S, MIMIC-IV-ECG", "attentive"]["value"] == 0.940
    assert found["ptbxl/all", "BYOL, xresnet1d50", "linear"]["value"] == 0.878
    assert "split of its own" in found[SINGLE, "ST-MEM", "linear"]["source"]
    assert found["ptbxl/all", "ViT-B, attentive probe", "random"]["value"] == 0.867


def test_a_second_run_makes_only_what_is_missing_and_ends_as_if_undisturbed(
    compared: Path, small_ptbxl: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    calls = []

    def killed(run: Any, out: Path) -> str | None:
        calls.append(run.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return running.execute(run, out)

    out = tmp_path / "out"
    words = (small_ptbxl, out, tiny, SUPER, "scratch", "seeds=2")
    with monkeypatch.context() as patch:
        patch.setattr(schedule, "execute", killed)
        assert ecg_eval(*words) == 130
    finished = next((out / "runs").rglob("result.json"))
    before = finished.stat().st_mtime_ns
    assert ecg_eval(*words) == 0
    assert finished.stat().st_mtime_ns == before
    assert comparable(out) == comparable(compared)


def test_other_settings_in_the_same_folder_are_named(compared: Path, small_ptbxl: Path, tiny: Path, capsys):
    assert ecg_eval(small_ptbxl, compared, tiny, SUPER, "scratch", "steps=3") == 1
    assert "recipe.optimization.max_update=6 (now 3)" in capsys.readouterr().err


def test_a_run_that_fails_is_listed_and_the_others_go_on(small_ptbxl: Path, tiny: Path, tmp_path: Path, capsys):
    models = f"{tiny} optimization.lr=[1e38],{tiny}"
    assert ecg_eval(small_ptbxl, tmp_path, models, SUPER, "scratch", "steps=3") == 1
    content = results(tmp_path)
    assert len(content["runs"]) == 1 and len(content["failed"]) == 1
    assert "1 of 2 runs failed" in capsys.readouterr().err


def test_a_run_of_epochs_has_a_state_that_validation_chose(small_ptbxl: Path, tiny: Path, tmp_path: Path):
    bounds = ["protocol.optimization.max_update=0", "protocol.optimization.max_epoch=2"]
    fixed = "protocol.lr_scheduler={_name: fixed}"  # the recipe's must know the number of updates
    assert ecg_eval(small_ptbxl, tmp_path, tiny, SUPER, "scratch", *bounds, fixed) == 0
    assert len(results(tmp_path)["runs"][0]["curve"]) == 2


def test_a_checkpoint_is_probed_finetuned_and_tested_as_it_is(checkpoint: Path, small_ptbxl: Path, tmp_path: Path):
    protocols = "linear,attentive,finetune_after_linear,random,as_is"
    assert ecg_eval(small_ptbxl, tmp_path, checkpoint, SUPER, protocols, "steps=2", f"test_on=[{RHYTHM}]",
                    "partial_labels=true") == 1  # fmt: skip
    assert not (tmp_path / "runs").exists()  # no label of the rhythms is one of the superclasses
    assert ecg_eval(small_ptbxl, tmp_path, checkpoint, SUPER, protocols, "steps=2") == 0
    found = {run["protocol"]: run for run in results(tmp_path)["runs"]}
    assert set(found) == {"linear", "attentive", "finetune_after_linear", "random", "as_is"}
    stored = json.loads((checkpoint.parent / "result.json").read_text())
    assert found["as_is"]["metrics"] == pytest.approx(stored["metrics"])


def test_all_weights_train_on_from_the_head_that_was_trained_alone(checkpoint: Path, small_ptbxl: Path, tmp_path: Path):
    words = ("preset=ssl", "protocol.optimization.max_epoch=1")
    assert ecg_eval(small_ptbxl, tmp_path, checkpoint, SUPER, "finetune", *words) == 0
    assert {run["protocol"] for run in results(tmp_path)["runs"]} == {"linear", "finetune"}


def test_merls_probe_gives_its_three_numbers(checkpoint: Path, small_ptbxl: Path, tmp_path: Path):
    words = ("preset=merl", "protocol.optimization.max_epoch=2")
    assert ecg_eval(small_ptbxl, tmp_path, checkpoint, "merl/super", "merl,merl_fixed", *words) == 0
    found = {run["protocol"]: run["metrics"] for run in results(tmp_path)["runs"]}
    lines = next((tmp_path / "runs/merl/super/merl").rglob("metrics.jsonl")).read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    best = {name: max(row[name] for row in rows if row["split"] == "test") for name in ("auroc", "max_f1")}
    assert found["merl"]["merl_reported"] == pytest.approx(best["auroc"], abs=1e-3)
    assert found["merl"]["merl_val"] == found["merl"]["auroc"] <= found["merl"]["merl_reported"] + 1e-3
    assert found["merl"]["merl_reported_max_f1"] == pytest.approx(best["max_f1"], abs=1e-3)
    assert found["merl_fixed"]["merl_fixed"] == found["merl_fixed"]["auroc"]
    assert "MERL: best test AUROC" in (tmp_path / "report.html").read_text()


def test_trained_on_one_benchmark_and_tested_on_another(small_ptbxl: Path, tiny: Path, tmp_path: Path):
    assert ecg_eval(small_ptbxl, tmp_path, tiny, "ptbxl/all", "scratch", f"test_on=[{SUPER}]") == 1
    assert ecg_eval(small_ptbxl, tmp_path, tiny, "ptbxl/all", "scratch", "steps=2", f"test_on=[{RHYTHM}]") == 0
    found = {run["test_on"]: run for run in results(tmp_path)["runs"]}
    assert found[RHYTHM]["labels"] == ["AFIB", "SR"]
    both = found["ptbxl/all"]["per_label"]
    assert found[RHYTHM]["per_label"]["SR"]["auroc"] == pytest.approx(both["SR"]["auroc"])


def test_smaller_parts_of_the_training_data_lie_within_larger_ones(small_ptbxl: Path, tiny: Path, tmp_path: Path):
    assert ecg_eval(small_ptbxl, tmp_path, tiny, SUPER, "scratch", "steps=1", "fractions=[0.25,0.5,1]") == 0
    parts = {}
    for run in results(tmp_path)["runs"]:
        place = tmp_path / "splits" / SUPER / "scratch" / run["model"] / run["fraction"] / "seed1"
        parts[run["fraction"]] = set((place / "train.tsv").read_text().splitlines()[1:])
    assert [len(parts[name]) for name in ("0.25", "0.5", "1")] == [6, 12, 24]
    assert parts["0.25"] < parts["0.5"] < parts["1"]


def test_values_are_learned_standardised_and_scored_in_their_own_units(
    small_ptbxl: Path, tiny: Path, tmp_path: Path, capsys
):
    assert ecg_eval(small_ptbxl, tmp_path, tiny, "ptbxl/age,ptbxl/rr", "scratch", "steps=2") == 0
    age, rr = results(tmp_path)["runs"]
    assert age["kind"] == "regression" and age["counts"]["train"] == 23 and age["metrics"]["mae"] > 1
    arrays = np.load(tmp_path / "runs" / "ptbxl/rr" / "scratch" / rr["model"] / "1" / "seed1" / "predictions.npz")
    assert set(arrays["targets"].round(-1).ravel()) == {800, 1000}
    assert rr["metrics"]["mae"] == pytest.approx(np.abs(arrays["scores"] - arrays["targets"]).mean())
    assert age["baselines"]["train median"]["mae"] > 1
    assert "<b>Without a model</b>: train median" in (tmp_path / "report.html").read_text()
    assert "without a model: train median" in capsys.readouterr().out
    model = next((tmp_path / "runs" / "ptbxl/age").rglob("checkpoint_best.pt"))
    assert ecg_eval(small_ptbxl, tmp_path / "as_is", model, "ptbxl/age", "as_is") == 1  # its scale is not stated
    assert "mean and deviation by which its values were standardised" in capsys.readouterr().err


def test_values_that_are_not_known_of_every_record_are_scored_by_column(tiny: Path, tmp_path: Path):
    measured = {name: [number] * RECORDS for name, number in zip(MEASURED, (800, 0, 90, 100, 200, 500, 40, -30, 10))}
    measured["rr_interval"] = [29999 if idx % 2 else 700 + idx for idx in range(RECORDS)]
    data = write_data(tmp_path / "mimic", source="mimic_iv_ecg", **measured)
    assert ecg_eval(data, tmp_path / "out", tiny, "mimic_multitask/ecg,mimic_multitask/rr", "scratch", "steps=1") == 0
    every, rr = results(tmp_path / "out")["runs"]
    assert every["per_label"]["rr"]["known"] * 2 == every["per_label"]["qrs"]["known"] == every["counts"]["test"]
    assert set(rr["baselines"]) == {"train median", "detected beats"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert ">nan" not in page.lower() and "not to be matched" in page and "a split by patient of its own" in page


def test_labels_and_values_of_one_head_are_each_scored_by_their_own(tiny: Path, tmp_path: Path, capsys):
    measured = {name: [number] * RECORDS for name, number in zip(MEASURED, (800, 0, 90, 100, 200, 500, 40, -30, 10))}
    measured["rr_interval"] = [29999 if idx % 4 == 0 else 700 + idx for idx in range(RECORDS)]
    fold = [(0, 0, 0, 18, 18, 18, 19, 19, 19)[idx % 9] for idx in range(RECORDS)]
    data = write_data(tmp_path / "mimic", source="mimic_iv_ecg", study_id=list(range(RECORDS)), **measured)
    pd.DataFrame({
        "study_id": range(RECORDS), "subject_id": range(RECORDS), "ecg_time": "2150-01-01 00:00:00", "gender": "F",
        "age": [20 + idx for idx in range(RECORDS)], "all_diag_all": ["['I10']", "['R07']", "['R07', 'I10']"] * 12,
        "ecg_taken_in_ed": True, "ecg_no_within_stay": 0, "strat_fold": fold,
    }).to_csv(tmp_path / "icd.csv", index=False)  # fmt: skip
    words = (f"benchmark.diagnoses={tmp_path / 'icd.csv'}", "benchmark.min_records=2", "preset=fmb", "steps=2")
    models = f"{tiny} as one,{tiny} model.encoder.hidden_dim=4 as other"
    assert ecg_eval(data, tmp_path / "out", models, "fmb/mimic", "scratch", *words, "seeds=2") == 0
    found = results(tmp_path / "out")
    run, summary = found["runs"][0], found["summary"][0]
    assert run["kind"] == "labels+8" and run["labels"][:4] == ["I10", "R07", "male", "age"]
    assert run["selection"]["metric"] == "selection" and run["undefined"] == ["male"] and summary["lead"] == "auroc"
    folder = next((tmp_path / "out/runs/fmb/mimic/scratch").iterdir()) / "1/seed1"
    arrays = np.load(folder / "predictions.npz")
    scores, targets = arrays["scores"], arrays["targets"]
    assert ((scores[:, :3] > 0) & (scores[:, :3] < 1)).all() and 20 <= scores[:, 3].mean() <= 60  # years
    own = json.loads((folder / "result.json").read_text())
    assert own["per_label"]["age"]["mae"] == pytest.approx(np.abs(scores[:, 3] - targets[:, 3]).mean())
    assert own["per_label"]["age"]["auroc"] is None and own["per_label"]["I10"]["mae"] is None
    auroc = np.mean([ranking_metrics(scores[:, [column]], targets[:, [column]]).auroc[0] for column in (0, 1)])
    assert own["metrics"]["auroc"] == pytest.approx(auroc) and own["per_label"]["age"]["positives"] == 0
    assert own["baselines"]["train median"]["auroc"] == 0.5
    page = (tmp_path / "out" / "report.html").read_text()
    assert ">nan" not in page.lower() and "Errors" in page and "Every label" in page and "Bland" in page
    state = next(folder.glob("checkpoint_best.pt"))
    assert ecg_signals.load_model(state).logit_kind == "labels+8"
    assert ecg_eval(data, tmp_path / "as_is", state, "fmb/mimic", "as_is", *words[:2]) == 1
    assert "cannot test the values" in capsys.readouterr().err


@pytest.fixture(scope="module")
def single(small_ptbxl: Path, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on records of one class each."""
    out = tmp_path_factory.mktemp("single")
    assert ecg_eval(small_ptbxl, out, tiny, SINGLE, "scratch", "steps=2") == 0
    return out


def test_one_class_of_several_is_scored_by_probabilities_that_sum_to_one(single: Path):
    run = results(single)["runs"][0]
    assert run["kind"] == "multi_class" and 0 <= run["metrics"]["accuracy"] <= 1
    assert run["labels"] == ["HYP", "MI", "NORM"] and "HYP" in run["undefined"]  # which no record has alone
    arrays = np.load(next((single / "runs").rglob("predictions.npz")))
    np.testing.assert_allclose(arrays["scores"].sum(axis=1), 1)


def test_records_of_a_class_that_the_model_lacks_count_as_unknown_and_are_counted(single: Path, tmp_path: Path, capsys):
    codes = ["{'IRBBB': 100.0}" if idx % 3 == 1 else CODES[idx // 12 % 2] for idx in range(RECORDS)]
    data = write_data(tmp_path / "ptbxl", scp_codes=codes)
    model = next((single / "runs").rglob("checkpoint_best.pt"))
    assert ecg_eval(data, tmp_path / "out", model, SINGLE, "as_is", "partial_labels=true") == 0
    assert f"{SINGLE}: 3 of 6 test records have a class that" in capsys.readouterr().out
    run = results(tmp_path / "out")["runs"][0]
    arrays = np.load(next((tmp_path / "out").rglob("predictions.npz")))
    known = ~np.isnan(arrays["targets"]).any(axis=1)
    assert known.sum() == run["counts"]["test"] == run["per_label"]["MI"]["known"] == 3
    assert run["labels"] == ["MI", "NORM"] and run["per_label"]["MI"]["positives"] == arrays["targets"][known, 0].sum()
    right = arrays["scores"][known].argmax(axis=1) == arrays["targets"][known].argmax(axis=1)
    assert run["metrics"]["accuracy"] == pytest.approx(right.mean())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"data": "nowhere"}, "is not a folder"),
        ({"data": "raw"}, "ecg-preprocess ptbxl"),
        ({"benchmark": "georgia"}, "needs physionet2021"),
        ({"benchmark": "ptbxl/superdiagnostik"}, "did you mean 'ptbxl/superdiagnostic'"),
        ({"protocol": "liner"}, "did you mean 'linear'"),
        ({"model": "nothing.pt"}, "nothing.pt"),
        ({"data": "unlabelled"}, "column 'scp_codes'"),
        ({"data": "limb"}, "but the model needs"),
        ({"data": "without_records"}, "Preprocess again with keep_org=true"),
        ({"model": "benchmark/scratch_xresnet1d50", "protocol": "as_is"}, "has none with names of labels"),
        ({"benchmark": RHYTHM, "protocol": "as_is"}, "lacks 2 of 2 labels"),
        ({"benchmark": SINGLE, "protocol": "as_is"}, "gives labels, but benchmark"),
        ({"more": f"test_on=[{SINGLE}]"}, f"{SUPER} asks for labels, but benchmark {SINGLE} for classes"),
        ({"benchmark": SINGLE, "more": f"test_on=[{SUPER}]"}, f"{SINGLE} asks for classes, but benchmark {SUPER} for"),
        ({"more": "test_on=[ptbxl/age]"}, "but benchmark ptbxl/age for values"),
        ({"model": "{tiny} model.encoder.in_d=8", "protocol": "scratch"}, "expected [batch, 8 leads, samples]"),
        ({"more": "protocol.model.freeze_blocks=99"}, "this encoder has 2 parts"),
        ({"more": "protocol.model.pool=register"}, "gives no `registers`"),
        ({"more": "protocol.optimization.lr=[.nan]"}, "optimization.lr is [nan]"),
        ({"more": "protocol.checkpoint.best_checkpoint_metric=f2"}, "best_checkpoint_metric=f2 is not printed"),
        ({"more": "protocol.dataset.disable_validation=true"}, "dataset.disable_validation is not to be set"),
    ],
)
def test_what_does_not_fit_is_said_before_anything_trains(
    words: dict[str, str], message: str, small_ptbxl: Path, tiny: Path, checkpoint: Path, tmp_path: Path, capsys
):
    (tmp_path / "raw").mkdir()
    write_data(tmp_path / "unlabelled", scp_codes=None)
    write_data(tmp_path / "limb", leads=("I", "II"))
    shutil.rmtree(write_data(tmp_path / "without_records") / "org")
    place = tmp_path / words["data"] if "data" in words else small_ptbxl
    model = words.get("model", str(checkpoint)).format(tiny=tiny)
    more = [words["more"]] if "more" in words else []
    named = (words.get("benchmark", SUPER), words.get("protocol", "linear"))
    status = ecg_eval(place, tmp_path / "out", model, *named, *more)
    assert status in (1, 2) and message in capsys.readouterr().err
    assert not (tmp_path / "out" / "runs").exists()


def test_windows_of_prepared_records_are_those_of_ecg_predict(compared: Path, small_ptbxl: Path):
    manifest = next((compared / "splits").rglob("test.tsv"))
    dataset = EcgPreparedDataset(EcgPreparedConfig(window_stride=125), manifest)
    batch = dataset.collate([dataset[index] for index in range(3)])
    source = batch["net_input"]["source"]
    contract = usual_signal()
    for index in range(3):
        path = small_ptbxl / "org" / Path(dataset.name_of(index)).name
        wanted = contract.prepare(read_stored(path, contract.leads))
        np.testing.assert_allclose(source[index], wanted, atol=1e-6)


def test_a_plugin_registers_a_benchmark(small_ptbxl: Path, tiny: Path, tmp_path: Path):
    (tmp_path / "mybench.py").write_text(
        "import numpy as np\n"
        "from ecg_signals.evaluation.benchmarks.ptbxl import Ptbxl\n"
        "from ecg_signals.registry import register_benchmark\n\n\n"
        '@register_benchmark("old_age")\n'
        "class OldAge(Ptbxl):\n"
        "    def targets(self, data, rows):\n"
        '        old = data.meta["age"].to_numpy()[rows] > 40\n'
        '        return ["old", "young"], np.stack([old, ~old], axis=1).astype(float)\n'
    )
    more = ("steps=1", f"user_dir={tmp_path / 'mybench.py'}")
    assert ecg_eval(small_ptbxl, tmp_path / "out", tiny, "old_age", "scratch", *more) == 0
    assert results(tmp_path / "out")["runs"][0]["labels"] == ["old", "young"]
    assert ecg_signals.load_model(next((tmp_path / "out").rglob("checkpoint_best.pt"))).labels == ["old", "young"]


@pytest.mark.slow
def test_runs_in_two_processes_give_the_same_as_in_one(compared: Path, small_ptbxl: Path, tiny: Path, tmp_path: Path):
    shutil.rmtree(tmp_path)
    assert ecg_eval(small_ptbxl, tmp_path, tiny, SUPER, "scratch", "seeds=2", "jobs=2") == 0
    assert comparable(tmp_path) == comparable(compared)


@pytest.mark.slow
def test_processes_leave_with_a_killed_command_and_the_next_one_ends_as_if_undisturbed(
    small_ptbxl: Path, tiny: Path, tmp_path: Path
):
    out, whole = tmp_path / "out", tmp_path / "whole"
    words = (small_ptbxl, tiny, SUPER, "scratch", "seeds=2", "steps=120")
    typed = [f"benchmark=[{SUPER}]", "protocol=[scratch]", f"model=[{tiny}]", f"data={small_ptbxl}", f"out={out}"]
    program = [sys.executable, "-m", "ecg_signals.cli.eval", *typed, "rounds=20", "seeds=2", "steps=120", "jobs=2"]
    running = subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while len(list((out / "runs").rglob("metrics.jsonl"))) < 2:
        assert running.poll() is None
        time.sleep(0.02)
    running.kill()
    running.communicate(timeout=20)  # until the last process that holds its output is gone
    folders = [path.parent for path in (out / "runs").rglob("metrics.jsonl")]
    assert len(folders) == 2
    for path in (out / "runs").rglob("checkpoint_*.pt"):
        read_checkpoint(path)
    (folders[0] / ".predictions.npz.123.tmp").write_bytes(b"half of it")
    assert ecg_eval(words[0], out, *words[1:]) == 0
    assert ecg_eval(words[0], whole, *words[1:]) == 0
    assert comparable(out) == comparable(whole)
    assert not list((out / "runs").rglob("*.tmp"))
