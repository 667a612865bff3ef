"""The files of KED's project, of which the ECG encoder is read: `ecg_model` among the weights of its text models.

What the project has no place for (options, input contract) we write into `ecg_signals`.
"""

import logging
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from ecg_signals.checkpoint.plain import plain_values
from ecg_signals.config import ConfigError, listed
from ecg_signals.interop.ked.names import from_state, is_ked, sizes, to_state
from ecg_signals.interop.layout import OWN, Layout, ModelSource, own_part, weights_in, with_own_part
from ecg_signals.registry import register_layout

logger = logging.getLogger(__name__)

ENCODER = "ecg_model"
OTHERS = ("model", "text_encoder")  # the decoder of labels, and the language model


@register_layout("ked")
class KedFiles(Layout):
    title = "KED .pt"
    models = ("xresnet1d",)

    def recognise(self, raw: Mapping[str, Any]) -> bool:
        return bool(_encoder_of(raw))

    def publishes(self, name: str, options: Mapping[str, Any]) -> bool:
        """Of this model, those whose stages have widths of their own."""
        return name in self.models and bool(options.get("widths")) and not options.get("stem_bias")

    def read(self, raw: dict[str, Any], where: str) -> ModelSource:
        parts = [key for key in OTHERS if key in raw]
        if parts and OWN not in raw:
            logger.info("%s: only its ECG encoder is read; left are %s", where, listed(parts))
        encoder = _encoder_of(raw)
        try:
            state = from_state(encoder)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        found = ModelSource("xresnet1d", sizes(encoder), state, raw=raw, layout="KED .pt", where=where)
        return with_own_part(found)

    def write(self, source: ModelSource) -> dict[str, Any]:
        """With the epoch, where the source is a file of this layout."""
        kept = {"epoch": plain_values(source.raw["epoch"])} if "epoch" in source.raw else {}
        return {ENCODER: to_state(source.state), **kept, **own_part(source)}


def _encoder_of(raw: Mapping[str, Any]) -> dict[str, Tensor]:
    """Its weights, also where one dict holds those of all models, as the comparison of arXiv:2509.25095 expects them.

    {} in other files.
    """
    flat = {key.removeprefix(f"{ENCODER}."): raw[key] for key in raw if str(key).startswith(f"{ENCODER}.")}
    return weights_in(raw, is_ked, ENCODER) or weights_in(flat, is_ked)
