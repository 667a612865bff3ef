import json
import os
import pickle
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from warm_commands import python

from ecg_signals.config import ConfigError
from ecg_signals.data.batching import (
    BatchIterator,
    WeightedIterator,
    _cut_evenly,
    _cut_greedily,
    batch_by_size,
    ordered_indices,
)
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.sections import DatasetConfig


class Numbers(BaseDataset):
    """Items are random numbers keyed by (seed, epoch, index); item `fails` raises."""

    def __init__(self, sizes, fails=None, seed=1):
        super().__init__(DatasetConfig(), "numbers.tsv", seed=seed)
        self.lengths = np.asarray(sizes)
        self.fails = fails

    @property
    def sizes(self):
        return self.lengths

    def __getitem__(self, index):
        if self.fails is not None and index in self.fails:
            raise self.fails[index]
        return {"id": index, "value": self.rng(index).random(), "epoch": self.epoch}

    def collate(self, items):
        return {key: torch.tensor([item[key] for item in items]) for key in items[0]} if items else {}


class Dies(Numbers):
    def __getitem__(self, index):
        os.kill(os.getpid(), signal.SIGKILL)


def batches_of(ends):
    return [list(range(start, stop)) for start, stop in zip([0, *ends[:-1]], ends)]


def drain(iterator, epochs=(1,), start=0):
    return [batch for epoch in epochs for batch in iterator.batches(epoch, start)]


def as_lists(batches):
    return [None if batch is None else {key: value.tolist() for key, value in batch.items()} for batch in batches]


@pytest.mark.parametrize(
    "source", ["fairseq_signals_trained/framework_vectors.json", "wcr/batching/batch_by_size.json"]
)
def test_batches_are_cut_as_in_the_reference(golden, source):
    found = json.loads((golden / source).read_text())
    cases = found["batch_by_size"] if isinstance(found, dict) else found
    assert len(cases) > 5
    for case in cases:
        indices = np.array(case.get("indices", range(len(case["sizes"]))))
        sizes = np.array(case["sizes"])[indices]
        limits = {"batch_size": case["max_signals"], "max_tokens": case["max_tokens"]}
        ends = batch_by_size(sizes, multiple=case["required_batch_size_multiple"], **limits)
        assert [indices[batch].tolist() for batch in batches_of(ends.tolist())] == case["batches"]


def test_items_are_ordered_as_in_the_reference(golden):
    vectors = json.loads((golden / "fairseq_signals_trained/framework_vectors.json").read_text())
    cases = vectors["ordered_indices_shuffle_true"] + json.loads(
        (golden / "wcr/batching/ordered_indices.json").read_text()
    )
    for case in cases:
        seed = case.get("seed", case.get("np_seed"))
        order = ordered_indices(np.minimum(case["sizes"], case["max_sample_size"] or np.inf), seed)
        assert order.tolist() == case["order"]


def test_epochs_are_shuffled_and_shared_as_in_the_reference(golden):
    vectors = json.loads((golden / "fairseq_signals_trained/framework_vectors.json").read_text())
    for case in vectors["epoch_batches_shuffled_and_sharded"]:
        items = sum(map(len, case["batches"]))
        world = case["num_shards"]
        for rank, wanted in enumerate(case["per_shard"]):
            iterator = BatchIterator(Numbers([9] * items), batch_size=2, seed=case["seed"], rank=rank, world_size=world)
            plan = iterator._compose(case["epoch"])
            plan.indices = np.arange(items)  # the vectors' batches lie in manifest order
            iterator._plan = (case["epoch"], plan)
            found = [[] if batch is None else batch["id"].tolist() for batch in iterator.batches(case["epoch"])]
            assert found == wanted


lengths = st.lists(st.integers(1, 50), min_size=1, max_size=60)


@given(lengths, st.integers(1, 9), st.integers(50, 300), st.integers(1, 5))
def test_every_item_is_in_one_batch_within_the_limits(sizes, batch_size, max_tokens, multiple):
    ends = batch_by_size(np.array(sizes), batch_size=batch_size, max_tokens=max_tokens, multiple=multiple).tolist()
    assert ends[-1] == len(sizes) and all(start < stop for start, stop in zip([0, *ends], ends))
    for batch in batches_of(ends):
        assert len(batch) <= batch_size and len(batch) * max(sizes[item] for item in batch) <= max_tokens


@given(st.integers(1, 80), st.integers(1, 12), st.integers(1, 12))
def test_equal_lengths_are_cut_in_closed_form_as_by_the_general_rule(items, limit, multiple):
    greedy = _cut_greedily(np.full(items, 7), limit, 7 * limit, multiple)
    assert _cut_evenly(items, limit, multiple).tolist() == greedy.tolist()


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(lengths, st.integers(1, 7), st.integers(1, 3), st.integers(1, 3), st.data())
def test_ranks_share_an_epoch_and_any_start_continues_it(sizes, batch_size, epoch, world, data):
    whole = BatchIterator(Numbers(sizes), batch_size=batch_size, seed=3)
    expected = as_lists(whole.batches(epoch))
    assert sorted(item for batch in expected for item in batch["id"]) == list(range(len(sizes)))
    start = data.draw(st.integers(0, len(expected)))
    ranks = [
        as_lists(
            BatchIterator(Numbers(sizes), batch_size=batch_size, seed=3, rank=rank, world_size=world).batches(
                epoch, start
            )
        )
        for rank in range(world)
    ]
    assert len({len(rank) for rank in ranks}) == 1
    shared = [batch for together in zip(*ranks) for batch in together]
    assert [batch for batch in shared if batch] == expected[start:]
    assert None not in shared[: len(expected) - start]
    assert whole.batch_at(epoch, whole.samples_before(epoch, start)) == start


@settings(max_examples=30)
@given(lengths, st.integers(1, 7), st.integers(1, 7), st.integers(0, 60))
def test_a_position_in_samples_survives_another_batch_size_without_leaving_items_out(sizes, before, after, samples):
    samples = min(samples, len(sizes))
    iterator = BatchIterator(Numbers(sizes), batch_size=after)
    number = iterator.batch_at(1, samples)
    assert iterator.samples_before(1, number) <= samples
    assert number == iterator.num_batches(1) or iterator.samples_before(1, number + 1) > samples


def test_loading_processes_change_nothing_and_serve_all_epochs():
    alone = BatchIterator(Numbers(range(1, 31)), batch_size=4, seed=7)
    helped = BatchIterator(Numbers(range(1, 31)), batch_size=4, seed=7, num_workers=2, buffer=3)
    for epoch, start in ((1, 0), (2, 3), (1, 5), (3, 0)):
        assert as_lists(helped.batches(epoch, start)) == as_lists(alone.batches(epoch, start))
    workers = {worker.pid for worker in helped._loader._iterator._workers}
    drain(helped, (4,))
    assert {worker.pid for worker in helped._loader._iterator._workers} == workers


def test_an_epoch_left_in_the_middle_does_not_leak_into_the_next():
    helped = BatchIterator(Numbers(range(1, 31)), batch_size=4, seed=7, num_workers=2)
    left = helped.batches(1)
    next(left)
    left.close()
    alone = BatchIterator(Numbers(range(1, 31)), batch_size=4, seed=7)
    assert as_lists(helped.batches(2, 2)) == as_lists(alone.batches(2, 2))


def test_epochs_draw_new_batches_unless_frozen_as_published():
    sizes = [9] * 40

    def composition(redraw, epoch):
        iterator = BatchIterator(Numbers(sizes), batch_size=4, redraw=redraw)
        return {frozenset(batch["id"].tolist()) for batch in iterator.batches(epoch)}

    assert composition(True, 1) == composition(False, 1) == composition(False, 5)
    assert composition(True, 1) != composition(True, 2)


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epochs_order_takes_four_bytes_an_item(shuffle):
    plan = BatchIterator(Numbers([9, 8] * 40), batch_size=4, shuffle=shuffle).plan(1)
    assert plan.indices.nbytes == 4 * 80 and sorted(plan.indices.tolist()) == list(range(80))


def test_without_shuffle_items_come_in_manifest_order():
    batches = drain(BatchIterator(Numbers([5, 9, 1, 7, 3]), batch_size=2, shuffle=False), (1, 2))
    assert [batch["id"].tolist() for batch in batches] == [[0, 1], [2, 3], [4]] * 2


def test_curriculum_epochs_run_from_long_to_short():
    iterator = BatchIterator(Numbers(range(1, 21)), batch_size=3, curriculum=1)
    assert [int(batch["id"].max()) for batch in iterator.batches(1)] == [19, 16, 13, 10, 7, 4, 1]
    assert [int(batch["id"].max()) for batch in iterator.batches(2)] != [19, 16, 13, 10, 7, 4, 1]


def test_the_first_batch_is_the_epochs_own_and_is_loaded_once():
    iterator = BatchIterator(Numbers(range(1, 21)), batch_size=3)
    first = iterator.first_batch()
    assert first is iterator.first_batch()
    assert as_lists([first]) == as_lists([next(iterator.batches(1))])


def test_a_config_error_reaches_the_caller_from_loading_processes_as_it_is():
    for workers in (0, 2):
        dataset = Numbers([9] * 8, fails={5: ConfigError("b.mat is truncated; write it again")})
        with pytest.raises(ConfigError, match=r"^b.mat is truncated; write it again$"):
            drain(BatchIterator(dataset, batch_size=2, num_workers=workers))


def test_a_bug_in_a_loading_process_keeps_its_type_and_traceback():
    with pytest.raises(KeyError, match="boom"):
        drain(BatchIterator(Numbers([9] * 8, fails={5: KeyError("boom")}), batch_size=2, num_workers=1))


def test_a_killed_loading_process_is_one_clear_error():
    with pytest.raises(ConfigError, match=r"loading process \d+ was ended by SIGKILL .*num_workers"):
        drain(BatchIterator(Dies([9] * 8), batch_size=2, num_workers=1))


def test_loading_processes_outlive_a_termination_signal():
    iterator = BatchIterator(Numbers([9] * 40), batch_size=2, num_workers=1, buffer=1)
    batches = iterator.batches(1)
    found = [next(batches)]
    subprocess.run(["kill", "-TERM", str(iterator._loader._iterator._workers[0].pid)], check=True)
    time.sleep(0.1)
    found += list(batches)
    assert len(found) == 20


def test_a_program_ends_although_loading_processes_still_wait():
    program = """
from ecg_signals.data.batching import BatchIterator
from test_batching import Numbers
iterator = BatchIterator(Numbers([9] * 8), batch_size=2, num_workers=2)
open_batches = iterator.batches(1)
next(open_batches)
print("done")
"""
    found = subprocess.run(
        [python(), "-c", program],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert found.stdout == "done\n"


def test_loading_draws_nothing_from_torchs_generator():
    torch.manual_seed(4)
    state = torch.get_rng_state()
    drain(BatchIterator(Numbers([9] * 8), batch_size=2, num_workers=1))
    assert torch.equal(torch.get_rng_state(), state)


def test_an_item_longer_than_max_tokens_is_named_with_the_remedy():
    with pytest.raises(ConfigError, match=r"an item of 90 samples .*max_tokens=50.*max_sample_size=50"):
        BatchIterator(Numbers([9, 90, 9]), batch_size=2, max_tokens=50).num_batches(1)


def test_cropped_items_count_with_their_cropped_length(monkeypatch):
    dataset = Numbers([9, 90, 9])
    monkeypatch.setattr(Numbers, "longest", 10)
    assert BatchIterator(dataset, max_tokens=20).num_batches(1) == 2


@pytest.mark.parametrize("limits, message", [({}, "no batch size"), ({"batch_size": 0}, "batch_size is 0")])
def test_a_missing_or_impossible_batch_size_is_an_error(limits, message):
    with pytest.raises(ConfigError, match=message):
        BatchIterator(Numbers([9]), **{"batch_size": None, **limits})


def test_generators_of_items_epochs_and_streams_never_share_numbers():
    dataset = Numbers([9] * 3)
    drawn = []
    for epoch in (1, 2, 3):
        dataset.set_epoch(epoch)
        drawn += [dataset.rng(index, stream).integers(2**63, size=200) for index in range(3) for stream in range(3)]
    numbers = np.concatenate(drawn)
    assert len(set(numbers.tolist())) == len(numbers)
    pickle.loads(pickle.dumps(dataset))


def test_weighted_batches_follow_the_weights_and_resume_anywhere():
    dataset = Numbers([9] * 1010)
    options = {"group_sizes": [10, 1000], "weights": [3, 1], "batch_size": 50, "batches_per_epoch": 40, "seed": 2}
    iterator = WeightedIterator(dataset, **options)
    ids = torch.cat([batch["id"] for batch in iterator.batches(1)])
    assert len(ids) == 2000 and iterator.num_batches(7) == 40
    assert (ids < 10).float().mean().item() == pytest.approx(0.75, abs=0.04)
    assert set(ids[ids < 10].tolist()) == set(range(10))
    later = WeightedIterator(dataset, num_workers=1, **options)
    position = iterator.samples_before(2, 13)
    assert position == 650 and later.batch_at(2, position) == 13
    assert as_lists(later.batches(2, 13)) == as_lists(iterator.batches(2))[13:]


@pytest.mark.parametrize("sizes, weights", [([1, 1], [1]), ([1, 1], [1, -1]), ([1, 1], [0, 0]), ([2, 0], [1, 1])])
def test_weights_that_do_not_fit_are_an_error(sizes, weights):
    with pytest.raises(ConfigError, match=r"weight"):
        WeightedIterator(Numbers([9, 9]), group_sizes=sizes, weights=weights, batch_size=1)
