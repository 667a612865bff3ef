"""Ranks that hold a part of the weights each: torch's `fully_shard` (FSDP2), one block of the model after the other.

Zhao et al. 2023, PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel, arXiv:2304.11277.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
    register_fsdp_forward_method,
)
from torch.distributed.tensor import DTensor, distribute_tensor

from ecg_signals.config import ConfigError
from ecg_signals.runtime.collectives import own_part, rank, sum_over_ranks, world_size
from ecg_signals.runtime.nested import on_each
from ecg_signals.runtime.precision import uses_bf16, uses_fp16
from ecg_signals.runtime.strategy import Strategy, average_gradients, gradients, leaves_parameters_out

CALLED = ("extract_features", "training_pass")  # beside forward, what is called of a model from outside


class FullySharded(Strategy):
    """Weights, gradients and the optimizer's state are cut along the first dimension of every weight.

    A block's weights are gathered for its passes alone, the others' (embeddings, norms, heads) for those of the model.
    Parameters without a dimension stay whole on every rank.
    """

    def setup(self, model: nn.Module) -> nn.Module:
        """Shards the model in place. Raises: ConfigError for one that changes its weights inside its forward pass."""
        if getattr(model, "changes_weights_in_forward", False):
            raise ConfigError(
                f"{type(model).__name__} changes weights inside its forward pass, which sharded ones cannot: set "
                f"model.target_update=after_update, or distributed_training.ddp_backend=pytorch_ddp"
            )
        # for models that change a block's output in place, which ours do not (tests/contract/test_sharding.py)
        warnings.filterwarnings("ignore", message="FSDP2-wrapped module")
        _same_on_all_ranks(model)
        self.model = model
        self.unsharded = [weight for weight in model.parameters() if weight.dim() == 0]
        options: dict[str, Any] = {
            "mesh": init_device_mesh(self.device.type, (world_size(),)),
            "mp_policy": self._precision(),
            "offload_policy": self._offload(),
            "ignored_params": set(self.unsharded),
        }
        self.blocks = blocks_of(model) if leaves_parameters_out(model) else []
        self.used: set[nn.Module] = set()  # of them, in the passes of this update
        for block in self.blocks:
            block.register_forward_pre_hook(self._note)
        for block in blocks_of(model):
            if self.common.compile:
                block.compile()
            fully_shard(block, reshard_after_forward=not self.section.no_reshard_after_forward, **options)
        fully_shard(model, **options)
        for name in CALLED:
            if hasattr(model, name):
                register_fsdp_forward_method(model, name)
        self.parts = [part for part in model.modules() if isinstance(part, FSDPModule)]
        return model

    def _precision(self) -> MixedPrecisionPolicy:
        """Half weights are gathered; activations are autocast, as everywhere."""
        half = torch.float16 if uses_fp16(self.common) else torch.bfloat16 if uses_bf16(self.common) else None
        summed = torch.float32 if half and self.section.fp32_reduce_scatter else None
        return MixedPrecisionPolicy(param_dtype=half, reduce_dtype=summed, cast_forward_inputs=False)

    def _offload(self) -> OffloadPolicy:
        wanted = self.section.cpu_offload
        return CPUOffloadPolicy(pin_memory=self.device.type == "cuda") if wanted else OffloadPolicy()

    @contextmanager
    def synchronised(self, last: bool) -> Iterator[None]:
        root = self.parts[0]
        root.set_is_last_backward(last)
        root.set_requires_gradient_sync(last)
        if self.section.no_reshard_after_forward:
            root.set_reshard_after_backward(last)
        yield

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Every rank holds all weights inside, gathered once."""
        for part in self.parts:
            part.set_reshard_after_forward(False, recurse=False)
            part.unshard()
        try:
            yield
        finally:
            for part in self.parts:
                part.reshard()
                part.set_reshard_after_forward(self._reshards(part), recurse=False)

    def _reshards(self, part: FSDPModule) -> bool:
        return part is not self.parts[0] and not self.section.no_reshard_after_forward

    def _note(self, block: nn.Module, inputs: Any) -> None:
        if torch.is_grad_enabled() and not getattr(block, "left_out", False):
            self.used.add(block)

    def average(self, parameters: Sequence[nn.Parameter]) -> None:
        """As the base says; a block that all ranks have left out of an update has no gradient, as elsewhere."""
        if self.blocks:
            used = torch.tensor([float(block in self.used) for block in self.blocks], device=self.device)
            for block, ranks in zip(self.blocks, sum_over_ranks(used).tolist()):
                if not ranks:
                    block.zero_grad(set_to_none=True)
            self.used.clear()
        average_gradients([*parameters, *(weight for weight in self.unsharded if weight.requires_grad)], self.device)

    def grad_norm(self, parameters: Sequence[nn.Parameter]) -> Tensor:
        found = gradients(parameters)
        parts = [own_part(grad) for grad in found if isinstance(grad, DTensor)]
        squares = sum_over_ranks(self._norm(parts).square())
        whole = self._norm([grad for grad in found if not isinstance(grad, DTensor)])
        return (squares + whole.square()).sqrt()

    def _norm(self, parts: list[Tensor]) -> Tensor:
        if not parts:
            return torch.zeros((), device=self.device)
        return torch.linalg.vector_norm(torch.stack(torch._foreach_norm(parts))).to(self.device)

    def scale_gradients(self, parameters: Sequence[nn.Parameter], factor: float | Tensor) -> None:
        if isinstance(factor, Tensor) or factor != 1.0:
            torch._foreach_mul_([own_part(grad) for grad in gradients(parameters)], factor)

    def gather_state(self, state: dict[str, Any]) -> dict[str, Any]:
        """As the base says, on the CPU; as it is where checkpoints are folders, into which ranks write their parts."""
        return state if self.section.use_sharded_state else on_each(state, DTensor, self._gathered)

    def _gathered(self, tensor: DTensor) -> Tensor:
        part = tensor.to_local().to(self.device)  # of offloaded weights, too
        placed = DTensor.from_local(
            part, tensor.device_mesh, tensor.placements, shape=tensor.shape, stride=tensor.stride()
        )
        whole = placed.full_tensor()
        return whole.cpu() if rank() == 0 else whole.new_empty(0)

    def load_state(self, owner: Any, state: dict[str, Any]) -> None:
        """As the base says; `state` is whole on every rank."""
        if isinstance(owner, torch.optim.Optimizer):
            weights = [weight for group in owner.param_groups for weight in group["params"]]
            entries = {
                index: {key: _part_like(weights[index], value) for key, value in entry.items()}
                for index, entry in state["state"].items()
            }
            owner.load_state_dict({**state, "state": entries})
            return
        current = owner.state_dict()
        owner.load_state_dict({key: _part_like(current.get(key), value) for key, value in state.items()})


def _part_like(held: Any, value: Any) -> Any:
    """Of a whole tensor what this rank keeps, where it holds a part of a tensor of that shape."""
    if not isinstance(held, DTensor) or not isinstance(value, Tensor) or value.shape != held.shape:
        return value
    moved = value.to(held.device_mesh.device_type)
    part = distribute_tensor(moved, held.device_mesh, held.placements, src_data_rank=None)
    return part.to(held.to_local().device)


def _same_on_all_ranks(model: nn.Module) -> None:
    """Rank 0's weights and buffers for all, as DDP does."""
    for tensor in [*model.parameters(), *model.buffers()]:
        dist.broadcast(tensor.detach(), src=0)


def blocks_of(model: nn.Module) -> list[nn.Module]:
    """What is gathered and freed one after the other: entries of module lists that are built of several weighty parts.

    Those within others come first. Layers that only stand in a list (projections, embeddings) are no blocks, nor are
    sequences, which may be run part by part.
    """
    lists = [part for part in model.modules() if isinstance(part, nn.ModuleList)]
    entries = dict.fromkeys(entry for one in lists for entry in one if _is_block(entry))
    return [part for part in reversed(list(model.modules())) if part in entries]


def _is_block(entry: nn.Module) -> bool:
    weighty = [child for child in entry.children() if next(child.parameters(), None) is not None]
    return len(weighty) > 1 and not isinstance(entry, (nn.ModuleList, nn.Sequential))
