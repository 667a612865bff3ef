"""What every registered optimizer and schedule promises; `small.yaml` gives each name its options."""

import copy
import math
from dataclasses import fields
from pathlib import Path

import pytest
import torch
import yaml

from ecg_signals.registry import REGISTRIES, build, get_entry, register_lr_scheduler, register_optimizer

SMALL = yaml.safe_load((Path(__file__).parent / "small.yaml").read_text())


def ours(registry):
    """Names of this package; other tests may have registered plugins."""
    return [name for name in registry.names() if registry.get(name).cls.__module__.startswith("ecg_signals.")]


OPTIMIZERS, SCHEDULES = ours(register_optimizer), ours(register_lr_scheduler)


def optimizer(name, params):
    return build("optimizer", name, params, **{"lr": [0.05], **SMALL["optimizer"][name].get("options", {})})


def schedule(name, lr=0.5):
    return build("lr_scheduler", name, **{"lr": [lr], **SMALL["lr_scheduler"][name].get("options", {})})


def descend(found, params, updates):
    for update in updates:
        for number, param in enumerate(params):
            param.grad = param.detach() * (1 + number) + 0.1 * math.sin(update)
        found.step()


def params():
    torch.manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape)) for shape in ((4, 3), (5,))]


def test_every_registered_optimizer_and_schedule_has_an_entry():
    assert set(OPTIMIZERS) <= set(SMALL["optimizer"]) and set(SCHEDULES) <= set(SMALL["lr_scheduler"])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_bowl_is_descended(name):
    values = params()
    before = [value.detach().norm() for value in values]
    descend(optimizer(name, values), values, range(60))
    assert all(value.detach().norm() < 0.5 * old for value, old in zip(values, before))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_stored_state_continues_to_the_last_bit_and_loads_safely(name, tmp_path):
    values = params()
    found = optimizer(name, [{"params": values[:1]}, {"params": values[1:], "lr_scale": 0.5}])
    descend(found, values, range(4))
    torch.save(found.state_dict(), tmp_path / "state.pt")
    others = [torch.nn.Parameter(value.detach().clone()) for value in values]
    resumed = optimizer(name, [{"params": others[:1]}, {"params": others[1:], "lr_scale": 0.5}])
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert [group.get("lr_scale") for group in resumed.param_groups] == [None, 0.5]
    descend(found, values, range(4, 8))
    descend(resumed, others, range(4, 8))
    assert all(torch.equal(one, other) for one, other in zip(values, others))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_parameter_without_gradient_stays(name):
    values = params()
    found = optimizer(name, values)
    values[0].grad = torch.ones_like(values[0])
    before = values[1].detach().clone()
    found.step()
    assert torch.equal(values[1], before)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_can_be_copied_with_its_state(name):
    values = params()
    found = optimizer(name, values)
    descend(found, values, range(2))
    twin = copy.deepcopy(found)
    assert twin.state_dict()["param_groups"] == found.state_dict()["param_groups"]


@pytest.mark.parametrize("name", SCHEDULES)
def test_rates_are_numbers_that_scale_with_lr_and_depend_on_nothing_asked_before(name):
    asked = [(update, 1 + update // 5) for update in range(30)]
    rates = [schedule(name).rate(*when) for when in asked]
    assert all(math.isfinite(rate) and rate >= 0 for rate in rates) and max(rates) <= 0.5 + 1e-12
    assert [schedule(name, lr=1.0).rate(*when) for when in asked] == pytest.approx([2 * rate for rate in rates])
    one = schedule(name)
    assert [one.rate(*when) for when in reversed(asked)] == rates[::-1]


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_state_of_a_schedule_is_plain_and_its_rate_does_not_depend_on_it(name, tmp_path):
    one, other = schedule(name), schedule(name)
    expected = one.rate(7, 2)
    torch.save(one.state_dict(), tmp_path / "state.pt")
    other.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert other.rate(7, 2) == expected


@pytest.mark.parametrize("kind", ["criterion", "optimizer", "lr_scheduler"])
def test_every_option_has_a_meaning_in_words(kind):
    for name in ours(REGISTRIES[kind]):
        unexplained = [item.name for item in fields(get_entry(kind, name).dataclass) if not item.metadata.get("help")]
        assert unexplained == ["_name"], name
