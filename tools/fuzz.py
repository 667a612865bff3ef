"""Damage files at random and demand a clear answer of every reader: a result, or one error that names the file.

    python tools/fuzz.py --inputs 2000
    python tools/fuzz.py --target wfdb --inputs 500 --seed 7 --keep failures

Each input is one file of a target (tools/fuzz_targets.py), damaged by one to three mutations, read in a process of its
own. What counts as a failure:

    crash      the process died by a signal
    slow       an answer that took more than --seconds of CPU
    hang       no answer within --patience
    memory     the process asked for more than --megabytes beyond what it had
    raw        an exception that is no ConfigError
    unnamed    an error that names no file of the target
    silent     a result of another length than the undamaged file's, without a warning, where the files state one
"""

import argparse
import json
import os
import random
import re
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

NUMBERS = (b"0", b"-1", b"1", b"7", b"99999999999", b"1e9", b"nan", b"0.5", b"9" * 400, b"2147483648", b"")
TOKENS = (
    b"NaN", b"../../x", b"/etc/passwd", b"=1+1", b"\0", b'"', b"'", b",", b";", b"\t", b"\n", b"\xff\xfe", b"[", b"}",
)  # fmt: skip


def flip(content: bytes, draw: random.Random) -> bytes:
    data = bytearray(content)
    for _ in range(draw.randint(1, 8)):
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
    return bytes(data)


def flip_head(content: bytes, draw: random.Random) -> bytes:
    """The first bytes are where binary files state their sizes."""
    data = bytearray(content)
    data[draw.randrange(min(len(data), 256))] = draw.choice((0, 1, 127, 128, 255, draw.randrange(256)))
    return bytes(data)


def truncate(content: bytes, draw: random.Random) -> bytes:
    return content[: draw.randrange(len(content))]


def extend(content: bytes, draw: random.Random) -> bytes:
    more = draw.choice((b"\0", b"\xff", content[-64:], content[:64]))
    return content + more * draw.randint(1, 100)


def cut(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content))
    return content[:start] + content[start + draw.randint(1, 64) :]


def repeat(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content))
    piece = content[start : start + draw.randint(1, 64)]
    return content[:start] + piece * draw.randint(2, 50) + content[start:]


def insert(content: bytes, draw: random.Random) -> bytes:
    start = draw.randrange(len(content) + 1)
    return content[:start] + draw.choice(TOKENS) + content[start:]


def number(content: bytes, draw: random.Random) -> bytes:
    """Another number in place of one that the text states."""
    found = list(re.finditer(rb"\d+", content[:20000]))
    if not found:
        return flip_head(content, draw)
    match = draw.choice(found)
    return content[: match.start()] + draw.choice(NUMBERS) + content[match.end() :]


def lines(content: bytes, draw: random.Random) -> bytes:
    """A line lost, doubled or in another place."""
    rows = content.splitlines(keepends=True)
    if len(rows) < 2:
        return cut(content, draw)
    row = rows.pop(draw.randrange(len(rows)))
    for _ in range(draw.choice((0, 1, 2))):
        rows.insert(draw.randrange(len(rows) + 1), row)
    return b"".join(rows)


def blank(content: bytes, draw: random.Random) -> bytes:
    start, length = draw.randrange(len(content)), draw.randint(1, 200)
    return content[:start] + draw.choice((b"\0", b"\xff", b" ")) * length + content[start + length :]


MUTATIONS = (flip, flip, flip_head, truncate, extend, cut, repeat, insert, number, number, lines, blank)


@dataclass(frozen=True)
class Target:
    """Something that reads files.

    Attributes:
        make: writes undamaged files into a folder.
        read: reads them; returns what is compared for length, plain lists and numbers, or None.
        damaged: glob patterns of the files that are damaged.
        stated: the files state their lengths, so that another length needs a warning or an error.
        places: texts that say where to look as well as a file's name does, such as the section of an option.
    """

    make: Callable[[Path], None]
    read: Callable[[Path], Any]
    damaged: tuple[str, ...]
    stated: bool = False
    places: tuple[str, ...] = ()


@dataclass(frozen=True)
class Limits:
    seconds: float = 2.0  # of CPU
    megabytes: int = 500
    patience: float = 60.0  # seconds, for one that waits


def damage(path: Path, draw: random.Random) -> str:
    """Damage one file in place; returns what was done."""
    kind = draw.randrange(40)
    instead = {"deleted": None, "emptied": Path.touch, "made a folder": Path.mkdir, "made a named pipe": os.mkfifo}
    if kind < len(instead):
        what, make = list(instead.items())[kind]
        path.unlink()
        if make:
            make(path)
        return what
    done = []
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        mutate = draw.choice(MUTATIONS)
        content = path.read_bytes()
        if content:
            path.write_bytes(mutate(content, draw))
            done.append(mutate.__name__)
    return " ".join(done)


def answer_of(read: Callable[[Path], Any], folder: Path) -> dict[str, Any]:
    """What reading gives: {"shape", "warnings"}, or {"error", "message"}."""
    from ecg_signals.config import ConfigError

    said = StringIO()
    with warnings.catch_warnings(record=True) as caught, redirect_stdout(said), redirect_stderr(said):
        warnings.simplefilter("always")
        try:
            shape = read(folder)
        except ConfigError as error:
            return {"error": "ConfigError", "message": str(error)}
        except SystemExit as stop:
            text, shape = said.getvalue(), None
            if stop.code:
                return {"error": "Traceback" if "Traceback" in text else "ConfigError", "message": text}
        except Exception as error:
            return {"error": type(error).__name__, "message": traceback.format_exc()}
    printed = said.getvalue()
    return {"shape": shape, "warnings": [str(item.message) for item in caught] + ([printed] if printed else [])}


def in_a_process(work: Callable[[], dict[str, Any]], limits: Limits) -> dict[str, Any]:
    """`work` in a forked process under the limits; {"error": "crash", "hang" or "slow"} when it gives none in time."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        try:
            allowed = _virtual_bytes() + (limits.megabytes << 20)
            resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
            with os.fdopen(send, "w") as pipe:
                pipe.write(json.dumps(work(), default=str))
        finally:
            os._exit(0)
    os.close(send)
    return _collect(child, receive, limits)


def _virtual_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _collect(child: int, receive: int, limits: Limits) -> dict[str, Any]:
    deadline = time.monotonic() + limits.patience
    parts: list[bytes] = []
    hung = False
    while not hung and (not parts or parts[-1]):
        ready, _, _ = select.select([receive], [], [], max(0.0, deadline - time.monotonic()))
        if ready:
            parts.append(os.read(receive, 1 << 16))
        else:
            os.kill(child, signal.SIGKILL)
            hung = True
    os.close(receive)
    _, status, used = os.wait4(child, 0)
    taken = used.ru_utime + used.ru_stime
    if taken > limits.seconds:
        return {"error": "slow", "message": f"{taken:.1f} s of CPU"}
    if hung:
        return {"error": "hang", "message": f"no answer within {limits.patience} s"}
    if os.WIFSIGNALED(status) or not any(parts):
        return {"error": "crash", "message": f"signal {os.WTERMSIG(status) if os.WIFSIGNALED(status) else 'none'}"}
    return json.loads(b"".join(parts))


def fault_in(answer: dict[str, Any], target: Target, whole: Any, names: list[str]) -> str | None:
    """The kind of failure, None for an answer that is right."""
    error = answer.get("error")
    if error == "ConfigError":
        return None if any(name in answer["message"] for name in names) else "unnamed"
    if error:
        return {"hang": "hang", "slow": "slow", "crash": "crash", "MemoryError": "memory"}.get(error, "raw")
    differs = target.stated and answer["shape"] != whole
    return "silent" if differs and not answer["warnings"] else None


class Fuzzer:
    """Runs one target; its undamaged files are made once."""

    def __init__(self, name: str, target: Target, work: Path, limits: Limits) -> None:
        self.name, self.target, self.work, self.limits = name, target, work / name, limits
        self.clean = self.work / "clean"
        self.clean.mkdir(parents=True)
        patient = Limits(seconds=120, megabytes=8000, patience=240)
        made = in_a_process(lambda: answer_of(target.make, self.clean), patient)
        answer = in_a_process(lambda: answer_of(target.read, self._copy("whole")), patient)
        if "error" in made or "error" in answer:
            raise SystemExit(f"{name}: the undamaged files cannot be made or read: {made} {answer}")
        self.whole = answer["shape"]
        self.names = [path.name for path in self.clean.rglob("*")]

    def _copy(self, name: str) -> Path:
        folder = self.work / name
        shutil.rmtree(folder, ignore_errors=True)
        return Path(shutil.copytree(self.clean, folder))

    def once(self, seed: int) -> tuple[str | None, str, dict[str, Any]]:
        """One damaged input: the failure or None, what was damaged, and the answer. The files stay in `damaged`."""
        draw = random.Random(f"{self.name} {seed}")
        folder = self._copy("damaged")
        files = sorted({path for glob in self.target.damaged for path in folder.glob(glob) if path.is_file()})
        path = draw.choice(files)
        what = f"{path.relative_to(folder)}: {damage(path, draw)}"
        answer = in_a_process(lambda: answer_of(self.target.read, folder), self.limits)
        return fault_in(answer, self.target, self.whole, [*self.names, *self.target.places, str(folder)]), what, answer


def fuzz(targets: dict[str, Target], inputs: int, seed: int, limits: Limits, keep: Path | None = None) -> list[str]:
    """`inputs` damaged files, shared by the targets; a line for each failure. Prints counts as it goes."""
    work = Path(tempfile.mkdtemp(prefix="fuzz_"))
    failures = []
    share = -(-inputs // len(targets))
    try:
        for name, target in targets.items():
            fuzzer, found = Fuzzer(name, target, work, limits), Counter[str]()
            for number in range(seed, seed + share):
                fault, what, answer = fuzzer.once(number)
                found[fault or "right"] += 1
                if fault:
                    last = str(answer.get("message", answer)).strip().splitlines()
                    failures.append(f"{fault}: {name} seed {number}, {what}: {' '.join(last[-1:])[:300]}")
                    if keep:
                        shutil.copytree(fuzzer.work / "damaged", keep / f"{fault}_{name}_{number}", dirs_exist_ok=True)
            print(f"{name}: " + ", ".join(f"{count} {kind}" for kind, count in sorted(found.items())), flush=True)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return failures


def main() -> None:
    from fuzz_targets import TARGETS, load_everything

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=2000, help="damaged files in all")
    parser.add_argument("--target", action="append", choices=sorted(TARGETS), help="one target; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the first input of every target")
    parser.add_argument("--seconds", type=float, default=Limits.seconds, help="of CPU, for one answer")
    parser.add_argument("--patience", type=float, default=Limits.patience, help="seconds until one that waits is ended")
    parser.add_argument("--megabytes", type=int, default=Limits.megabytes, help="beyond what the process had")
    parser.add_argument("--keep", type=Path, help="folder for the files of failures")
    arguments = parser.parse_args()
    load_everything()
    chosen = {name: TARGETS[name] for name in arguments.target or TARGETS}
    limits = Limits(arguments.seconds, arguments.megabytes, arguments.patience)
    failures = fuzz(chosen, arguments.inputs, arguments.seed, limits, arguments.keep)
    print("\n".join(failures))
    print(f"{len(failures)} failures")
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    main()
