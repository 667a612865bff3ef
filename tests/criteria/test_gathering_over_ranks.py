"""With all_gather, two ranks make the loss and the gradient of one that has both batches."""

import os
import subprocess
from pathlib import Path

import pytest
import torch
from stand_in import StandIn, batch_of
from warm_commands import python

from ecg_signals.registry import build, get_entry, register_criterion

RANK = """
import sys

import torch
import torch.distributed as dist

folder, tests, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.path.insert(0, tests)
from test_gathering_over_ranks import NAMES, PARTS, of_rows, options_of

dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
data = torch.load(f"{folder}/data.pt", weights_only=True)
found = {}
for name in NAMES:
    out, gradient = of_rows(name, data, PARTS[rank], **options_of(name))
    alone, _ = of_rows(name, data, PARTS[rank], training=False, **options_of(name))
    found[name] = {"loss": out.loss.detach(), "grad": gradient, "alone": alone.loss.detach()}
    found[name] |= {"size": float(out.sample_size), "logs": {key: float(value) for key, value in out.logs.items()}}
torch.save(found, f"{folder}/rank{rank}.pt")
dist.destroy_process_group()
"""
WITH_OPTION = ("cmsc", "clocs", "3kg", "simclr", "wav2vec2_with_cmsc")  # every criterion that has the option
NAMES = (*WITH_OPTION, "moco_v3", "swav")  # which always gather
PARTS = (slice(0, 3), slice(3, 10))  # rows of each rank; a patient has one of its segments on either


def options_of(name):
    return {"all_gather": True} if name in WITH_OPTION else {}


def of_rows(name, data, rows, training=True, **options):
    """The criterion on these rows of the data, and the gradient of their features."""
    pooled = data["pooled"][rows].clone().requires_grad_()
    output = {"pooled": pooled, "masked_pooled": pooled, "padding_mask": None, "features_pen": torch.zeros(())}
    output |= {"pred_logits": torch.zeros(2, len(pooled), 3), "mask_indices": torch.ones(len(pooled), 3).bool()}
    views = torch.stack([pooled, pooled.roll(1, dims=1)], dim=1).flatten(0, 1)  # two of each
    output |= {"predicted": views, "target": views.detach().flip(1), "scores": views.tanh()}
    batch = batch_of(len(pooled), patient_id=data["patient_id"][rows], segment=data["segment"][rows])
    output |= {"projected": views} if name == "simclr" else {}
    criterion = build("criterion", name, **options).train(training)
    out = criterion(StandIn(output), batch)
    out.loss.backward()
    return out, pooled.grad


def test_every_criterion_with_the_option_is_compared():
    ours = [get_entry("criterion", name) for name in register_criterion.names()]
    having = {entry.name for entry in ours if "all_gather" in entry.dataclass.__dataclass_fields__}
    assert having == set(WITH_OPTION)


@pytest.fixture(scope="module")
def data():
    generator, number = torch.Generator().manual_seed(0), torch.arange(10)
    return {"pooled": torch.randn(10, 6, generator=generator), "patient_id": number // 2, "segment": number % 2}


@pytest.fixture(scope="module")
def found(data, tmp_path_factory):
    """What each of two ranks has computed, by criterion."""
    folder = tmp_path_factory.mktemp("ranks")
    torch.save(data, folder / "data.pt")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = [str(folder), str(Path(__file__).parent)]
    ranks = [
        subprocess.Popen([python(), "-c", RANK, *arguments, str(rank)], env=environment) for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=90) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
    return [torch.load(folder / f"rank{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.parametrize("name", NAMES)
def test_two_ranks_make_the_loss_and_the_gradient_of_one_that_has_both_batches(name, data, found):
    first, second = (rank[name] for rank in found)
    joined, gradient = of_rows(name, data, slice(0, 10))
    size = first["size"] + second["size"]  # what the sum of both gradients is divided by
    torch.testing.assert_close((first["loss"] + second["loss"]) / size, joined.loss.detach() / joined.sample_size)
    together = torch.cat([first["grad"], second["grad"]])
    torch.testing.assert_close(together / size, gradient / float(joined.sample_size))
    apart = [of_rows(name, data, rows) for rows in PARTS]
    without = torch.cat([gradient for _, gradient in apart]) / sum(float(out.sample_size) for out, _ in apart)
    assert not torch.allclose(without, gradient / float(joined.sample_size), rtol=0.01)
    logs = {key: first["logs"][key] + second["logs"][key] for key in first["logs"]}
    assert logs["nsignals"] == 10
    if "count" in logs:
        assert logs["correct"] / logs["count"] == pytest.approx(float(joined.logs["correct"] / joined.logs["count"]))


@pytest.mark.parametrize("name", NAMES)
def test_a_rank_compares_with_its_own_rows_alone_in_validation(name, data, found):
    for rank, rows in zip(found, PARTS):
        out, _ = of_rows(name, data, rows, training=False)
        torch.testing.assert_close(rank[name]["alone"], out.loss.detach())
