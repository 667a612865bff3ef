"""A classifier on any encoder: pool its frames, one head, and a say in which of its blocks train how fast."""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.metrics.logits import COSINES
from ecg_signals.models.any_encoder import AnyEncoderOptions, encoder_section
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.models.encoder import is_matrix
from ecg_signals.models.heads.finetuned import FinetunedModel, FinetuneOptions
from ecg_signals.modules.heads import ACTIVATIONS, HEADS, make_head
from ecg_signals.modules.pooling import POOLS, SEVERAL, AttentivePool, frames_of, pool_output, with_registers
from ecg_signals.modules.vit import INITS, initialise
from ecg_signals.registry import get_entry, register_model


@dataclass
class ClassifierConfig(AnyEncoderOptions, FinetuneOptions):
    encoder: Any = option(
        None, "the encoder's `_name` and those of its options that are not the default; null: all from model_path"
    )
    pool: str = option("mean", "one vector from the frames", choices=POOLS)
    pool_heads: int | None = option(
        8,
        "attention heads of pool=attentive, which divide the width of a frame; null: as the encoder's blocks",
        least=1,
    )
    pool_query_proj: bool = option(False, "pool=attentive: the learned query passes a linear layer")
    pool_out_proj: bool = option(True, "pool=attentive: what the query reads passes a linear layer")
    pool_bias: bool = option(True, "pool=attentive: biases of these layers, and of those of keys and values")
    pool_query_std: float | None = option(
        0.02, "pool=attentive: deviation of the query's first values; null: one over the root of a frame's width",
        above=0,
    )  # fmt: skip
    pool_registers: bool | None = option(
        False, "pool=attentive: the query reads the encoder's registers, too; null: if it has any"
    )
    head: str = option("linear", "from that vector to the logits", choices=HEADS)
    hidden_size: int = option(256, "width of the hidden layer of head=mlp and head=norm_mlp", least=1)
    activation: str = option("gelu", "after that layer", choices=tuple(ACTIVATIONS))
    head_bias: bool = option(True, "biases of the head's linear layers")
    head_dropout: float = option(
        0.0, "before the last linear layer of head=norm_linear and head=norm_mlp; half of it before the hidden one",
        least=0, most=1,
    )  # fmt: skip
    head_init: str = option(
        "usual", "where pool and head begin: as their layers usually do, or as those of a vision transformer",
        choices=("usual", *INITS),
    )  # fmt: skip
    encoder_dropout: float | None = option(
        None, "in place of the encoder's own option `dropout`, if it has one", least=0, most=1
    )
    freeze_encoder: bool = option(False, "a linear probe: the encoder never trains, nor drops anything out")
    freeze_statistics: bool = option(
        True, "parts that never train run as in evaluation: without dropout, and their batch norms keep their "
        "statistics; false: as in training",
    )  # fmt: skip
    freeze_blocks: int = option(
        0, "first parts of the encoder that never train: 1, its embeddings; 2, one block more", least=0
    )
    layer_decay: float = option(
        1.0, "the learning rate of each part of the encoder, over that of the next one", least=0, most=1
    )
    layer_groups: list[int] | None = option(
        None,
        "layer_decay by groups: so many first parts learn alike, so many next ones, then all the rest; []: two, of "
        "which the first is the encoder's own in arXiv:2509.25095, else its half; null: each part by itself",
        least=1,
    )
    decay_all: bool = option(True, "weight decay acts on biases, norms and embeddings as well, as it usually did")
    normalize: bool = option(
        False, "the input was standardised with mean and std files", follows="task.normalize", as_pretrained=True
    )
    filter: bool = option(False, "the input was filtered", follows="task.filter", as_pretrained=True)


@register_model("classifier", dataclass=ClassifierConfig)
class Classifier(FinetunedModel):
    """Layer-wise rates: Clark et al. 2020, ELECTRA, arXiv:2003.10555; nonzero pooling is ECG-FM's published mean."""

    cfg: ClassifierConfig
    encoder_class = None  # the options say which
    HEAD = (
        "pool", "pool_heads", "pool_query_proj", "pool_out_proj", "pool_bias", "pool_registers", "head", "hidden_size",
        "activation", "head_bias",
    )  # fmt: skip

    def __init__(self, cfg: ClassifierConfig) -> None:
        super().__init__(cfg)
        parts, dim = len(self.encoder.parts()), self.encoder.dim
        if cfg.freeze_blocks > parts:
            found = cfg.freeze_blocks
            raise ConfigError(f"model.freeze_blocks={found}; this encoder has {parts} parts: set 0 to {parts}")
        self.pool = self._attentive_pool(dim) if cfg.pool == "attentive" else None
        self.proj = make_head(
            cfg.head, dim * SEVERAL.get(cfg.pool, 1), cfg.num_labels, cfg.hidden_size, cfg.activation, cfg.head_bias,
            cfg.head_dropout,
        )  # fmt: skip
        for module in filter(None, (self.pool, self.proj) if cfg.head_init != "usual" else ()):
            initialise(module, 1, cfg.head_init)
        self.logit_kind = COSINES if cfg.head == "cosine" else None
        self.held = parts if cfg.freeze_encoder else cfg.freeze_blocks  # parts that never train
        self.hold()

    def _attentive_pool(self, dim: int) -> AttentivePool:
        cfg = self.cfg
        if cfg.pool_heads is None:
            cfg.pool_heads = self.encoder.attention_heads or math.gcd(dim, 8)
        if cfg.pool_registers is None:
            cfg.pool_registers = bool(getattr(cfg.encoder, "num_registers", 0))
        return AttentivePool(
            dim, cfg.pool_heads, query_proj=cfg.pool_query_proj, out_proj=cfg.pool_out_proj, bias=cfg.pool_bias,
            query_std=cfg.pool_query_std or dim**-0.5,
        )  # fmt: skip

    @classmethod
    def encoder_of(cls, cfg: Any, usual: type[BaseModel] | None = None) -> tuple[type[BaseModel], Any]:
        if not isinstance(cfg.encoder, BaseConfig):
            cfg.encoder = encoder_section({"_name": _encoder_name(usual), **(cfg.encoder or {})})
        if cfg.encoder_dropout is not None and hasattr(cfg.encoder, "dropout"):
            setattr(cfg.encoder, "dropout", cfg.encoder_dropout)  # noqa: B010, an option of some encoders
        return get_entry("model", str(cfg.encoder._name)).cls, cfg.encoder

    def trains(self, name: str) -> bool:
        return self.depth(name) >= self.held

    def lr_scale(self, name: str, cfg: Any) -> float:
        return self.cfg.layer_decay ** self.distance(self.depth(name))

    def distance(self, depth: int) -> int:
        """Groups of parts from a depth to the head, whose own is 0."""
        parts, sizes = len(self.encoder.parts()), self.cfg.layer_groups
        if sizes is None or depth >= parts:
            return max(0, parts - depth)
        sizes = sizes or [self.underneath.early_parts]
        return len(sizes) + 1 - sum(depth >= end for end in itertools.accumulate(sizes))

    def decays(self, name: str) -> bool:
        return self.cfg.decay_all or is_matrix(name, self.get_parameter(name))

    def before_forward(self, num_updates: int) -> None:
        super().before_forward(num_updates)
        self.frozen = self.frozen or self.cfg.freeze_encoder

    def train(self, mode: bool = True) -> "Classifier":
        """Parts that never train stay in eval mode, unless `freeze_statistics` says otherwise."""
        super().train(mode)
        still = self.held if self.cfg.freeze_statistics else 0
        held = {name for names in self.encoder.parts()[:still] for name in names}
        for name, module in self.encoder.named_modules() if held else ():
            if name in held:
                module.eval()
        return self

    def head(self, encoded: ModelOutput, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        encoded.update(self.answer(self.read_by_head(encoded)))
        return encoded

    @property
    def encoder_fixed(self) -> bool:
        return self.cfg.freeze_encoder and self.cfg.freeze_statistics

    def read_by_head(self, encoded: ModelOutput) -> dict[str, Tensor]:
        """`frames` and their `padding`, if any, where the pool learns; else `pooled`."""
        if self.pool is None:
            return {"pooled": pool_output(encoded, self.cfg.pool)}
        frames, padding = with_registers(encoded) if self.cfg.pool_registers else frames_of(encoded)
        return {"frames": frames, **({} if padding is None else {"padding": padding})}

    def answer(self, read: Mapping[str, Tensor]) -> ModelOutput:
        pooled = read["pooled"] if self.pool is None else self.pool(read["frames"], read.get("padding"))
        return ModelOutput(pooled=pooled, logits=self.proj(self.final_dropout(pooled)))


def _encoder_name(usual: type[BaseModel] | None) -> str:
    """The registered name of the encoder in a file's model. Raises: ConfigError without a file, or a name."""
    if usual is None:
        raise ConfigError(
            "model.encoder names no encoder: set model.model_path=FILE, or, for random weights, "
            "model.encoder._name=NAME (`ecg-list model`)"
        )
    names = [usual.encoder_name, *(entry.name for entry in register_model.entries.values() if entry.cls is usual)]
    if not any(names):
        raise ConfigError(f"no model is registered whose class is {usual.__name__}; register it to put a head on it")
    return next(filter(None, names))
