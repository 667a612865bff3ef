"""What of a plan is missing, and running it, some runs at a time."""

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import as_completed
from functools import partial
from pathlib import Path
from typing import Any

from ecg_signals.comparison.protocols import PROTOCOLS
from ecg_signals.comparison.running import RESULT, SETTINGS, check_fit, data_folder, execute
from ecg_signals.comparison.runs import Run, lead_metric
from ecg_signals.comparison.signals import Prepared, digest_of, prepare_records
from ecg_signals.comparison.splits import in_columns, write_splits
from ecg_signals.config import ConfigError, listed
from ecg_signals.processes import process_pool
from ecg_signals.tables import write_text

logger = logging.getLogger(__name__)


def missing(runs: Sequence[Run]) -> list[Run]:
    """Those without all of their results.

    Raises: ConfigError when a run of other settings lies in the place of one, naming what differs.
    """
    for run in runs:
        path = run.folder / SETTINGS
        if path.is_file() and _begun(run):
            found = list(differences(json.loads(path.read_text()), run.settings))
            if found:
                raise ConfigError(
                    f"{run.folder} was made with other settings: {listed(found, 6)}. Give another folder as out, or "
                    f"delete that one"
                )
    return [run for run in runs if not all((test.folder / RESULT).is_file() for test in run.tests)]


def _begun(run: Run) -> bool:
    """Whether its folder holds anything that its settings decided about."""
    return any(path.is_file() for pattern in ("checkpoint_*.pt", f"**/{RESULT}") for path in run.folder.glob(pattern))


def differences(then: Any, now: Any, where: str = "") -> Iterator[str]:
    """Where two trees of plain values differ: "recipe.optimization.lr=[0.1] (now [0.2])"."""
    if isinstance(then, Mapping) and isinstance(now, Mapping):
        for key in dict.fromkeys([*then, *now]):
            yield from differences(then.get(key), now.get(key), f"{where}.{key}" if where else str(key))
    elif then != now and where != "recipe.common.user_dir":
        yield f"{where}={then} (now {now})"


def prepare_all(runs: Sequence[Run], out: Path, jobs: int) -> None:
    """Signals and manifests of these runs and of what they are tested on."""
    done: dict[str, Prepared] = {}

    def records(task: Any, run: Run) -> Prepared:
        key = digest_of(task.data, run.model.contract)
        if key not in done:
            done[key] = prepare_records(task.data, run.model.contract, out / "data", jobs)
        return done[key]

    for run in runs:
        place = data_folder(run, out)
        for test in run.tests:
            own = test is run.tests[0]
            examples = run.examples if own else in_columns(test.task.examples, run.labels)
            folder = place if own else place / "test_on" / test.task.name
            names = test.task.data.meta["save_file"].tolist()
            counts = write_splits(folder, examples, records(test.task, run), names, run.scale)
            write_text(folder / "counts.json", json.dumps(counts))
            empty = [split for split, count in counts.items() if not count]
            if own and empty and run.protocol != "as_is":
                raise ConfigError(f"{run.name}: no record that can be prepared is left in {', '.join(empty)}")


def check_all(runs: Sequence[Run], out: Path) -> None:
    """Whether what they train fits together, of each kind of run once, unless it starts from another; before any."""
    kinds: dict[tuple[str, str, str], Run] = {}
    for run in runs:
        if PROTOCOLS[run.protocol].trains and run.after is None:
            kinds.setdefault((run.kind, run.protocol, run.model.name), run)
    for run in kinds.values():
        check_fit(run, out)


def run_all(runs: Sequence[Run], out: Path, jobs: int) -> dict[str, str]:
    """Make these runs, those first that others start from. Returns: why runs failed, by name."""
    failed: dict[str, str] = {}
    number, total = 0, len(runs)
    for wave in ([run for run in runs if run.after is None], [run for run in runs if run.after is not None]):
        for run, error in _wave(wave, out, jobs):
            number += 1
            print(f"[{number}/{total}] {run.name}: {error or _said(run)}", flush=True)
            if error:
                failed[run.name] = error
    return failed


def _said(run: Run) -> str:
    result = json.loads((run.tests[0].folder / RESULT).read_text())
    name = lead_metric(run.kind)
    value = result["metrics"].get(name)
    return f"{name} {'undefined' if value is None else f'{value:.4f}'} ({result['seconds']:.0f} s)"


def _wave(runs: Sequence[Run], out: Path, jobs: int) -> Iterator[tuple[Run, str | None]]:
    jobs = min(jobs, len(runs))
    if jobs < 2:
        yield from ((run, execute(run, out)) for run in runs)
        return
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with process_pool(jobs, "Run the same command again with a smaller jobs=N", partial(_begin, threads)) as pool:
        tasks = {pool.submit(execute, run, out): run for run in runs}
        try:
            yield from ((tasks[task], task.result()) for task in as_completed(tasks))
        except BaseException:
            for process in (getattr(pool, "_processes", None) or {}).values():
                process.terminate()  # a training saves its state then
            raise


def _begin(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
