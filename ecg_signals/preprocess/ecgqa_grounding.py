"""ECG-QA's questions about one ECG -> what is true of which leads: its upper-bound experiment, for dataset ecg_path.

Source: Oh et al. 2023, ECG-QA, arXiv:2306.15681.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ecg_signals.config import ConfigError
from ecg_signals.data.manifest import write_manifest
from ecg_signals.preprocess.ecgqa import (
    DOWNLOAD,
    FORMS,
    RANGE,
    SPLITS,
    UNSURE,
    Question,
    Records,
    read_questions,
    report,
    without_leads,
)
from ecg_signals.preprocess.mat_writer import write_mat
from ecg_signals.signal.leads import LEADS
from ecg_signals.tables import write_table

Leads = tuple[int, ...]
ALL: Leads = tuple(range(12))
LIMB, CHEST = ALL[:6], ALL[6:]
GROUPS: dict[str, Leads] = {
    "limb": LIMB, "chest": CHEST, "frontal": LIMB, "horizontal": CHEST, "diffuse": ALL, "frontal and horizontal": ALL,
    "inferior": (1, 2, 5), "inferoseptal": (1, 2, 5, 6, 7), "inferolateral": (0, 1, 2, 4, 5, 10, 11),
    "inferoposterior": (1, 2, 5, 6, 7, 8), "inferoposterolateral": (0, 1, 2, 4, 5, 6, 7, 8, 10, 11),
    "anterior": (8, 9), "anteroseptal": (6, 7, 8, 9), "anterolateral": (0, 4, 8, 9, 10, 11),
    "lateral": (0, 4, 10, 11), "septal": (6, 7),
}  # fmt: skip
POSTERIOR: dict[str, Leads] = {"v1_v3": (6, 7, 8), "v4_v6": (9, 10, 11)}
VOLTAGES = (  # attributes whose leads are asked for by limb and chest, not one by one
    "voltage criteria (qrs) for left ventricular hypertrophy", "low qrs voltages in the frontal and horizontal leads",
    "high qrs voltage",
)  # fmt: skip
NO_STAGE = ("unknown stage of myocardial infarction", "none of myocardial infarction")  # which no question confirms


class Fact(NamedTuple):
    """Whether an ECG shows an attribute in some leads."""

    ecg: str
    path: str
    leads: Leads
    attribute: str
    true: bool


def facts_of(question: Question, groups: dict[str, Leads]) -> Iterator[Fact]:
    """What the answer to a question about one ECG says; what is said without certainty is left out."""
    if question.compared != "single" or question.answer == [UNSURE] or not question.attribute:
        return
    for fact in _every_fact(question, groups):
        if fact.true and "including uncertain symptoms" in question.text:
            continue
        if fact.true or "excluding uncertain symptoms" not in question.text:
            yield fact


def _every_fact(question: Question, groups: dict[str, Leads]) -> Iterator[Fact]:
    ecg, path = str(question.ecg_ids[0]), question.paths[0]
    if question.asked == "query" and "What leads" in question.text:
        (attribute, *_), answered = question.attribute, set(question.answer)
        single = {f"lead {lead}": number for number, lead in enumerate(LEADS)}
        places = [(f"{name} leads", groups[name]) for name in ("limb", "chest")]
        if attribute not in VOLTAGES:
            places = [(name, (number,)) for name, number in single.items()]
        for name, leads in places:
            shown = name in answered or answered.issuperset(one for one, number in single.items() if number in leads)
            yield Fact(ecg, path, leads, _class(attribute), shown)
        return
    if question.asked == "query" and question.answer[:1] in ([one] for one in NO_STAGE):
        return
    for attribute in question.attribute:
        if question.asked == "verify" or attribute not in NO_STAGE:
            leads = _place(question.text, attribute, groups)
            yield Fact(ecg, path, leads, _class(attribute), _is_true(question, attribute))


def _class(attribute: str) -> str:
    """A finding alone; infarction in some leads has one name in both versions, as published."""
    return without_leads(attribute.replace("Myocardial infarction in ", "myocardial infarction in "))


def _is_true(question: Question, attribute: str) -> bool:
    if question.asked == "verify":
        return question.answer == ["yes"]
    if question.asked == "query" and "What numeric features " in question.text:  # "the normal range of" which they are
        return attribute.partition(" of ")[2] in question.answer
    if RANGE in attribute:  # which is answered as "below", "within" or "above the normal range"
        return any(answer[:5] == attribute[:5] for answer in question.answer)
    return attribute in question.answer


def _place(text: str, attribute: str, groups: dict[str, Leads]) -> Leads:
    """The leads that a question is about: one that it names, a group, that of its attribute, else all."""
    names = {lead.lower(): number for number, lead in enumerate(LEADS)}
    single = re.search(r" in lead (\w+)", text)
    if single and single[1].lower() in names:
        return (names[single[1].lower()],)
    group = re.search(r" in (limb|chest) leads", text)
    group = group or re.search(rf"{re.escape(attribute)} in (?:the )?([\w ]+?) leads", text)
    group = group or re.search(r" in (?:the )?([\w ]+?) leads", attribute)
    return groups.get(group[1], ALL) if group else ALL


def settled(facts: Iterable[Fact]) -> tuple[set[Fact], int]:
    """Every fact once; where an attribute is both confirmed and denied, it is denied. And how often that was so."""
    found = set(facts)
    denied = {fact._replace(true=True) for fact in found if not fact.true}
    return found - denied, len(found & denied)


def grounding_step(root: Path, dest: Path, apply_paraphrase: bool, records: Path | None, posterior: str) -> None:
    """`ecg-preprocess ecgqa_grounding`: DEST/<split>.tsv, DEST/<split>/<ecg>_<leads>.mat, DEST/grounding_class.csv.

    The classes are the attributes of the test split. Questions that choose among attributes or ask for them count in
    training and validation alone.

    Args:
        posterior: which leads "posterior leads" are, a key of POSTERIOR.
    """
    import pandas as pd

    groups = {**GROUPS, "posterior": POSTERIOR[posterior]}
    facts: dict[str, set[Fact]] = {}
    for split in SPLITS:
        questions = read_questions(root, split, FORMS[apply_paraphrase])
        taken = (one for one in questions if split != "test" or one.asked == "verify")
        facts[split], both = settled(fact for one in taken for fact in facts_of(one, groups))
        if both:
            print(f"{split}: {both} attributes were both confirmed and denied of the same leads; they count as denied")
    classes = sorted({fact.attribute for fact in facts["test"]})
    if not classes:
        raise ConfigError(
            f"no question of {root}'s test split asks one ECG to be confirmed of an attribute; {DOWNLOAD}"
        )
    found, left = Records(records), 0
    for split, own in facts.items():
        rows, missing = _write(dest / split, own, classes, found)
        left += missing
        if rows:
            write_manifest(dest / f"{split}.tsv", (dest / split).absolute(), rows)
            print(f"{dest / f'{split}.tsv'}: {len(rows)} places in ECGs")
    write_table(dest / "grounding_class.csv", pd.DataFrame({"index": range(len(classes)), "class": classes}))
    report(found, left, "places")


def _write(folder: Path, facts: set[Fact], classes: list[str], records: Records) -> tuple[list[tuple[str, int]], int]:
    """One file for each place in an ECG; -> rows of the manifest, and how many could not be written."""
    numbers = {name: number for number, name in enumerate(classes)}
    places: dict[tuple[str, Leads], list[Fact]] = defaultdict(list)
    for fact in facts:
        if fact.attribute in numbers:
            places[fact.ecg, fact.leads].append(fact)
    rows, left = [], 0
    folder.mkdir(parents=True, exist_ok=True)
    for (ecg, leads), own in sorted(places.items()):
        length = records.length(own[0].path)
        if length is None:
            left += 1
            continue
        name = f"{ecg}_{'entire' if leads == ALL else '_'.join(map(str, leads))}.mat"
        write_mat(folder / name, _arrays(own, leads, numbers, records))
        rows.append((name, length))
    return rows, left


def _arrays(facts: list[Fact], leads: Leads, numbers: dict[str, int], records: Records) -> dict[str, Any]:
    asked = sorted((numbers[fact.attribute], int(fact.true)) for fact in facts)
    indices = np.array([index for index, _ in asked], dtype=np.int64)
    return {
        "ecg_path": records.place(facts[0].path),
        "lead": np.array(leads, dtype=np.int64),
        "target_idx": indices,
        "label": np.array([true for _, true in asked], dtype=np.int64),
        "attribute_id": indices,
    }
