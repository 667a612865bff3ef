"""What ST-MEM, MTAE and MLAE share: tokens, of which few are encoded and the others are told from them.

He et al. 2022, Masked Autoencoders Are Scalable Vision Learners, arXiv:2111.06377; the three for ECG: Na et al. 2024,
Guiding Masked Representation Learning to Capture Spatio-Temporal Relationship of Electrocardiogram, arXiv:2402.09450.
"""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.interop.st_mem.contract import st_mem
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.models.encoder import is_matrix
from ecg_signals.models.mae.tokens import Decoder, begin_weights, pad_ends, rows_of, sine_positions, take
from ecg_signals.modules.recompute import RECOMPUTE
from ecg_signals.modules.vit import VitBlock
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS, lead_places


@dataclass
class MaskedAutoencoderConfig(BaseConfig):
    seq_len: int = option(2250, "samples of an input; 9 s at 250 Hz", least=1)
    leads: list[str] = option(list(LEADS), "names of the leads that it is built for, in order")
    embed_dim: int = option(768, "width of the encoder, even; 384 small", least=2)
    depth: int = option(12, "blocks of the encoder", least=0)
    num_heads: int = option(12, "attention heads of the encoder; 6 small", least=1)
    head_dim: int = option(64, "width of a head, also the decoder's", least=1)
    mlp_ratio: float = option(4.0, "width inside the perceptrons over that of a token", above=0)
    qkv_bias: bool = option(True, "the projection to query, key and value has a bias")
    dropout: float = option(0.0, "of every branch of the encoder", least=0, most=1)
    attention_dropout: float = option(0.0, "of its attention weights", least=0, most=1)
    drop_path: float = option(
        0.0, "chance that a branch of the last block is left out; falls to 0 at the first", least=0, most=1
    )
    checkpoint_activations: bool = option(False, RECOMPUTE, ours=True)
    mask_ratio: float = option(0.75, "share of tokens that pretraining removes", least=0, most=1)
    decoder: bool = option(True, "hold the decoder, which pretraining alone needs")
    decoder_embed_dim: int = option(256, "width of the decoder, even", least=2)
    decoder_depth: int = option(4, "blocks of the decoder", least=0)
    decoder_num_heads: int = option(4, "attention heads of the decoder", least=1)
    train_positions: bool = option(False, "positions train under a head, as published; pretraining never trains them")
    decay_all: bool = option(False, "weight decay acts on biases, norms and embeddings as well, as published")


class MaskedAutoencoder(BaseModel):
    """Extend it and say what a token is.

    Tokens come in groups that are masked and decoded by themselves: ST-MEM's are the leads, the others have one.

    Class attributes:
        ends: vectors around each group's tokens: 1, a class token; 2, a mark on both sides.
        end: name of the parameter that is that vector.
    """

    cfg: Any
    ends: ClassVar[int] = 1
    end: ClassVar[str] = "cls_embedding"
    AS_ENCODER: ClassVar[dict[str, Any]] = {"decoder": False}
    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "seq_len", "patch_size", "leads", "embed_dim", "depth", "num_heads", "head_dim", "mlp_ratio", "qkv_bias",
    )  # fmt: skip

    def __init__(self, cfg: MaskedAutoencoderConfig) -> None:
        super().__init__(cfg)
        check_sizes(cfg)
        width, count, size = cfg.embed_dim, *self.token_shape()
        self.pos_embedding = sine_positions(count, width, self.ends)
        self.register_parameter(self.end, nn.Parameter(torch.empty(width)))
        self.patch_embed = nn.Sequential(nn.LayerNorm(size), nn.Linear(size, width), nn.LayerNorm(width))
        paths = [cfg.drop_path * block / max(cfg.depth - 1, 1) for block in range(cfg.depth)]
        shared = self.block_options(width, cfg.num_heads)
        self.blocks = nn.ModuleList(
            VitBlock(width, cfg.num_heads, int(width * cfg.mlp_ratio), dropout=cfg.dropout,
                     attn_dropout=cfg.attention_dropout, drop_path=path, **shared)
            for path in paths
        )  # fmt: skip
        self.norm = nn.LayerNorm(width)
        if cfg.decoder:
            inner, heads = cfg.decoder_embed_dim, cfg.decoder_num_heads
            self.decoder = Decoder(
                width, size, count, self.ends, inner, cfg.decoder_depth, heads, int(inner * cfg.mlp_ratio),
                **self.block_options(inner, heads),
            )  # fmt: skip
        self.apply(begin_weights)
        nn.init.normal_(self.get_parameter(self.end), std=0.02)

    def block_options(self, width: int, heads: int) -> dict[str, Any]:
        """One head as wide as the tokens has no projection behind it."""
        cfg = self.cfg
        return {"head_dim": cfg.head_dim, "qkv_bias": cfg.qkv_bias, "project": heads > 1 or cfg.head_dim != width}

    # ------------------------------------------------------------------ what a family says

    def token_shape(self) -> tuple[int, int]:
        """Tokens of a group, values of a token. Raises: ConfigError where the sizes do not divide."""
        raise TypeError(f"{type(self).__name__} must define token_shape()")

    def tokens(self, source: Tensor, leads: list[int], absent: float | bool) -> Tensor:
        """[batch, leads, samples] -> [batch, groups, tokens, values].

        Args:
            leads: place of each row of `source` among the options' leads.
            absent: stands for the values of leads that it lacks.
        """
        raise TypeError(f"{type(self).__name__} must define tokens(source, leads, absent)")

    def numbers(self, leads: list[int]) -> list[int] | None:
        """The tokens of a group that these leads make, by number; None for the first ones."""
        return None

    def marked(self, x: Tensor, leads: list[int]) -> Tensor:
        """Tokens and ends [batch, groups, sequence, dim] before the first block: with what tells groups apart."""
        return x

    # ------------------------------------------------------------------ what follows

    @property
    def dim(self) -> int:
        return self.cfg.embed_dim

    def parts(self) -> list[tuple[str, ...]]:
        positions = ("pos_embedding",) if self.cfg.train_positions else ()
        parts = [("patch_embed", self.end, "lead_embedding", *positions)]
        parts += [(f"blocks.{number}",) for number in range(self.cfg.depth)]
        parts[-1] = (*parts[-1], "norm")
        return parts

    def decays(self, name: str) -> bool:
        return self.cfg.decay_all or is_matrix(name, self.get_parameter(name))

    @classmethod
    def usual_input(cls) -> SignalContract:
        return st_mem()

    def leads_of(self, count: int) -> list[int]:
        """The place of each row of an input among the options' leads, by the names in the input contract.

        Raises: ConfigError for a number of rows that nothing explains.
        """
        return lead_places(count, self.cfg.leads, self.signal.leads if self.signal else None)

    def forward(
        self,
        source: Tensor,
        padding_mask: Tensor | None = None,
        mask: bool = False,
        noise: Tensor | None = None,
        target: Tensor | None = None,
    ) -> ModelOutput:
        """Encode; with `mask`, only the tokens that stay, and tell the others.

        Args:
            source: [batch, leads, samples], standardised. Samples behind the last whole token are left out.
            padding_mask: bool [batch, samples] or [batch, leads, samples], True = padding. A token of padding alone is
                neither attended to nor pooled.
            mask: remove `mask_ratio` of the tokens; `source` alone never masks.
            noise: [batch, (leads,) tokens]: the tokens with the smallest stay; None draws it.
            target: [batch, leads, samples], what is to be told; None: `source`.
        Returns: features [batch, tokens, dim], pooled [batch, dim], padding_mask [batch, tokens] or None, with a class
            token `cls` [batch, dim]; with `mask` also prediction and target [batch, tokens, values] of all tokens and
            mask, bool [batch, tokens]: which were removed, without padding.
        """
        leads = self.leads_of(source.shape[1])
        tokens, padded = self.tokens(source, leads, 0.0), self.padded(source, padding_mask, leads)
        if not mask:
            x, padding = self.encode(tokens, padded, leads)
            return self.output(x, padding)
        restore, kept = self.draw(tokens, noise)
        x, padding = self.encode(tokens, padded, leads, restore.argsort(dim=-1)[..., :kept])
        told = self.need_decoder()(self.norm(x), restore, self.numbers(leads), padded)
        removed = restore >= kept if padded is None else (restore >= kept) & ~padded
        wanted = tokens if target is None else self.tokens(target, leads, 0.0)
        output = self.output(x, padding)
        output.update(prediction=told.flatten(1, 2), target=wanted.flatten(1, 2), mask=removed.flatten(1, 2))
        return output

    def extract_features(self, source: Tensor, padding_mask: Tensor | None = None, layers: Any = None) -> ModelOutput:
        """Never masked; layers="all" adds `hidden_states`: the first block's input and every block's output."""
        if layers not in (None, "all"):
            raise ValueError(f'layers is {layers!r}; it must be None or "all"')
        leads = self.leads_of(source.shape[1])
        hidden: list[Tensor] = []
        x, padding = self.encode(
            self.tokens(source, leads, 0.0), self.padded(source, padding_mask, leads), leads, hidden=hidden
        )
        output = self.output(x, padding)
        if layers == "all":
            output["hidden_states"] = [self.within(state).flatten(1, 2) for state in hidden]
        return output

    def padded(self, source: Tensor, padding_mask: Tensor | None, leads: list[int]) -> Tensor | None:
        """bool [batch, groups, tokens]: which tokens are padding throughout; None: there is none."""
        if padding_mask is None:
            return None
        if padding_mask.dim() == 2:
            padding_mask = padding_mask[:, None]
        return self.tokens(padding_mask.expand(source.shape), leads, True).all(dim=-1)

    def draw(self, tokens: Tensor, noise: Tensor | None) -> tuple[Tensor, int]:
        """The place of each token in the order of its noise [batch, groups, tokens], and how many stay."""
        shape, device = tokens.shape[:3], tokens.device
        kept = int(shape[2] * (1 - self.cfg.mask_ratio))
        if kept == shape[2]:  # in their own order
            return torch.arange(kept, device=device).expand(shape), kept
        noise = torch.rand(shape, device=device) if noise is None else noise.to(device).reshape(shape)
        return noise.argsort(dim=-1).argsort(dim=-1), kept

    def need_decoder(self) -> Decoder:
        if not self.cfg.decoder:
            raise ConfigError("model.decoder=false leaves nothing to tell masked tokens with; set model.decoder=true")
        return self.decoder

    def encode(
        self,
        tokens: Tensor,
        padded: Tensor | None,
        leads: list[int],
        kept: Tensor | None = None,
        hidden: list[Tensor] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """Tokens -> those that stay and the ends behind the last block, before the norm; their padding.

        Args:
            kept: [batch, groups, kept], their numbers; None: all.
            hidden: takes what every block is given, and what the last one gives.
        Returns: [batch, groups, ends and tokens, dim], bool [batch, groups, tokens] or None.
        """
        places = self.pos_embedding
        x = self.patch_embed(tokens) + rows_of(places, self.numbers(leads), tokens.shape[2])
        if kept is not None:
            x, padded = take(x, kept), None if padded is None else take(padded, kept)
        ends = (self.get_parameter(self.end) + places[:, [0, -1][: self.ends]]).expand(*x.shape[:2], -1, -1)
        x = self.marked(torch.cat([ends[:, :, :1], x, ends[:, :, 1:]], dim=2), leads)
        groups, padding = x.shape[1:3], None if padded is None else pad_ends(padded, self.ends).flatten(1)
        x = x.flatten(1, 2)
        for block in self.blocks:
            if hidden is not None:
                hidden.append(x.unflatten(1, groups))
            x = block(x, padding)
        if hidden is not None:
            hidden.append(x.unflatten(1, groups))
        return x.unflatten(1, groups), padded

    def within(self, x: Tensor) -> Tensor:
        """[batch, groups, ends and tokens, dim] without the ends."""
        return x[:, :, 1 : x.shape[2] - (self.ends - 1)]

    def output(self, x: Tensor, padded: Tensor | None) -> ModelOutput:
        """What `encode` returns -> features, pooled, padding_mask, cls."""
        x = self.norm(x)
        padding, pooled = None if padded is None else padded.flatten(1), x[:, 0, 0]
        return ModelOutput(features=self.within(x).flatten(1, 2), pooled=pooled, cls=pooled, padding_mask=padding)


def check_sizes(cfg: MaskedAutoencoderConfig) -> None:
    """Raises: ConfigError for what no model can be built of."""
    for key in ("embed_dim", "decoder_embed_dim"):
        if getattr(cfg, key) % 2:
            raise ConfigError(f"model.{key}={getattr(cfg, key)} is odd; set model.{key} to an even number")
    if not cfg.leads or len({lead.lower() for lead in cfg.leads}) < len(cfg.leads):
        raise ConfigError(f"model.leads={cfg.leads} is empty or names a lead twice; set model.leads to other names")


def divided(key: str, whole: int, patch_size: int) -> int:
    """How many patches there are. Raises: ConfigError naming the option that they do not divide."""
    if whole % patch_size:
        raise ConfigError(f"model.patch_size={patch_size} does not divide model.{key} ({whole}); set a divisor")
    return whole // patch_size


def patches_in_time(source: Tensor, patch_size: int, seq_len: int) -> Tensor:
    """[batch, leads, samples] -> [batch, leads, patches, patch_size], without the rest.

    Raises: ConfigError for more samples than there are positions for, or fewer than one patch.
    """
    samples = source.shape[-1]
    if not patch_size <= samples <= seq_len:
        raise ConfigError(
            f"source has {samples} samples; the model takes model.patch_size={patch_size} to model.seq_len={seq_len}: "
            f"crop it (task.max_sample_size={seq_len}), or set model.seq_len"
        )
    return source[..., : samples - samples % patch_size].unflatten(-1, (-1, patch_size))


def by_place(source: Tensor, leads: list[int], count: int, absent: float | bool) -> Tensor:
    """[batch, leads, ...] -> [batch, count, ...]: each lead at its place, `absent` elsewhere."""
    if leads == list(range(count)):
        return source
    other = torch.full_like(source[:, 0], absent)
    return torch.stack([source[:, leads.index(row)] if row in leads else other for row in range(count)], dim=1)
