"""Loading the reference models and comparing with their stored outputs."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.checkpoint.load import load_model


class Reference:
    """One folder of the reference material: model, inputs and outputs."""

    def __init__(self, folder: Path, **overrides: Any) -> None:
        self.model = load_model(folder / "checkpoint.pt", **overrides)
        self.inputs = {
            key: torch.from_numpy(np.asarray(value))
            for key, value in np.load(folder / "inputs.npz").items()
            if value.dtype.kind in "bif"
        }
        self.outputs = dict(np.load(folder / "outputs.npz"))

    def padded(self) -> tuple[Tensor, Tensor]:
        """The first items cut to the stored lengths, and their padding mask [batch, leads, samples]."""
        lengths = self.inputs["pad/lengths"]
        longest = int(lengths.max())
        source = self.inputs["source"][: len(lengths), :, :longest].clone()
        mask = (torch.arange(longest) >= lengths.view(-1, 1, 1)).expand_as(source)
        return source.masked_fill(mask, 0.0), mask

    def check(self, key: str, found: Any, rtol: float = 1e-5) -> None:
        """Against the stored array, whose items may be fewer; `rtol` is relative to its largest value."""
        close(found, self.outputs[key], rtol, key)


def close(found: Any, expected: np.ndarray, rtol: float, what: str = "") -> None:
    found = found.detach().numpy() if isinstance(found, Tensor) else np.asarray(found)
    found = found[: len(expected)] if expected.ndim else found
    finite = np.isfinite(expected)
    np.testing.assert_array_equal(np.isfinite(found), finite, err_msg=what)
    assert found.shape == expected.shape, (what, found.shape, expected.shape)
    worst = np.abs(found[finite] - expected[finite]).max(initial=0.0)
    assert worst <= rtol * max(np.abs(expected[finite]).max(initial=0.0), 1e-12), f"{what}: off by {worst:.3g}"


def without_dropout(model: nn.Module) -> nn.Module:
    """In training mode, every dropout 0."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        if isinstance(getattr(module, "dropout", None), float):
            module.dropout = 0.0  # type: ignore[assignment]
    return model.train()


def pretraining_terms(output: Any, batch: dict[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The pretraining loss, written out: InfoNCE, 0.1 x diversity, 10 x penalty, and CMSC if `batch` is given."""
    logits = output["pred_logits"].flatten(1).t()  # [batch * M, 1 + N]
    size = len(logits)
    diversity = (output["num_vars"] - output["prob_perplexity"]) / output["num_vars"]
    terms = {
        "loss_0": F.cross_entropy(logits, logits.new_zeros(size, dtype=torch.long), reduction="sum"),
        "loss_1": 0.1 * diversity * size,
        "loss_2": 10 * output["features_pen"] * size,
    }
    if batch is not None:
        pooled = output["masked_pooled"]
        pooled = pooled / pooled.norm(dim=1, keepdim=True).detach().clamp(min=1e-8)
        first, second = batch["segment"] == 0, batch["segment"] == 1
        similar = pooled[first] @ pooled[second].t() / 0.1
        same = batch["patient_id"][first, None] == batch["patient_id"][second]
        terms["loss_3"] = size * (
            -0.5 * similar.log_softmax(dim=1)[same].mean() - 0.5 * similar.t().log_softmax(dim=1)[same.t()].mean()
        )
    return terms
