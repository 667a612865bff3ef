"""What the wheel holds, and that it works where it is installed, without the repository."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def run(*words: str | Path, **settings) -> str:
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True, **settings)
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of the source, so that a stray build folder changes nothing."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("ecg_signals", "configs", "examples/sample"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--no-deps", "--no-build-isolation")
    run(*pip, "--no-index", "-w", out, source)
    (found,) = out.glob("*.whl")
    return found


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which the unpacked wheel comes before the checkout."""
    target = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", target, wheel)
    return {**os.environ, "PYTHONPATH": str(target), "WHERE": str(target)}


def test_the_wheel_holds_code_recipes_and_the_sample_and_nothing_else(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    code = [name for name in names if not name.startswith("ecg_signals-")]
    assert {name.split("/")[0] for name in code} == {"ecg_signals"}
    recipes = {path.relative_to(ROOT / "configs").as_posix() for path in (ROOT / "configs").rglob("*.yaml")}
    assert {f"ecg_signals/configs/{name}" for name in recipes} <= set(names)
    assert {"ecg_signals/sample/ptbxl_database.csv", "ecg_signals/py.typed"} <= set(names)
    assert sum(name.startswith("ecg_signals/sample/records500") and name.endswith(".dat") for name in names) == 92
    tables = {f"ecg_signals/evaluation/benchmarks/merl_splits.{suffix}" for suffix in ("npz", "txt")}
    labeler = {path.relative_to(ROOT).as_posix() for path in (ROOT / "ecg_signals/labeler").rglob("*.[jct]*[nvt]")}
    assert any(name.endswith("LICENSE") for name in names) and tables <= set(names)
    assert len(labeler) == 12 and labeler <= set(names)  # .json and .csv files, and the notice


def test_the_wheel_is_for_any_machine(wheel: Path):
    assert wheel.name.endswith("-py3-none-any.whl")


def test_an_installed_wheel_finds_its_recipes_and_its_sample(installed: dict[str, str], tmp_path: Path):
    code = (
        "import ecg_signals, ecg_signals.sample; from importlib.resources import files;"
        "from ecg_signals.signal.meanings import meaning;"
        "print(ecg_signals.__file__); print(files('ecg_signals.sample').joinpath('ptbxl_database.csv').is_file());"
        "print(meaning('AFIB').snomed_ct)"
    )
    where, sample, code_of_fibrillation = run(sys.executable, "-c", code, env=installed, cwd=tmp_path).split()
    assert where.startswith(installed["WHERE"]) and sample == "True" and code_of_fibrillation == "164889003"
    script = Path(installed["WHERE"]) / "bin" / "ecg-train"
    words = ("--cfg", "job", "--config-name", "finetune/diagnosis")
    composed = run(sys.executable, script, *words, env=installed, cwd=tmp_path)
    assert "ecg_transformer_classifier" in composed


def test_every_console_script_points_at_a_function():
    for target in PROJECT["scripts"].values():
        module, _, function = target.partition(":")
        source = (ROOT / f"{module.replace('.', '/')}.py").read_text()
        assert f"def {function}(" in source, target


def test_an_extra_s_packages_are_pinned_by_the_constraints():
    def name(line: str) -> str:
        return re.split("[=>[]", line)[0].lower().replace("_", "-")

    pinned = {name(line) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    for wanted in [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]:
        assert {name(line) for line in wanted} <= pinned | {"ecg-signals"}


def test_every_extra_has_code_behind_it_and_stands_in_the_readme():
    extras = PROJECT["optional-dependencies"]
    sources = [*(ROOT / "ecg_signals").rglob("*.py"), *(ROOT / "docs").glob("*.md")]
    text = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    for extra in set(extras) - {"all", "dev"}:
        for wanted in extras[extra]:
            name = re.split("[>=]", wanted)[0].removeprefix("hydra-").removesuffix("-launcher")
            assert re.search(rf"\b{name}\b", text), f"{extra}: {name}"
    listed = ",".join(name for name in extras if name not in ("all", "dev"))
    assert extras["all"] == [f"ecg-signals[{listed}]"]
    assert f"extras: {' '.join(name for name in extras if name != 'all')}, or all" in (ROOT / "README.md").read_text()


def test_the_makefile_pins_the_torch_of_the_constraints():
    (pinned,) = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line.startswith("torch==")]
    assert f"echo {pinned.removeprefix('torch==')}" in (ROOT / "Makefile").read_text()


def test_make_names_a_python_that_does_not_fit(tmp_path: Path):
    words = ["make", "install", "PYTHON=/bin/false", f"VENV={tmp_path}/venv"]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "error: /bin/false is not Python 3.11, 3.12 or 3.13" in done.stdout
    assert not (tmp_path / "venv").exists()


def test_make_help_lists_what_the_readme_names():
    listed = {line.split()[0] for line in run("make", "help", cwd=ROOT).splitlines()}
    named = set(re.findall(r"`?make ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert named and named <= listed
