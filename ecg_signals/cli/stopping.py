"""SIGTERM ends a command with one message, wherever it arrives."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

STATUS = 143  # as a shell shows a program that SIGTERM ended
AGAIN = 1.0  # seconds until a stop that was swallowed is raised once more
_MESSAGE = b"terminated; run the same command again to go on\n"


class Stopped(SystemExit):
    """What SIGTERM raises."""


@contextmanager
def stopped_by_sigterm() -> Iterator[None]:
    """SIGTERM ends the block with status 143 and says how to go on; a second one ends the process at once.

    Python drops an exception that a signal raises inside a finaliser or a callback of a C library, and libraries
    have an `except:` here and there. So the stop is raised again every second until the block is left; code that
    cleans up because of it is let finish. Only for the main thread.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGALRM)}
    hook, asked = sys.unraisablehook, False

    def stop(*_: Any) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGALRM, _raise_again)
        signal.setitimer(signal.ITIMER_REAL, AGAIN, AGAIN)
        with suppress(OSError):
            os.write(2, _MESSAGE)  # print would raise if it was interrupted itself
        raise Stopped(STATUS)

    sys.unraisablehook = lambda dropped: None if dropped.exc_type is Stopped else hook(dropped)
    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except BaseException:  # also what a library made of the stop, and what ended processes do to a pool
        if not asked:
            raise
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook
    if asked:
        raise Stopped(STATUS)


def _raise_again(*_: Any) -> None:
    """Raises the stop if nothing is being cleaned up because of it."""
    error = sys.exception()
    while error is not None:
        if isinstance(error, Stopped | GeneratorExit):
            return
        error = error.__context__
    raise Stopped(STATUS)
