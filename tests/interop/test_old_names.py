"""Recipes, command lines and checkpoints may call a thing as it was called while one family alone used it."""

import pytest
from omegaconf import OmegaConf

from ecg_signals.checkpoint.recipe import differences
from ecg_signals.checkpoint.state import check_history, restored_state
from ecg_signals.cli.composing import swap
from ecg_signals.composition import resolve_config
from ecg_signals.interop.hubert_ecg.old_names import OLD_CLASSES, OLD_NAMES
from ecg_signals.registry import get_entry, register_criterion

PAIRS = list(OLD_NAMES["criterion"].items())


def recipe(name, **dataset):
    sections = {
        "task": {"_name": "ecg_classification", "data": "tables"},
        "model": {"_name": "hubert_ecg_classifier", "num_labels": 2, "no_pretrained_weights": True},
        "criterion": {"_name": name, "use_loss_weights": True},
        "optimizer": {"_name": "adamw"},
    }
    return sections | ({"dataset": dataset} if dataset else {})


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_an_old_name_is_the_thing_and_its_usual_data(old, new):
    assert get_entry("criterion", old) is get_entry("criterion", new) and old not in register_criterion.names()
    assert resolve_config(recipe(old)).to_dict() == resolve_config(recipe(new, _name="hubert_csv")).to_dict()
    assert resolve_config(recipe(old, _name="ecg_file")).dataset._name == "ecg_file"
    assert resolve_config({**recipe(new), "criterion": old}).criterion._name == new


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_a_run_goes_on_from_a_checkpoint_with_the_old_name(old, new):
    stored = resolve_config(recipe(new, _name="hubert_csv")).to_dict()
    stored["criterion"]["_name"] = old
    config = resolve_config(recipe(new, _name="hubert_csv"))
    assert differences(stored, config, stored_ranks=1, ranks=1) == []
    classes = {today: before for before, today in OLD_CLASSES.items()}
    today = get_entry("criterion", new).cls.__name__
    history = [{"criterion_name": classes[today], "optimizer_name": "AdamW"}]
    raw = {"model": {}, "optimizer_history": history, "cfg": stored, "extra_state": {}}
    check_history(restored_state(raw, "file"), config, today, "AdamW")


def test_the_old_name_on_the_command_line_changes_nothing_of_the_recipe():
    sections = OmegaConf.to_container(OmegaConf.create(recipe("multi_label")))
    typed = {**sections, "criterion": {**sections["criterion"], "_name": "hubert_multi_label"}}
    assert swap(typed, sections, ["++criterion._name=hubert_multi_label"]) == {}
