"""ecg-label: report texts -> labels with probabilities."""

import argparse
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from ecg_signals.cli.arguments import Parser
from ecg_signals.cli.running import run_command

if TYPE_CHECKING:
    from ecg_signals.labeler.reports import Reports

EXAMPLE = """examples:
  ecg-label machine_measurements.csv --out labels
  ecg-label machine_measurements.csv --labels ecg_fm --hard --published --out labels  # as ECG-FM was fine-tuned
  ecg-preprocess mimic_iv_ecg SOURCE DEST label_file=labels/labels.csv
results: OUT/labels.csv, the probability of every label; OUT/label_def.csv, how often each was found; OUT/matches.csv,
what was found in which text, and what was not understood"""


def main() -> None:
    run_command(run)


def parser() -> Parser:
    parser = Parser(
        prog="ecg-label",
        description="Find what ECG reports say: patterns in the text, with negation and doubt, and what follows from "
        "them in a graph of findings. A record without a report has no labels: they are unknown, not absent.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("reports", metavar="REPORTS", help="MIMIC-IV-ECG's machine_measurements.csv, another .csv with a column report "
        "or text (such as a meta.csv), a .json list, a text file with a report per line, or a folder of record files, "
        "whose recorders' own statements are read")  # fmt: skip
    add("--templates", metavar="DIR", help="entity_tem.json, entity_pat.json and others (ECG-FM's for MIMIC-IV-ECG)")
    add("--out", default="labels", metavar="DIR", help="folder for the results (labels)")
    add("--column", metavar="NAME", help="of the .csv, that holds the reports")
    add("--labels", metavar="FILE", help="these labels in this order: label_def.csv, or a name per line; ecg_fm: the "
        "17 of ECG-FM's fine-tuned model (all, sorted)")  # fmt: skip
    add("--hard", action="store_true", help="1 for every label found, however doubtful, instead of probabilities")
    add("--as-is", action="store_true", help="the texts are in the templates' spelling already")
    add("--published", action="store_true", help="as ECG-FM published it: negation has no effect, and doubt only "
        "beside a connective")  # fmt: skip
    return parser


def run(argv: list[str]) -> None:
    """Label one file of reports. Raises: ConfigError for files that cannot be read, or labels that no template has."""
    label(parser().parse_args(argv))


def label(arguments: argparse.Namespace) -> None:
    from ecg_signals.cli.predict import read_labels
    from ecg_signals.config import resolve_input
    from ecg_signals.labeler import reports as files
    from ecg_signals.labeler.templates import MIMIC_IV_ECG, read_templates
    from ecg_signals.limits import check_no_input
    from ecg_signals.tables import write_table

    path, out = resolve_input(arguments.reports), Path(arguments.out).expanduser()
    check_no_input([out / name for name in ("labels.csv", "label_def.csv", "matches.csv")], [path])
    templates = read_templates(resolve_input(arguments.templates) if arguments.templates else MIMIC_IV_ECG)
    chosen = str(MIMIC_IV_ECG / "label_def.csv") if arguments.labels == "ecg_fm" else arguments.labels
    names = read_labels(chosen) if chosen else None
    for name in names or ():
        templates.check_label(name)
    reports = recorders_statements(path) if path.is_dir() else files.read_reports(path, arguments.column)
    found = files.label_reports(reports, templates, published=arguments.published, as_is=arguments.as_is)
    table = files.label_table(reports, found, names, arguments.hard)
    for name, content in {
        "labels": table, "label_def": files.label_counts(table), "matches": files.matches_table(reports, found)
    }.items():  # fmt: skip
        write_table(out / f"{name}.csv", content)
    said = [labelled for labelled in found if labelled.labels]
    without = sum(not text.strip() for text in reports.texts)
    counts = f"{len(found)} records, {len(said)} with labels, {without} without a report"
    print(f"{counts}; {table.shape[1] - 1} labels -> {out}")


def recorders_statements(folder: Path) -> "Reports":
    """What recorders wrote into their own files below a folder, a report each; files that cannot be read are named.

    Raises: ConfigError for a folder without record files.
    """
    from ecg_signals.config import ConfigError
    from ecg_signals.labeler.reports import Reports
    from ecg_signals.readers.read import read_record
    from ecg_signals.registry import register_source

    source = register_source.get("files")
    texts: dict[str, str] = {}
    for name in source.cls(folder, source.dataclass()).paths():
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of signals, which are not looked at
                texts[name] = "; ".join(read_record(folder / name).statements)
        except ConfigError as error:
            warnings.warn(str(error), stacklevel=2)
    if not texts:
        raise ConfigError(f"{folder} holds no record file that can be read; give recorders' files, or a .csv")
    return Reports("path", list(texts), list(texts.values()))


if __name__ == "__main__":
    main()
