"""A pickle machine that executes nothing: known containers, arrays and tensors are built, all else is only recorded.

Why a file cannot reach anything:

- A name in the file (GLOBAL, STACK_GLOBAL, INST) gives a `Name`, which is text. Nothing is imported or looked up.
- What a `Name` does when it is called (REDUCE, NEWOBJ, OBJ, INST) stands in `names.CALLS`: functions that take
  values of the file and make new ones. Other known names give an `Inert` record of the call; the rest is refused.
- BUILD, APPEND and SETITEM change only what this load has made: dicts, lists, sets, `Inert` and `Pending*` records.
- Every instruction, copied element, text and byte is counted against `ecg_signals.limits`. Keys are short texts or
  plain numbers, so that nothing nested is ever hashed, compared or printed.

`plain.plain_tree` turns the result into a finite, shallow tree, so that code after it may walk it freely.
"""

import gc
import pickletools
from collections.abc import Callable, Iterable
from typing import Any

from ecg_signals import limits
from ecg_signals.checkpoint.names import (
    CALLS,
    VALUES,
    Args,
    Inert,
    Name,
    PendingArray,
    PendingDtype,
    kind,
    known_name,
    make_dict,
    make_set,
    refusal,
)
from ecg_signals.config import ConfigError

MARKS_PER_LEVEL = 4  # open at once for one container in another; a pickler has at most two


class Machine:
    """Runs one pickle out of `file`, which is left right behind it.

    Args:
        file: a seekable binary file (also a memory map); the bytes that are left bound what the pickle may make.
        storage: persistent id -> what it stands for; without it persistent ids are refused.
    """

    def __init__(self, file: Any, storage: Callable[[Any], Any] | None = None) -> None:
        self.file, self.storage = file, storage
        start = file.tell()
        file.seek(0, 2)
        self.size = file.tell()
        file.seek(start)
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []  # the stacks below each mark
        self.memo: list[Any] = []
        self.steps = self.text = self.claimed = self.number_keys = 0

    def run(self) -> Any:
        """The object. Raises: ConfigError for what is refused; ValueError, IndexError, ... for damaged bytes.

        Python's garbage collector rests meanwhile: it would walk again and again through what is still being built.
        """
        collecting = gc.isenabled()
        gc.disable()
        try:
            return self._run()
        finally:
            if collecting:
                gc.enable()

    def _run(self) -> Any:
        for opcode, argument, _ in pickletools.genops(self.file):
            self.spend(1)
            if opcode.name == "STOP":
                return self.stack.pop()
            action = _OPCODES.get(opcode.name)
            if action is None:
                raise ConfigError(f"it uses the pickle instruction {opcode.name}, which no checkpoint needs")
            action(self, argument)
        raise EOFError("the pickle does not end")

    def spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > limits.MAX_PICKLE_STEPS:
            raise ConfigError(f"it needs more than {limits.MAX_PICKLE_STEPS:,} steps to be read (docs/limits.md)")

    def claim(self, size: int) -> None:
        """Count `size` bytes that a call makes out of values of the file."""
        self.claimed += size
        if self.claimed > self.size + limits.SLACK_BYTES:
            raise ConfigError(f"it unfolds to far more bytes than the {self.size:,} that are there (docs/limits.md)")

    # What a subclass may widen.

    def name(self, module: str, name: str) -> Name:
        return known_name(module, name)

    def built(self, record: Inert) -> Any:
        """What stands for a record once its state is known."""
        return record

    # The stack.

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def literal(self, value: Any) -> None:
        if isinstance(value, int) and value.bit_length() > limits.MAX_INTEGER_BITS:
            raise ConfigError(f"it holds an integer of {value.bit_length():,} bits (docs/limits.md)")
        if isinstance(value, str):
            self.text += len(value)
            if self.text > limits.MAX_PICKLE_TEXT:
                raise ConfigError(f"it holds more than {limits.MAX_PICKLE_TEXT:,} characters of text (docs/limits.md)")
        self.stack.append(value)

    def mark(self, _: Any) -> None:
        if len(self.marked) > MARKS_PER_LEVEL * limits.MAX_NESTING:
            raise ConfigError(f"it nests more than {limits.MAX_NESTING} deep (docs/limits.md)")
        self.marked.append(self.stack)
        self.stack = []

    def to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marked.pop()
        return items

    def pop(self, _: Any) -> None:
        if self.stack:
            self.stack.pop()
        else:
            self.to_mark()

    def put(self, index: int | None) -> None:
        """Remember the top; indices are those of a pickler, which counts, so that a list holds them."""
        index = len(self.memo) if index is None else index
        if index > self.steps:
            raise ValueError(f"memo index {index}")
        self.memo.extend([None] * (index + 1 - len(self.memo)))
        self.memo[index] = self.stack[-1]

    # Containers.

    def take(self, count: int) -> Args:
        if count > len(self.stack):
            raise IndexError("too few values")
        items = tuple(self.stack[len(self.stack) - count :])
        del self.stack[len(self.stack) - count :]
        return items

    def append_to(self, items: Iterable[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, Inert):
            target.items.extend(items)
        elif type(target) is list:
            target.extend(items)
        else:
            raise refusal("appends to", target)

    def set_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        into = target.entries if isinstance(target, Inert) else target
        if type(into) is not dict:
            raise refusal("sets items of", target)
        if len(pairs) % 2:
            raise ValueError("a key without a value")
        for index in range(0, len(pairs), 2):
            into[self.key(pairs[index], len(into))] = pairs[index + 1]

    def add_members(self, members: list[Any]) -> None:
        target = self.stack[-1]
        if type(target) is not set:
            raise refusal("adds members to", target)
        for member in members:
            target.add(self.key(member, len(target)))

    def key(self, key: Any, present: int) -> Any:
        """A key of a dict or member of a set: short text, a number, a short tuple of these; for a class its name.

        The hashes of numbers can be made to collide, unless they count the `present` keys; others are counted here.
        """
        if isinstance(key, Inert):  # a member of an enum by its value, else the class
            key = key.args[0] if len(key.args) == 1 and type(key.args[0]) in (str, int) else key.path
        if isinstance(key, Name):
            key = str(key)
        if not isinstance(key, (str, bytes)) and not (type(key) is int and 0 <= key <= present):
            self.number_keys += 1
        if self.number_keys > limits.MAX_NUMBER_KEYS:
            raise ConfigError(
                f"over {limits.MAX_NUMBER_KEYS:,} of its keys neither are text nor count (docs/limits.md)"
            )
        for part in key if type(key) is tuple and len(key) <= 8 else (key,):
            if isinstance(part, (str, bytes)) and len(part) > limits.MAX_KEY_LENGTH:
                raise ConfigError(f"it has a key of {len(part):,} characters (docs/limits.md)")
            if type(part) not in (str, bytes, int, float, bool, type(None)):
                raise ConfigError(f"it has a key that is a {kind(key)}; keys are text or numbers")
        return key

    # Names and calls.

    def named(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(self.name(module, name))

    def stack_named(self, _: Any) -> None:
        module, name = self.take(2)
        if not isinstance(module, str) or not isinstance(name, str):
            raise ConfigError("it names a class by something that is no text; the file may be malicious")
        self.stack.append(self.name(module, name))

    def call(self, function: Any, args: Any) -> Any:
        if not isinstance(function, Name) or not isinstance(args, tuple):
            raise refusal("calls", function)
        self.spend(len(args))
        action = CALLS.get((function.module, function.name))
        if action is not None:
            return action(self, *args)
        if (function.module, function.name) in VALUES:
            raise ConfigError(f"it calls {function}, which no checkpoint needs; the file may be malicious")
        return Inert(str(function), args)

    def reduce(self, _: Any) -> None:
        function, args = self.take(2)
        self.stack.append(self.call(function, args))

    def new_object_with_keywords(self, _: Any) -> None:
        function, args, keywords = self.take(3)
        made = self.call(function, args)
        if isinstance(made, Inert) and type(keywords) is dict:
            made.entries.update(keywords)
            self.spend(len(keywords))
        self.stack.append(made)

    def instance(self, argument: str) -> None:
        args = tuple(self.to_mark())
        self.named(argument)
        self.stack.append(self.call(self.stack.pop(), args))

    def object(self, _: Any) -> None:
        function, *args = self.to_mark()
        self.stack.append(self.call(function, tuple(args)))

    def build(self, _: Any) -> None:
        target, state = self.take(2)
        if isinstance(target, (PendingArray, PendingDtype)):
            target.build(self, state)
        elif isinstance(target, Inert):
            target.state = state
            target = self.built(target)
        elif type(target) is not dict:  # attributes of an OrderedDict, such as a state dict's versions, are left out
            raise refusal("sets attributes of", target)
        self.stack.append(target)

    def persistent(self, identity: Any) -> None:
        if self.storage is None:
            raise ConfigError("it refers to data outside itself; the file may be malicious")
        self.stack.append(self.storage(identity))


_LITERALS = (
    "INT BININT BININT1 BININT2 LONG LONG1 LONG4 STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 "
    "BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 FLOAT BINFLOAT"
)
_OPCODES: dict[str, Callable[[Machine, Any], Any]] = {
    **dict.fromkeys(_LITERALS.split(), Machine.literal),
    **dict.fromkeys(("PROTO", "FRAME"), lambda machine, _: None),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"), Machine.put),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda machine, index: machine.push(machine.memo[index])),
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "EMPTY_SET": lambda machine, _: machine.push(set()),
    "MARK": Machine.mark,
    "POP": Machine.pop,
    "POP_MARK": lambda machine, _: machine.to_mark(),
    "DUP": lambda machine, _: machine.push(machine.stack[-1]),
    "LIST": lambda machine, _: machine.push(machine.to_mark()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.to_mark())),
    "TUPLE1": lambda machine, _: machine.push((machine.stack.pop(),)),
    "TUPLE2": lambda machine, _: machine.push(machine.take(2)),
    "TUPLE3": lambda machine, _: machine.push(machine.take(3)),
    "FROZENSET": lambda machine, _: machine.push(make_set(machine, machine.to_mark())),
    "DICT": lambda machine, _: machine.push(make_dict(machine, machine.to_mark())),
    "APPEND": lambda machine, _: machine.append_to(machine.take(1)),
    "APPENDS": lambda machine, _: machine.append_to(machine.to_mark()),
    "SETITEM": lambda machine, _: machine.set_items(list(machine.take(2))),
    "SETITEMS": lambda machine, _: machine.set_items(machine.to_mark()),
    "ADDITEMS": lambda machine, _: machine.add_members(machine.to_mark()),
    "GLOBAL": Machine.named,
    "STACK_GLOBAL": Machine.stack_named,
    "REDUCE": Machine.reduce,
    "NEWOBJ": Machine.reduce,
    "NEWOBJ_EX": Machine.new_object_with_keywords,
    "INST": Machine.instance,
    "OBJ": Machine.object,
    "BUILD": Machine.build,
    "BINPERSID": lambda machine, _: machine.persistent(machine.stack.pop()),
}
