"""Every shell and Python block of README.md, docs and examples runs, in order, as it stands.

An HTML comment before a block says otherwise, visibly to whoever reads the file's source:

    <!-- not run: needs MIMIC-IV-ECG -->        the block is only checked for syntax
    <!-- tests add: optimization.max_update=2 -->   appended to every ecg-train of the block, to shorten it
"""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FILES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [
        *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
        *(ROOT / "docs").glob("*.md"),
        *(ROOT / "examples").rglob("README.md"),
    ]
)
BLOCK = re.compile(r"(?:^<!--(?P<comment>.*?)-->\n+)?^```(?P<language>bash|python)\n(?P<code>.*?)^```$", re.M | re.S)


@dataclass
class Block:
    language: str
    code: str
    line: int
    not_run: bool = False
    added: str = ""


def blocks(file: str) -> list[Block]:
    text = (ROOT / file).read_text(encoding="utf-8")
    found = []
    for match in BLOCK.finditer(text):
        comment = (match["comment"] or "").strip()
        kind, _, rest = comment.partition(":")
        assert kind in ("", "not run", "tests add"), f"{file}: unknown mark <!-- {comment} -->"
        assert not kind or rest.strip(), f"{file}: <!-- {comment} --> gives no reason"
        line = text.count("\n", 0, match.start("code"))
        added = rest.strip() if kind == "tests add" else ""
        found.append(Block(match["language"], match["code"], line, kind == "not run", added))
    return found


def script(block: Block) -> str:
    """The block as bash; options that tests add come last, where they win."""
    wrapper = f'ecg-train() {{ command ecg-train "$@" {block.added}; }}\n' if block.added else ""
    return f"set -euo pipefail\n{wrapper}{block.code}"


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory, commands: Path) -> Path:
    """The repository's sample, preprocessed once for all files; they find it done in runs/sample."""
    target = tmp_path_factory.mktemp("runs") / "sample"
    words = [commands / "ecg-preprocess", "ptbxl", ROOT / "examples" / "sample", target]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return target


@pytest.mark.parametrize("file", FILES)
def test_every_block_is_correct_syntax(file: str):
    for block in blocks(file):
        if block.language == "python":
            compile(block.code, f"{file}:{block.line}", "exec")
        else:
            done = subprocess.run(["bash", "-n"], input=block.code, capture_output=True, text=True)
            assert done.returncode == 0, f"{file}:{block.line}\n{done.stderr}"


@pytest.mark.parametrize("file", [file for file in FILES if not all(block.not_run for block in blocks(file))])
def test_every_block_runs(file: str, sample: Path, commands: Path, tmp_path: Path):
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "runs").mkdir()
    shutil.copytree(sample, tmp_path / "runs" / "sample", copy_function=os.link)
    binaries = Path(sys.executable).parent
    search = os.pathsep.join([str(commands), str(binaries), os.environ["PATH"]])
    environment = {**os.environ, "PATH": search, "OMP_NUM_THREADS": "1"}
    for block in blocks(file):
        if block.not_run:
            continue
        words = [commands / "python", "-c", block.code] if block.language == "python" else ["bash", "-c", script(block)]
        done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, input="")
        said = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        assert done.returncode == 0, f"{file}:{block.line} ended with {done.returncode}\n{said}"


def test_every_recipe_is_in_the_readme():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in (ROOT / "configs").rglob("*.yaml"):
        name = path.relative_to(ROOT / "configs").with_suffix("").as_posix()
        family = name.split("/")[0]
        assert f"`{name}`" in text or family in ("config", "hubert", "jepa", "mae", "benchmark"), name


@pytest.mark.parametrize("file", FILES)
def test_every_relative_link_leads_somewhere(file: str):
    text = (ROOT / file).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)[^)]*\)", text):
        assert ((ROOT / file).parent / target).exists(), f"{file}: {target}"
