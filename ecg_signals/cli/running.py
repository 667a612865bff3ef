"""How every command runs: what the user can fix ends it with one message; plugins; --version.

Most commands need no recipe, and none of hydra, which takes long to import (`app.py`).
"""

import logging
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ecg_signals
from ecg_signals.cli.arguments import command_line
from ecg_signals.cli.stopping import stopped_by_sigterm
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.limits import printable
from ecg_signals.registry import import_user_dir, load_entry_points

logger = logging.getLogger(__name__)

LINES: dict[str, str] = {}  # dotted key -> file and line of the recipe that sets it, for messages


def line_of_recipe(message: str) -> str:
    """Where the recipe sets the key that an error is about; nothing if the command line sets it."""
    words = [word.rstrip(".") for word in re.findall(r"\w+\.[\w.]+", message)]
    key = next((word for word in words if word in LINES), None)
    typed = {text.lstrip("+").partition("=")[0] for text in sys.argv}
    return f" ({LINES[key]})" if key is not None and key not in typed else ""


@contextmanager
def reported_errors() -> Iterator[None]:
    """What the user can fix ends the program with one message: status 2 for wrong arguments, else 1.

    A warning is one line, too. Text out of files is printed so that it cannot steer a terminal.
    """
    shown, warnings.showwarning = warnings.showwarning, _print_warning
    try:
        yield
    except ConfigError as error:
        print(f"error: {printable(error)}{line_of_recipe(str(error))}", file=sys.stderr, flush=True)
        raise SystemExit(2 if isinstance(error, UsageError) else 1) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        raise SystemExit(130) from None
    except RuntimeError as error:
        from ecg_signals.data.loading import loader_death

        death = loader_death(error)
        if death is None:
            raise
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would raise once more for the other processes
        print(f"error: {death}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None
    finally:
        warnings.showwarning = shown


def run_command(run: Callable[[list[str]], None]) -> None:
    """Run a command on its arguments; what the user can fix ends it with one message."""
    with reported_errors():
        run(command_line())


def run_restartable(run: Callable[[list[str]], None]) -> None:
    """Run a command on its arguments; SIGTERM ends it with status 143 and says how to go on."""
    with reported_errors(), stopped_by_sigterm():
        run(command_line())


def _print_warning(message: Any, category: Any, filename: str, lineno: int, file: Any = None, line: Any = None) -> None:
    place = "" if category is UserWarning else f" ({category.__name__}, {filename}:{lineno})"
    print(f"warning: {printable(message)}{place}", file=sys.stderr, flush=True)


def said_version(argv: list[str]) -> bool:
    """Whether --version was asked for; it is printed then."""
    if "--version" not in argv:
        return False
    print(f"ecg-signals {ecg_signals.__version__}")
    return True


def load_plugins(user_dir: str | None) -> None:
    """Installed plugins, one warning for each that fails, then those of `user_dir`; before any name is looked up."""
    for message in load_entry_points():
        logger.warning(message)
    if user_dir:
        import_user_dir(user_dir)
