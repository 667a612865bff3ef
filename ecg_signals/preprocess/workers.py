"""Records processed one after the other, or by several processes."""

import errno
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.files import CannotWrite, cannot_write
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.processes import process_pool

CHUNK = 16  # records per task
Outcome = dict[str, Any]  # idx, save_file, key and either facts or error
# Input that cannot be read; anything else (TypeError, AssertionError, ...) is a mistake of ours and ends the run.
UNREADABLE = (ArithmeticError, EOFError, MemoryError, ValueError)
Work = Callable[[Source, Row, Path], dict[str, Any]]  # source, row, DEST -> facts; importable by name


def process_all(source: Source, dest: Path, rows: Sequence[Row], workers: int, work: Work) -> Iterator[list[Outcome]]:
    """The outcome of every row, in groups, in any order.

    Few records are processed here, since starting a process takes longer than they do.
    """
    chunks = [rows[i : i + CHUNK] for i in range(0, len(rows), CHUNK)]
    workers = min(workers, len(chunks) // 2)
    if workers < 2:
        for row in rows:
            yield process_chunk(type(source), source.folder, source.cfg, dest, work, [row])
        return
    fewer = f"What is done is kept; run the same command again with fewer workers: --workers {max(1, workers // 2)}"
    with process_pool(workers, fewer, initializer=_prepare_worker) as pool:
        job = partial(process_chunk, type(source), source.folder, source.cfg, dest, work)
        yield from _gather(pool, chunks, job, 2 * workers)


def _gather(
    pool: ProcessPoolExecutor,
    chunks: Sequence[Sequence[Row]],
    work: Callable[[Sequence[Row]], list[Outcome]],
    ahead: int,
) -> Iterator[list[Outcome]]:
    """Keeps `ahead` tasks waiting, so that millions of records are not all pickled at once."""
    rest = iter(chunks)
    running: set[Future[list[Outcome]]] = set()
    while True:
        for chunk in rest:
            running.add(pool.submit(work, list(chunk)))
            if len(running) >= ahead:
                break
        if not running:
            return
        finished, running = wait(running, return_when=FIRST_COMPLETED)
        for future in finished:
            yield future.result()


def process_chunk(
    kind: type[Source], folder: Path, cfg: Any, dest: Path, work: Work, rows: Sequence[Row]
) -> list[Outcome]:
    """Process some rows; one that cannot be read gives `error`, and the next one follows.

    Raises: CannotWrite if DEST is full or cannot be written; a mistake of ours as it is, with a note of the record.
    """
    source = kind(folder, cfg)
    outcomes = []
    for row in rows:
        outcome: Outcome = {"idx": int(row["idx"]), "save_file": row["save_file"], "key": row["key"]}
        try:
            outcome["facts"] = work(source, row, dest)
        except CannotWrite:
            raise
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):  # no reader says that
                raise cannot_write(dest, error) from None
            outcome["error"] = str(error)
        except ConfigError as error:
            outcome["error"] = str(error)
        except UNREADABLE as error:
            outcome["error"] = f"{type(error).__name__}: {error}"
        except Exception as error:
            error.add_note(f"while {row['path']} of {folder} was processed")
            raise
        outcomes.append(outcome)
    return outcomes


def _prepare_worker() -> None:
    """Ctrl-C is for the parent; and if the parent is gone, nobody wants the results."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    """A worker that outlives a killed parent could overwrite what the next run stores."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
