import json
import math

import pytest
import torch

from ecg_signals.config import ConfigError
from ecg_signals.optim.ema import WeightAverage
from ecg_signals.optim.scaler import LossScaler
from ecg_signals.sections import Config, EmaConfig


def test_the_loss_scale_follows_the_reference(golden):
    names = {"scale_window": "window", "min_loss_scale": "min_scale"}
    vectors = json.loads((golden / "fairseq_signals_trained/framework_vectors.json").read_text())
    for case in vectors["dynamic_loss_scaler"]:
        scaler = LossScaler(**{names.get(key, key): value for key, value in case["kwargs"].items()})
        for norm, status, scale in case["trace"]:
            overflow = not math.isfinite(float(norm))
            if status == "fatal":
                with pytest.raises(FloatingPointError, match="min_loss_scale"):
                    scaler.update(overflow)
            else:
                assert scaler.update(overflow) == (status == "overflow")
            assert scaler.scale == scale


def test_the_recipe_sets_the_loss_scaler():
    config = Config()
    config.common.threshold_loss_scale = 0.5
    scaler = LossScaler.from_config(config.common, config.optimization.update_freq, world_size=4)
    assert (scaler.scale, scaler.window, scaler.min_scale, scaler.threshold) == (128, 4096, 1e-4, 0.5)
    config.optimization.update_freq = [1, 2]
    with pytest.raises(ConfigError, match="fp16_scale_window=N"):
        LossScaler.from_config(config.common, config.optimization.update_freq, world_size=4)
    config.common.fp16_scale_window = 7
    assert LossScaler.from_config(config.common, config.optimization.update_freq, world_size=4).window == 7


def test_a_restored_loss_scale_continues_its_count():
    scalers = [LossScaler(window=4, tolerance=0.3) for _ in range(2)]
    outcomes = [False, True, False, False, False, False, False, True, True]
    for overflow in outcomes[:5]:
        scalers[0].update(overflow)
    scalers[1].load_state_dict(scalers[0].state_dict())
    for overflow in outcomes[5:]:
        for scaler in scalers:
            scaler.update(overflow)
    assert scalers[0].state_dict() == scalers[1].state_dict()


def model(value: float) -> torch.nn.Module:
    net = torch.nn.BatchNorm1d(2)
    with torch.no_grad():
        net.weight.fill_(value)
    return net


def test_the_average_is_the_weighted_sum_of_all_weights_since_its_start():
    net = model(1.0)
    average = WeightAverage(net, EmaConfig(ema_decay=0.5, ema_start_update=2))  # as fairseq counts
    for update, value in enumerate([4.0, 2.0, 0.0], start=1):
        net.weight.data.fill_(value)
        net.running_mean.fill_(value)
        average.update(net, update)
    assert average.state_dict()["weight"].tolist() == [1.5, 1.5]  # 4, then (4 + 2) / 2, then 3 / 2
    assert average.state_dict()["running_mean"].tolist() == [0.0, 0.0]


def test_the_average_moves_only_every_so_many_updates():
    net = model(0.0)
    average = WeightAverage(net, EmaConfig(ema_decay=0.5, ema_update_freq=2))
    net.weight.data.fill_(1.0)
    average.update(net, 1)
    assert average.state_dict()["weight"].tolist() == [0.0, 0.0]
    average.update(net, 2)
    assert average.state_dict()["weight"].tolist() == [0.5, 0.5]


def test_half_precision_weights_can_have_a_float32_average():
    net = torch.nn.Linear(2, 1).half()
    average = WeightAverage(net, EmaConfig(ema_decay=0.999, ema_fp32=True))
    before = average.state_dict()["weight"].clone()
    net.weight.data.add_(1.0)
    average.update(net, 1)
    assert before.dtype == torch.float32
    assert ((average.state_dict()["weight"] - before) > 0).all()


def test_tied_weights_share_one_average():
    net = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    net[1].weight = net[0].weight
    average = WeightAverage(net, EmaConfig(ema_decay=0.5))
    before = net[0].weight.detach().clone()
    net[0].weight.data.add_(1.0)
    average.update(net, 1)
    for name in ("0.weight", "1.weight"):
        torch.testing.assert_close(average.state_dict()[name], before + 0.5)


def test_an_average_of_another_model_is_refused():
    average = WeightAverage(model(1.0), EmaConfig())
    with pytest.raises(ConfigError, match="lacks, or has in another shape, bias"):
        average.load_state_dict({"weight": torch.zeros(2)})
    net = model(3.0)
    restored = WeightAverage(net, EmaConfig())
    restored.load_state_dict(average.state_dict())
    assert restored.state_dict()["weight"].tolist() == [1.0, 1.0]
    restored.restart(net)
    assert restored.state_dict()["weight"].tolist() == [3.0, 3.0]


@pytest.mark.parametrize("options", [{"ema_decay": 1.5}, {"ema_update_freq": 0}])
def test_an_average_that_cannot_work_is_refused(options):
    with pytest.raises(ConfigError, match="ema_"):
        WeightAverage(model(1.0), EmaConfig(**options))
