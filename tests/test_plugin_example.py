"""The example plugin trains through `common.user_dir` and, installed, through its entry point."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from warm_commands import warm

ROOT = Path(__file__).parents[1]
PLUGIN = ROOT / "examples" / "plugin"


def command(name: str, *words: str, cwd: Path, **environment: str) -> str:
    done = subprocess.run(
        [warm() / name, *words], cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve noisy segments of six records with two labels, as ecg-preprocess lays them out."""
    from scipy.io import savemat

    folder, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(0)
    rows = []
    for record in range(6):
        for part in range(2):
            name = f"r{record}_{part}.mat"
            signal = rng.standard_normal((12, 1500)) * (1 + record % 2)
            savemat(folder / name, {"feats": signal, "curr_sample_rate": 500, "idx": record, "patient_id": record})
            rows.append(f"{name}\t1500\n")
    for split, part in (("train", rows[:8]), ("valid", rows[8:])):
        (folder / f"{split}.tsv").write_text(f"{folder}\n{''.join(part)}")
    np.save(folder / "y.npy", np.array([[record % 2, record < 5] for record in range(6)], dtype=float))
    return folder


def settings(labelled: Path, run: Path) -> list[str]:
    return [
        "--config-dir", str(PLUGIN), "--config-name", "heartlab", f"hydra.run.dir={run}", f"task.data={labelled}",
        f"task.label_file={labelled}/y.npy", "model.num_labels=2", "optimization.max_epoch=2", "dataset.batch_size=4",
        "common.log_interval=1",
    ]  # fmt: skip


def check(run: Path) -> None:
    rows = [json.loads(line) for line in (run / "checkpoints" / "metrics.jsonl").read_text().splitlines()]
    assert [row["num_updates"] for row in rows if row["split"] == "train_inner"] == [1, 2, 3, 4]
    (last,) = [row for row in rows if row["split"] == "valid" and row["num_updates"] == 4]
    assert last["records"] == 2  # the task averaged two segments of each


def test_the_plugin_trains_through_user_dir(labelled: Path, tmp_path: Path):
    command("ecg-train", *settings(labelled, tmp_path / "run"), f"common.user_dir={PLUGIN}/heartlab", cwd=tmp_path)
    check(tmp_path / "run")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder for PYTHONPATH into which pip has installed the plugin."""
    target = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--no-build-isolation", "--target")
    done = subprocess.run([*pip, target, PLUGIN], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return str(target)


def test_the_installed_plugin_trains_through_its_entry_point_and_its_checkpoint_loads_and_converts(
    labelled: Path, installed: str, tmp_path: Path
):
    command("ecg-train", *settings(labelled, tmp_path / "run"), cwd=tmp_path, PYTHONPATH=installed)
    check(tmp_path / "run")
    words = ("run/checkpoints/checkpoint_last.pt", "folder", "--to", "hf")
    command("ecg-convert", *words, cwd=tmp_path, PYTHONPATH=installed)
    code = (
        "import ecg_signals, torch\n"
        "x = torch.randn(3, 12, 1250)\n"
        "a, b = (ecg_signals.load_model(p)(x)['logits'] for p in ('run/checkpoints/checkpoint_last.pt', 'folder'))\n"
        "print(*a.shape, torch.equal(a, b))"
    )
    assert command("python", "-c", code, cwd=tmp_path, PYTHONPATH=installed).split() == ["3", "2", "True"]


def test_the_installed_plugin_is_listed(installed: str, tmp_path: Path):
    assert "excerpt_samples" in command("ecg-list", "dataset", "excerpt", cwd=tmp_path, PYTHONPATH=installed)
