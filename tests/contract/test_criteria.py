"""What every registered criterion promises; `small.yaml` gives each name a small model and a kind of label."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from ecg_signals.criteria.base import CriterionOutput
from ecg_signals.registry import build, get_entry, register_criterion

SMALL = yaml.safe_load((Path(__file__).parent / "small.yaml").read_text())
CRITERIA = SMALL["criterion"]
NAMES = [n for n in register_criterion.names() if get_entry("criterion", n).cls.__module__.startswith("ecg_signals.")]
SEPARABLE = [name for name in NAMES if CRITERIA.get(name, {}).get("separable")]
ITEMS = 6


def make(name: str) -> tuple[nn.Module, nn.Module, dict[str, Any]]:
    """The criterion, its model and a batch of six items: three pairs of neighbouring segments."""
    torch.manual_seed(0)
    entry = CRITERIA[name]
    model_entry = SMALL["model"][entry["model"]]
    options = {**model_entry["options"], **entry.get("model_options", {})}
    model = build("model", entry["model"], **options).train()
    criterion = build("criterion", name, **entry.get("options", {})).train()
    source = torch.randn(ITEMS, model_entry.get("leads", 12), model_entry.get("samples", 400))
    number = torch.arange(ITEMS)
    batch = {"id": number, "net_input": {"source": source}, "patient_id": number // 2, "segment": number % 2}
    batch["net_input"] |= {key: torch.randn(ITEMS, width) for key, width in model_entry.get("drawn", {}).items()}
    labels = {
        "columns": torch.randint(2, (ITEMS, 3)).float(),
        "class": torch.randint(3, (ITEMS, 1)).float(),
        "values": torch.randn(ITEMS, 3),
    }
    if "label" in entry:
        batch["label"] = labels[entry["label"]]
    if entry.get("cluster_labels"):
        frames = model.eval()(source)["features"].shape[1]
        sizes = list(model.train().cfg.vocab_sizes)
        batch["cluster_labels"] = torch.stack([torch.randint(size, (ITEMS, frames)) for size in sizes], dim=1)
    return criterion, model, batch


class Recorded(nn.Module):
    """A model that answers as another did before."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output

    def forward(self, **net_input: Any) -> Any:
        return self.output


class Recorder(nn.Module):
    """Passes calls on to a model and keeps the last answer."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, **net_input: Any) -> Any:
        self.output = self.model(**net_input)
        return self.output


class NoWaiting(TorchDispatchMode):
    """Raises where a GPU would have to be waited for: values read into Python, shapes that depend on values."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten = torch.ops.aten
        waits = func.overloadpacket in (aten._local_scalar_dense, aten.nonzero, aten.masked_select, aten.equal)
        if func.overloadpacket is aten.index:  # by a mask, its result has as many rows as the mask has True
            waits = any(isinstance(index, Tensor) and index.dtype == torch.bool for index in args[1])
        if waits:
            raise AssertionError(f"{func} waits for the device")
        return func(*args, **(kwargs or {}))


def part(value: Any, rows: slice) -> Any:
    if isinstance(value, dict):
        return {key: part(item, rows) for key, item in value.items()}
    return value[rows] if isinstance(value, Tensor) and value.dim() and len(value) == ITEMS else value


def numbers(out: CriterionOutput) -> dict[str, float]:
    return {"sample_size": float(out.sample_size), **{key: float(value) for key, value in out.logs.items()}}


def test_every_registered_criterion_has_small_options():
    assert set(NAMES) <= set(CRITERIA), "give the new criteria an entry in tests/contract/small.yaml"


@pytest.mark.parametrize("name", NAMES)
def test_the_loss_is_a_finite_scalar_with_a_gradient_and_its_logs_carry_none(name):
    criterion, model, batch = make(name)
    out = criterion(model, batch)
    assert out.loss.dim() == 0 and torch.isfinite(out.loss) and float(out.sample_size) > 0
    out.loss.backward()
    grads = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert grads and all(torch.isfinite(grad).all() for grad in grads) and any(grad.abs().max() > 0 for grad in grads)
    values = [*out.logs.values(), out.sample_size]
    assert all(value.dim() == 0 and not value.requires_grad for value in values if isinstance(value, Tensor))
    assert out.logs["nsignals"] == ITEMS and not out.scores
    assert float(out.logs["loss"]) == pytest.approx(float(out.loss.detach()))


@pytest.mark.parametrize("name", NAMES)
def test_what_is_printed_are_numbers_and_the_loss_comes_first(name):
    criterion, model, batch = make(name)
    with torch.no_grad():
        out = criterion.eval()(model.eval(), batch)
    assert all(len(value) == ITEMS for value in out.scores.values())
    scores = {key: value.numpy() for key, value in out.scores.items()}
    for given in ({}, scores):
        printed = criterion.metrics({**numbers(out), "batches": 1.0}, given)
        assert list(printed)[:2] == ["loss", "nsignals"]
        assert all(isinstance(value, (int, float)) for value in printed.values())
        assert printed["loss"] == pytest.approx(float(out.loss) / float(out.sample_size) / math.log(2))


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_loss(name):
    losses = []
    for _ in range(2):
        criterion, model, batch = make(name)
        torch.manual_seed(7)
        losses.append(criterion(model, batch).loss)
    assert torch.equal(*losses)


@pytest.mark.parametrize("name", NAMES)
def test_the_device_is_never_waited_for(name):
    criterion, model, batch = make(name)
    recorder = Recorder(model)
    criterion(recorder, batch)  # the first batch may check options
    with NoWaiting():
        criterion(Recorded(recorder.output), batch)


def test_waiting_for_the_device_would_be_noticed():
    values = torch.ones(3)
    reads = (lambda: values[0].item(), lambda: bool(values[0] > 0), lambda: values[values > 0], values.nonzero)
    for wait in reads:
        with pytest.raises(AssertionError, match="waits for the device"), NoWaiting():
            wait()


@pytest.mark.parametrize("name", SEPARABLE)
def test_loss_sample_size_and_counts_of_a_batch_are_the_sums_of_its_items(name):
    criterion, model, batch = make(name)
    model.eval()
    with torch.no_grad():
        together = numbers(criterion(model, batch))
        alone = [numbers(criterion(model, part(batch, slice(item, item + 1)))) for item in range(ITEMS)]
    assert together == pytest.approx({key: sum(item[key] for item in alone) for key in together}, rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_options_survive_a_round_trip_and_nothing_is_left_for_the_checkpoint(name):
    criterion, _, _ = make(name)
    stored = criterion.cfg.to_dict()
    again = build("criterion", name, **{key: value for key, value in stored.items() if key != "_name"})
    assert again.cfg.to_dict() == stored
    assert not criterion.state_dict()
