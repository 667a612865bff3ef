"""Several runs, one after the other, in one launch of a few ranks: starting processes takes longer than training."""

import json
import os
import subprocess
import sys
from pathlib import Path


def run_all(file: str) -> None:
    """One rank of all recipes of a json file."""
    from ecg_signals.composition import resolve_config
    from ecg_signals.runtime.launch import process_group
    from ecg_signals.trainer import Trainer

    recipes = json.loads(Path(file).read_text())
    with process_group(resolve_config(recipes[0])) as placement:
        for recipe in recipes:
            Trainer(resolve_config(recipe), placement).train()


def on_ranks(ranks, recipes, folder, timeout=120):
    """Train every recipe on so many ranks."""
    (folder / "recipes.json").write_text(json.dumps(recipes))
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [*launcher, __file__, str(folder / "recipes.json")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    return done


if __name__ == "__main__":
    run_all(sys.argv[1])
