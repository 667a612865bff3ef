"""docs/config_reference.md says what the dataclasses say."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_the_config_reference_is_up_to_date():
    done = subprocess.run([sys.executable, "tools/config_reference.py", "--check"], cwd=ROOT)
    assert done.returncode == 0, "options changed: run `python tools/config_reference.py` and commit the page"
