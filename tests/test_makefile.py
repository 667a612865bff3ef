"""make's targets for one's own data and for Jupyter, and the Dockerfile's lines, as they are typed."""

import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.request
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from warm_commands import python

ROOT = Path(__file__).parents[1]
TINY = (
    "model.hidden_size=32 model.num_hidden_layers=1 model.num_attention_heads=2 model.intermediate_size=32 "
    "model.conv_dim=[16,16,16,16,16] model.num_conv_pos_embeddings=16 model.num_conv_pos_embedding_groups=2"
)


@pytest.fixture
def make(commands):
    """`make WORDS` in a folder, with this Python's commands instead of an installation."""
    settings = [f"BIN={commands}", "CORE=", "HF=", "NOTEBOOK="]

    def run(folder, *words, **environment):
        return subprocess.run(
            ["make", "-f", str(ROOT / "Makefile"), *words, *settings],
            cwd=folder,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
        )

    return run


def type_labels(folder):
    for path in (folder / "metadata").glob("*_dataset.csv"):
        table = pd.read_csv(path)
        if "normal" in table:
            values = np.arange(len(table)) % 2
            table.assign(normal=values, abnormal=1 - values).drop(columns="arrhythmia").to_csv(path, index=False)


def test_clean_removes_caches_and_build_folders_and_nothing_that_the_user_made(make, tmp_path):
    made = ["runs/a/checkpoint_last.pt", "outputs/b/x.pt", "multirun/c", "examples/notebooks/work/d", "data/raw/e.npy"]
    gone = ["build/x", "dist/y", "ecg_signals.egg-info/z", ".pytest_cache/w", "ecg_signals/__pycache__/v.pyc"]
    for name in [*made, *gone, *(f"{folder}/kept" for folder in ("configs", "tests", "tools"))]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    done = make(tmp_path, "clean")
    assert done.returncode == 0, done.stderr
    assert all((tmp_path / name).exists() for name in made)
    assert not any((tmp_path / name).parent.exists() for name in gone)


def test_a_folder_may_be_called_anything(make, tmp_path):
    data = tmp_path / "jürgen's (ekg)=~ {1}, [2] \"3\" : 50% & $HOME; `4`"
    (data / "raw").mkdir(parents=True)
    for number in range(8):
        np.save(data / "raw" / f"{number}.npy", np.random.default_rng(number).normal(size=(12, 2500)))
    done = make(tmp_path, "prepare-data", f"DATA={data}", "RATE=500")
    assert done.returncode == 0, done.stderr
    type_labels(data)
    done = make(tmp_path, "train-from-scratch", f"DATA={data}", "RUN=a=1,b", f"ARGS=optimization.max_epoch=1 {TINY}")
    assert done.returncode == 0, done.stderr
    best = data / "checkpoints" / "a=1,b" / "checkpoint_best.pt"
    done = make(tmp_path, "train", f"DATA={data}", f"MODEL={best}", "ARGS=optimization.max_epoch=1 --cfg job")
    assert done.returncode == 0 and "model_path: " in done.stdout, done.stderr


def test_files_then_labels_then_training_as_the_readme_says(make, tmp_path):
    data = tmp_path / "training_data"
    done = make(tmp_path, "prepare-data")
    assert done.returncode == 2 and "training_data/raw holds no file" in done.stderr
    for number in range(8):
        np.save(data / "raw" / f"{number}.npy", np.random.default_rng(number).normal(size=(12, 1250)))
    done = make(tmp_path, "prepare-data", "RATE=250")
    assert done.returncode == 0 and np.load(data / "processed" / "0.npy").shape == (12, 2500), done.stderr
    done = make(tmp_path, "train-from-scratch")
    assert done.returncode == 2 and "6 of 6 records have no label yet" in done.stderr and "Traceback" not in done.stderr
    type_labels(data)
    done = make(tmp_path, "train-from-scratch", f"ARGS=optimization.max_epoch=1 {TINY}")
    assert done.returncode == 0 and "auroc" in done.stdout, done.stderr
    best = "training_data/checkpoints/from_scratch/checkpoint_best.pt"
    done = make(tmp_path, "train", f"MODEL={best}", "ARGS=optimization.max_epoch=1")
    assert done.returncode == 0, done.stderr
    best = data / "checkpoints" / "simple_training" / "checkpoint_best.pt"
    words = ["-m", "ecg_signals.cli.predict", data / "raw" / "1.npy", "--model", best, "--sample-rate", "250"]
    words += ["--force"]  # an answer to noise
    said = subprocess.run([python(), *map(str, words)], capture_output=True, text=True)
    assert said.returncode == 0 and {"normal", "abnormal"} <= set(said.stdout.split()), said.stderr


def test_without_a_pretrained_model_training_says_what_to_do(make, tmp_path):
    raw = tmp_path / "training_data" / "raw"
    raw.mkdir(parents=True)
    for number in range(4):
        np.save(raw / f"{number}.npy", np.random.default_rng(number).normal(size=(12, 2500)))
    make(tmp_path, "prepare-data", "RATE=500")
    type_labels(raw.parent)
    done = make(tmp_path, "train", HF_HUB_OFFLINE="1")
    assert done.returncode == 2 and "make train MODEL=PATH" in done.stderr and "make train-from-scratch" in done.stderr


def test_ptbxl_setup_prepares_a_download_or_says_what_to_download(make, tmp_path):
    done = make(tmp_path, "ptbxl-setup")
    assert done.returncode == 2 and "https://physionet.org/content/ptb-xl/1.0.3/" in done.stderr
    assert "into data/ptbxl" in done.stderr
    shutil.copytree(ROOT / "examples" / "sample", tmp_path / "download" / "ptb-xl")
    table = tmp_path / "download" / "ptb-xl" / "ptbxl_database.csv"
    rows = pd.read_csv(table)
    pd.concat([rows[rows["strat_fold"] == fold][:1] for fold in (1, 9, 10)]).to_csv(table, index=False)
    done = make(tmp_path, "ptbxl-setup", "PTBXL=download")
    assert done.returncode == 0 and "3 records found, 3 read" in done.stdout, done.stderr
    assert len(list((tmp_path / "data" / "ptbxl" / "processed").glob("HR*.hea.npy"))) == 3


def test_help_names_every_target(make):
    text = (ROOT / "Makefile").read_text()
    targets = re.search(r"^\.PHONY: (.*?[^\\])$", text, re.M | re.S)[1].replace("\\\n", " ").split()
    help_page = make(ROOT, "help").stdout
    for target in set(targets) - {"docker"}:
        assert re.search(rf"^{target} +\S", help_page, re.M), target


def test_without_docker_the_jupyter_image_says_what_to_do_instead(tmp_path):
    (tmp_path / "bin").mkdir()
    for name in ("bash", "cat", "cksum", "cut", "echo"):
        (tmp_path / "bin" / name).symlink_to(shutil.which(name))
    words = [shutil.which("make"), "-f", str(ROOT / "Makefile"), "run-jupyter", "PYTHON=python", "SHELL=/bin/bash"]
    done = subprocess.run(words, cwd=tmp_path, env={"PATH": str(tmp_path / "bin")}, capture_output=True, text=True)
    assert done.returncode == 2 and "there is no docker" in done.stdout and "make jupyter" in done.stdout


# --------------------------------------------------------------------------------------------------------- Dockerfile


def dockerfile(instruction):
    text = (ROOT / "Dockerfile").read_text().replace("\\\n", " ")
    return re.findall(rf"^{instruction} (.*)$", text, re.M)


def test_the_dockerfile_copies_what_exists_and_serves_the_notebooks():
    for line in dockerfile("COPY"):
        for source in line.split()[:-1]:
            assert (ROOT / source).exists(), source
    command = dockerfile("CMD")[0]
    assert "--notebook-dir=examples/notebooks" in command and (ROOT / "examples" / "notebooks").is_dir()
    assert f'--port={dockerfile("EXPOSE")[0]}"' in command


@pytest.fixture
def image(tmp_path):
    """What FROM and COPY give: a Python of its own, which sees the packages of this one, and the copied files."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    for line in dockerfile("COPY"):
        *sources, target = line.split()
        for source in sources:
            path = ROOT / source
            if path.is_dir():
                shutil.copytree(path, workspace / target, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(path, workspace / target / source)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    packages = next((tmp_path / "venv" / "lib").glob("python*")) / "site-packages"
    here = [path for path in sys.path if path.endswith(("site-packages", "dist-packages"))]
    here = here or [sysconfig.get_paths()["purelib"]]
    (packages / "base.pth").write_text("".join(f"import site; site.addsitedir({path!r})\n" for path in here))
    environment = {**os.environ, "PATH": f"{tmp_path / 'venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("PYTHONPATH", None)
    return workspace, environment


def answers(address):
    try:
        with urllib.request.urlopen(address, timeout=2) as response:
            return response.status == 200
    except OSError:
        return False


@pytest.mark.slow
def test_the_lines_of_the_dockerfile_install_and_start_jupyter(image):
    workspace, environment = image
    for line in dockerfile("RUN"):
        done = subprocess.run(["bash", "-c", line], cwd=workspace, env=environment, capture_output=True, text=True)
        if "NewConnectionError" in done.stderr or "Name or service not known" in done.stderr:
            pytest.skip("pip reaches no package index")
        assert done.returncode == 0, f"{line}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
    where = "import ecg_signals; print(ecg_signals.__file__)"
    found = subprocess.run(["python", "-c", where], cwd="/", env=environment, capture_output=True, text=True).stdout
    assert found.startswith(str(workspace))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [
        word.replace("0.0.0.0", "127.0.0.1").replace("8888", str(port))
        for word in shlex.split(dockerfile("CMD")[0].strip("[]").replace(",", " "))
    ]
    with (
        open(workspace / "log", "w") as log,
        subprocess.Popen(words, cwd=workspace, env=environment, stderr=log) as server,
    ):
        try:
            for _ in range(120):
                if answers(f"http://127.0.0.1:{port}/api") or server.poll() is not None:
                    break
                time.sleep(0.5)
            assert answers(f"http://127.0.0.1:{port}/api"), (workspace / "log").read_text()
        finally:
            server.terminate()
