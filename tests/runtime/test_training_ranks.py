import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from warm_commands import python


def settings(recipe, folder, **changes):
    flat = {f"{section}.{key}": value for section, keys in recipe.items() for key, value in keys.items()}
    flat |= {"checkpoint.save_dir": "checkpoints", "hydra.run.dir": str(folder), **changes}
    return [
        f"{key}={json.dumps(value)}" if not isinstance(value, str) else f"{key}='{value}'"
        for key, value in flat.items()
    ]


def command(ranks, arguments, program):
    torchrun = ["torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks), "-m"] if ranks > 1 else []
    return [program, "-m", *torchrun, "ecg_signals.cli.train", *arguments]


def environment():
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def train(ranks, recipe, folder, **changes):
    folder.mkdir(exist_ok=True)
    result = subprocess.run(
        command(ranks, settings(recipe, folder, **changes), python()),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-3000:]
    lines = (folder / "checkpoints" / "metrics.jsonl").read_text().splitlines()
    losses = [row["loss"] for row in map(json.loads, lines) if row["split"] == "train_inner"]
    return losses, torch.load(folder / "checkpoints" / "checkpoint_last.pt", weights_only=True)


@pytest.mark.parametrize("name", ["pretraining", "classification"])
def test_two_ranks_equal_one_with_twice_the_update_freq(name, request, tmp_path):
    recipe = request.getfixturevalue(name)
    options = {"optimization.max_update": 10, "dataset.disable_validation": True}
    one, alone = train(1, recipe, tmp_path / "one", **options, **{"optimization.update_freq": [2]})
    options |= {"optimization.update_freq": [1], "optimization.run_ahead": True}
    two, together = train(2, recipe, tmp_path / "two", **options)
    assert len(one) == 10
    assert two == pytest.approx(one, rel=1e-6)
    for key, value in alone["model"].items():
        torch.testing.assert_close(together["model"][key], value, rtol=1e-6, atol=1e-7)
    assert len(list((tmp_path / "two").glob(".hydra"))) == 1


def test_a_run_of_two_ranks_goes_on_with_one(pretraining, tmp_path):
    options = {"dataset.disable_validation": True}
    one, alone = train(1, pretraining, tmp_path / "one", **options, **{"optimization.update_freq": [2]})
    train(
        2, pretraining, tmp_path / "two", **options, **{"optimization.max_update": 3, "optimization.update_freq": [1]}
    )
    resumed, after = train(1, pretraining, tmp_path / "two", **options, **{"optimization.update_freq": [2]})
    assert resumed == pytest.approx(one, rel=1e-6)
    for key, value in alone["model"].items():
        torch.testing.assert_close(after["model"][key], value, rtol=1e-6, atol=1e-7)


def test_validation_scores_of_two_ranks_are_those_of_one(classification, tmp_path):
    changes = {"optimization.max_update": 4, "optimization.lr": [0.0], "dataset.batch_size_valid": 3}
    found = []
    for ranks in (1, 2):
        train(ranks, classification, tmp_path / str(ranks), **changes)
        lines = (tmp_path / str(ranks) / "checkpoints" / "metrics.jsonl").read_text().splitlines()
        found.append(next(row for row in map(json.loads, lines) if row["split"] == "valid"))
    for key in ("loss", "auroc", "auprc", "accuracy"):
        assert found[1][key] == pytest.approx(found[0][key], rel=1e-6), key


def test_what_two_ranks_extract_is_what_one_does_although_one_of_them_has_no_batch(classification, tmp_path):
    train(1, classification, tmp_path / "run", **{"optimization.max_update": 1})
    recipe = {**classification, "dataset": {**classification["dataset"], "batch_size": 8}}
    recipe.pop("checkpoint")
    found = []
    for ranks in (1, 2):
        out = tmp_path / f"of{ranks}"
        asked = {"path": str(tmp_path / "run/checkpoints/checkpoint_last.pt"), "extract": ["output", "encoder_out"]}
        arguments = settings({**recipe, "common_eval": asked}, tmp_path, **{"common_eval.results_path": str(out)})
        arguments = [one for one in arguments if not one.startswith("checkpoint.")]
        line = [word.replace("cli.train", "cli.validate") for word in command(ranks, arguments, python())]
        done = subprocess.run(line, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr[-3000:]
        found.append({path.name: np.load(path) for path in sorted(out.glob("*.npy"))})
    assert list(found[0]) == list(found[1]) == ["encoder_out_valid.npy", "outputs_valid.npy", "targets_valid.npy"]
    for name, value in found[0].items():
        np.testing.assert_allclose(found[1][name], value, atol=1e-5)


def processes_of(parent):
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        if int(fields[1]) == parent:
            yield int(path.parent.name)


def processes_with(text):
    """Those that were started with it in their arguments."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if text in path.read_text():
                yield int(path.parent.name)
        except OSError:
            continue


def started_updates(folder):
    path = folder / "checkpoints" / "metrics.jsonl"
    return path.exists() and '"num_updates": 2' in path.read_text()


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds the processes of a rank under /proc")
@pytest.mark.parametrize("launcher", ["torchrun", "spawn"])
def test_a_rank_that_dies_is_reported_by_name(launcher, pretraining, tmp_path):
    endless = {"optimization.max_update": 0, "optimization.max_epoch": 0, "dataset.disable_validation": True}
    if launcher == "spawn":
        endless |= {
            "distributed_training.distributed_world_size": 2,
            "distributed_training.distributed_backend": "gloo",
        }
    arguments = settings(pretraining, tmp_path, **endless)
    running = subprocess.Popen(
        command(2, arguments, python()) if launcher == "torchrun" else command(1, arguments, sys.executable),
        cwd=tmp_path,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + 60
        while not started_updates(tmp_path) and time.monotonic() < deadline and running.poll() is None:
            time.sleep(0.1)
        ranks = processes_with(str(tmp_path)) if launcher == "torchrun" else processes_of(running.pid)
        os.kill(max(ranks), signal.SIGKILL)
        output, _ = running.communicate(timeout=60)
    finally:
        if running.poll() is None:
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 1
    assert "rank" in output and ("-9" in output or "SIGKILL" in output)  # torchrun says the one, we the other
