"""Kill training, resume it, and demand the uninterrupted run's losses and weights, bit for bit.

    python tools/crash_test.py --runs 50
    python tools/crash_test.py --runs 30 --saves async
    python tools/crash_test.py --runs 30 --saves sharded

Every run trains a small W2V+CMSC+RLM model on the repository's sample, is killed once or twice, and is started again
until it ends; behind every kill all checkpoints that are to be seen are read. `--saves files` kills at random instants
(at start-up, inside an update, while a checkpoint is being written) and loads with 0 or 2 worker processes. The other
two save behind every update and are killed while they save: `async` in the background; `sharded` trains two ranks with
sharded weights, which write folders, half of the runs in the background, and all of their processes are killed at once.

Runs are forked from this process, which has imported everything.
"""

import argparse
import atexit
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import context, get_context
from pathlib import Path
from statistics import median

import torch

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from warm_commands import preload

from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.cli import preprocess
from ecg_signals.cli import train as training

SETTINGS = (
    "dataset.batch_size=4 dataset.valid_subset=valid optimization.update_freq=[2] "
    "optimization.lr=[1e-3] checkpoint.keep_interval_updates=2 "
    "common.log_interval=1 common.log_format=none model.encoder_layers=1 model.encoder_embed_dim=32 "
    "model.encoder_ffn_embed_dim=64 model.encoder_attention_heads=4 model.conv_feature_layers='[(16,2,2)]*4' "
    "model.final_dim=16 model.latent_vars=16 model.conv_pos=16 model.conv_pos_groups=4 model.num_negatives=10 "
    "hydra.run.dir=. hydra.output_subdir=null"
)

SELDOM = "optimization.max_update=24 checkpoint.save_interval_updates=2"
OFTEN = "optimization.max_update=8 checkpoint.save_interval_updates=1 dataset.disable_validation=true"
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


@dataclass(frozen=True)
class Life:
    """Of one process: whether it ended by itself, when it was killed otherwise, and whether that was inside a save."""

    ended: bool
    seconds: float
    saving: bool = False

    def __str__(self) -> str:
        return f"{self.seconds:.2f} s{' (saving)' if self.saving else ''}"


Due = Callable[[Path], bool]  # of a run's folder: whether the moment to kill it has come


def prepare(folder: Path) -> Path:
    """The sample as CMSC pairs; returns the manifest folder."""
    import ecg_signals.sample

    source = next(iter(ecg_signals.sample.__path__))
    (folder / "prepare").mkdir(parents=True)
    words = ["ptbxl", str(source), str(folder / "data"), "sample_rate=100", "keep_org=false"]
    forked(preprocess.main, words, folder / "prepare", lambda _: False)
    return folder / "data" / "manifest" / "cmsc"


def forked(command: Callable[[], None], words: list[str], folder: Path, due: Due) -> Life:
    """Run a command in a process group of its own, until it ends or is due to be killed.

    Raises: SystemExit when it fails.
    """
    began, process = time.monotonic(), os.fork()
    if process == 0:
        become(command, words, folder)
    while (ended := os.waitpid(process, os.WNOHANG))[0] == 0:
        if due(folder):
            os.killpg(process, signal.SIGKILL)
            ended = os.waitpid(process, 0)
            break
        time.sleep(0.001)
    seconds, status = time.monotonic() - began, os.waitstatus_to_exitcode(ended[1])
    if status == -signal.SIGKILL:
        return Life(False, seconds, bool(unfinished(folder)))
    if status:
        raise SystemExit(f"{words} failed with status {status}:\n{(folder / 'log.txt').read_text()[-3000:]}")
    return Life(True, seconds)


def become(command: Callable[[], None], words: list[str], folder: Path) -> None:
    """This process is the command from here on."""
    os.setsid()
    os.chdir(folder)
    log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.argv, status = [command.__module__, *words], 1
    try:
        command()
        status = 0
    except SystemExit as stop:
        status = stop.code if isinstance(stop.code, int) else int(bool(stop.code))
    except BaseException:
        traceback.print_exc()
    finally:
        atexit._run_exitfuncs()
        os._exit(status)


def unfinished(folder: Path) -> set[str]:
    """Checkpoints that are being written, or that a kill left so."""
    try:
        return {name for name in os.listdir(folder / "checkpoints") if name.endswith((".writing", ".replaced"))}
    except FileNotFoundError:
        return set()


def after(seconds: float) -> Due:
    end = time.monotonic() + seconds
    return lambda folder: time.monotonic() > end


def at_save(number: int, delay: float) -> Due:
    """So many seconds behind the beginning of the file or folder of that number."""
    seen: set[str] = set()
    before: list[set[str]] = []  # what the last kill left

    def due(folder: Path) -> bool:
        found = unfinished(folder)
        before[:] = before or [found]
        seen.update(found - before[0])
        if len(seen) < number:
            return False
        time.sleep(delay)
        return True

    return due


class Watch:
    """Kills nothing; notes how many checkpoints are written, and how long that takes."""

    def __init__(self) -> None:
        self.seen: dict[str, list[float]] = {}

    def __call__(self, folder: Path) -> bool:
        for name in unfinished(folder):
            now = time.monotonic()
            self.seen.setdefault(name, [now, now])[1] = now
        return False

    @property
    def seconds(self) -> float:
        return median(end - begin for begin, end in self.seen.values())


def train(manifests: Path, folder: Path, workers: int, settings: str, due: Due) -> Life:
    folder.mkdir(parents=True, exist_ok=True)
    words = ["--config-name", "w2v_cmsc_rlm", *SETTINGS.split(), *settings.split()]
    return forked(training.main, [*words, f"task.data={manifests}", f"dataset.num_workers={workers}"], folder, due)


def killed_run(
    manifests: Path, folder: Path, workers: int, settings: str, kills: list[Callable[[], Due]]
) -> list[Life]:
    """Train to the end, killed so often; returns the lives that were killed, behind which every checkpoint is whole."""
    lives: list[Life] = []
    for kill in kills:
        life = train(manifests, folder, workers, settings, kill())
        if life.ended:
            return lives
        for path in (folder / "checkpoints").glob("[!.]*.pt"):
            read_checkpoint(path)
        lives.append(life)
    train(manifests, folder, workers, settings, lambda _: False)
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
    preload()
    torch.set_num_threads(1)  # a process with threads of its own cannot be forked
    context._concrete_contexts["spawn"] = get_context("fork")  # type: ignore[attr-defined]  # the ranks are forked, too
    folder = arguments.keep or Path(tempfile.mkdtemp(prefix="crash_test_"))
    manifests, saves, watch = prepare(folder), SAVES[arguments.saves], Watch()
    whole = train(manifests, folder / "reference", 0, saves[0], watch)
    reference = result(folder / "reference")
    said = f"{len(watch.seen)} files or folders written in {1000 * watch.seconds:.1f} ms each"
    print(f"reference: {len(reference[0])} updates in {whole}; {said}", flush=True)
    draw = random.Random(arguments.seed)

    def moment() -> Callable[[], Due]:
        if arguments.saves == "files":
            seconds = draw.uniform(0.05, whole.seconds)
            return lambda: after(seconds)
        number, delay = draw.randint(1, max(1, len(watch.seen) // 2)), draw.uniform(0, watch.seconds)
        return lambda: at_save(number, delay)

    lives: list[Life] = []
    for run in range(arguments.runs):
        workers, here = (0, 2)[run % 2] if arguments.saves == "files" else 0, folder / f"run{run}"
        killed: list[Life] = []
        while not killed:  # a run that ended before its moment came does not count
            shutil.rmtree(here, ignore_errors=True)
            killed = killed_run(manifests, here, workers, saves[run // 2 % 2], [moment() for _ in range(1 + run % 2)])
        compare(here, reference)
        lives += killed
        said = f"{workers} workers, killed after {', '.join(map(str, killed))}: identical"
        print(f"run {run + 1}/{arguments.runs}: {said}", flush=True)
        shutil.rmtree(here)
    if arguments.keep is None:
        shutil.rmtree(folder)
    print(f"{len(lives)} kills, {sum(life.saving for life in lives)} of them left a save unfinished")
    print(f"{arguments.runs} passed, 0 failed")


if __name__ == "__main__":
    main()
