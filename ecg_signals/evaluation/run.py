"""One pass over a split without gradients: summed logs, and scores in manifest order."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ecg_signals.criteria.base import BaseCriterion
from ecg_signals.metrics.tally import sum_updates
from ecg_signals.runtime.batch import stream_seed, to_device
from ecg_signals.runtime.collectives import all_gather_object


@torch.no_grad()
def evaluate_split(
    model: nn.Module,
    criterion: BaseCriterion,
    batches: Iterable[dict[str, Any] | None],
    device: torch.device,
    *,
    seed: int,
    autocast: Callable[[], Any],
    on_batch: Callable[[dict[str, Any], Any], None] | None = None,
    one_update: bool = False,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Run the criterion over this rank's batches.

    Args:
        batches: None stands for a batch that other ranks have and this one does not.
        seed: random masks of batch i depend on (seed, i) alone, so that validations compare.
        autocast: opens the precision context of a forward pass.
        on_batch: also called with every batch and its CriterionOutput.
        one_update: statistics that are means over updates (nsignals, perplexities) take the whole split for one, as
            fairseq's validate command does; else what the ranks see at a time is one, as in its training.
    Returns: logs summed over all ranks, and each score [items, ...] in manifest order, every item once.
    """
    model.eval()
    criterion.eval()
    logs: dict[int, dict[str, float | Tensor]] = {}  # by number of the batch on this rank
    rows: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []
    for number, batch in enumerate(batches):
        if not batch:
            continue
        batch = to_device(batch, device)
        torch.manual_seed(stream_seed(seed, 0x5A11D, number))
        with autocast():
            output = criterion(model, batch)
        logs[number] = {**output.logs, "sample_size": output.sample_size, "batches": 1.0}
        if output.scores:
            rows.append(
                (
                    batch["id"].cpu().numpy(),
                    {
                        key: value.float().cpu().numpy() if value.is_floating_point() else value.cpu().numpy()
                        for key, value in output.scores.items()
                    },
                )
            )
        if on_batch is not None:
            on_batch(batch, output)
    return sum_updates(_updates(logs, one_update), criterion.averaged), gather_scores(rows)


def _updates(logs: Mapping[int, Mapping[str, float | Tensor]], one_update: bool) -> list[list[dict[str, float]]]:
    """The batches' logs of all ranks, those of one step together."""
    mine = {number: {key: float(value) for key, value in batch.items()} for number, batch in logs.items()}
    steps: dict[int, list[dict[str, float]]] = {}
    for rank in all_gather_object(mine):
        for number, batch in rank.items():
            steps.setdefault(0 if one_update else number, []).append(batch)
    return [steps[number] for number in sorted(steps)]


def gather_scores(rows: list[tuple[np.ndarray, dict[str, np.ndarray]]]) -> dict[str, np.ndarray]:
    """Scores of all ranks, sorted by item id, an item that two ranks saw kept once."""
    parts = [part for rank in all_gather_object(rows) for part in rank]
    if not parts:
        return {}
    ids = np.concatenate([part[0].reshape(-1) for part in parts])
    _, first = np.unique(ids, return_index=True)
    return {key: np.concatenate([part[1][key] for part in parts])[first] for key in parts[0][1]}
