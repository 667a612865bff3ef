"""How models of an ECG, or two, and a text are called."""

from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.models.encoders.ecg_transformer import hidden_states_list
from ecg_signals.models.text.text_options import Text, text_of

QUESTION = ("text", "text_padding_mask", "ecg_2", "ecg_2_padding_mask")


class Signal(NamedTuple):
    """source [batch, leads, samples], and bool [batch, (leads,) samples], True = padding, or None."""

    source: Tensor
    padding_mask: Tensor | None


class TextModel(BaseModel):
    """Extend it and write `read`."""

    further_inputs: ClassVar[tuple[str, ...]] = QUESTION

    def forward(
        self,
        source: Tensor,
        padding_mask: Tensor | None = None,
        text: Tensor | None = None,
        text_padding_mask: Tensor | None = None,
        ecg_2: Tensor | None = None,
        ecg_2_padding_mask: Tensor | None = None,
        **more: Any,
    ) -> ModelOutput:
        """An ECG, or two, and a text, the empty one where there is none.

        Args:
            source: [batch, leads, samples], and `padding_mask` bool [batch, (leads,) samples].
            text: int64 [batch, tokens], and `text_padding_mask` bool [batch, tokens], True = padding.
            ecg_2: [batch, leads, samples], and `ecg_2_padding_mask`, True throughout an item that has no second ECG.
            more: what `read` also takes, such as `hidden`, which receives hidden states.
        Returns: what `read` does.
        """
        second = None if ecg_2 is None else Signal(ecg_2, ecg_2_padding_mask)
        return self.read(Signal(source, padding_mask), second, self.words(source, text, text_padding_mask), **more)

    def words(self, source: Tensor, text: Tensor | None, padding: Tensor | None) -> Text:
        """A batch's texts. Raises: ConfigError as `text_of`."""
        return text_of(self.cfg, source, text, padding)

    def read(self, first: Signal, second: Signal | None, text: Text, hidden: list[Tensor] | None = None) -> ModelOutput:
        """Both ECGs and the text -> the model's output."""
        raise TypeError(f"{type(self).__name__} must define read(first, second, text, hidden=None)")

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: Any = None, **question: Tensor | None
    ) -> ModelOutput:
        """Never masked; layers="all" adds `hidden_states`."""
        hidden = hidden_states_list(layers)
        output = self(source, padding_mask, **question, hidden=hidden)
        return output if hidden is None else ModelOutput(output, hidden_states=hidden)

    def training_pass(self, source: Tensor, padding_mask: Tensor | None, **question: Tensor | None) -> ModelOutput:
        return self(source, padding_mask, **question)
