import subprocess
from pathlib import Path

from warm_commands import python


def test_killed_runs_end_as_the_undisturbed_one():
    script = Path(__file__).parents[1] / "tools" / "crash_test.py"
    result = subprocess.run([python(), str(script), "--runs", "2"], capture_output=True, text=True, timeout=400)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "2 passed, 0 failed" in result.stdout
