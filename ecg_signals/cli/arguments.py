"""What commands with words and --options share: a parser that names the nearest option, and restartable runs."""

import argparse
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from ecg_signals.cli.app import reported_errors
from ecg_signals.config import UsageError, nearest


class Parser(argparse.ArgumentParser):
    """Names the nearest option, takes no abbreviation, and raises UsageError instead of leaving the program."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        wrong = message.partition("unrecognized arguments: ")[2].split(" ")[0]
        guess = nearest(wrong, self._option_string_actions) if wrong.startswith("-") else None
        hint = f"; did you mean {guess}?" if guess else ""
        raise UsageError(f"{message}{hint} See {self.prog} --help")


def command_line() -> list[str]:
    """The words after the command. A shell leaves the ~ of --option=~/x and key=~/x alone: it is the home here too."""
    return [re.sub(r"^(-{0,2}\w[\w.-]*)=(~.*)$", _with_home, word, flags=re.DOTALL) for word in sys.argv[1:]]


def _with_home(word: re.Match[str]) -> str:
    return f"{word[1]}={os.path.expanduser(word[2])}"


def run_command(run: Callable[[list[str]], None]) -> None:
    """Run a command on its arguments; what the user can fix ends it with one message."""
    with reported_errors():
        run(command_line())


def run_restartable(run: Callable[[list[str]], None]) -> None:
    """Run a command on its arguments; SIGTERM ends it with status 143 and says how to go on."""
    with reported_errors():
        signal.signal(signal.SIGTERM, _terminated)
        run(command_line())


def _terminated(*_: Any) -> NoReturn:
    print("terminated; run the same command again to go on", file=sys.stderr, flush=True)
    raise SystemExit(143)
