"""What things were called here while HuBERT-ECG alone used them; old recipes and checkpoints hold these names."""

from collections.abc import Mapping
from typing import Any

OLD_NAMES = {"criterion": {"hubert_multi_label": "multi_label", "hubert_multi_class": "multi_class"}}
OLD_CLASSES = {"HubertMultiLabel": "MultiLabel", "HubertMultiClass": "MultiClass"}  # a checkpoint's criterion_name


def todays_name(kind: str, name: str) -> str:
    """The registered name of a thing of this kind that an old recipe may call otherwise."""
    return OLD_NAMES.get(kind, {}).get(name, name)


def with_todays_names(sections: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe's sections with today's names; what was renamed still reads HuBERT-ECG's tables by default."""
    found = dict(sections)
    for kind, names in OLD_NAMES.items():
        section = sections.get(kind) or {}
        if section.get("_name") in names:
            found[kind] = {**section, "_name": names[section["_name"]]}
            found["dataset"] = {"_name": "hubert_csv", **(found.get("dataset") or {})}
    return found
