"""The answer as other programs take it: JSON by `ecg_signals/answer.schema.json`, and a table with a row per record."""

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from ecg_signals import __version__
from ecg_signals.inference.prediction import NOT_VALIDATED, PRESENT, UNCERTAIN, Prediction
from ecg_signals.quality.assess import Quality
from ecg_signals.signal.meanings import Meaning, meaning
from ecg_signals.tables import Table

VERSION = 1  # of the form


def schema() -> dict[str, Any]:
    """The JSON schema of an answer, and of a list of them."""
    found: dict[str, Any] = json.loads(files("ecg_signals").joinpath("answer.schema.json").read_text("utf-8"))
    return found


def answer(prediction: Prediction, about: Mapping[str, Any]) -> dict[str, Any]:
    """One record's answer; `error` in place of `labels` where there is none.

    Args:
        about: `Predictor.about`.
    """
    found: dict[str, Any] = {
        "version": VERSION,
        "record": {"file": prediction.record, **prediction.facts},
        "quality": prediction.quality.to_dict() if prediction.quality else None,
        "model": dict(about),
        "warnings": [_told(text, prediction.record) for text in prediction.warnings],
        "notes": prediction.notes,
        "software": {"name": "ecg-signals", "version": __version__},
    }
    if prediction.patient:
        found["patient"] = prediction.patient
    if prediction.error:
        return found | {"error": prediction.error}
    return found | {
        "windows": [[window["start"], window["end"]] for window in prediction.windows],
        "labels": [_label(prediction, name, place) for place, name in enumerate(prediction.probabilities)],
        "reasons": [reason.to_dict() for reason in prediction.reasons],
    }


def _told(text: str, file: str) -> str:
    """A warning without the file's name before it: the same record in another file has the same answer."""
    head, colon, rest = text.partition(": ")
    return rest if colon and head.endswith(file) else text


def _label(prediction: Prediction, name: str, place: int) -> dict[str, Any]:
    about = meaning(name)
    return {
        "name": name,
        "meaning": None if about is None else about.text,
        "code": None if about is None else _code(about),
        prediction.word: prediction.probabilities[name],
        **prediction.decisions[place],
        "windows": [window["probabilities"][name] for window in prediction.windows],
    }


def _code(about: Meaning) -> dict[str, str] | None:
    """SNOMED CT's, else SCP-ECG's."""
    if about.snomed_ct:
        return {"system": "http://snomed.info/sct", "code": about.snomed_ct}
    return {"system": "SCP-ECG", "code": about.scp_ecg} if about.scp_ecg else None


def as_table(predictions: Sequence[Prediction], labels: Sequence[str], word: str) -> Table:
    """One row per record: what it is, what is decided, and the number of every label.

    Args:
        labels: of the model.
        word: what their numbers are called.
    """
    import pandas as pd

    return pd.DataFrame([_row(prediction, labels, word) for prediction in predictions])


def _row(prediction: Prediction, labels: Sequence[str], word: str) -> dict[str, Any]:
    facts, quality = prediction.facts, prediction.quality or Quality("", {}, [])
    chosen = {kind: [name for name, found in zip(prediction.probabilities, prediction.decisions)
                     if found["decision"] == kind] for kind in (PRESENT, UNCERTAIN, NOT_VALIDATED)}  # fmt: skip
    return {
        "file": prediction.record,
        "error": prediction.error or "",
        **{key: facts.get(key) for key in ("format", "sha256", "seconds", "rate", "start")},
        **prediction.patient,
        "quality": quality.verdict,
        "quality texts": "; ".join([*filter(None, [quality.swap]), *quality.texts]),
        "warnings": "; ".join(prediction.warnings),
        **{kind: " ".join(names) for kind, names in chosen.items() if kind != NOT_VALIDATED},
        **{f"{word} {name}": prediction.probabilities.get(name) for name in labels},
    }
