"""The example's job of SLURM, with stand-ins for its commands: submitted, preempted, requeued, and gone on with."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COMMANDS = {
    "sbatch": """#!/bin/sh
for script; do true; done
echo "$script" > "$STAND_IN/script"
export SLURM_JOB_ID=77 SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0
export SLURM_JOB_NUM_NODES=1 SLURM_NNODES=1 SLURM_JOB_NODELIST=localhost
setsid sh "$script" > "$STAND_IN/first.log" 2>&1 &
echo "Submitted batch job 77"
""",
    "srun": """#!/bin/sh
while [ "${1#-}" != "$1" ]; do
  case "$1" in --*=*|--unbuffered) shift;; *) shift 2;; esac
done
exec "$@"
""",
    "scontrol": """#!/bin/sh
echo "$@" >> "$STAND_IN/scontrol"
cd "$STAND_IN"  # SLURM starts a job again where it was submitted
test "$1" = requeue && setsid sh "$(cat "$STAND_IN/script")" > "$STAND_IN/second.log" 2>&1 &
""",
    "sacct": "#!/bin/sh\necho 'JobID|State'\necho '77|RUNNING'\n",
}


@pytest.mark.slow
def test_the_example_goes_on_by_itself_behind_a_preemption(pretraining, tmp_path):
    pytest.importorskip("submitit")
    (tmp_path / "bin").mkdir()
    for name, text in COMMANDS.items():
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    sizes = [(key, value) for key, value in pretraining["model"].items() if key.startswith(("enc", "conv", "final"))]
    words = [f"++model.{key}='{value}'" if "[" in str(value) else f"++model.{key}={value}" for key, value in sizes]
    command = [
        *(sys.executable, "-m", "ecg_signals.cli.train", "--allow-hooks", "--config-dir"),
        *(str(ROOT / "examples" / "ecg_fm"), "--config-name", "slurm", *words),
        f"task.data={pretraining['task']['data']}",
        *("dataset.batch_size=2", "dataset.num_workers=0", "dataset.disable_validation=true", "common.log_interval=1"),
        *("optimization.max_update=2000", "optimization.update_freq=[1]"),
        *("hydra.launcher.nodes=1", "hydra.launcher.tasks_per_node=1"),
    ]  # fmt: skip
    environment = {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "STAND_IN": str(tmp_path)}
    environment |= {"OMP_NUM_THREADS": "1"}
    with open(tmp_path / "log.txt", "w") as log:
        running = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=log, stderr=log)
    folder = tmp_path / "runs" / "ecg_fm" / "pretraining"
    job = None
    try:
        metrics = folder / "checkpoints" / "metrics.jsonl"
        wait_for(lambda: metrics.exists() and '"num_updates": 3,' in metrics.read_text(), running, tmp_path)
        job = job_of(folder)
        os.kill(job, signal.SIGUSR2)
        wait_for(lambda: (tmp_path / "scontrol").exists(), running, tmp_path)
        assert (tmp_path / "scontrol").read_text() == "requeue 77\n"
        assert (folder / "checkpoints" / "checkpoint_last.pt").is_file()
        wait_for(lambda: "continuing from" in (folder / "train.log").read_text(), running, tmp_path)
    finally:
        running.kill()
        for process in {job, job_of(folder)} - {None}:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)


def wait_for(found, running, folder, seconds=60):
    deadline = time.monotonic() + seconds
    while not found():
        logs = "\n".join(path.read_text()[-1500:] for path in folder.glob("*.log"))
        assert running.poll() is None and time.monotonic() < deadline, (folder / "log.txt").read_text()[-1500:] + logs
        time.sleep(0.2)


def job_of(folder):
    """The process that trains in `folder`."""
    for path in Path("/proc").glob("[0-9]*"):
        try:
            if (path / "cwd").resolve() == folder and b"submitit" in (path / "cmdline").read_bytes():
                return int(path.name)
        except OSError:
            continue
    return None
