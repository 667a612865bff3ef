"""Hidden frames, their negatives, and the cosines between them."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ecg_signals.config import ConfigError
from ecg_signals.runtime.batch import sent


@dataclass
class HiddenFrames:
    """Which frames a batch hides, equally many (M) per item.

    Attributes:
        mask: bool [batch, frames] on the model's device.
        rows: int64 [batch * M] on the model's device: places of the hidden frames in [batch * frames].
        positions: int64 [batch, M] on the CPU: the same, per item.
    """

    mask: Tensor
    rows: Tensor
    positions: Tensor

    @classmethod
    def of(cls, mask: Tensor, device: torch.device) -> "HiddenFrames":
        """Raises: ValueError when items hide different numbers of frames, ConfigError when they hide none."""
        on_cpu = mask.cpu().bool()
        counts = on_cpu.sum(dim=1)
        if bool((counts != counts[0]).any()):
            raise ValueError(f"mask_indices hides {counts.tolist()} frames; every item must hide equally many")
        if int(counts[0]) == 0:
            raise ConfigError(
                "an item hides no frame, hence nothing to predict; use longer segments, or set "
                "model.mask_length or model.mask_min_space to less"
            )
        rows = on_cpu.flatten().nonzero().squeeze(1)
        positions = rows.view(len(mask), -1) % mask.shape[1]
        return cls(sent(mask.bool(), device), sent(rows, device), positions)

    def gather(self, frames: Tensor) -> Tensor:
        """[batch, frames, dim] -> [batch, M, dim]."""
        return frames.flatten(0, 1).index_select(0, self.rows).view(len(frames), -1, frames.shape[-1])


@dataclass
class Targets:
    """What predictions are compared with.

    Attributes:
        candidates: [batch, C, dim]; negatives are rows of [batch * C, dim].
        identity: int64 [batch, C], equal for equal candidates.
        own: int64 [batch, M], the candidate of each hidden frame.
    """

    candidates: Tensor
    identity: Tensor
    own: Tensor


def contrast(predicted: Tensor, targets: Targets, neg_idxs: Tensor, local: bool) -> tuple[Tensor, Tensor]:
    """Cosines of predictions with their own candidate and their negatives, by a matrix product and a look-up.

    Args:
        predicted: [batch, M, dim].
        neg_idxs: int64 [batch, M * N], rows of [batch * C].
        local: every negative comes from the item of its frame, so that items need no comparison with each other.
    Returns: cosines float32 [batch, M, 1 + N], and bool of that shape, True where a negative equals the positive.
    """
    batch, hidden = predicted.shape[:2]
    count = targets.candidates.shape[1]
    negatives = neg_idxs.view(batch, hidden, -1)
    start = torch.arange(batch, device=predicted.device).view(-1, 1, 1) * count
    own = targets.own.unsqueeze(2) + start
    with torch.autocast(predicted.device.type, enabled=False):
        query = F.normalize(predicted.float(), dim=-1, eps=1e-8)  # torch.cosine_similarity's, which fairseq calls
        keys = F.normalize(targets.candidates.float(), dim=-1, eps=1e-8)
        if local:
            cosines = torch.bmm(query, keys.transpose(1, 2)).gather(2, torch.cat([own, negatives], dim=2) - start)
        else:
            every = query.flatten(0, 1) @ keys.flatten(0, 1).t()  # [batch * M, batch * C]
            cosines = every.gather(1, torch.cat([own, negatives], dim=2).flatten(0, 1)).unflatten(0, (batch, hidden))
    identity = targets.identity.flatten()
    same = torch.cat([torch.zeros_like(own, dtype=torch.bool), identity[negatives] == identity[own]], dim=2)
    return cosines, same


def draw_negatives(own: Tensor, counts: Tensor, stride: int, in_item: int, across: int) -> Tensor:
    """Uniform draws, never the frame itself, from torch's CPU generator.

    Args:
        own: int64 [batch, M], each hidden frame's place among its item's candidates.
        counts: int64 [batch], candidates per item; they are the rows i * stride ... i * stride + counts[i] - 1.
        in_item, across: negatives per frame from its own item, and from all items.
    Returns: int64 [batch, M * (in_item + across)], frame-major.
    Raises: ConfigError when an item has a single candidate.
    """
    batch = len(own)
    if int(counts.min()) < 2:
        raise ConfigError(
            "an item has fewer than two hidden frames, hence no negatives; use longer segments or raise model.mask_prob"
        )
    drawn = []
    if in_item > 0:
        place = _all_but(own, (counts - 1).view(-1, 1, 1), in_item)
        drawn.append(place + torch.arange(batch).view(-1, 1, 1) * stride)
    if across > 0:
        ends = counts.cumsum(0)
        starts = ends - counts
        place = _all_but(own + starts.unsqueeze(1), ends[-1] - 1, across)
        item = torch.searchsorted(ends, place, right=True)
        drawn.append(place - starts[item] + item * stride)
    if not drawn:
        return torch.empty((batch, 0), dtype=torch.int64)
    return torch.cat(drawn, dim=2).view(batch, -1)


def _all_but(own: Tensor, others: Tensor, number: int) -> Tensor:
    """`number` draws per frame, uniform over others + 1 places without its own: int64 [batch, M, number]."""
    place = (torch.rand((*own.shape, number), dtype=torch.float64) * others).long()
    return place + (place >= own.unsqueeze(2))
