"""One pass of a model over data without gradients: the loop behind validation, extraction, tests and predictions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ecg_signals.criteria.base import BaseCriterion, CriterionOutput
from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.metrics.tally import sum_updates
from ecg_signals.runtime.batch import stream_seed, to_device
from ecg_signals.runtime.collectives import all_gather_object
from ecg_signals.runtime.placement import Placement
from ecg_signals.sections import Config


def batches_of(
    dataset: BaseDataset,
    config: Config,
    placement: Placement,
    device: torch.device,
    batch_size: int | None,
    max_tokens: int | None,
    **options: Any,
) -> BatchIterator:
    """A dataset's batches for this rank, loaded as the recipe says; `options`: more of those of BatchIterator."""
    section = config.dataset
    return dataset.batches(
        batch_size=batch_size,
        max_tokens=max_tokens,
        seed=config.common.seed,
        num_workers=section.num_workers,
        buffer=section.data_buffer_size,
        rank=placement.rank,
        world_size=placement.world_size,
        pin_memory=device.type == "cuda",
        **options,
    )


@dataclass(frozen=True)
class Answer:
    """What was made of one batch.

    Attributes:
        number: of the batch on this rank.
        batch: on the device.
        output: the model's.
        judged: the criterion's, None where there is none.
    """

    number: int
    batch: dict[str, Any]
    output: Any
    judged: CriterionOutput | None


Consumer = Callable[[Answer], Any]


@torch.no_grad()
def run(
    model: nn.Module,
    batches: Iterable[dict[str, Any] | None],
    device: torch.device,
    consumers: Sequence[Consumer],
    *,
    criterion: BaseCriterion | None = None,
    call: Callable[[dict[str, Any]], Any] | None = None,
    seed: int | None = None,
    autocast: Callable[[], Any] = nullcontext,
) -> None:
    """Every batch of this rank goes through the model once, and what it answers to the consumers, one after the other.

    Args:
        batches: None stands for a batch that other ranks have and this one does not.
        criterion: calls the model itself, as in training, and judges what it answers.
        call: what of the model is asked where there is no criterion; None: model(**batch["net_input"]).
        seed: random masks of batch i depend on (seed, i) alone, so that validations compare; None: nothing is drawn.
        autocast: opens the precision context of a forward pass.
    """
    model.eval()
    if criterion is not None:
        criterion.eval()
    ask = call or (lambda batch: model(**batch["net_input"]))
    with _last_output(model) as last:
        for number, batch in enumerate(batches):
            if not batch:
                continue
            batch = to_device(batch, device)
            if seed is not None:
                torch.manual_seed(stream_seed(seed, 0x5A11D, number))
            with autocast():
                judged = None if criterion is None else criterion(model, batch)
                answer = Answer(number, batch, ask(batch) if judged is None else last[0], judged)
            for consume in consumers:
                consume(answer)


@contextmanager
def _last_output(model: nn.Module) -> Iterator[list[Any]]:
    """A list of one: what the model answered last, whoever called it."""
    last: list[Any] = [None]
    hook = model.register_forward_hook(lambda module, inputs, output: last.__setitem__(0, output))
    try:
        yield last
    finally:
        hook.remove()


class Rows:
    """Consumes arrays with one row per item; gives them in manifest order, over all ranks, every item once."""

    def __init__(self) -> None:
        self.parts: list[tuple[np.ndarray, dict[str, np.ndarray]]] = []

    def add(self, ids: Tensor, arrays: Mapping[str, Tensor]) -> None:
        found = {key: value.detach().cpu().numpy() for key, value in arrays.items()}
        self.parts.append((ids.reshape(-1).cpu().numpy(), found))

    def gathered(self) -> dict[str, np.ndarray]:
        """name -> [items, ...]; {} where no rank has any."""
        parts = [part for rank in all_gather_object(self.parts) for part in rank]
        if not parts:
            return {}
        _, first = np.unique(np.concatenate([ids for ids, _ in parts]), return_index=True)
        return {key: np.concatenate([arrays[key] for _, arrays in parts])[first] for key in parts[0][1]}


def evaluate_split(
    model: nn.Module,
    criterion: BaseCriterion,
    batches: Iterable[dict[str, Any] | None],
    device: torch.device,
    *,
    seed: int,
    autocast: Callable[[], Any],
    consumers: Sequence[Consumer] = (),
    one_update: bool = False,
) -> tuple[dict[str, float], dict[str, np.ndarray]]:
    """Run the criterion over this rank's batches, see `run`.

    Args:
        one_update: statistics that are means over updates (nsignals, perplexities) take the whole split for one, as
            fairseq's validate command does; else what the ranks see at a time is one, as in its training.
    Returns: logs summed over all ranks, and each score [items, ...] in manifest order, every item once.
    """
    logs: dict[int, dict[str, float | Tensor]] = {}  # by number of the batch on this rank
    scores = Rows()

    def keep(answer: Answer) -> None:
        judged = answer.judged
        assert judged is not None
        logs[answer.number] = {**judged.logs, "sample_size": judged.sample_size, "batches": 1.0}
        if judged.scores:
            wide = {key: value.float() if value.is_floating_point() else value for key, value in judged.scores.items()}
            scores.add(answer.batch["id"], wide)

    run(model, batches, device, [keep, *consumers], criterion=criterion, seed=seed, autocast=autocast)
    return sum_updates(_updates(logs, one_update), criterion.averaged), scores.gathered()


def _updates(logs: Mapping[int, Mapping[str, float | Tensor]], one_update: bool) -> list[list[dict[str, float]]]:
    """The batches' logs of all ranks, those of one step together."""
    mine = {number: {key: float(value) for key, value in batch.items()} for number, batch in logs.items()}
    steps: dict[int, list[dict[str, float]]] = {}
    for rank in all_gather_object(mine):
        for number, batch in rank.items():
            steps.setdefault(0 if one_update else number, []).append(batch)
    return [steps[number] for number in sorted(steps)]
