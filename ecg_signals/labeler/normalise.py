"""Report texts in one spelling: typing errors, abbreviations and ways to say the same thing.

The word lists are ECG-FM's (word_lists.json, MIT License, notice in ecg_fm.txt): McKeen et al. 2024, ECG-FM: An Open
Electrocardiogram Foundation Model, arXiv:2408.05178.
"""

import json
import re
from collections.abc import Mapping
from functools import cache, partial
from importlib.resources import files
from itertools import product
from typing import Any

from ecg_signals.labeler.phrases import Replacements, bordered, longest_first

_LEAD = r"\b(?:i{1,3}|av[rlf]|v[1-6])\b"
_LEADS = rf"{_LEAD}(?:[ ,]*{_LEAD})*"
_LEAD_LISTS = {  # what is said of a list of leads -> what is said of each
    rf"lead\(s\) unsuitable for analysis: ({_LEADS})": "lead {} unsuitable for analysis",
    rf"missing lead\(s\): ({_LEADS})": "missing lead {}",
    rf"artifact in lead\(s\) ({_LEADS})": "artifact in lead {}",
    rf"baseline wander in lead\(s\) ({_LEADS})": "baseline wander in lead {}",
    rf"lead\(s\) ({_LEADS}) were not used for morphology analysis": "lead {} not used for morphology analysis",
    rf"possible sequence error: ({_LEADS}) omitted": "lead {} omitted due to possible sequence error",
    rf"sequence error: ({_LEADS}) omitted": "lead {} omitted due to sequence error",
}
_FIRST = (  # behind lower case
    (r" (normal|abnormal|borderline)$", r" \1 ecg"),
    (r"`", " "),
    (r"\s*/\s*", "/"),
    (r"\b([a-z])\s?-?\s?wave(s?)\b", r"\1 wave\2"),
    (r"([a-z])wave", r"\1 wave"),
    (r"&", " and "),
    (r"\s+", " "),
    (r"(?<!\w)(deghree|deg)(?!\w)", "degree"),
)
_LAST = (  # behind the lists of leads
    (r"(supra|intra)(?:- | -|-| )ventricular", r"\1ventricular"),
    (r"(intra|inter)(?:- | -|-| )atrial", r"\1atrial"),
    (r"\*", " "),
    (r"\bv-\s*(\w\w+)", r"ventricular \1"),
    (r"\ba-\s*(\w\w+)", r"atrial \1"),
    (r"bundle(?! branch)", "bundle branch"),
    (r"-(sensing|pacing)", r" \1"),
)


def normalise(text: str) -> str:
    """A report in the spelling that the templates of MIMIC-IV-ECG expect."""
    words, text = _words(), first_stage(text)
    for old in longest_first(words["unbordered"]):
        text = text.replace(old, words["unbordered"][old])
    for old, new in words["bordered"].items():
        if old in text:
            text = bordered(old).sub(new, text)
    for pattern, new in words["regex"]:
        text = re.sub(pattern, new, text)
    for old, new in words["late"]:
        text = text.replace(old, new)
    text = _each_lead(text)
    for pattern, new in _LAST:
        text = re.sub(pattern, new, text)
    for replace in _combinations():
        text = replace(text)
    return text.strip()


def first_stage(text: str) -> str:
    """What needs capitals, and what the word lists build on; cuts what compares with an earlier ECG, or signs."""
    words = _words()
    cut = re.search("|".join(map(re.escape, words["cut_from"])), text, re.IGNORECASE)
    text = (text[: cut.start()] if cut else text).strip()
    for old, new in words["abbreviations"].items():
        text = bordered(old).sub(new, text)
    for acronym in words["plurals"]:
        text = bordered(f"{acronym}'s").sub(f"{acronym}s", text)
    for old, new in words["early"]:
        if old.lower() in text.lower():
            text = re.sub(re.escape(old), new, text, flags=re.IGNORECASE)
    text = text.lower()
    for pattern, new in _FIRST:
        text = re.sub(pattern, new, text)
    return text


def _each_lead(text: str) -> str:
    """One phrase per lead in place of a list of leads."""
    for pattern, each in _LEAD_LISTS.items():
        text = re.sub(pattern, partial(_phrases, each), text)
    return text


def _phrases(each: str, found: re.Match[str]) -> str:
    return "; ".join(each.format(lead) for lead in re.split("[ ,]+", found[1]))


@cache
def _words() -> dict[str, Any]:
    return json.loads(files("ecg_signals.labeler").joinpath("word_lists.json").read_text(encoding="utf-8"))


@cache
def _combinations() -> list[Replacements]:
    """Every choice of words, family by family."""
    families = _words()["combinations"].values()
    return [Replacements(combined(family["groups"], family["templates"])) for family in families]


def combined(groups: list[Mapping[str, str]], templates: Mapping[str, str]) -> dict[str, str]:
    """Every way to fill the templates.

    Args:
        groups: word -> its normal form; [0] in a template stands for a word of the first group.
        templates: what is looked for -> what stands in its place, where [0] is the normal form of the first word that
            was filled in, whichever group it is of.
    """
    found: dict[str, str] = {}
    for template, normal in templates.items():
        parts = re.split(r"\[(\d+)\]", template)
        for words in product(*(groups[int(number)].items() for number in parts[1::2])):
            phrase = parts[0] + "".join(word + after for (word, _), after in zip(words, parts[2::2]))
            pieces = re.split(r"\[(\d+)\]", normal)
            pieces[1::2] = [words[int(place)][1] for place in pieces[1::2]]
            found[phrase] = "".join(pieces)
    return found
