"""Batches come out of shared memory that is used again, and never change while anybody looks at them."""

import itertools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_helpers import make_dataset
from warm_commands import python

from ecg_signals.data import blocks
from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.data.pack import pack_manifests
from ecg_signals.sections import DatasetConfig

RECORDS = 24


class Kept(BaseDataset):
    """Items [2, samples] that hold their number, plus the epoch; the dataset keeps the first of every batch."""

    def __init__(self, lengths=(64,) * 24):
        super().__init__(DatasetConfig(), "kept.tsv")
        self.lengths, self.kept = np.asarray(lengths), []

    @property
    def sizes(self):
        return self.lengths

    def __getitem__(self, index):
        signal = blocks.item_array((2, int(self.lengths[index])))
        signal[:] = index
        if index % 4 == 0:
            self.kept.append(signal)
        assert all((kept == kept[0, 0]).all() for kept in self.kept)
        return {"id": index, "source": torch.from_numpy(signal), "epoch": self.epoch}

    def collate(self, items):
        sources = [item["source"] for item in items]
        target = max(source.shape[-1] for source in sources)
        return {
            "source": torch.stack([torch.nn.functional.pad(one, (0, target - one.shape[-1])) for one in sources]),
            "half": torch.tensor([item["id"] for item in items]).bfloat16(),
            "every": torch.arange(12).reshape(3, 4).T,
            "none": torch.zeros(0, 3),
            "nested": ({"id": torch.tensor([item["id"] for item in items])}, torch.tensor(self.epoch), "text"),
            "wide": torch.ones(4, 1).expand(4, 5),
        }


def equal(first, second):
    if isinstance(first, torch.Tensor):
        return first.dtype == second.dtype and first.shape == second.shape and bool((first == second).all())
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(equal(value, second[key]) for key, value in first.items())
    if isinstance(first, (list, tuple)):
        return len(first) == len(second) and all(map(equal, first, second))
    return first == second


def addresses(batches):
    return [batch["net_input"]["source"].data_ptr() for batch in batches]


@pytest.fixture
def pairs(segments):
    """A packed store of pairs, and a function that makes its loader."""
    folder = segments(records=RECORDS)
    (folder / "manifests").mkdir()
    (folder / "pairs.tsv").rename(folder / "manifests" / "train.tsv")
    pack_manifests(folder / "manifests", folder / "packed")

    def loader(name="cmsc", workers=1, buffer=2, **options):
        modes = {"perturbation_mode": ["random_leads_masking"], "enable_padding": True, **options}
        dataset = make_dataset(name, folder / "packed" / "train.tsv", training=True, **modes)
        return BatchIterator(dataset, batch_size=4, num_workers=workers, buffer=buffer)

    return loader


OPTIONS: list[dict[str, Any]] = [
    {"leads_to_load": [7, 0, 2], "keep_original": True},
    {"max_sample_size": 50, "perturbation_mode": ["square", "random_leads_masking"], "p": [0.5]},
    {"enable_padding": False, "leads_to_load": "II", "enable_padding_leads": True},
]


@pytest.mark.parametrize("options", OPTIONS)
def test_batches_are_the_same_to_the_bit_through_blocks(pairs, options):
    alone, helped = pairs(workers=0, **options), pairs(workers=2, **options)
    for epoch in (1, 2, 3):
        for here, there in itertools.zip_longest(alone.batches(epoch), helped.batches(epoch)):
            assert equal(here, there)
    helped.close()


def test_memory_is_used_again_and_what_somebody_keeps_never_changes(pairs):
    loader = pairs()
    rounds = [[batch["net_input"]["source"].data_ptr() for batch in loader.batches(epoch)] for epoch in (1, 2, 3, 4)]
    assert len({place for places in rounds[1:] for place in places}) < 8  # of 18 batches
    kept = [batch for epoch in range(5, 13) for batch in loader.batches(epoch)]  # 48, more than there are blocks
    expected = [batch for epoch in range(5, 13) for batch in pairs(workers=0).batches(epoch)]
    assert len(kept) > blocks.MOST and all(map(equal, kept, expected))
    part = kept[20]["net_input"]["source"][2:, 3].numpy()[:, ::2]  # enough to keep its batch's memory
    del kept
    for epoch in range(13, 20):
        assert all(map(equal, loader.batches(epoch), pairs(workers=0).batches(epoch)))
    assert (part == expected[20]["net_input"]["source"][2:, 3].numpy()[:, ::2]).all()
    loader.close()


def test_any_batch_comes_whole_and_arrays_that_a_dataset_keeps_stay_its_own():
    lengths = [64, 900, 64, 64, 128, 30_000] * 4
    alone, helped = (BatchIterator(Kept(lengths), batch_size=4, num_workers=count) for count in (0, 1))
    for epoch in range(1, 30):
        assert all(map(equal, helped.batches(epoch), alone.batches(epoch)))
    wide = next(helped.batches(30))["wide"]
    assert wide.shape == (4, 5) and wide.stride() == (1, 0)


def test_an_epoch_that_is_left_gives_its_blocks_back(pairs):
    loader = pairs()
    for epoch in range(1, 12):
        next(loader.batches(epoch))
    rest = [addresses([batch])[0] for batch in loader.batches(20)]
    assert len(set(rest)) < 6
    loader.close()


def test_two_loaders_and_a_second_start_do_not_meet(pairs):
    first, second, alone = pairs(workers=2), pairs(workers=1), pairs(workers=0)
    for epoch in (1, 2, 3):
        together = zip(first.batches(epoch), second.batches(epoch + 1), strict=True)
        expected = zip(alone.batches(epoch), list(pairs(workers=0).batches(epoch + 1)), strict=True)
        assert all(map(equal, together, expected))
        first.close()
        held = next(second.batches(9))
    second.close()
    del second
    assert equal(held, next(pairs(workers=0).batches(9)))


def test_a_forked_process_does_not_give_back_what_its_parent_looks_at(pairs):
    loader = pairs()
    batches = list(loader.batches(1))
    pid = os.fork()
    if not pid:
        batches.clear()
        os._exit(0)
    os.waitpid(pid, 0)
    for epoch in (2, 3, 4):
        list(loader.batches(epoch))
    assert all(map(equal, batches, pairs(workers=0).batches(1)))
    loader.close()


PROGRAM = """
import multiprocessing, sys, time
from pathlib import Path
from ecg_signals.data.batching import BatchIterator
from data_helpers import make_dataset
if __name__ == "__main__":
    multiprocessing.set_start_method(sys.argv[2])
    loaders = []
    for workers in (0, 1):
        dataset = make_dataset("cmsc", Path(sys.argv[1]), training=True, perturbation_mode=["random_leads_masking"])
        loaders.append(BatchIterator(dataset, batch_size=4, num_workers=workers, buffer=2))
    alone, helped = ([batch["net_input"]["source"] for e in (1, 2, 3) for batch in one.batches(e)] for one in loaders)
    assert all((a == b).all() for a, b in zip(alone, helped, strict=True))
    print(loaders[1]._loader._iterator._workers[0].pid, flush=True)
    time.sleep(60 if len(sys.argv) > 3 else 0)
"""


def run(starter: str, manifest: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [starter, "-c", PROGRAM, str(manifest), *arguments]
    return subprocess.Popen(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, text=True)


def test_a_process_that_is_killed_leaves_nothing_in_shared_memory(pairs):
    running = run(python(), pairs().dataset.path, "fork", "wait")
    worker = int(running.stdout.readline())
    assert not list(Path("/dev/shm").glob(f"*_{worker}_*"))
    running.send_signal(signal.SIGKILL)
    running.wait()
    end = time.monotonic() + 30
    while Path(f"/proc/{worker}").exists() and time.monotonic() < end:
        time.sleep(0.05)
    assert not Path(f"/proc/{worker}").exists()
    assert not list(Path("/dev/shm").glob(f"*_{running.pid}_*"))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_blocks_reach_processes_however_they_are_started(pairs, method):
    running = run(sys.executable, pairs().dataset.path, method)
    assert int(running.communicate(timeout=120)[0]) and running.returncode == 0
