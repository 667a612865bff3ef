"""Stores and manifests on a server (https, s3, ...) through fsspec: whole files into a local cache, ranges into memory.

A server decides neither memory nor time: a range is as long as was asked for or an error, a file has the size that was
stated at first, within a bound, and everything ends after a time.
"""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ecg_signals.config import ConfigError
from ecg_signals.files import replacing
from ecg_signals.limits import MAX_REMOTE_FILE, REMOTE_SECONDS, shown

INSTALL = 'pip install "ecg-signals[remote]"'
PIECE = 8 << 20  # bytes of a file that are asked for at a time
TRIES = 3
_VERSIONS = ("ETag", "etag", "LastModified", "last_modified", "mtime", "created", "md5")  # of a file, as servers say
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)

Range = tuple[str, int, int]  # URL, first byte, byte behind the last


def is_url(path: str | os.PathLike[str]) -> bool:
    return _URL.match(os.fspath(path)) is not None


def cache_folder() -> Path:
    return Path(os.environ.get("ECG_SIGNALS_CACHE", os.path.expanduser("~/.cache/ecg_signals")))


def read_ranges(ranges: Sequence[Range], told: Callable[[Range], str] = lambda one: one[0]) -> list[bytes]:
    """The bytes of ranges, with one call for all of them; those that fail are asked for again.

    Args:
        told: what a message calls a range.
    Raises: ConfigError naming the first that cannot be had.
    """
    found: dict[Range, bytes] = {}
    failed: dict[Range, Any] = {}
    for _ in range(TRIES):
        wanted = [one for one in dict.fromkeys(ranges) if one not in found]
        if not wanted:
            break
        answers = _asked(wanted)
        failed = {}
        for one, answer in zip(wanted, answers, strict=True):
            if isinstance(answer, bytes) and len(answer) == one[2] - one[1]:
                found[one] = answer
            else:
                failed[one] = answer
        if any(isinstance(answer, FileNotFoundError) for answer in failed.values()):
            break
    for one, answer in failed.items():
        reason = f"{len(answer):,} bytes came" if isinstance(answer, bytes) else _reason(answer)
        raise ConfigError(
            f"{told(one)} cannot be read: bytes {one[1]:,} to {one[2]:,} were asked for, {reason}. Check the URL, the "
            f"network, and that the server answers ranges; the same command goes on from the last checkpoint"
        )
    return [found[one] for one in ranges]


def _asked(ranges: Sequence[Range]) -> Sequence[Any]:
    """What the server answers to every range: bytes, or an exception."""
    files = filesystem(ranges[0][0])
    urls, starts, ends = (list(column) for column in zip(*ranges))
    try:
        if getattr(files, "async_impl", False):
            from fsspec.asyn import sync

            return sync(files.loop, files._cat_ranges, urls, starts, ends, on_error="return", timeout=REMOTE_SECONDS)
        return files.cat_ranges(urls, starts, ends, on_error="return")
    except Exception as error:  # whatever a protocol's library raises
        return [error] * len(ranges)


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return f"no answer within {REMOTE_SECONDS} s"
    return shown(f"{type(error).__name__} {error}".strip())


def filesystem(url: str) -> Any:
    """fsspec's, of this process. Raises: ConfigError where a package is missing or the protocol unknown."""
    return _filesystem(url.partition("://")[0].lower(), os.getpid())  # their connections do not survive a fork


@cache
def _filesystem(protocol: str, process: int) -> Any:
    try:
        import fsspec

        if protocol in ("http", "https"):
            return fsspec.filesystem(protocol, client_kwargs=_bounded_http())
        return fsspec.filesystem(protocol)
    except ImportError as error:
        raise ConfigError(
            f"{protocol}:// is read through fsspec, with aiohttp for https and s3fs for s3 ({error}): {INSTALL}"
        ) from None
    except ValueError as error:
        raise ConfigError(f"fsspec knows no {protocol}:// ({error}); use https://, s3:// or a folder") from None


def _bounded_http() -> dict[str, Any]:
    """Options of a session in which no answer is longer than the range that was asked for."""
    import aiohttp

    class Bounded(aiohttp.ClientResponse):
        async def read(self) -> bytes:
            asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.request_info.headers.get("Range", ""))
            most = int(asked[2]) - int(asked[1]) + 1 if asked else PIECE
            if self._body is None:
                if asked and self.status == 200:
                    self.close()
                    raise OSError("the server sends whole files instead of ranges")
                content = bytearray()
                async for piece in self.content.iter_any():
                    content += piece
                    if len(content) > most:
                        self.close()
                        raise OSError(f"the server sends more than the {most:,} bytes that were asked for")
                self._body = bytes(content)
            return self._body

    timeout = aiohttp.ClientTimeout(total=REMOTE_SECONDS, sock_connect=min(30, REMOTE_SECONDS))
    return {"response_class": Bounded, "timeout": timeout}


def exists(url: str) -> bool:
    files = filesystem(url)
    try:
        return bool(files.exists(url))
    except Exception as error:
        raise ConfigError(f"{url} cannot be reached: {_reason(error)}. Check the URL and the network") from None


def fetched(url: str, change: Callable[[Path, Path], None] | None = None) -> Path:
    """A file of a server in the local cache, fetched once for each version of it that the server states.

    Args:
        change: (what came, what is to be kept) -> None, applied once.
    Raises: ConfigError where it is not there, larger than is believed, or changes meanwhile.
    """
    size, version = _stated(url)
    key = hashlib.sha256(f"{url}\n{size}\n{version}".encode()).hexdigest()[:32]
    path = cache_folder() / "remote" / key / url.rpartition("/")[2]
    if path.is_file():
        return path
    with replacing(path) as partial:
        came = partial.with_name(f"{partial.name}.came.tmp") if change else partial
        try:
            with came.open("wb") as file:
                for start in range(0, size, PIECE):
                    file.write(read_ranges([(url, start, min(start + PIECE, size))])[0])
            if change:
                change(came, partial)
        finally:
            if change:
                came.unlink(missing_ok=True)
    return path


def _stated(url: str) -> tuple[int, str]:
    """Size and version of a file."""
    files = filesystem(url)
    try:
        if getattr(files, "async_impl", False):
            from fsspec.asyn import sync

            about = sync(files.loop, files._info, url, timeout=REMOTE_SECONDS)
        else:
            about = files.info(url)
    except FileNotFoundError:
        raise ConfigError(f"{url} is not there, or cannot be reached; check the URL and the network") from None
    except Exception as error:
        raise ConfigError(f"{url} cannot be reached: {_reason(error)}. Check the URL and the network") from None
    size = about.get("size")
    if type(size) is not int or not 0 <= size <= MAX_REMOTE_FILE:
        raise ConfigError(
            f"{url} has {size} bytes as the server states; a number up to {MAX_REMOTE_FILE:,} is believed "
            f"(docs/limits.md). Copy the store to a local folder instead"
        )
    return size, "\n".join(f"{name}={about[name]}" for name in _VERSIONS if about.get(name))


class RangeCache:
    """Ranges of remote files on the local disk, up to a number of bytes; those longest unused go first.

    Several processes may use one. What is kept was whole when it was written.
    """

    def __init__(self, most: int, folder: Path | None = None) -> None:
        self.most, self.folder = most, folder or cache_folder() / "ranges"
        self._written = most  # since it was looked at how much is there; the first write looks

    def path(self, version: str, one: Range) -> Path:
        key = hashlib.sha256(f"{version}\n{one}".encode()).hexdigest()[:32]
        return self.folder / key[:2] / key

    def get(self, version: str, one: Range) -> bytes | None:
        path = self.path(version, one)
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        return content if len(content) == one[2] - one[1] else None

    def put(self, version: str, one: Range, content: bytes) -> None:
        path = self.path(version, one)
        with contextlib.suppress(OSError, ConfigError), replacing(path) as partial:  # without room nothing is kept
            partial.write_bytes(content)
        self._written += len(content)
        if self._written > self.most // 20:
            self._written = 0
            self._shrink()

    def _shrink(self) -> None:
        files = sorted(self._files())
        surplus = sum(size for _, size, _ in files) - self.most
        for _, size, path in files:
            if surplus <= 0:
                return
            path.unlink(missing_ok=True)
            surplus -= size

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        for path in self.folder.glob("??/*"):
            with contextlib.suppress(OSError):
                stat = path.stat()
                yield stat.st_mtime_ns, stat.st_size, path
