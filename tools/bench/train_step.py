"""Time one pretraining step of ours against a plain reading of the method, and show where the time goes.

    python tools/bench/train_step.py                          # base model, 4 pairs of 5 s segments, all cores
    python tools/bench/train_step.py --layers 2 --width 64 --pairs 2 --repeat 2

Both sides see the same weights, batch, masks, negatives and noise. With every dropout at 0 their losses and gradients
must agree to 1e-4 before anything is timed; the timed steps use the recipe's dropouts. A step is forward, backward and
optimizer; the variants take turns and the smallest time of each counts, so that a busy machine disturbs all alike.
"""

import argparse
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from plain_wav2vec2 import PlainStep
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from ecg_signals.models.wav2vec2.negatives import draw_negatives
from ecg_signals.modules.conv_stem import parse_conv_layers
from ecg_signals.registry import build, get_entry
from ecg_signals.signal.span_mask import compute_mask_indices

DROPOUTS = ("dropout", "attention_dropout", "dropout_input", "dropout_features")
RATES = {"lr": 5e-5, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}
KINDS = {  # part of an operator's name -> what it is counted as; the first that fits
    "linear": "matrix products", "mm": "matrix products", "scaled_dot": "attention", "softmax": "attention",
    "conv": "convolutions", "gelu": "GELU", "norm": "norms", "dropout": "dropout", "bernoulli": "dropout",
    "random": "dropout", "adam": "optimizer", "copy": "copies and casts", "add": "additions", "mul": "multiplications",
}  # fmt: skip


class OurStep:
    """Forward, backward and optimizer as the trainer makes them."""

    def __init__(self, options: dict[str, Any], device: torch.device, compiled: bool = False) -> None:
        torch.manual_seed(0)
        self.model = build("model", "wav2vec2_cmsc", **options).to(device).train()
        self.criterion = build("criterion", "wav2vec2_with_cmsc", loss_weights=[0.1, 10.0]).to(device).train()
        entry = get_entry("optimizer", "adam")
        cfg = entry.dataclass(adam_betas=RATES["betas"], adam_eps=RATES["eps"], weight_decay=RATES["weight_decay"],
                              lr=[RATES["lr"]])  # fmt: skip
        self.parameters = list(self.model.parameters())
        self.optimizer = entry.cls(self.parameters, cfg)
        self.called = torch.compile(self.model) if compiled else self.model

    def __call__(self, batch: dict[str, Tensor], bf16: bool = False) -> Tensor:
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(batch["source"].device.type, torch.bfloat16, enabled=bf16):
            output = self.criterion(self.called, as_trained(batch))
        output.loss.backward()
        torch._foreach_mul_([parameter.grad for parameter in self.parameters], 1.0 / output.sample_size)
        self.optimizer.step()
        return output.loss.detach()


def main() -> None:
    arguments = parse_arguments()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    options = model_options(arguments)
    batch = make_batch(options, arguments, device)
    print(f"{arguments.layers} layers of width {arguments.width}, {2 * arguments.pairs} segments of "
          f"{arguments.samples} samples, {torch.get_num_threads()} threads, {device}")  # fmt: skip
    check_agreement(options, batch, device)
    ours = OurStep(options, device)
    plain = plain_step(ours, options)
    variants: dict[str, Callable[[], Any]] = {
        "plain float32": lambda: plain(batch),
        "ours float32": lambda: ours(batch),
        "plain bfloat16": lambda: plain(batch, bf16=True),
        "ours bfloat16": lambda: ours(batch, bf16=True),
    }
    if arguments.compile:
        compiled = OurStep(options, device, compiled=True)
        variants["ours compiled"] = lambda: compiled(batch, bf16=True)
    report(take_turns(variants, arguments, device), ours, batch, arguments)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--layers", type=int, default=12, help="transformer layers")
    parser.add_argument("--width", type=int, default=768, help="width; heads are width / 64, perceptrons 4 x width")
    parser.add_argument("--pairs", type=int, default=4, help="pairs of segments per batch")
    parser.add_argument("--samples", type=int, default=2500, help="samples per segment")
    parser.add_argument("--threads", type=int, default=0, help="threads; 0: as many as torch chooses")
    parser.add_argument("--repeat", type=int, default=5, help="timed runs of each variant")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: seconds summed over threads")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="also time our model compiled, in bfloat16")
    parser.add_argument("--peak", type=float, default=989.0, help="peak TFLOP/s of the GPU in bfloat16, for MFU")
    return parser.parse_args()


def model_options(arguments: argparse.Namespace) -> dict[str, Any]:
    width = arguments.width
    return {
        "encoder_layers": arguments.layers, "encoder_embed_dim": width, "encoder_ffn_embed_dim": 4 * width,
        "encoder_attention_heads": max(1, width // 64), "apply_mask": True, "mask_prob": 0.65,
        "quantize_targets": True, "final_dim": 256, "feature_grad_mult": 0.1, **dict.fromkeys(DROPOUTS, 0.1),
    }  # fmt: skip


def make_batch(options: dict[str, Any], arguments: argparse.Namespace, device: torch.device) -> dict[str, Tensor]:
    """Random segments with the masks, negatives and noise that both sides share."""
    torch.manual_seed(0)
    cfg = build("model", "wav2vec2_cmsc", **{**options, "encoder_layers": 0, "encoder_embed_dim": 16,
                                             "encoder_attention_heads": 1}).cfg  # fmt: skip
    items, frames = 2 * arguments.pairs, arguments.samples
    for _, kernel, stride in parse_conv_layers(cfg.conv_feature_layers):
        frames = (frames - kernel) // stride + 1
    rng = np.random.RandomState(0)
    mask = compute_mask_indices((items, frames), None, cfg.mask_prob, cfg.mask_length, min_masks=2, rng=rng)
    hidden = int(mask[0].sum())
    own = torch.arange(hidden).expand(items, hidden)
    rows = items * hidden * cfg.latent_groups
    batch = {
        "source": torch.randn(items, cfg.in_d, arguments.samples),
        "mask_indices": torch.from_numpy(mask),
        "neg_idxs": draw_negatives(own, torch.full((items,), hidden), hidden, cfg.num_negatives, 0),
        "gumbel_noise": -torch.empty(rows, cfg.latent_vars).exponential_().log(),
        "gumbel_temp": torch.tensor(2.0),
        "segment": torch.arange(items) % 2,
        "patient_id": torch.arange(items) // 2,
    }
    return {key: value.to(device) for key, value in batch.items()}


def as_trained(batch: dict[str, Tensor]) -> dict[str, Any]:
    around = ("segment", "patient_id")
    net_input = {key: value for key, value in batch.items() if key not in around}
    return {"net_input": net_input, "id": batch["patient_id"], **{key: batch[key] for key in around}}


def plain_step(ours: OurStep, options: dict[str, Any]) -> PlainStep:
    cfg = {**ours.model.cfg.to_dict(), **options}
    cfg["conv_layers"] = parse_conv_layers(cfg["conv_feature_layers"])
    return PlainStep(dict(ours.model.named_parameters()), cfg, RATES)


def check_agreement(options: dict[str, Any], batch: dict[str, Tensor], device: torch.device) -> None:
    """One step without dropout on both sides. Raises: AssertionError when losses or gradients differ by 1e-4."""
    still = {**options, **dict.fromkeys(DROPOUTS, 0.0)}
    ours = OurStep(still, device)
    plain = plain_step(ours, still)
    losses = [float(ours(batch)), float(plain(batch))]
    worst = abs(losses[0] / losses[1] - 1)
    for name, parameter in ours.model.named_parameters():
        expected = plain.weights[name].grad
        if not name.endswith("k_proj.bias"):  # its true gradient is 0
            worst = max(worst, float((parameter.grad - expected).abs().max() / expected.abs().max()))
    print(f"loss {losses[0]:.4f}; losses and gradients differ by at most {worst:.1e} (relative to each largest value)")
    assert worst < 1e-4, "ours and the plain step disagree"


def take_turns(
    variants: dict[str, Callable[[], Any]], arguments: argparse.Namespace, device: torch.device
) -> dict[str, float]:
    """Seconds of each variant: the smallest over `repeat` rounds, after one round that is not timed."""
    clock = time.process_time if arguments.clock == "cpu" else time.perf_counter
    best: dict[str, float] = defaultdict(lambda: float("inf"))
    for turn in range(arguments.repeat + 1):
        for name, run in variants.items():
            synchronise(device)
            began = clock()
            run()
            synchronise(device)
            if turn > 0:
                best[name] = min(best[name], clock() - began)
    return dict(best)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def report(times: dict[str, float], ours: OurStep, batch: dict[str, Tensor], arguments: argparse.Namespace) -> None:
    work = step_flops(ours, batch)
    for name, seconds in times.items():
        speed = work / seconds / 1e12
        share = f", MFU {speed / arguments.peak:.1%}" if arguments.device.startswith("cuda") else ""
        print(f"{name:16s} {seconds * 1e3:9.1f} ms  {times['plain float32'] / seconds:5.2f} x plain float32  "
              f"{speed:7.3f} TFLOP/s{share}")  # fmt: skip
    print(f"plain bfloat16 / ours bfloat16: {times['plain bfloat16'] / times['ours bfloat16']:.2f}")
    for bf16 in (False, True):
        print(f"\nwhere ours spends its time, {'bfloat16' if bf16 else 'float32'}:")
        for kind, share in breakdown(lambda bf16=bf16: ours(batch, bf16=bf16), arguments.device):
            print(f"  {kind:20s} {share:6.1%}")


def step_flops(ours: OurStep, batch: dict[str, Tensor]) -> float:
    """Floating-point operations of a step: 6 per weight and frame, positional convolution and attention included."""
    cfg = ours.model.cfg
    frames = batch["mask_indices"].numel()
    weights = (
        sum(p.numel() for p in ours.model.encoder.parameters())
        + cfg.encoder_embed_dim * ours.model.feature_extractor.dim
    )
    position = cfg.encoder_embed_dim**2 // cfg.conv_pos_groups * cfg.conv_pos
    attention = 2 * batch["mask_indices"].shape[1] * cfg.encoder_embed_dim * cfg.encoder_layers
    return 6.0 * frames * (weights + position + attention)


def breakdown(run: Callable[[], Any], device: str) -> list[tuple[str, float]]:
    on_gpu = device.startswith("cuda")
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as recorded:
        run()
    spent: dict[str, float] = defaultdict(float)
    for event in recorded.key_averages():
        kind = next((kind for part, kind in KINDS.items() if part in event.key.lower()), "other")
        spent[kind] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
    total = sum(spent.values())
    return sorted(((kind, value / total) for kind, value in spent.items()), key=lambda item: -item[1])


if __name__ == "__main__":
    main()
