"""Weak scaling: seconds of an update when every process has as much work as one alone had.

    python tools/bench/scaling.py                measured here, 1 and 2 processes of one thread each
    python tools/bench/scaling.py --calculate    the table of examples/ecg_fm/scaling.md for 8, 64 and 512 GPUs

Measured are wav2vec 2.0 + CMSC on random signals through the strategies of runtime/: one process alone; two that know
nothing of each other, which shows what they cost each other in caches and memory; two with DDP; two with sharded
weights. What counts is the fastest of the updates, since others use the machine as well.
"""

import argparse
import math
import os
import subprocess
import sys
import time
from dataclasses import dataclass

CASES = {"1 process": (1, ""), "2 apart": (2, ""), "2 DDP": (2, "pytorch_ddp"), "2 sharded": (2, "fully_sharded")}


@dataclass(frozen=True)
class Machine:
    """What is assumed of the GPUs that the calculated table is about: eight of NVIDIA's H100 in every node."""

    flops: float = 0.35 * 989e12  # per second in bf16: 35 % of the peak
    inside: float = 300e9  # bytes per second that a GPU sends within its node, of 450e9
    between: float = 40e9  # and to other nodes, of 50e9 (one 400 Gbit/s adapter each)
    latency: float = 15e-6  # seconds of one step of a collective
    jitter: float = 0.01  # standard deviation of a rank's seconds, as a share
    per_node: int = 8


@dataclass(frozen=True)
class Work:
    """One update of a model on one GPU."""

    weights: float
    items: int  # segments of 5 s
    frames: int = 156  # of a segment

    def seconds(self, machine: Machine) -> float:
        """6 FLOP for every weight and frame: 2 forward, 4 backward."""
        return 6 * self.weights * self.frames * self.items / machine.flops


MODELS = {"w2v_cmsc_rlm": Work(90.9e6, 128), "w2v_cmsc_rlm_large": Work(311.9e6, 128)}


def exchanged(weights: float, ranks: int, sharded: bool) -> float:
    """Bytes that a rank sends in an update.

    DDP: a ring's all-reduce of float32 gradients. Sharded: two gathers of the weights in bf16, for both passes, and a
    reduce-scatter of the gradients in float32 (fp32_reduce_scatter=true).
    """
    share = (ranks - 1) / ranks
    return share * weights * (2 * 2 + 4 if sharded else 2 * 4)


def expected(work: Work, machine: Machine, ranks: int, sharded: bool) -> dict[str, float]:
    """Bytes, seconds and the efficiency: seconds of one GPU alone over those of an update on all."""
    compute = work.seconds(machine)
    sent = exchanged(work.weights, ranks, sharded)
    nodes = max(1, ranks // machine.per_node)
    wire = sent / (machine.inside if nodes == 1 else machine.between)
    hidden_behind = compute if sharded else compute * 2 / 3  # both passes, or the backward pass
    steps = 2 * math.log2(ranks)
    pieces = 3 * 24 if sharded else math.ceil(work.weights * 4 / 25e6)
    exposed = max(0.0, wire - hidden_behind) + wire / pieces + 3 * steps * machine.latency
    slowest = compute * machine.jitter * math.sqrt(2 * math.log(ranks))
    total = compute + exposed + slowest
    return {"sent": sent, "compute": compute, "wire": wire, "exposed": exposed, "slowest": slowest,
            "efficiency": compute / total}  # fmt: skip


def table() -> str:
    """As examples/ecg_fm/scaling.md has it."""
    rows = ["| model | GPUs | strategy | MB sent | compute ms | wire ms | exposed ms | slowest ms | efficiency |",
            "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for name, work in MODELS.items():
        for ranks in (8, 64, 512):
            for sharded in (False, True):
                found = expected(work, Machine(), ranks, sharded)
                seconds = [f"{found[key] * 1e3:.1f}" for key in ("compute", "wire", "exposed", "slowest")]
                cells = [name, str(ranks), "sharded" if sharded else "DDP", f"{found['sent'] / 1e6:.0f}", *seconds]
                rows.append(f"| {' | '.join(cells)} | {found['efficiency']:.0%} |")
    return "\n".join(rows)


def fastest_update(backend: str, updates: int) -> tuple[float, float]:
    """Seconds by the clock and of the processor, which leave out what other programs take; of this rank."""
    import torch
    import torch.distributed as dist

    from ecg_signals.composition import resolve_config
    from ecg_signals.registry import build
    from ecg_signals.training.building import build_strategy, trained_parameters

    if backend:
        dist.init_process_group("gloo")
    section = {"ddp_backend": backend or "pytorch_ddp"}
    config = resolve_config({"common": {"cpu": True}, "distributed_training": section})
    ranks = dist.get_world_size() if backend else 1
    torch.manual_seed(0)
    model = build("model", "wav2vec2_cmsc", encoder_layers=4, encoder_embed_dim=192, encoder_ffn_embed_dim=768,
                  encoder_attention_heads=4, apply_mask=True, mask_prob=0.65, quantize_targets=True)  # fmt: skip
    strategy = build_strategy(config, ranks, torch.device("cpu"))
    called = strategy.setup(model)
    weights = trained_parameters(model)
    optimizer = torch.optim.AdamW(weights, lr=1e-4, fused=True)
    source, seconds = torch.randn(8, 12, 2500), []
    for _ in range(updates):
        began = time.perf_counter(), time.process_time()
        optimizer.zero_grad()
        with strategy.synchronised(last=True):
            output = called(source, mask=True)
            floats = (value for value in output.values() if torch.is_tensor(value) and value.requires_grad)
            sum(value.nan_to_num(0, 0, 0).square().mean() for value in floats).backward()
        strategy.scale_gradients(weights, 1 / (1 + float(strategy.grad_norm(weights))))
        optimizer.step()
        seconds.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    if backend:
        dist.destroy_process_group()
    return min(wall for wall, _ in seconds[1:]), min(cpu for _, cpu in seconds[1:])


def measured(case: str, updates: int) -> tuple[float, float]:
    """Seconds of the slowest process of a case, by the clock and of the processor."""
    processes, backend = CASES[case]
    own = [sys.executable, __file__, "--as", case, "--updates", str(updates)]
    launched = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    commands = [[*launched, *own[1:]]] if backend else [own] * processes
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    running = [subprocess.Popen(one, env=environment, stdout=subprocess.PIPE, text=True) for one in commands]
    answers = [process.communicate()[0] for process in running]
    found = [line.split()[1:] for answer in answers for line in answer.splitlines() if line.startswith("seconds")]
    return max(float(wall) for wall, _ in found), max(float(cpu) for _, cpu in found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calculate", action="store_true", help="print the calculated table")
    parser.add_argument("--updates", type=int, default=12, help="of each case")
    parser.add_argument("--as", dest="case", choices=list(CASES), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.calculate:
        print(table())
    elif arguments.case:
        print("seconds", *fastest_update(CASES[arguments.case][1], arguments.updates))
    else:
        alone: tuple[float, float] | None = None
        for case in CASES:
            wall, cpu = measured(case, arguments.updates)
            alone = alone or (wall, cpu)
            shares = f"efficiency {alone[0] / wall:.0%} and {alone[1] / cpu:.0%}"
            print(f"{case:10s} {wall:6.2f} s by the clock, {cpu:6.2f} s of the processor, {shares}", flush=True)


if __name__ == "__main__":
    main()
