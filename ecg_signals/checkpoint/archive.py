"""The two files that torch.save has written: a zip archive (torch 1.6 and later), and pickles with bytes behind them.

Storages are views of the file, mapped into memory copy on write; what the file states about their places and sizes is
held against the bytes that are there.
"""

import io
import mmap
import struct
import sys
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np
import torch

from ecg_signals import limits
from ecg_signals.checkpoint.names import Name, Stored
from ecg_signals.checkpoint.pickles import Machine
from ecg_signals.checkpoint.plain import plain_tree
from ecg_signals.config import ConfigError

ZIP_MAGIC = b"PK\x03\x04"
LEGACY_MAGIC, LEGACY_PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_LOCAL_HEADER = struct.Struct("<26xHH")  # of a zip member: lengths of its name and of its extra field
_ALIGNMENT = 16  # bytes; kernels may expect it of complex numbers
_ELEMENTS = {
    "Double": torch.float64, "Float": torch.float32, "Half": torch.float16, "BFloat16": torch.bfloat16,
    "Long": torch.int64, "Int": torch.int32, "Short": torch.int16, "Char": torch.int8, "Byte": torch.uint8,
    "Bool": torch.bool, "ComplexDouble": torch.complex128, "ComplexFloat": torch.complex64, "Untyped": torch.uint8,
}  # fmt: skip


def read_zip(file: Path) -> Any:
    """The content of a file of torch.save, as `plain_tree` gives it. Raises: ConfigError for any other zip archive."""
    root, members = _members(file)
    pickled = members[f"{root}/data.pkl"]
    if pickled[1] > limits.MAX_PICKLE_BYTES:
        raise ConfigError(f"its data.pkl has {pickled[1]:,} bytes, more than {limits.MAX_PICKLE_BYTES:,}")
    size = file.stat().st_size
    whole = torch.UntypedStorage.from_file(str(file), False, size)
    with file.open("rb") as stream:
        source = io.BytesIO(_read_member(stream, pickled))
        start, length = members.get(f"{root}/byteorder", (0, 0))
        order = _read_member(stream, (start, min(length, 16)))
    swap = order not in (b"", sys.byteorder.encode())
    known: dict[str, torch.UntypedStorage] = {}

    def storage(identity: Any) -> Stored:
        dtype, key, count = _identity(identity)
        offset, length = members.get(f"{root}/data/{key}", (0, -1))
        if length != count * dtype.itemsize:
            found = f"{length:,} bytes there" if length >= 0 else "nothing there"
            raise EOFError(f"it states {count:,} numbers for its tensor data/{limits.shown(key)}, but has {found}")
        if key not in known:
            known[key] = _aligned(whole[offset : offset + length])
            if swap:
                known[key] = known[key].clone()
                known[key].byteswap(dtype)
        return Stored(known[key], dtype)

    return plain_tree(Machine(source, storage).run(), size)


def _members(file: Path) -> tuple[str, dict[str, tuple[int, int]]]:
    """The folder that holds data.pkl, and name -> offset and length of all that a zip archive stores.

    Raises: ConfigError when its parts are compressed, come twice or overlap, which would let a small file seem large.
    """
    size = file.stat().st_size
    with _Bounded(io.FileIO(file)) as stream, zipfile.ZipFile(stream) as archive:
        root, end = _root(archive.namelist()), 0
        found: dict[str, tuple[int, int]] = {}
        for item in sorted(archive.infolist(), key=lambda item: item.header_offset):
            if item.compress_type != zipfile.ZIP_STORED or item.flag_bits & 1:
                raise ConfigError("its parts are compressed, as torch.save never does; unzip it and zip it with -0")
            stream.seek(item.header_offset)
            header = stream.read(_LOCAL_HEADER.size)
            if len(header) < _LOCAL_HEADER.size or not header.startswith(ZIP_MAGIC):
                raise EOFError(f"the archive's part {limits.shown(item.filename)} is not where it should be")
            if item.filename in found or item.header_offset < end:
                raise ConfigError("parts of the archive overlap or come twice; the file may be malicious")
            start = item.header_offset + _LOCAL_HEADER.size + sum(_LOCAL_HEADER.unpack(header))
            end = start + item.file_size
            if end > size:
                raise EOFError("the archive ends too early")
            found[item.filename] = start, item.file_size
    return root, found


class _Bounded(io.BufferedReader):
    """A file for `zipfile`, which reads the whole list of members at once."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > limits.MAX_ARCHIVE_DIRECTORY:
            raise ConfigError(f"its list of members has {size:,} bytes, more than {limits.MAX_ARCHIVE_DIRECTORY:,}")
        return super().read(size)


def _root(names: list[str]) -> str:
    paths = [PurePosixPath(name) for name in names]
    if any(path.name == "constants.pkl" for path in paths):
        raise ConfigError("it is a TorchScript program, not a checkpoint; export the weights with state_dict() instead")
    roots = {path.parts[0] for path in paths if path.name == "data.pkl" and len(path.parts) == 2}
    if len(roots) != 1:
        held = ", ".join(limits.shown(path.name) for path in paths[:5])
        raise ConfigError(f"it is a zip archive without data.pkl (it holds {held}), not a checkpoint")
    return roots.pop()


def _read_member(stream: BinaryIO, member: tuple[int, int]) -> bytes:
    stream.seek(member[0])
    return stream.read(member[1])


def _identity(identity: Any) -> tuple[torch.dtype, str, int]:
    """Element type, key and number of elements that a persistent id states for a storage."""
    kind, key, count = identity[1], identity[2], identity[4]
    dtype = _ELEMENTS.get(kind.name.removesuffix("Storage")) if isinstance(kind, Name) else None
    if identity[0] != "storage" or dtype is None or type(key) is not str or type(count) is not int or count < 0:
        raise ConfigError("it refers to tensors in a way that no checkpoint does; the file may be malicious")
    return dtype, key, count


def _aligned(storage: torch.UntypedStorage) -> torch.UntypedStorage:
    return storage.clone() if storage.data_ptr() % _ALIGNMENT else storage


def read_legacy(file: Path) -> Any:
    """The content of a file that torch before 1.6 has saved: pickles, then the bytes of each storage.

    Raises: ConfigError for any other pickle.
    """
    with file.open("rb") as stream, Mapped(stream.fileno(), 0, access=mmap.ACCESS_READ) as source:
        if Machine(source).run() != LEGACY_MAGIC or Machine(source).run() != LEGACY_PROTOCOL:
            raise ConfigError("it is a pickle, but none that torch.save wrote; save it with torch.save")
        system = Machine(source).run()
        storages = _Behind(source)
        content = Machine(source, storages).run()
        storages.fill(Machine(source).run(), swap=not system["little_endian"])
        return plain_tree(content, len(source))


class Mapped(mmap.mmap):
    """A file as a pickle machine reads it: neither a line without end nor one text of gigabytes is read."""

    def read(self, size: int | None = None, /) -> bytes:
        if size is None or size > limits.MAX_PICKLE_BYTES:
            raise ConfigError(f"one value of its pickle has {size or 0:,} bytes (docs/limits.md)")
        return super().read(size)

    def readline(self) -> bytes:
        start = self.tell()
        end = self.find(b"\n", start, start + limits.MAX_LINE)
        if end < 0:
            raise EOFError("a line of text does not end")
        return self.read(end + 1 - start)


class _Behind:
    """Storages whose bytes follow the pickles that name them."""

    def __init__(self, source: mmap.mmap) -> None:
        self.source = source
        self.known: dict[str, Stored] = {}
        self.left = len(source)

    def __call__(self, identity: Any) -> Any:
        if identity[0] == "module":
            return identity[1]  # a class with its source code: the name alone
        dtype, key, count = _identity(identity)
        if key not in self.known:
            self.left -= count * dtype.itemsize
            if self.left < 0:
                raise ConfigError("it states more numbers than it has bytes")
            self.known[key] = Stored(torch.UntypedStorage(count * dtype.itemsize), dtype)
        whole = self.known[key]
        if whole.dtype != dtype or whole.content.nbytes() != count * dtype.itemsize:
            raise ConfigError("it states two sizes for one tensor; the file may be malicious")
        view = identity[5] if len(identity) > 5 else None
        if view is None:
            return whole
        _, offset, length = view
        if type(offset) is not int or type(length) is not int or not 0 <= offset <= offset + length <= count:
            raise ConfigError("it holds a part of a tensor that lies outside it; the file is damaged")
        return Stored(whole.content[offset * dtype.itemsize : (offset + length) * dtype.itemsize], dtype)

    def fill(self, keys: Any, swap: bool) -> None:
        """Read the bytes of the storages `keys`, in that order; each is preceded by its number of elements."""
        named = isinstance(keys, list) and all(isinstance(key, str) for key in keys)
        if not named or sorted(keys) != sorted(self.known):
            raise ConfigError("its list of tensors names others than its content does; the file is damaged")
        for key in keys:
            stored = self.known[key]
            size = stored.content.nbytes()
            count = int.from_bytes(self.source.read(8), "big" if swap else "little")
            if count * stored.dtype.itemsize != size or self.source.tell() + size > len(self.source):
                raise EOFError("the file ends too early")
            view = torch.empty(0, dtype=torch.uint8, device="cpu").set_(stored.content)
            view.numpy()[:] = np.frombuffer(self.source, np.uint8, size, self.source.tell())
            self.source.seek(size, 1)
            if swap:
                stored.content.byteswap(stored.dtype)
