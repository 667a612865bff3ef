"""What a head asks of the model it stands on; every model answers."""

from typing import Any, ClassVar

from torch import Tensor, nn

from ecg_signals.config import ConfigError


def is_matrix(name: str, weight: Tensor) -> bool:
    """Whether a weight is one that weight decay is meant for: a layer's, no bias, norm, embedding or learned token."""
    return weight.dim() > 1 and ".weight" in f".{name}" and "_embedding" not in name


class Encoder(nn.Module):
    """Any model whose output has `features` [batch, frames, dim] carries a head, once it says `dim`.

    Attributes:
        encoder_name: registered name of what heads build, where pretraining adds something on top; "": the model's own.
        AS_ENCODER: options that leave out what no head reads.
        ARCHITECTURE: options that must be those of a pretrained file; None: all that have a default, unless set.
        NEW_WEIGHTS: weights that a pretrained file may lack; how their names begin, or those of the parts they are in.
        FRESH_WEIGHTS: weights that never come from a file.
        is_recurrent: it goes through samples one by one, for which published trainings have rates of their own.
    """

    encoder_name: ClassVar[str] = ""
    AS_ENCODER: ClassVar[dict[str, Any]] = {}
    ARCHITECTURE: ClassVar[tuple[str, ...] | None] = None
    NEW_WEIGHTS: ClassVar[tuple[str, ...]] = ()
    FRESH_WEIGHTS: ClassVar[tuple[str, ...]] = ()
    is_recurrent: ClassVar[bool] = False

    @property
    def dim(self) -> int:
        """Width of a frame of `features`."""
        name = type(self).__name__
        raise ConfigError(f"{name} does not say how wide its features are, so no head fits; give it a property `dim`")

    @property
    def attention_heads(self) -> int | None:
        """Of each of its blocks; None where it has no such blocks, or does not say."""
        return None

    def parts(self) -> list[tuple[str, ...]]:
        """Names of submodules and parameters in the order of the signal's way: embeddings first, then every block.

        What freezing and layer-wise rates count. A name stands for all below it, "" for everything; what no name stands
        for never trains under a head.
        """
        return [("",)]

    @property
    def early_parts(self) -> int:
        """How many of the first parts learn slowest where a head's rates go by two groups: half, unless published."""
        return -(-len(self.parts()) // 2)

    def training_pass(self, source: Tensor, padding_mask: Tensor | None) -> Any:
        """The forward pass that heads train on: with the masking that the options ask for."""
        return self(source, padding_mask=padding_mask)

    def decays(self, name: str) -> bool:
        """Whether weight decay acts on a weight."""
        return True

    @classmethod
    def inherited_options(cls, cfg: Any) -> list[str]:
        """Options beside ARCHITECTURE that come from the encoder's file where `cfg`, a head's, has the default."""
        return []
