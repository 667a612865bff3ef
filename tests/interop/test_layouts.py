"""A checkpoint layout is a registered thing: every one takes back what it wrote (a plugin's: test_family_plugin)."""

from pathlib import Path

import pytest
import torch
import yaml

from ecg_signals.checkpoint.convert import convert
from ecg_signals.checkpoint.load import complete, load_source
from ecg_signals.cli.convert import parser
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.interop.layout import ModelSource, get_layout, layout_of
from ecg_signals.interop.ours.layout import OURS
from ecg_signals.registry import build, register_layout

ALL = yaml.safe_load((Path(__file__).parents[1] / "contract" / "small.yaml").read_text())
SMALL = ALL["model"]
OWN = "ecg_signals."  # other tests may have registered plugins
NAMES = [name for name in register_layout.names() if register_layout.get(name).cls.__module__.startswith(OWN)]


def small(name, options=None):
    model = build("model", name, **(options or SMALL[name].get("options", {})))
    options = {key: value for key, value in model.cfg.to_dict().items() if key != "_name"}
    return ModelSource(name, options, model.state_dict(), where="memory")


def same(first, second):
    return list(first) == list(second) and all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
def test_a_layout_takes_back_what_it_wrote(name, tmp_path):
    layout = get_layout(name)
    special = ALL["layout"].get(name, {})
    usual = next((model for model in layout.models if model in SMALL), "convnet")
    source = small(special.get("model", usual), special.get("options"))
    layout.save(source, tmp_path / "written")
    found = complete(load_source(tmp_path / "written"))
    assert found.name == source.name and same(found.state, source.state)
    with pytest.raises(ConfigError):
        load_source(tmp_path / "absent")


def test_a_file_of_ours_that_states_no_input_contract_has_none(tmp_path):
    get_layout("ecg_signals").save(small("wav2vec2_cmsc"), tmp_path / "ours.pt")
    raw = torch.load(tmp_path / "ours.pt", weights_only=True)
    assert load_source(tmp_path / "ours.pt").signal is None
    del raw["extra_state"][OURS]["signal"]
    torch.save(raw, tmp_path / "unsaid.pt")
    assert load_source(tmp_path / "unsaid.pt").signal is None


def test_a_model_of_one_project_is_not_written_as_anothers(tmp_path):
    get_layout("ecg_signals").save(small("convnet"), tmp_path / "convnet.pt")
    with pytest.raises(ConfigError, match="layout 'hubert_ecg' has no model 'convnet'; use --to fairseq"):
        convert(tmp_path / "convnet.pt", tmp_path / "other.pt", "hubert_ecg")
    with pytest.raises(UsageError, match="did you mean 'hubert_ecg'"):
        convert(tmp_path / "convnet.pt", tmp_path / "other.pt", "hubertecg")
    assert layout_of("convnet").title.startswith("fairseq-signals")


def test_every_layout_is_a_choice_of_the_command():
    choices = parser()._option_string_actions["--to"].choices
    assert {"fairseq", "hf", "original", *NAMES} <= set(choices)
