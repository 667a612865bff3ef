"""Two nodes whose connection is cut in the middle of training: both say so, and go on when it is back."""

import re
import subprocess
import time

import pytest
from links import Cable, Relay
from test_lost_ranks import SAVING, ended, losses, undisturbed
from test_training_ranks import environment, settings

UPDATES, TIMEOUT = 8, 4
HELD = """
import os, time
from ecg_signals.runtime.vigil import Doing

original = Doing.now

def held(self, what, update=None):
    original(self, what, update)
    while what == "the forward pass" and self.update == 4 and not os.path.exists("cut"):
        open(f"held{os.getpid()}", "a").close()
        time.sleep(0.02)

Doing.now = held
"""


@pytest.fixture(params=[Relay, pytest.param(Cable, marks=pytest.mark.slow)])
def link(request):
    try:
        made = request.param()
    except OSError as error:
        pytest.skip(f"no network namespaces here: {error}")
    yield made
    made.close()


def test_two_nodes_whose_link_is_cut_name_it_and_go_on_as_if_undisturbed(link, pretraining, tmp_path, request):
    folder, plugin = tmp_path / "run", tmp_path / "plugin"
    for made in (folder, plugin):
        made.mkdir()
    (plugin / "__init__.py").write_text(HELD)
    logs = [tmp_path / f"{rank}.log" for rank in range(2)]

    def node(rank):
        options = {
            **SAVING, "optimization.max_update": UPDATES, "optimization.update_freq": [1], "common.cpu": True,
            "dataset.disable_validation": True, "common.user_dir": str(plugin),
            "distributed_training.distributed_rank": rank, "distributed_training.distributed_world_size": 2,
            "distributed_training.distributed_no_spawn": True, "distributed_training.distributed_backend": "gloo",
            "distributed_training.distributed_init_method": link.meeting(rank),
            "distributed_training.heartbeat_timeout": TIMEOUT,
        }  # fmt: skip
        words = [*link.program(rank), *settings(pretraining, folder, **options)]
        variables = {**environment(), "GLOO_SOCKET_IFNAME": link.interface}
        with open(logs[rank], "wb") as file:
            return subprocess.Popen(words, cwd=folder, env=variables, stdout=file, stderr=file, start_new_session=True)

    first = [node(rank) for rank in range(2)]
    request.addfinalizer(lambda: [one.kill() for one in first])
    while len(list(folder.glob("held*"))) < 2:
        assert first[0].poll() is None and first[1].poll() is None
        time.sleep(0.05)
    link.cut()
    (folder / "cut").touch()
    assert [ended(one, 60) for one in first] == [1, 1]
    errors = [[line for line in log.read_text().splitlines() if "ERROR" in line] for log in logs]
    print(*errors, sep="\n")
    assert re.search(r"nothing has been heard of rank 1 \(|rank 1 \(.*\) holds the others up", errors[0][0])
    assert "has not reached the store of rank 0" in errors[1][0]
    for rank, log in enumerate(logs):
        assert f"so rank {rank}, in the backward pass of update 4, ends" in errors[rank][0]
        assert len(errors[rank]) == 1 and "Traceback" not in log.read_text()
    assert list(losses(folder)) == [1, 2, 3]
    assert not isinstance(link, Relay) or link.relayed > 0  # also what ranks send to each other
    link.restore()
    assert [ended(one, 90) for one in [node(rank) for rank in range(2)]] == [0, 0]
    found = losses(folder)
    assert list(found) == list(range(1, UPDATES + 1))
    assert found == pytest.approx(undisturbed(pretraining, tmp_path / "one", UPDATES), rel=1e-6)
