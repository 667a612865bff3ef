"""Patterns, negation, doubt, and the graph of findings."""

import json
import shutil

import pytest

from ecg_signals.config import ConfigError
from ecg_signals.labeler.labeler import Labeler
from ecg_signals.labeler.normalise import normalise
from ecg_signals.labeler.phrases import Found, Phrases
from ecg_signals.labeler.templates import MIMIC_IV_ECG, read_templates


@pytest.fixture(scope="module")
def folder(golden):
    return golden / "wcr/labeler"


@pytest.mark.parametrize(("file", "published"), [("expected_fixed", False), ("expected_peer", True)])
def test_patterns_rest_and_labels_are_ecg_fms(folder, file, published):
    labeler = Labeler(read_templates(folder / "templates"), published)
    for report in json.loads((folder / f"{file}.json").read_text()):
        found = labeler(report["text"])
        assert found.patterns == report["patterns"], report["text"]
        assert found.unmatched == report["unmatched"]
        assert found.labels == pytest.approx(report["labels"])


@pytest.mark.parametrize(("file", "published"), [("expected_fixed", False), ("expected_peer", True)])
def test_reports_through_the_templates_of_mimic_iv_ecg_are_labelled_as_ecg_fm_does(golden, file, published):
    reports = json.loads((golden / f"labeler_text/{file}.json").read_text())
    labeler = Labeler(read_templates(), published)
    for report in reports:
        found = labeler(normalise(report["raw"]))
        assert (found.patterns, found.unmatched) == (report["patterns"], report["unmatched"])
        assert found.labels == pytest.approx(report["labels"], abs=1e-6)


def test_the_shipped_templates_are_as_long_as_the_published_files():
    counts = {  # entries, characters of the published file
        "attached_desc_tem": (22, 2645), "compound_tem": (6, 1729), "connective": (14, 1695), "desc_pat": (123, 20833),
        "desc_tem": (58, 3939), "entity_pat": (369, 59337), "entity_tem": (320, 48172), "traveling_desc_tem": (4, 381),
        "uncertainty_map": (4, 77),
    }  # fmt: skip
    found = {path.stem: json.loads(path.read_text()) for path in MIMIC_IV_ECG.glob("*.json")}
    assert {name: (len(entries), len(json.dumps(entries, indent=2))) for name, entries in found.items()} == counts


def test_the_longest_phrase_is_taken_first_wherever_it_stands():
    pieces = Phrases(["old", "old infarct", "infarct of long ago"]).take(["old infarct of long ago, olden"])
    assert pieces == ["", Found("old"), " ", Found("infarct of long ago"), ", olden"]


def write(folder, **files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / f"{name}.json").write_text(json.dumps(content))
    return folder


def small(folder, **more):
    entities = [{"name": "Block"}, {"name": "Left block", "sup": ["Block"]}]
    patterns = [{"pattern": "left block", "entities": [{"tem": "Left block"}]}, {"pattern": "seen", "entities": []}]
    doubt = [{"pattern": "perhaps", "descriptors": ["Perhaps"]}]
    descriptors = [{"name": "Perhaps"}, {"name": "Absence"}]
    files = {"entity_tem": entities, "entity_pat": patterns, "desc_tem": descriptors, "desc_pat": doubt}
    return write(folder, uncertainty_map={"Perhaps": 0.5}, **{**files, **more})


def test_a_more_general_finding_keeps_seven_tenths_of_the_doubt(tmp_path):
    labels = Labeler(read_templates(small(tmp_path / "t")))("perhaps left block").labels
    assert labels == pytest.approx({"Block": 0.65, "Left block": 0.5, "Left block - Perhaps": 1.0})


def test_words_that_are_passed_over_take_what_describes_them_along(tmp_path):
    assert Labeler(read_templates(small(tmp_path / "t")))("perhaps seen left block").labels == {
        "Block": 1.0, "Left block": 1.0
    }  # fmt: skip


def test_a_split_descriptor_stands_for_its_parts(tmp_path):
    more = {
        "desc_tem": [{"name": "Front"}, {"name": "Side"}],
        "split_desc_tem": [{"name": "Front and side", "split": ["Front", "Side"], "patterns": ["frontolateral"]}],
        "desc_pat": [],
    }
    labels = Labeler(read_templates(small(tmp_path / "t", **more)))("frontolateral left block").labels
    assert {"Left block - Front", "Left block - Side"} < set(labels)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"entity_tem": [{"name": "Left block", "sup": ["Blok"]}]}, "Blok"),
        ({"entity_tem": [{"name": "Left block", "sup": "Block"}, {"name": "Block", "sup": "Left block"}]}, "circle"),
        ({"desc_pat": [{"pattern": "perhaps", "descriptors": ["Perhap"]}]}, "did you mean 'Perhaps'"),
        ({"connective": [{"pattern": "perhaps"}]}, "two files"),
        ({"uncertainty_map": {"Perhaps": 2}}, "0 to 1"),
        ({"entity_pat": [{"entities": []}]}, "pattern"),
        ({"entity_pat": {"pattern": "x"}}, "list of objects"),
        ({"entity_pat": [{"pattern": "x", "entities": [{"tem": 3}]}]}, "tem"),
    ],
)
def test_templates_that_do_not_fit_together_are_named(tmp_path, wrong, said):
    if "uncertainty_map" in wrong:
        folder = small(tmp_path / "t")
        (folder / "uncertainty_map.json").write_text(json.dumps(wrong["uncertainty_map"]))
    else:
        folder = small(tmp_path / "t", **wrong)
    with pytest.raises(ConfigError, match=said):
        read_templates(folder)


def test_a_folder_without_entities_is_an_error(tmp_path):
    shutil.rmtree(small(tmp_path / "t") / "entity_tem.json", ignore_errors=True)
    (tmp_path / "t/entity_tem.json").unlink()
    with pytest.raises(ConfigError, match=r"entity_tem\.json"):
        read_templates(tmp_path / "t")
