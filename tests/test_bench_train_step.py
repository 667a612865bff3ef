"""The benchmark of the training step runs, and finds ours equal to the plain step."""

import subprocess
from pathlib import Path

from warm_commands import python

SCRIPT = Path(__file__).parents[1] / "tools" / "bench" / "train_step.py"


def test_the_benchmark_finds_losses_and_gradients_equal_and_prints_the_ratios():
    small = ["--layers", "2", "--width", "32", "--pairs", "2", "--repeat", "1", "--samples", "800", "--threads", "1"]
    done = subprocess.run(
        [python(), SCRIPT, *small, "--device", "cpu", "--breakdown"], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    for task in ("pretraining", "fine-tuning"):
        assert f"{task}: loss" in done.stdout and f"{task}, bf16, 1 thread:" in done.stdout
    assert done.stdout.count("losses and gradients differ by at most") == 2
    assert done.stdout.count("plain / ours:") == 4 and "matrix products" in done.stdout
