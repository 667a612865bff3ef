"""No file makes loading run, write, hang or take all memory: `malicious.py` holds them, one process opens them all."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from malicious import MECHANISMS
from strangers import MEMORY, SECONDS


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("malicious")
    script = Path(__file__).with_name("malicious.py")
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(
        [sys.executable, script, folder], capture_output=True, text=True, env=environment, timeout=600
    )
    found = {item["name"]: item for item in map(json.loads, done.stdout.splitlines())}
    last = list(found)[-1:] or ["none"]
    assert done.returncode == 0, f"the process ended with {done.returncode} after {last}: {done.stderr[-2000:]}"
    return found


@pytest.mark.parametrize("name", MECHANISMS)
def test_a_malicious_file_is_one_error_and_changes_nothing(results, name):
    result = results[name]
    assert result["outcome"] == "refused", result["message"]
    assert not result["canary"] and not result["written"] and not result["changed"]
    assert result["seconds"] < SECONDS and result["memory"] < MEMORY + result["size"]


@pytest.mark.parametrize("name", MECHANISMS)
def test_the_error_names_the_file_in_one_short_printable_line(results, name):
    message = results[name]["message"]
    stem = str(Path(results[name]["path"]).with_suffix(""))
    assert stem in message and message.isprintable() and len(message) < 2000
