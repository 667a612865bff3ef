"""ECG-JEPA's files: every published layout is read strictly, predicts as published and is written back as it was."""

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jepa_golden import arrays

import ecg_signals
from ecg_signals.checkpoint.convert import convert
from ecg_signals.cli import convert as command
from ecg_signals.config import ConfigError
from ecg_signals.interop.ecg_jepa.tasks import CLASSES
from ecg_signals.signal.record import Record

FULL = ["tiny_a/chkpt_4.pt", "tiny_b/chkpt_3.pt", "legacy_layernorm_bias/chkpt.pt"]
MINIFIED = ["tiny_a/chkpt_4.min.pt", "tiny_b/chkpt_3.min.pt", "legacy_layernorm_bias/chkpt.min.pt"]
RUNS = ["linear__superdiagnostic", "finetune_after_linear__superdiagnostic", "finetune__ST-MEM"]
FINE_TUNED = [f"finetune_eval/{run}_best_chkpt.pt" for run in RUNS]


@pytest.fixture
def folder(golden: Path) -> Path:
    return golden / "jepa"


def content(path: Path) -> dict[str, Any]:
    return torch.load(path, weights_only=True)


def differences(one: Any, other: Any, name: str = "") -> list[str]:
    """What is not the same, to the last bit, with the same keys."""
    if isinstance(one, dict):
        if not isinstance(other, dict) or one.keys() != other.keys():
            return [f"{name}: other keys"]
        return [found for key in one for found in differences(one[key], other[key], f"{name}.{key}")]
    if isinstance(one, torch.Tensor):
        return [] if torch.equal(one, other) and one.dtype == other.dtype else [name]
    if isinstance(one, (list, tuple)):
        one, other = list(one), list(other)
    return [] if one == other else [f"{name}: {one} {other}"]


@pytest.mark.parametrize("file", [*FULL, *MINIFIED, *FINE_TUNED])
def test_a_file_goes_through_every_layout_and_comes_back_bit_by_bit(file: str, folder: Path, tmp_path: Path):
    pytest.importorskip("transformers")
    import transformers

    import ecg_signals.hf

    original = content(folder / file)
    for step, source, to in (("hf", folder / file, "hf"), ("fairseq.pt", tmp_path / "hf", "fairseq")):
        convert(source, tmp_path / step, to)
        back = tmp_path / step.split(".")[0] / "back" / Path(file).name
        back.parent.mkdir(parents=True)
        convert(tmp_path / step, back, "original")
        written = content(back)
        wanted = {key: value for key, value in original.items() if key != "optimizer"}
        if "ST-MEM" in file:  # the published file names the task whose labels it has; ours the one it was trained on
            assert written.pop("task") == "ST-MEM" and wanted.pop("task") == "superdiagnostic"
        assert differences(wanted, written) == []
    convert(folder / file, tmp_path / "direct.pt", "original")
    assert differences(original.get("optimizer", {}), content(tmp_path / "direct.pt").get("optimizer", {})) == []
    model, other = ecg_signals.load_model(folder / file), transformers.AutoModel.from_pretrained(tmp_path / "hf")
    source = torch.randn(2, len(model.signal.leads), model.signal.window_samples).clamp(-5, 5)
    with torch.no_grad():
        torch.testing.assert_close(other(source).last_hidden_state, model(source)["features"], rtol=0, atol=1e-6)


@pytest.mark.parametrize(("full", "minified"), list(zip(FULL, MINIFIED)))
def test_minify_keeps_what_the_published_command_keeps(
    full: str, minified: str, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    command.run([str(folder / full), str(tmp_path / "x.min.pt"), "--to", "original", "--minify"])
    assert "vit" in capsys.readouterr().out
    assert differences(content(folder / minified), content(tmp_path / "x.min.pt")) == []


def test_minify_takes_the_encoder_out_of_any_model(folder: Path, tmp_path: Path):
    convert(folder / FINE_TUNED[0], tmp_path / "encoder", "hf", minify=True)
    fine_tuned, alone = (ecg_signals.load_model(path) for path in (folder / FINE_TUNED[0], tmp_path / "encoder"))
    source = torch.randn(1, 12, 1250).clamp(-5, 5)
    with torch.no_grad():
        assert torch.equal(alone(source)["features"], fine_tuned(source)["features"])
    assert alone.cfg._name == "vit" and alone.signal == fine_tuned.signal


@torch.no_grad()
@pytest.mark.parametrize("name", ["chkpt.pt", "chkpt.min.pt"])
def test_biases_of_layer_norms_in_older_files_are_kept(name: str, folder: Path):
    model = ecg_signals.load_model(folder / "legacy_layernorm_bias" / name)
    inputs, wanted = (arrays(folder / part) for part in ("tiny_a/forward.npz", "legacy_layernorm_bias/outputs.npz"))
    source, masks = inputs["x"].float(), {key: inputs[key] for key in ("mask_encoder", "mask_predictor")}
    torch.testing.assert_close(model(source)["features"], wanted["target_full"], rtol=0, atol=5e-6)
    if name == "chkpt.pt":
        predicted = model(source, mask=True, **masks)["predicted"]
        torch.testing.assert_close(predicted, wanted["predictor_out"], rtol=0, atol=5e-6)


def windows(model: Any, folder: Path, data: Path, rows: list[int]) -> list[torch.Tensor]:
    """Rows of PTB-XL's table, prepared as the file's input contract says, each [windows, leads, samples]."""
    import pandas as pd

    table = pd.read_csv(data / "ptbxl_500" / "ptbxl_database.csv")
    records = [ecg_signals.read_record(data / "ptbxl_500" / f"{table['filename_hr'][row]}") for row in rows]
    return [model.signal.prepare(record) for record in records]


@torch.no_grad()
@pytest.mark.parametrize("run", RUNS)
def test_fine_tuned_files_predict_as_published(run: str, folder: Path, data: Path):
    """Logits of every crop, and the probabilities of records, from the records themselves."""
    expected = json.loads((folder / "finetune_eval" / "expected.json").read_text())[run]
    model = ecg_signals.load_model(folder / "finetune_eval" / f"{run}_best_chkpt.pt")
    assert model.labels == expected["classes"]
    crops, predictions = (np.load(folder / "finetune_eval" / f"{run}_{part}.npz") for part in
                          ("crop_logits", "predictions"))  # fmt: skip
    rows = expected["test_row_index"]
    prepared = windows(model, folder, data, rows[:10])
    logits = torch.stack([model(part)["logits"] for part in prepared])
    np.testing.assert_allclose(logits[:6], crops["crop_logits"], rtol=0, atol=1e-4)  # published input is float16
    found = model.probabilities(logits.mean(dim=1))
    np.testing.assert_allclose(found, predictions["test_predictions"][:10], rtol=0, atol=1e-4)


def test_the_input_is_cut_and_standardised_as_the_file_says(folder: Path):
    for file, window in ((FULL[0], 1250), (FULL[1], 625), (FINE_TUNED[0], 1250)):
        signal = ecg_signals.load_model(folder / file).signal
        assert (signal.window_samples, signal.stride_samples) == (window, round(window / 2))
    stored = content(folder / FINE_TUNED[0])["preprocess"]
    step = next(step for step in signal.steps if step["name"] == "normalise")
    assert step["mean"] == stored["mean"].tolist() and step["std"] == stored["std"].tolist()
    record = Record(np.random.default_rng(0).normal(size=(12, 5000)).astype(np.float32), 500.0, list(signal.leads))
    assert signal.prepare(record).shape == (7, 12, 1250)
    assert ecg_signals.load_model(folder / FULL[1]).signal.leads == ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]


def test_class_names_follow_from_the_task_where_all_classes_are_there(folder: Path, tmp_path: Path):
    assert {task: len(labels) for task, labels in CLASSES.items()} == {
        "all": 71, "diagnostic": 44, "subdiagnostic": 23, "superdiagnostic": 5, "form": 19, "rhythm": 12, "ST-MEM": 5,
    }  # fmt: skip
    raw = content(folder / FINE_TUNED[0])
    torch.save({**raw, "task": "form"}, tmp_path / "form.pt")  # five classes are not those of `form`
    assert ecg_signals.load_model(tmp_path / "form.pt").labels is None


def test_the_single_label_task_is_known_by_the_name_of_its_file(folder: Path, tmp_path: Path, caplog: Any):
    shutil.copy(folder / FINE_TUNED[2], tmp_path / "best.pt")
    assert ecg_signals.load_model(folder / FINE_TUNED[2]).logit_kind == "classes"
    with caplog.at_level("INFO"):
        assert ecg_signals.load_model(tmp_path / "best.pt").logit_kind == "labels"
    assert "single-label" in caplog.text


@pytest.mark.parametrize("file", [FULL[0], MINIFIED[0], FINE_TUNED[0]])
def test_a_weight_too_many_or_too_few_is_named(file: str, folder: Path, tmp_path: Path):
    raw = content(folder / file)
    last = next(key for key in reversed(raw["model"]) if "blocks.1" in key)
    short = {key: value for key, value in raw["model"].items() if key != last}
    extra = {**raw["model"], last.replace("blocks.1", "blocks.7"): raw["model"][last]}
    for state, said in ((short, "missing in the file"), (extra, "not in the model")):
        torch.save({**raw, "model": state}, tmp_path / "x.pt")
        with pytest.raises(ConfigError, match=said) as found:
            ecg_signals.load_model(tmp_path / "x.pt")
        assert "blocks." in str(found.value)


def test_files_that_do_not_say_how_they_are_built_are_refused(folder: Path, tmp_path: Path):
    raw = content(folder / FULL[0])
    for changed, said in (
        ({key: value for key, value in raw.items() if key != "config"}, "without 'config'"),
        ({**raw, "config": {"dim": 24}}, "lacks sampling_frequency, channels"),
        ({**raw, "config": {**raw["config"], "channels": ["I", "nonsense"]}}, "nonsense"),
        ({**raw, "eval_config": {}}, "no known head"),
    ):
        torch.save(changed, tmp_path / "x.pt")
        with pytest.raises(ConfigError, match=said) as found:
            ecg_signals.load_model(tmp_path / "x.pt")
        assert "x.pt" in str(found.value)


def test_a_model_of_ours_is_written_in_the_published_layout(tmp_path: Path):
    """With a head of its own that the published files have, and all keys that the published program asks for."""
    from ecg_signals.checkpoint.load import complete, load_source
    from ecg_signals.interop.ecg_jepa.contract import ecg_jepa
    from ecg_signals.interop.ecg_jepa.names import PRETRAINING, SAME
    from ecg_signals.interop.layout import ModelSource, get_layout, layout_of
    from ecg_signals.registry import build

    encoder = {"_name": "vit", "dim": 16, "depth": 1, "num_heads": 2, "num_registers": 1}
    options = {"encoder": encoder, "num_labels": 3, "pool": "register", "no_pretrained_weights": True}
    model = build("model", "classifier", **options)
    source = ModelSource("classifier", options, model.state_dict(), ["a", "b", "c"], ecg_jepa())
    source = complete(source)
    layout = layout_of(source.name, source.options)
    assert layout is not None and layout.models == get_layout("ecg_jepa").models
    layout.save(source, tmp_path / "own.pt")
    written = content(tmp_path / "own.pt")
    assert {*PRETRAINING, *SAME, "sampling_frequency", "channels"} == set(written["config"])
    assert written["config"]["channels"][3] == "AVR" and written["eval_config"]["num_classes"] == 3
    back = load_source(tmp_path / "own.pt")
    assert back.signal.steps[2]["std"] == pytest.approx(ecg_jepa().steps[2]["std"])  # float32 in the file
    assert back.signal.leads == ecg_jepa().leads and back.options["pool"] == "register"
    assert differences(dict(source.state), complete(back).state) == []
    assert layout_of("classifier", {**source.options, "pool": "max"}) is not layout


def test_windows_of_a_model_of_ours_are_in_the_published_layout(tmp_path: Path):
    from ecg_signals.checkpoint.load import complete, load_source
    from ecg_signals.interop.ecg_jepa.contract import ecg_jepa
    from ecg_signals.interop.layout import ModelSource, get_layout
    from ecg_signals.registry import build

    encoder, signal = {"dim": 16, "depth": 1, "num_heads": 2}, ecg_jepa(400, crop_seconds=5, stride_seconds=1)
    head = {"encoder": {"_name": "vit", **encoder}, "num_labels": 3, "no_pretrained_weights": True}
    for name, options in (("classifier", head), ("vit", encoder)):
        source = ModelSource(name, options, build("model", name, **options).state_dict(), signal=signal)
        get_layout("ecg_jepa").save(complete(source), tmp_path / f"{name}.pt")
    found = load_source(tmp_path / "classifier.pt").signal
    assert (found.window_samples, found.stride_samples) == (2000, 400)
    assert content(tmp_path / "vit.pt")["config"]["channel_size"] == 2000


@pytest.mark.parametrize(("last", "written"), [(None, 0.3), (0.0, 0.0)])
def test_a_weight_decay_that_stays_is_written_as_one(last: float | None, written: float):
    from ecg_signals.interop.ecg_jepa.names import published_config

    options = {"weight_decay": 0.3, "final_weight_decay": last}
    assert published_config(options, {}, {})["final_weight_decay"] == written


def test_reading_executes_nothing_and_needs_no_warning(folder: Path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ecg_signals.load_model(folder / FULL[0])
