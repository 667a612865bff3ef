"""The made-up ward's own checkpoints: weights under names that begin with `net.`, and a card that says the rest."""

from ecg_signals.interop.layout import Layout, ModelSource
from ecg_signals.registry import register_layout
from ecg_signals.signal.contract import SignalContract


@register_layout("ward")
class WardFiles(Layout):
    """A card, and weights that begin with `net.`."""

    title = "the ward's .pt (card, net.*)"

    def recognise(self, raw):
        return isinstance(raw.get("card"), dict)

    def read(self, raw, where):
        card, state = raw["card"], {key.removeprefix("net."): raw[key] for key in raw if key.startswith("net.")}
        signal = SignalContract.from_dict(card["signal"]) if card["signal"] else None
        return ModelSource(
            card["model"], card["options"], state, card["labels"], signal, raw=raw, layout=self.title, where=where,
            logit_kind=card["logit_kind"], origin=card["origin"],
        )  # fmt: skip

    def write(self, source):
        card = {"model": source.name, "options": source.options, "labels": source.labels, "origin": source.origin,
                "signal": source.signal and source.signal.to_dict(), "logit_kind": source.logit_kind}  # fmt: skip
        return {"card": card, **{f"net.{key}": value for key, value in source.state.items()}}
