"""What the names in a checkpoint stand for: records of what is not imported, and functions for what is known.

The functions take the machine of `ecg_signals.checkpoint.pickles`, for its counters, and values of the file; they make
new values out of these and touch nothing else.
"""

import _compat_pickle
import math
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ecg_signals import limits
from ecg_signals.config import ConfigError

if TYPE_CHECKING:
    from ecg_signals.checkpoint.pickles import Machine

Args = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Name:
    """A class or function that a file names; text only."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False, slots=True)
class Inert:
    """Stands for an object of a class that is not imported; keeps what the file says about it, and does nothing.

    Attributes:
        path: the class in the file, "module.Name".
        args: what it was called with.
        state: what `__setstate__` would have received.
        items, entries: what was appended to it or set in it, for classes derived from list or dict.
    """

    path: str
    args: Args = ()
    state: Any = None
    items: list[Any] = field(default_factory=list)
    entries: dict[Any, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor's storage: bytes of the file, and the type of one element."""

    content: torch.UntypedStorage
    dtype: torch.dtype


@dataclass(eq=False, slots=True)
class PendingDtype:
    """A numpy dtype by its code ("f4"); structured and object types are refused."""

    code: str
    order: str = "|"

    def build(self, _: "Machine", state: Any) -> None:
        if any(part is not None for part in state[2:5]):
            raise ConfigError("it holds a structured numpy array; checkpoints hold plain numbers only")
        self.order = state[1]

    def dtype(self) -> np.dtype[Any]:
        kind, width = self.code[:1], self.code[1:]
        if kind not in tuple("fiubcUS") or not width.isdecimal() or len(width) > 9 or self.order not in tuple("<>=|"):
            raise ConfigError(
                f"it holds a numpy array of type '{limits.shown(self.code)}'; checkpoints hold plain numbers only"
            )
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


@dataclass(eq=False, slots=True)
class PendingArray:
    """A numpy array while it is being read; `array` is filled by its state."""

    array: np.ndarray = field(default_factory=lambda: np.empty(0))

    def build(self, machine: "Machine", state: Any) -> None:
        _, shape, dtype, fortran, raw = state
        self.array = _array_of(machine, raw, dtype, shape, "F" if fortran else "C")


def kind(value: Any) -> str:
    return str(value) if isinstance(value, Name) else value.path if isinstance(value, Inert) else type(value).__name__


def refusal(verb: str, target: Any) -> ConfigError:
    return ConfigError(f"it {verb} {limits.shown(kind(target))}, which no checkpoint does; the file may be malicious")


def _array_of(machine: "Machine", raw: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray:
    """An array over the bytes of the file. Raises: ConfigError for objects, ValueError for another size."""
    if isinstance(raw, str):
        raw = _bytes(machine, raw)  # a byte string of Python 2
    if not isinstance(raw, (bytes, bytearray)) or not isinstance(dtype, PendingDtype):
        raise ConfigError("it holds a numpy array of objects; checkpoints hold plain numbers only")
    return np.frombuffer(raw, dtype.dtype()).reshape(shape, order=order)


def make_dict(machine: "Machine", pairs: list[Any]) -> dict[Any, Any]:
    machine.push({})
    machine.set_items(pairs)
    return machine.stack.pop()


def _mapping(machine: "Machine", content: Any = None) -> dict[Any, Any]:
    """OrderedDict and Counter: from a dict, from pairs, or empty."""
    if content is None:
        return {}
    machine.spend(len(content))
    if type(content) is dict:
        return dict(content)
    return make_dict(machine, [part for key, item in content for part in (key, item)])


def _list(machine: "Machine", items: Any = (), _maximum: Any = None) -> list[Any]:
    if type(items) not in (list, tuple):
        raise refusal("lists", items)
    machine.spend(len(items))
    return list(items)


def make_set(machine: "Machine", members: Any = ()) -> set[Any]:
    machine.push(set())
    machine.add_members(_list(machine, members))
    return machine.stack.pop()


def _bytes(machine: "Machine", text: Any = b"", encoding: Any = "latin1") -> bytes:
    """What protocol 2 writes for bytes; a number would ask for that many zeros."""
    if encoding not in ("latin1", "latin-1"):
        raise ConfigError(f"it encodes bytes as '{limits.shown(encoding)}'; only latin1 is known")
    if not isinstance(text, (str, bytes, bytearray)):
        raise refusal("makes bytes of", text)
    machine.claim(len(text))
    return text.encode("latin1") if isinstance(text, str) else bytes(text)


def _text(machine: "Machine", text: Any = "") -> str:
    if not isinstance(text, str):
        raise refusal("makes text of", text)
    return text


def _complex(machine: "Machine", real: Any, imaginary: Any) -> complex:
    return complex(*(part if isinstance(part, (int, float)) else float("nan") for part in (real, imaginary)))


def _path(machine: "Machine", *parts: Any) -> str:
    texts = [_text(machine, part) for part in parts]
    machine.claim(sum(map(len, texts)))
    return "/".join(part.rstrip("/") for part in texts) or "."


def _device(machine: "Machine", kind: Any, index: Any = None) -> str:
    name = limits.shown(_text(machine, kind))
    return name if type(index) is not int else f"{name}:{index}"


def _object(machine: "Machine", function: Any, base: Any = None, state: Any = None) -> Any:
    """`copyreg._reconstructor`: an object of a class, with what its base class holds."""
    return machine.call(function, () if state is None else (state,))


def _new_object(machine: "Machine", function: Any, *args: Any) -> Any:
    return machine.call(function, args)


def _array(machine: "Machine", *_: Any) -> PendingArray:
    return PendingArray()


def _dtype(machine: "Machine", code: Any = "", *_: Any) -> PendingDtype:
    return PendingDtype(_text(machine, code))


def _scalar(machine: "Machine", dtype: Any, raw: Any) -> Any:
    machine.claim(len(raw))
    return _array_of(machine, raw, dtype, (1,))[0].item()


def _parameter(machine: "Machine", data: Any, *_: Any) -> Any:
    return data


def _typed_tensor(machine: "Machine", function: Any, _kind: Any, args: Any, _state: Any) -> Any:
    """A tensor that had attributes or a subclass: its data alone."""
    if not isinstance(function, Name) or function.module != "torch._utils":
        raise refusal("rebuilds a tensor with", function)
    return machine.call(function, args)


def _tensor(machine: "Machine", stored: Any, offset: Any, size: Any, stride: Any, *more: Any) -> Tensor:
    """A view of a storage, which must lie inside it; `more`: requires_grad, hooks, conjugate and negative bits."""
    machine.spend(20)
    if not isinstance(stored, Stored) or type(size) is not tuple or type(stride) is not tuple:
        raise refusal("rebuilds a tensor of", stored)
    if any(type(number) is not int or number < 0 for number in (offset, *size, *stride)) or len(size) != len(stride):
        raise ConfigError("it holds a tensor of an impossible shape; the file is damaged")
    if len(size) > 64 or (len(more) > 2 and more[2]):
        raise ConfigError("it holds a tensor of a kind that no checkpoint needs")
    end = offset if 0 in size else offset + sum((count - 1) * step for count, step in zip(size, stride)) + 1
    elements = stored.content.nbytes() // stored.dtype.itemsize
    if end > elements or math.prod(size) > elements + limits.SLACK_BYTES // stored.dtype.itemsize:
        raise ConfigError(f"it holds a tensor of shape {_shape(size)} over {elements:,} numbers; the file is damaged")
    return torch.empty(0, dtype=stored.dtype, device="cpu").set_(stored.content, offset, size, stride)


def _shape(size: Args) -> str:
    return "x".join(f"{count:.4g}" if count > 1 << 53 else str(count) for count in size)


def _tensor_of_type(machine: "Machine", stored: Any, *rest: Any) -> Tensor:
    """`_rebuild_tensor_v3`: types that have no storage class of their own."""
    view, kind, more = rest[:5], rest[5], rest[6:]  # view: offset, size, stride, requires_grad, hooks
    if not isinstance(stored, Stored) or not isinstance(kind, Name) or kind.name not in DTYPES:
        raise refusal("rebuilds a tensor of type", kind)
    return _tensor(machine, Stored(stored.content, DTYPES[kind.name]), *view, *more)


DTYPES = {
    name: kind
    for name, kind in vars(torch).items()
    if isinstance(kind, torch.dtype) and not name.startswith(("q", "bits"))
}
_LAYOUTS = {name for name, value in vars(torch).items() if isinstance(value, torch.layout)}
_NUMPY_CORE = ("numpy.core.multiarray", "numpy._core.multiarray", "numpy.core.numeric", "numpy._core.numeric")
_PATHS = ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
CALLS: dict[tuple[str, str], Callable[..., Any]] = {
    ("builtins", "set"): make_set,
    ("builtins", "frozenset"): make_set,
    ("builtins", "list"): _list,
    ("builtins", "bytes"): _bytes,
    ("builtins", "bytearray"): _bytes,
    ("builtins", "complex"): _complex,
    ("collections", "OrderedDict"): _mapping,
    ("collections", "Counter"): _mapping,
    ("collections", "defaultdict"): lambda machine, *_: {},
    ("collections", "deque"): _list,
    ("copyreg", "__newobj__"): _new_object,
    ("copyreg", "_reconstructor"): _object,
    ("_codecs", "encode"): _bytes,
    ("codecs", "encode"): _bytes,
    ("numpy", "ndarray"): _array,
    ("numpy", "dtype"): _dtype,
    ("torch", "Size"): _list,
    ("torch", "device"): _device,
    ("torch._tensor", "_rebuild_from_type_v2"): _typed_tensor,
    ("torch.torch_version", "TorchVersion"): _text,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_type,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    **{(module, "_reconstruct"): _array for module in _NUMPY_CORE},
    **{(module, "scalar"): _scalar for module in _NUMPY_CORE},
    **{(module, "_frombuffer"): _array_of for module in _NUMPY_CORE},
    **{(module, kind): _path for module in ("pathlib", "pathlib._local") for kind in _PATHS},
}
VALUES = {  # names that stand for a type, and are never called
    *(("builtins", kind) for kind in ("dict", "tuple", "int", "float", "bool", "str", "object", "slice")),
    *(("numpy", kind) for kind in ("float16", "float32", "float64", "int32", "int64", "bool_")),
    *(("torch", name) for name in (*DTYPES, *_LAYOUTS)),
}
_INERT_ROOTS = (
    "omegaconf", "fairseq", "fairseq_signals", "hubert_ecg", "transformers", "typing", "datetime", "__main__",
)  # fmt: skip
_INERT_NAMES = {("argparse", "Namespace"), ("operator", "getitem"), ("_operator", "getitem")}
_OMEGACONF = ("DictConfig", "ListConfig", "UnionNode", "AnyNode", "ContainerMetadata", "Metadata")
_PEER_CLASSES = ("HuBERTECGConfig", "HubertConfig")
_IMPOSTORS = {name for module, name in CALLS if module != "builtins"} | {"Namespace", *_OMEGACONF}


def known_name(module: str, name: str) -> Name:
    """A name that a checkpoint may hold.

    Raises: ConfigError naming what is refused: functions, the rest of the standard library, torch and numpy, and
        classes of an unknown package that carry the name of a known one.
    """
    module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))  # a name of Python 2
    module = _compat_pickle.IMPORT_MAPPING.get(module, module)
    if (module, name) in CALLS or (module, name) in VALUES or (module, name) in _INERT_NAMES:
        return Name(module, name)
    root, leaf = module.partition(".")[0], name.rpartition(".")[2].lstrip("_")
    known_peer = root in _INERT_ROOTS and leaf[:1].isalpha()
    foreign = root not in sys.stdlib_module_names and root != "numpy"
    impostor = leaf in _IMPOSTORS or (leaf in _PEER_CLASSES and "hubert_ecg" not in module.split("."))
    class_like = foreign and leaf[:1].isupper() and not impostor
    if (known_peer or class_like) and len(module) + len(name) < limits.SHOWN * 2 and (module + name).isprintable():
        return Name(module, name)
    found = limits.shown(f"{module}.{name}")
    raise ConfigError(f"it asks for {found}, which no checkpoint needs; the file may be malicious")
