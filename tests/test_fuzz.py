"""A seeded share of tools/fuzz.py: damaged files get a result or one error that names them."""

import subprocess
from pathlib import Path

import pytest
from warm_commands import python

SCRIPT = Path(__file__).parents[1] / "tools" / "fuzz.py"


@pytest.mark.parametrize("inputs", [92, pytest.param(460, marks=pytest.mark.slow)])
def test_damaged_files_get_a_result_or_an_error_that_names_them(inputs: int):
    """4 (20) files of each kind, 500 MB each; bounds of time that only a runaway passes, as on a busy machine."""
    argv = [python(), str(SCRIPT), "--inputs", str(inputs), "--seed", "5000", "--seconds", "8", "--patience", "120"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert done.stdout.rstrip().endswith("0 failures")
