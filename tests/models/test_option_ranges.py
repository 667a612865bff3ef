"""Numbers at and beyond the edge of what they mean, for every numeric option of every registered model."""

import typing
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml
from torch import Tensor

from ecg_signals.config import MISSING, ConfigError, field_default
from ecg_signals.registry import build, get_entry, register_model

SMALL = yaml.safe_load((Path(__file__).parents[1] / "contract" / "small.yaml").read_text())["model"]
NAMES = [name for name in register_model.names() if get_entry("model", name).cls.__module__.startswith("ecg_signals.")]
SHARES = ("dropout", "layerdrop", "mask_time_prob")  # in names of options that are at most 1


def numbers_in(hint):
    """int, float, or a list of them, out of an annotation such as `int | None`."""
    hint = next((arm for arm in typing.get_args(hint) if arm is not type(None)), hint) if _is_union(hint) else hint
    args = [arg for arg in typing.get_args(hint) if arg is not Ellipsis]
    return (args[0], len(args) if typing.get_origin(hint) is tuple else 1) if args else (hint, 0)


def _is_union(hint):
    return type(None) in typing.get_args(hint)


def cases():
    for name in NAMES:
        dataclass = get_entry("model", name).dataclass
        hints = typing.get_type_hints(dataclass)
        for item in fields(dataclass):
            kind, length = numbers_in(hints[item.name])
            default = field_default(item)
            if kind in (int, float):
                values = [0, -1, 1.5] if kind is float else [0, -1]
                values = [[value] * length for value in values] + [[]] if length else values
            elif isinstance(default, str) and default.startswith("["):
                values = ["[]", "[0]", "[-1, -1]"] + (["[(8, 4, 0)]"] if "(" in default else [])
            else:
                continue
            for value in values:
                yield pytest.param(name, item.name, value, id=f"{name}.{item.name}={value}")


def floats(output):
    for value in output.values():
        for leaf in value if isinstance(value, (list, tuple)) else [value]:
            if isinstance(leaf, Tensor) and leaf.is_floating_point():
                yield leaf


@pytest.mark.parametrize(("name", "key", "value"), cases())
def test_a_number_gives_a_working_model_or_one_error_that_names_option_value_and_range(name, key, value):
    entry = SMALL[name]
    torch.manual_seed(0)
    source = torch.randn(3, entry.get("leads", 12), entry.get("samples", 400))
    numbers = value if isinstance(value, list) else [value]
    least = next(item.metadata.get("least") for item in fields(get_entry("model", name).dataclass) if item.name == key)
    below = any(isinstance(number, (int, float)) and number < min(0, least or 0) for number in numbers)
    above = any(share in key for share in SHARES) and 1.5 in numbers
    try:
        model = build("model", name, **{**entry["options"], key: value})
        outputs = [model.eval()(source), model.train()(source, **entry.get("forward", {}))]
    except ConfigError as error:
        text = str(error)
        assert f"model.{key}" in text and "\n" not in text
        assert not numbers or str(numbers[0]) in text  # an empty list is told by its length
        assert any(word in text for word in ("set ", "give ", "change ", "must be ", "expected "))
    else:
        assert not below, f"model.{key}={value} means nothing, but makes a model"
        assert not above, f"model.{key}={value} is no share, but makes a model"
        for leaf in (leaf for output in outputs for leaf in floats(output)):
            assert not leaf.isnan().any() and not (leaf == float("inf")).any()


@pytest.mark.parametrize("name", NAMES)
def test_every_default_and_packaged_small_value_lies_in_its_declared_range(name):
    dataclass = get_entry("model", name).dataclass
    values = {item.name: field_default(item) for item in fields(dataclass)}
    dataclass.from_mapping({key: value for key, value in values.items() if value != MISSING}, where="model")
