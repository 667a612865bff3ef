"""Time a training step of ours against a plain reading of the published one, in one run, and show where time goes.

    python tools/bench/train_step.py                          # base model, 4 pairs of 5 s segments, 1 and 2 threads
    python tools/bench/train_step.py --task fine-tuning --precision fp32 --threads 1 --repeat 15
    python tools/bench/train_step.py --layers 2 --width 64 --pairs 2 --repeat 2

Both sides see the same weights, batch, masks, negatives and noise. With every dropout at 0 their losses and gradients
must agree to 1e-4 before anything is timed; the timed steps use the recipe's dropouts. A step is forward, backward and
optimizer. The two sides take turns, each goes first every other time, and each turn gives one ratio; printed are the
median of the ratios and the middle half of them. Seconds of all threads together (cpu) suffer less from other programs
on the machine than seconds on the clock (wall).
"""

import argparse
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
import torch
from plain_wav2vec2 import PlainFinetuning, PlainPretraining
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from turns import OurStep, PlainStep, Seconds, check_agreement, take_turns

from ecg_signals.models.wav2vec2.negatives import draw_negatives
from ecg_signals.modules.conv_stem import parse_conv_layers
from ecg_signals.registry import build, get_entry
from ecg_signals.signal.span_mask import compute_mask_indices

LABELS = 17
TASKS: dict[str, dict[str, Any]] = {  # the numbers of configs/w2v_cmsc_rlm.yaml and configs/finetune/diagnosis.yaml
    "pretraining": {
        "model": "wav2vec2_cmsc", "criterion": "wav2vec2_with_cmsc", "weights": {"loss_weights": [0.1, 10.0]},
        "options": {"apply_mask": True, "mask_prob": 0.65, "quantize_targets": True, "final_dim": 256,
                    "feature_grad_mult": 0.1},
        "dropouts": dict.fromkeys(("dropout", "attention_dropout", "dropout_input", "dropout_features"), 0.1),
    },
    "fine-tuning": {
        "model": "ecg_transformer_classifier", "criterion": "binary_cross_entropy_with_logits", "weights": {},
        "options": {"num_labels": LABELS, "no_pretrained_weights": True},
        "dropouts": {"activation_dropout": 0.1},
    },
}  # fmt: skip
RATES = {"lr": 5e-5, "betas": (0.9, 0.98), "eps": 1e-6, "weight_decay": 0.01}
KINDS = {  # part of an operator's name -> what it is counted as; the first that fits
    "linear": "matrix products", "mm": "matrix products", "scaled_dot": "attention", "softmax": "attention",
    "conv": "convolutions", "gelu": "GELU", "norm": "norms", "dropout": "dropout", "bernoulli": "dropout",
    "random": "dropout", "adam": "optimizer", "copy": "copies and casts", "add": "additions", "mul": "multiplications",
}  # fmt: skip
Step = Callable[..., Any]  # (batch, bf16=...) -> loss


def our_step(task: str, options: dict[str, Any], device: torch.device, compiled: bool = False) -> OurStep:
    torch.manual_seed(0)
    model = build("model", TASKS[task]["model"], **options)
    criterion = build("criterion", TASKS[task]["criterion"], **TASKS[task]["weights"])
    return OurStep(model, criterion, "adam", RATES, as_trained, device, compiled)


def main() -> None:
    arguments = parse_arguments()
    device = torch.device(arguments.device)
    print(f"{arguments.layers} layers of width {arguments.width}, {2 * arguments.pairs} segments of "
          f"{arguments.samples} samples, {processor() if device.type == 'cpu' else device}")  # fmt: skip
    for task in arguments.task:
        compare(task, arguments, device)


def compare(task: str, arguments: argparse.Namespace, device: torch.device) -> None:
    options = model_options(task, arguments)
    batch = make_batch(task, options, arguments, device)
    ours = our_step(task, options, device)
    check_agreement(task, ours, plain_step(task, ours), batch, "encoder." if task == "fine-tuning" else "")
    options |= TASKS[task]["dropouts"]
    ours = our_step(task, options, device)
    sides: dict[str, Step] = {"plain": plain_step(task, ours), "ours": ours}
    if arguments.compile:
        sides["compiled"] = our_step(task, options, device, compiled=True)
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for precision in arguments.precision:
            print(f"{task}, {precision}, {threads} thread{'s' if threads > 1 else ''}:")
            steps = {name: partial(side, batch, bf16=precision == "bf16") for name, side in sides.items()}
            turns = take_turns(steps, arguments.repeat, device)
            report(turns, step_flops(ours, batch), arguments)
    for precision in arguments.precision if arguments.breakdown else []:
        print(f"where {task} in {precision} spends its time:")
        for kind, share in breakdown(ours, batch, precision == "bf16"):
            print(f"  {kind:20s} {share:6.1%}")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", nargs="+", choices=tuple(TASKS), default=list(TASKS))
    parser.add_argument("--precision", nargs="+", choices=("fp32", "bf16"), default=["fp32", "bf16"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--layers", type=int, default=12, help="transformer layers")
    parser.add_argument("--width", type=int, default=768, help="width; heads are width / 64, perceptrons 4 x width")
    parser.add_argument("--pairs", type=int, default=4, help="pairs of segments per batch")
    parser.add_argument("--samples", type=int, default=2500, help="samples per segment")
    parser.add_argument("--repeat", type=int, default=9, help="timed turns, after one that is not timed")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--compile", action="store_true", help="also time our model compiled")
    parser.add_argument("--breakdown", action="store_true", help="also show the kinds of operators of our step")
    parser.add_argument("--peak", type=float, default=989.0, help="peak TFLOP/s of the GPU in bfloat16, for MFU")
    return parser.parse_args()


def processor() -> str:
    """Its name, and the instructions that torch uses of it."""
    lines = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    name = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "processor")
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def model_options(task: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Those of a model without dropout."""
    width = arguments.width
    sizes = {
        "encoder_layers": arguments.layers, "encoder_embed_dim": width, "encoder_ffn_embed_dim": 4 * width,
        "encoder_attention_heads": max(1, width // 64),
    }  # fmt: skip
    dropouts = ("dropout", "attention_dropout", "activation_dropout", "dropout_input", "dropout_features")
    known = get_entry("model", TASKS[task]["model"]).dataclass.__dataclass_fields__
    return {**sizes, **dict.fromkeys((key for key in dropouts if key in known), 0.0), **TASKS[task]["options"]}


def make_batch(
    task: str, options: dict[str, Any], arguments: argparse.Namespace, device: torch.device
) -> dict[str, Tensor]:
    """Random segments with labels, or with the masks, negatives and noise that both sides share."""
    torch.manual_seed(0)
    tiny = {"encoder_layers": 0, "encoder_embed_dim": 16, "encoder_attention_heads": 1}
    cfg = build("model", TASKS[task]["model"], **{**options, **tiny}).cfg
    items = 2 * arguments.pairs
    batch = {"source": torch.randn(items, cfg.in_d, arguments.samples)}
    if task == "fine-tuning":
        batch["label"] = torch.randint(2, (items, LABELS))
    else:
        frames = arguments.samples
        for _, kernel, stride in parse_conv_layers(cfg.conv_feature_layers):
            frames = (frames - kernel) // stride + 1
        rng = np.random.RandomState(0)
        mask = compute_mask_indices((items, frames), None, cfg.mask_prob, cfg.mask_length, min_masks=2, rng=rng)
        hidden = int(mask[0].sum())
        own = torch.arange(hidden).expand(items, hidden)
        rows = items * hidden * cfg.latent_groups
        batch |= {
            "mask_indices": torch.from_numpy(mask),
            "neg_idxs": draw_negatives(own, torch.full((items,), hidden), hidden, cfg.num_negatives, 0),
            "gumbel_noise": -torch.empty(rows, cfg.latent_vars).exponential_().log(),
            "gumbel_temp": torch.tensor(2.0),
            "segment": torch.arange(items) % 2,
            "patient_id": torch.arange(items) // 2,
        }
    return {key: value.to(device) for key, value in batch.items()}


def as_trained(batch: dict[str, Tensor]) -> dict[str, Any]:
    around = {key: batch[key] for key in ("segment", "patient_id", "label") if key in batch}
    net_input = {key: value for key, value in batch.items() if key not in around}
    return {"net_input": net_input, "id": torch.arange(len(batch["source"])), **around}


def plain_step(task: str, ours: OurStep) -> PlainStep:
    cfg = ours.model.cfg.to_dict()
    cfg["conv_layers"] = parse_conv_layers(cfg["conv_feature_layers"])
    if task == "pretraining":
        return PlainPretraining(dict(ours.model.named_parameters()), cfg, RATES)
    weights = {name.removeprefix("encoder."): value for name, value in ours.model.named_parameters()}
    return PlainFinetuning(weights, cfg, RATES)


def report(turns: list[Seconds], work: float, arguments: argparse.Namespace) -> None:
    for name in turns[0]:
        wall, cpu = (median(turn[name][clock] for turn in turns) for clock in (0, 1))
        speed = work / wall / 1e12
        share = f", MFU {speed / arguments.peak:.1%}" if arguments.device.startswith("cuda") else ""
        print(f"  {name:9s} {wall:8.3f} s wall {cpu:8.3f} s cpu {speed:8.3f} TFLOP/s{share}")
    for name in (name for name in turns[0] if name != "plain"):
        found = []
        for clock, title in enumerate(("wall", "cpu")):
            ratios = [turn["plain"][clock] / turn[name][clock] for turn in turns]
            low, _, high = quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
            found.append(f"{median(ratios):.2f} {title} ({low:.2f} to {high:.2f})")
        print(f"  plain / {name}: {', '.join(found)}", flush=True)


def step_flops(ours: OurStep, batch: dict[str, Tensor]) -> float:
    """Floating-point operations of a step: 6 per weight and frame, positional convolution and attention included."""
    encoder = ours.model.encoder if isinstance(ours.model.cfg.to_dict().get("num_labels"), int) else ours.model
    cfg = encoder.cfg
    frames = encoder.feature_extractor.frames(batch["source"].shape[2])
    weights = sum(p.numel() for p in encoder.encoder.parameters())
    weights += cfg.encoder_embed_dim * encoder.feature_extractor.dim
    position = cfg.encoder_embed_dim**2 // cfg.conv_pos_groups * cfg.conv_pos
    attention = 2 * frames * cfg.encoder_embed_dim * cfg.encoder_layers
    return 6.0 * len(batch["source"]) * frames * (weights + position + attention)


def breakdown(step: Step, batch: dict[str, Tensor], bf16: bool) -> list[tuple[str, float]]:
    on_gpu = batch["source"].device.type == "cuda"
    with profile(activities=[ProfilerActivity.CUDA if on_gpu else ProfilerActivity.CPU]) as recorded:
        step(batch, bf16=bf16)
    spent: dict[str, float] = defaultdict(float)
    for event in recorded.key_averages():
        kind = next((kind for part, kind in KINDS.items() if part in event.key.lower()), "other")
        spent[kind] += event.self_device_time_total if on_gpu else event.self_cpu_time_total
    total = sum(spent.values())
    return sorted(((kind, value / total) for kind, value in spent.items()), key=lambda item: -item[1])


if __name__ == "__main__":
    main()
