"""Pictures of predictions: the record on a sheet of paper with what a model says of it, and why."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ecg_signals.inference.predict import Prediction
from ecg_signals.inference.reasons import Reason
from ecg_signals.limits import name_below
from ecg_signals.readers.read import read_record
from ecg_signals.sheet.layout import layout
from ecg_signals.sheet.panel import MOST, PANEL, Value, with_cells, with_values
from ecg_signals.sheet.paper import Sheet
from ecg_signals.sheet.style import Style
from ecg_signals.sheet.write import write
from ecg_signals.signal.record import Record

PAGE_SECONDS = 10.0  # of a sheet that shows a reason


def answered(record: Record, prediction: Prediction, title: str | None = None, model: str = "") -> Sheet:
    """The record, and below it the labels with the highest numbers; a thin line spans the single windows."""
    shown = sorted(prediction.probabilities.items(), key=lambda item: -item[1])[:MOST]
    values = []
    for name, value in shown:
        every = [window["probabilities"][name] for window in prediction.windows]
        values.append(Value(name, value, (min(every), max(every)) if len(every) > 1 else None))
    count = len(prediction.windows)
    caption = "; ".join([f"{prediction.word}, {count} window{'s' if count != 1 else ''}", *prediction.notes])
    style, line = Style(panel=PANEL, patient=bool(record.patient)), _quality(prediction)
    return with_values(layout(record, style, _title(prediction, title), model, line), values, caption)


def unanswered(record: Record, prediction: Prediction) -> Sheet:
    """A record that could be read but has no prediction, and what is wrong with it."""
    return layout(record, Style(patient=bool(record.patient)), _title(prediction, None), quality=_quality(prediction))


def explained(
    record: Record, prediction: Prediction, reason: Reason, title: str | None = None, model: str = ""
) -> Sheet:
    """All leads over the ten seconds that matter most, cells behind them, and a bar per lead below."""
    style = Style("12x1", panel=PANEL, start=reason.page(PAGE_SECONDS), patient=bool(record.patient))
    sheet = layout(record, style, f"{_title(prediction, title)}: why {reason.label}?", model, _quality(prediction))
    ranked = sorted(reason.leads.items(), key=lambda item: -abs(item[1]))[:MOST]
    kept = [name for name in reason.leads if name in dict(ranked)]
    values = [Value(name, reason.leads[name], signed=True) for name in kept]
    said = f"{reason.label} {prediction.probabilities[reason.label]:.2f}"
    return with_values(with_cells(sheet, reason.cells), values, f"{said}; {reason.words()}")


def _title(prediction: Prediction, title: str | None) -> str:
    return Path(prediction.record).name if title is None else title


def _quality(prediction: Prediction) -> str:
    return prediction.quality.headline() if prediction.quality else ""


def save_pictures(
    predictions: Sequence[Prediction], folder: Path, model: str | os.PathLike[str] = "", **reading: Any
) -> list[Path]:
    """A picture of each record that could be read, with its prediction if it has one, `folder`/<name of the
    record>.png, numbered where names repeat; and of each reason, NAME_why_LABEL.png.

    Args:
        model: where the model comes from; its last part stands at the foot.
        reading: options of `read_record` with which the records were read.
    Raises: CannotWrite if `folder` cannot be written.
    """
    paths: list[Path] = []
    taken: set[str] = set()  # in one case: some disks know no other
    maker = Path(model).name
    for prediction in predictions:
        if prediction.error and not prediction.quality:
            continue
        name = name_below(Path(prediction.record).name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they are told with the prediction
            record = read_record(prediction.record, **reading)
        answer = unanswered(record, prediction) if prediction.error else answered(record, prediction, model=maker)
        drawn = {name: answer}
        for reason in prediction.reasons:
            drawn[f"{name}_why_{name_below(reason.label).replace('/', '_')}"] = explained(
                record, prediction, reason, model=maker
            )
        for stem, sheet in drawn.items():
            path = _free(folder, stem, taken)
            paths += write([sheet], path, advice="Give --plot another folder")
    return paths


def _free(folder: Path, stem: str, taken: set[str]) -> Path:
    """A name of a picture that none has yet."""
    path, number = folder / f"{stem}.png", 1
    while str(path).casefold() in taken:
        number += 1
        path = folder / f"{stem}_{number}.png"
    taken.add(str(path).casefold())
    return path
