"""Options of fairseq-signals that do nothing here are accepted, written back, and offered to nobody."""

from dataclasses import dataclass, fields

import pytest

from ecg_signals.cli.completion import complete
from ecg_signals.cli.list import listing
from ecg_signals.composition import resolve_config
from ecg_signals.config import BaseConfig, UsageError, option
from ecg_signals.interop.fairseq_signals.ignored import IGNORED, ignored_values
from ecg_signals.interop.fairseq_signals.names import peer_config
from ecg_signals.registry import get_entry

NAMES = {"task": "ecg_identification", "model": "ecg_transformer", "optimizer": "adam", "dataset": "ecg_file"}
RECIPE = {group: {"_name": name} for group, name in NAMES.items()} | {"criterion": {"_name": "arcface"}}
ROWS = [(section, key) for section, table in IGNORED.items() for key in table]


def with_value(section, key, value):
    return {**RECIPE, section: {**RECIPE.get(section, {}), key: value}}


@pytest.mark.parametrize(("section", "key"), ROWS)
def test_the_usual_value_is_taken_in_silence_and_another_with_one_warning(section, key, caplog):
    one = IGNORED[section][key]
    bare = resolve_config(RECIPE).to_dict()
    assert resolve_config(with_value(section, key, one.usual)).to_dict() == bare and not caplog.records
    for lenient in (False, True):
        caplog.clear()
        resolve_config(with_value(section, key, "something"), lenient=lenient)
        assert [record.getMessage() for record in caplog.records] == [
            f"{section}.{key}=something has no effect ({one.meaning})"
        ]


@pytest.mark.parametrize(("section", "key"), ROWS)
def test_they_are_options_of_no_section(section, key):
    names = IGNORED[section][key].names or (NAMES.get(section),)
    for name in names:
        cls = get_entry(section, name).dataclass if name else type(getattr(resolve_config({}), section))
        assert key not in {item.name for item in fields(cls)}


def test_checkpoints_hold_them_for_fairseq_signals():
    written = peer_config(resolve_config({**RECIPE, "common": {"fp16": True}}))
    for section, table in IGNORED.items():
        for key, one in table.items():
            other = section == "model" and written[section]["_name"] not in one.names
            if not one.stored or other:
                assert key not in (written.get(section) or {})
            else:
                followed = {"common.fp16": True, "criterion._name": written["criterion"]["_name"]}
                assert written[section][key] == followed.get(one.follows, one.usual), key
    assert "args" not in peer_config(resolve_config({"model": {"_name": "convnet"}}))["model"]


def test_what_a_recipe_says_of_them_is_written_back():
    config = resolve_config(with_value("common", "all_gather_list_size", 2048000))
    for again in (config, resolve_config(config.to_dict(), lenient=True)):
        assert peer_config(again)["common"]["all_gather_list_size"] == 2048000
        assert again.to_dict()["common"]["all_gather_list_size"] == 2048000


def test_nothing_offers_them():
    with pytest.raises(UsageError, match="did you mean") as error:
        resolve_config({"distributed_training": {"ddp_hook": "fp16"}})
    for key in IGNORED["distributed_training"]:
        assert f"{key}," not in str(error.value).replace(" ", ",")
    assert "use_old_adam" not in listing("optimizer", "adam")
    assert complete("train", [], "common.am") == ["common.amp="]


def test_a_plugins_option_of_the_same_name_is_the_plugins(caplog):
    @dataclass
    class Own(BaseConfig):
        args: str = option("", "of a plugin's model")

    assert ignored_values("model", {"args": "x", "other": 1}, Own) == {} and not caplog.records
