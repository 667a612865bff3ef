"""A seeded share of tools/fuzz.py: damaged files get a result or one error that names them."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "tools" / "fuzz.py"


def test_damaged_files_get_a_result_or_an_error_that_names_them():
    """150 files, 500 MB each; bounds of time that only a runaway passes, as CPU time too doubles on a busy machine."""
    argv = [sys.executable, str(SCRIPT), "--inputs", "150", "--seed", "5000", "--seconds", "8", "--patience", "120"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert done.stdout.rstrip().endswith("0 failures")
