"""Number formats of training: fp16, bf16, TF32, and where a number stopped being finite."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ecg_signals.sections import CommonConfig


def uses_fp16(common: CommonConfig) -> bool:
    """Whether losses must be scaled."""
    return common.fp16 or common.memory_efficient_fp16 or common.amp


def uses_bf16(common: CommonConfig) -> bool:
    return common.bf16 or common.memory_efficient_bf16


def compute_dtype(common: CommonConfig) -> torch.dtype:
    """Of matrix products in a forward pass."""
    return torch.float16 if uses_fp16(common) else torch.bfloat16 if uses_bf16(common) else torch.float32


def autocast(common: CommonConfig, device: torch.device) -> AbstractContextManager[Any]:
    """The precision of a forward pass; weights, gradients and optimizer state stay float32."""
    dtype = compute_dtype(common)
    return nullcontext() if dtype == torch.float32 else torch.autocast(device.type, dtype=dtype)


def set_matmul_precision(common: CommonConfig) -> None:
    """Allow TensorFloat-32, or not, as `common.tf32` says."""
    torch.set_float32_matmul_precision("high" if common.tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = common.tf32


def explain_nonfinite(model: nn.Module, criterion: nn.Module, batches: Iterable[dict[str, Any]]) -> str:
    """Repeat the forward passes and name the first module whose output is not finite, else the parameters at fault."""
    found: list[str] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            if not found and any(torch.isnan(one).any() or torch.isposinf(one).any() for one in _floats(output)):
                found.append(name or "the model's output")

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        with torch.no_grad():
            for batch in batches:
                if not all(torch.isfinite(value).all() for value in _floats(batch.get("net_input", {}))):
                    return f"the batch with items {batch['id'].tolist()} holds NaN or infinite samples"
                criterion(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    if found:
        return f"the first output that is not finite is that of {found[0]}"
    bad = [name for name, parameter in model.named_parameters() if not torch.isfinite(parameter).all()]
    if bad:
        return f"weights that are not finite: {', '.join(bad[:5])}"
    return "all outputs are finite; the gradient overflowed"


def _floats(output: Any) -> list[Tensor]:
    """Tensors of floats in what a module gives: one, a dict, a tuple or a list."""
    values = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else [output]
    return [value for value in values if isinstance(value, Tensor) and value.is_floating_point()]
