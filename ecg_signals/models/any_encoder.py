"""Options of a model around any registered encoder."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ecg_signals.config import BaseConfig, option
from ecg_signals.modules.recompute import RECOMPUTE
from ecg_signals.registry import get_entry


@dataclass
class AnyEncoderOptions(BaseConfig):
    encoder: Any = option(None, "the encoder's `_name` and those of its options that are not the default")
    checkpoint_activations: bool = option(False, RECOMPUTE, ours=True)

    def __post_init__(self) -> None:
        found = vars(self)["encoder"]  # may be ???
        if isinstance(found, Mapping) and found.get("_name"):
            self.encoder = encoder_section(found)

    @classmethod
    def sections_within(cls, values: Mapping[str, Any]) -> dict[str, type[BaseConfig]]:
        found = values.get("encoder")
        name = found.get("_name") if isinstance(found, Mapping) else None
        return {"encoder": get_entry("model", name).dataclass} if name else {}


def encoder_section(values: Mapping[str, Any]) -> BaseConfig:
    """Typed options of the encoder that `_name` names, without what only its own pretraining needs."""
    entry = get_entry("model", values["_name"])
    section = entry.dataclass.from_mapping(values, where="model.encoder")
    for key, value in entry.cls.AS_ENCODER.items():
        setattr(section, key, value)
    return section
