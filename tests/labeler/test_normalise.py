"""Report texts in one spelling."""

import json

import pytest

from ecg_signals.labeler.normalise import combined, first_stage, normalise


@pytest.fixture(scope="module")
def expected(golden):
    return json.loads((golden / "labeler_text/expected_fixed.json").read_text())


def test_texts_are_spelt_as_ecg_fm_spells_them(expected):
    assert [normalise(report["raw"]) for report in expected] == [report["text"] for report in expected]


def test_the_first_stage_is_ecg_fms(expected):
    assert [first_stage(report["raw"]) for report in expected] == [report["pre"] for report in expected]


def test_a_replacement_counts_the_words_as_they_stand_in_the_template():
    found = combined([{"a": "A"}, {"x": "X", "y": "Y"}], {"[1] or [1], [0]": "[0]+[1]+[2]"})
    assert found["x or y, a"] == "X+Y+A" and len(found) == 4


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("Lead(s) V1, V2 were not used for morphology analysis", "lead v1 not used for morphology analysis; "
         "lead v2 not used for morphology analysis"),
        ("V-paced rhythm", "ventricular pacing"),
        ("Right bundle conduction delay", "right bundle branch delay"),
        ("Intra- atrial delay", "intraatrial delay"),
        ("AVR in aVR", "accelerated ventricular rhythm in avr"),
    ],
)  # fmt: skip
def test_leads_chambers_and_abbreviations_get_one_spelling(text, normal):
    assert normalise(text) == normal
