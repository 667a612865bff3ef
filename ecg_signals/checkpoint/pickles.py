"""A pickle reader that executes nothing: known containers and tensors are built, everything else is only recorded.

`torch.load(weights_only=True)` refuses older checkpoints: their configs are omegaconf objects or a Namespace, and
their meters hold numpy arrays. This reader takes those too. A name in the file is never imported: it is looked up in
the tables below, becomes an inert stub, or is refused by name.

It has the two names (`Unpickler`, `load`) that `torch.load(pickle_module=...)` needs.
"""

import _compat_pickle
import collections
import pickle
import sys
from collections.abc import Callable
from typing import Any, BinaryIO, ClassVar

import numpy as np
import torch

from ecg_signals.config import ConfigError


class Inert:
    """Stands for an object of a class that is not imported; keeps what the file says about it, and does nothing.

    Attributes:
        path: the class in the file, "module.Name".
        args: what it was called with.
        state: what `__setstate__` would have received.
        items, entries: what was appended to it or set in it, for classes derived from list or dict.
    """

    __slots__ = ("args", "entries", "items", "state")
    path: ClassVar[str] = ""
    args: tuple[Any, ...]
    items: list[Any]
    entries: dict[Any, Any]
    state: Any

    def __new__(cls, *args: Any, **kwargs: Any) -> "Inert":
        new = object.__new__(cls)
        new.args, new.state, new.items, new.entries = args, None, [], dict(kwargs)
        return new

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """All is recorded in `__new__`, which pickle may call alone."""

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def append(self, item: Any) -> None:
        self.items.append(item)

    def extend(self, items: Any) -> None:
        self.items.extend(items)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.entries[key] = value

    def __hash__(self) -> int:
        return id(self)


class InertDtype:
    """A numpy dtype by its code ("f4"); structured and object types are refused."""

    def __init__(self, code: Any = "", *_: Any) -> None:
        self.code, self.order = str(code), "|"

    def __setstate__(self, state: Any) -> None:
        if any(part is not None for part in state[2:5]):
            raise ConfigError("it holds a structured numpy array; checkpoints hold plain numbers only")
        self.order = state[1]

    def dtype(self) -> np.dtype[Any]:
        if not self.code or self.code[0] not in "fiubcUS" or not self.code[1:].isdigit():
            raise ConfigError(f"it holds a numpy array of type '{self.code}'; checkpoints hold plain numbers only")
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


class InertArray:
    """A numpy array while it is being read; `array` is filled by its state."""

    def __init__(self, *_: Any) -> None:
        self.array = np.empty(0)

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        if not isinstance(raw, (bytes, bytearray)):
            raise ConfigError("it holds a numpy array of objects; checkpoints hold plain numbers only")
        self.array = _array(bytes(raw), dtype, shape, "F" if fortran else "C")


def _array(raw: bytes, dtype: InertDtype, shape: Any, order: str = "C") -> np.ndarray:
    return np.frombuffer(raw, dtype.dtype()).reshape(shape, order=order).copy()  # type: ignore[call-overload]


def _array_from_buffer(raw: Any, dtype: InertDtype, shape: Any, order: str = "C") -> np.ndarray:
    return _array(bytes(raw), dtype, shape, order)


def _scalar(dtype: InertDtype, raw: bytes) -> Any:
    return np.frombuffer(raw, dtype.dtype())[0].item()


def _encode(text: str, encoding: str = "latin1") -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise ConfigError(f"it encodes bytes as '{encoding}'; only latin1 is known")
    return text.encode("latin1")


def _new_object(cls: Any, *args: Any) -> Any:
    """What `copyreg.__newobj__` and `_reconstructor` do, for stubs alone."""
    if isinstance(cls, type) and issubclass(cls, Inert):
        return cls(*args)
    name = getattr(cls, "__name__", str(cls))
    raise ConfigError(f"it builds an object of '{name}' in an unusual way; the file may be malicious")


def _path(*parts: str) -> str:
    return "/".join(str(part).rstrip("/") or "" for part in parts) or "."


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _typed_tensor(rebuild: Callable[..., Any], _kind: Any, args: Any, _state: Any) -> Any:
    """A tensor that had attributes or a subclass: its data alone."""
    if rebuild not in _REBUILD.values():
        raise ConfigError("it rebuilds a tensor with an unknown function; the file may be malicious")
    return rebuild(*args)


_REBUILD: dict[str, Callable[..., Any]] = {
    "_rebuild_tensor": torch._utils._rebuild_tensor,
    "_rebuild_tensor_v2": torch._utils._rebuild_tensor_v2,
    "_rebuild_parameter": _parameter,
    "_rebuild_parameter_with_state": _parameter,
}
_BUILTINS: dict[str, Any] = {
    kind.__name__: kind
    for kind in (set, frozenset, complex, bytearray, slice, list, dict, tuple, int, float, bool, str, bytes, object)
}
_PATHS = ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
_NUMPY_CORE = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_KNOWN: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): collections.OrderedDict,
    ("collections", "defaultdict"): collections.defaultdict,
    ("collections", "Counter"): collections.Counter,
    ("collections", "deque"): collections.deque,
    ("copyreg", "__newobj__"): _new_object,
    ("copyreg", "_reconstructor"): lambda cls, *_: _new_object(cls),
    ("_codecs", "encode"): _encode,
    ("codecs", "encode"): _encode,
    ("numpy", "ndarray"): InertArray,
    ("numpy", "dtype"): InertDtype,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._tensor", "_rebuild_from_type_v2"): _typed_tensor,
    ("torch.torch_version", "TorchVersion"): str,
    **{("torch._utils", name): function for name, function in _REBUILD.items()},
    **{(module, "_reconstruct"): InertArray for module in _NUMPY_CORE},
    **{(module, "scalar"): _scalar for module in _NUMPY_CORE},
    **{(module, "_frombuffer"): _array_from_buffer for module in _NUMPY_CORE},
    **{(module, kind): _path for module in ("pathlib", "pathlib._local") for kind in _PATHS},
}
_INERT_ROOTS = (
    "omegaconf",
    "fairseq",
    "fairseq_signals",
    "hubert_ecg",
    "transformers",
    "typing",
    "datetime",
    "__main__",
)
_INERT_NAMES = {("argparse", "Namespace"), ("operator", "getitem"), ("_operator", "getitem")}
_OMEGACONF = ("DictConfig", "ListConfig", "UnionNode", "AnyNode", "ContainerMetadata", "Metadata")
_PEER_CLASSES = ("HuBERTECGConfig", "HubertConfig")
_IMPOSTORS = {name for _, name in _KNOWN} | {"Namespace", *_OMEGACONF}


def find(module: str, name: str) -> Any:
    """What a name in a checkpoint stands for: a safe constructor, or an Inert class.

    Raises: ConfigError naming what is refused: functions, the rest of the standard library, torch and numpy, and
        classes of an unknown package that carry the name of a known one.
    """
    module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))  # a name of Python 2
    module = _compat_pickle.IMPORT_MAPPING.get(module, module)
    if module == "builtins" and name in _BUILTINS:
        return _BUILTINS[name]
    if (module, name) in _KNOWN:
        return _KNOWN[(module, name)]
    if module == "torch" and isinstance(getattr(torch, name, None), (torch.dtype, torch.layout)):
        return getattr(torch, name)
    root, leaf = module.partition(".")[0], name.rpartition(".")[2].lstrip("_")
    known_peer = root in _INERT_ROOTS and leaf[:1].isalpha()
    foreign = root not in sys.stdlib_module_names and root != "numpy"
    impostor = leaf in _IMPOSTORS or (leaf in _PEER_CLASSES and "hubert_ecg" not in module.split("."))
    class_like = foreign and leaf[:1].isupper() and not impostor
    if known_peer or class_like or (module, name) in _INERT_NAMES:
        return type(leaf, (Inert,), {"__slots__": (), "path": f"{module}.{name}"})
    raise ConfigError(f"it asks for {module}.{name}, which no checkpoint needs; the file may be malicious")


class Unpickler(pickle._Unpickler):
    """Python's own unpickler, whose names are answered by `find`.

    The one in C, and lengths that a damaged file states, ask for any amount of memory: here no length may exceed
    what is left of the file.
    """

    dispatch: ClassVar[dict[int, Any]] = dict(pickle._Unpickler.dispatch)

    def __init__(self, file: BinaryIO, **options: Any) -> None:
        super().__init__(file, **options)
        start = file.tell()
        end = file.seek(0, 2)
        file.seek(start)

        def read(size: int) -> bytes:
            if size > end - file.tell():
                raise EOFError(f"the file states a length of {size:,} bytes, beyond its end")
            return file.read(size)

        self._file_read = read

    def find_class(self, module: str, name: str) -> Any:
        return find(module, name)

    def load_bytearray8(self) -> None:
        self.append(bytearray(self.read(int.from_bytes(self.read(8), "little"))))  # type: ignore[attr-defined]

    dispatch[pickle.BYTEARRAY8[0]] = load_bytearray8


def load(file: BinaryIO, **options: Any) -> Any:
    """Unpickle without executing anything; `options` are those of `Unpickler`."""
    return Unpickler(file, **options).load()


def plain_tree(value: Any) -> Any:
    """Stubs and special containers as dicts, lists, numbers, strings, arrays and tensors.

    omegaconf nodes become what they hold, an enum member its value, any other stub the dict of its state with its
    class under `__class__`.
    """
    return _plain(value, {})


def _plain(value: Any, seen: dict[int, Any]) -> Any:
    if id(value) in seen:
        return seen[id(value)][0]
    if isinstance(value, Inert):
        return _plain_stub(value, seen)
    if isinstance(value, InertArray):
        return value.array
    if isinstance(value, InertDtype):
        return value.code
    if isinstance(value, torch.Tensor):
        return value.detach()
    if isinstance(value, dict):
        copy: Any = {}
        seen[id(value)] = (copy, value)
        copy.update({_key(key, seen): _plain(item, seen) for key, item in value.items()})
        return copy
    if isinstance(value, (list, collections.deque)):
        copy = []
        seen[id(value)] = (copy, value)
        copy.extend(_plain(item, seen) for item in value)
        return copy
    if isinstance(value, torch.Size):
        return list(value)
    if isinstance(value, tuple):
        return tuple(_plain(item, seen) for item in value)
    if isinstance(value, type):
        return getattr(value, "path", value.__name__)
    return value


def _key(key: Any, seen: dict[int, Any]) -> Any:
    found = _plain(key, seen)
    try:
        hash(found)
    except TypeError:
        return str(getattr(key, "path", key))
    return found


def _plain_stub(stub: Inert, seen: dict[int, Any]) -> Any:
    state = stub.state
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[1], dict):  # a class with __slots__
        state = {**(state[0] or {}), **state[1]}
    if isinstance(state, dict) and stub.path.startswith("omegaconf."):
        if "_content" in state:
            return _plain(state["_content"], seen)
        if "_val" in state:
            return _plain(state["_val"], seen)
    if state is None and not stub.items and not stub.entries and len(stub.args) == 1:
        return _plain(stub.args[0], seen)  # a member of an enum
    if stub.items and not stub.entries:
        return [_plain(item, seen) for item in stub.items]
    copy: dict[Any, Any] = {"__class__": stub.path}
    seen[id(stub)] = (copy, stub)
    if stub.args:
        copy["__args__"] = _plain(stub.args, seen)
    for part in (stub.entries, state if isinstance(state, dict) else {"__state__": state} if state is not None else {}):
        copy.update({_key(key, seen): _plain(item, seen) for key, item in part.items()})
    return copy
