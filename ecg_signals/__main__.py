"""`python -m ecg_signals COMMAND ...` is ecg-COMMAND, also where the console scripts are not on the PATH."""

import importlib
import sys

from ecg_signals.cli.commands import COMMANDS, overview
from ecg_signals.cli.running import reported_errors, said_version
from ecg_signals.config import UsageError, unknown_message


def main() -> None:
    with reported_errors():
        words = sys.argv[1:]
        if said_version(words[:1]):
            return
        if not words or words[0] in ("-h", "--help"):
            print(overview())
            return
        name = words[0].removeprefix("ecg-")
        if name not in COMMANDS:
            raise UsageError(unknown_message(f"command '{words[0]}'", name, COMMANDS, "Commands"))
    sys.argv = [f"ecg-{name}", *words[1:]]
    importlib.import_module(f"ecg_signals.cli.{name}").main()


if __name__ == "__main__":
    main()
