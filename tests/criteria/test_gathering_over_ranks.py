"""With all_gather, two ranks make the loss and the gradient of one that has both batches."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from stand_in import StandIn, batch_of

from ecg_signals.registry import build

RANK = """
import sys

import torch
import torch.distributed as dist

folder, tests, rank = sys.argv[1], sys.argv[2], int(sys.argv[3])
sys.path.insert(0, tests)
from stand_in import StandIn, batch_of
from ecg_signals.registry import build

dist.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
data = torch.load(f"{folder}/data.pt", weights_only=True)
rows = slice(0, 4) if rank == 0 else slice(4, 10)
pooled = data["pooled"][rows].clone().requires_grad_()
batch = batch_of(len(pooled), patient_id=data["patient_id"][rows], segment=data["segment"][rows])
criterion = build("criterion", "cmsc", all_gather=True)
out = criterion(StandIn({"pooled": pooled}), batch)
out.loss.backward()
alone = criterion.eval()(StandIn({"pooled": pooled}), batch)
found = {"loss": out.loss.detach(), "grad": pooled.grad, "alone": alone.loss.detach()}
torch.save(found, f"{folder}/rank{rank}.pt")
dist.destroy_process_group()
"""


def test_two_ranks_compare_with_each_others_segments_in_training_only(tmp_path):
    torch.manual_seed(0)
    number = torch.arange(10)
    data = {"pooled": torch.randn(10, 6), "patient_id": number // 2, "segment": number % 2}
    torch.save(data, tmp_path / "data.pt")
    tests = str(Path(__file__).parent)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    ranks = [
        subprocess.Popen([sys.executable, "-c", RANK, str(tmp_path), tests, str(rank)], env=environment)
        for rank in range(2)
    ]
    try:
        assert [process.wait(timeout=90) for process in ranks] == [0, 0]
    finally:
        for process in ranks:
            process.kill()
    found = [torch.load(tmp_path / f"rank{rank}.pt", weights_only=True) for rank in range(2)]

    pooled = data["pooled"].clone().requires_grad_()
    batch = batch_of(10, patient_id=data["patient_id"], segment=data["segment"])
    out = build("criterion", "cmsc")(StandIn({"pooled": pooled}), batch)
    out.loss.backward()
    together = torch.cat([rank["grad"] for rank in found])
    torch.testing.assert_close(together / 2, pooled.grad)  # summed over ranks, as sample_size is
    for rank, rows in zip(found, (slice(0, 4), slice(4, 10))):
        torch.testing.assert_close(rank["loss"], out.loss.detach())
        part = batch_of(rows.stop - rows.start, patient_id=data["patient_id"][rows], segment=data["segment"][rows])
        own = build("criterion", "cmsc")(StandIn({"pooled": data["pooled"][rows]}), part)
        torch.testing.assert_close(rank["alone"], own.loss)
