"""nejedly2021resnet, se_wrn, convnet and their classifiers against the reference outputs."""

import numpy as np
import pytest
import torch
from reference_models import close

from ecg_signals.checkpoint.load import load_model
from ecg_signals.config import ConfigError
from ecg_signals.registry import build

NAMES = ["nejedly", "nejedly_leadwise", "se_wrn", "convnet"]


def load(golden, name):
    content = torch.load(golden / "wcr" / "other_models" / f"{name}.pt", weights_only=True)
    options = dict(content["cfg"]["model"])
    registered = options.pop("_name")
    options |= {} if registered == "convnet" else {"no_pretrained_weights": True}
    model = build("model", registered, **options).eval()
    assert list(model.state_dict()) == list(content["model"])
    model.load_state_dict(content["model"])
    return model


@pytest.fixture(scope="module")
def source(golden):
    return torch.from_numpy(np.load(golden / "wcr" / "other_models" / "inputs.npz")["source"])


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_outputs_equal_the_reference(golden, source, name):
    outputs = np.load(golden / "wcr" / "other_models" / "outputs.npz")
    found = load(golden, name)(source)
    close(found["logits"], outputs[f"{name}/{'x' if name == 'convnet' else 'out'}"], 1e-5)
    if name != "convnet":
        last = outputs[f"{name}/encoder_out"]
        close(found["features"], last.reshape(len(last), -1, last.shape[-1]).swapaxes(1, 2), 1e-5)


@pytest.mark.filterwarnings("ignore:source has 1100 samples")
@torch.no_grad()
def test_the_logits_of_a_leadwise_se_wrn_equal_the_reference(shared):
    case = shared / "cases" / "30_se_wrn_leadwise"
    expected = np.load(case / "expected.npz")
    close(load_model(case / "se_wrn.pt")(torch.from_numpy(expected["source"]))["logits"], expected["out"], 1e-5)


@pytest.mark.parametrize("name, block", [("nejedly2021resnet", (8, 12)), ("se_wrn", (12, 8))])
@torch.no_grad()
def test_leadwise_frames_hold_channels_of_leads_or_leads_of_channels_as_published(name, block):
    torch.manual_seed(0)
    options = {"num_blocks": 1, "num_filters": 8 if name == "nejedly2021resnet" else "[4, 8]"}
    model = build("model", name, in_d=1, leadwise=True, **options).eval()
    source = torch.randn(2, 12, 200)
    order = torch.randperm(12)
    axis = 2 + block.index(12)
    for layers in (None, "all"):
        straight, shuffled = (model.extract_features(x, layers=layers) for x in (source, source[:, order]))
        pairs = [("features", straight["features"], shuffled["features"])]
        pairs += [("hidden", *both) for both in zip(*(x.get("hidden_states", []) for x in (straight, shuffled)))][-1:]
        for what, one, other in pairs:
            one, other = one.unflatten(2, block), other.unflatten(2, block)
            torch.testing.assert_close(other, one.index_select(axis, order), msg=what)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("length", [777, 800, 999])
@torch.no_grad()
def test_padding_never_changes_an_item(golden, source, name, length):
    model = load(golden, name)
    padding = torch.zeros(source.shape, dtype=torch.bool)
    padding[1, :, length:] = True
    padded = model(source.masked_fill(padding, 0.0), padding)
    alone = model(source[1:2, :, :length])
    torch.testing.assert_close(padded["logits"][1:2], alone["logits"])
    frames = alone["features"].shape[1]
    torch.testing.assert_close(padded["features"][1, :frames], alone["features"][0])
    assert padded["padding_mask"][1].tolist() == [frame >= frames for frame in range(padded["features"].shape[1])]


@pytest.mark.parametrize("name, count", [("nejedly2021resnet_classifier", 6_284_314), ("se_wrn_classifier", 1_354_404)])
def test_the_published_sizes(name, count):
    with torch.device("meta"):
        model = build("model", name, num_labels=26, no_pretrained_weights=True)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize("family", ["nejedly2021resnet", "se_wrn"])
def test_a_classifier_takes_its_encoder_from_a_checkpoint(family, tmp_path):
    small = {"num_blocks": 1, "num_filters": 8 if family == "nejedly2021resnet" else "[4, 8]"}
    encoder = build("model", family, **small).eval()
    cfg = {"model": {**encoder.cfg.to_dict(), "_name": family}}
    torch.save({"cfg": cfg, "model": encoder.state_dict(), "extra_state": {}}, tmp_path / "encoder.pt")
    model = build("model", f"{family}_classifier", model_path=str(tmp_path / "encoder.pt"), num_labels=3).eval()
    source = torch.randn(2, 12, 200)
    torch.testing.assert_close(model(source)["features"], encoder(source)["features"])
    assert model.cfg.num_blocks == 1


@pytest.mark.parametrize("name, options, message", [
    ("nejedly2021resnet", {"kernel_size": "[15, 8]"}, "[15, 9]"),
    ("nejedly2021resnet", {"leadwise": True}, "model.in_d=1"),
    ("se_wrn", {"num_filters": "16"}, "model.num_filters"),
    ("se_wrn", {"kernel_size": 4}, "odd"),
    ("nejedly2021resnet_classifier", {"num_filters": 12, "use_mha": True, "num_labels": 2}, "model.num_filters"),
])  # fmt: skip
def test_options_that_do_not_fit_say_what_to_set(name, options, message):
    with pytest.raises(ConfigError) as error:
        build("model", name, **options)
    assert message in str(error.value)


@pytest.mark.parametrize("leadwise, leads", [(False, 3), (False, 13), (True, 3), (True, 13)])
@pytest.mark.parametrize("family", ["nejedly2021resnet", "se_wrn"])
@torch.no_grad()
def test_another_number_of_leads_than_a_network_was_built_for_says_what_to_set(family, leadwise, leads):
    small = {"num_blocks": 1, "num_filters": 8 if family == "nejedly2021resnet" else "[4, 8]"}
    small |= {"leadwise": leadwise, "in_d": 1 if leadwise else 12}
    head = build("model", f"{family}_classifier", **small, num_labels=3, no_pretrained_weights=True).eval()
    encoder = build("model", family, **small).eval()
    source = torch.randn(2, leads, 200)
    calls = [head, head.extract_features] + ([] if leadwise else [encoder, encoder.extract_features])
    for call in calls:
        with pytest.raises(ConfigError, match=f"has shape .*{leads}, 200.*12 leads.*task.leads_to_load") as error:
            call(source)
        assert ("model.leadwise=false" if leadwise else "model.in_d") in str(error.value)
    if leadwise:
        assert encoder(source)["features"].shape[2] == 8 * leads


def test_the_hidden_states_of_a_convnet_are_its_input_and_every_layer():
    model = build("model", "convnet", conv_feature_layers="[(8, 5, 3), (6, 3, 2)]", output_dim=3).eval()
    source = torch.randn(2, 12, 100)
    output = model.extract_features(source, layers="all")
    assert [state.shape[2] for state in output["hidden_states"]] == [12, 8, 6]
    assert torch.equal(output["hidden_states"][-1], output["features"])
    assert "hidden_states" not in model(source)
