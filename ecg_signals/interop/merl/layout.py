"""The files of MERL's project: bare weights of an ECG encoder, or of a whole model, of which the encoder is read.

They have no place for anything else: options, labels and another input than the published one go into other layouts.
"""

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ecg_signals.config import listed
from ecg_signals.interop.layout import Layout, ModelSource, config_beside, inputs_of
from ecg_signals.interop.merl.names import WHOLE, encoder_within, from_state, is_encoder, sizes, to_state
from ecg_signals.registry import register_layout
from ecg_signals.signal.millivolt import PUBLISHED

logger = logging.getLogger(__name__)


@register_layout("merl")
class MerlFiles(Layout):
    title = "MERL .pth"
    models = ("merl_resnet", "merl_vit")

    def recognise(self, raw: Mapping[str, Any]) -> bool:
        return bool(_encoder_of(raw))

    def read(self, raw: dict[str, Any], where: str) -> ModelSource:
        state = _encoder_of(raw)
        name, options = sizes(state, config_beside(where), where)
        parts = sorted({str(key).split(".")[0] for key in raw if is_encoder(encoder_within(raw))} - {WHOLE[:-1]})
        if parts:
            logger.info("%s: not taken over, as only its pretraining with texts needs them: %s", where, listed(parts))
        signal = inputs_of(name, options).get(PUBLISHED)
        return ModelSource(name, options, from_state(state), signal=signal, raw=raw, layout="MERL .pth", where=where)

    def write(self, source: ModelSource) -> dict[str, Any]:
        """The encoder's weights alone."""
        return to_state(source.state)


def _encoder_of(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of an encoder: a file's, those within a whole model's, or those beside such ones; {} for others."""
    for state in (raw, encoder_within(raw), raw.get(WHOLE[:-1])):
        if is_encoder(state):
            return dict(state)  # type: ignore[arg-type]
    return {}
