"""The `.pth` files of Kim's ECG-JEPA: the published encoders, and whole models of its pretraining.

`encoder` holds the weights of an encoder, `model` those of a whole model; both are read bare as well. What the project
has no place for (options, input contract) we write into `ecg_signals`.
"""

from collections.abc import Mapping
from typing import Any

from ecg_signals.checkpoint.plain import plain_values
from ecg_signals.interop.ecg_jepa_kim.names import from_state, is_encoder, is_whole, sizes, to_state
from ecg_signals.interop.layout import OWN, Layout, ModelSource, config_beside, own_part, weights_in, with_own_part
from ecg_signals.registry import register_layout


@register_layout("ecg_jepa_kim")
class EcgJepaKimFiles(Layout):
    title = "ECG-JEPA (Kim) .pth"
    models = ("cropa_vit", "cropa_jepa")

    def recognise(self, raw: Mapping[str, Any]) -> bool:
        return bool(weights_in(raw, is_encoder, "encoder") or weights_in(raw, is_whole))

    def read(self, raw: dict[str, Any], where: str) -> ModelSource:
        encoder = weights_in(raw, is_encoder, "encoder")
        whole, state = not encoder, encoder or weights_in(raw, is_whole)
        options = {} if OWN in raw else sizes(state, config_beside(where), where)
        name = "cropa_jepa" if whole else "cropa_vit"
        return with_own_part(
            ModelSource(name, options, from_state(state), raw=raw, layout="ECG-JEPA (Kim) .pth", where=where)
        )

    def write(self, source: ModelSource) -> dict[str, Any]:
        """With the epoch, where the source is a file of this layout."""
        kept = {"epoch": plain_values(source.raw["epoch"])} if "epoch" in source.raw else {}
        whole = source.name == "cropa_jepa"
        return {"model" if whole else "encoder": to_state(source.state), **kept, **own_part(source)}
