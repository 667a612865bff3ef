"""With several ranks, rank 0 reads and the others receive the same, errors included."""

import socket

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from ecg_signals.checkpoint.manager import CheckpointManager
from ecg_signals.config import ConfigError
from ecg_signals.runtime.collectives import from_rank_zero
from ecg_signals.sections import CheckpointConfig


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def check_rank(rank, port, folder):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    state = {"a": [torch.arange(5), (torch.ones(2).half(), "text")], "b": None, "empty": torch.zeros(0, 3)}
    found = from_rank_zero(lambda: state if dist.get_rank() == 0 else None)
    assert torch.equal(found["a"][0], state["a"][0]) and torch.equal(found["a"][1][0], state["a"][1][0])
    assert found["a"][1][1] == "text" and found["b"] is None and found["empty"].shape == (0, 3)

    def fail():
        raise ConfigError("there is no such file")

    try:
        from_rank_zero(fail)
    except ConfigError as error:
        assert str(error) == "there is no such file"
    else:
        raise AssertionError("the error of rank 0 did not arrive")
    manager = CheckpointManager(CheckpointConfig(save_dir=f"{folder}/of_rank_{rank}"), writer=rank == 0)
    chosen = manager.choose_restore()
    assert chosen is not None and chosen.path.parent.name == "of_rank_0"
    dist.destroy_process_group()


def test_two_ranks_start_from_the_same_file_and_fail_alike(tmp_path):
    (tmp_path / "of_rank_0").mkdir()
    torch.save({}, tmp_path / "of_rank_0" / "checkpoint_last.pt")
    mp.spawn(check_rank, args=(free_port(), str(tmp_path)), nprocs=2)
