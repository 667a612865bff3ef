"""Python and the commands, each in a process of its own that is forked from one with torch and hydra imported already.

A page of the documentation runs a dozen commands, which spend most of their time importing; what a command does is the
same. `python tests/warm_commands.py FOLDER` writes programs of the commands' names into FOLDER, prints a line, and
serves them until its standard input closes.
"""

import atexit
import ctypes
import fcntl
import gc
import importlib
import json
import multiprocessing
import os
import pkgutil
import runpy
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from functools import cache
from pathlib import Path

PRELOADED = (
    "torch", "torch._dynamo", "torch.distributed.run", "hydra", "omegaconf", "numpy", "pandas", "scipy.signal",
    "scipy.io", "scipy.interpolate", "wfdb", "h5py", "sklearn.metrics", "soundfile", "torch.utils.tensorboard",
)  # fmt: skip
CLIENT = """#!{python} -SE
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
socket.send_fds(server, [json.dumps([{name!r}, sys.argv, os.getcwd(), dict(os.environ)]).encode()], [0, 1, 2])
server.shutdown(socket.SHUT_WR)
sys.exit(int(server.recv(16) or 137))
"""


@cache
def warm() -> Path:
    """A folder for PATH with every command and `python`, served until this process ends."""
    folder = Path(tempfile.mkdtemp(prefix="warm_"))
    argv = [sys.executable, __file__, str(folder)]
    server = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin and server.stdout and server.stdout.readline() == "ready\n"
    atexit.register(server.communicate)
    return folder


def python() -> str:
    """What starts Python in a moment; takes -c, -m or a file, and is killed as a process is."""
    return str(warm() / "python")


def serve(folder: Path) -> None:
    from ecg_signals.cli.commands import COMMANDS

    preload()
    address = str(folder / "socket")
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    for name in [*(f"ecg-{command}" for command in COMMANDS), "python"]:
        program = folder / name
        program.write_text(CLIENT.format(python=sys.executable, address=address, name=name))
        program.chmod(0o755)
    sys.executable = str(folder / "python")
    multiprocessing.context._concrete_contexts["spawn"] = multiprocessing.get_context("fork")  # of their own, too
    gc.freeze()
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while sys.stdin not in select.select([listening, sys.stdin], [], [])[0]:
        connection, _ = listening.accept()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            listening.close()
            answer(connection)
        connection.close()
    shutil.rmtree(folder)


def preload() -> None:
    import ecg_signals

    for name in PRELOADED:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(ecg_signals.__path__, "ecg_signals."):
        if not module.name.endswith(("__main__", ".hf", ".huggingface.classes", "hubert_ecg.classes")):
            importlib.import_module(module.name)  # transformers, that those import, reads the environment as it starts


def answer(connection: socket.socket) -> None:
    """Run one command in this process, with its client's arguments, folder, environment and streams; ends it."""
    content, streams, _, _ = socket.recv_fds(connection, 1 << 20, 3)
    while more := connection.recv(1 << 20):
        content += more
    dies_with(connection)
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


def dies_with(connection: socket.socket) -> None:
    """Have the kernel (Linux) kill this process as soon as the client at the other end is no more, and then its own."""
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(connection, fcntl.F_SETOWN, os.getpid())
        fcntl.fcntl(connection, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(connection, fcntl.F_SETFL, fcntl.fcntl(connection, fcntl.F_GETFL) | os.O_ASYNC)
        prctl, pr_set_pdeathsig = ctypes.CDLL(None).prctl, 1
        os.register_at_fork(after_in_child=lambda: prctl(pr_set_pdeathsig, signal.SIGKILL))


def status_of(name: str) -> int:
    try:
        sys.path[:1] = ["", *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
        sys.path.append(os.path.dirname(__file__))
        importlib.invalidate_caches()
        if name == "python":
            run_python(sys.argv[1:])
        else:
            importlib.import_module(f"ecg_signals.cli.{name.removeprefix('ecg-')}").main()
    except SystemExit as stop:
        if not isinstance(stop.code, int | None):
            print(stop.code, file=sys.stderr)
        return int(stop.code) if isinstance(stop.code, int) else int(bool(stop.code))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def run_python(words: list[str]) -> None:
    """What `python WORDS` does."""
    while words[:1] == ["-u"]:
        words = words[1:]
    if words in ([], ["-"]):
        exec(compile(sys.stdin.read(), "<stdin>", "exec"), {"__name__": "__main__"})
    elif words[0] == "-c":
        sys.argv = ["-c", *words[2:]]
        exec(compile(words[1], "<string>", "exec"), {"__name__": "__main__"})
    elif words[0] == "-m":
        sys.argv = words[1:]
        sys.modules.pop(words[1], None)
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = words, os.path.dirname(os.path.abspath(words[0]))
        runpy.run_path(words[0], run_name="__main__")


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
