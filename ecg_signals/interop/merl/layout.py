"""The files of MERL's project: bare weights of an ECG encoder, or of a whole model.

They have no place for anything else: options, labels and another input than the published one go into other layouts.
"""

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ecg_signals.config import listed
from ecg_signals.interop.layout import Layout, ModelSource, config_beside, inputs_of, weights_in
from ecg_signals.interop.merl.names import (
    ENCODER,
    HEADS,
    LANGUAGE,
    WHOLE,
    encoder_within,
    from_state,
    head_sizes,
    is_encoder,
    is_whole,
    language_sizes,
    language_weights,
    sizes,
    to_state,
)
from ecg_signals.registry import register_layout
from ecg_signals.signal.millivolt import PUBLISHED

logger = logging.getLogger(__name__)


@register_layout("merl")
class MerlFiles(Layout):
    title = "MERL .pth"
    models = ("merl_resnet", "merl_vit", "merl")

    def recognise(self, raw: Mapping[str, Any]) -> bool:
        return bool(_encoder_of(raw))

    def read(self, raw: dict[str, Any], where: str) -> ModelSource:
        encoder, whole = _encoder_of(raw), _whole_of(raw)
        name, options = sizes(encoder, config_beside(where), where)
        signal, state = inputs_of(name, options).get(PUBLISHED), from_state(encoder)
        if whole:
            language = language_weights(whole)
            known = (WHOLE, *HEADS, *([LANGUAGE] if language else []))
            left = sorted({key.split(".")[0] for key in whole if not key.startswith(known)})
            if left:
                logger.info("%s: not taken over, as it is no BERT that is known here: %s", where, listed(left))
            more = language_sizes(language, config_beside(where), where) if language else {}
            options = {"encoder": {"_name": name, **options}, **head_sizes(whole), **more}
            state = {f"{ENCODER}{key}": value for key, value in state.items()}
            state |= {key: value for key, value in whole.items() if key.startswith(HEADS)} | language
            name = "merl"
        return ModelSource(name, options, state, signal=signal, raw=raw, layout="MERL .pth", where=where)

    def write(self, source: ModelSource) -> dict[str, Any]:
        """The weights alone, under the project's names and in its order."""
        if source.name != "merl":
            return to_state(source.state)
        parts = {part: {key: value for key, value in source.state.items() if key.startswith(part)}
                 for part in (ENCODER, *HEADS, LANGUAGE)}  # fmt: skip
        inner = to_state({key.removeprefix(ENCODER): value for key, value in parts.pop(ENCODER).items()})
        before = {key: value for part in HEADS[:-1] for key, value in parts[part].items()}
        inner = {f"{WHOLE}{key}": value for key, value in inner.items()}
        return before | inner | parts[LANGUAGE] | parts[HEADS[-1]]


def _whole_of(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a whole model, {} for others."""
    return weights_in(raw, is_whole, "clip")


def _encoder_of(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of an encoder, those within a whole model's among them; {} for others."""
    return encoder_within(_whole_of(raw)) or weights_in(raw, is_encoder, WHOLE[:-1])
