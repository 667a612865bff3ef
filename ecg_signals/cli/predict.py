"""ecg-predict: record files to answers per label."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from ecg_signals.cli.arguments import Parser, add_reading, reading
from ecg_signals.cli.running import load_plugins, run_command
from ecg_signals.config import ConfigError, UsageError, resolve_input
from ecg_signals.limits import printable

if TYPE_CHECKING:
    from ecg_signals.inference.predict import Prediction, Predictor

FORMATS = ("text", "json", "csv")
POINTS = ("f1", "youden", "sens90", "spec95")  # as in metrics/calibrated.py, which takes a second to import


def main() -> None:
    run_command(run)


def run(argv: list[str]) -> None:
    """Print the predictions; ends with status 1 if a record has none."""
    failed = predict(parser().parse_args(argv))
    raise SystemExit(1 if failed else 0)


def parser() -> Parser:
    parser = Parser(
        prog="ecg-predict",
        description="Cut record files into the windows a model was trained on, and answer for every label, per record: "
        "the mean over windows, or their maximum where the published protocol says so. A model that ecg-calibrate has "
        "seen answers with probabilities and decisions, another with scores, which order records.",
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
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--format", choices=FORMATS, default="text",
                      help="json: a list of answers, answer.schema.json; csv: a row per record (text)")  # fmt: skip
    form.add_argument("--json", action="store_true", help="the short form of earlier versions: numbers and windows")
    parser.add_argument("--plot", metavar="DIR", help="also draw every record with its answers, to DIR/*.png")
    parser.add_argument(
        "--explain", metavar="LABEL", help="what the answer for a label rests on, by lead and time; top: the first one"
    )
    parser.add_argument("--threshold", choices=POINTS, default=POINTS[0],
                        help="what decides: the best F1, the best Youden index, sensitivity 90 %% or specificity 95 %% "
                        "on the validation records (f1)")  # fmt: skip
    parser.add_argument("--prevalence", action="append", default=[], metavar="LABEL=P",
                        help="share of the people asked about who have a label, where it is another than among the "
                        "validation records; once for each label")  # fmt: skip
    parser.add_argument("--published", action="store_true",
                        help="answer by the plain sigmoid, as the project does whose file it is")  # fmt: skip
    parser.add_argument("--labels", metavar="FILE", help="label_def.csv, or one name per line, if the model has none")
    parser.add_argument("--question", metavar="TEXT", help="what to ask a model that answers questions of every record")
    parser.add_argument("--tokenizer", metavar="FILE", help="the vocabulary that it was trained with, task.tokenizer")
    parser.add_argument("--second", metavar="RECORD", help="a record with which the question compares every record")
    parser.add_argument("--device", default=None, help="cpu, cuda, ...; the GPU if there is one")
    add_reading(parser)
    parser.add_argument("--force", action="store_true", help="answer also unusable records: flat, noise, not in mV")
    parser.add_argument(
        "--signal-format", dest="signal", metavar="F", help="16, 212 ...: of a bare signal file; with --gain, --leads"
    )
    parser.add_argument("--gain", type=float, metavar="G", help="counts per mV of such a file")
    parser.add_argument("--personal", action="store_true", help="also print names and ids that the files hold")
    parser.add_argument("--user-dir", metavar="PATH", help="folder or module that registers the model, if your own")
    return parser


def predict(arguments: argparse.Namespace) -> int:
    """Print the predictions. Returns the number of records without one."""
    from ecg_signals.inference.asking import Question
    from ecg_signals.inference.predict import TOP, Predictor
    from ecg_signals.runtime.placement import compute_device

    load_plugins(arguments.user_dir)
    device = compute_device(arguments.device)
    predictor = Predictor(
        arguments.model,
        device,
        read_labels(arguments.labels) if arguments.labels else None,
        published=arguments.published,
        prevalence=dict(map(_share, arguments.prevalence)),
        point=arguments.threshold,
        question=Question(arguments.question, arguments.tokenizer, arguments.second),
    )
    options = reading(arguments, "gain", "personal") | ({"format": arguments.signal} if arguments.signal else {})
    if arguments.explain:
        predictor.check_label(arguments.explain, also=[TOP])
    predictions = [predictor.predict(path, arguments.force, arguments.explain, **options) for path in arguments.records]
    print(_printed(predictions, predictor, "short" if arguments.json else arguments.format))
    if arguments.plot:
        from ecg_signals.inference.pictures import save_pictures

        save_pictures(predictions, Path(arguments.plot), arguments.model, **options)
    return sum(prediction.error is not None for prediction in predictions)


def _printed(predictions: "list[Prediction]", predictor: "Predictor", form: str) -> str:
    from ecg_signals.inference.answer import answer, as_table
    from ecg_signals.inference.prediction import Prediction, as_dict, as_text

    if form == "text":
        return printable(as_text(predictions))
    if form == "csv":
        from ecg_signals.tables import table_text

        word = Prediction("", calibrated=predictor.calibrated).word
        return table_text(as_table(predictions, predictor.labels, word)).rstrip("\n")
    short = form == "short"
    found = [as_dict(each) if short else answer(each, predictor.about) for each in predictions]
    return json.dumps(found, indent=2)


def _share(text: str) -> tuple[str, float]:
    """LABEL=0.02 as a pair; a label may hold a = itself."""
    label, sign, share = text.rpartition("=")
    try:
        return (label, float(share)) if sign and label else _no_share(text)
    except ValueError:
        return _no_share(text)


def _no_share(text: str) -> NoReturn:
    raise UsageError(f"--prevalence {text} is not of the form LABEL=P, such as AFIB=0.02")


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
