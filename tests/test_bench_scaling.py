"""The calculated table of the example is that of the formulas."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_scaling", ROOT / "tools" / "bench" / "scaling.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def test_the_page_has_the_table_that_the_script_prints(bench):
    assert bench.table() in (ROOT / "examples" / "ecg_fm" / "scaling.md").read_text()


def test_a_ring_sends_twice_the_gradients_but_for_what_a_rank_has_itself(bench):
    assert bench.exchanged(1.0, 2, sharded=False) == 4.0
    assert bench.exchanged(1.0, 2, sharded=True) == 4.0
    assert bench.exchanged(1.0, 8, sharded=False) == 7.0


def test_more_ranks_and_smaller_batches_are_less_efficient(bench):
    machine, work = bench.Machine(), bench.MODELS["w2v_cmsc_rlm"]
    found = [bench.expected(work, machine, ranks, False)["efficiency"] for ranks in (8, 64, 512)]
    assert 1 > found[0] > found[1] > found[2]
    small = bench.Work(work.weights, 16)
    assert bench.expected(small, machine, 64, False)["efficiency"] < 0.25
