"""Each option is declared once: how signals are read belongs to the dataset, also where it is typed in `task`."""

import inspect
import logging
from collections import defaultdict
from dataclasses import dataclass, fields, is_dataclass

import pytest

from ecg_signals.checkpoint.recipe import differences
from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError, UsageError, field_default, option
from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.interop.fairseq_signals.names import peer_config
from ecg_signals.registry import REGISTRIES, register_dataset
from ecg_signals.sections import REGISTERED_GROUPS, Config

# What a model and a schedule keep of other sections, as fairseq-signals' schema has it: it has no value of its own.
COPIED = {"all_gather", "data", "filter", "lr", "max_epoch", "max_update", "normalize", "weight_decay",
          "max_text_size", "pad_token", "sep_token", "maximize_best_checkpoint_metric"}  # fmt: skip


def declarations():
    """(section, option) -> {class whose body declares it: the option there}; another default is no declaration."""
    shared = [(item.name, type(field_default(item))) for item in fields(Config) if item.name != "_name"]
    found = defaultdict(dict)
    registered = [
        (kind, entry.declared) for kind in (*REGISTERED_GROUPS, "dataset", "transform")
        for entry in map(REGISTRIES[kind].get, REGISTRIES[kind].ours())
    ]  # fmt: skip
    for section, declared in [item for item in shared if item[0] not in REGISTERED_GROUPS] + registered:
        for cls in declared.__mro__:
            for name in set(inspect.get_annotations(cls)) & set(declared.__dataclass_fields__) - {"_name"}:
                options = [c.__dataclass_fields__.get(name) for c in cls.__mro__ if is_dataclass(c)]
                if not any(one and one.metadata == options[0].metadata for one in options[1:]):
                    found[section, name][cls] = declared.__dataclass_fields__[name]
    return found


def test_no_option_is_declared_in_two_sections():
    sections = defaultdict(dict)
    for (section, name), classes in declarations().items():
        sections[name][section] = [item for item in classes.values() if not item.metadata.get("follows")]
    twice = {name for name, found in sections.items() if len(found) > 1}
    assert twice == COPIED
    for name in twice:
        assert len([section for section, items in sections[name].items() if items]) == 1, name


@pytest.mark.parametrize("section", ["task", "dataset", "transform"])
def test_no_two_classes_about_data_declare_an_option(section):
    twice = {name: list(found) for (kind, name), found in declarations().items() if kind == section and len(found) > 1}
    assert not twice


def sections(dataset=None, **task):
    return {
        "task": {"_name": "ecg_pretraining", **task},
        "dataset": dataset or {},
        "model": {"_name": "wav2vec2"},
        "criterion": {"_name": "wav2vec2"},
    }


def test_an_option_is_the_datasets_in_whichever_section_it_is_typed():
    for given in (
        sections(sample_rate=250),
        sections({"sample_rate": 250}),
        sections({"sample_rate": 250}, sample_rate=1),
    ):
        config = resolve_config(given)
        assert config.dataset.sample_rate == 250 and not hasattr(config.task, "sample_rate")
        assert peer_config(config)["task"]["sample_rate"] == 250
        assert resolve_config(config.to_dict()).to_dict() == config.to_dict()


def test_references_name_an_option_as_it_is_typed():
    given = sections(
        sample_rate=250, filter=True, mean_path="${task.std_path}", std_path="${task.data}/std.txt", data="d"
    )
    config = resolve_config({**given, "common": {"seed": "${task.sample_rate}"}})
    assert config.common.seed == 250 and config.model.filter is True
    assert config.dataset.mean_path == config.dataset.std_path == "d/std.txt"


@pytest.mark.parametrize("section", ["task", "dataset"])
def test_a_message_names_the_key_as_it_was_typed(section):
    for key, value in (("sample_rate", "fast"), ("mask_leads_selection", "all"), ("shift_form", "round")):
        given = sections(**{key: value}) if section == "task" else sections({key: value})
        with pytest.raises(ConfigError, match=rf"\b{section}\.{key} is '{value}'"):
            resolve_config(given)
    unset = resolve_config(sections(label_file="???") if section == "task" else sections({"label_file": "???"}))
    with pytest.raises(ConfigError, match=rf"^{section}\.label_file has no value"):
        _ = unset.dataset.label_file


def test_a_misspelt_key_of_the_task_gets_the_datasets_for_neighbours():
    with pytest.raises(UsageError, match=r"'task\.sample_rat'; did you mean 'sample_rate'\?.*data, dependency"):
        resolve_config(sections(sample_rat=250))
    with pytest.raises(UsageError, match=r"'task\.pair_by'"):  # an option of cmsc, but it is typed in dataset
        resolve_config(sections({"_name": "cmsc"}, pair_by="record"))


def test_what_another_dataset_reads_is_said_to_do_nothing_and_is_kept(caplog):
    with caplog.at_level(logging.WARNING):
        config = resolve_config(sections(inferred_3kg_config={"angle": 30}, load_specific_lead=False))
    assert caplog.messages == [
        "task.inferred_3kg_config={'angle': 30} has no effect: dataset ecg_file does not read it"
    ]
    assert peer_config(config)["task"]["inferred_3kg_config"] == {"angle": 30}
    assert config.to_dict()["task"]["inferred_3kg_config"] == {"angle": 30}


def test_a_plugins_dataset_has_options_that_are_typed_in_task(monkeypatch):
    @dataclass
    class RhythmConfig(EcgFileConfig):
        beats: int = option(3, "beats per item", section="task")

    monkeypatch.setattr(register_dataset, "entries", dict(register_dataset.entries))
    register_dataset("rhythm", dataclass=RhythmConfig)(type("Rhythm", (EcgFileDataset,), {}))
    config = resolve_config(sections({"_name": "rhythm"}, beats=5, leads_to_load="I,II"))
    assert (config.dataset.beats, config.dataset.leads_to_load) == (5, "I,II")
    assert "beats" not in peer_config(config)["task"]


def test_a_run_goes_on_whichever_section_its_options_were_typed_in():
    first = resolve_config(sections(sample_rate=250))
    old = {**first.to_dict(), "task": {**first.to_dict()["task"], "sample_rate": 250}, "dataset": {}}
    for stored in (first.to_dict(), peer_config(first), old):
        same, other = (
            differences(stored, resolve_config(sections({"sample_rate": rate})), stored_ranks=1, ranks=1)
            for rate in (250, 500)
        )
        assert not same and [str(one) for one in other] == ["task.sample_rate=250 (now 500)"]
