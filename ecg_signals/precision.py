"""Number formats of training: fp16, bf16, TF32, and where a number stopped being finite."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ecg_signals.config import ConfigError
from ecg_signals.sections import Config


def compute_device(name: str | torch.device | None = None) -> torch.device:
    """The device of that name; None: the GPU if there is one. Raises: ConfigError where there is no such device."""
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name is None:
        return torch.device("cuda" if gpus else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError):
        raise ConfigError(f"device={name} is none that torch knows; set it to cpu, cuda or cuda:N") from None
    if device.type == "cuda" and (device.index or 0) >= gpus:
        found = f"only {gpus} GPU{'s' if gpus > 1 else ''}" if gpus else "no GPU"
        raise ConfigError(f"device={name} was asked for, but torch sees {found} here; use device=cpu")
    return device


def uses_fp16(config: Config) -> bool:
    """Whether losses must be scaled."""
    return config.common.fp16 or config.common.memory_efficient_fp16 or config.common.amp


def uses_bf16(config: Config) -> bool:
    return config.common.bf16 or config.common.memory_efficient_bf16


def autocast(config: Config, device: torch.device) -> AbstractContextManager[Any]:
    """The precision of a forward pass; weights, gradients and optimizer state stay float32."""
    if uses_fp16(config):
        return torch.autocast(device.type, dtype=torch.float16)
    if uses_bf16(config):
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


def set_matmul_precision(config: Config) -> None:
    """Allow TensorFloat-32, or not, as `common.tf32` says."""
    torch.set_float32_matmul_precision("high" if config.common.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = config.common.tf32


def explain_nonfinite(model: nn.Module, criterion: nn.Module, batches: Iterable[dict[str, Any]]) -> str:
    """Repeat the forward passes and name the first module whose output is not finite, else the parameters at fault."""
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            values = (
                output.values()
                if isinstance(output, dict)
                else output
                if isinstance(output, (tuple, list))
                else [output]
            )
            floats = [value for value in values if isinstance(value, Tensor) and value.is_floating_point()]
            if not found and any(torch.isnan(value).any() or torch.isposinf(value).any() for value in floats):
                found.append(name or "the model's output")

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            for batch in batches:
                if not all(
                    torch.isfinite(value).all()
                    for value in batch.get("net_input", {}).values()
                    if isinstance(value, Tensor) and value.is_floating_point()
                ):
                    return f"the batch with items {batch['id'].tolist()} holds NaN or infinite samples"
                criterion(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    if found:
        return f"the first output that is not finite is that of {found[0]}"
    bad = [name for name, parameter in model.named_parameters() if not torch.isfinite(parameter).all()]
    return (
        f"weights that are not finite: {', '.join(bad[:5])}"
        if bad
        else "all outputs are finite; the gradient overflowed"
    )
