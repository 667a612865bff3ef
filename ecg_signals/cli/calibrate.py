"""ecg-calibrate: what makes probabilities of a checkpoint's answers, from validation records, into the checkpoint."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecg_signals.cli.arguments import Parser
from ecg_signals.cli.running import load_plugins, run_command
from ecg_signals.config import UsageError

if TYPE_CHECKING:
    from ecg_signals.metrics.calibrated import Calibration

EXAMPLE = "example: ecg-calibrate runs/demo/finetune/checkpoints/checkpoint_best.pt --data runs/demo/data"


def main() -> None:
    run_command(run)


def parser() -> Parser:
    parser = Parser(
        prog="ecg-calibrate",
        description="Ask a classifier about validation records, and store beside its weights what makes probabilities "
        "of its answers: one slope for all labels, an offset per label, thresholds with what they reach, and how many "
        "of similar answers were right. The weights stay as they are; fine-tuning from the file drops it.",
        epilog=EXAMPLE,
    )
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help="checkpoint file, or Hugging Face folder")
    parser.add_argument("--data", required=True, metavar="DIR", help="manifests, or what ecg-preprocess wrote")
    parser.add_argument("--subset", default="valid", metavar="NAME", help="manifest of the validation records (valid)")
    parser.add_argument("--method", choices=("affine", "isotonic"), default="affine",
                        help="isotonic: labels of 500 positive records and more get a curve (affine)")  # fmt: skip
    parser.add_argument("--out", metavar="DEST", help="write a copy; else the checkpoint itself is replaced, whole or "
                        "not at all")  # fmt: skip
    parser.add_argument("--device", default=None, help="cpu, cuda, ...; the GPU if there is one")
    parser.add_argument("--user-dir", metavar="PATH", help="folder or module that registers the model, if your own")
    parser.add_argument("settings", nargs="*", metavar="key=value", help="more settings as for ecg-validate, such as "
                        "task.label_file=FILE")  # fmt: skip
    return parser


def run(argv: list[str]) -> None:
    """Calibrate one checkpoint. Raises: ConfigError for what does not fit together."""
    arguments = parser().parse_args(argv)
    load_plugins(arguments.user_dir)
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from ecg_signals.checkpoint.convert import check_calibrates, store_calibration
    from ecg_signals.checkpoint.load import load_source
    from ecg_signals.inference.calibrate import answers_to, calibrate, log_pos_weight_of

    try:
        settings: Any = OmegaConf.to_container(OmegaConf.from_dotlist(arguments.settings))
    except OmegaConfBaseException as error:
        raise UsageError(f"{' '.join(arguments.settings)} are no settings key=value: {error}") from None
    dest = Path(arguments.out or arguments.checkpoint)
    source = load_source(arguments.checkpoint)
    check_calibrates(source, arguments.checkpoint, dest)
    found = answers_to(arguments.checkpoint, source, arguments.data, arguments.subset, settings, arguments.device)
    made = calibrate(found, log_pos_weight_of(source, found.targets.shape[1]), arguments.method)
    store_calibration(source, made, dest)
    print(tell(made), f"written: {dest}", sep="\n")


def tell(made: "Calibration") -> str:
    stored = made.stored
    validated = sum(points is not None for points in stored["thresholds"])
    labels = len(made.log_pos_weight)
    worse = stored["ece_after"] >= min(stored["ece_before"], stored["ece_uncalibrated"])
    warning = "\nwarning: unseen patients gain nothing by it; these records are too few, give more of them" * worse
    return (
        f"{stored['n_records']} records of {stored['n_patients']} patients ({stored['subset']})\n"
        f"expected calibration error: {stored['ece_before']:.4f} as trained, {stored['ece_uncalibrated']:.4f} without "
        f"pos_weight, {stored['ece_after']:.4f} calibrated (patients that the fit has not seen)\n"
        f"slope {stored['a']:.3f}; {validated} of {labels} labels are validated, with 10 records that have them and 10 "
        f"that lack them; others are answered 'not validated'{warning}"
    )


if __name__ == "__main__":
    main()
