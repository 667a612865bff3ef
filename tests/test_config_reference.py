"""docs/config_reference.md says what the dataclasses say."""

import subprocess
from pathlib import Path

from warm_commands import python

ROOT = Path(__file__).parents[1]


def test_the_config_reference_is_up_to_date():
    done = subprocess.run([python(), "tools/config_reference.py", "--check"], cwd=ROOT)
    assert done.returncode == 0, "options changed: run `python tools/config_reference.py` and commit the page"
