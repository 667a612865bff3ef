"""ecg-test: a fine-tuned model on a CSV of labels. Performance per label, with test-time augmentation."""

import argparse
from dataclasses import fields

from ecg_signals.cli import bootstrap
from ecg_signals.cli.arguments import Parser
from ecg_signals.cli.running import load_plugins, run_command
from ecg_signals.sections import ABSENT

EXAMPLE = """example:
  ecg-test test.csv --model checkpoint_best.pt --ecg-dir ecgs --label-start-index 4 --tta --n-augs 7
results: OUT/performance/performance_<save-id>[_max].csv, with --intervals performance_<save-id>_intervals.csv, with
--save-probs OUT/probs/<csv>/probs_<batch>_bs<size>.npy
ecg-test bootstrap FILE...: intervals of predictions that are there already, of several runs; see its --help"""


def main() -> None:
    run_command(run)


def run(argv: list[str]) -> None:
    """Evaluate one model. Raises: ConfigError when model and table do not fit."""
    if argv[:1] == ["bootstrap"]:
        bootstrap.run(argv[1:])
        return
    arguments = parser().parse_args(argv)
    load_plugins(arguments.user_dir)

    from ecg_signals.checkpoint.load import load_model
    from ecg_signals.evaluation.table import TableOptions, run_table
    from ecg_signals.runtime.placement import compute_device

    given = {**vars(arguments), "crops": arguments.crops if arguments.tta else 0}
    options = TableOptions(**{item.name: given[item.name] for item in fields(TableOptions)})
    outcome = run_table(load_model(arguments.model, device=compute_device()), options)
    print(*outcome.said, f"written: {outcome.path}", sep="\n")


def parser() -> Parser:
    top = Parser(
        prog="ecg-test", description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = top.add_argument
    add("csv", help="table with a column filename, label columns last or named as the model's labels")
    add("--model", required=True, metavar="FILE", help="checkpoint or folder of a fine-tuned model")
    add("--ecg-dir", metavar="DIR", help="folder of the files, records or prepared .npy; default: the CSV's")
    add("--out", default=".", metavar="DIR", help="folder for results (.)")
    add("--task", choices=("multi_label", "multi_class", "regression"), help="(what the model was trained for)")
    add("--label-start-index", type=int, default=3, metavar="N", help="columns before the labels (3)")
    add("--batch-size", type=int, default=64, metavar="N", help="ECGs per batch (64)")
    add("--workers", type=int, default=0, metavar="N", help="processes that read ECGs (0: this one)")
    add("--tta", action="store_true", help="average over random windows out of twice a window (5 s crops of 10 s)")
    add("--n-augs", dest="crops", type=int, default=3, metavar="N", help="crops with --tta (3)")
    add("--tta-aggregation", dest="aggregation", choices=("mean", "max", "mean_logits"), metavar="HOW",
        help="mean or max of probabilities, mean_logits of logits (mean; of windows as the model says)")  # fmt: skip
    add("--save-id", default="test", metavar="NAME", help="part of the result files' names (test)")
    add("--save-probs", dest="save_probabilities", action="store_true", help="store the probabilities of every batch")
    add("--metrics", nargs="+", metavar="NAME", help="of `ecg-list metric` (the usual ones)")
    add("--intervals", dest="rounds", type=int, default=0, metavar="N",
        help="95 %% bootstrap intervals of N rounds (0: none)")  # fmt: skip
    add("--challenge-weights", metavar="FILE", help="also the Challenge score of 2020, with this table of weights")
    add("--absent", choices=ABSENT, default="skip",
        help="what a label that defines no value counts in means: nothing, what a blind guess gets, 0, or the mean is "
             "not defined (skip)")  # fmt: skip
    add("--published-zeros", dest="absent", action="store_const", const="zero",
        help="--absent zero, as published: undefined values are 0 instead of empty")  # fmt: skip
    add("--user-dir", metavar="PATH", help="folder or module that registers the model or a metric, if your own")
    add("--seed", type=int, default=42, help="of crops and of the bootstrap (42)")
    return top


if __name__ == "__main__":
    main()
