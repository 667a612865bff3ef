"""What commands with words and --options share: a parser that names the nearest option, and words as typed."""

import argparse
import os
import re
import sys
from pathlib import Path
from typing import Any, NoReturn

import ecg_signals
from ecg_signals.config import UsageError, nearest


class Parser(argparse.ArgumentParser):
    """Names the nearest option, takes no abbreviation, and raises UsageError instead of leaving the program."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})
        self.add_argument("--version", action="version", version=f"ecg-signals {ecg_signals.__version__}")
        self._typed: list[str] = []

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        self._typed = list(sys.argv[1:] if args is None else args)
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        options = [word.partition("=")[0] for word in self._typed if re.match(r"--?[a-zA-Z]", word)]
        wrong = next((word for word in options if word not in self._option_string_actions), None)
        guess = nearest(wrong, self._option_string_actions) if wrong else None
        if wrong and wrong not in message:
            message = f"{message} ({wrong} is unknown)"
        hint = f"; did you mean {guess}?" if guess else "."
        raise UsageError(f"{message}{hint} See {self.prog} --help")


def add_reading(parser: argparse.ArgumentParser) -> None:
    """The options of a command that reads record files: what a file does not say, or says wrongly."""
    parser.add_argument("--id", help="which record of an .hdf5 file")
    parser.add_argument("--sample-rate", type=float, metavar="HZ", help="of .npy and .csv files that do not say it")
    parser.add_argument("--leads", help="rows of .npy and .csv files that do not say them, such as I,II,V1")
    parser.add_argument("--units", help="of the record, where it does not say it or wrongly: mV, uV, V, 4.88uV ...")


def reading(arguments: argparse.Namespace, *more: str) -> dict[str, Any]:
    """Those options, and `more` of a command's own, as `read_record` takes them; what was not typed is left out."""
    leads = names(arguments.leads) if arguments.leads else None
    stated = {key: getattr(arguments, key) for key in ("id", "sample_rate", "units", *more)} | {"leads": leads}
    return {key: value for key, value in stated.items() if value is not None}


def names(text: str) -> list[str]:
    """The names in a text such as "I, II,V1"."""
    return [name.strip() for name in text.split(",")]


def folder(text: str) -> Path:
    """A folder of this machine, whose name would be made of a URL without a word."""
    if re.match(r"[a-z][a-z0-9+.-]+://", text, re.IGNORECASE):
        raise argparse.ArgumentTypeError(f"{text!r} is a URL; give a folder of this machine, and copy from or to it")
    return Path(text)


def command_line() -> list[str]:
    """The words after the command. A shell leaves the ~ of --option=~/x and key=~/x alone: it is the home here too."""
    return [re.sub(r"^(-{0,2}\w[\w.-]*)=(~.*)$", _with_home, word, flags=re.DOTALL) for word in sys.argv[1:]]


def _with_home(word: re.Match[str]) -> str:
    return f"{word[1]}={os.path.expanduser(word[2])}"


def taken(argv: list[str]) -> tuple[str | None, list[str]]:
    """The value of --user-dir, whose names the other arguments may be, and the words without it."""
    parser = Parser(add_help=False)
    parser.add_argument("--user-dir")
    found, rest = parser.parse_known_args(argv)
    return found.user_dir, rest


def typed(value: Any) -> str:
    """A value as it is typed in a setting."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
