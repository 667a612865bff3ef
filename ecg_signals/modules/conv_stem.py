"""Strided convolutions from samples to frames, and how many frames a number of samples becomes."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import ConfigError, parse_literal

ConvSpec = list[tuple[int, int, int]]


def parse_conv_layers(text: str, where: str = "model.conv_feature_layers") -> ConvSpec:
    """ "[(256, 2, 2)] * 4" -> [(dim, kernel, stride), ...]. Raises: ConfigError for anything else."""
    layers = parse_literal(text, where)
    if not isinstance(layers, list) or not layers or any(not _is_triple(layer) for layer in layers):
        raise ConfigError(
            f'{where} is {text!r}; it must be a list of (dim, kernel, stride), such as "[(256, 2, 2)] * 4"'
        )
    return [tuple(layer) for layer in layers]


def _is_triple(layer: object) -> bool:
    return (
        isinstance(layer, (tuple, list))
        and len(layer) == 3
        and all(isinstance(size, int) and size > 0 for size in layer)
    )


class ConvStem(nn.Module):
    """Blocks of convolution, dropout, norm, GELU without padding: [batch, leads, samples] -> [batch, frames, dim].

    Args:
        spec: (dim, kernel, stride) per block.
        mode: "default" normalises every channel over time after the first block (group norm); "layer_norm"
            normalises over channels after every block.
        over_padding: let padded frames enter the group norm's statistics, as fairseq-signals does.
        leads_option: what says how many leads there are, for the message about another number.
    """

    def __init__(
        self,
        spec: ConvSpec,
        in_leads: int,
        mode: str = "default",
        bias: bool = False,
        dropout: float = 0.0,
        over_padding: bool = False,
        leads_option: str = "model.in_d",
    ) -> None:
        super().__init__()
        self.spec = spec
        self.leads_option = leads_option
        self.in_leads = in_leads
        self.over_padding = over_padding
        self.conv_layers = nn.ModuleList()
        for index, (dim, kernel, stride) in enumerate(spec):
            conv = nn.Conv1d(spec[index - 1][0] if index else in_leads, dim, kernel, stride, bias=bias)
            nn.init.kaiming_normal_(conv.weight)
            self.conv_layers.append(nn.Sequential(conv, nn.Dropout(dropout), _norm(mode, index, dim)))

    @property
    def dim(self) -> int:
        return self.spec[-1][0]

    def forward(self, source: Tensor, lengths: Tensor | None = None, hidden: list[Tensor] | None = None) -> Tensor:
        """source [batch, leads, samples], lengths int64 [batch] unpadded samples or None -> [batch, frames, dim].

        `hidden` collects the input and every convolution's output, [batch, frames, dim] each.
        """
        self._check(source)
        x = source
        if hidden is not None:
            hidden.append(x.transpose(1, 2))
        for block, (_, kernel, stride) in zip(self.conv_layers, self.spec):
            conv, dropout, norm = cast(nn.Sequential, block)
            x = dropout(conv(x))  # [batch, dim, frames]
            lengths = None if lengths is None else output_length(lengths, kernel, stride)
            x = F.gelu(self._normalise(x, norm, lengths))
            if hidden is not None:
                hidden.append(x.transpose(1, 2))
        return x.transpose(1, 2)

    def _check(self, source: Tensor) -> None:
        expected = self.in_leads
        if source.dim() != 3 or source.shape[1] != expected:
            raise ConfigError(
                f"source has shape {list(source.shape)}; expected [batch, {expected} leads, samples]. "
                f"Set {self.leads_option} to the number of leads, or task.leads_to_load to {expected} of them"
            )
        if self.frames(source.shape[2]) < 1:
            raise ConfigError(
                f"source has {source.shape[2]} samples, too few for one frame of conv_feature_layers={self.spec}"
            )

    def _normalise(self, x: Tensor, norm: nn.Module, lengths: Tensor | None) -> Tensor:
        if isinstance(norm, nn.Sequential):
            return norm[1](x.transpose(1, 2)).transpose(1, 2)
        if lengths is None or self.over_padding or not isinstance(norm, nn.GroupNorm):
            return norm(x)
        return _norm_valid_frames(x, lengths, norm)

    def frames(self, samples: int) -> int:
        """Frames that `samples` samples become."""
        for _, kernel, stride in self.spec:
            samples = output_length(samples, kernel, stride)
        return samples

    def padded_frames(self, padding_mask: Tensor, frames: int) -> Tensor:
        """bool [batch, (leads,) samples], True = padding -> bool [batch, frames]."""
        valid = unpadded_lengths(padding_mask)
        for _, kernel, stride in self.spec:
            valid = output_length(valid, kernel, stride)
        return torch.arange(frames, device=valid.device) >= valid.unsqueeze(1)


def _norm(mode: str, index: int, dim: int) -> nn.Module:
    """State-dict keys follow fairseq: the layer norm stands between two transpositions, hence at place 1."""
    if mode == "layer_norm":
        return nn.Sequential(nn.Identity(), nn.LayerNorm(dim))
    return nn.GroupNorm(dim, dim) if index == 0 else nn.Identity()


def _norm_valid_frames(x: Tensor, lengths: Tensor, norm: nn.GroupNorm) -> Tensor:
    """Group norm with one group per channel whose statistics leave padded frames out; x [batch, dim, frames]."""
    valid = (torch.arange(x.shape[2], device=x.device) < lengths.unsqueeze(1)).unsqueeze(1)
    count = lengths.clamp(min=1).view(-1, 1, 1)
    mean = torch.where(valid, x, 0.0).sum(dim=2, keepdim=True) / count
    variance = torch.where(valid, x - mean, 0.0).square().sum(dim=2, keepdim=True) / count
    return (x - mean) * torch.rsqrt(variance + norm.eps) * norm.weight.unsqueeze(1) + norm.bias.unsqueeze(1)


def output_length(samples, kernel: int, stride: int):
    """Frames of an unpadded convolution, for an int or an integer tensor; 0 when the kernel does not fit."""
    if isinstance(samples, Tensor):
        return (torch.div(samples - kernel, stride, rounding_mode="floor") + 1).clamp(min=0)
    return (samples - kernel) // stride + 1


def unpadded_lengths(padding_mask: Tensor) -> Tensor:
    """bool [batch, (leads,) samples], True = padding -> int64 [batch] samples that are not."""
    if padding_mask.dim() == 3:
        padding_mask = padding_mask.all(dim=1)
    return (~padding_mask).sum(dim=1)
