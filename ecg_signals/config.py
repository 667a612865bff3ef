"""Options and the sections that every recipe shares: what a user can set, its default and its meaning.

A dataclass holds the defaults of one registered thing or of one section; `option` gives each field its
default and a sentence of help. Values that come from yaml, a command line or a checkpoint are converted
to the declared types here; strings are parsed as literals and never evaluated.
"""

import ast
import copy
import difflib
import os
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import MISSING as NO_DEFAULT
from dataclasses import Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, Self

MISSING = "???"  # a yaml's mark for "the user must set this"; an error only when it is read


class ConfigError(Exception):
    """What the user can fix: the message says what was found, what was expected and what to type next."""


class UsageError(ConfigError):
    """A wrong argument: an unknown key, name or command; the commands exit with status 2."""


def option(
    default: Any,
    help: str,
    *,
    choices: Iterable[Any] | None = None,
    least: float | None = None,
    most: float | None = None,
    above: float | None = None,
    rising: bool = False,
    follows: str = "",
    section: str = "",
    ours: bool = False,
    as_pretrained: bool = False,
) -> Any:
    """A dataclass field with its meaning.

    Args:
        default: used when neither the recipe nor the command line sets the key; lists, dicts and sections are copied.
        help: one phrase, with the unit.
        choices: the accepted values, None for any.
        least, most, above: the accepted numbers, or those of a list: `least` and `most` included, `above` not.
        rising: a list whose numbers do not fall, such as a smallest and a largest one.
        follows: "section.key" whose value is taken when this key is left unset and that key exists.
        section: where users type it, if not where it is held: `task`, for options of a dataset; both are accepted.
        ours: True when fairseq-signals has no such key; such keys stay out of a checkpoint's `cfg`.
        as_pretrained: True when a model may start only from a file with the same value, as it says how input is made.
    """
    choices = tuple(choices) if choices else None
    metadata = {name: value for name, value in locals().items() if name != "default"}
    if isinstance(default, (list, dict, set, BaseConfig)):
        return field(default_factory=lambda: copy.deepcopy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def another_default(section: type["BaseConfig"], name: str, default: Any) -> Any:
    """The option that `section` declares, with another default: for a class that extends it."""
    return field(default=default, metadata=section.__dataclass_fields__[name].metadata)


def field_default(item: Field) -> Any:
    """A field's default; a new one where it is a list, dict or section."""
    return item.default_factory() if item.default_factory is not NO_DEFAULT else item.default


def option_fields(section: Any) -> list[Field]:
    """The options of a section or of its class: its fields but `_name`."""
    return [item for item in fields(section) if item.name != "_name"]


@dataclass
class BaseConfig:
    """Options of one registered thing or one section. Reading a value that is still `???` raises ConfigError.

    Class attribute `options_of`: the kind of registered things whose options are options of this section as well, and
    the section that users type them in; see `ecg_signals.registry.with_options_of`.
    """

    options_of = ("", "")

    _name: str | None = None

    def __getattribute__(self, key: str) -> Any:
        value = super().__getattribute__(key)
        if type(value) is str and (value == MISSING or value.startswith("${")):
            typed = self.__dict__.get("_typed", {}).get(key)
            name = dotted(typed or self.__dict__.get("_where") or type(self).__name__, key)
            raise ConfigError(f"{name} has no value (found {value!r}); set it on the command line: {name}=VALUE")
        return value

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any], where: str = "") -> Self:
        """Build from plain values, converting each to its declared type.

        Raises: UsageError for an unknown key, ConfigError for a value of the wrong type, or outside choices or range.
        """
        hints = typing.get_type_hints(cls)
        known = {item.name: item for item in fields(cls)}
        arguments = {}
        for key, value in values.items():
            if key not in known:
                raise UsageError(unknown_message(f"key '{dotted(where, key)}'", key, known, f"{cls.__name__} has"))
            arguments[key] = coerce(value, hints[key], dotted(where, key))
            _check_value(arguments[key], known[key].metadata, dotted(where, key))
        made = cls(**arguments)
        made.__dict__["_where"] = where  # for messages alone
        return made

    @classmethod
    def sections_within(cls, values: Mapping[str, Any]) -> dict[str, type["BaseConfig"]]:
        """Options that are sections themselves, and the classes that plain `values` name for them."""
        return {}

    def to_dict(self) -> dict[str, Any]:
        """Plain containers, `???` included; the inverse of `from_mapping`."""
        return {item.name: plain(object.__getattribute__(self, item.name)) for item in fields(self)}


def plain(value: Any) -> Any:
    """Sections and sequences as dicts and lists, all the way down."""
    if isinstance(value, BaseConfig):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def range_of(metadata: Mapping[str, Any]) -> str:
    """The numbers that an option takes, in words: "0 to 1", "1 or more", "more than 0, up to 1"; "" for any."""
    least, most, above = (metadata.get(key) for key in ("least", "most", "above"))
    if above is not None:
        return f"more than {above}" + ("" if most is None else f", up to {most}")
    return "" if least is None else f"{least} or more" if most is None else f"{least} to {most}"


def _check_value(value: Any, metadata: Mapping[str, Any], name: str) -> None:
    """Raises: ConfigError for a value outside an option's choices or range; None and `???` are neither."""
    choices, accepted = metadata.get("choices"), range_of(metadata)
    if choices and value is not None and value != MISSING and value not in choices:
        raise ConfigError(f"{name} is {value!r}; it must be one of {', '.join(map(str, choices))}")
    numbers = [one for one in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(one, (int, float))]
    if accepted and not all(_in_range(number, metadata) for number in numbers):
        every = " in every entry" if isinstance(value, (list, tuple)) else ""
        raise ConfigError(f"{name}={str(plain(value))[:200]}; set {name} to {accepted}{every}")
    if metadata.get("rising") and sorted(numbers) != numbers:
        raise ConfigError(f"{name}={plain(value)} falls; set the smallest first: {name}={sorted(numbers)}")


def _in_range(number: float, metadata: Mapping[str, Any]) -> bool:
    """Not where it is NaN."""
    least, most, above = (metadata.get(key) for key in ("least", "most", "above"))
    return (least is None or number >= least) and (most is None or number <= most) and (above is None or number > above)


def known_options(cls: type[BaseConfig], values: Mapping[str, Any]) -> dict[str, Any]:
    """What of stored values the section still has, and the sections within it."""
    known = {key: value for key, value in values.items() if key in cls.__dataclass_fields__}
    return known | {key: known_options(inner, values[key]) for key, inner in cls.sections_within(values).items()}


def dotted(where: str, key: str) -> str:
    """`section.key`, or the key alone."""
    return f"{where}.{key}" if where else key


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name`; None when none is near."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return found[0] if found else None


def unknown_message(what: str, name: str, known: Iterable[str], owner: str) -> str:
    """What is unknown, its nearest neighbour, and, behind `owner`, all known names."""
    known = sorted(key for key in known if key != "_name")
    guess = nearest(name, known)
    hint = f"; did you mean '{guess}'?" if guess else "."
    return f"unknown {what}{hint} {owner}: {', '.join(known)}"


def listed(names: Sequence[object], most: int = 8) -> str:
    """The first names, and how many more there are."""
    return ", ".join(map(str, names[:most])) + (f" and {len(names) - most} more" if len(names) > most else "")


def coerce(value: Any, hint: Any, where: str) -> Any:
    """`value` as the type `hint`; strings holding numbers, lists or tuples are parsed, never evaluated."""
    if value is None and hint is not Any and type(None) not in typing.get_args(hint):
        raise _wrong(value, getattr(hint, "__name__", str(hint)), where)
    if value is None or hint is Any or (isinstance(value, str) and (value == MISSING or value.startswith("${"))):
        return value
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _coerce_union(value, args, where)
    if hint in (list, tuple) or origin in (list, tuple):
        return _coerce_sequence(value, origin or hint, args, where)
    if hint is dict or origin in (dict, Mapping):
        return _coerce_dict(value, args, where)
    if isinstance(hint, type) and is_dataclass(hint):
        return value if isinstance(value, hint) else hint.from_mapping(value, where)  # type: ignore[attr-defined]
    return _coerce_scalar(value, hint, where)


def _wrong(value: Any, expected: str, where: str) -> ConfigError:
    found = f"{value!r}"[:200]
    return ConfigError(f"{where} is {found} ({type(value).__name__}); expected {expected}. Set {where}=VALUE")


def _coerce_union(value: Any, args: tuple[Any, ...], where: str) -> Any:
    arms = [arm for arm in args if arm is not type(None)]
    for arm in arms:
        if isinstance(arm, type) and type(value) is arm:
            return value
    for arm in arms:
        try:
            return coerce(value, arm, where)
        except ConfigError:
            continue
    raise _wrong(value, " or ".join(getattr(arm, "__name__", str(arm)) for arm in arms), where)


def _coerce_sequence(value: Any, origin: type, args: tuple[Any, ...], where: str) -> Any:
    if isinstance(value, str) and value.strip()[:1] in ("[", "("):
        value = parse_literal(value, where)
    if isinstance(value, (list, tuple)) and len(value) > MAX_ITEMS:
        raise _wrong(value, f"at most {MAX_ITEMS:,} values", where)
    if isinstance(value, str) or not isinstance(value, (list, tuple)):
        value = [value]  # fairseq takes a single learning rate where a list is meant
    inner = [arg for arg in args if arg is not Ellipsis]
    if len(inner) > 1:
        if len(inner) != len(value):
            raise _wrong(value, f"{len(inner)} values", where)
        return origin(coerce(item, arg, where) for item, arg in zip(value, inner))
    return origin(coerce(item, inner[0] if inner else Any, where) for item in value)


def _coerce_dict(value: Any, args: tuple[Any, ...], where: str) -> dict[Any, Any]:
    if isinstance(value, str):
        value = parse_literal(value, where)
    if not isinstance(value, Mapping):
        raise _wrong(value, "a mapping", where)
    return {key: coerce(item, args[1] if args else Any, dotted(where, str(key))) for key, item in value.items()}


def _coerce_scalar(value: Any, hint: Any, where: str) -> Any:
    if hint is bool:
        words = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False}
        if str(value).lower() in words:
            return words[str(value).lower()]
        raise _wrong(value, "true or false", where)
    if hint is str:
        if isinstance(value, (str, int, float, Path)):
            return str(value)
        raise _wrong(value, "a string", where)
    if hint in (int, float):
        if not isinstance(value, bool):
            with suppress(TypeError, ValueError, OverflowError):
                return _number(value, hint)
        raise _wrong(value, hint.__name__, where)
    if isinstance(hint, type) and isinstance(value, hint):
        return value
    raise _wrong(value, str(hint), where)


def _number(value: Any, kind: type[int] | type[float]) -> int | float:
    """Raises: TypeError, ValueError or OverflowError for what is none of that kind; 1e3 and 2.0 are whole, too."""
    if kind is int and isinstance(value, (int, str)):
        with suppress(ValueError):
            return int(value)  # of any size
    number = float(value)
    if kind is int and number != int(number):
        raise ValueError(value)
    return kind(number)


MAX_TEXT, MAX_ITEMS = 100_000, 10_000  # characters and values of a list, which may be a stranger's


def parse_literal(text: str, where: str = "value") -> Any:
    """Numbers, strings, lists, tuples and dicts, with `+` and `*` between them, as in "[(256, 2, 2)] * 4".

    Raises: ConfigError naming `where` for anything else; nothing is executed.
    """
    try:
        if len(text) > MAX_TEXT:
            raise ValueError(f"it has {len(text):,} characters, up to {MAX_TEXT:,} are read")
        return _literal(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ConfigError(
            f"{where} is {text[:200]!r}, which is not a list, tuple, number or string: {error}; quote strings inside"
        ) from None


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_literal(item) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    if isinstance(node, ast.Dict):
        if any(key is None for key in node.keys):
            raise ValueError("** is not allowed")
        return {_literal(key): _literal(value) for key, value in zip(node.keys, node.values) if key is not None}
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _literal(node.operand)
        return -value if isinstance(node.op, ast.USub) else +value
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Mult)):
        left, right = _literal(node.left), _literal(node.right)
        if isinstance(node.op, ast.Add):
            return left + right
        if _size(left) * _size(right) > MAX_ITEMS:
            raise ValueError("the product is too large")
        return left * right
    raise ValueError(f"{type(node).__name__} is not allowed")


def _size(value: Any) -> Any:
    """Items of a value, those inside items included; characters of a text; a number is as large as it is."""
    if isinstance(value, (list, tuple, dict)):
        return sum(_size(item) if isinstance(item, (list, tuple, str)) else 1 for item in value)
    return len(value) if isinstance(value, (str, bytes)) else abs(value)


LAUNCH_DIR = "ECG_SIGNALS_LAUNCH_DIR"  # environment variable: where the command was typed, for relative inputs


def resolve_input(path: str | os.PathLike[str]) -> Path:
    """An input path: as it stands if it exists there, else relative to where the command was typed."""
    found = Path(path).expanduser()
    if found.is_absolute() or found.exists() or LAUNCH_DIR not in os.environ:
        return found
    return Path(os.environ[LAUNCH_DIR]) / found
