import subprocess

import pytest

from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.runtime import placement
from ecg_signals.runtime.launch import joined, raise_update_freq
from ecg_signals.runtime.placement import Placement, find_placement

VARIABLES = (
    "RANK",
    "WORLD_SIZE",
    "MASTER_ADDR",
    "MASTER_PORT",
    "LOCAL_RANK",
    "SLURM_NTASKS",
    "SLURM_PROCID",
    "SLURM_LOCALID",
    "SLURM_STEP_NODELIST",
    "SLURM_JOB_NODELIST",
)


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def config(**section):
    return resolve_config({"common": {"cpu": True}, "distributed_training": section})


def test_one_process_without_any_environment():
    assert find_placement(config()) == Placement()


def test_torchruns_environment_is_taken_and_nothing_is_spawned(monkeypatch):
    for name, value in {
        "RANK": "3",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "a",
        "MASTER_PORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    assert find_placement(config(distributed_world_size=4)) == Placement(3, 8, 1, "env://")


def test_slurms_environment_is_taken(monkeypatch):
    for name, value in {
        "SLURM_NTASKS": "4",
        "SLURM_PROCID": "2",
        "SLURM_LOCALID": "0",
        "SLURM_STEP_NODELIST": "n[1-2]",
    }.items():
        monkeypatch.setenv(name, value)
    answer = subprocess.CompletedProcess([], 0, stdout="n1\nn2\n")
    monkeypatch.setattr(placement.subprocess, "run", lambda *args, **options: answer)
    assert find_placement(config(distributed_port=777)) == Placement(2, 4, 0, "tcp://n1:777")


def test_slurm_without_a_node_list_says_how_to_start(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "0")
    with pytest.raises(ConfigError, match="srun"):
        find_placement(config())


def test_ranks_without_gpus_become_accumulated_batches(caplog):
    found = resolve_config(
        {
            "common": {"cpu": True},
            "distributed_training": {"distributed_world_size": 4},
            "optimization": {"update_freq": [2, 1]},
        }
    )
    placement = find_placement(found)
    raise_update_freq(found, placement)
    assert placement == Placement()
    assert found.optimization.update_freq == [8, 4]
    assert "4 ranks are asked for and 1 run here" in caplog.text


@pytest.mark.parametrize(("wanted", "there", "freq", "said"), [(8, 3, 3, "112% of the"), (4, 3, 1, "75% of the"),
                                                               (3, 4, 1, ""), (8, 4, 2, "as many")])  # fmt: skip
def test_ranks_that_do_not_divide_those_asked_for_come_as_near_as_they_can(caplog, wanted, there, freq, said):
    found = resolve_config({"distributed_training": {"distributed_world_size": wanted}})
    raise_update_freq(found, Placement(1, there))
    assert not caplog.text  # said once, by rank 0
    for _ in range(2):
        found = resolve_config({"distributed_training": {"distributed_world_size": wanted}})
        raise_update_freq(found, Placement(0, there))
        raise_update_freq(found, Placement(0, there))  # which changes nothing more
        assert found.optimization.update_freq == [freq]
    assert (f"an update sees {said} items" in caplog.text) is bool(said)


def test_gloo_asked_for_by_name_starts_processes_on_the_cpu():
    found = find_placement(config(distributed_world_size=3, distributed_backend="gloo"))
    assert (found.world_size, found.spawn, found.rank) == (3, 2, 0)
    assert found.init_method.startswith("tcp://127.0.0.1:")


def test_ranks_that_cannot_meet_are_one_message():
    meeting = joined(config(), Placement(0, 2, 0, "nowhere"))
    with pytest.raises(ConfigError, match=r"rank 0 cannot meet the others at nowhere: .*distributed_init_method=tcp"):
        meeting.__enter__()
