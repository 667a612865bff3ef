"""ecg-cluster: HuBERT-ECG's cluster targets. dump features, fit k-means, assign clusters, evaluate."""

import argparse
import logging
from collections.abc import Callable
from typing import Any

from ecg_signals.cli.arguments import Parser
from ecg_signals.cli.running import run_restartable
from ecg_signals.config import UsageError

EXAMPLE = """example, first iteration:
  ecg-cluster dump train.csv valid.csv features --ecg-dir ecgs --kind mfcc --workers 8
  ecg-cluster fit features kmeans --clusters 100 200 300
  ecg-cluster evaluate features report --models kmeans/*.npz
  ecg-cluster assign features targets --models kmeans/kmeans_100.npz
  ecg-train task.data=FOLDER dataset.ecg_dir=ecgs dataset.targets=targets --config-name hubert/pretrain_base
later iterations:
  ecg-cluster dump train.csv valid.csv features2 --ecg-dir ecgs --kind latent --checkpoint checkpoint_best.pt --layer 6

The same command again does only what is missing."""


def main() -> None:
    run_restartable(run)


def run(argv: list[str]) -> None:
    """One stage. Raises: UsageError for wrong arguments, ConfigError for data that does not fit."""
    top, stages = parser()
    arguments, unknown = top.parse_known_args(argv)
    if unknown:
        stages.choices[arguments.stage].error(f"unrecognized arguments: {' '.join(unknown)}")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    {"dump": _dump, "fit": _fit, "assign": _assign, "evaluate": _evaluate}[arguments.stage](arguments)


def parser() -> tuple[Parser, Any]:
    """The parser, and its action that holds the stages' own."""
    top = Parser(
        prog="ecg-cluster", description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    stages = top.add_subparsers(dest="stage", required=True, metavar="dump|fit|assign|evaluate")
    _dump_options(stages.add_parser("dump", help="features of every frame of every ECG").add_argument)
    add = stages.add_parser("fit", help="k-means models of one or several sizes").add_argument
    add("features", help="folder from dump")
    add("dest", help="folder for kmeans_<clusters>.npz")
    add("--clusters", type=int, nargs="+", required=True, metavar="K", help="such as 100 200 300")
    add("--files-per-batch", type=int, default=100, metavar="N", help="ECGs per step (100)")
    add("--seed", type=int, default=42, help="of the order of files and of the first centres (42)")
    add = stages.add_parser("assign", help="the cluster of every frame: what dataset.targets takes").add_argument
    add("features", help="folder from dump")
    add("dest", help="folder for the targets")
    add("--models", nargs="+", required=True, metavar="FILE", help="one per head: .npz, or a published .pkl")
    add("--raw", action="store_true", help="predict on features that are not scaled, as published")
    add = stages.add_parser("evaluate", help="SSE and cluster indices, elbow plot").add_argument
    add("features", help="folder from dump")
    add("dest", help="folder for quality.csv and elbow.png")
    add("--models", nargs="+", required=True, metavar="FILE", help="k-means files to compare")
    add("--per-batch", action="store_true", help="average over batches of 100 files, as published")
    return top, stages


def _dump_options(add: Callable[..., Any]) -> None:
    add("csv", nargs="+", help="tables with a column filename: those to train and to validate on")
    add("dest", help="folder for the features")
    add("--ecg-dir", metavar="DIR", help="folder of the .npy files; default: the first table's")
    add("--kind", choices=("time_freq", "mfcc", "mixed", "latent"), default="time_freq",
        help="16, 39 or 29 descriptors, or a model's hidden state (time_freq)")  # fmt: skip
    add("--sample-rate", type=int, choices=(500, 100, 50), default=100, help="Hz of the described shards (100)")
    add("--low-frequency", type=float, default=0.0, metavar="HZ",
        help="lower edge of the mel filters (0; published 20)")  # fmt: skip
    add("--deltas", choices=("frames", "shard"), default="frames",
        help="slopes of cepstra over neighbouring frames; within one they are 0, as published (frames)")  # fmt: skip
    add("--checkpoint", metavar="FILE", help="latent: the pretrained model")
    add("--layer", type=int, metavar="I", help="latent: 0 the first block's input, i the output of block i")
    add("--decimation", choices=("flat", "per_lead"), help="latent: default as the checkpoint was trained")
    add("--batch-size", type=int, default=32, metavar="N", help="latent: ECGs per forward pass (32)")
    add("--workers", type=int, default=0, metavar="N", help="processes that read and describe (0: this one)")
    add("--start", type=float, default=0.0, metavar="SHARE", help="first row, as a share of the table (0)")
    add("--end", type=float, default=1.0, metavar="SHARE", help="end, as a share of the table (1)")


def _dump(arguments: argparse.Namespace) -> None:
    from ecg_signals.clustering.features import DescriptorOptions
    from ecg_signals.clustering.stages import Records, dump_descriptors, dump_latents, filled_rows

    latent = arguments.kind == "latent"
    if latent != (arguments.checkpoint is not None) or latent != (arguments.layer is not None):
        raise UsageError("--kind latent takes --checkpoint FILE and --layer I; the other kinds take neither")
    records = Records.from_csv(arguments.csv, arguments.ecg_dir, arguments.start, arguments.end)
    if latent:
        how: dict[str, Any] = {key: getattr(arguments, key) for key in ("workers", "batch_size", "decimation")}
        packed = dump_latents(records, arguments.dest, arguments.checkpoint, arguments.layer, **how)
    else:
        options = DescriptorOptions(arguments.kind, arguments.sample_rate, arguments.low_frequency, arguments.deltas)
        packed = dump_descriptors(records, arguments.dest, options, arguments.workers)
    empty = len(packed.names) - len(filled_rows(packed))
    print(
        f"{len(packed.names)} ECGs x {' x '.join(map(str, packed.values.shape[1:]))} values in {packed.folder}"
        + (f"; {empty} without any value, which get no targets" if empty else "")
    )


def _fit(arguments: argparse.Namespace) -> None:
    from ecg_signals.clustering.kmeans import load_kmeans
    from ecg_signals.clustering.stages import fit, open_features

    features, together = open_features(arguments.features), arguments.files_per_batch
    for path in fit(features, arguments.dest, arguments.clusters, files_per_batch=together, seed=arguments.seed):
        info = load_kmeans(path).info
        print(f"{path}: {info['clusters']} clusters, {info['steps']} steps, SSE {info['sse']:.6g}")


def _assign(arguments: argparse.Namespace) -> None:
    from ecg_signals.clustering.stages import assign, open_features

    packed = assign(open_features(arguments.features), arguments.dest, arguments.models, raw=arguments.raw)
    sizes = "[" + ",".join(map(str, packed.settings["vocab_sizes"])) + "]"
    print(
        f"{len(packed.names)} ECGs in {packed.folder}. "
        f"Pretrain with dataset.targets={packed.folder} model.vocab_sizes={sizes}"
    )


def _evaluate(arguments: argparse.Namespace) -> None:
    from ecg_signals.clustering.stages import evaluate, open_features

    table = evaluate(open_features(arguments.features), arguments.dest, arguments.models, per_batch=arguments.per_batch)
    print(table.read_text().rstrip())
    print(f"plot: {table.parent / 'elbow.png'}")


if __name__ == "__main__":
    main()
