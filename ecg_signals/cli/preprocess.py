"""ecg-preprocess: raw records -> segments, labels, splits and manifests; or one of these steps alone."""

import argparse
import os
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from ecg_signals.cli.arguments import Parser, folder, taken, typed
from ecg_signals.cli.running import load_plugins, run_restartable, said_version
from ecg_signals.config import UsageError, field_default
from ecg_signals.limits import printable
from ecg_signals.registry import hint, installed_plugins, register_source
from ecg_signals.tables import comma_list, path_list

Add = Callable[..., Any]  # add_argument of a step's parser
HUBERT_HELP = """usage: ecg-preprocess hubert DATASET SOURCE DEST [--workers N] [key=value ...]

The records of any dataset that ecg-preprocess knows: band-passed, 500 Hz, twelve leads, each scaled to [-1, 1).
DEST gets processed/*.npy and manifest/{train,valid,test}.csv: filename, age, sex, strat_fold or patient_id where there
is one, then the labels. A second run does only what is missing. Options of a dataset: ecg-preprocess DATASET --help;
those that change the signal have no place here, but for dtype=float64, as published.

example:
  ecg-preprocess hubert ptbxl physionet.org/files/ptb-xl/1.0.3 data/ptbxl
  ecg-train --config-name hubert/finetune_ptbxl_all task.data=data/ptbxl/manifest dataset.ecg_dir=data/ptbxl/processed \
      model.model_path=CHECKPOINT"""
EXAMPLE = """example:
  ecg-preprocess ptbxl physionet.org/files/ptb-xl/1.0.3 data/ptbxl --workers 8
  ecg-train task.data=data/ptbxl/manifest/cmsc --config-name w2v_cmsc_rlm"""


def main() -> None:
    run_restartable(run)


def run(argv: list[str]) -> None:
    user_dir, argv = taken(argv)
    if not argv or argv[0] in ("-h", "--help"):
        load_plugins(user_dir)
        print(overview())
        if not argv:
            raise UsageError("name a dataset or a step, such as: ecg-preprocess ptbxl SOURCE DEST")
        return
    if said_version(argv[:1]):
        return
    if user_dir:
        load_plugins(user_dir)
    name, *rest = argv
    if name == "hubert":
        run_hubert(rest)
    elif name in STEPS:
        run_step(name, rest)
    else:
        check_dataset(name, "dataset or step", STEPS)
        run_dataset(name, rest)


def check_dataset(name: str, what: str, others: Iterable[str] = ()) -> None:
    """Raises: UsageError naming the nearest dataset; `others` are names that may stand there as well."""
    if name not in register_source.names():
        failed = "".join(f" {text}." for text in installed_plugins())
        known = sorted([*register_source.names(), *others])
        if name not in known:
            raise UsageError(f"unknown {what} '{name}'{hint(name, known)} There are: {', '.join(known)}{failed}")


def overview() -> str:
    lines = [
        "usage: ecg-preprocess DATASET SOURCE DEST [--workers N] [key=value ...]",
        "       ecg-preprocess STEP [options]",
        "",
        __doc__ or "",
        "",
        "datasets (ecg-preprocess DATASET --help lists the options of one):",
        *(f"  {entry.name:15} {entry.cls.title}" for entry in register_source.all()),
        "",
        "steps (ecg-preprocess STEP --help lists their options):",
        *(f"  {name:15} {purpose}" for name, (purpose, _, _) in STEPS.items()),
        "",
        "--user-dir PATH: folder or module that registers datasets or readers of your own.",
        "A second run does only what is missing. DEST gets records.csv, meta.csv, org/, segmented/, labels/, manifest/",
        "and skipped.csv, which says what was left out and why.",
        "",
        EXAMPLE,
    ]
    return "\n".join(lines)


def dataset_help(name: str) -> str:
    from ecg_signals.preprocess.options import option_fields

    entry = register_source.get(name)
    source = entry.cls
    lines = [
        f"usage: ecg-preprocess {name} SOURCE DEST [--workers N] [key=value ...]",
        "",
        f"{source.title}. {(source.__doc__ or '').strip()}".strip(),
        "",
        f"  {'SOURCE':20} {source.layout}",
        f"  {'DEST':20} the folder to write to; a second run does only what is missing there",
        f"  {'--workers N':20} processes (default: the processors there are); few records are read by one",
        "",
        "options:",
    ]
    for key, item in option_fields(entry.dataclass).items():
        default = field_default(item)
        shown = ",".join(map(str, default)) if isinstance(default, list) else typed(default)
        lines += [f"  {key}={shown}", f"      {item.metadata['help']}"]
    return "\n".join(lines)


def run_dataset(name: str, argv: list[str], for_hubert: bool = False) -> None:
    if "-h" in argv or "--help" in argv:
        print(dataset_help(name))
        return
    parser = Parser(prog=f"ecg-preprocess {name}", add_help=False)
    parser.add_argument("source", type=folder)
    parser.add_argument("dest", type=folder)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    settings = [word for word in argv if re.match(r"[A-Za-z_][\w.]*=", word) and not Path(word).exists()]
    args = parser.parse_args([word for word in argv if word not in settings])
    if args.workers < 1:
        raise UsageError(f"--workers is {args.workers}; it must be at least 1")
    from ecg_signals.preprocess.options import parse_options

    cfg = parse_options(settings, register_source.get(name).dataclass)
    if for_hubert:
        from ecg_signals.preprocess.hubert_records import preprocess_for_hubert as preprocess
    else:
        from ecg_signals.preprocess.pipeline import preprocess_dataset as preprocess
    print(printable(preprocess(name, args.source, args.dest, cfg, args.workers).text()))


def run_hubert(argv: list[str]) -> None:
    """`ecg-preprocess hubert DATASET SOURCE DEST`: arguments and options of the dataset, another result."""
    if not argv or argv[0] in ("-h", "--help"):
        print(HUBERT_HELP)
        if not argv:
            raise UsageError("name a dataset, such as: ecg-preprocess hubert ptbxl SOURCE DEST")
    else:
        check_dataset(argv[0], "dataset")
        run_dataset(argv[0], argv[1:], for_hubert=True)


def run_step(name: str, argv: list[str]) -> None:
    purpose, add_options, step = STEPS[name]
    parser = Parser(prog=f"ecg-preprocess {name}", description=purpose)
    add_options(parser.add_argument)
    step(parser.parse_intermixed_args(argv))


def add_split(add: Add) -> None:
    add("--strategy", required=True, help="random, grouped, temporal or grouped_temporal")
    add("--processed_root", required=True, type=Path, help="folder of the two tables, and of the results")
    add("--meta_file", default="meta.csv", help="table of records (default: meta.csv)")
    add("--segmented_file", default="segmented.csv", help="table of segments (default: segmented.csv)")
    add("--save_files_suffix", default="_split", help="added to both names (default: _split)")
    add("--fractions", default="0.8,0.1,0.1", type=_shares, help="share of each split (default: 0.8,0.1,0.1)")
    add("--split_labels", dest="labels", default="train,valid,test", type=comma_list, metavar="NAMES",
        help="names of the splits (default: train,valid,test)")  # fmt: skip
    add("--group_col", help="column whose equal values stay in one split, such as patient_id")
    add("--date_col", help="column of dates, for the temporal strategies")
    add(
        "--grouped_temporal_filter_strategy",
        dest="grouped_temporal_filter",
        default="train",
        help="where a record's split and its group's differ: True drops it, train (default) drops it if exactly one "
        "of the two is train, False keeps it",
    )
    add("--filter_cols", default="", type=comma_list,
        help="records with true in any of these columns are left out, e.g. nan_any,constant_leads_any")  # fmt: skip
    add("--dataset_subset", default="", type=comma_list, help="values of the column dataset to keep")
    add("--keep_cols", default="", type=comma_list, help="further columns for the split tables")
    add("--seed", type=int, default=0, help="the same seed gives the same splits (default: 0)")


def split(args: argparse.Namespace) -> None:
    from ecg_signals.preprocess.splits import SplitRules, split_step

    rules = SplitRules(**{item.name: getattr(args, item.name) for item in fields(SplitRules)})
    split_step(args.processed_root, args.meta_file, args.segmented_file, args.save_files_suffix, rules)


def _shares(text: str) -> list[float]:
    try:
        return [float(share) for share in comma_list(text)]
    except ValueError:
        raise UsageError(f"--fractions is '{text}'; expected numbers such as 0.8,0.1,0.1") from None


def add_labels(add: Add) -> None:
    add("--output_dir", dest="folder", required=True, type=Path, help="folder of y.npy, label_def.csv, pos_weight.txt")
    add(
        "--labels",
        dest="labels_file",
        required=True,
        type=Path,
        help="labels.csv: idx and one column of 0 and 1 per label",
    )
    add("--meta_splits", required=True, type=path_list, help="meta_split.csv of one or more datasets, with commas")
    add("--segmented_splits", default="", type=path_list, help="segmented_split.csv of the same datasets, with commas")
    add("--labeled_meta_splits_save_file", dest="meta_save", type=Path, metavar="FILE",
        help="where to write the records that have all labels")  # fmt: skip
    add("--labeled_segmented_splits_save_file", dest="segmented_save", type=Path, metavar="FILE",
        help="where to write their segments")  # fmt: skip
    add("--partial", action="store_true", help="also count records with some labels, each label where it is known")
    add("--undefined_weight", dest="undefined", type=float, default=1.0, metavar="W",
        help="weight of a label without training positives (default: 1)")  # fmt: skip


def labels(args: argparse.Namespace) -> None:
    from ecg_signals.preprocess.labels import labels_step

    labels_step(**vars(args))


def add_manifest(add: Add) -> None:
    add(
        "--split_file_paths",
        required=True,
        type=path_list,
        help="segmented_split.csv of one or more datasets, with commas",
    )
    add("--save_dir", required=True, type=Path, help="folder of the manifests")


def manifest(args: argparse.Namespace) -> None:
    from ecg_signals.preprocess.manifests import manifest_step

    manifest_step(args.split_file_paths, args.save_dir)


def add_pairs(add: Add) -> None:
    add("root", type=Path, help="folder of the manifests; each .tsv gets a counterpart")
    add("--dest", required=True, type=Path, help="the results go to DEST/cmsc")
    add("--ext", default="mat", help="extension of the segment files (default: mat)")
    add("--allow_gaps", action="store_true", help="pair what follows in number, even if segments between are missing")


def pairs(args: argparse.Namespace) -> None:
    from ecg_signals.preprocess.manifests import pairs_step

    for name, count in pairs_step(args.root, args.dest, args.ext, args.allow_gaps).items():
        print(f"{args.dest / 'cmsc' / name}: {count} pairs")


def add_subset(add: Add) -> None:
    add("--manifest_dir", required=True, type=Path, help="folder with train.tsv")
    add("--percent", required=True, type=float, help="share of the records to keep, 0 to 1")
    add("--save_dir", type=Path, help="a new folder (default: MANIFEST_DIR/PERCENT)")
    add("--seed", type=int, default=0, help="the same seed gives the same records (default: 0)")


def subset(args: argparse.Namespace) -> None:
    from ecg_signals.preprocess.manifests import subset_step

    subset_step(args.manifest_dir, args.percent, args.save_dir, args.seed)


def add_identify(add: Add) -> None:
    add_manifest(add)
    add("--group_col", default="patient_id", help="column that names the person (default: patient_id)")
    add("--within_records", action="store_true", help="two segments of one record are enough")


def identify(args: argparse.Namespace) -> None:
    from ecg_signals.preprocess.identification import identification_step

    identification_step(args.split_file_paths, args.group_col, args.save_dir, args.within_records)


def add_dump(add: Add) -> None:
    add("source", type=Path, help="folder of the dataset, or a dump to make another of")
    add("dest", type=Path, help="the dump: .npy (records of one length; others are left out) or .npz (any length)")
    add("--dataset", help="its name, such as ptb-xl (default: as folder or dump is called)")
    add("--interpolate-nans", action="store_true", help="bridge missing values by straight lines")
    add("--remove-baseline-wander", action="store_true", help="high-pass at 0.5 Hz, behind the bridges, which it needs")
    add("--dtype", default="float16", choices=("float16", "float32"), help="of the values (default: float16)")
    add("--folds", type=int, nargs="+", default=[], help="PTB-XL: only records of these strat_folds, in table order")
    add("--rows-of", type=Path, metavar="DUMP", help="take the records from this dump of all of SOURCE's table")
    add("--incomplete", action="store_true", help="CODE-15: only the records that are padded with zeros, cut")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: the processors there are)")


def dump(args: argparse.Namespace) -> None:
    from ecg_signals.preprocess.dumps import DumpRules, dataset_of, dump_step

    rules = DumpRules(
        dataset=dataset_of(args.source, args.dataset),
        variable=args.dest.suffix == ".npz",
        incomplete=args.incomplete,
        fill=args.interpolate_nans,
        steady=args.remove_baseline_wander,
        dtype=args.dtype,
        folds=tuple(args.folds),
    )
    print(printable(dump_step(args.source, args.dest, rules, args.workers, args.rows_of)))


def add_statistics(add: Add) -> None:
    add("dump", type=Path, help=".npy or .npz")
    add("--out", type=Path, help="JSON to write, for dataset.statistics (default: DUMP.json, which is found by itself)")
    add("--ddof", type=int, choices=(0, 1), help="subtracted from the number of values (default: 1 for .npy, else 0)")


def statistics(args: argparse.Namespace) -> None:
    from ecg_signals.preprocess.dumps import statistics_step

    notes = statistics_step(args.dump, args.out, args.ddof)
    for name, values in (("mean", notes.mean), ("std", notes.std)):
        print(f"{name} (mV): {' '.join(f'{value:.6g}' for value in values or [])}")


def add_prepare(add: Add) -> None:
    add("folder", type=Path, help="folder with raw/: record files of any format, and maybe one CSV about them")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: the processors there are)")
    add("options", nargs="*", default=[], help="key=value: source_rate=250, labels=normal,afib, others: files --help")


def prepare(args: argparse.Namespace) -> None:
    from ecg_signals.preprocess.options import parse_options
    from ecg_signals.preprocess.training_folder import FolderConfig, prepare_folder

    print(printable(prepare_folder(args.folder, parse_options(args.options, FolderConfig), args.workers).text()))


def add_windows(add: Add) -> None:
    add("source", type=Path, help="folder of WFDB records (.hea with their signal files) at any depth")
    add("dest", type=Path, help="folder of the windows; what is there already is kept")
    add("--index", type=Path, help="the table of windows (default: DEST/index.csv)")
    add("--seconds", type=float, default=10.0, help="length of a window; shorter records are left out (default: 10)")
    add("--format", default="npy", choices=("npy", "pkl"), help="pkl is what ST-MEM itself reads (default: npy)")
    add("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: the processors there are)")


def windows(args: argparse.Namespace) -> None:
    from ecg_signals.preprocess.windows import cut_records

    if not 0 < args.seconds < float("inf") or args.workers < 1:
        raise UsageError(f"--seconds is {args.seconds} and --workers {args.workers}; expected more than 0")
    index = args.index or args.dest / "index.csv"
    told = cut_records(args.source, args.dest, index, seconds=args.seconds, form=args.format, workers=args.workers)
    print(printable(told))


def add_ecgqa(add: Add) -> None:
    add("root", type=Path, help="ECG-QA's folder of one data set, with answers.csv, template/ and paraphrased/")
    add("--dest", required=True, type=Path, help="folder of the manifests, and of a folder of files for each split")
    add("--apply_paraphrase", action="store_true", help="the paraphrased questions instead of the templates'")
    add("--records", type=Path, help="folder that the questions' ecg_path follows (default: as it stands)")


def add_questions(add: Add) -> None:
    add_ecgqa(add)
    add("--tokenizer", required=True, help="folder or vocab.txt of bert-base-uncased, to count tokens with")
    add("--attribute_ids", default="all", choices=("all", "split"),
        help="number attributes over all splits (default), or in each of them, as published")  # fmt: skip


def questions(args: argparse.Namespace) -> None:
    from ecg_signals.preprocess.ecgqa import ecgqa_step

    ecgqa_step(**vars(args))


def add_grounding(add: Add) -> None:
    add_ecgqa(add)
    add("--posterior", default="v1_v3", choices=("v1_v3", "v4_v6"),
        help="which leads posterior ones are: V1 to V3 (default), or V4 to V6, as published")  # fmt: skip


def grounding(args: argparse.Namespace) -> None:
    from ecg_signals.preprocess.ecgqa_grounding import grounding_step

    grounding_step(**vars(args))


def add_settings(add: Add) -> None:
    add("folder", type=Path, help="folder that `ecg-preprocess prepare` made")
    add("--run", required=True, type=Path, help="folder of the run; refused if one there started from other labels")
    add("--model", help="HuBERT-ECG checkpoint, folder or hub name to start from (default: random weights)")


def settings(args: argparse.Namespace) -> None:
    from ecg_signals.preprocess.training_settings import training_settings

    found = training_settings(args.folder, args.run, args.model)
    for remark in found.remarks:
        print(f"note: {remark}", file=sys.stderr)
    print(" ".join(found.words))


STEPS: dict[str, tuple[str, Any, Any]] = {  # what it is for, what adds its options and what does it; see `run_hubert`
    "split": ("divide records into train, valid and test", add_split, split),
    "labels": ("labels.csv -> y.npy, label_def.csv, pos_weight.txt", add_labels, labels),
    "manifest": ("split tables of one or more datasets -> train.tsv, valid.tsv, test.tsv", add_manifest, manifest),
    "pairs": ("manifests -> CMSC manifests, two neighbouring segments per row", add_pairs, pairs),
    "subset": ("a random share of the records of train.tsv", add_subset, subset),
    "hubert": ("a dataset's whole records as HuBERT-ECG reads them: processed/*.npy, manifest/train.csv, ...",
        None, None),
    "prepare": ("FOLDER/raw/*.npy -> FOLDER/processed and tables to type labels into (make prepare-data)",
        add_prepare, prepare),
    "settings": ("settings of ecg-train for such a folder, once the labels are typed (make train)",
        add_settings, settings),
    "windows": ("a tree of WFDB records -> windows without gaps, one file each, and an index: ST-MEM's data",
        add_windows, windows),
    "dump": ("a dataset's whole records -> one .npy or .npz, as dataset jepa_dump and ECG-JEPA read it; or dump -> "
        "dump", add_dump, dump),
    "statistics": ("mean and standard deviation per lead of such a dump", add_statistics, statistics),
    "identify": ("split tables -> identification manifests: train.tsv, valid_gallery.tsv, valid_probe.tsv, ...",
        add_identify, identify),
    "ecgqa": ("ECG-QA's questions -> manifests and one file each, as dataset ecg_qa reads them",
        add_questions, questions),
    "ecgqa_grounding": ("ECG-QA's questions -> which attributes which leads show (finetune/grounding)",
        add_grounding, grounding),
}  # fmt: skip


if __name__ == "__main__":
    main()
