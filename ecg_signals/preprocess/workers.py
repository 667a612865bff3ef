"""Records processed one after the other, or by several processes."""

import errno
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.files import CannotWrite, cannot_write
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.processes import by_processes

CHUNK = 16  # records per task
Outcome = dict[str, Any]  # idx, save_file, key and either facts or error
# Input that cannot be read; anything else (TypeError, AssertionError, ...) is a mistake of ours and ends the run.
UNREADABLE = (ArithmeticError, EOFError, MemoryError, ValueError)
Work = Callable[[Source, Row, Path], dict[str, Any]]  # source, row, DEST -> facts; importable by name


def process_all(source: Source, dest: Path, rows: Sequence[Row], workers: int, work: Work) -> Iterator[Outcome]:
    """The outcome of every row, those first that are done first: what a slow one would hold back could be lost."""
    job = partial(process_row, type(source), source.folder, source.cfg, dest, work)
    again = "What is done is kept; run the same command again"
    yield from by_processes(job, rows, workers, CHUNK, again, _prepare_worker, ordered=False)


def process_row(kind: type[Source], folder: Path, cfg: Any, dest: Path, work: Work, row: Row) -> Outcome:
    """Process a row; one that cannot be read gives `error`.

    Raises: CannotWrite if DEST is full or cannot be written; a mistake of ours as it is, with a note of the record.
    """
    outcome: Outcome = {"idx": int(row["idx"]), "save_file": row["save_file"], "key": row["key"]}
    try:
        return outcome | {"facts": work(kind(folder, cfg), row, dest)}
    except CannotWrite:
        raise
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):  # no reader says that
            raise cannot_write(dest, error) from None
        return outcome | {"error": str(error)}
    except ConfigError as error:
        return outcome | {"error": str(error)}
    except UNREADABLE as error:
        return outcome | {"error": f"{type(error).__name__}: {error}"}
    except Exception as error:
        error.add_note(f"while {row['path']} of {folder} was processed")
        raise


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
