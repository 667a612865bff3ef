"""Where shards of records are worked on: processes of this machine, SLURM through submitit, or a dask cluster.

Each is a `concurrent.futures.Executor`. A process that dies there is told in one message.
"""

import logging
import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ecg_signals.config import ConfigError, UsageError, unknown_message
from ecg_signals.processes import LIKELY, fewer, process_pool

PACKAGES = {"submitit": ("submitit", "slurm"), "dask": ("distributed", "dask")}  # kind -> package, extra
KINDS = ("local", *PACKAGES)
DASK_OPTIONS = ("memory_limit", "dashboard_address", "local_directory")  # of the cluster that is started here
ADVICE = "What is done is kept; run the same command again"
SMALLEST, LARGEST, MOST_JOBS = 16, 20_000, 1000  # records of a shard; jobs of an array, SLURM's usual limit
DASK_SHARD = 64  # records: a task of half a second, a hundred times what scheduling it takes
MINUTES = 240  # of a job, unless executor.time says otherwise
_ADDRESS = re.compile(r"([a-z]+://)?\S+:\d{1,5}")  # of a scheduler
SETTLED, QUIET = 0.2, 10.0  # seconds: without a further shard, before an array is submitted; a watcher's wait


@dataclass(frozen=True)
class Place:
    """Where the work is done.

    Attributes:
        kind: one of KINDS.
        where: for submitit the cluster, "slurm" or "local"; for dask a scheduler's address, "" to start a cluster here.
        options: of `executor.KEY=value`.
        workers: processes here, jobs of an array at a time, or shards that a dask cluster is given ahead.
    """

    kind: str
    where: str
    options: Mapping[str, Any]
    workers: int

    def shard_size(self, records: int) -> int:
        """Records of a shard; a job of SLURM is minutes of work, a task of a pool a fraction of a second."""
        if self.kind != "submitit":
            return DASK_SHARD if self.kind == "dask" else SMALLEST
        size = min(-(-records // (4 * self.workers)), LARGEST)
        return max(size, SMALLEST, -(-records // MOST_JOBS))


@dataclass(frozen=True)
class Pool:
    """An executor, and how many shards it is given before the result of one is taken."""

    executor: Executor
    ahead: int


def place(text: str, options: Mapping[str, Any], workers: int = 1) -> Place:
    """What `executor=` and `executor.KEY=` say.

    Raises: UsageError for what is not known, ConfigError where a package is missing.
    """
    kind, _, where = text.partition(":")
    if kind not in KINDS or (where and kind == "local"):
        raise UsageError(unknown_message(f"executor '{text}'", kind, KINDS, "There are"))
    if kind == "submitit" and where not in ("", "local", "slurm"):
        raise UsageError(f"executor is '{text}'; expected submitit (SLURM) or submitit:local (this machine)")
    if kind == "dask" and where and not _ADDRESS.fullmatch(where):
        raise UsageError(f"executor is '{text}'; expected dask (a cluster on this machine) or dask:tcp://HOST:PORT")
    known = DASK_OPTIONS if kind == "dask" and not where else ()
    for key in options if kind != "submitit" else ():
        if key not in known:
            has = f"It has {', '.join(f'executor.{name}' for name in known)}" if known else "It has none"
            raise UsageError(f"executor={text} has no option executor.{key}. {has}")
    package, extra = PACKAGES.get(kind, ("", ""))
    if package and find_spec(package) is None:
        raise ConfigError(f'executor={text} needs {package}: pip install "ecg-signals[{extra}]"')
    return Place(kind, where or ("slurm" if kind == "submitit" else ""), dict(options), workers)


@contextmanager
def opened(chosen: Place, jobs: Path, initializer: Callable[[], None]) -> Iterator[Pool]:
    """The executor, shut down behind the block.

    Args:
        jobs: a folder for what submitit keeps of its jobs, made anew.
        initializer: for processes of this machine's pool.
    Raises: ConfigError when a process of it ends by itself, or there is no such cluster.
    """
    if chosen.kind == "local":
        with process_pool(chosen.workers, fewer(ADVICE, chosen.workers), initializer) as pool:
            yield Pool(pool, 2 * chosen.workers)
    elif chosen.kind == "submitit":
        with _submitit(chosen, jobs) as executor:
            yield Pool(executor, chosen.workers - 1 if chosen.where == "local" else MOST_JOBS)
    else:
        with _dask(chosen) as pool:
            yield pool


@contextmanager
def _dask(chosen: Place) -> Iterator[Pool]:
    import dask
    from distributed import Client, LocalCluster
    from distributed.scheduler import KilledWorker

    quiet = {"silence_logs": logging.CRITICAL}
    local = {"n_workers": chosen.workers, "threads_per_worker": 1, "dashboard_address": None, "memory_limit": None}
    # A process that died, most often for want of memory, would die again: it is told at once, as with other executors.
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}):
        try:
            cluster = None if chosen.where else LocalCluster(**(local | quiet | dict(chosen.options)))
            client = Client(cluster or chosen.where, set_as_default=False)
        except (OSError, ValueError, RuntimeError) as error:
            what, advice = "dask could not start a cluster here", "Correct executor.KEY=value"
            if chosen.where:
                what, advice = f"there is no dask scheduler at {chosen.where}", "Give the address of one that runs"
            raise ConfigError(f"{what}: {error}. {advice}") from None
    executor = client.get_executor(pure=False)
    try:
        yield Pool(executor, 2 * max(chosen.workers, sum(client.nthreads().values())))
        executor.shutdown(wait=True)
    except KilledWorker as error:
        lost = f"the dask worker {error.last_worker.address} ended while it had work. {_likely()}"
        raise ConfigError(f"{lost}. {fewer(ADVICE, chosen.workers)}") from None
    except CancelledError:
        raise ConfigError(f"the dask scheduler {chosen.where} is gone. {ADVICE}") from None
    finally:
        executor.shutdown(wait=False)
        client.close()
        if cluster is not None:
            cluster.close()


def _likely() -> str:
    return f"It may have been killed: {next(iter(LIKELY.values()))}"


@contextmanager
def _submitit(chosen: Place, jobs: Path) -> Iterator["SubmititExecutor"]:
    shutil.rmtree(jobs, ignore_errors=True)  # of a run that was killed
    jobs.mkdir(mode=0o700)  # what submitit unpickles from there is nobody else's
    executor = SubmititExecutor(_submitter(chosen, jobs), 0.2 if chosen.where == "local" else QUIET)
    try:
        yield executor
        executor.shutdown()
    finally:
        executor.shutdown(wait=False, cancel_futures=True)


def _submitter(chosen: Place, jobs: Path) -> Any:
    """submitit's own executor. Raises: ConfigError where there is no SLURM; UsageError for unknown parameters."""
    import submitit

    options = dict(chosen.options)
    shared = {"timeout_min": options.pop("time", MINUTES)}
    shared |= {key: options.pop(key) for key in ("mem_gb", "cpus_per_task", "name") if key in options}
    try:
        submitter = submitit.AutoExecutor(folder=jobs, cluster=chosen.where)
        of_slurm = {f"slurm_{key}": value for key, value in options.items()}
        submitter.update_parameters(**shared, slurm_array_parallelism=chosen.workers, **of_slurm)
    except RuntimeError as error:
        advice = "run it on a machine of the cluster that has srun and sbatch, or take executor=local"
        raise ConfigError(f"executor=submitit finds no SLURM here ({error}); {advice}") from None
    except (NameError, ValueError, TypeError, AssertionError) as error:
        raise UsageError(f"submitit refuses an option executor.KEY=value: {error}") from None
    return submitter


class SubmititExecutor(Executor):
    """submitit's jobs as futures: a thread submits them, those of one moment as one array, and watches them end.

    Args:
        submitter: an executor of submitit's.
        seconds: between two looks at the jobs.
    """

    def __init__(self, submitter: Any, seconds: float) -> None:
        self.submitter, self.seconds = submitter, seconds
        self.lock, self.ended = threading.Lock(), threading.Event()
        self.last = self.looked = 0.0  # when a shard came, and when the jobs were looked at
        self.new: list[tuple[Future[Any], Callable[..., Any], tuple[Any, ...]]] = []
        self.running: dict[Future[Any], Any] = {}
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        assert not kwargs and not self.ended.is_set()
        future: Future[Any] = Future()
        with self.lock:
            self.new.append((future, fn, args))
            self.last = time.monotonic()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """With `cancel_futures` also the jobs that run are cancelled."""
        while wait and not cancel_futures and (self.new or self.running):
            time.sleep(self.seconds)
        self.ended.set()
        self.thread.join()
        for job in self.running.values() if cancel_futures else ():
            job.cancel(check=False)
        self.running.clear()

    def _watch(self) -> None:
        while not self.ended.wait(SETTLED):
            try:
                self._submit_new()
                self._take_results()
            except BaseException as error:  # such as an sbatch that refuses; whoever waits for a result is told
                with self.lock:
                    lost = [*self.running, *(future for future, _, _ in self.new)]
                    self.running, self.new = {}, []
                for future in lost:
                    future.set_exception(_refused(error))

    def _submit_new(self) -> None:
        with self.lock:
            if not self.new or time.monotonic() - self.last < SETTLED:
                return
            new, self.new = self.new, []
            futures, functions, arguments = zip(*new)
            jobs = self.submitter.map_array(_call, functions, arguments)
            self.running.update(zip(futures, jobs))

    def _take_results(self) -> None:
        if time.monotonic() - self.looked < self.seconds:
            return
        self.looked = time.monotonic()
        for future, job in list(self.running.items()):
            if not job.done():
                continue
            try:
                future.set_result(_result(job))
            except BaseException as error:
                future.set_exception(error)
            del self.running[future]


def _call(function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    return function(*arguments)


def _result(job: Any) -> Any:
    """Raises: ConfigError for a job that left no result; a mistake of ours as submitit tells it, with its traceback."""
    from submitit.core.utils import UncompletedJobError
    from submitit.local.local import LocalJob

    if isinstance(job, LocalJob):
        job._results_timeout_s = 1  # a file system of this machine shows a result at once
    try:
        return job.result()
    except UncompletedJobError:
        state, log = job.state, job.paths.stderr
        lost = f"job {job.job_id} of submitit ended without a result (state {state}); its log is {log}"
        raise ConfigError(f"{lost}. {_likely()}, or its time is over: executor.time=MINUTES. {ADVICE}") from None


def _refused(error: BaseException) -> ConfigError:
    return ConfigError(f"submitit could not submit or watch jobs: {type(error).__name__}: {error}. {ADVICE}")
