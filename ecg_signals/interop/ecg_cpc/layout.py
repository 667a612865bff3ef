"""The Lightning checkpoints of ECG-CPC's project.

`state_dict` holds the weights, which are read bare as well; a `hyper_parameters` of omegaconf's classes is passed over.
What the project has no place for (options, input contract) we write into `ecg_signals`.
"""

from collections.abc import Mapping
from typing import Any

from ecg_signals.checkpoint.plain import plain_values
from ecg_signals.config import ConfigError
from ecg_signals.interop.ecg_cpc.names import from_state, is_ecg_cpc, sizes, to_state
from ecg_signals.interop.layout import Layout, ModelSource, config_beside, own_part, weights_in, with_own_part
from ecg_signals.registry import register_layout

KEPT = ("epoch", "global_step")  # what a file holds of its run


@register_layout("ecg_cpc")
class EcgCpcFiles(Layout):
    title = "ECG-CPC .ckpt"
    models = ("cpc", "fc_lstm")

    def recognise(self, raw: Mapping[str, Any]) -> bool:
        return bool(weights_in(raw, is_ecg_cpc))

    def publishes(self, name: str, options: Mapping[str, Any]) -> bool:
        """Of these models, those with S4 and without a layer before it."""
        return name in self.models and options.get("context") == "s4" and not options.get("context_proj", True)

    def read(self, raw: dict[str, Any], where: str) -> ModelSource:
        state = weights_in(raw, is_ecg_cpc)
        try:
            options = sizes(state, config_beside(where))
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        name = "cpc" if "mlp" in options else "fc_lstm"
        return with_own_part(
            ModelSource(name, options, from_state(state), raw=raw, layout="ECG-CPC .ckpt", where=where)
        )

    def write(self, source: ModelSource) -> dict[str, Any]:
        kept = source.raw if self.recognise(source.raw) else {}
        content = {key: plain_values(kept[key]) for key in KEPT if key in kept}
        return {"state_dict": to_state(source.state, source.options["frames"]), **content, **own_part(source)}
