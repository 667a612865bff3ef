"""What every registered model promises; `small.yaml` gives each name its smallest options."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn

from ecg_signals.checkpoint.load import FirstBatchCheck
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import build, get_entry, register_model
from ecg_signals.signal.contract import SignalContract

SMALL = yaml.safe_load((Path(__file__).parent / "small.yaml").read_text())["model"]
TEXTS_ALONE = {name for name, entry in SMALL.items() if entry.get("reads_no_signal")}
OURS = "ecg_signals."  # other tests may have registered plugins
NAMES = [name for name in register_model.names() if get_entry("model", name).cls.__module__.startswith(OURS)]


def make(name: str, seed: int = 0) -> tuple[BaseModel, Tensor]:
    torch.manual_seed(seed)
    entry = SMALL[name]
    model = build("model", name, **entry["options"])
    return model, torch.randn(3, entry.get("leads", 12), entry.get("samples", 400))


def training_pass(name: str, model: nn.Module, source: Tensor, seed: int = 0) -> dict[str, Any]:
    torch.manual_seed(seed)
    drawn = {key: torch.randn(len(source), width).to(source) for key, width in SMALL[name].get("drawn", {}).items()}
    return model.train()(source, **SMALL[name].get("forward", {}), **drawn)


def floats(output: dict[str, Any]) -> dict[str, Tensor]:
    """Float tensors of an output, those in lists included."""
    leaves = {}
    for key, value in output.items():
        for index, item in enumerate(value if isinstance(value, (list, tuple)) else [value]):
            if isinstance(item, Tensor) and item.is_floating_point():
                leaves[f"{key}.{index}"] = item
    return leaves


def test_every_registered_model_has_small_options():
    assert set(NAMES) <= set(SMALL), "give the new models an entry in tests/contract/small.yaml"


@pytest.mark.parametrize("name", NAMES)
def test_inference_returns_features_and_pooled(name):
    model, source = make(name)
    with torch.no_grad():
        output = model.eval()(source)
    assert output["features"].dim() == 3 and len(output["features"]) == 3
    assert output["pooled"].dim() == 2 and len(output["pooled"]) == 3
    assert output["padding_mask"] is None


@pytest.mark.parametrize("name", NAMES)
def test_an_exported_model_gives_the_same_outputs(name):
    model, source = make(name)
    with torch.no_grad():
        output = model.eval()(source)
    exported = torch.export.export(model, (source,)).module()
    for key, value in floats(exported(source)).items():
        torch.testing.assert_close(value, floats(output)[key])


@pytest.mark.parametrize("name", NAMES)
def test_every_trainable_parameter_gets_a_gradient(name):
    model, source = make(name)
    output = floats(training_pass(name, model, source))
    weighted = [torch.where(value.isfinite(), value, 0.0) * torch.randn(value.shape) for value in output.values()]
    sum(value.sum() for value in weighted).backward()
    missing = [key for key, value in model.named_parameters() if value.requires_grad and value.grad is None]
    assert not missing
    assert all(value.grad.isfinite().all() for value in model.parameters() if value.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_weights_and_options_survive_a_round_trip(name, tmp_path):
    model, source = make(name)
    torch.save({"cfg": model.cfg.to_dict(), "model": model.state_dict()}, tmp_path / "model.pt")
    stored = torch.load(tmp_path / "model.pt", weights_only=True)
    entry = get_entry("model", name)
    torch.manual_seed(1)
    other = entry.cls(entry.dataclass.from_mapping(stored["cfg"]))
    other.load_state_dict(stored["model"], strict=True)
    with torch.no_grad():
        found, expected = floats(other.eval()(source)), floats(model.eval()(source))
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_weights_and_the_same_training_pass(name):
    (first, source), (second, _) = make(name), make(name)
    one, two = (floats(training_pass(name, model, source, seed=5)) for model in (first, second))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[key], two[key]) for key in one)


@pytest.mark.parametrize("name", NAMES)
def test_inference_draws_no_random_number(name):
    model, source = make(name)
    before = torch.get_rng_state()
    with torch.no_grad():
        first, second = floats(model.eval()(source)), floats(model(source))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_an_item_does_not_depend_on_its_neighbours(name):
    model, source = make(name)
    model.eval()
    torch.testing.assert_close(model(source)["pooled"][1:2], model(source[1:2])["pooled"])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_model_runs_and_trains_in_any_float_type(name, dtype):
    model, source = make(name)
    leads, samples = source.shape[1:]
    check = FirstBatchCheck(SignalContract(leads=[f"L{index}" for index in range(leads)], window_samples=samples))
    model.register_forward_pre_hook(check, with_kwargs=True)  # as load_model does
    source = source.clamp(-1, 1).to(dtype)
    padding = torch.arange(samples).expand(source.shape) >= torch.tensor([samples, 300, 280]).view(-1, 1, 1)
    model.eval().to(dtype)
    with torch.no_grad():
        outputs = [model(source), model(source, padding_mask=padding)]
    assert {value.dtype for output in outputs for value in floats(output).values()} == {dtype}
    trained = floats(training_pass(name, model, source))
    sum(value.float().nan_to_num().sum() for value in trained.values() if value.requires_grad).backward()
