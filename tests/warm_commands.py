"""The commands, each in a process of its own that is forked from one with torch and hydra imported already.

A page of the documentation runs a dozen commands, which spend most of their time importing; what a command does is the
same. `python tests/warm_commands.py FOLDER` writes programs of the commands' names into FOLDER, prints a line, and
serves them until its standard input closes.
"""

import atexit
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PRELOADED = (
    "torch", "hydra", "omegaconf", "numpy", "pandas", "scipy.signal", "scipy.io", "scipy.interpolate", "wfdb",
    "ecg_signals.cli.train", "ecg_signals.training.trainer", "ecg_signals.checkpoint.load",
)  # fmt: skip
CLIENT = """#!{python} -SE
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
socket.send_fds(server, [json.dumps([{name!r}, sys.argv, os.getcwd(), dict(os.environ)]).encode()], [0, 1, 2])
server.shutdown(socket.SHUT_WR)
sys.exit(int(server.recv(16) or 137))
"""


@contextmanager
def warm_commands(folder: Path) -> Iterator[Path]:
    """A folder for PATH in which every command is; `code` in it runs a Python text given as its argument."""
    argv = [sys.executable, __file__, str(folder)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin and server.stdout and server.stdout.readline() == "ready\n"
        yield folder
        server.stdin.close()


def serve(folder: Path) -> None:
    from ecg_signals.cli.commands import COMMANDS

    for name in PRELOADED:
        importlib.import_module(name)
    address = str(folder / "socket")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    for name in [*COMMANDS, "code"]:
        program = folder / ("code" if name == "code" else f"ecg-{name}")
        program.write_text(CLIENT.format(python=sys.executable, address=address, name=name))
        program.chmod(0o755)
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
        connection, _ = listening.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            answer(connection)
        connection.close()


def answer(connection: socket.socket) -> None:
    """Run one command in this process, with its client's arguments, folder, environment and streams; ends it."""
    content, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    while more := connection.recv(1 << 20):
        content += more
    name, sys.argv, folder, environment = json.loads(content)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = os.fdopen(0, closefd=False)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    status = status_of(name)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    connection.send(str(status).encode())
    os._exit(status)


def status_of(name: str) -> int:
    try:
        if name == "code":
            sys.path.insert(0, "")
            exec(compile(sys.argv[1], "<code>", "exec"), {"__name__": "__main__"})
        else:
            importlib.import_module(f"ecg_signals.cli.{name}").main()
    except SystemExit as stop:
        if not isinstance(stop.code, int | None):
            print(stop.code, file=sys.stderr)
        return int(bool(stop.code)) if not isinstance(stop.code, int) else stop.code
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
