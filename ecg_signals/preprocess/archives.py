"""Unpacking a dataset's zip file, resumably."""

import lzma
import shutil
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from zipfile import ZipInfo

from ecg_signals.config import ConfigError
from ecg_signals.files import replacing
from ecg_signals.limits import MAX_UNPACKED_MORE, MAX_UNPACKED_PER_BYTE, path_below, regular_file


def unpack(archive: Path, dest: Path, wanted: Callable[[str], bool]) -> None:
    """Write the wanted files of a zip below `dest`; those that are there are left alone, unless they were cut short.

    Args:
        wanted: of a file's path inside the archive, with /.
    Raises: ConfigError for a file that is no whole zip, and for paths that lead out of `dest` or are there twice.
    """
    from tqdm import tqdm

    try:
        with zipfile.ZipFile(regular_file(archive)) as file:
            members = _places(archive, file, dest, wanted)
            todo = {path: item for path, item in members.items() if not _kept(file, path, item)}
            _warn_of_other_files(archive, [path for path in members if path not in todo], members)
            for path, item in tqdm(todo.items(), unit="file", desc=f"unpack {archive.name}", disable=not todo):
                with replacing(path) as partial, file.open(item) as source, open(partial, "wb") as out:
                    shutil.copyfileobj(source, out)
    except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, ValueError, RuntimeError, struct.error) as error:
        raise ConfigError(f"{archive} is truncated or no zip file ({error}); download it again") from None


def _places(archive: Path, file: zipfile.ZipFile, dest: Path, wanted: Callable[[str], bool]) -> dict[Path, ZipInfo]:
    """Where the wanted members go, below `dest`. Raises: ConfigError for two that would be one file."""
    found: dict[Path, ZipInfo] = {}
    for item in file.infolist():
        if item.is_dir() or not wanted(item.filename):
            continue
        path = path_below(dest, item.filename, archive)
        if path in found:
            both = f"{found[path].filename} and {item.filename}"
            raise ConfigError(f"{archive} holds {both}, which would be one file; get it again")
        found[path] = item
    _check_size(archive, found.values())
    return found


def check_spreadsheet(path: Path) -> None:
    """Raises: ConfigError for an .xlsx file, which is a zip, that would unpack to more than is believed of one."""
    try:
        with zipfile.ZipFile(regular_file(path)) as file:
            _check_size(path, file.infolist())
    except (zipfile.BadZipFile, ValueError, struct.error) as error:
        raise ConfigError(f"{path} is truncated or no .xlsx file ({error}); get it again") from None


def _check_size(archive: Path, members: Iterable[ZipInfo]) -> None:
    size, most = sum(item.file_size for item in members), archive.stat().st_size * MAX_UNPACKED_PER_BYTE
    if size > most + MAX_UNPACKED_MORE:
        raise ConfigError(f"{archive} would unpack to {size:,} bytes, more than {most:,}; get it again")


def _kept(file: zipfile.ZipFile, path: Path, item: ZipInfo) -> bool:
    """True for a file that is there; one that was cut short, the beginning of the archive's, is unpacked again."""
    if not path.is_file():
        return False
    size = path.stat().st_size
    if size >= item.file_size:
        return True
    with file.open(item) as source, path.open("rb") as present:
        return any(source.read(len(block)) != block for block in iter(lambda: present.read(1 << 20), b""))


def _warn_of_other_files(archive: Path, kept: list[Path], members: dict[Path, ZipInfo]) -> None:
    other = [path for path in kept if path.stat().st_size != members[path].file_size]
    if other:
        warnings.warn(f"{len(other)} files differ from those in {archive} and are kept, {other[0]} first", stacklevel=3)
