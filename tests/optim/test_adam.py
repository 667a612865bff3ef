import copy
import json

import pytest
import torch

from ecg_signals.config import ConfigError
from ecg_signals.registry import build


def plain_adam(params, grads, state, *, lr, betas, eps, weight_decay, step):
    """fairseq's formula, one tensor at a time, in double precision."""
    for param, grad, (m, v) in zip(params, grads, state):
        param -= lr * weight_decay * param
        m.mul_(betas[0]).add_(grad, alpha=1 - betas[0])
        v.mul_(betas[1]).addcmul_(grad, grad, value=1 - betas[1])
        step_size = lr * (1 - betas[1] ** step) ** 0.5 / (1 - betas[0] ** step)
        param -= step_size * m / (v.sqrt() + eps)


def test_parameters_follow_the_reference(golden):
    vectors = json.loads((golden / "fairseq_signals_trained/framework_vectors.json").read_text())["adam"]
    for case in vectors:
        param = torch.nn.Parameter(torch.tensor(case["p0"]))
        options = {"adam_eps": case["eps"], "adam_betas": case["betas"], "weight_decay": case["weight_decay"]}
        optimizer = build("optimizer", "adam", [{"params": [param]}], lr=[case["lr"]], **options)
        for grad, expected in zip(case["grads"], case["params"]):
            param.grad = torch.tensor(grad)
            optimizer.step()
            torch.testing.assert_close(param.detach(), torch.tensor(expected), rtol=1e-6, atol=1e-8)


def test_epsilon_counts_before_the_bias_correction():
    torch.manual_seed(0)
    options = {"lr": 0.01, "betas": (0.9, 0.98), "eps": 0.1, "weight_decay": 0.1}
    params = [torch.nn.Parameter(torch.randn(shape)) for shape in ((3, 4), (5,), ())]
    exact = [param.detach().double() for param in params]
    state = [(torch.zeros_like(param), torch.zeros_like(param)) for param in exact]
    optimizer = build("optimizer", "adam", params, lr=[0.01], adam_betas="(0.9, 0.98)", adam_eps=0.1, weight_decay=0.1)
    for step in range(1, 8):
        for param in params:
            param.grad = torch.randn_like(param)
        plain_adam(exact, [param.grad.double() for param in params], state, step=step, **options)
        optimizer.step()
    for param, wanted in zip(params, exact):
        torch.testing.assert_close(param.detach().double(), wanted, rtol=1e-6, atol=1e-7)


def test_the_stored_state_has_the_keys_of_the_peer_and_continues_to_the_last_bit():
    def run(optimizer, param, updates):
        for update in updates:
            param.grad = torch.sin(torch.arange(4.0) + update)
            optimizer.step()

    first = torch.nn.Parameter(torch.ones(4))
    optimizer = build("optimizer", "adam", [first], lr=[0.1])
    run(optimizer, first, range(3))
    stored = copy.deepcopy(optimizer.state_dict())
    assert list(stored["state"][0]) == ["step", "exp_avg", "exp_avg_sq"]
    assert type(stored["state"][0]["step"]) is int and stored["state"][0]["step"] == 3
    assert list(stored["param_groups"][0]) == ["lr", "betas", "eps", "weight_decay", "amsgrad", "params"]

    second = torch.nn.Parameter(first.detach().clone())
    resumed = build("optimizer", "adam", [second], lr=[0.1])
    resumed.load_state_dict(stored)
    run(optimizer, first, range(3, 6))
    run(resumed, second, range(3, 6))
    assert torch.equal(first, second)


def test_a_state_written_by_the_peer_loads(golden):
    checkpoint = torch.load(golden / "fairseq_signals_trained/checkpoint_last.pt", weights_only=True)
    stored = checkpoint["last_optimizer_state"]
    params = [torch.nn.Parameter(torch.zeros_like(item["exp_avg"])) for item in stored["state"].values()]
    optimizer = build("optimizer", "adam", params)
    optimizer.load_state_dict(stored)
    params[0].grad = torch.ones_like(params[0])
    optimizer.step()
    assert optimizer.state[params[0]]["step"] == 7
    assert optimizer.state[params[1]]["step"] == 6


def test_a_parameter_without_gradient_stays_and_starts_counting_later():
    late, early = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = build("optimizer", "adam", [late, early], lr=[0.1], weight_decay=0.5)
    early.grad = torch.ones(2)
    optimizer.step()
    assert torch.equal(late, torch.ones(2)) and late not in optimizer.state
    late.grad = torch.ones(2)
    optimizer.step()
    assert (optimizer.state[late]["step"], optimizer.state[early]["step"]) == (1, 2)
    torch.testing.assert_close(late.detach(), torch.full((2,), 1 - 0.05 - 0.1))


def test_a_gradient_in_another_memory_order_gives_the_same_update():
    torch.manual_seed(1)
    grad = torch.randn(4, 3)
    results = []
    for value in (grad, grad.t().contiguous().t()):
        param = torch.nn.Parameter(torch.zeros(4, 3))
        param.grad = value
        build("optimizer", "adam", [param], lr=[0.1]).step()
        results.append(param.detach())
    assert torch.equal(*results)


def test_half_precision_weights_keep_float32_moments_also_after_loading():
    param = torch.nn.Parameter(torch.ones(3, dtype=torch.float16))
    optimizer = build("optimizer", "adam", [param], lr=[0.01])
    param.grad = torch.full((3,), 1e-3, dtype=torch.float16)
    optimizer.step()
    moment = optimizer.state[param]["exp_avg_sq"].clone()
    assert moment.dtype == torch.float32 and (moment > 0).all()  # 1e-9 is 0 in half precision
    again = build("optimizer", "adam", [param], lr=[0.01])
    again.load_state_dict(optimizer.state_dict())
    assert torch.equal(again.state[param]["exp_avg_sq"], moment)
    torch.testing.assert_close(param.detach(), torch.full((3,), 0.99, dtype=torch.float16))


def test_each_group_learns_at_its_own_rate():
    for name in ("adam", "adamw", "adam_l2"):
        params = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
        groups = [{"params": params[:1]}, {"params": params[1:], "lr_scale": 0.1, "lr": 0.05}]
        optimizer = build("optimizer", name, groups, lr=[0.5], weight_decay=0.0)
        for param in params:
            param.grad = torch.ones(1)
        optimizer.step()
        assert [param.item() for param in params] == pytest.approx([-0.5, -0.05], rel=1e-6)


@pytest.mark.parametrize("name, reference", [("adamw", torch.optim.AdamW), ("adam_l2", torch.optim.Adam)])
def test_optimizers_that_programs_take_from_torch_equal_torchs(name, reference):
    ours, torchs = (torch.nn.Parameter(torch.linspace(-1, 1, 5)) for _ in range(2))
    options = {"betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}
    optimizer = build("optimizer", name, [ours], lr=[0.1], adam_betas=[0.9, 0.98], adam_eps=1e-6, weight_decay=0.01)
    reference = reference([torchs], lr=0.1, foreach=False, **options)
    for update in range(3):
        for param in (ours, torchs):
            param.grad = torch.cos(torch.arange(5.0) * update)
        optimizer.step()
        reference.step()
    torch.testing.assert_close(ours, torchs, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"adam_betas": "(0.9, 1.0)"}, "must lie in"),
        ({"adam_betas": "(0.9, oops)"}, "adam_betas"),
        ({"adam_betas": [0.9]}, "2 values"),
        ({"adam_eps": -1.0}, "adam_eps"),
        ({"lr": []}, "optimization.lr is empty"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    for name in ("adam", "adamw", "adam_l2"):
        with pytest.raises(ConfigError, match=message):
            build("optimizer", name, [torch.nn.Parameter(torch.zeros(1))], **options)
