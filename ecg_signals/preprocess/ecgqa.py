"""ECG-QA's questions -> one small file each, and manifests: what dataset ecg_qa reads.

Source: Oh et al. 2023, ECG-QA, arXiv:2306.15681; the layout is that of its version 1.0.2.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals import limits
from ecg_signals.config import ConfigError, listed, parse_literal
from ecg_signals.data.manifest import write_manifest
from ecg_signals.data.text.tokenizer import Tokenizer
from ecg_signals.preprocess.mat_writer import write_mat
from ecg_signals.tables import read_table, write_table

SPLITS = ("train", "valid", "test")
FORMS = ("template", "paraphrased")
COMPARED = ("single", "comparison_consecutive", "comparison_irrelevant")  # what a question is about, and what it asks:
ASKED = ("verify", "choose", "query")
KINDS = ("scp_code", "noise", "stage_of_infarction", "extra_systole", "heart_axis", "numeric_feature")
NONE, UNSURE, RANGE = "none", "not sure", "the normal range"
PLACED = (  # findings whose attribute names the leads behind " in "
    "myocardial infarction in ", "subendocardial injury in ", "ischemic in ", "Myocardial infarction in ",
    "ischemic ST-T changes in ",
)  # fmt: skip
MOST_BYTES = 256 << 20  # of a file of questions
NEEDED = {"template_id": int, "question_type": str, "attribute_type": str, "question": str, "answer": list,
          "ecg_id": list, "ecg_path": list}  # fmt: skip
DOWNLOAD = "get ECG-QA from https://github.com/Jwoo5/ecg-qa and run its mapping script, which writes ecg_path"


@dataclass
class Question:
    """One question about one ECG or two, as ECG-QA has it; `attribute` is () where it names none."""

    template: int
    type: str
    kind: str
    text: str
    answer: list[str]
    ecg_ids: list[Any]
    paths: list[str]
    attribute: tuple[str, ...] = ()

    @property
    def compared(self) -> str:
        return self.type.rpartition("-")[0]

    @property
    def asked(self) -> str:
        return self.type.rpartition("-")[2]

    def types(self) -> tuple[int, int, int]:
        """What it compares; and what it asks; and of which kind of attribute: each number says what the last one says.

        Raises: ValueError for a type that ECG-QA does not have.
        """
        first = COMPARED.index(self.compared)
        second = len(ASKED) * first + ASKED.index(self.asked)
        return first, second, len(KINDS) * second + KINDS.index(self.kind)


def read_questions(folder: Path, split: str, form: str) -> Iterator[Question]:
    """Those of a split, in the order of the files' names; older versions have one file, <split>.json.

    Raises: ConfigError naming file and what is wrong with it.
    """
    for path in [*(folder / form).glob(f"{split}.json"), *sorted((folder / form / split).glob("*.json"))]:
        for number, found in enumerate(_content(path)):
            yield _question(found, f"{path}, question {number}")


def _content(path: Path) -> list[Any]:
    try:
        found = json.loads(limits.read_regular(path, MOST_BYTES))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}; {DOWNLOAD}") from None
    if not isinstance(found, list):
        raise ConfigError(f"{path} holds no list of questions; {DOWNLOAD}")
    return found


def _question(found: Any, where: str) -> Question:
    wrong = [key for key, kind in NEEDED.items() if not isinstance(found, dict) or not isinstance(found.get(key), kind)]
    if wrong:
        raise ConfigError(f"{where} has no {listed(wrong)} of the right kind; {DOWNLOAD}")
    lists = {key: [str(one) for one in found.get(key) or ()] for key in ("answer", "ecg_path", "attribute")}
    question = Question(
        found["template_id"], found["question_type"], found["attribute_type"], found["question"], lists["answer"],
        found["ecg_id"], lists["ecg_path"], tuple(lists["attribute"]),
    )  # fmt: skip
    if not 1 <= len(question.paths) <= 2:
        raise ConfigError(f"{where} is about {len(question.paths)} ECGs; expected one or two")
    try:
        question.types()
    except ValueError:
        raise ConfigError(
            f"{where} is of the type {question.type!r} on {question.kind!r}; expected {', '.join(COMPARED)}, each with "
            f"-{', -'.join(ASKED)}, on {', '.join(KINDS)}"
        ) from None
    return question


class Answers:
    """The answers there are, numbered without `none`, and those that each template may have."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "answers.csv"
        if not self.path.is_file():
            raise ConfigError(f"there is no answers.csv in {folder}; {DOWNLOAD}")
        names = [str(name) for name in read_table(self.path, ["index", "class"], text=["class"])["class"]]
        self.names = [name for name in names if name != NONE]
        self.numbers = {name: number for number, name in enumerate(self.names)}
        table = read_table(folder / "answers_for_each_template.csv", ["template_id", "classes"], text=["classes"])
        lists = {
            int(number): parse_literal(text, "classes") for number, text in zip(table["template_id"], table["classes"])
        }
        self.templates = {
            number: [self._number(name) for name in found if name != NONE] for number, found in lists.items()
        }

    def _number(self, name: str) -> int:
        if name not in self.numbers:
            raise ConfigError(f"the answer {limits.shown(name)!r} is not in {self.path}; {DOWNLOAD}")
        return self.numbers[name]

    def given(self, question: Question) -> np.ndarray:
        """[answers] 1 for those that are right."""
        found = np.zeros(len(self.names), dtype=np.int64)
        found[[self._number(name) for name in question.answer if name != NONE]] = 1
        return found

    def valid(self, question: Question) -> list[int]:
        """Numbers of those that the question may have."""
        if question.asked == "choose":
            if not question.attribute:
                raise ConfigError(f"{limits.shown(question.text)!r} names no attributes to choose among; {DOWNLOAD}")
            return sorted(self._number(choice(name)) for name in question.attribute)
        if question.template not in self.templates:
            raise ConfigError(f"template {question.template} is not in answers_for_each_template.csv; {DOWNLOAD}")
        return self.templates[question.template]


def choice(attribute: str) -> str:
    """An attribute as an answer: of a range without what it is the range of."""
    return attribute.split(" of ")[0] if RANGE in attribute else attribute


def without_leads(attribute: str) -> str:
    """A finding alone, where the attribute also names leads."""
    return attribute.split(" in ")[0] if attribute.startswith(PLACED) else attribute


def verified(question: Question) -> str | None:
    """What a question asks to be confirmed of one ECG, where that is known."""
    asks = question.type == "single-verify" and question.answer != [UNSURE] and question.attribute
    return without_leads(question.attribute[0]) if asks else None


def attribute_numbers(questions: Iterable[Question]) -> dict[str, int]:
    """Every attribute that single ECGs are asked to be confirmed of, numbered by name."""
    found = {without_leads(one.attribute[0]) for one in questions if one.type == "single-verify" and one.attribute}
    return {name: number for number, name in enumerate(sorted(found))}


@dataclass
class Records:
    """The ECGs below `folder` (None: paths as they stand); which of them cannot be used, and why."""

    folder: Path | None
    samples: dict[str, int] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)

    def place(self, path: str) -> str:
        return path if self.folder is None else str(self.folder.absolute() / path)

    def length(self, path: str) -> int | None:
        """Samples of a record; None for one that cannot be read or has gaps."""
        from ecg_signals.readers.read import read_record

        if path not in self.samples and path not in self.unusable:
            try:
                signal = read_record(self.place(path)).signal
                if np.isfinite(signal).all():
                    self.samples[path] = signal.shape[1]
                else:
                    self.unusable[path] = "it has gaps (NaN)"
            except ConfigError as error:
                self.unusable[path] = limits.shown(error, 300)
        return self.samples.get(path)


def ecgqa_step(
    root: Path, dest: Path, tokenizer: str, apply_paraphrase: bool, records: Path | None, attribute_ids: str
) -> None:
    """`ecg-preprocess ecgqa`: DEST/<split>.tsv and DEST/<split>/<number>.mat, and DEST/label_def.csv with the answers.

    Args:
        root: ECG-QA's folder of one data set, with answers.csv.
        records: the folder that ecg_path follows.
        attribute_ids: "all": numbers of attributes mean the same in all splits; "split": as published.
    """
    answers, pieces, found = Answers(root), Tokenizer(tokenizer), Records(records)
    form = FORMS[apply_paraphrase]
    questions = {split: list(read_questions(root, split, form)) for split in SPLITS}
    if not any(questions.values()):
        raise ConfigError(f"there are no questions in {root / form}/train, valid and test; {DOWNLOAD}")
    every = attribute_numbers(one for split in questions.values() for one in split)
    left = 0
    for split, own in questions.items():
        numbers = attribute_numbers(own) if attribute_ids == "split" else every
        rows: list[tuple[Any, ...]] = []
        for one in own:
            lengths = [found.length(path) for path in one.paths]
            if None in lengths:
                left += 1
                continue
            name = f"{len(rows)}.mat"
            write_mat(_made(dest / split) / name, _arrays(one, answers, numbers, found))
            rows.append((name, *lengths, len(pieces.encode(one.text))))
        if rows:
            write_manifest(dest / f"{split}.tsv", (dest / split).absolute(), rows)
            print(f"{dest / f'{split}.tsv'}: {len(rows)} questions")
    _write_names(dest / "label_def.csv", answers.names)
    report(found, left, "questions")


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _arrays(one: Question, answers: Answers, numbers: Mapping[str, int], records: Records) -> dict[str, Any]:
    attribute = verified(one)
    types = dict(zip(("question_type1", "question_type2", "question_type3"), one.types()))
    return {
        "ecg_path": np.array([records.place(path) for path in one.paths]),
        "question": one.text,
        "answer": answers.given(one),
        "valid_classes": np.array(answers.valid(one), dtype=np.int64),
        **types,
        "attribute_id": -1 if attribute is None else numbers[attribute],
    }


def _write_names(path: Path, names: Sequence[str]) -> None:
    import pandas as pd

    write_table(path, pd.DataFrame({"name": list(names)}))


def report(records: Records, left: int, what: str) -> None:
    """Says what was left out, and why. Raises: ConfigError where that is everything."""
    if not left:
        return
    first = "; ".join(f"{path}: {why}" for path, why in list(records.unusable.items())[:3])
    said = f"{left} {what} left out, as {len(records.unusable)} ECGs cannot be used ({first})"
    if not records.samples:
        raise ConfigError(f"{said}; --records FOLDER is the one that ecg_path follows")
    print(said)
