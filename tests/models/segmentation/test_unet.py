"""U-Nets against the published ones: outputs, training arithmetic, waves, and the files that hold them."""

import json

import numpy as np
import pytest
import torch
from torch import nn

import ecg_signals
from ecg_signals.checkpoint.convert import convert
from ecg_signals.config import ConfigError
from ecg_signals.metrics.delineation import delineate
from ecg_signals.models.segmentation.unet_segmentor import as_lists
from ecg_signals.registry import build

NAMES = ("unet", "unet3plus", "unet3plus_cgm")
FOCAL = {"focal_loss": True}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # shorter than the window that files are made for


@pytest.fixture(scope="module")
def folder(golden):
    return golden / "segmentation"


@pytest.fixture(scope="module")
def inputs(folder):
    arrays = np.load(folder / "inputs.npz")
    return {key: torch.from_numpy(value) for key, value in arrays.items() if key != "names"}


@pytest.fixture(scope="module")
def outputs(folder):
    return dict(np.load(folder / "outputs.npz"))


def close(found, wanted):
    torch.testing.assert_close(found, torch.from_numpy(wanted), atol=1e-5, rtol=1e-5)


def trained(folder, name):
    """The stored model in train mode, without dropout."""
    model = ecg_signals.load_model(folder / f"{name}.pt").train()
    for module in model.modules():
        if isinstance(module, nn.Dropout1d):
            module.p = 0.0
    return model


def criterion_of(name):
    if "cgm" not in name:
        return build("criterion", "cross_entropy", **FOCAL)
    names = ["cross_entropy", "binary_cross_entropy_with_logits"]
    return build("criterion", "composite_criterion", criterion_names=names, args={"cross_entropy": FOCAL})


def batch_of(inputs):
    batch = {key: inputs[key] for key in ("segment_label", "segment_mask", "label")}
    return {"net_input": {"source": inputs["source"]}, **batch, "id": torch.arange(len(inputs["source"]))}


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_the_published_ones(folder, inputs, outputs, name):
    model = ecg_signals.load_model(folder / f"{name}.pt")
    with torch.no_grad():
        even, odd = model(inputs["source"]), model(inputs["source_odd"])
    close(even["logits"], outputs[f"{name}/eval_logits"])
    close(odd["logits"], outputs[f"{name}/eval_logits_odd"])
    assert even["segment_out"] is even["logits"]
    if "cgm" in name:
        close(even["cls_out"], outputs[f"{name}/eval_cls"])


@pytest.mark.parametrize("name", NAMES)
def test_waves_are_the_published_ones(folder, inputs, name):
    model = ecg_signals.load_model(folder / f"{name}.pt")
    assert model.delineate_ecg(inputs["source"]) == json.loads((folder / f"{name}_delineation.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradients_are_the_published_ones(folder, inputs, outputs, name):
    model, mine = trained(folder, name), {key.removeprefix(f"{name}/"): value for key, value in outputs.items()}
    output = criterion_of(name).train()(model, batch_of(inputs))
    if "cgm" in name:
        focal, kept, bce, labels = mine["train_parts"]
        logs = {key: float(value) for key, value in output.logs.items()}
        assert [logs["0_loss"], logs["1_loss"]] == pytest.approx([focal, bce], rel=1e-5)
        assert [logs["0_sample_size"], logs["1_sample_size"]] == [kept, labels]
        assert float(output.loss) == pytest.approx(focal / kept + bce / labels, rel=1e-5)
    else:
        assert float(output.loss) == pytest.approx(float(mine["train_loss_sum"]), rel=1e-5)
        assert int(output.sample_size) == mine["train_sample_size"]
        assert int(output.logs["correct"]) == mine["train_correct"]
    (output.loss / output.sample_size).backward()
    found = dict(model.named_parameters())
    for key in (key for key in outputs if key.startswith(f"{name}/grad/")):
        wanted = torch.from_numpy(outputs[key])
        torch.testing.assert_close(found[key.removeprefix(f"{name}/grad/")].grad, wanted, rtol=0,
                                   atol=1e-4 * float(wanted.abs().max()))  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_three_updates_are_the_published_ones(folder, inputs, outputs, name):
    model, criterion, batch, losses = trained(folder, name), criterion_of(name).train(), batch_of(inputs), []
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), eps=1e-8, weight_decay=0.0)
    for step in range(3):
        output = criterion(model, batch)
        loss = output.loss / output.sample_size
        losses.append(float(loss.detach()))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step == 0:
            state = model.state_dict()
            keys = sorted(key for key in state if key.endswith(("running_mean", "running_var")))
            moving = torch.cat([state[key] for key in keys])
            torch.testing.assert_close(moving, torch.from_numpy(outputs[f"{name}/bn_after"]), atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(losses, outputs[f"{name}/trace_loss"], rtol=1e-4)
    with torch.no_grad():
        last = model.eval()(inputs["source"][:1])["logits"][0]
    torch.testing.assert_close(last, torch.from_numpy(outputs[f"{name}/trace_eval_logits0"]), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_full_size_models_have_the_published_keys(folder, name):
    labels = {"num_labels": 82} if "cgm" in name else {}
    with torch.device("meta"):
        registered = "unet_cgm_segmentor" if labels else "unet_segmentor"
        model = build("model", registered, backbone=name.removesuffix("_cgm"), **labels)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    assert shapes == json.loads((folder / f"keys_{name}.json").read_text())


def test_full_size_models_have_the_published_number_of_parameters(folder):
    for key, wanted in json.loads((folder / "param_counts.json").read_text()).items():
        backbone, *rest = key.split("_")
        options = {"num_labels": 82} if rest[0] == "cgm" else {}
        leads = int(rest[1] if options else rest[0])
        name = "unet_cgm_segmentor" if options else "unet_segmentor"
        with torch.device("meta"):
            model = build("model", name, backbone=backbone, in_d=leads, **options)
        assert sum(weight.numel() for weight in model.parameters()) == wanted, key


@pytest.mark.parametrize("name", ("unet3plus", "unet3plus_cgm"))
def test_twelve_lead_models_give_the_published_outputs(golden, name):
    folder = golden / "wcr/other_models"
    source = torch.from_numpy(np.load(folder / "inputs.npz")["source"])
    model, wanted = ecg_signals.load_model(folder / f"{name}.pt"), np.load(folder / "outputs.npz")
    with torch.no_grad():
        found = model(source)
    for key in ("segment_out", "cls_out") if "cgm" in name else ("segment_out",):
        close(found[key], wanted[f"{name}/{key}"])


def test_sequences_of_classes_become_the_published_waves(golden):
    found = json.loads((golden / "wcr/other_models/unet3plus_delineation.json").read_text())
    waves = {name: number for name, number in found["label_idx"].items() if name != "none"}
    rows = [as_lists(delineate(np.array(row), waves)) for row in found["labels"]]
    assert rows == found["delineation"]


FILES = [f"segmentation/{name}" for name in NAMES] + ["wcr/other_models/unet3plus", "wcr/other_models/unet3plus_cgm"]


@pytest.mark.parametrize("file", FILES)
def test_files_become_hugging_face_folders_and_come_back(golden, tmp_path, file):
    path = golden / f"{file}.pt"
    convert(str(path), str(tmp_path / "hf"), "hf")
    convert(str(tmp_path / "hf"), str(tmp_path / "back.pt"), "original")
    wanted = torch.load(path, weights_only=True)["model"]
    found = torch.load(tmp_path / "back.pt", weights_only=True)["model"]
    assert found.keys() == wanted.keys() and all(torch.equal(found[key], wanted[key]) for key in wanted)
    first, last = (ecg_signals.load_model(where) for where in (path, tmp_path / "back.pt"))
    assert first.signal == last.signal and "standardise" not in str(first.signal)  # trained on mV


def test_padding_changes_no_wave(folder, inputs):
    model = ecg_signals.load_model(folder / "unet3plus.pt")
    padded = torch.nn.functional.pad(inputs["source"], (0, 200))
    mask = (torch.arange(padded.shape[-1]) >= inputs["source"].shape[-1]).expand(padded.shape)
    for waves in model.delineate_ecg(padded, mask):
        assert max(waves["t_offsets"]) < inputs["source"].shape[-1]


def test_a_signal_shorter_than_the_deepest_map_is_an_error():
    model = build("model", "unet", initial_dim=2)
    with pytest.raises(ConfigError, match="16 or more"):
        model(torch.zeros(1, 1, 15))


def test_waves_of_one_item_are_those_of_a_batch_of_it(folder, inputs):
    model = ecg_signals.load_model(folder / "unet3plus.pt")
    assert model.delineate_ecg(inputs["source"][0]) == model.delineate_ecg(inputs["source"][:1])


@pytest.mark.parametrize("label_idx", [{"p": 0, "qrs": 1}, {"p": 1, "none": 2}, {"p": 0, "qrs": 0, "none": 1}])
def test_classes_that_are_not_numbered_one_by_one_are_refused(label_idx):
    with pytest.raises(ConfigError, match=r"model\.label_idx=.*p: 0, qrs: 1, t: 2, none: 3"):
        build("model", "unet_segmentor", initial_dim=2, label_idx=label_idx)
