"""ecg-calibrate: what makes probabilities of a checkpoint's answers, from validation records, into the checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecg_signals.cli.arguments import Parser, add_reading, reading
from ecg_signals.cli.running import load_plugins, run_command
from ecg_signals.config import UsageError

if TYPE_CHECKING:
    from ecg_signals.metrics.calibrated import Calibration

METHODS = ("affine", "isotonic", "temperature")  # as in inference/calibrate.py, which takes long to import
EXAMPLE = "example: ecg-calibrate runs/demo/finetune/checkpoints/checkpoint_best.pt --data runs/demo/data"


def main() -> None:
    run_command(run)


def parser() -> Parser:
    parser = Parser(
        prog="ecg-calibrate",
        description="Ask a classifier about validation records, and store beside its weights what makes probabilities "
        "of its answers: one slope for all labels and an offset per label, or a temperature where it chooses a class; "
        "thresholds with what they reach, and how many of similar answers were right. The weights stay as they are; "
        "fine-tuning from the file drops it.",
        epilog=EXAMPLE,
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint file, or Hugging Face folder")
    parser.add_argument("--data", required=True, metavar="DATA", help="manifests, or what ecg-preprocess wrote, or a "
                        ".csv of record files: path, patient_id, and 0 or 1 per label")  # fmt: skip
    parser.add_argument("--subset", default="valid", metavar="NAME", help="manifest of the validation records (valid)")
    parser.add_argument("--method", choices=METHODS, help="affine: slope and offsets (labels); isotonic: labels of "
                        "500 positive records and more also get a curve; temperature (classes)")  # fmt: skip
    add_reading(parser)
    parser.add_argument("--out", metavar="DEST", help="write a copy; else the checkpoint itself is replaced, whole or "
                        "not at all")  # fmt: skip
    parser.add_argument("--device", default=None, help="cpu, cuda, ...; the GPU if there is one")
    parser.add_argument("--user-dir", metavar="PATH", help="folder or module that registers the model, if your own")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="more settings as for ecg-validate, such as "
                        "task.label_file=FILE")  # fmt: skip
    return parser


def run(argv: list[str]) -> None:
    """Calibrate one checkpoint. Raises: ConfigError for what does not fit together."""
    arguments = parser().parse_intermixed_args(argv)  # settings may stand behind options
    load_plugins(arguments.user_dir)
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from ecg_signals.checkpoint.convert import check_calibrates, store_calibration
    from ecg_signals.checkpoint.load import load_source
    from ecg_signals.inference.calibrate import answers_to, calibrate, log_pos_weight_of
    from ecg_signals.inference.validation_files import answers_to_files

    try:
        settings: Any = OmegaConf.to_container(OmegaConf.from_dotlist(arguments.settings))
    except OmegaConfBaseException as error:
        raise UsageError(f"{' '.join(arguments.settings)} are no settings key=value: {error}") from None
    dest = Path(arguments.out or arguments.checkpoint)
    source = load_source(arguments.checkpoint)
    check_calibrates(source, arguments.checkpoint, dest)
    options = reading(arguments)
    if arguments.data.lower().endswith(".csv"):
        if settings:
            raise UsageError(f"{' '.join(arguments.settings)}: settings are for manifests, not for a table of files")
        found = answers_to_files(arguments.checkpoint, source, arguments.data, arguments.device, **options)
    elif options:
        raise UsageError(f"--{' --'.join(options)}: for the record files of a .csv, not for manifests")
    else:
        found = answers_to(arguments.checkpoint, source, arguments.data, arguments.subset, settings, arguments.device)
    made = calibrate(found, log_pos_weight_of(source, found.targets.shape[1]), arguments.method)
    store_calibration(source, made, dest)
    print(tell(made), f"written: {dest}", sep="\n")


def tell(made: "Calibration") -> str:
    from ecg_signals.metrics.likeness import LEAST

    stored = made.stored
    validated = sum(points is not None for points in stored["thresholds"])
    labels = len(made.log_pos_weight)
    worse = stored["ece_after"] >= min(stored["ece_before"], stored["ece_uncalibrated"])
    warning = "\nwarning: unseen patients gain nothing by it; these records are too few, give more of them" * worse
    of, free = "", f", {stored['ece_uncalibrated']:.4f} without pos_weight"
    fitted = f"slope {stored['a']:.3f}"
    if stored["method"] == "temperature":
        of, free, fitted = " of the most probable class", "", f"temperature {1 / stored['a']:.3f}"
    unlike = "ecg-predict warns of records unlike these"
    if stored["likeness"] is None:
        unlike = f"ecg-predict cannot tell records unlike these, which takes {LEAST} of them and a vector for each"
    return (
        f"{stored['n_records']} records of {stored['n_patients']} patients ({stored['subset']})\n"
        f"expected calibration error{of}: {stored['ece_before']:.4f} as trained{free}, "
        f"{stored['ece_after']:.4f} calibrated (patients that the fit has not seen)\n"
        f"{fitted}; {validated} of {labels} labels are validated, with 10 records that have them and 10 "
        f"that lack them; others are answered 'not validated'\n{unlike}{warning}"
    )


if __name__ == "__main__":
    main()
