"""Packed stores on a server and their manifests: these and the index are copied once, records come by range."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.data.manifest import Slice
from ecg_signals.data.remote import Range, RangeCache, exists, fetched, is_url, read_ranges
from ecg_signals.data.sources.packed import INDEX, PackedStore
from ecg_signals.limits import MAX_REMOTE_BATCH

LEVELS = 3  # a manifest lies in the folder of its store or so many less one folders below it


class RemoteStore(PackedStore):
    """Reads records of a store by URL. `fetch` gets many with one call; what it got is kept until the next one.

    Args:
        url: of the folder.
        cache_bytes: of records that stay on the local disk; 0 for none.
    """

    def __init__(self, url: str, cache_bytes: int = 0) -> None:
        self.url, self.cache_bytes = url, cache_bytes
        index = fetched(f"{url}/{INDEX}")
        super().__init__(url, index)
        self._version = index.parent.name
        self._cache = RangeCache(cache_bytes) if cache_bytes else None
        self._fetched: dict[Slice, bytes] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return RemoteStore, (self.url, self.cache_bytes)

    def fetch(self, addresses: Sequence[Slice]) -> None:
        """Get these records, which the index knows, with one call."""
        for address in addresses:
            self._find(address)
        size = sum(address.bytes for address in addresses)
        if size > MAX_REMOTE_BATCH:
            raise ConfigError(
                f"a batch from {self.url} would have {size:,} bytes; at most {MAX_REMOTE_BATCH:,} are read at a time. "
                f"Lower dataset.batch_size"
            )
        wanted = {address: self._range(address) for address in addresses}
        kept = {address: self._cache.get(self._version, one) for address, one in wanted.items()} if self._cache else {}
        self._fetched = {address: content for address, content in kept.items() if content is not None}
        missing = [address for address in wanted if address not in self._fetched]
        for address, content in zip(missing, self._read([wanted[address] for address in missing])):
            self._fetched[address] = content
            if self._cache:
                self._cache.put(self._version, wanted[address], content)

    def _read(self, ranges: Sequence[Range]) -> list[bytes]:
        """The bytes of ranges; those that touch, as pairs do, are asked for as one."""
        joined: list[list[Any]] = []
        for url, first, behind in sorted(set(ranges)):
            if joined and joined[-1][0] == url and joined[-1][1] <= first <= joined[-1][2]:
                joined[-1][2] = max(joined[-1][2], behind)
            else:
                joined.append([url, first, behind])
        whole = [(url, first, behind) for url, first, behind in joined]
        starts = [one[:2] for one in whole]
        contents = read_ranges(whole, lambda one: f"{one[0].rpartition('/')[2]}:{one[1]} of {self.url}")
        found = []
        for url, first, behind in ranges:
            at = max(place for place, start in enumerate(starts) if start <= (url, first))
            found.append(contents[at][first - starts[at][1] : behind - starts[at][1]])
        return found

    def _range(self, address: Slice) -> Range:
        return f"{self.url}/{address.shard}", address.offset, address.offset + address.bytes

    def _content(self, address: Slice) -> np.ndarray:
        if address not in self._fetched:
            self.fetch([address])
        return np.frombuffer(self._fetched[address], dtype=np.uint8)


def fetched_manifest(url: str) -> Path:
    """A manifest of a server in the local cache, its root turned into the URL of the store."""

    def with_root(came: Path, kept: Path) -> None:
        with came.open("rb") as given, kept.open("wb") as file:
            root = given.readline().decode("utf-8-sig", "replace").strip()
            file.write(f"{root if is_url(root) else _store_of(url)}\n".encode())
            while piece := given.read(1 << 20):
                file.write(piece)

    return fetched(url, with_root)


def _store_of(url: str) -> str:
    """The nearest folder with an index."""
    folder = url
    for _ in range(LEVELS):
        folder = folder.rpartition("/")[0]
        if folder.endswith("/"):  # nothing but the protocol is left
            break
        if exists(f"{folder}/{INDEX}"):
            return folder
    raise ConfigError(
        f"{url} belongs to no packed store: neither its folder nor the two above it hold {INDEX}. Files on a server "
        f"are read from a store: `ecg-pack MANIFEST_DIR DEST`, then copy DEST there"
    )
