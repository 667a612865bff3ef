import subprocess
from pathlib import Path

import pytest
from warm_commands import python


@pytest.mark.parametrize(
    "saves, runs", [("files", 2), pytest.param("async", 2, marks=pytest.mark.slow), ("sharded", 1)]
)
def test_killed_runs_end_as_the_undisturbed_one(saves, runs):
    script = Path(__file__).parents[1] / "tools" / "crash_test.py"
    command = [python(), str(script), "--saves", saves, "--runs", str(runs)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=400)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{runs} passed, 0 failed" in result.stdout
