"""Every registered model can be sharded: its passes, steps and averages are those of the whole one."""

import copy

import pytest
import torch
import torch.distributed as dist
from test_models import NAMES, floats, make, training_pass
from torch import nn

from ecg_signals.config import ConfigError
from ecg_signals.optim.adam import Adam, AdamConfig
from ecg_signals.optim.ema import WeightAverage
from ecg_signals.runtime.sharding import FullySharded, blocks_of
from ecg_signals.runtime.strategy import Strategy
from ecg_signals.sections import CommonConfig, DistributedTrainingConfig, EmaConfig

# One of every kind: blocks with layer drop, averages of encoders, queues, prototypes, convolutions, recurrences.
USUAL = ("wav2vec2_cmsc", "hubert_ecg", "jepa", "st_mem", "moco", "swav", "s4", "classifier")


@pytest.fixture(scope="module", autouse=True)
def group(tmp_path_factory):
    """Of one rank: weights are cut into one part, which a module that is called past its hooks does not understand."""
    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_blocks_are_what_is_built_of_several_layers():
    found = {name: [type(block).__name__ for block in blocks_of(make(name)[0])] for name in ("hubert_ecg", "jepa")}
    assert found["hubert_ecg"].count("Block") == 2 and set(found["jepa"]) == {"VitBlock"}
    inner = nn.ModuleList([nn.Bilinear(2, 2, 2), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))])
    assert blocks_of(nn.ModuleList([inner])) == []


def test_half_weights_are_gathered_and_offloaded_ones_train_as_well():
    model, source = make("jepa")
    section, device = DistributedTrainingConfig(no_reshard_after_forward=True), torch.device("cpu")
    expected, *_ = two_updates(Strategy(section, device), copy.deepcopy(model), "jepa", source)
    section = DistributedTrainingConfig(fp32_reduce_scatter=True, cpu_offload=True, no_reshard_after_forward=True)
    half = FullySharded(section, device, CommonConfig(bf16=True))
    with torch.autocast("cpu", torch.bfloat16):
        found, state, _ = two_updates(half, model, "jepa", source)
    torch.testing.assert_close(found.float(), expected, rtol=0.1, atol=0.1)
    assert all(value.dtype == torch.float32 for value in state["model"].values() if value.is_floating_point())


def two_updates(strategy, model, name, source):
    """[losses, norms], of two micro-batches each, and what the average of the weights is behind them."""
    called = strategy.setup(model)
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer, average = Adam(weights, AdamConfig(lr=[1e-3])), WeightAverage(model, EmaConfig(ema_decay=0.5))
    found = []
    for update in range(2):
        model.set_each("before_forward", update)
        optimizer.zero_grad()
        for last in (False, True):
            with strategy.synchronised(last):
                output = floats(training_pass(name, called, source, seed=update))
                loss = sum(value.nan_to_num(0, 0, 0).square().mean() for value in output.values())
                loss.backward()
            found.append(loss.detach())
        strategy.average([])
        found.append(strategy.grad_norm(weights))
        strategy.scale_gradients(weights, 0.5)
        optimizer.step()
        model.set_each("after_update", update + 1)
        average.update(model, update + 1)
    with strategy.whole(), torch.no_grad():
        answer = model.eval()(source)["pooled"]
        again = model.extract_features(source)["pooled"]
    torch.testing.assert_close(again, answer)
    owners = {"model": model.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict()}
    state = strategy.gather_state(owners)
    return torch.stack([*found, answer.sum()]), state, optimizer


@pytest.mark.parametrize(
    "name", [name if name in USUAL else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_a_sharded_model_trains_as_the_whole_one(name):
    model, source = make(name)
    section, device = DistributedTrainingConfig(), torch.device("cpu")
    expected, whole, _ = two_updates(Strategy(section, device), copy.deepcopy(model), name, source)
    sharded = FullySharded(section, device)
    if getattr(model, "changes_weights_in_forward", False):
        with pytest.raises(ConfigError, match="ddp_backend"):
            sharded.setup(model)
        return
    found, state, optimizer = two_updates(sharded, model, name, source)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    for kind in ("model", "average"):
        assert list(state[kind]) == list(whole[kind])
        for key, value in whole[kind].items():
            torch.testing.assert_close(state[kind][key], value, rtol=1e-4, atol=1e-4, msg=f"{kind} {key}")
    sharded.load_state(model, whole["model"])
    sharded.load_state(optimizer, whole["optimizer"])
    after = sharded.gather_state({"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    assert all(torch.equal(after["model"][key], value) for key, value in whole["model"].items())
    for index, entry in whole["optimizer"]["state"].items():
        assert torch.equal(after["optimizer"]["state"][index]["exp_avg"], entry["exp_avg"])
