"""What the vision transformers over patches share: their parts, and what becomes of their tokens."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from torch import Tensor

from ecg_signals.config import ConfigError
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.modules.pooling import pool_frames


class PatchEncoder(BaseModel, ABC):
    """Define `tokens` and, where an item's vector is not the mean of its tokens, `output`.

    Attributes:
        cfg: has dim, depth and num_heads.
        EMBEDS: the first of its parts; then come `blocks`, and `norm`, which counts as one with the last of them.
    """

    cfg: Any
    EMBEDS: ClassVar[tuple[str, ...]] = ("patch_embed",)

    @abstractmethod
    def tokens(self, source: Tensor, padding_mask: Tensor | None) -> tuple[Sequence[Tensor], Tensor | None]:
        """The tokens before every block and after the last, [batch, tokens, dim], and which are padding, if any."""

    def output(self, states: Sequence[Tensor], padded: Tensor | None) -> ModelOutput:
        """What `forward` returns, of what `tokens` gave."""
        return ModelOutput(features=states[-1], pooled=pool_frames(states[-1], padded), padding_mask=padded)

    @property
    def dim(self) -> int:
        return self.cfg.dim

    @property
    def attention_heads(self) -> int:
        return self.cfg.num_heads

    def parts(self) -> list[tuple[str, ...]]:
        blocks: list[tuple[str, ...]] = [(f"blocks.{block}",) for block in range(self.cfg.depth)]
        return [self.EMBEDS, *blocks[:-1], (*blocks[-1], "norm")]

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> ModelOutput:
        """source [batch, leads, samples], padding_mask bool [batch, (leads,) samples] -> features, pooled, ...

        Returns: features [batch, tokens, dim] after the last norm; pooled [batch, dim]; padding_mask [batch, tokens] or
            None, the tokens of patches that are padding throughout, which nothing attends to.
        """
        return self.extract_features(source, padding_mask)

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: str | None = None
    ) -> ModelOutput:
        """`forward`; layers="all" adds hidden_states: the blocks' input, what each gives, and last the features."""
        states, padded = self.tokens(source, padding_mask)
        output = self.output(states, padded)
        if layers == "all":
            count = output["features"].shape[1]  # registers stand before them
            output["hidden_states"] = [*(x[:, -count:] for x in states[:-1]), output["features"]]
        return output


def whole_patches(samples: int, size: int, most: int) -> int:
    """Patches of an input. Raises: ConfigError for one shorter than a patch, or with more than there are places for."""
    count = samples // size
    if not 1 <= count <= most:
        raise ConfigError(
            f"source has {samples} samples; the model takes {size} to {most * size}. Cut windows of {most * size} "
            f"samples: model.signal.prepare(record) does"
        )
    return count
