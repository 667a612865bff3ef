"""Unpacking a dataset's zip file, resumably."""

import shutil
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from ecg_signals.config import ConfigError
from ecg_signals.files import replacing


def unpack(archive: Path, dest: Path, wanted: Callable[[str], bool]) -> None:
    """Write the wanted files of a zip below `dest`; those that are there with the right size are left alone.

    Args:
        wanted: of a file's path inside the archive, with /.
    Raises: ConfigError for a file that is no whole zip, and for paths that lead out of `dest`.
    """
    from tqdm import tqdm

    try:
        with zipfile.ZipFile(archive) as file:
            members = [item for item in file.infolist() if not item.is_dir() and wanted(item.filename)]
            todo = [item for item in members if not _is_there(dest / item.filename, item.file_size)]
            for item in tqdm(todo, unit="file", desc=f"unpack {archive.name}", disable=not todo):
                path = PurePosixPath(item.filename)
                if path.is_absolute() or ".." in path.parts:
                    raise ConfigError(f"{archive} holds {item.filename}, which lies outside; download it again")
                with replacing(dest / path) as partial, file.open(item) as source, open(partial, "wb") as out:
                    shutil.copyfileobj(source, out)
    except (zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise ConfigError(f"{archive} is truncated or no zip file ({error}); download it again") from None


def _is_there(path: Path, size: int) -> bool:
    return path.is_file() and path.stat().st_size == size
