"""ecg-test: a fine-tuned HuBERT-ECG on a CSV of labels. Performance per label, with test-time augmentation."""

import argparse

from ecg_signals.cli.arguments import Parser, run_command

EXAMPLE = """example:
  ecg-test test.csv --model checkpoint_best.pt --ecg-dir ecgs --label-start-index 4 --tta --n-augs 7
results: OUT/performance/performance_<save-id>[_max].csv, with --intervals performance_<save-id>_intervals.csv, with
--save-probs OUT/probs/<csv>/probs_<batch>_bs<size>.npy"""


def main() -> None:
    run_command(run)


def run(argv: list[str]) -> None:
    """Evaluate one model. Raises: ConfigError when model and table do not fit."""
    arguments = parser().parse_args(argv)

    from ecg_signals.checkpoint.load import load_model
    from ecg_signals.inference.csv_test import EvaluationOptions, run_test
    from ecg_signals.runtime.placement import compute_device

    options = EvaluationOptions(
        csv=arguments.csv,
        ecg_dir=arguments.ecg_dir,
        out=arguments.out,
        task=arguments.task,
        label_start_index=arguments.label_start_index,
        batch_size=arguments.batch_size,
        workers=arguments.workers,
        crops=arguments.n_augs if arguments.tta else 0,
        aggregation=arguments.tta_aggregation,
        seed=arguments.seed,
        save_id=arguments.save_id,
        save_probabilities=arguments.save_probs,
        rounds=arguments.intervals,
        challenge_weights=arguments.challenge_weights,
        published_zeros=arguments.published_zeros,
    )
    print(f"written: {run_test(load_model(arguments.model, device=compute_device()), options)}")


def parser() -> Parser:
    top = Parser(
        prog="ecg-test", description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = top.add_argument
    add("csv", help="table with a column filename, label columns last")
    add("--model", required=True, metavar="FILE", help="checkpoint or folder of a fine-tuned model")
    add("--ecg-dir", metavar="DIR", help="folder of the .npy files; default: the CSV's")
    add("--out", default=".", metavar="DIR", help="folder for results (.)")
    add("--task", choices=("multi_label", "multi_class", "regression"), help="(what the model was trained for)")
    add("--label-start-index", type=int, default=3, metavar="N", help="columns before the labels (3)")
    add("--batch-size", type=int, default=64, metavar="N", help="ECGs per batch (64)")
    add("--workers", type=int, default=0, metavar="N", help="processes that read ECGs (0: this one)")
    add("--tta", action="store_true", help="average over random 5 s crops of 10 s")
    add("--n-augs", type=int, default=3, metavar="N", help="crops with --tta (3)")
    add("--tta-aggregation", choices=("mean", "max"), default="mean", help="of the crops' probabilities (mean)")
    add("--save-id", default="test", metavar="NAME", help="part of the result files' names (test)")
    add("--save-probs", action="store_true", help="store the probabilities of every batch")
    add("--intervals", type=int, default=0, metavar="N", help="95 %% bootstrap intervals of N rounds (0: none)")
    add("--challenge-weights", metavar="FILE", help="also the Challenge score of 2020, with this table of weights")
    add("--published-zeros", action="store_true", help="undefined values are 0 instead of empty, as published")
    add("--seed", type=int, default=42, help="of crops and of the bootstrap (42)")
    return top


if __name__ == "__main__":
    main()
