"""From frames to one vector."""

from torch import Tensor

POOLINGS = ("valid", "nonzero")


def pool_frames(features: Tensor, padding_mask: Tensor | None, pooling: str = "valid") -> Tensor:
    """Mean over frames: [batch, frames, dim] -> [batch, dim].

    Args:
        padding_mask: bool [batch, frames], True = padding; None: no padding.
        pooling: "valid" divides by the frames that are not padding; "nonzero", fairseq-signals' arithmetic, divides
            each channel by the number of its non-zero values, so a true 0.0 is not counted. Without padding and
            without exact zeros both are the plain mean. A channel that is zero throughout gives 0.
    """
    if padding_mask is not None:
        features = features.masked_fill(padding_mask.unsqueeze(-1), 0.0)
    if pooling == "nonzero":
        return features.sum(dim=1) / (features != 0).sum(dim=1).clamp(min=1)
    if padding_mask is None:
        return features.mean(dim=1)
    frames = (~padding_mask).sum(dim=1, keepdim=True).clamp(min=1)
    return features.sum(dim=1) / frames
