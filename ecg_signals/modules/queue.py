"""The newest rows that were compared, for criteria that want more of them than a batch has."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.runtime.collectives import gather_rows


class Queue(nn.Module):
    """`rows` [size, dim] in a ring, the same on all ranks; a run's checkpoints hold them.

    Rows come in behind the optimizer's step, so that an update sees the same ones however its batch was cut.

    Args:
        start: updates before anything comes in.
        drawn: begins with random rows of length 1, else empty, with zeros.
    """

    rows: Tensor
    place: Tensor

    def __init__(self, size: int, dim: int, *, start: int = 0, drawn: bool = False) -> None:
        super().__init__()
        self.start = start
        self.register_buffer("rows", F.normalize(torch.randn(size, dim), dim=1) if drawn else torch.zeros(size, dim))
        self.register_buffer("place", torch.zeros((), dtype=torch.int64))
        self.waiting: list[Tensor] = []

    def wait(self, rows: Tensor) -> None:
        """Rows [n, dim] of this rank's batch, to come in after the update."""
        self.waiting.append(rows.detach())

    def before_forward(self, num_updates: int) -> None:
        self.waiting = []  # those of an update that was skipped

    def after_stand_in(self, num_updates: int) -> None:
        self.waiting[-1] = self.waiting[-1][:0]  # ranks exchange rows batch by batch, so that none is left out

    def after_update(self, num_updates: int) -> None:
        for rows in self.waiting if num_updates > self.start else []:
            self.push(gather_rows(rows))
        self.waiting = []

    @torch.no_grad()
    def push(self, rows: Tensor) -> None:
        """Put rows [n, dim] in place of the oldest."""
        size = len(self.rows)
        rows = rows[-size:].to(self.rows)
        self.rows.index_copy_(0, (self.place + torch.arange(len(rows), device=rows.device)) % size, rows)
        self.place.add_(len(rows)).remainder_(size)
