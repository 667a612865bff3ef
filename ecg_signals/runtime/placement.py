"""Where this process stands among all (torchrun's and SLURM's environments, tcp:// by hand), and where it computes."""

import os
import socket
import subprocess
from dataclasses import dataclass

import torch

from ecg_signals.config import ConfigError
from ecg_signals.sections import CommonConfig, Config


@dataclass(frozen=True)
class Placement:
    """One process among `world_size`; `spawn` more processes are to be started from this one."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    init_method: str | None = None
    spawn: int = 0


def use_cuda(common: CommonConfig) -> bool:
    """Whether to compute on a GPU: there is one, and `common.cpu` is not set."""
    return torch.cuda.is_available() and not common.cpu


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


def device_of(config: Config, placement: Placement) -> torch.device:
    """Where a rank computes: the GPU of its place on this machine, or `device_id` when it is alone; else the CPU."""
    if not use_cuda(config.common):
        return torch.device("cpu")
    index = placement.local_rank if placement.world_size > 1 else config.distributed_training.device_id
    return torch.device("cuda", index % torch.cuda.device_count())


def find_placement(config: Config) -> Placement:
    """From the environment first (torchrun, SLURM), then from the `distributed_training` section.

    A recipe that asks for more ranks than there are GPUs runs on what is there; `raise_update_freq` keeps its batch.
    Raises: ConfigError for an environment that contradicts itself.
    """
    env, section = os.environ, config.distributed_training
    if all(key in env for key in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")):
        return Placement(int(env["RANK"]), int(env["WORLD_SIZE"]), int(env.get("LOCAL_RANK", 0)), "env://")
    if int(env.get("SLURM_NTASKS", "1")) > 1 and "SLURM_PROCID" in env and section.distributed_init_method is None:
        return _from_slurm(section.distributed_port)
    if section.distributed_init_method:
        asked, first = section.distributed_world_size, section.distributed_rank
        here = 1 if section.distributed_no_spawn else _local_processes(config, asked or 1)
        return Placement(first, asked or here, section.device_id, section.distributed_init_method, here - 1)
    world = _local_processes(config, section.distributed_world_size)
    if world == 1 or section.distributed_no_spawn:
        return Placement()
    return Placement(0, world, 0, f"tcp://127.0.0.1:{free_port()}", world - 1)


def _local_processes(config: Config, wanted: int | None) -> int:
    if use_cuda(config.common):
        return min(wanted or torch.cuda.device_count(), torch.cuda.device_count())
    gloo = config.distributed_training.distributed_backend == "gloo"  # asked for by name: several CPU processes
    return (wanted or 1) if gloo else 1


def _from_slurm(port: int) -> Placement:
    env = os.environ
    nodes = env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST")
    if not nodes:
        raise ConfigError(
            "SLURM_NTASKS is set but neither SLURM_STEP_NODELIST nor SLURM_JOB_NODELIST is; start with srun"
        )
    try:
        answer = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise ConfigError(
            f"`scontrol show hostnames {nodes}` failed ({error}); set distributed_training.distributed_init_method"
        ) from None
    rank, ranks, here = int(env["SLURM_PROCID"]), int(env["SLURM_NTASKS"]), int(env.get("SLURM_LOCALID", 0))
    return Placement(rank, ranks, here, f"tcp://{answer.stdout.split()[0]}:{port}")


def free_port() -> int:
    """A TCP port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
