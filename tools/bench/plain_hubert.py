"""A plain reading of HuBERT-ECG: the pretraining step and the descriptors as published, one thing at a time.

Cosine logits by broadcasting every frame against every cluster, AdamW as a loop over parameters, descriptors shard by
shard. Nothing of `ecg_signals` is used, so that it can serve as the yardstick.
"""

import numpy as np
import scipy.signal
import scipy.stats
import torch
import torch.nn.functional as F
from torch import Tensor
from turns import PlainStep

SHARDS = 93


class PlainHubert(PlainStep):
    """The step of a `hubert_ecg` with group norm and norms behind the branches."""

    def frames(self, stream: Tensor) -> Tensor:
        x = stream[:, None]  # [batch, 1, samples]
        for index, stride in enumerate(self.options["conv_stride"]):
            prefix = f"feature_extractor.conv_layers.{index}"
            x = F.conv1d(x, self.weights[f"{prefix}.conv.weight"], stride=stride)
            if index == 0:
                norm = self.weights[f"{prefix}.layer_norm.weight"], self.weights[f"{prefix}.layer_norm.bias"]
                x = F.group_norm(x, x.shape[1], *norm)
            x = F.gelu(x)
        x = self.layer_norm("feature_projection.layer_norm", x.transpose(1, 2))
        return self.linear("feature_projection.projection", x)

    def position(self, x: Tensor) -> Tensor:
        prefix = "encoder.pos_conv_embed.conv"
        direction = self.weights[f"{prefix}.parametrizations.weight.original1"]
        length = self.weights[f"{prefix}.parametrizations.weight.original0"]
        weight = length * direction / direction.norm(dim=(0, 1), keepdim=True)
        groups, width = self.options["num_conv_pos_embedding_groups"], self.options["num_conv_pos_embeddings"]
        found = F.conv1d(x.transpose(1, 2), weight, self.weights[f"{prefix}.bias"], padding=width // 2, groups=groups)
        return F.gelu(found[..., : x.shape[1]]).transpose(1, 2)

    def attention(self, prefix: str, x: Tensor) -> Tensor:
        heads = self.options["num_attention_heads"]
        query, key, value = (
            self.linear(f"{prefix}.{name}_proj", x).unflatten(-1, (heads, -1)).transpose(1, 2) for name in "qkv"
        )
        mixed = F.scaled_dot_product_attention(query, key, value, dropout_p=self.options["attention_dropout"])
        return self.linear(f"{prefix}.out_proj", mixed.transpose(1, 2).flatten(2))

    def encode(self, x: Tensor) -> Tensor:
        hidden, activation = self.options["hidden_dropout"], self.options["activation_dropout"]
        x = F.dropout(self.layer_norm("encoder.layer_norm", x + self.position(x)), hidden)
        for index in range(self.options["num_hidden_layers"]):
            prefix = f"encoder.layers.{index}"
            mixed = F.dropout(self.attention(f"{prefix}.attention", x), hidden)
            x = self.layer_norm(f"{prefix}.layer_norm", x + mixed)
            inner = F.dropout(F.gelu(self.linear(f"{prefix}.feed_forward.intermediate_dense", x)), activation)
            inner = F.dropout(self.linear(f"{prefix}.feed_forward.output_dense", inner), hidden)
            x = self.layer_norm(f"{prefix}.final_layer_norm", x + inner)
        return x

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        x = self.frames(batch["source"].flatten(1))
        mask = batch["mask"]
        x = torch.where(mask[..., None], self.weights["masked_spec_embed"].to(x.dtype), x)
        x = self.encode(x)
        total = x.new_zeros((), dtype=torch.float32)
        for head in range(len(self.options["vocab_sizes"])):
            frames = self.linear(f"final_proj.{head}", x)  # [batch, frames, proj]
            table = self.weights[f"label_embedding.{head}.weight"]  # [clusters, proj]
            cosine = torch.cosine_similarity(frames[:, :, None], table[None, None], dim=-1) / 0.1
            total = total + F.cross_entropy(cosine[mask].float(), batch["labels"][:, head][mask])
        return total, 1


def plain_shards(signal: np.ndarray, rate: int = 100) -> np.ndarray:
    """[12, 2500] -> [93, samples], lead by lead, for 100 and 50 Hz."""
    edge = 2 if rate == 100 else 1
    leads = [scipy.signal.decimate(lead, 500 // rate)[edge:-edge] for lead in signal[:, :2500]]
    return np.concatenate(leads).reshape(SHARDS, -1)


def plain_time_frequency(signal: np.ndarray) -> np.ndarray:
    """Sixteen values per shard, shard by shard."""
    return np.array([_describe(shard) for shard in plain_shards(signal)], dtype=np.float32)


def _describe(x: np.ndarray) -> list[float]:
    rms, peak, power = np.sqrt(np.mean(x**2)), np.max(np.abs(x)), np.mean(x**2)
    spectrum = np.abs(np.fft.fft(x) ** 2) / len(x)
    return [
        np.min(x), np.max(x), np.mean(x), rms, np.var(x), np.std(x), power, peak, np.ptp(x), peak / rms,
        scipy.stats.skew(x), scipy.stats.kurtosis(x),
        np.max(spectrum), np.sum(spectrum), np.mean(spectrum), np.var(spectrum),
    ]  # fmt: skip


def plain_cepstra(signal: np.ndarray, rate: int = 100, low: float = 20.0) -> np.ndarray:
    """Thirteen mel cepstra per shard, shard by shard, every table made anew."""
    return np.array([_cepstra(shard, rate, low) for shard in plain_shards(signal, rate)], dtype=np.float32)


def _cepstra(x: np.ndarray, rate: int, low: float) -> np.ndarray:
    padded = 1 << (len(x) - 1).bit_length()
    x = x - x.mean()
    x = (x - 0.97 * np.concatenate([x[:1], x[:-1]])) * np.hanning(len(x)) ** 0.85
    power = np.abs(np.fft.rfft(x, padded)) ** 2
    edges = np.linspace(1127 * np.log(1 + low / 700), 1127 * np.log(1 + rate / 2 / 700), 25)
    at = 1127 * np.log(1 + np.arange(padded // 2) * rate / padded / 700)
    energies = []
    for left, centre, right in zip(edges[:-2], edges[1:-1], edges[2:]):
        weight = np.maximum(0, np.minimum((at - left) / (centre - left), (right - at) / (right - centre)))
        energies.append(np.log(max(power[:-1] @ weight, 1.1920929e-07)))
    order = np.arange(13)
    cosines = np.cos(np.pi * np.outer(order, np.arange(23) + 0.5) / 23) * np.sqrt(2 / 23)
    cosines[0] = np.sqrt(1 / 23)
    return cosines @ energies * (1 + 11 * np.sin(np.pi * order / 22))
