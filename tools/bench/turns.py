"""What the benchmarks of training steps share: our step, what a plain step is, their agreement, and turns of timing."""

import argparse
import time
from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Seconds = dict[str, tuple[float, float]]  # side -> (wall, cpu) of one step


class OurStep:
    """Forward, backward and optimizer as the trainer makes them.

    Args:
        optimizer: registered name; its `rates` are lr, betas, eps, weight_decay.
        arranged: a flat batch -> what the criterion takes.
    """

    def __init__(
        self, model: nn.Module, criterion: nn.Module, optimizer: str, rates: dict[str, Any],
        arranged: Callable[[dict[str, Tensor]], dict[str, Any]], device: torch.device, compiled: bool = False,
    ) -> None:  # fmt: skip
        from ecg_signals.registry import get_entry

        self.model, self.criterion, self.arranged = model.to(device).train(), criterion.to(device).train(), arranged
        entry = get_entry("optimizer", optimizer)
        options = {"adam_betas": rates["betas"], "adam_eps": rates["eps"], "weight_decay": rates["weight_decay"]}
        self.parameters = list(model.parameters())
        self.optimizer = entry.cls(self.parameters, entry.dataclass(lr=[rates["lr"]], **options))
        self.called = torch.compile(self.model) if compiled else self.model

    def __call__(self, batch: dict[str, Tensor], bf16: bool = False) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(batch["source"].device.type, torch.bfloat16, enabled=bf16):
            output = self.criterion(self.called, self.arranged(batch))
        output.loss.backward()
        grads = [parameter.grad for parameter in self.parameters if parameter.grad is not None]
        torch._foreach_mul_(grads, 1.0 / float(output.sample_size))
        self.optimizer.step()
        return output.loss.detach() / output.sample_size


class PlainStep:
    """Forward, backward and an update, parameter by parameter, on a copy of a model's weights; extend it with `loss`.

    Args:
        weights: state dict.
        options: of the model.
        rates: lr, betas, eps, weight_decay of AdamW.
    """

    def __init__(self, weights: dict[str, Tensor], options: dict[str, Any], rates: dict[str, Any]) -> None:
        self.weights = {key: value.detach().clone().requires_grad_() for key, value in weights.items()}
        self.options = options
        self.optimizer = torch.optim.AdamW(self.weights.values(), foreach=False, **rates)

    def loss(self, batch: dict[str, Tensor]) -> tuple[Tensor, int]:
        """The loss, and what it and its gradients are divided by."""
        raise NotImplementedError

    def __call__(self, batch: dict[str, Tensor], bf16: bool = False) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(batch["source"].device.type, torch.bfloat16, enabled=bf16):
            loss, size = self.loss(batch)
        loss.backward()
        for value in self.weights.values() if size != 1 else ():
            if value.grad is not None:
                value.grad.div_(size)
        self.optimizer.step()
        return loss.detach() / size

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.weights[f"{name}.weight"], self.weights[f"{name}.bias"])

    def layer_norm(self, name: str, x: Tensor) -> Tensor:
        weight, eps = self.weights[f"{name}.weight"], self.options.get("layer_norm_eps", 1e-5)
        return F.layer_norm(x, (len(weight),), weight, self.weights[f"{name}.bias"], eps)


def check_agreement(title: str, ours: OurStep, plain: PlainStep, batch: dict[str, Tensor], prefix: str = "") -> None:
    """One step without dropout on both sides. Raises: SystemExit when losses or gradients differ by 1e-4.

    Args:
        prefix: what stands before names of ours that the plain side leaves out.
    """
    losses = float(ours(batch)), float(plain(batch))
    worst = abs(losses[0] / losses[1] - 1)
    for name, parameter in ours.model.named_parameters():
        expected = plain.weights[name.removeprefix(prefix)].grad
        if (parameter.grad is None) != (expected is None):
            raise SystemExit(f"only one of the two sides has a gradient of {name}")
        if expected is not None and not name.endswith("k_proj.bias"):  # its true gradient is 0
            worst = max(worst, float((parameter.grad - expected).abs().max() / expected.abs().max()))
    print(f"{title}: loss {losses[0]:.4f}; losses and gradients differ by at most {worst:.1e} "
          "(relative to each largest value)")  # fmt: skip
    if not worst < 1e-4:
        raise SystemExit("the two sides do not agree; no time is worth comparing")


def take_turns(sides: dict[str, Callable[[], Any]], repeat: int, device: torch.device) -> list[Seconds]:
    """Seconds of each side in each turn; the first turn is not timed, and every other one goes backwards."""
    turns: list[Seconds] = []
    for turn in range(repeat + 1):
        seconds: Seconds = {}
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            synchronise(device)
            wall, cpu = time.perf_counter(), time.process_time()
            sides[name]()
            synchronise(device)
            seconds[name] = time.perf_counter() - wall, time.process_time() - cpu
        turns.append(seconds)
    return turns[1:]


def smallest_times(sides: dict[str, Callable[[], Any]], repeat: int, device: torch.device) -> dict[str, float]:
    """Seconds of the fastest call of each side."""
    turns = take_turns(sides, repeat, device)
    return {name: min(turn[name][0] for turn in turns) for name in sides}


def tell(title: str, times: dict[str, float]) -> None:
    """Print the seconds of each side, and how many times as fast as `published` it is."""
    print(f"{title}:")
    for name, seconds in times.items():
        print(f"  {name:20} {1000 * seconds:9.2f} ms  {times['published'] / seconds:6.2f} x published", flush=True)


def time_steps(
    both: Callable[..., tuple[OurStep, PlainStep]], batch: dict[str, Tensor], repeat: int, compiled: bool
) -> None:
    """Time a step of both sides in both precisions, and of ours compiled where that is asked for.

    Args:
        both: makes the two sides; with compiled=True ours is compiled.
    """
    ours, plain = both()
    sides: dict[str, Callable[[], Any]] = {
        "published": lambda: plain(batch), "ours": lambda: ours(batch),
        "published bf16": lambda: plain(batch, bf16=True), "ours bf16": lambda: ours(batch, bf16=True),
    }  # fmt: skip
    if compiled:
        fast, _ = both(compiled=True)
        sides |= {"compiled": lambda: fast(batch), "compiled bf16": lambda: fast(batch, bf16=True)}
    times = smallest_times(sides, repeat, batch["source"].device)
    tell("step", times)
    print(f"  published bf16 / ours bf16: {times['published bf16'] / times['ours bf16']:.2f}")


def step_arguments(
    description: str | None, sizes: Iterable[str], size: str, batch: int, repeat: int, device: str | None = None,
    **more: tuple[int, str | None],
) -> argparse.Namespace:  # fmt: skip
    """The command line of a benchmark of steps; its number of threads is set.

    Args:
        size, batch, repeat, device: what they are unless they are typed; device None: the GPU if there is one.
        more: further whole numbers: what they are, and their help.
    """
    usual = device or ("cuda" if torch.cuda.is_available() else "cpu")
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=tuple(sizes), default=size)
    whole = {"batch": (batch, "ECGs per step"), **more, "repeat": (repeat, None), "threads": (1, None)}
    for name, (number, meaning) in whole.items():
        parser.add_argument(f"--{name}", type=int, default=number, help=meaning)
    parser.add_argument("--device", type=torch.device, default=usual)
    parser.add_argument("--compile", action="store_true", help="also torch.compile")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    return arguments


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
