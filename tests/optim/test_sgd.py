"""Plain gradient descent and its momentum, worked by hand."""

import pytest
import torch

from ecg_signals.config import ConfigError
from ecg_signals.registry import build


def test_momentum_repeats_the_last_step_and_decay_joins_the_gradient():
    weight = torch.nn.Parameter(torch.tensor([1.0]))
    optimizer = build("optimizer", "sgd", [weight], lr=[0.1], momentum=0.5, weight_decay=0.2)
    for expected in (1 - 0.1 * 1.2, 0.88 - 0.1 * (0.5 * 1.2 + 1 + 0.2 * 0.88)):
        weight.grad = torch.ones(1)
        optimizer.step()
        assert weight.item() == pytest.approx(expected)


@pytest.mark.parametrize("options", [{"lr": []}, {"lr": [-1.0]}, {"momentum": -0.1}, {"weight_decay": -1.0}])
def test_options_that_cannot_work_are_refused(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        build("optimizer", "sgd", [torch.nn.Parameter(torch.zeros(1))], **options)
