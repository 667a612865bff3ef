"""Weights of published models in files that do not have their project's form: bare, under usual keys, behind a word."""

from pathlib import Path

import pytest
import torch

from ecg_signals import load_model
from ecg_signals.interop.ecg_cpc.contract import inputs as of_ecg_cpc
from ecg_signals.interop.ecgfounder.contract import inputs as of_ecgfounder
from ecg_signals.interop.ked.contract import inputs as of_ked_input
from ecg_signals.interop.ked.names import TWIN
from ecg_signals.interop.ked.names import to_state as of_ked
from ecg_signals.interop.merl.contract import inputs as of_merl_input
from ecg_signals.interop.merl.names import to_state as of_merl
from ecg_signals.registry import build

FILES = {  # name -> golden file, key of its weights, and the model within
    "ecgfounder": ("ecgfounder/checkpoint.pth", "state_dict", "classifier"),
    "kim": ("ecg_jepa_kim/epoch100.pth", "encoder", "cropa_vit"),
    "kim_whole": ("ecg_jepa_kim/full.pth", "model", "cropa_jepa"),
    "ecg_cpc": ("ecg_cpc/cpc.ckpt", "state_dict", "cpc"),
    "merl_vit": ("merl/vit.pt", "ecg_encoder", "merl_vit"),
    "merl_whole": ("merl/vit.pt", "clip", "merl"),
}
SMALL = {
    "merl_resnet": (of_merl, {"width": 4}),
    "xresnet1d": (of_ked, {"blocks": [1, 1], "widths": [4, 8], "stem": [4]}),
}


def weights_of(name: str, golden: Path) -> tuple[dict[str, torch.Tensor], str, Path | None]:
    """Weights under their project's names, the registered model that they are, and the config.json of sizes."""
    if name in SMALL:
        theirs, options = SMALL[name]
        return theirs(build("model", name, **options).state_dict()), name, None
    file, key, model = FILES[name]
    return torch.load(golden / file, weights_only=True)[key], model, (golden / file).with_name("config.json")


@pytest.mark.parametrize("name", [*FILES, *SMALL])
def test_weights_are_found_wherever_programs_put_them(name, golden, tmp_path):
    state, model, config = weights_of(name, golden)
    if config is not None:
        (tmp_path / "config.json").write_text(config.read_text())
    behind = {f"net.{key}": value for key, value in state.items()}
    parallel = {f"module.{key}": value for key, value in state.items()}
    contents = [state, parallel, {"state_dict": state, "epoch": 3}, {"model": parallel},
                {"state_dict": behind, "pytorch-lightning_version": "2.1", "hyper_parameters": {}}]  # fmt: skip
    expected = None
    for place, content in enumerate(contents):
        torch.save(content, tmp_path / f"{place}.pth")
        found = load_model(tmp_path / f"{place}.pth")
        assert found.cfg._name == model and found.signal is not None
        values = found.state_dict()
        expected = values if expected is None else expected
        assert values.keys() == expected.keys()
        assert all(torch.equal(values[key], value) for key, value in expected.items())


@pytest.mark.parametrize("inputs, leads", [(of_ecgfounder, {1, 12}), (of_ecg_cpc, {12}), (of_ked_input, {12}),
                                           (of_merl_input, {12})])  # fmt: skip
def test_which_leads_a_model_takes_is_not_guessed(inputs, leads):
    assert {count for count in range(1, 13) if inputs(count)} == leads


def test_keds_encoder_is_found_beside_other_models_weights_and_without_its_second_names(golden, tmp_path):
    state, _, _ = weights_of("xresnet1d", golden)
    flat = {f"ecg_model.{key}": value for key, value in state.items()} | {"text_encoder.weight": torch.zeros(2, 2)}
    once = {"ecg_model": {key: value for key, value in state.items() if TWIN not in key}}
    for place, content in enumerate((flat, once)):
        torch.save(content, tmp_path / f"{place}.pt")
        found = of_ked(load_model(tmp_path / f"{place}.pt").state_dict())
        assert found.keys() == state.keys() and all(torch.equal(found[key], value) for key, value in state.items())
