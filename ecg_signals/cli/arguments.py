"""What commands with words and --options share: a parser that names the nearest option, and restartable runs."""

import argparse
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from ecg_signals.cli.app import reported_errors
from ecg_signals.config import UsageError, nearest


class Parser(argparse.ArgumentParser):
    """Names the nearest option, and raises UsageError instead of leaving the program."""

    def error(self, message: str) -> NoReturn:
        wrong = message.partition("unrecognized arguments: ")[2].split(" ")[0]
        guess = nearest(wrong, self._option_string_actions) if wrong.startswith("-") else None
        hint = f"; did you mean {guess}?" if guess else ""
        raise UsageError(f"{message}{hint} See {self.prog} --help")


def run_restartable(run: Callable[[list[str]], None]) -> None:
    """Run a command on its arguments; SIGTERM ends it with status 143 and says how to go on."""
    with reported_errors():
        signal.signal(signal.SIGTERM, _terminated)
        run(sys.argv[1:])


def _terminated(*_: Any) -> NoReturn:
    print("terminated; run the same command again to go on", file=sys.stderr, flush=True)
    raise SystemExit(143)
