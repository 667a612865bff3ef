"""Recurrent layers over frames, whose backward half begins at the last frame that is not padding."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ecg_signals.modules.pooling import last_frame

CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"lstm": nn.LSTM, "gru": nn.GRU}


def recurrent(cell: str, in_dim: int, dim: int, layers: int, bidirectional: bool = False) -> nn.RNNBase:
    return CELLS[cell](in_dim, dim, layers, batch_first=True, bidirectional=bidirectional)


def unroll(rnn: nn.RNNBase, frames: Tensor, padding: Tensor | None) -> Tensor:
    """[batch, frames, in_dim], padding bool [batch, frames] -> [batch, frames, dim, twice that in two directions]."""
    if padding is None or not rnn.bidirectional:
        return rnn(frames)[0]  # what comes later changes nothing before it
    lengths = (~padding).sum(dim=1).clamp(min=1).cpu()
    packed = pack_padded_sequence(frames, lengths, batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(rnn(packed)[0], batch_first=True, total_length=frames.shape[1])[0]


def reached(features: Tensor, padding: Tensor | None, bidirectional: bool) -> Tensor:
    """What each direction knows at its end: [batch, frames, dim] -> [batch, dim].

    That is the last unpadded frame, of the backward half the first one.
    """
    last = last_frame(features, padding)
    if not bidirectional:
        return last
    half = features.shape[-1] // 2
    return torch.cat([last[:, :half], features[:, 0, half:]], dim=-1)
