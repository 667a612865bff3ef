"""A model that is compared: a checkpoint, or a recipe, whose weights are random."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ecg_signals.checkpoint.initialise import encoder_section_of
from ecg_signals.checkpoint.load import files_read, load_source
from ecg_signals.config import ConfigError, UsageError, resolve_input
from ecg_signals.files import file_digest
from ecg_signals.interop.layout import input_named, inputs_of
from ecg_signals.signal.contract import SignalContract, stated_contract
from ecg_signals.signal.leads import LEADS

Recipes = Callable[[str], dict[str, Any] | None]  # "NAME key=value ..." -> composed sections; None: no such recipe
SUPERVISED = ("optimizer", "lr_scheduler", "optimization", "model")  # sections that a supervised recipe brings along
ENDINGS, LONGEST = (".pt", ".pth", ".yaml", ".safetensors"), 48  # of names
OWN = "own"  # the input that a checkpoint or a recipe states
PTBXL_MEAN, PTBXL_STD = -0.00077717, 0.23895642  # mV, of all training samples and leads at 100 Hz


@dataclass(frozen=True)
class Compared:
    """One of them.

    Attributes:
        name: of its folder and in tables.
        text: as it was typed.
        contract: how its input is made.
        input: what that is called, OWN where it is what the file or recipe states.
        inputs: names of those that there are for its model.
        encoder: the section that builds its encoder, with `_name`.
        file: its checkpoint; None: random weights.
        own: sections of a supervised recipe.
        labels, kind: of the head of a checkpoint, None without one.
        version: changes with the files.
    """

    name: str
    text: str
    contract: SignalContract
    encoder: dict[str, Any]
    file: str | None = None
    own: dict[str, Any] = field(default_factory=dict)
    labels: list[str] | None = None
    kind: str | None = None
    version: str = ""
    input: str = OWN
    inputs: tuple[str, ...] = ()

    def section(self, pretrained: bool) -> dict[str, Any]:
        """Keys of a `classifier` that begin it."""
        if pretrained and self.file is not None:
            return {"model_path": self.file}
        return {"model_path": None, "no_pretrained_weights": True, "encoder": self.encoder}


def find_model(typed: str, recipes: Recipes, usual: str = OWN) -> Compared:
    """The model that was typed: FILE, folder, org/name, or "RECIPE key=value ..."; behind it maybe "as NAME".

    Behind a file `signal=NAME` asks for another input than its own.

    Args:
        usual: the input of a file without that, if its model has one of that name.
    Raises: ConfigError when it is none of these, its checkpoint cannot be read or does not say how its input is made.
    """
    text, _, name = typed.partition(" as ")
    text, name = text.strip(), slug(name or text)
    if not text:
        raise UsageError(f"model={typed!r} names no model; give a checkpoint or a recipe, and behind it `as NAME`")
    sections = recipes(text)
    if sections is not None:
        return _of_recipe(text, name, sections)
    place, _, named = text.partition(" signal=")
    if " " in place and not resolve_input(place).exists():
        raise UsageError(
            f"'{place}' is no recipe; settings stand behind a recipe, such as 'w2v_cmsc model.dropout=0', and behind a "
            f"file only signal=NAME"
        )
    source = load_source(place)
    known = tuple(inputs_of(source.name, source.options))
    wanted = named.strip() or (usual if usual in known else OWN)
    contract = stated_contract(source.signal, place) if wanted == OWN else input_named(source, wanted)
    files = "".join(file_digest(path) for path in files_read(place) if path.is_file())
    _, section = encoder_section_of(source.name, source.options, text)
    return Compared(
        name, text, contract, section, str(resolve_input(place)),
        labels=source.labels, kind=source.logit_kind, version=hashlib.sha256(files.encode()).hexdigest()[:16],
        input=wanted, inputs=known,
    )  # fmt: skip


def _of_recipe(text: str, name: str, sections: dict[str, Any]) -> Compared:
    model = sections.get("model")
    if not isinstance(model, Mapping) or not model.get("_name"):
        raise ConfigError(f"recipe {text} names no model; give one that trains a model (`ecg-list recipe`)")
    cls, section = encoder_section_of(str(model["_name"]), model, text)
    supervised = bool(model.get("no_pretrained_weights")) and model["_name"] == "classifier"
    own = {key: dict(sections[key]) for key in SUPERVISED if sections.get(key)} if supervised else {}
    rule = (sections.get("dataset") or {}).get("window_rule")
    if supervised and rule:
        own["dataset"] = {"window_rule": rule}
    contract = usual_signal() if supervised else _as_recipe_says(cls.usual_input(), sections)
    return Compared(name, text, contract, section, own=own)


def usual_signal() -> SignalContract:
    """For models that no one has trained: 100 Hz, windows of 2.5 s, one scale for all leads.

    Source: Strodthoff et al. 2021, arXiv:2004.13701.
    """
    scale = {"mean": [PTBXL_MEAN] * len(LEADS), "std": [PTBXL_STD] * len(LEADS)}
    steps: list[dict[str, Any]] = [
        {"name": "interpolate_nan"},
        {"name": "resample", "method": "fourier"},
        {"name": "normalise", **scale},
    ]
    return SignalContract(100.0, list(LEADS), 250, steps, stride_samples=125)


def _as_recipe_says(usual: SignalContract, sections: Mapping[str, Any]) -> SignalContract:
    """A family's input with the recipe's rate and length of windows, where it names them."""
    found = {**(sections.get("task") or {}), **(sections.get("dataset") or {})}
    rate = found.get("sample_rate")
    if isinstance(rate, (int, float)) and rate not in (0, usual.sample_rate):
        window = round(usual.window_samples * rate / usual.sample_rate)
        usual = replace(usual, sample_rate=float(rate), window_samples=window, stride_samples=None)
    length = found.get("crop_samples")
    return replace(usual, window_samples=length) if isinstance(length, int) else usual


def slug(text: str) -> str:
    """A name for a folder: a checkpoint with its folder's, a recipe with its settings; the end of a long one is cut."""
    path = Path(text.strip())
    named = "/".join(path.parts[-2:]) if path.suffix in ENDINGS else text.strip()
    named = named.removesuffix(path.suffix) if path.suffix in ENDINGS else named
    found = re.sub(r"[^\w.=-]+", "-", named).strip("-.") or "model"
    return found if len(found) <= LONGEST else f"{found[:LONGEST]}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def distinct(models: list[Compared]) -> list[Compared]:
    """With names that differ; the same text twice is an error."""
    texts = [model.text for model in models]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice:
        raise UsageError(f"model={twice} is named twice; leave one out")
    names = [model.name for model in models]
    ends = [hashlib.sha256(model.text.encode()).hexdigest()[:6] for model in models]
    return [replace(one, name=f"{one.name}-{end}") if names.count(one.name) > 1 else one
            for one, end in zip(models, ends)]  # fmt: skip
