"""The wav2vec 2.0 encoder for ECG: convolutions, a positional convolution and a transformer; no objective."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.modules.autograd import scale_gradient
from ecg_signals.modules.compiling import not_compiled
from ecg_signals.modules.conv_position import ConvPosition
from ecg_signals.modules.conv_stem import ConvStem, parse_conv_layers, unpadded_lengths
from ecg_signals.modules.dropout import Dropout
from ecg_signals.modules.pooling import POOLINGS, pool_frames
from ecg_signals.modules.recompute import RECOMPUTE
from ecg_signals.modules.transformer import TransformerEncoder
from ecg_signals.registry import register_model
from ecg_signals.runtime.batch import sent
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.millivolt import FMB, millivolt
from ecg_signals.signal.span_mask import LENGTHS, compute_mask_indices


@dataclass
class ModelConfig(BaseConfig):
    """What every model of fairseq-signals copies from the task."""

    all_gather: bool = option(False, "contrast with the pooled features of all ranks, not only of this one")
    normalize: bool = option(
        False, "the input was standardised with mean and std files", follows="task.normalize", as_pretrained=True
    )
    filter: bool = option(False, "the input was filtered", follows="task.filter", as_pretrained=True)
    data: str | None = option(None, "folder of the manifests; kept for the record", follows="task.data")


@dataclass
class TransformerConfig(ModelConfig):
    """A transformer over frames, some of which may be hidden from it."""

    encoder_layers: int = option(12, "transformer layers", least=0)
    encoder_embed_dim: int = option(768, "width of the transformer", least=1)
    encoder_ffn_embed_dim: int = option(3072, "width inside the perceptrons", least=1)
    encoder_attention_heads: int = option(12, "attention heads; they divide encoder_embed_dim", least=1)
    layer_norm_first: bool = option(False, "layer norm before attention and perceptron (pre-norm)")
    saliency: bool = option(False, "also return the attention maps, key `saliency`; slower")
    dropout: float = option(0.1, "after attention and perceptron", least=0, most=1)
    attention_dropout: float = option(0.1, "of attention weights", least=0, most=1)
    activation_dropout: float = option(0.0, "inside the perceptron", least=0, most=1)
    encoder_layerdrop: float = option(0.0, "chance of leaving a layer out of a training step", least=0, most=1)
    dropout_input: float = option(0.0, "of the frames before the transformer", least=0, most=1)
    dropout_features: float = option(0.0, "of the frames that the quantizer sees", least=0, most=1)
    checkpoint_activations: bool = option(False, RECOMPUTE, ours=True)
    apply_mask: bool = option(False, "learn a mask embedding and hide spans of frames in training")
    mask_length: int = option(10, "frames of a span", least=0)
    mask_prob: float = option(0.0, "spans x mask_length / frames; overlaps hide less", least=0)
    mask_selection: str = option("static", "distribution of span lengths", choices=LENGTHS)
    mask_other: float = option(0.0, "second parameter of that distribution", least=0)
    no_mask_overlap: bool = option(False, "spans do not overlap")
    mask_min_space: int = option(1, "frames between spans that do not overlap", least=0)
    mask_channel_length: int = option(10, "channels of a span", least=0)
    mask_channel_prob: float = option(0.0, "the same for feature channels, which are set to 0", least=0)
    mask_channel_selection: str = option("static", "distribution of channel span lengths", choices=LENGTHS)
    mask_channel_other: float = option(0.0, "second parameter of that distribution", least=0)
    no_mask_channel_overlap: bool = option(False, "channel spans do not overlap")
    mask_channel_min_space: int = option(1, "channels between spans that do not overlap", least=0)


@dataclass
class ECGTransformerConfig(TransformerConfig):
    extractor_mode: str = option(
        "default", "group norm after the first convolution, or layer norm after each", choices=("default", "layer_norm")
    )
    conv_feature_layers: str = option("[(256, 2, 2)] * 4", "(dim, kernel, stride) of every convolution")
    in_d: int = option(12, "leads", least=1)
    conv_bias: bool = option(False, "convolutions have a bias")
    feature_grad_mult: float = option(1.0, "gradient of the convolutions is multiplied by it; 0 freezes them", least=0)
    conv_pos: int = option(128, "frames seen by the positional convolution", least=1)
    conv_pos_groups: int = option(16, "groups of the positional convolution; they divide encoder_embed_dim", least=1)
    include_padding: bool = option(
        False,
        "padded frames enter the group norm's statistics, the positional convolution, the features penalty and the "
        "perplexities",
        ours=True,
    )
    pooling: str = option(
        "valid", "mean over unpadded frames, or over each channel's non-zero values", choices=POOLINGS, ours=True
    )


@register_model("ecg_transformer", dataclass=ECGTransformerConfig)
class ECGTransformer(BaseModel):
    """Source: Oh et al. 2022, Lead-agnostic Self-supervised Learning, arXiv:2203.06889."""

    cfg: ECGTransformerConfig
    encoder_name = "ecg_transformer"
    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        "encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "encoder_attention_heads", "layer_norm_first",
        "extractor_mode", "conv_feature_layers", "in_d", "conv_bias", "conv_pos", "conv_pos_groups", "include_padding",
    )  # fmt: skip
    NEW_WEIGHTS: ClassVar[tuple[str, ...]] = ("mask_emb",)  # fine-tuning may mask although pretraining did not

    @classmethod
    def inputs(cls, cfg: Any) -> dict[str, SignalContract]:
        return {FMB: replace(millivolt(500, 5), zero_missing_leads=True)} if cfg.in_d == len(LEADS) else {}

    def __init__(self, cfg: ECGTransformerConfig) -> None:
        super().__init__(cfg)
        _check_sizes(cfg)
        width, spec = cfg.encoder_embed_dim, parse_conv_layers(cfg.conv_feature_layers)
        self.mask_emb = nn.Parameter(torch.rand(width)) if cfg.apply_mask else None
        self.encoder = TransformerEncoder(
            cfg.encoder_layers, width, cfg.encoder_ffn_embed_dim, cfg.encoder_attention_heads,
            dropout=cfg.dropout, attention_dropout=cfg.attention_dropout, activation_dropout=cfg.activation_dropout,
            layer_norm_first=cfg.layer_norm_first, layerdrop=cfg.encoder_layerdrop,
        )  # fmt: skip
        self.feature_extractor = ConvStem(
            spec, cfg.in_d, cfg.extractor_mode, cfg.conv_bias, over_padding=cfg.include_padding
        )
        dim = self.feature_extractor.dim
        self.post_extract_proj = nn.Linear(dim, width) if dim != width and self.projects_features else None
        self.dropout_input = Dropout(cfg.dropout_input)
        self.conv_pos = ConvPosition(width, cfg.conv_pos, cfg.conv_pos_groups)
        self.layer_norm = nn.LayerNorm(dim)

    @property
    def dim(self) -> int:
        return self.cfg.encoder_embed_dim

    def parts(self) -> list[tuple[str, ...]]:
        first = ("mask_emb", "feature_extractor", "layer_norm", "post_extract_proj", "dropout_input", "conv_pos",
                 "encoder.dropout")  # fmt: skip
        parts = [first, *((f"encoder.layers.{layer}",) for layer in range(self.cfg.encoder_layers))]
        norm = -1 if self.cfg.layer_norm_first else 0  # after the last layer, or before the first
        parts[norm] = (*parts[norm], "encoder.layer_norm")
        return parts

    @property
    def attention_heads(self) -> int:
        return self.cfg.encoder_attention_heads

    def training_pass(self, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        return self(source, padding_mask, mask=self.cfg.apply_mask and self.training)

    @property
    def projects_features(self) -> bool:
        """False in a subclass that brings the convolutions' output to the transformer's width by other means."""
        return True

    @classmethod
    def inherited_options(cls, cfg: Any) -> list[str]:
        """How to mask, where it is masked at all."""
        return [item.name for item in fields(ECGTransformerConfig) if cfg.apply_mask and item.name.startswith("mask_")]

    @property
    def sometimes_unused(self) -> bool:
        """Frozen convolutions, and a mask embedding that nothing is replaced by."""
        return self.cfg.feature_grad_mult == 0 or (self.mask_emb is not None and self.cfg.mask_prob <= 0)

    @classmethod
    def published_options(cls) -> dict[str, Any]:
        """The arithmetic that files written by fairseq-signals were trained with."""
        return {"include_padding": True, "pooling": "nonzero"}

    def forward(self, source: Tensor, padding_mask: Tensor | None = None, mask: bool = False) -> ModelOutput:
        """source [batch, leads, samples], padding_mask bool [batch, (leads,) samples] -> features, pooled, ...

        mask: hide frames and channels as the mask_* options say; `features` then are those of the masked pass.
        """
        return self._encode(source, padding_mask, mask, None)

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: str | None = None
    ) -> ModelOutput:
        """Never masked; layers="all" adds `hidden_states`: the transformer's input and every layer's output."""
        hidden = hidden_states_list(layers)
        output = self._encode(source, padding_mask, False, hidden)
        if hidden is not None:
            output["hidden_states"] = hidden
        return output

    def _encode(
        self, source: Tensor, padding_mask: Tensor | None, mask: bool, hidden: list[Tensor] | None
    ) -> ModelOutput:
        frames, padding = self.frames(source, padding_mask, mask)
        x, saliency = self.contextualise(frames, padding, hidden)
        output = ModelOutput(features=x, pooled=pool_frames(x, padding, self.cfg.pooling), padding_mask=padding)
        if saliency is not None:
            output["saliency"] = saliency
        return output

    @property
    def frame_norm(self) -> nn.Module:
        """Of the convolutions' output."""
        return self.layer_norm

    def frames(self, source: Tensor, padding_mask: Tensor | None, mask: bool) -> tuple[Tensor, Tensor | None]:
        """source -> (frames before they get their position [batch, frames, width], bool padding or None).

        mask: hide frames and channels as the mask_* options say.
        """
        features, padding = self.convolve(source, padding_mask)
        frames = self.project(self.frame_norm(features))
        mask_indices = self.draw_mask(frames.shape[:2], padding) if mask and self.cfg.apply_mask else None
        return self.hide(frames, mask_indices, channels=mask), padding

    def convolve(self, source: Tensor, padding_mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """source -> (convolutions' output [batch, frames, dim], bool padding [batch, frames] or None)."""
        padding_mask = None if padding_mask is None or _is_empty(padding_mask) else padding_mask
        lengths = None if padding_mask is None else unpadded_lengths(padding_mask)
        frozen = self.training and self.cfg.feature_grad_mult == 0
        with torch.no_grad() if frozen else contextlib.nullcontext():
            features = self.feature_extractor(source, lengths)
        if self.training and not frozen:
            features = scale_gradient(features, self.cfg.feature_grad_mult)
        if padding_mask is None:
            return features, None
        padding = self.feature_extractor.padded_frames(padding_mask, features.shape[1])
        return features, None if _is_empty(padding) else padding

    def project(self, features: Tensor) -> Tensor:
        """Normalised convolution output [batch, frames, dim] -> transformer width."""
        if self.post_extract_proj is not None:
            features = self.post_extract_proj(features)
        return self.dropout_input(features)

    def contextualise(
        self, frames: Tensor, padding: Tensor | None, hidden: list[Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Position and transformer: [batch, frames, width] -> (the same shape, attention maps or None)."""
        placed = self.place(frames, padding)
        return self.encoder(placed, padding, need_weights=self.cfg.saliency, hidden=hidden)

    def place(self, frames: Tensor, padding: Tensor | None) -> Tensor:
        """Frames [batch, frames, width] with their position."""
        if padding is not None and not self.cfg.include_padding:
            frames = frames.masked_fill(padding.unsqueeze(-1), 0.0)
        return self.conv_pos(frames)

    def hide(self, frames: Tensor, mask_indices: Tensor | None, channels: bool) -> Tensor:
        """Mask embedding where bool `mask_indices` [batch, frames] is True; `channels` also zeroes channels."""
        if mask_indices is not None:
            assert self.mask_emb is not None
            mask_indices = sent(mask_indices, frames.device)
            frames = torch.where(mask_indices.unsqueeze(-1), self.mask_emb.to(frames.dtype), frames)
        if channels and self.cfg.mask_channel_prob > 0:
            frames = frames.masked_fill(self._draw_channel_mask(frames).unsqueeze(1), 0.0)
        return frames

    @not_compiled
    def draw_mask(self, shape: Sequence[int], padding: Tensor | None) -> Tensor | None:
        """Frames to hide, bool [batch, frames] on the CPU, from torch's CPU generator; None when mask_prob is 0."""
        cfg = self.cfg
        if cfg.mask_prob <= 0:
            return None
        mask = compute_mask_indices(
            (shape[0], shape[1]), None if padding is None else padding.cpu().numpy(), cfg.mask_prob, cfg.mask_length,
            cfg.mask_selection, cfg.mask_other, min_masks=2, no_overlap=cfg.no_mask_overlap,
            min_space=cfg.mask_min_space, rng=numpy_generator(),
        )  # fmt: skip
        return torch.from_numpy(mask)

    @not_compiled
    def _draw_channel_mask(self, frames: Tensor) -> Tensor:
        cfg = self.cfg
        mask = compute_mask_indices(
            (frames.shape[0], frames.shape[2]), None, cfg.mask_channel_prob, cfg.mask_channel_length,
            cfg.mask_channel_selection, cfg.mask_channel_other, no_overlap=cfg.no_mask_channel_overlap,
            min_space=cfg.mask_channel_min_space, rng=numpy_generator(),
        )  # fmt: skip
        return sent(torch.from_numpy(mask), frames.device)


def numpy_generator() -> np.random.RandomState:
    """A NumPy generator that follows from the state of torch's CPU generator."""
    return np.random.RandomState(int(torch.randint(2**31, ())))


def hidden_states_list(layers: str | None) -> list[Tensor] | None:
    """An empty list to collect into for layers="all", None for None. Raises: ValueError for anything else."""
    if layers not in (None, "all"):
        raise ValueError(f'layers is {layers!r}; it must be None or "all"')
    return [] if layers == "all" else None


def _is_empty(mask: Tensor) -> bool:
    """No padding at all; while a graph is traced a given mask counts as padding."""
    return not torch.compiler.is_compiling() and not bool(mask.any())


def _check_sizes(cfg: ECGTransformerConfig) -> None:
    for key in ("encoder_attention_heads", "conv_pos_groups"):
        parts, width = getattr(cfg, key), cfg.encoder_embed_dim
        if width % parts:
            raise ConfigError(
                f"model.{key}={parts} does not divide model.encoder_embed_dim={width}; set model.{key} to a divisor"
            )
    for kind in ("mask", "mask_channel"):
        if getattr(cfg, f"{kind}_prob") > 0:
            _check_spans(cfg, kind)


def _check_spans(cfg: ECGTransformerConfig, kind: str) -> None:
    length, selection = getattr(cfg, f"{kind}_length"), getattr(cfg, f"{kind}_selection")
    other = getattr(cfg, f"{kind}_other")
    if length < 1:
        raise ConfigError(f"model.{kind}_length={length}; set model.{kind}_length to 1 or more")
    if selection == "uniform" and other > 2 * length:
        raise ConfigError(
            f"model.{kind}_other={other} with model.{kind}_selection=uniform; "
            f"set model.{kind}_other to 0 to {2 * length}"
        )
