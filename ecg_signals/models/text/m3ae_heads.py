"""What M3AE tells in pretraining: hidden words, hidden frames, and whether ECG and report belong together."""

import math
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import ConfigError
from ecg_signals.modules.bert import EPS

MOST_FRAMES = 511  # beside the class token


class _Transform(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dense = nn.Linear(dim, dim)
        self.LayerNorm = nn.LayerNorm(dim, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        return self.LayerNorm(F.gelu(self.dense(x)))


class WordsHead(nn.Module):
    """[batch, tokens, dim] -> [batch, tokens, vocab_size]."""

    def __init__(self, dim: int, vocab_size: int) -> None:
        super().__init__()
        self.transform = _Transform(dim)
        self.decoder = nn.Linear(dim, vocab_size, bias=False)
        self.bias = nn.Parameter(torch.zeros(vocab_size))

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.transform(x)) + self.bias


class AlignmentHead(nn.Module):
    """[batch, dim] -> [batch, 2]: another's report, its own."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc = nn.Linear(dim, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x)


class _Places(nn.Module):
    pe: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        place = torch.arange(MOST_FRAMES + 1).unsqueeze(1)
        angle = place * torch.exp(torch.arange(0, dim, 2) * (-math.log(10000.0) / dim))
        table = torch.zeros(1, MOST_FRAMES + 1, dim)
        table[0, :, 0::2], table[0, :, 1::2] = angle.sin(), angle.cos()[:, : dim // 2]
        self.register_buffer("pe", table)


class _Block(nn.Module):
    """A pre-norm block as CLIP has it. Source: Radford et al. 2021, arXiv:2103.00020."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(dim)
        layers = OrderedDict(c_fc=nn.Linear(dim, 4 * dim), gelu=_QuickGELU(), c_proj=nn.Linear(4 * dim, dim))
        self.mlp = nn.Sequential(layers)
        self.ln_2 = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False)[0]
        return x + self.mlp(self.ln_2(x))


class _QuickGELU(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class _Blocks(nn.Module):
    def __init__(self, dim: int, layers: int, heads: int) -> None:
        super().__init__()
        self.resblocks = nn.Sequential(*(_Block(dim, heads) for _ in range(layers)))

    def forward(self, x: Tensor) -> Tensor:
        return self.resblocks(x)


class FramesHead(nn.Module):
    """The kept frames, class token first, -> samples of all frames [batch, frames, leads, samples]."""

    def __init__(self, in_dim: int, dim: int, layers: int, heads: int, leads: int, samples: int) -> None:
        super().__init__()
        self.leads = leads
        self.mask_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.decoder_embed = nn.Linear(in_dim, dim)
        self.decoder_pos_embed = _Places(dim)
        self.decoder = _Blocks(dim, layers, heads)
        self.decoder_norm = nn.LayerNorm(dim)
        self.decoder_pred = nn.Linear(dim, leads * samples)

    def forward(self, x: Tensor, restore_order: Tensor) -> Tensor:
        """x [batch, 1 + kept, in_dim]; restore_order [batch, frames]: where each frame stands among kept and hidden.

        Raises: ConfigError for more frames than there are places for.
        """
        frames = restore_order.shape[1]
        if frames > MOST_FRAMES:
            raise ConfigError(
                f"an ECG of {frames} frames, but hidden frames are told of {MOST_FRAMES} at most; set "
                f"task.max_sample_size to fewer samples, or a larger stride in model.conv_feature_layers"
            )
        x = self.decoder_embed(x)
        hidden = self.mask_token.to(x.dtype).expand(len(x), frames + 1 - x.shape[1], -1)
        whole = torch.cat([x[:, 1:], hidden], dim=1)
        whole = whole.gather(1, restore_order.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
        x = torch.cat([x[:, :1], whole], dim=1)
        x = self.decoder(x + self.decoder_pos_embed.pe[:, : frames + 1].to(x.dtype))
        return self.decoder_pred(self.decoder_norm(x))[:, 1:].unflatten(-1, (self.leads, -1))
