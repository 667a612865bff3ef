"""What a model said about one record, and how it is printed."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ecg_signals.inference.reasons import Reason
from ecg_signals.quality.assess import Quality
from ecg_signals.signal.meanings import meaning

PRESENT, ABSENT, UNCERTAIN, NOT_VALIDATED = "present", "absent", "uncertain", "not validated"
SHOWN = 5  # labels without a decision that the text names


@dataclass
class Prediction:
    """What a model says about one record.

    Attributes:
        record: the file.
        probabilities: label -> one number for the record, 0 to 1 (a value, for a regression).
        windows: one dict per window: `start` and `end` in seconds, `probabilities` by label.
        warnings: what was unusual about the record, such as a missing lead.
        error: why there is no prediction, None if there is one.
        notes: what must stand beside the numbers: terms of the weights, how little a model was trained on.
        patient: names and ids of the record's file, where they were asked for.
        reasons: why a label got its probability, where that was asked for.
        calibrated: whether they are probabilities; else they are scores, which order records and say no more.
        facts: what the record is: `format`, `sha256`, `seconds`, `rate`, `leads`, `derived`, `start`.
        quality: how far the record can be trusted, None where it could not be read.
        decisions: one dict per label: `threshold`, `interval` and `decision`.
    """

    record: str
    probabilities: dict[str, float] = field(default_factory=dict)
    windows: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    notes: list[str] = field(default_factory=list)
    patient: dict[str, str] = field(default_factory=dict)
    reasons: list[Reason] = field(default_factory=list)
    calibrated: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    quality: Quality | None = None
    decisions: list[dict[str, Any]] = field(default_factory=list)

    @property
    def word(self) -> str:
        """What its numbers are called."""
        return "probability" if self.calibrated else "score"


def as_dict(prediction: Prediction) -> dict[str, Any]:
    """The short form for json, without decisions; `error` and what is known of the record's quality alone when there is
    no prediction.
    """
    quality = {"quality": prediction.quality.to_dict()} if prediction.quality else {}
    if prediction.error:
        return {"record": prediction.record, "error": prediction.error, **quality}
    kept = ("record", "probabilities", "windows", "warnings", "notes")
    found = {key: getattr(prediction, key) for key in kept} | quality
    found |= {"patient": prediction.patient} if prediction.patient else {}
    return found | ({"reasons": [reason.to_dict() for reason in prediction.reasons]} if prediction.reasons else {})


def as_text(predictions: Iterable[Prediction]) -> str:
    """One block per record: its quality, what is decided, what is not; then what holds for all of them."""
    predictions = list(predictions)
    said = dict.fromkeys(f"note: {note}" for prediction in predictions for note in prediction.notes)
    return "\n\n".join([*map(_block, predictions), *(["\n".join(said)] if said else [])])


def _block(prediction: Prediction) -> str:
    lines = [prediction.record]
    quality = [f"  quality: {prediction.quality.line()}"] if prediction.quality else []
    if prediction.error:
        return "\n".join([*lines, *quality, f"  error: {prediction.error}"])
    lines[0] += f": {len(prediction.windows)} window{'s' if len(prediction.windows) != 1 else ''}"
    lines += quality
    lines += [f"  {key}: {value}" for key, value in prediction.patient.items()]
    lines += [f"  warning: {text}" for text in prediction.warnings]
    lines += _decided(prediction) if prediction.calibrated else _scores(prediction)
    for reason in prediction.reasons:
        lines += [f"  why {reason.label}: {reason.words()}", f"    {reason.ranked()}"]
    return "\n".join(lines)


def _scores(prediction: Prediction) -> Iterator[str]:
    """All labels by falling score, with the lowest and highest window behind them."""
    width = max(map(len, prediction.probabilities))
    yield "  scores, not calibrated:"
    for label, value in sorted(prediction.probabilities.items(), key=lambda item: -item[1]):
        every = [window["probabilities"][label] for window in prediction.windows]
        span = f"  windows {min(every):.3f} to {max(every):.3f}" if len(every) > 1 else ""
        yield f"  {label:<{width}}  {value:.3f}{span}"


def _decided(prediction: Prediction) -> Iterator[str]:
    """What is present and what is uncertain, by falling probability; of the rest how many, and the first of those that
    nothing is decided of.
    """
    named = list(zip(prediction.probabilities.items(), prediction.decisions))
    ranked = sorted(named, key=lambda item: -item[0][1])
    width = max(map(len, prediction.probabilities))
    by = {kind: [(name, value, found) for (name, value), found in ranked if found["decision"] == kind]
          for kind in (PRESENT, UNCERTAIN, NOT_VALIDATED, ABSENT)}  # fmt: skip
    for kind in (PRESENT, UNCERTAIN):
        yield f"  {kind}: none" if not by[kind] else f"  {kind}:"
        for name, value, found in by[kind]:
            ends = "" if found["interval"] is None else " ({:.2f} to {:.2f})".format(*found["interval"])
            about = meaning(name)
            said = f"  {about.text}" if about else ""
            yield f"    {name:<{width}}  {value:.3f}{ends}, present from {found['threshold']:.3f}{said}"
    yield f"  {len(by[ABSENT])} others below threshold"
    if by[NOT_VALIDATED]:
        first = ", ".join(f"{name} {value:.3f}" for name, value, _ in by[NOT_VALIDATED][:SHOWN])
        more = " ..." if len(by[NOT_VALIDATED]) > SHOWN else ""
        yield f"  {len(by[NOT_VALIDATED])} not validated: {first}{more}"
