"""Packed records wherever a dataset reads files by name: one way to find them, whatever it is that names them."""

import os

from ecg_signals.data.manifest import Slice
from ecg_signals.data.remote import is_url
from ecg_signals.data.segment import Segment
from ecg_signals.data.sources.packed import INDEX, PackedStore
from ecg_signals.data.sources.remote import RemoteStore


class Stores:
    """The packed stores that names lead to. A name follows `root`, or is a path of its own, and is one of

    - an address, `shard.npy:offset:bytes`, as the manifests of `ecg-pack` have it;
    - the name of a file that was packed, or the end of its path, in the folder of a store: names stay as they are, and
      the folder that they follow becomes that of the store.

    Args:
        root: a folder or its URL.
        cache_bytes: of records of a server that stay on the local disk.
    """

    def __init__(self, root: str | os.PathLike[str] = "", cache_bytes: int = 0) -> None:
        self.root, self.cache_bytes = os.fspath(root), cache_bytes
        self._stores: dict[str, PackedStore] = {}
        self._shards: dict[str, tuple[PackedStore, str]] = {}  # as addresses name them -> store, and name there
        self._folders: dict[str, str | None] = {}  # of files -> the nearest one that is a store

    def read(self, name: str) -> Segment | None:
        """The record that a name leads to; None for one of an ordinary file.

        Raises: ConfigError for an address of no store, and for a name that a store knows of several files.
        """
        packed = Slice.parse(name)
        if packed is not None:
            store, packed = self.find(packed)
            return store.read(packed)
        named = self._named(os.path.join(self.root, name))
        return None if named is None else named[0].read(named[1])

    def find(self, packed: Slice) -> tuple[PackedStore, Slice]:
        """The store of an address, and the address in it."""
        found = self._shards.get(packed.shard)
        if found is None:
            folder, _, name = os.path.join(self.root, packed.shard).rpartition("/")
            found = self._shards[packed.shard] = self._store(folder), name
        return found[0], Slice(found[1], packed.offset, packed.bytes)

    def _store(self, folder: str) -> PackedStore:
        if folder not in self._stores:
            remote = is_url(folder)
            self._stores[folder] = RemoteStore(folder, self.cache_bytes) if remote else PackedStore(folder)
        return self._stores[folder]

    def _named(self, path: str) -> tuple[PackedStore, Slice] | None:
        folder = self._folder(os.path.dirname(path))
        if folder is None or os.path.isfile(path):
            return None
        store = self._store(folder)
        found = store.named(path[len(folder) + 1 :])
        return None if found is None else (store, found)

    def _folder(self, folder: str) -> str | None:
        """The nearest folder of a store, from `folder` upwards."""
        if folder not in self._folders:
            above = os.path.dirname(folder)
            here = os.path.isfile(os.path.join(folder, INDEX))
            self._folders[folder] = folder if here else None if above == folder else self._folder(above)
        return self._folders[folder]
