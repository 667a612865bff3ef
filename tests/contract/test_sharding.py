"""Every registered model can be sharded: its passes, steps and averages are those of the whole one."""

import copy
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from test_models import NAMES, floats, make, training_pass

from ecg_signals.config import ConfigError
from ecg_signals.optim.adam import Adam, AdamConfig
from ecg_signals.optim.ema import WeightAverage
from ecg_signals.runtime.sharding import FullySharded, blocks_of
from ecg_signals.runtime.strategy import Strategy
from ecg_signals.sections import CommonConfig, DistributedTrainingConfig, EmaConfig

BLOCKS = {"ecg_transformer": 2, "hubert_ecg": 2, "jepa": 6, "st_mem": 3}  # of the smallest options


@pytest.fixture(scope="module", autouse=True)
def group(tmp_path_factory):
    """Of one rank: weights are cut into one part, which a module that is called past its hooks does not understand."""
    store = tmp_path_factory.mktemp("group") / "store"
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


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


@pytest.mark.parametrize("name", NAMES)
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
