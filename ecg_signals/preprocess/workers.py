"""Records processed in shards, each by itself: in this process, or wherever an executor runs them."""

import errno
import json
import os
import pickle
import signal
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.files import CannotWrite, cannot_write, writing
from ecg_signals.preprocess.executors import Place, opened
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.processes import in_flight
from ecg_signals.registry import USER_DIRS, import_user_dir

# Input that cannot be read; anything else (TypeError, AssertionError, ...) is a mistake of ours and ends the run.
UNREADABLE = (ArithmeticError, EOFError, MemoryError, ValueError)
Work = Callable[[Source, Row, Path], dict[str, Any]]  # source, row, DEST -> facts; importable by name
_one_at_a_time = threading.Lock()  # warnings are caught per process, and a cluster's workers may have several threads


@dataclass(frozen=True)
class Job:
    """What all shards of a run share."""

    kind: type[Source]
    folder: Path
    cfg: Any
    dest: Path
    work: Work


@dataclass
class Shard:
    """Some records, and the file that takes the outcome of each as soon as its own files are in place."""

    rows: list[Row]  # each with its `key`
    part: Path


@dataclass
class Done:
    """What became of a shard: by idx, why a record could not be read; `failure` is what ends the whole run."""

    shard: Shard
    errors: dict[int, str] = field(default_factory=dict)
    failure: ConfigError | None = None


def process_all(job: Job, tasks: Iterator[list[Row]], count: int, place: Place, parts: Path) -> Iterator[Done]:
    """What became of every shard, those first that are done first: what a slow one would hold back could be lost.

    Few records are worked on here, since starting a process takes longer than they do.

    Args:
        count: shards there are.
        parts: a folder of DEST for the shards' files.
    """
    shards = (Shard(rows, parts / f"{uuid.uuid4().hex}.jsonl") for rows in tasks)
    if place.kind == "local":
        place = Place("local", "", {}, min(place.workers, count // 2))
    if place.kind == "local" and place.workers < 2:
        yield from (process_shard(job, shard) for shard in shards)
        return
    packed = pickle.dumps(job)
    plugins = os.environ.get(USER_DIRS, "")
    with opened(place, parts / "jobs", _prepare_worker) as pool:
        sent = ((plugins, packed, shard) for shard in shards)
        yield from in_flight(pool.executor, run_shard, sent, pool.ahead, ordered=False)


def run_shard(plugins: str, job: bytes, shard: Shard) -> Done:
    """A shard in another process, maybe of another machine, whose folder and plugins are its own."""
    try:
        found = _unpacked(plugins, job)
    except ConfigError as failure:
        return Done(shard, failure=failure)
    with _one_at_a_time:
        return process_shard(found, shard)


@lru_cache(maxsize=4)
def _unpacked(plugins: str, job: bytes) -> Job:
    for path in filter(None, plugins.split(os.pathsep)):
        import_user_dir(path)
    found: Job = pickle.loads(job)  # pickled by the command that asked this process, not a file
    return found


def process_shard(job: Job, shard: Shard) -> Done:
    """Process rows one by one, so that no more than one is lost with the process.

    Raises: a mistake of ours as it is, with a note of the record.
    """
    done = Done(shard)
    try:
        if not shard.part.parent.is_dir():
            raise ConfigError(f"{shard.part.parent} is not there on {os.uname().nodename}; {SHARED}")
        with writing(shard.part), open(shard.part, "a", encoding="utf-8") as file:
            for row in shard.rows:
                found = process_row(job, row)
                if isinstance(found, str):
                    done.errors[int(row["idx"])] = found
                else:
                    file.write(line_of(row["save_file"], row["key"], found))
                    file.flush()
    except ConfigError as failure:
        done.failure = failure
    return done


SHARED = "DEST and SOURCE must lie on a file system that this machine and all workers share, under the same paths"


def line_of(save_file: str, key: str, facts: dict[str, Any]) -> str:
    """A finished record as the journal has it."""
    text = json.dumps(facts, ensure_ascii=False)
    return f'{{"save_file": {json.dumps(save_file)}, "key": "{key}", "facts": {text}}}\n'


def process_row(job: Job, row: Row) -> dict[str, Any] | str:
    """A record's facts, or why it cannot be read.

    Raises: CannotWrite if DEST is full or cannot be written; a mistake of ours as it is, with a note of the record.
    """
    try:
        return job.work(job.kind(job.folder, job.cfg), row, job.dest)
    except CannotWrite:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # no reader says that
            raise cannot_write(job.dest, error) from None
        return str(error)
    except ConfigError as error:
        return str(error)
    except UNREADABLE as error:
        return f"{type(error).__name__}: {error}"
    except Exception as error:
        error.add_note(f"while {row['path']} of {job.folder} was processed")
        raise


def _prepare_worker() -> None:
    """Ctrl-C is for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
