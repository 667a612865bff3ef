"""What a labeler looks for: a folder of JSON files in ECG-FM's form, checked."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from ecg_signals.config import ConfigError, unknown_message
from ecg_signals.limits import read_json, shown

MIMIC_IV_ECG = Path(__file__).with_name("mimic_iv_ecg")  # ECG-FM's, and its labels; notice in ecg_fm.txt
ABSENCE = "Absence"  # the descriptor of what a text says is not there
_FILES = {  # name of the file -> keys of its entries that must be there
    "entity_tem": ("name",),
    "entity_pat": ("pattern",),
    "desc_tem": ("name",),
    "desc_pat": ("pattern", "descriptors"),
    "split_desc_tem": ("name", "split"),
    "connective": ("pattern",),
    "compound_tem": ("entity", "including"),
    "attached_desc_tem": ("resulting_entity", "entity", "descriptor"),
    "traveling_desc_tem": ("entity", "descriptors"),
}
_NEEDED = ("entity_tem", "entity_pat")


@dataclass(frozen=True)
class Mention:
    """An entity, with descriptors."""

    entity: str
    descriptors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entity:
    """A finding.

    Attributes:
        parents: more general findings.
        bare: it is a label also without a descriptor.
    """

    parents: tuple[str, ...] = ()
    bare: bool = True


@dataclass(frozen=True)
class EntityPattern:
    """Words that name findings; none: the words are passed over, with what describes them."""

    mentions: tuple[Mention, ...] = ()


@dataclass(frozen=True)
class DescriptorPattern:
    """Words that describe the next finding or, with `backwards`, the one before; None: they describe nothing."""

    descriptors: tuple[str, ...]
    backwards: bool | None = False


@dataclass(frozen=True)
class Connective:
    """Words between findings, and what they say of the one before and of the next."""

    before: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()


Pattern = EntityPattern | DescriptorPattern | Connective


@dataclass(frozen=True)
class Compound:
    """A finding that a text has with all of `including` and none of `excluding`."""

    entity: str
    including: tuple[Mention, ...]
    excluding: tuple[Mention, ...] = ()


@dataclass(frozen=True)
class Templates:
    """Everything that a labeler knows.

    Attributes:
        batches: patterns by their words, in the four rounds of matching: descriptors before entities, entities, other
            descriptors, connectives.
        created: descriptor -> findings that it stands for by itself.
        attached: (entity, descriptor, resulting entity).
        traveling: (entity, descriptors): these descriptors hold for more general findings too, up to that entity.
        certainty: descriptor -> probability, 0 to 1.
        descriptors: all of their names.
    """

    entities: Mapping[str, Entity]
    batches: tuple[Mapping[str, Pattern], ...]
    created: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    compounds: tuple[Compound, ...] = ()
    attached: tuple[tuple[str, str, str], ...] = ()
    traveling: tuple[tuple[str, frozenset[str]], ...] = ()
    certainty: Mapping[str, float] = field(default_factory=dict)
    descriptors: frozenset[str] = frozenset()

    def check_label(self, name: str) -> None:
        """Raises: ConfigError unless it is an entity, or "Entity - Descriptor"."""
        entity, dash, descriptor = name.rpartition(" - ")
        if name in self.entities or (dash and entity in self.entities and descriptor in self.descriptors):
            return
        raise ConfigError(unknown_message(f"label '{name}'", name, self.entities, "the templates have"))


def read_templates(folder: Path = MIMIC_IV_ECG) -> Templates:
    """Read a folder with entity_tem.json, entity_pat.json and those of the other files that there are.

    Raises: ConfigError naming the file, and the entry, that is missing or cannot be understood.
    """
    if not folder.is_dir():
        raise ConfigError(
            f"--templates {folder} is not a folder; give one that holds {', '.join(_NEEDED)} as .json, "
            "or leave it out for ECG-FM's"
        )
    return _Folder(folder).templates()


class _Folder:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found = {name: self._entries(name, keys) for name, keys in _FILES.items()}
        self.entities = {
            entry["name"]: Entity(self._names(entry.get("sup")), not entry.get("require_descriptors"))
            for entry in self._unique("entity_tem", "name")
        }
        self.splits = {entry["name"]: self._names(entry["split"]) for entry in self._unique("split_desc_tem", "name")}
        self.described = {entry["name"] for entry in self._unique("desc_tem", "name")} | set(self.splits)

    def templates(self) -> Templates:
        found = self.found
        templates = Templates(
            entities=self.entities,
            batches=self._batches(),
            created={entry["name"]: self._names(entry.get("create_entities")) for entry in found["desc_tem"]},
            compounds=tuple(self._compound(entry) for entry in found["compound_tem"]),
            attached=tuple((entry["entity"], entry["descriptor"], entry["resulting_entity"])
                           for entry in found["attached_desc_tem"]),
            traveling=tuple((entry["entity"], frozenset(self._names(entry["descriptors"])))
                            for entry in found["traveling_desc_tem"]),
            certainty=self._certainty(),
            descriptors=frozenset(self.described),
        )  # fmt: skip
        self._check(templates)
        return templates

    # -------------------------------------------------- files

    def _read(self, name: str) -> Any:
        path = self.folder / f"{name}.json"
        if not path.exists() and name not in _NEEDED:
            return None
        return read_json(path)

    def _entries(self, name: str, keys: Sequence[str]) -> list[dict[str, Any]]:
        entries = self._read(name) or []
        if not isinstance(entries, list):
            raise self._wrong(name, entries, "a list of objects")
        for entry in entries:
            if not isinstance(entry, dict) or any(key not in entry for key in keys):
                raise self._wrong(name, entry, f"an object with {', '.join(keys)}")
            for key in (key for key in ("name", "pattern", "entity", "descriptor", "resulting_entity") if key in entry):
                if not isinstance(entry[key], str) or not entry[key]:
                    raise self._wrong(name, entry, f"{key} to be a text")
        return entries

    def _wrong(self, name: str, found: Any, expected: str) -> ConfigError:
        return ConfigError(f"{self.folder / name}.json holds {shown(json.dumps(found))}; expected {expected}")

    def _unique(self, name: str, key: str) -> Iterator[dict[str, Any]]:
        seen: set[str] = set()
        for entry in self.found[name]:
            if entry[key] in seen:
                raise ConfigError(f"{self.folder / name}.json has the {key} '{entry[key]}' twice; leave one out")
            seen.add(entry[key])
            yield entry

    def _certainty(self) -> dict[str, float]:
        found = self._read("uncertainty_map") or {}
        numbers = isinstance(found, dict) and all(isinstance(value, (int, float)) for value in found.values())
        if not numbers or not all(0 <= value <= 1 for value in found.values()):
            raise self._wrong("uncertainty_map", found, "an object of probabilities, 0 to 1")
        return {name: float(value) for name, value in found.items()}

    # -------------------------------------------------- entries

    def _names(self, value: Any) -> tuple[str, ...]:
        """Names in a list, alone, or as `tem` of objects; a descriptor that is split becomes its parts."""
        items = [] if value is None else value if isinstance(value, list) else [value]
        names = [item.get("tem") if isinstance(item, dict) else item for item in items]
        if not all(isinstance(name, str) for name in names):
            raise ConfigError(f"{self.folder} holds {shown(json.dumps(value))}; expected names, or objects with tem")
        splits = getattr(self, "splits", {})
        return tuple(part for name in names for part in splits.get(name, (name,)))

    def _mention(self, item: Any) -> Mention:
        if isinstance(item, str):
            return Mention(item)
        if not isinstance(item, dict) or not isinstance(item.get("tem"), str):
            raise ConfigError(f"{self.folder} holds {shown(json.dumps(item))}; expected a name, or an object with tem")
        return Mention(item["tem"], self._names(item.get("descriptors")))

    def _mentions(self, items: Any) -> tuple[Mention, ...]:
        return tuple(map(self._mention, [] if items is None else items if isinstance(items, list) else [items]))

    def _compound(self, entry: Mapping[str, Any]) -> Compound:
        return Compound(entry["entity"], self._mentions(entry["including"]), self._mentions(entry.get("excluding")))

    def _batches(self) -> tuple[dict[str, Pattern], ...]:
        early: dict[str, Pattern] = {}
        late: dict[str, Pattern] = {}
        for entry in self._unique("desc_pat", "pattern"):
            backwards = {"b": False, "a": True}.get(entry.get("before_after") or "b")
            chosen = early if entry.get("parse_before_entities") else late
            chosen[entry["pattern"]] = DescriptorPattern(self._names(entry["descriptors"]), backwards)
        for entry in self.found["desc_tem"] + self.found["split_desc_tem"]:
            for pattern in entry.get("patterns") or ():
                late[pattern] = DescriptorPattern(self._names(entry["name"]))
        entities: dict[str, Pattern] = {
            entry["pattern"]: EntityPattern(self._mentions(entry.get("entities")))
            for entry in self._unique("entity_pat", "pattern")
        }
        connectives: dict[str, Pattern] = {
            entry["pattern"]: Connective(*map(self._names, entry.get("descriptors") or ([], [])))
            for entry in self._unique("connective", "pattern")
        }
        return early, entities, late, connectives

    # -------------------------------------------------- checks

    def _check(self, templates: Templates) -> None:
        for name in self._entity_names(templates):
            if name not in self.entities:
                raise ConfigError(f"{self.folder}: {unknown_message(f'entity {name!r}', name, self.entities, 'has')}")
        for name in self._descriptor_names(templates):
            if name not in self.described:
                raise ConfigError(
                    f"{self.folder}: {unknown_message(f'descriptor {name!r}', name, self.described, 'has')}"
                )
        phrases = Counter(phrase for batch in templates.batches for phrase in batch)
        twice = [phrase for phrase, count in phrases.items() if count > 1 or not phrase]
        if twice:
            raise ConfigError(f"{self.folder} has the pattern '{twice[0]}' in two files, or empty; leave one out")
        self._check_parents()

    def _entity_names(self, templates: Templates) -> Iterator[str]:
        yield from (parent for entity in self.entities.values() for parent in entity.parents)
        yield from (name for names in templates.created.values() for name in names)
        patterns = [pattern for batch in templates.batches for pattern in batch.values()]
        mentions = [one for pattern in patterns if isinstance(pattern, EntityPattern) for one in pattern.mentions]
        compounds = [one for compound in templates.compounds for one in (*compound.including, *compound.excluding)]
        yield from (mention.entity for mention in (*mentions, *compounds))
        yield from (compound.entity for compound in templates.compounds)
        yield from (name for entity, _, result in templates.attached for name in (entity, result))
        yield from (entity for entity, _ in templates.traveling)

    def _descriptor_names(self, templates: Templates) -> Iterator[str]:
        for batch in templates.batches:
            for pattern in batch.values():
                if isinstance(pattern, DescriptorPattern):
                    yield from pattern.descriptors
                elif isinstance(pattern, Connective):
                    yield from (*pattern.before, *pattern.behind)
                else:
                    yield from (name for mention in pattern.mentions for name in mention.descriptors)

    def _check_parents(self) -> None:
        """Raises: ConfigError for an entity that is among its own ancestors."""
        graph = {name: entity.parents for name, entity in self.entities.items()}
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            circle = " > ".join(error.args[1])
            raise ConfigError(f"{self.folder}/entity_tem.json: {shown(circle)} is a circle; mend `sup`") from None
