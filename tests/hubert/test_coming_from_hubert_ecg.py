"""Every twin that the page of HuBERT-ECG names exists, with the options that it is typed with."""

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from warm_commands import warm

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "examples" / "hubert_ecg" / "README.md").read_text(encoding="utf-8")
TABLE = PAGE.partition("## Coming from HuBERT-ECG")[2].partition("\n## ")[0]
ROWS = [line.strip("|").split(" | ") for line in TABLE.split("\n") if line.startswith("|") and "`" in line]
TARGETS = (
    "help", "setup", "setup-dev", "ptbxl-setup", "prepare-data", "train", "train-from-scratch", "jupyter",
    "build-jupyter", "run-jupyter", "test", "clean",
)  # fmt: skip


def code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


COMMANDS = sorted({text for _, here in ROWS for text in code(here) if text.startswith(("make ", "ecg-"))})


@cache
def help_of(*words: str) -> str:
    command = warm() / words[0]
    done = subprocess.run([command, *words[1:], "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_make_target_of_the_published_project_has_a_row_and_a_target_of_its_name():
    named = {target for there, _ in ROWS for text in code(there) for target in re.findall(r"^make ([\w-]+)", text)}
    assert named == set(TARGETS)
    listed = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True).stdout
    assert named <= {line.split()[0] for line in listed.splitlines()}


@pytest.mark.parametrize("command", [text for text in COMMANDS if text.startswith("make ")])
def test_a_target_can_be_made(command, tmp_path):
    settings = [f"BIN={Path(sys.executable).parent}", "CORE=", "ALL=", "HF=", "NOTEBOOK="]
    words = ["make", "-n", "-f", str(ROOT / "Makefile"), *command.split()[1:], *settings]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", [text for text in COMMANDS if text.startswith("ecg-")])
def test_a_command_takes_what_it_is_typed_with(command):
    program, *words = shlex.split(command)
    if program == "ecg-train":
        reference = (ROOT / "docs" / "config_reference.md").read_text(encoding="utf-8")
        for word in words:
            name, _, value = word.partition("=")
            key = name.rpartition(".")[2]
            assert not value or f"\n| {key} |" in reference, word
        recipe = words[words.index("--config-name") + 1] if words else "hubert/finetune"
        assert (ROOT / "configs" / f"{recipe}.yaml").is_file()
        return
    subcommand = words[:1] if program == "ecg-cluster" else []
    said = help_of(program, *subcommand)
    for word in words:
        assert not word.startswith("--") or re.search(rf"{word}\b", said), word
