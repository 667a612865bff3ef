"""What a stranger's file may ask for: one place that says which sizes and paths are believed.

A file states sizes and names; neither decides how much memory is taken or where something is read or written. A size
is held against the bytes that are there and against the bounds below. docs/limits.md lists them for users.
"""

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath

from ecg_signals.config import ConfigError

# Checkpoints. Published files stay below a hundredth of each; beyond them a small file could cost minutes or gigabytes.
MAX_ARCHIVE_DIRECTORY = 4 << 20  # bytes of a zip's list of members: about 40,000 tensors
MAX_PICKLE_BYTES = 128 << 20  # the pickled part of a torch.save file, without the tensors
MAX_PICKLE_STEPS = 1_000_000  # instructions; a copied element counts as one, a tensor as 20
MAX_PICKLE_TEXT = 64 << 20  # characters in all
MAX_INTEGER_BITS = 512  # random states have 128; arithmetic and printing of long integers is quadratic
MAX_LINE = 1 << 20  # bytes of a line of text in a pickle
MAX_KEY_LENGTH = 1024  # characters of a key; equal long keys are compared character by character
MAX_NUMBER_KEYS = 20_000  # keys and set members that are not text: their hashes can be made to collide
MAX_NESTING = 100  # containers inside containers
MAX_NODES = 1_000_000  # values of a file, counted each time they are named
MAX_REPEATS = 4  # bytes of tensors and texts, counted each time they are named, over the bytes of the file
SLACK_BYTES = 64 << 20  # what a file may claim over its own size, for tensors that are views of one number
MAX_JSON_BYTES = 16 << 20  # config.json and the index of a Hugging Face folder
MAX_SAFETENSORS_HEADER = 16 << 20  # bytes; about 100,000 tensors
MODULES_PER_TENSOR = 50  # parts of a model, over the number of tensors that its file holds
SHOWN = 100  # characters of a stranger's text in a message


def regular_file(path: str | os.PathLike[str]) -> Path:
    """`path`, when it leads to an ordinary file; a FIFO or a device could block for ever or never end.

    Raises: ConfigError naming what it is instead.
    """
    found = Path(path)
    try:
        mode = found.stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{found} cannot be read ({reason}); check the path") from None
    if stat.S_ISREG(mode):
        return found
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
    kind = next((name for test, name in kinds if test(mode)), "a device")
    raise ConfigError(f"{found} is {kind}, not an ordinary file; give the file itself, or copy its content into one")


def path_below(folder: Path, name: str, source: object) -> Path:
    """folder / name for a name that a file states; the result lies below `folder`, by its text and on the disk.

    Args:
        folder: where the result must lie.
        name: a relative path out of a table, a header, an archive or a label; "/" and "\\" both separate.
        source: what states the name, for the error message.
    Raises: ConfigError for an absolute name, one that climbs with "..", one without any part, and one that a link
        leads elsewhere.
    """
    windows = PureWindowsPath(name)
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if windows.drive or windows.root or not parts or ".." in parts or "\0" in name:
        raise ConfigError(f"{source} names {name!r}, which does not lie below {folder}; write a path relative to it")
    result = folder.joinpath(*parts)
    if not result.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{source} names {name!r}, which a link leads out of {folder}; copy the file into it")
    return result


def shown(text: object) -> str:
    """A stranger's text for a message or a log: one short line without control characters."""
    line = str(text)[:SHOWN].encode("unicode_escape").decode("ascii")
    return line if len(str(text)) <= SHOWN else f"{line}..."


def name_below(path: str) -> str:
    """A path of an input as a relative one, to name an output after it.

    It stays below whatever folder it is joined to: /a/b gives _root/a/b, and ../a gives _up/a. Characters that would
    break a line or a column of a table, or that no file system takes, become _.
    """
    text = re.sub(r"[\0-\x1f\x7f\ud800-\udfff]", "_", path.replace("\\", "/"))
    text = re.sub(r"^([A-Za-z]):", r"/\1", text)
    parts = ["_up" if part == ".." else part for part in text.split("/") if part not in ("", ".")]
    return "/".join((["_root"] if text.startswith("/") else []) + parts)


def check_no_input(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raises: ConfigError when a file to be written is one that is read, also by another name (a link)."""
    read = list(inputs)
    for output in outputs:
        for given in read:
            if output.exists() and given.exists() and output.samefile(given):
                raise ConfigError(
                    f"{output} would be written over the input {given}; nothing was written. Choose another place"
                )
