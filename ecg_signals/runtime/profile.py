"""Where the time of a few updates goes: a trace that Chrome shows, and a summary in the log."""

import logging
import re
import resource
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import torch

from ecg_signals.files import replacing

logger = logging.getLogger(__name__)

COUNTED, FIRST, LAST = 2, 4, 6  # the update whose operations are counted, and those that are traced
PHASES = {"data": "waiting for data", "forward": "forward", "backward": "backward", "optimizer": "optimizer"}
EXCHANGES = re.compile(r"(nccl|gloo|c10d)[:_]")
# TFLOP/s of bf16 or fp16, of TF32 and of float32, without sparsity, as the data sheets of NVIDIA state them.
PEAKS = {
    "H200": (989, 495, 67), "H100": (989, 495, 67), "A100": (312, 156, 19.5), "V100": (125, 15.7, 15.7),
    "L40S": (362, 183, 91.6), "L4": (121, 60, 30.3), "A10": (125, 62.5, 31.2), "T4": (65, 8.1, 8.1),
}  # fmt: skip


class NoProfile:
    """Nothing is watched."""

    def mark(self, phase: str) -> None:
        """The phase up to here is over: one of PHASES."""

    def update_done(self, segments: float) -> None:
        """An update of so many segments, of this rank, is over."""

    def close(self) -> None:
        """Training is over."""


class Profile(NoProfile):
    """Watches updates 2 to 6 of this start of a run.

    Args:
        folder: where profile.json goes; None: nowhere.
        device: on which the model computes.
        dtype: of its matrix products.
        tf32: whether those of float32 may be TensorFloat-32.
        compiled: the operations of a compiled model cannot be counted.
    """

    def __init__(
        self, folder: Path | None, device: torch.device, dtype: torch.dtype, tf32: bool, compiled: bool = False
    ) -> None:
        self.folder, self.device, self.dtype, self.tf32, self.compiled = folder, device, dtype, tf32, compiled
        self.updates, self.flops, self.segments = 0, 0, 0.0
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.last = time.perf_counter()
        self.counter: Any = None
        self.trace: Any = None

    def mark(self, phase: str) -> None:
        """As the base says; waits for a GPU while updates are traced, so that its work counts where it belongs."""
        if not FIRST - 1 <= self.updates < LAST:
            return
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[phase] += now - self.last
        self.last = now

    def update_done(self, segments: float) -> None:
        self.mark("rest")
        self.updates += 1
        if self.updates == COUNTED - 1 and not self.compiled:
            from torch.utils.flop_counter import FlopCounterMode

            self.counter = FlopCounterMode(display=False)
            self.counter.__enter__()
        elif self.updates == COUNTED and self.counter is not None:
            self.counter.__exit__(None, None, None)
            self.flops = self.counter.get_total_flops()
        if self.updates == FIRST - 1:
            self._begin()
        elif FIRST <= self.updates <= LAST:
            self.segments += segments
            if self.updates == LAST:
                self._end()

    def _begin(self) -> None:
        from torch.profiler import profile

        self.trace = profile()
        self.trace.__enter__()
        self.seconds.clear()
        self.last = time.perf_counter()

    def _end(self) -> None:
        self.trace.__exit__(None, None, None)
        if self.folder is not None:
            with replacing(self.folder / "profile.json") as partial:
                self.trace.export_chrome_trace(str(partial))
        exchanged = [row for row in self.trace.key_averages() if EXCHANGES.match(row.key)]
        self.trace = None
        inside = sum(max(row.device_time_total, row.cpu_time_total) for row in exchanged) / 1e6
        for line in self.summary(inside):
            logger.info("profile: %s", line)

    def summary(self, exchanging: float) -> list[str]:
        """Lines about the traced updates, in which ranks exchanged for so many seconds."""
        count, total = LAST - FIRST + 1, sum(self.seconds.values())
        shares = [f"{title} {self.seconds[key] / total:.1%}" for key, title in {**PHASES, "rest": "rest"}.items()]
        first = f"updates {FIRST} to {LAST}, {total / count:.3g} s each: {', '.join(shares)}"
        lines = [f"{first}; ranks exchange for {exchanging / total:.1%} (mostly during backward)"]
        lines.append(f"{self.segments / total:.4g} segments/s of this rank, {memory(self.device):.3g} GiB at most")
        if self.flops:
            rate = self.flops * count / total / 1e12
            peak, source = peak_tflops(self.device, self.dtype, self.tf32)
            use = f"{rate:.3g} TFLOP/s, MFU {rate / peak:.1%} of {peak:.4g} ({source})"
            lines.append(f"{self.flops:.3g} FLOP per update in products and convolutions: {use}")
        else:
            lines.append("the operations of a compiled model are not counted; without common.compile they are")
        return lines if self.folder is None else [*lines, f"the trace is {self.folder / 'profile.json'}"]

    def close(self) -> None:
        if self.updates < LAST:
            logger.warning("common.profile watches updates up to %d, but there were %d", LAST, self.updates)
        for running in (self.counter if self.updates < COUNTED else None, self.trace):
            if running is not None:
                running.__exit__(None, None, None)


def memory(device: torch.device) -> float:
    """GiB that were in use at most: of the GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 2**30


def peak_tflops(device: torch.device, dtype: torch.dtype, tf32: bool) -> tuple[float, str]:
    """What the device can do at best, and where that is from: its data sheet, else a matrix product done here."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        known = next((peak for key, peak in PEAKS.items() if re.search(rf"\b{key}\b", name)), None)
        if known:
            return known[0 if dtype != torch.float32 else 1 if tf32 else 2], f"data sheet of {name}"
    size = 8192 if device.type == "cuda" else 1024
    one = torch.randn(size, size, device=device, dtype=dtype)
    best = min(_seconds(one) for _ in range(5))
    return 2 * size**3 / best / 1e12, f"a product of {size} x {size} matrices here"


def _seconds(matrix: torch.Tensor) -> float:
    wait = torch.cuda.synchronize if matrix.is_cuda else lambda: None
    wait()
    began = time.perf_counter()
    matrix @ matrix
    wait()
    return time.perf_counter() - began
