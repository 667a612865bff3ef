"""From one vector per item to logits."""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.modules.dropout import Dropout

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
}
HEADS = ("linear", "mlp", "norm_linear", "norm_mlp", "cosine", "label_embedding")


def make_head(
    kind: str, dim: int, labels: int, hidden: int, activation: str, bias: bool = True, dropout: float = 0.0
) -> nn.Module:
    """[batch, dim] -> [batch, labels]; `hidden` and `activation` are those of perceptrons, `mlp` and `norm_mlp`.

    bias: of the linear layers; cosines have none.
    dropout: behind the batch norms of `norm_linear` and `norm_mlp`.
    """
    if kind in ("norm_linear", "norm_mlp"):
        return normed_head([dim, *([hidden] if kind == "norm_mlp" else []), labels], activation, bias, dropout)
    if kind == "mlp":
        return perceptron(dim, hidden, labels, activation, bias)
    if kind == "linear":
        return linear(dim, labels, bias)
    return {"cosine": CosineHead, "label_embedding": LabelEmbedding}[kind](dim, labels)


def linear(dim: int, labels: int, bias: bool = True) -> nn.Linear:
    """As fairseq-signals begins it."""
    layer = nn.Linear(dim, labels, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def perceptron(dim: int, hidden: int, labels: int, activation: str, bias: bool = True) -> nn.Sequential:
    last = nn.Linear(hidden, labels, bias=bias)
    return nn.Sequential(nn.Linear(dim, hidden, bias=bias), ACTIVATIONS[activation](), last)


def normed_head(dims: list[int], activation: str, bias: bool, dropout: float) -> nn.Sequential:
    """Batch norm, dropout and a linear layer for every width; all but the last drop out half as much.

    Begins as in Strodthoff et al. 2021, arXiv:2004.13701, whose head it is with an activation `relu`.
    """
    layers: list[nn.Module] = []
    for number, (before, dim) in enumerate(pairwise(dims)):
        last = number == len(dims) - 2
        layer = nn.Linear(before, dim, bias=bias)
        nn.init.kaiming_normal_(layer.weight)
        if bias:
            nn.init.zeros_(layer.bias)
        layers += [nn.BatchNorm1d(before), Dropout(dropout if last else dropout / 2), layer]
        layers += [] if last else [ACTIVATIONS[activation]()]
    return nn.Sequential(*layers)


class CosineHead(nn.Module):
    """Cosines between the item and one vector per label, for criteria with a margin."""

    def __init__(self, dim: int, labels: int) -> None:
        super().__init__()
        self.kernel = label_vectors(dim, labels)

    def forward(self, pooled: Tensor) -> Tensor:
        return cosines(F.normalize(pooled, dim=-1), self.kernel)


def label_vectors(dim: int, labels: int) -> nn.Parameter:
    """[labels, dim], whose columns, not rows, have norm 1 at first, as fairseq-signals begins them."""
    return nn.Parameter(F.normalize(torch.empty(labels, dim).uniform_(-1, 1), dim=0))


def cosines(unit: Tensor, kernel: Tensor) -> Tensor:
    """Items of norm 1 [batch, dim] and label vectors of any norm [labels, dim] -> [batch, labels] in [-1, 1]."""
    return F.linear(unit, F.normalize(kernel, dim=-1)).clamp(-1.0, 1.0)


class LabelEmbedding(nn.Embedding):
    """Cosines between the item and an embedding of each label, which are themselves the logits."""

    def __init__(self, dim: int, labels: int) -> None:
        super().__init__(labels, dim)

    def forward(self, pooled: Tensor) -> Tensor:
        return cosine_logits(pooled, self.weight)


def cosine_logits(x: Tensor, table: Tensor) -> Tensor:
    """Cosines of [..., dim] with [rows, dim] -> [..., rows], as one matrix product, in float32 also under autocast.

    `eps` is that of torch.cosine_similarity, which the published programs call.
    """
    with torch.autocast(x.device.type, enabled=False):
        return F.normalize(x.float(), dim=-1, eps=1e-8) @ F.normalize(table.float(), dim=-1, eps=1e-8).T
