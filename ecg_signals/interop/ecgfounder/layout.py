"""The `.pth` files of ECGFounder's project: its two published ones and those of its fine-tuning scripts.

`state_dict` holds the weights, which are read bare as well. What the project has no place for (options, input contract,
labels) we write into `ecg_signals`.
"""

from collections.abc import Mapping
from typing import Any

from ecg_signals.checkpoint.plain import plain_values
from ecg_signals.interop.ecgfounder.names import HEAD, from_state, is_ecgfounder, sizes, stated, to_state
from ecg_signals.interop.layout import Layout, ModelSource, config_beside, own_part, weights_in, with_own_part
from ecg_signals.metrics.logits import LABELS
from ecg_signals.registry import register_layout

KEPT = ("epoch", "step", "optimizer", "scheduler")  # what a file holds of its run
STATEMENTS = 150  # of the published files, which are independent labels


@register_layout("ecgfounder")
class EcgFounderFiles(Layout):
    title = "ECGFounder .pth"
    models = ("net1d",)

    def recognise(self, raw: Mapping[str, Any]) -> bool:
        return bool(weights_in(raw, is_ecgfounder))

    def publishes(self, name: str, options: Mapping[str, Any]) -> bool:
        """Also a linear layer on the mean of its frames."""
        encoder = options.get("encoder") if name == "classifier" else None
        if not isinstance(encoder, Mapping):
            return name in self.models
        linear = (options["pool"], options["head"], options["head_bias"]) == ("own", "linear", True)
        return encoder.get("_name") in self.models and linear

    def read(self, raw: dict[str, Any], where: str) -> ModelSource:
        """Labels have no names in these files: they stand in `tasks.txt` of the project."""
        state = weights_in(raw, is_ecgfounder)
        name, options = "net1d", sizes(state) | stated(config_beside(where))
        if head := f"{HEAD}weight" in state:
            encoder = {"_name": name, **options}
            name = "classifier"
            options = {"encoder": encoder, "pool": "own", "head": "linear", "num_labels": len(state[f"{HEAD}weight"])}
        kind = LABELS if head and options["num_labels"] == STATEMENTS else None
        return with_own_part(
            ModelSource(
                name, options, from_state(state), raw=raw, layout="ECGFounder .pth", where=where, logit_kind=kind
            )
        )  # fmt: skip

    def write(self, source: ModelSource) -> dict[str, Any]:
        """With the run's state, where the source is a file of this layout."""
        kept = source.raw if self.recognise(source.raw) else {}
        content = {key: plain_values(kept[key]) for key in KEPT if key in kept}
        return {"state_dict": to_state(source.state), **content, **own_part(source)}
