"""A plain reading of ST-MEM's pretraining: batches and a step with the published arithmetic.

As published: filters on every crop, attention as two products around a softmax, all twelve leads encoded as one
sequence, the decoder called lead by lead, AdamW as a loop over parameters. Nothing of `ecg_signals` is used, so that
this can serve as the yardstick.
"""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.signal import butter, resample, sosfiltfilt
from torch import Tensor
from turns import PlainStep


def plain_item(record: np.ndarray, rate: float, samples: int = 2250) -> Tensor:
    """Record [leads, samples] -> its middle at 250 Hz, filtered to 0.67-40 Hz, standardised over all leads together."""
    x = resample(record, int(record.shape[1] * 250 / rate), axis=1)
    first = (x.shape[1] - samples) // 2
    x = x[:, first : first + samples]
    x = sosfiltfilt(butter(5, 0.67, "highpass", fs=250, output="sos"), x)
    x = sosfiltfilt(butter(5, 40, "lowpass", fs=250, output="sos"), x)
    x = (x - x.mean()) / x.std() if x.std() else x * 0
    return torch.from_numpy(x.astype(np.float32))


class PlainStMem(PlainStep):
    """The step of an `st_mem`, every lead of which is decoded by itself; the options are the model's."""

    def __init__(self, weights: dict[str, Tensor], options: dict[str, Any], rates: dict[str, Any]) -> None:
        super().__init__(weights, options, rates)
        for name in ("pos_embedding", "decoder.pos_embedding"):
            self.weights[name].requires_grad_(False)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        """Squared error of the removed tokens, each target token standardised."""
        source, noise, size = batch["source"], batch["noise"], self.options["patch_size"]
        tokens = source.unflatten(2, (-1, size))  # [batch, leads, patches, size]
        count = tokens.shape[2]
        kept = int(count * (1 - self.options["mask_ratio"]))
        order = noise.argsort(dim=-1)
        restore, chosen = order.argsort(dim=-1), order[..., :kept]
        latent = self.encode(tokens, chosen)
        told = torch.stack([self.decode(latent[:, lead], restore[:, lead]) for lead in range(tokens.shape[1])], dim=1)
        mean, variance = tokens.mean(dim=-1, keepdim=True), tokens.var(dim=-1, keepdim=True)
        wanted = (tokens - mean) / (variance + 1e-6) ** 0.5
        removed = (restore >= kept).float()
        return ((told - wanted).square().mean(dim=-1) * removed).sum() / removed.sum(), 1

    def encode(self, tokens: Tensor, chosen: Tensor) -> Tensor:
        """[batch, leads, kept + 2, dim]: the tokens that stay between two marks."""
        places, mark = self.weights["pos_embedding"][0], self.weights["sep_embedding"]
        x = self.norm("patch_embed.2", self.linear("patch_embed.1", self.norm("patch_embed.0", tokens)))
        x = _take(x + places[1 : x.shape[2] + 1], chosen)
        left, right = ((mark + places[end]).expand(*x.shape[:2], 1, -1) for end in (0, -1))
        x = torch.cat([left, x, right], dim=2) + self.weights["lead_embedding"][:, None]
        shape = x.shape[1:3]
        x = x.flatten(1, 2)
        for number in range(self.options["depth"]):
            x = self.block(f"blocks.{number}", x, self.options["num_heads"])
        return self.norm("norm", x).unflatten(1, shape)

    def decode(self, x: Tensor, restore: Tensor) -> Tensor:
        """One lead: [batch, kept + 2, dim], [batch, patches] -> [batch, patches, size]."""
        x = self.linear("decoder.embed", x)
        left, told, right = x[:, :1], x[:, 1:-1], x[:, -1:]
        mask = self.weights["decoder.mask_embedding"].expand(len(x), restore.shape[1] - told.shape[1], -1)
        told = _take(torch.cat([told, mask.to(told.dtype)], dim=1), restore)
        x = torch.cat([left, told, right], dim=1) + self.weights["decoder.pos_embedding"][0]
        for number in range(self.options["decoder_depth"]):
            x = self.block(f"decoder.blocks.{number}", x, self.options["decoder_num_heads"])
        return self.linear("decoder.head", self.norm("decoder.norm", x, 1e-6))[:, 1:-1]

    def block(self, prefix: str, x: Tensor, heads: int) -> Tensor:
        mixed = self.linear(f"{prefix}.attn.qkv", self.norm(f"{prefix}.norm1", x)).unflatten(-1, (3, heads, -1))
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        read = (query @ key.transpose(-2, -1) * query.shape[-1] ** -0.5).softmax(dim=-1) @ value
        x = x + self.linear(f"{prefix}.attn.proj", read.transpose(1, 2).flatten(2))
        hidden = F.gelu(self.linear(f"{prefix}.mlp.fc1", self.norm(f"{prefix}.norm2", x)))
        return x + self.linear(f"{prefix}.mlp.fc2", hidden)

    def norm(self, name: str, x: Tensor, eps: float = 1e-5) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        return F.layer_norm(x, (len(weight),), weight, self.weights[f"{name}.bias"], eps)


def _take(x: Tensor, indices: Tensor) -> Tensor:
    return torch.gather(x, -2, indices.unsqueeze(-1).expand(*indices.shape, x.shape[-1]))
