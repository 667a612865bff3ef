"""What a stranger's file may ask for: one place that says which sizes and paths are believed.

A file states sizes and names; neither decides how much memory is taken or where something is read or written. A size
is held against the bytes that are there and against the bounds below. docs/limits.md lists them for users.
"""

import os
import stat
from pathlib import Path, PurePosixPath, PureWindowsPath

from ecg_signals.config import ConfigError


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
