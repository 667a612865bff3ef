"""What masked autoencoders share below their blocks: fixed positions, chosen tokens, the decoder."""

import torch
from torch import Tensor, nn

from ecg_signals.modules.vit import VitBlock


def sine_positions(tokens: int, dim: int, ends: int) -> nn.Parameter:
    """[1, ends + tokens, dim], which never trains by itself: sines, then cosines, of falling frequencies.

    Args:
        dim: even.
        ends: 1: a row of zeros in front; 2: one behind as well.
    """
    frequencies = 10000.0 ** (-torch.arange(dim // 2, dtype=torch.float64) / (dim / 2))
    angles = torch.arange(tokens, dtype=torch.float64)[:, None] * frequencies
    rows = torch.cat([angles.sin(), angles.cos()], dim=1).float()
    zero = torch.zeros(1, dim)
    return nn.Parameter(torch.cat([zero, rows, *[zero] * (ends - 1)])[None], requires_grad=False)


def take(values: Tensor, index: Tensor) -> Tensor:
    """[batch, groups, tokens, ...] -> the tokens that `index` [batch, groups, chosen] names, in its order."""
    if values.dim() == 3:
        return values.gather(2, index)
    return values.gather(2, index[..., None].expand(*index.shape, values.shape[-1]))


def rows_of(positions: Tensor, numbers: list[int] | None, count: int) -> Tensor:
    """The rows of `count` tokens, the first ones or those of these numbers: [1, rows, dim] -> [1, count, dim]."""
    inner = positions[:, 1:]
    return inner[:, :count] if numbers is None else inner[:, numbers]


def begin_weights(module: nn.Module) -> None:
    """Xavier-uniform linear layers without bias; layer norms are as torch begins them."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


class Decoder(nn.Module):
    """From the tokens that were kept to what all tokens were; every group of tokens is decoded by itself.

    Args:
        dim: of the encoder.
        size: values of a token.
        tokens: of a group.
        ends: vectors around each group, see `sine_positions`.
        block: the options of VitBlock beside its sizes.
    """

    def __init__(
        self, dim: int, size: int, tokens: int, ends: int, width: int, depth: int, heads: int, hidden: int, **block: int
    ) -> None:
        super().__init__()
        self.ends = ends
        self.mask_embedding = nn.Parameter(torch.empty(1, 1, width))
        self.pos_embedding = sine_positions(tokens, width, ends)
        self.embed = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(VitBlock(width, heads, hidden, **block) for _ in range(depth))  # type: ignore[arg-type]
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, size)
        nn.init.normal_(self.mask_embedding, std=0.02)

    def forward(self, latent: Tensor, restore: Tensor, numbers: list[int] | None, padded: Tensor | None) -> Tensor:
        """Each token as it may have been.

        Args:
            latent: [batch, groups, ends and kept tokens, dim].
            restore: [batch, groups, tokens]: where each token stands among the kept, then the removed ones.
            numbers: of the tokens, for their positions; None: the first ones.
            padded: bool [batch, groups, tokens].
        Returns: [batch, groups, tokens, size].
        """
        x = self.embed(latent)
        last = x.shape[2] - (self.ends - 1)
        count = restore.shape[2]
        hidden = self.mask_embedding.to(x.dtype).expand(*x.shape[:2], count - (last - 1), -1)
        tokens = take(torch.cat([x[:, :, 1:last], hidden], dim=2), restore)
        x = torch.cat([x[:, :, :1], tokens, x[:, :, last:]], dim=2)
        first, final = self.pos_embedding[:, :1], self.pos_embedding[:, -1:][:, : self.ends - 1]
        x = x + torch.cat([first, rows_of(self.pos_embedding, numbers, count), final], dim=1)
        groups, padding = x.shape[:2], None if padded is None else pad_ends(padded, self.ends).flatten(0, 1)
        x = x.flatten(0, 1)
        for block in self.blocks:
            x = block(x, padding)
        return self.head(self.norm(x)).unflatten(0, groups)[:, :, 1 : 1 + count]


def pad_ends(padded: Tensor, ends: int) -> Tensor:
    """bool [batch, groups, tokens] -> [batch, groups, tokens and ends]; ends are no padding."""
    return nn.functional.pad(padded, (1, ends - 1), value=False)
