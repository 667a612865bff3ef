"""What ecg-eval plans, by what was typed: nothing is trained here."""

import json
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from small_data import RECORDS, TINY, write_data

from ecg_signals.cli.eval import parse, read_recipe
from ecg_signals.cli.recipes import packaged_recipes
from ecg_signals.comparison.models import find_model
from ecg_signals.comparison.options import EvalOptions
from ecg_signals.comparison.plan import make_plan, parse_share
from ecg_signals.comparison.running import of_test
from ecg_signals.comparison.runs import Plan
from ecg_signals.comparison.schedule import differences, missing
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.registry import build

recipes = cache(read_recipe)  # composing one takes half a second


def planned(data: Path, out: Path, model: Any, *words: str) -> Plan:
    """By words of a command line."""
    usual = ["benchmark=[ptbxl/superdiagnostic]", "protocol=[scratch]", f"model=[{model}]", f"data={data}"]
    given, overrides = parse([*usual, f"out={out}", *words])
    return make_plan(EvalOptions.from_mapping(given), overrides, recipes)


def finish(run: Any) -> None:
    """Leave behind what a finished run leaves."""
    for test in run.tests:
        test.folder.mkdir(parents=True)
        (test.folder / "result.json").write_text("{}")


def test_machines_that_begin_at_different_times_share_all_runs_and_none_twice(
    small_ptbxl: Path, tiny: Path, tmp_path: Path
):
    plan = planned(small_ptbxl, tmp_path, tiny, "seeds=3", "protocol=[finetune_after_linear,scratch]")
    first = missing(parse_share("1/2", plan.runs))
    for run in first:
        finish(run)
    second = missing(parse_share("2/2", plan.runs))
    assert sorted(run.name for run in [*first, *second]) == sorted(run.name for run in plan.runs)
    assert all(run.after is None or run.after.folder in {one.folder for one in share}
               for share in (first, second) for run in share)  # fmt: skip


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("benchmark.min_sample=5", "unknown key 'benchmark.min_sample'; did you mean 'min_samples'"),
        ("protocol.optimisation.lr=[1e-3]", "unknown section 'optimisation'; did you mean 'optimization'"),
        ("protocol.optimization.learn=1", "unknown key 'optimization.learn'"),
        ("protocol.lr=1", "unknown section 'lr'"),
        ("protocol.optimizer._name=adamx", "did you mean 'adam'"),
        ("protocol.optimization.lr=[fast]", "optimization.lr is 'fast'"),
        ("protocol.model.dropout_prob=2", "unknown key 'model.dropout_prob'"),
        ("fractions=[1.5]", "set fractions to more than 0, up to 1"),
        ("fractions=[0]", "set fractions to more than 0"),
        ("model=[]", "model is empty"),
        ("benchmark=[]", "benchmark is empty"),
        ("protocol=[]", "protocol is empty"),
        ("fractions=[]", "fractions is empty"),
        ("protocol.common.seed=7", "protocol.common.seed is not to be set: seeds=N decides it"),
        ("protocol.common={seed: 7}", "protocol.common.seed is not to be set"),
        ("protocol.checkpoint.save_dir=elsewhere", "out=DIR decides it"),
        ("protocol.task.data=elsewhere", "data=DIR and the benchmark decide it"),
        ("protocol.model.num_labels=3", "the benchmark decides it"),
        ("protocol.dataset.batch_size=0", "set dataset.batch_size to 1 or more"),
        ("model=[benchmark/scratch_xresnet1d50 optimisation.lr=[1]]", "did you mean 'optimization'"),
        ("folds=2 fractions=[0.1]", "folds=2 and fractions=[0.1]"),
    ],
)
def test_what_was_typed_wrong_is_said_before_anything_is_written(
    word: str, message: str, small_ptbxl: Path, tiny: Path, tmp_path: Path
):
    words = word.split(" ") if word.startswith("folds") else [word]
    with pytest.raises(ConfigError, match=re.escape(message)):
        planned(small_ptbxl, tmp_path / "out", tiny, *words)
    assert not (tmp_path / "out" / "runs").exists()


@pytest.mark.parametrize("relative", [True, False])
def test_a_way_through_the_packaged_recipes_lets_no_recipe_run_code(relative: bool, tmp_path: Path):
    (tmp_path / "r.yaml").write_text("hydra: {callbacks: {x: {_target_: canary.Hook}}}")
    up = "../" * len(packaged_recipes().resolve().parts)
    there = f"{up}{tmp_path.relative_to('/')}/r"
    with pytest.raises(UsageError, match="--allow-hooks"):
        read_recipe(there if relative else f"{packaged_recipes()}/{there}.yaml")


def test_a_place_that_takes_no_files_is_said_before_records_are_prepared(small_ptbxl: Path, tiny: Path, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file is a file, not a folder"):
        planned(small_ptbxl, tmp_path / "file", tiny)


def test_a_name_alone_is_no_model():
    with pytest.raises(UsageError, match="names no model"):
        find_model(" as name", recipes)


def test_an_option_that_one_of_the_benchmarks_has_is_none_of_the_others_business(
    small_ptbxl: Path, tiny: Path, tmp_path: Path
):
    words = ("benchmark=[ptbxl/form,ptbxl/age]", "benchmark.min_samples=2")
    with pytest.raises(ConfigError, match="no record"):  # which has two of a form
        planned(small_ptbxl, tmp_path, tiny, *words)


def test_only_a_folder_with_something_trained_or_tested_is_of_other_settings(
    small_ptbxl: Path, tiny: Path, tmp_path: Path
):
    run = planned(small_ptbxl, tmp_path, tiny).runs[0]
    run.folder.mkdir(parents=True)
    (run.folder / "settings.json").write_text(json.dumps({**run.settings, "state": "other"}))
    assert missing([run]) == [run]
    (run.folder / "checkpoint_last.pt").touch()
    with pytest.raises(ConfigError, match="other settings: state=other"):
        missing([run])


def test_a_run_depends_on_options_and_files_of_all_that_it_is_tested_on(
    small_ptbxl: Path, tiny: Path, tmp_path: Path, golden: Path
):
    words = ("benchmark=[ptbxl/all]", "test_on=[ptbxl/rhythm]", "benchmark.min_samples=1")
    told = planned(small_ptbxl, tmp_path, tiny, *words).runs[0].settings
    assert told["test_on"]["ptbxl/rhythm"].keys() == told["benchmark"].keys() > {"min_samples", "records", "data"}
    weights = tmp_path / "weights.csv"
    shutil.copy(golden / "benchmarks" / "cinc2021_weights.csv", weights)
    names = [f"JS{number:05d}.hea" for number in range(RECORDS)]
    other = {"source": "physionet2021", "path": names, "diagnosis": ["164889003", "426783006"] * (RECORDS // 2)}
    data = write_data(tmp_path / "challenge", **other)
    words = ("benchmark=[cinc2021]", f"benchmark.weights_file={weights}")
    before = planned(data, tmp_path, tiny, *words).runs[0].settings
    weights.write_text(weights.read_text() + "\n")
    found = list(differences(before, planned(data, tmp_path, tiny, *words).runs[0].settings))
    assert len(found) == 1 and found[0].startswith("benchmark.files.weights_file=")
    weights.unlink()
    with pytest.raises(ConfigError, match=r"weights\.csv"):
        planned(data, tmp_path, tiny, *words)


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "a/b", "1/0", "1/2/3"])
def test_a_share_is_the_kth_of_n(text: str):
    with pytest.raises(UsageError, match=r"is not K/N, such as 2/4"):
        parse_share(text, [])


def test_presets_are_the_published_trainings_of_an_encoder(small_ptbxl: Path, tiny: Path, tmp_path: Path):
    rates = {}
    for name in ("lstm", "resnet1d_wang"):
        model = tmp_path / f"{name}.yaml"
        model.write_text(re.sub("encoder: .*", f"encoder: {{_name: {name}}}", TINY))
        recipe = planned(small_ptbxl, tmp_path, model, "preset=pb").runs[0].sections
        rates[name] = recipe["optimization"]["lr"], recipe["optimization"]["clip_norm"]
    assert rates == {"lstm": ([1e-3], 0.25), "resnet1d_wang": ([1e-2], 0.0)}
    run = planned(small_ptbxl, tmp_path, tiny, "preset=ssm").runs[0]
    assert run.sections["dataset"]["window_rule"] == "mean_logits"  # by which a state is selected
    assert of_test(run, run.tests[0], tmp_path)["dataset"]["window_rule"] == "mean"  # by which it is reported
    head, whole = planned(small_ptbxl, tmp_path, tiny, "preset=ssl", "protocol=[finetune]").runs
    assert (head.protocol, whole.after.folder) == ("linear", head.folder)
    assert [run.sections["optimization"]["max_epoch"] for run in (head, whole)] == [50, 20]
    assert [run.sections["model"]["freeze_encoder"] for run in (head, whole)] == [True, False]


@pytest.mark.parametrize(
    ("name", "pool"), [("fc_lstm", "mean_max_last"), ("xresnet1d", "max_mean"), ("resnet1d_wang", "own")]
)
def test_probes_of_self_supervision_read_what_its_papers_pool(
    name: str, pool: str, small_ptbxl: Path, tiny: Path, tmp_path: Path
):
    model = tmp_path / f"{name}.yaml"
    model.write_text(re.sub("encoder: .*", f"encoder: {{_name: {name}}}", TINY))
    words = ("preset=ssl", "protocol=[linear,random,finetune,scratch]")
    runs = {run.protocol: run for run in planned(small_ptbxl, tmp_path, model, *words).runs}
    assert runs["linear"].sections["model"]["pool"] == runs["random"].sections["model"]["pool"] == pool
    assert runs["scratch"].sections["model"]["pool"] == "max_mean"  # as the recipe says
    assert "pool" not in runs["finetune"].sections["model"] and runs["finetune"].after.protocol == "linear"
    usual = planned(small_ptbxl, tmp_path, model, "protocol=[linear]").runs[0]
    assert usual.sections["model"]["pool"] == "own"


def test_merls_probe_runs_as_its_script_does_and_repaired(small_ptbxl: Path, tiny: Path, tmp_path: Path):
    words = ("benchmark=[merl/super]", "preset=merl", "protocol=[merl,merl_fixed]")
    published, fixed = planned(small_ptbxl, tmp_path, tiny, *words).runs
    assert published.sections["dataset"]["valid_subset"] == "valid,test"
    assert not published.sections["model"]["freeze_statistics"] and published.sections["model"]["freeze_encoder"]
    rates = {}
    for run in (published, fixed):
        settings = dict(run.sections["lr_scheduler"])
        found = build("lr_scheduler", settings.pop("_name"), lr=run.sections["optimization"]["lr"], **settings)
        rates[run.protocol] = [found.rate(updates, epoch) for updates, epoch in ((39, 1), (40, 1), (35, 6), (9999, 41))]
    assert rates["merl"] == pytest.approx([1e-3, 1e-4, 1e-4, 1e-4])  # 35 updates and five epochs are 40 steps
    assert rates["merl_fixed"] == pytest.approx([1e-3, 1e-3, 1e-3, 1e-4])
    assert fixed.sections["dataset"]["valid_subset"] == "valid" and "common_eval" not in fixed.sections
    with pytest.raises(ConfigError, match="protocol merl is for labels"):
        planned(small_ptbxl, tmp_path, tiny, "benchmark=[ptbxl/age]", "protocol=[merl]")


@pytest.mark.parametrize("fraction", [0.1, 0.3])
def test_merls_parts_are_those_of_train_test_split(fraction: float, small_ptbxl: Path, tiny: Path, tmp_path: Path):
    from sklearn.model_selection import train_test_split

    words = ("benchmark=[merl/super]", "preset=merl", "protocol=[merl_fixed]", f"fractions=[{fraction}]", "seeds=2")
    for run in planned(small_ptbxl, tmp_path, tiny, *words).runs:
        whole = run.task.examples.rows[run.task.examples.split == "train"]
        wanted, _ = train_test_split(whole, train_size=fraction, random_state=42)
        assert set(run.examples.rows[run.examples.split == "train"]) == set(wanted)


def test_the_reference_comparisons_preset_gives_checkpoints_its_input_and_says_so(
    small_ptbxl: Path, tiny: Path, tmp_path: Path, golden: Path
):
    file = golden / "ecgfounder/checkpoint.pth"
    models, words = f"{file} as founder,{file} signal=published as typed,{tiny}", ("protocol=[linear]", "steps=1")
    windows = {}
    for given in ("preset=fmb", "signal=fmb", "preset=usual", "preset=fmb signal=own"):
        plan = planned(small_ptbxl, tmp_path, models, *words, *given.split())
        windows[given] = [run.model.contract.window_samples for run in plan.runs]
        said = [note for note in plan.notes if "input" in note]
        assert bool(said) == (given in ("preset=fmb", "signal=fmb"))
        if given == "preset=fmb":
            assert said == ["founder: its input is fmb, by preset=fmb; signal=own brings back its own",
                            f"{plan.runs[2].model.name}: its own input, as it has none called fmb"]  # fmt: skip
    fmb, own = [1250, 5000, 250], [5000, 5000, 250]
    assert list(windows.values()) == [fmb, fmb, own, own]
    with pytest.raises(UsageError, match=r"unknown input 'signal=fbm'; did you mean 'fmb'"):
        planned(small_ptbxl, tmp_path, models, *words, "signal=fbm")


def test_the_reference_comparisons_protocol_reads_windows_that_do_not_overlap(
    small_ptbxl: Path, tiny: Path, tmp_path: Path
):
    words = ("preset=fmb", "protocol=[linear,attentive,finetune]")
    linear, attentive, finetune = planned(small_ptbxl, tmp_path, tiny, *words).runs
    for run in (linear, attentive, finetune):
        dataset, training = run.sections["dataset"], run.sections["optimization"]
        assert dataset["window_stride"] == dataset["max_sample_size"] == 250 and dataset["window_rule"] == "mean"
        assert dataset["crop_starts"] == "any" and training["max_epoch"] == 100 and training["lr"] == [1e-3]
        assert run.sections["optimizer"] == {"_name": "adamw", "weight_decay": 1e-3}
    assert linear.sections["model"]["freeze_encoder"] and attentive.sections["model"]["pool"] == "attentive"
    head = {key: value for key, value in attentive.sections["model"].items() if key.startswith(("pool_", "head_"))}
    assert head == {"pool_heads": 16, "pool_query_proj": True, "pool_query_std": None, "pool_out_proj": False,
                    "pool_bias": False, "pool_registers": None, "head_bias": False, "head_init": "usual"}  # fmt: skip
    assert finetune.sections["model"]["layer_decay"] == 0.1 and finetune.sections["model"]["layer_groups"] == []
