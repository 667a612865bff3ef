"""Every registered model is stored and converted to every layout it has, with labels and input contract, bit by bit."""

from pathlib import Path

import pytest
import torch
import yaml

from ecg_signals import load_model
from ecg_signals.checkpoint.convert import convert
from ecg_signals.checkpoint.write import write_checkpoint
from ecg_signals.config import ConfigError
from ecg_signals.interop.layout import ModelSource, get_layout, layout_of
from ecg_signals.registry import build
from ecg_signals.signal.contract import SignalContract

SMALL = yaml.safe_load((Path(__file__).parent / "small.yaml").read_text())["model"]


@pytest.mark.parametrize("name", SMALL)
def test_a_model_survives_every_conversion(name, tmp_path):
    model = build("model", name, **SMALL[name].get("options", {}))
    options = {key: value for key, value in model.cfg.to_dict().items() if key != "_name"}
    count = options.get("num_labels")
    labels = [f"name {index}" for index in range(count)] if isinstance(count, int) else None
    contract = SignalContract(250.0, ["I", "II", "V1"], 1000, [{"name": "resample", "method": "linear"}])
    source = ModelSource(name, options, model.state_dict(), labels, contract, where="memory")
    write_checkpoint(tmp_path / "a.pt", get_layout("ecg_signals").write(source))
    steps = [("a.pt", "folder", "hf"), ("folder", "b.pt", "fairseq")]
    if layout_of(name) is not None:
        steps += [("b.pt", "c.pt", "original"), ("c.pt", "again", "hf")]
    else:
        with pytest.raises(ConfigError, match=f"no other project publishes the model '{name}'"):
            convert(tmp_path / "a.pt", tmp_path / "c.pt", "original")
    for first, second, to in steps:
        convert(tmp_path / first, tmp_path / second, to)
        found = load_model(tmp_path / second)
        state = found.state_dict()
        assert list(state) == list(model.state_dict())
        assert all(torch.equal(state[key], value) for key, value in model.state_dict().items())
        if second in ("folder", "b.pt"):
            assert found.labels == labels and found.signal == contract
