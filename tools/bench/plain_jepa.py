"""A plain reading of ECG-JEPA: masks, batches and a training step with the published arithmetic.

As published: the masks of a batch row by row in Python, a batch as a stack of crops that were made float32 one by one,
attention on a CPU as two products around a softmax, the target encoder on all patches, the moving average and AdamW as
loops over parameters. Nothing of `ecg_signals` is used, so that it can serve as the yardstick.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from turns import PlainStep


def plain_masks(rows: int, patches: int, block: int, least: float, most: float) -> tuple[Tensor, Tensor]:
    """Visible and masked patches of every row, from NumPy's global generator."""
    visible = math.ceil(np.random.uniform(least, most) * patches)
    kept = [_plain_row(patches, patches - visible, block) for _ in range(rows)]
    masked = [np.setdiff1d(np.arange(patches), row) for row in kept]
    return torch.from_numpy(np.stack(kept)), torch.from_numpy(np.stack(masked))


def _plain_row(patches: int, masked: int, block: int) -> np.ndarray:
    intervals, done = [(0, patches)], 0
    while done < masked:
        lengths = np.array([end - start for start, end in intervals])
        chosen = np.random.choice(len(intervals), p=lengths / lengths.sum())
        start, end = intervals.pop(chosen)
        room = masked - done
        size = np.random.randint(block, room + 1) if room >= block else room
        if end - start <= size:
            done += end - start
            continue
        if room >= block:
            first = np.random.randint(start, end - size + 1)
        else:
            sides = ([start] if start > 0 else []) + ([end - size] if end < patches else [])
            first = np.random.choice(sides)
        intervals += [(start, first), (first + size, end)]
        done += size
    return np.sort(np.concatenate([np.arange(start, end) for start, end in intervals]))


def plain_batch(records: np.ndarray, chosen: np.ndarray, crop: int) -> Tensor:
    """Records [records, samples, leads] float16 in memory, standardised -> random crops [chosen, leads, crop]."""
    crops = []
    for record in chosen:
        first = np.random.randint(0, records.shape[1] - crop + 1)
        crops.append(torch.from_numpy(records[record, first : first + crop].transpose(1, 0).astype(np.float32)))
    return torch.stack(crops)


class PlainJepa(PlainStep):
    """The step of a `jepa` without biases; the options are the model's, and `momentum`."""

    def __init__(self, weights: dict[str, Tensor], options: dict[str, Any], rates: dict[str, Any]) -> None:
        super().__init__(weights, options, rates)
        for name, value in self.weights.items():
            value.requires_grad_(not name.startswith("target_encoder."))

    def __call__(self, batch: dict[str, Tensor], bf16: bool = False) -> Tensor:
        self.follow()
        return super().__call__(batch, bf16)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        source, visible, masked = batch["source"], batch["mask_encoder"], batch["mask_predictor"]
        with torch.no_grad():
            target = _take(self.encode("target_encoder", source), masked)
        context = self.encode("encoder", source, visible)
        return (self.predict(context, visible, masked) - target).abs().mean(), 1

    @torch.no_grad()
    def follow(self) -> None:
        for name, value in self.weights.items():
            if name.startswith("target_encoder."):
                online = self.weights[name.removeprefix("target_")]
                value.mul_(self.options["momentum"]).add_(online, alpha=1 - self.options["momentum"])

    def encode(self, part: str, source: Tensor, visible: Tensor | None = None) -> Tensor:
        """[batch, patches, dim] without registers."""
        options = self.options
        x = F.conv1d(source, self.weights[f"{part}.patch_embed.proj.weight"], stride=options["patch_size"])
        x = x.transpose(1, 2)
        x = x + _positions(x.shape[1], options["dim"], x.device)
        if visible is not None:
            x = _take(x, visible)
        registers = self.weights.get(f"{part}.registers")
        count = 0 if registers is None else registers.shape[1]
        if registers is not None:
            x = torch.cat([registers.expand(len(x), -1, -1), x], dim=1)
        x = self.blocks(part, x, options["depth"], options["num_heads"])
        return self.norm(f"{part}.norm", x)[:, count:]

    def predict(self, context: Tensor, visible: Tensor, masked: Tensor) -> Tensor:
        options, width = self.options, self.options["pred_dim"]
        places = _positions(visible.shape[1] + masked.shape[1], width, context.device)
        x = F.linear(context, self.weights["predictor.embed.weight"]) + places[visible]
        asked = self.weights["predictor.mask_token"] + places[masked]
        x = torch.cat([x, asked], dim=1)
        x = self.blocks("predictor", x, options["pred_depth"], options["pred_num_heads"])
        x = self.norm("predictor.norm", x)[:, -masked.shape[1] :]
        return F.linear(x, self.weights["predictor.proj.weight"])

    def blocks(self, part: str, x: Tensor, depth: int, heads: int) -> Tensor:
        for number in range(depth):
            prefix = f"{part}.blocks.{number}"
            x = x + self.attend(f"{prefix}.attn", self.norm(f"{prefix}.norm1", x), heads)
            hidden = F.gelu(F.linear(self.norm(f"{prefix}.norm2", x), self.weights[f"{prefix}.mlp.fc1.weight"]))
            x = x + F.linear(hidden, self.weights[f"{prefix}.mlp.fc2.weight"])
        return x

    def attend(self, prefix: str, x: Tensor, heads: int) -> Tensor:
        batch, tokens, dim = x.shape
        mixed = F.linear(x, self.weights[f"{prefix}.qkv.weight"]).reshape(batch, tokens, 3, heads, dim // heads)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        if x.device.type == "cuda":
            read = F.scaled_dot_product_attention(query, key, value)
        else:
            read = (query * (dim // heads) ** -0.5 @ key.transpose(-2, -1)).softmax(dim=-1) @ value
        return F.linear(read.transpose(1, 2).reshape(batch, tokens, dim), self.weights[f"{prefix}.proj.weight"])

    def norm(self, name: str, x: Tensor) -> Tensor:
        weight = self.weights[f"{name}.weight"]
        return F.layer_norm(x, (len(weight),), weight, eps=self.options["norm_eps"])


def _take(x: Tensor, indices: Tensor) -> Tensor:
    return torch.gather(x, 1, indices.unsqueeze(-1).expand(-1, -1, x.shape[-1]))


@lru_cache
def _positions(patches: int, dim: int, device: torch.device) -> Tensor:
    rates = 10000.0 ** (-torch.arange(0, dim, 2, dtype=torch.float32, device=device) / dim)
    angles = torch.arange(patches, dtype=torch.float32, device=device)[:, None] * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)
