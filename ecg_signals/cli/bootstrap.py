"""ecg-test bootstrap: the macro AUROC of files of predictions, with intervals, each alone and all together."""

import argparse
import json
from pathlib import Path

from ecg_signals.cli.arguments import Parser
from ecg_signals.limits import check_no_input

EXAMPLE = """examples:
  ecg-test bootstrap run_0/predictions.npz run_1/predictions.npz --rounds 1000
  ecg-test bootstrap eval/ --published --seed 7   (as ECG-JEPA's scripts.bootstrap_test_set)
a FILE is a predictions_<split>.csv of ecg-validate, or an .npz with <split>_targets and <split>_predictions, such as
common_eval.predictions=FILE writes; patients that the former names are drawn with all their records"""


def run(argv: list[str]) -> None:
    """Raises: ConfigError for files that are no predictions of one test set."""
    arguments = parser().parse_args(argv)
    from ecg_signals.evaluation.bootstrap import bootstrap_files
    from ecg_signals.tables import write_text

    if arguments.out:
        check_no_input([Path(arguments.out)], [Path(name) for name in arguments.files])
    found = bootstrap_files(
        arguments.files,
        split=arguments.split,
        rounds=arguments.rounds,
        seed=arguments.seed,
        published=arguments.published,
        against=arguments.against,
    )
    print(*found.said(), sep="\n")
    if arguments.out:
        content = {**found.summary(), "scores": found.scores.tolist(), "seed": arguments.seed}
        write_text(Path(arguments.out), json.dumps(content, indent=2) + "\n")
        print(f"written: {arguments.out}")


def parser() -> Parser:
    top = Parser(
        prog="ecg-test bootstrap",
        description=__doc__,
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = top.add_argument
    add("files", nargs="+", metavar="FILE", help="predictions, or folders of them")
    add("--split", default="test", metavar="NAME", help="whose predictions are taken of an .npz (test)")
    add("--rounds", type=_positive, default=100, metavar="N", help="resamples per file (100)")
    add("--seed", type=int, default=42, help="of the resamples (42)")
    add(
        "--against",
        metavar="FILE",
        help="one of the files: also how the others differ from it, on the same resamples (paired bootstrap)",
    )
    add("--published", action="store_true",
        help="ECG-JEPA's arithmetic: one stream of random numbers through the files in the order given, items drawn "
             "whatever their labels, no score for a resample without positives of a label")  # fmt: skip
    add("--out", metavar="FILE", help="also write everything to a .json")
    return top


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("expected 1 or more")
    return number
