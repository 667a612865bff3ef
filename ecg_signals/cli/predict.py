"""ecg-predict: record files to probabilities per label."""

import argparse
import json
from pathlib import Path

from ecg_signals.cli.app import load_plugins, run_command
from ecg_signals.cli.arguments import Parser, add_reading, reading
from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.limits import printable


def main() -> None:
    run_command(run)


def run(argv: list[str]) -> None:
    """Print the predictions; ends with status 1 if a record has none."""
    failed = predict(parser().parse_args(argv))
    raise SystemExit(1 if failed else 0)


def parser() -> Parser:
    parser = Parser(
        prog="ecg-predict",
        description="Cut record files into the windows a model was trained on, and print the probability of every "
        "label, per record: the mean over windows, or their maximum where the published protocol says so.",
        epilog="example: ecg-predict records500/00000/00001_hr --json "
        "--model runs/demo/finetune/checkpoints/checkpoint_best.pt",
    )
    parser.add_argument(
        "records",
        nargs="+",
        metavar="RECORD",
        help="DICOM, SCP-ECG, HL7 aECG, MUSE, CardioSoft or Philips XML, ISHNE, EDF, WFDB, .mat, .hdf5, .npy, table",
    )
    parser.add_argument("--model", required=True, metavar="M", help="checkpoint, Hugging Face folder, or org/name")
    parser.add_argument("--json", action="store_true", help="a list with one object per record, windows included")
    parser.add_argument("--plot", metavar="DIR", help="also draw every record with its probabilities, to DIR/*.png")
    parser.add_argument(
        "--explain", metavar="LABEL", help="what the answer for a label rests on, by lead and time; top: the first one"
    )
    parser.add_argument("--labels", metavar="FILE", help="label_def.csv, or one name per line, if the model has none")
    parser.add_argument("--device", default=None, help="cpu, cuda, ...; the GPU if there is one")
    add_reading(parser)
    parser.add_argument("--force", action="store_true", help="answer also unusable records: flat, noise, not in mV")
    parser.add_argument(
        "--signal-format", dest="format", metavar="F", help="16, 212 ...: of a bare signal file; with --gain, --leads"
    )
    parser.add_argument("--gain", type=float, metavar="G", help="counts per mV of such a file")
    parser.add_argument("--personal", action="store_true", help="also print names and ids that the files hold")
    parser.add_argument("--user-dir", metavar="PATH", help="folder or module that registers the model, if your own")
    return parser


def predict(arguments: argparse.Namespace) -> int:
    """Print the predictions. Returns the number of records without one."""
    from ecg_signals.inference.predict import Predictor, as_dict, as_text
    from ecg_signals.runtime.placement import compute_device

    load_plugins(arguments.user_dir)
    device = compute_device(arguments.device)
    predictor = Predictor(arguments.model, device, read_labels(arguments.labels) if arguments.labels else None)
    options = reading(arguments, "format", "gain", "personal")
    if arguments.explain:
        predictor.check_label(arguments.explain)
    predictions = [predictor.predict(path, arguments.force, arguments.explain, **options) for path in arguments.records]
    if arguments.json:
        print(json.dumps([as_dict(prediction) for prediction in predictions], indent=2))
    else:
        print(printable(as_text(predictions)))
    if arguments.plot:
        from ecg_signals.inference.pictures import save_pictures

        save_pictures(predictions, Path(arguments.plot), arguments.model, **options)
    return sum(prediction.error is not None for prediction in predictions)


def read_labels(path: str) -> list[str]:
    """The names in a label_def.csv, or the lines of a text file."""
    file = resolve_input(path)
    if not file.is_file():
        raise ConfigError(f"--labels {path} does not exist; give a label_def.csv or a file with one name per line")
    if file.suffix == ".csv":
        from ecg_signals.data.label_file import read_label_names

        return read_label_names(file)
    return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


if __name__ == "__main__":
    main()
