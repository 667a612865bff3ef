"""Kill training at random instants, resume it, and demand the uninterrupted run's losses and weights, bit for bit.

    python tools/crash_test.py --runs 50
    python tools/crash_test.py --runs 30 --saves sharded

Every run trains a small W2V+CMSC+RLM model on the repository's sample, is killed at a random instant (at start-up,
inside an update, while a checkpoint is being written), and is started again until it ends. Half of the runs load
with 0 worker processes, half with 2; the reference is one run that nobody disturbed. `--saves async` writes in the
background, behind every update; `--saves sharded` trains two ranks with sharded weights, which write folders, half of
the runs in the background: all of their processes are killed at once.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from ecg_signals.checkpoint.read import read_checkpoint

SETTINGS = (
    "dataset.batch_size=4 dataset.valid_subset=valid optimization.update_freq=[2] "
    "optimization.lr=[1e-3] checkpoint.keep_interval_updates=2 "
    "common.log_interval=1 common.log_format=none model.encoder_layers=1 model.encoder_embed_dim=32 "
    "model.encoder_ffn_embed_dim=64 model.encoder_attention_heads=4 model.conv_feature_layers='[(16,2,2)]*4' "
    "model.final_dim=16 model.latent_vars=16 model.conv_pos=16 model.conv_pos_groups=4 model.num_negatives=10 "
    "hydra.run.dir=. hydra.output_subdir=null"
)

SELDOM = "optimization.max_update=24 checkpoint.save_interval_updates=2"
OFTEN = "optimization.max_update=12 checkpoint.save_interval_updates=1 dataset.disable_validation=true"
ASYNC = "checkpoint.write_checkpoints_asynchronously=true"
RANKS = (
    "common.cpu=true distributed_training.distributed_world_size=2 distributed_training.distributed_backend=gloo "
    "distributed_training.ddp_backend=fully_sharded distributed_training.use_sharded_state=true"
)
SAVES = {  # the settings of a run, by whether its number is even
    "files": (SELDOM, SELDOM),
    "async": (f"{OFTEN} {ASYNC}", f"{OFTEN} {ASYNC}"),
    "sharded": (f"{OFTEN} {RANKS}", f"{OFTEN} {RANKS} {ASYNC}"),
}


def prepare(folder: Path) -> Path:
    """The sample as CMSC pairs; returns the manifest folder."""
    import ecg_signals.sample

    words = [sys.executable, "-m", "ecg_signals.cli.preprocess", "ptbxl", next(iter(ecg_signals.sample.__path__))]
    subprocess.run([*words, folder / "data"], check=True, stdout=subprocess.DEVNULL)
    return folder / "data" / "manifest" / "cmsc"


def train(
    manifests: Path, folder: Path, workers: int, settings: str, kill_after: float | None = None
) -> tuple[bool, float]:
    """Start training in `folder`; returns whether it ended by itself, and how long it lived."""
    folder.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    argv = [sys.executable, "-m", "ecg_signals.cli.train", "--config-name", "w2v_cmsc_rlm", *SETTINGS.split()]
    argv += settings.split()
    argv += [f"task.data={manifests}", f"dataset.num_workers={workers}"]
    with open(folder / "log.txt", "ab") as log:
        process = subprocess.Popen(argv, cwd=folder, stdout=log, stderr=log, start_new_session=True)
        try:
            status = process.wait(timeout=kill_after)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return False, time.monotonic() - began
    if status:
        raise SystemExit(f"training failed with status {status}:\n{(folder / 'log.txt').read_text()[-3000:]}")
    return True, time.monotonic() - began


def killed_run(manifests: Path, folder: Path, workers: int, settings: str, instants: list[float]) -> list[str]:
    """Train to the end, killed at each of the instants that comes before it; returns how long each life lasted.

    Behind every kill the last checkpoint is whole.
    """
    lives = []
    last = folder / "checkpoints" / "checkpoint_last.pt"
    for instant in [*instants, None]:
        ended, lived = train(manifests, folder, workers, settings, instant)
        if ended:
            break
        if last.exists():
            read_checkpoint(last)
        lives.append(f"{lived:.2f} s")
    return lives


def result(folder: Path) -> tuple[dict[int, float], dict[str, torch.Tensor]]:
    """loss of every update, and the final weights. Raises: SystemExit when an update was written twice or never."""
    losses: dict[int, float] = {}
    for line in (folder / "checkpoints" / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        if row["split"] == "train_inner":
            if row["num_updates"] in losses:
                raise SystemExit(f"{folder}: update {row['num_updates']} was written twice")
            losses[row["num_updates"]] = row["loss"]
    if sorted(losses) != list(range(1, len(losses) + 1)):
        raise SystemExit(f"{folder}: updates {sorted(losses)} were written")
    return losses, read_checkpoint(folder / "checkpoints" / "checkpoint_last.pt")["model"]


def compare(folder: Path, reference: tuple[dict[int, float], dict[str, torch.Tensor]]) -> None:
    losses, weights = result(folder)
    if losses != reference[0]:
        first = next(update for update in reference[0] if losses.get(update) != reference[0][update])
        raise SystemExit(
            f"{folder}: the loss of update {first} is {losses.get(first)}, uninterrupted {reference[0][first]}"
        )
    different = [key for key, value in reference[1].items() if not torch.equal(value, weights[key])]
    if different:
        raise SystemExit(f"{folder}: {len(different)} weights differ, first {different[0]}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50, help="killed runs")
    parser.add_argument("--saves", choices=sorted(SAVES), default="files", help="how checkpoints are written")
    parser.add_argument("--seed", type=int, default=0, help="seed of the instants")
    parser.add_argument("--keep", type=Path, help="folder to work in and keep; default: a temporary one")
    arguments = parser.parse_args()
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="crash_test_"))
    manifests = prepare(folder)
    saves = SAVES[arguments.saves]
    _, lifetime = train(manifests, folder / "reference", 0, saves[0])
    reference = result(folder / "reference")
    print(f"reference: {len(reference[0])} updates in {lifetime:.1f} s", flush=True)
    instants = random.Random(arguments.seed)
    for run in range(arguments.runs):
        workers, here = (0, 2)[run % 2], folder / f"run{run}"
        kills: list[str] = []
        while not kills:  # a run that ended before its instant came does not count
            shutil.rmtree(here, ignore_errors=True)
            times = [instants.uniform(0.2, lifetime) for _ in range(1 + run % 2)]
            kills = killed_run(manifests, here, workers, saves[run // 2 % 2], times)
        compare(here, reference)
        said = f"{workers} workers, killed after {', '.join(kills)}: identical"
        print(f"run {run + 1}/{arguments.runs}: {said}", flush=True)
        shutil.rmtree(here)
    if arguments.keep is None:
        shutil.rmtree(folder)
    print(f"{arguments.runs} passed, 0 failed")


if __name__ == "__main__":
    main()
