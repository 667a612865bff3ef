"""ecg-calibrate: from a classifier whose logits are known to probabilities that come true, through every file."""

import json
import sys
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import expit, logit, softmax
from torch import nn

from ecg_signals import load_model, read_record
from ecg_signals.checkpoint.convert import convert, store_calibration
from ecg_signals.checkpoint.load import load_source
from ecg_signals.checkpoint.write import write_checkpoint
from ecg_signals.cli.calibrate import main
from ecg_signals.config import BaseConfig, ConfigError, UsageError, option
from ecg_signals.inference.calibrate import answers_to, calibrate
from ecg_signals.inference.predict import Predictor, as_text
from ecg_signals.inference.validation_files import answers_to_files
from ecg_signals.interop.layout import ModelSource, get_layout
from ecg_signals.metrics.likeness import distances
from ecg_signals.metrics.recalibration import pooled_error
from ecg_signals.models.base import BaseModel
from ecg_signals.preprocess.mat_writer import write_mat
from ecg_signals.registry import REGISTRIES, register_model
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record

LABELS, SAMPLES = 48, 250
NAMES = [f"label {number}" for number in range(LABELS)]
SHARES = np.geomspace(0.02, 0.5, LABELS)
WEIGHTS = (1 - SHARES) / SHARES
DIM = 10  # of what the head reads
TRUE_SLOPE = 0.8  # of the log odds in the model's logits


@dataclass
class EchoConfig(BaseConfig):
    num_labels: int = option(LABELS, "labels")


class Echo(BaseModel):
    """Its logits are the first samples of lead I."""

    def __init__(self, cfg):
        super().__init__(cfg)
        self.factor = nn.Parameter(torch.ones(1))

    def forward(self, source, padding_mask=None):
        logits = source[:, 0, : self.cfg.num_labels] * self.factor
        return {"features": source.transpose(1, 2), "pooled": source[:, 0, :DIM], "logits": logits}


@pytest.fixture(scope="module", autouse=True)
def echo():
    register_model("echo", dataclass=EchoConfig)(Echo)
    yield
    del REGISTRIES["model"].entries["echo"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """What ecg-preprocess writes, of drawn log odds: 400 records to validate on, 400 held out, two windows each."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(7)
    for name in ("segmented", "manifest", "labels"):
        (folder / name).mkdir()
    odds = logit(SHARES) + 1.5 * rng.standard_normal((800, LABELS))
    truth = (rng.random(odds.shape) < expit(odds)).astype(float)
    logits = odds / TRUE_SLOPE + np.log(WEIGHTS)
    for split, records in {"valid": range(400), "test": range(400, 800)}.items():
        rows = []
        for record in records:
            signal = np.zeros((12, SAMPLES), dtype=np.float32)
            signal[0, :LABELS] = logits[record]
            for window in range(2):
                content = {"feats": signal, "curr_sample_rate": 500.0, "idx": record, "patient_id": record // 2}
                write_mat(folder / "segmented" / f"{record}_{window}.mat", content)
                rows.append(f"{record}_{window}.mat\t{SAMPLES}\n")
        (folder / "manifest" / f"{split}.tsv").write_text(f"{folder / 'segmented'}\n{''.join(rows)}")
    np.save(folder / "labels" / "y.npy", truth)
    (folder / "labels" / "label_def.csv").write_text("name\n" + "".join(f"{name}\n" for name in NAMES))
    return folder


def described(weights=tuple(WEIGHTS)):
    criterion = {"_name": "binary_cross_entropy_with_logits", "pos_weight": None if weights is None else list(weights)}
    return ModelSource(
        "echo", {"num_labels": LABELS}, {"factor": torch.ones(1)}, labels=list(NAMES),
        signal=SignalContract(500.0, list(LEADS), SAMPLES), logit_kind="labels",
        cfg={"criterion": criterion, "task": {"_name": "ecg_classification"}},
    )  # fmt: skip


def saved(path, layout="ecg_signals"):
    get_layout(layout).save(described(), path)
    return path


def ecg_calibrate(*arguments, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["ecg-calibrate", *map(str, arguments)])
    main()
    return capsys.readouterr().out


@pytest.fixture(scope="module")
def calibrated(data, tmp_path_factory):
    """A calibrated file, and what ecg-calibrate printed."""
    path = saved(tmp_path_factory.mktemp("calibrated") / "model.pt")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["ecg-calibrate", str(path), "--data", str(data)])
        main()
    return path


def test_probabilities_come_true_on_records_that_were_held_out(data, calibrated):
    stored = load_model(calibrated).calibration.stored
    assert stored["ece_before"] > 0.15 and stored["ece_after"] < 0.01
    assert stored["a"] == pytest.approx(TRUE_SLOPE, abs=0.05) and stored["n_records"] == 400
    assert stored["n_patients"] == 200 and stored["subset"] == "valid" and len(stored["data_hash"]) == 64
    held = answers_to(str(calibrated), load_source(calibrated), str(data), "test", {})
    answers = load_model(calibrated).calibration.of_record(torch.from_numpy(held.free)).sigmoid().numpy()
    assert pooled_error(held.targets, expit(held.logits)) > 0.15
    assert pooled_error(held.targets, answers) < 0.01


def test_every_layout_keeps_it_bit_by_bit_and_predicts_the_same(calibrated, tmp_path):
    wanted = load_model(calibrated).calibration
    convert(calibrated, tmp_path / "folder", "hf")
    convert(tmp_path / "folder", tmp_path / "back.pt", "fairseq")
    for source in (tmp_path / "folder", tmp_path / "back.pt", tmp_path / "folder" / "model.safetensors"):
        assert load_model(source).calibration == wanted
        assert Predictor(source).aggregate(torch.ones(2, LABELS)).tolist() == Predictor(calibrated).aggregate(
            torch.ones(2, LABELS)
        ).tolist()
    assert torch.load(calibrated, weights_only=True)["extra_state"]["ecg_signals"]["calibration"] == wanted.stored
    assert "calibration" not in json.loads((tmp_path / "folder" / "config.json").read_text())["ecg_signals"]["cfg"]


def test_it_is_written_in_place_or_as_a_copy_and_leaves_all_else_as_it_was(data, tmp_path, monkeypatch, capsys):
    for path in (saved(tmp_path / "model.pt"), saved(tmp_path / "folder", "huggingface")):
        before = load_source(path)
        said = ecg_calibrate(path, "--data", data / "manifest", "--out", tmp_path / f"{path.name}_copy",
                             monkeypatch=monkeypatch, capsys=capsys)  # fmt: skip
        assert "0.0" in said and load_source(path).calibration == before.calibration
        ecg_calibrate(path, "--data", data, monkeypatch=monkeypatch, capsys=capsys)
        after = load_source(path)
        assert after.calibration.fitted and after.calibration == load_source(tmp_path / f"{path.name}_copy").calibration
        assert (after.cfg, after.labels, after.signal) == (before.cfg, before.labels, before.signal)


def test_a_failed_write_leaves_the_checkpoint_as_it_was(data, calibrated, tmp_path, monkeypatch):
    path = saved(tmp_path / "model.pt")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(ConfigError, match="No space left"):
        store_calibration(load_source(path), load_source(calibrated).calibration, path)
    assert path.read_bytes() == before and [item.name for item in tmp_path.iterdir()] == ["model.pt"]


def test_others_files_stay_as_they_are(data, tmp_path, monkeypatch, capsys):
    path = saved(tmp_path / "peer.pt", "fairseq_signals")
    with pytest.raises(SystemExit) as ended:
        ecg_calibrate(path, "--data", data, monkeypatch=monkeypatch, capsys=capsys)
    assert ended.value.code == 1 and "--out" in capsys.readouterr().err
    ecg_calibrate(path, "--data", data, "--out", tmp_path / "own.pt", monkeypatch=monkeypatch, capsys=capsys)
    assert load_source(tmp_path / "own.pt").calibration.fitted and not load_source(path).calibration.fitted


def test_records_that_do_not_fit_are_named(data, calibrated, tmp_path):
    with pytest.raises(ConfigError, match="answers with values, not with probabilities, so there is nothing to calib"):
        answers_to("x.pt", replace(load_source(calibrated), logit_kind="values"), str(data), "valid", {})
    with pytest.raises(ConfigError, match="no folder"):
        answers_to("x.pt", load_source(calibrated), str(tmp_path / "none"), "valid", {})
    with pytest.raises(ConfigError, match=r"nothing\.tsv"):
        answers_to(str(calibrated), load_source(calibrated), str(data), "nothing", {})


CLASS_NAMES = ["rhythm a", "rhythm b", "rhythm c", "rhythm d"]
TEMPERATURE = 3.0


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Manifests of 500 records of four classes, whose logits are too large, and a model that says them."""
    folder = tmp_path_factory.mktemp("classes")
    rng = np.random.default_rng(3)
    odds = 1.5 * rng.standard_normal((500, 4)) - np.arange(4) / 2
    truth = np.array([rng.choice(4, p=softmax(row)) for row in odds])
    (folder / "records").mkdir()
    for number, row in enumerate(odds):
        signal = np.zeros((12, SAMPLES), dtype=np.float32)
        signal[0, :4] = TEMPERATURE * row
        content = {"feats": signal, "curr_sample_rate": 500.0, "idx": number, "patient_id": number // 2}
        write_mat(folder / "records" / f"{number}.mat", content)
    rows = "".join(f"{number}.mat\t{SAMPLES}\n" for number in range(500))
    (folder / "valid.tsv").write_text(f"{folder / 'records'}\n{rows}")
    np.save(folder / "numbers.npy", truth[:, None].astype(float))
    np.save(folder / "columns.npy", np.eye(4)[truth])
    source = ModelSource(
        "echo", {"num_labels": 4}, {"factor": torch.ones(1)}, labels=CLASS_NAMES, logit_kind="classes",
        signal=SignalContract(500.0, list(LEADS), SAMPLES),
        cfg={"criterion": {"_name": "cross_entropy"}, "task": {"_name": "ecg_classification"}},
    )  # fmt: skip
    get_layout("ecg_signals").save(source, folder / "model.pt")
    return folder


def test_a_model_of_classes_gets_one_temperature(classes, tmp_path, monkeypatch, capsys):
    """The error of the most probable class before and after, from labels of either form."""
    found = []
    for form in ("numbers", "columns"):
        dest = tmp_path / f"{form}.pt"
        words = [classes / "model.pt", "--data", classes, "--out", dest, f"task.label_file={classes / form}.npy"]
        said = ecg_calibrate(*words, monkeypatch=monkeypatch, capsys=capsys)
        assert "error of the most probable class: 0." in said and "temperature 3." in said
        found.append(load_model(dest).calibration)
    first, second = found
    assert first == second and first.stored["method"] == "temperature"
    assert 1 / first.stored["a"] == pytest.approx(TEMPERATURE, rel=0.15)
    assert first.stored["ece_before"] > 0.15 and first.stored["ece_after"] < first.stored["ece_before"] / 3
    convert(dest, tmp_path / "folder", "hf")
    assert load_model(tmp_path / "folder").calibration == second
    with pytest.raises(UsageError, match="affine is not for a model that chooses one class"):
        calibrate(answers_to(str(dest), load_source(dest), str(classes), "valid",
                             {"task": {"label_file": str(classes / "numbers.npy")}}), [0.0] * 4, "affine")  # fmt: skip


def test_answers_of_classes_sum_to_one_and_one_at_most_is_present(classes, tmp_path, monkeypatch, capsys):
    words = [classes / "model.pt", "--data", classes, "--out", tmp_path / "a.pt"]
    label_file = f"task.label_file={classes / 'columns.npy'}"
    ecg_calibrate(*words, label_file, monkeypatch=monkeypatch, capsys=capsys)
    predictor = Predictor(tmp_path / "a.pt")
    signal = np.zeros((12, SAMPLES), dtype=np.float32)
    signal[0, :4] = [0.0, 9.0, 1.0, 0.0]
    found = predictor._predict("a", Record(signal, 500.0, list(LEADS)), None)
    wanted = softmax(predictor.calibration.stored["a"] * signal[0, :4].astype(float))
    np.testing.assert_allclose(list(found.probabilities.values()), wanted, rtol=1e-5)
    decided = [each["decision"] for each in found.decisions]
    assert found.calibrated and decided[1] == "present" and decided.count("present") == 1
    assert "rhythm b" in as_text([found]).split("present:\n")[1].splitlines()[0]
    with pytest.raises(UsageError, match="chooses one class"):
        Predictor(tmp_path / "a.pt", prevalence={"rhythm b": 0.1})


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A table of 24 record files of the sample, one of zeros and one that is not there, and labels of them."""
    import ecg_signals.sample

    folder = tmp_path_factory.mktemp("files")
    headers = sorted(Path(next(iter(ecg_signals.sample.__path__))).rglob("*.hea"))[:24]
    np.save(folder / "zeros.npy", np.zeros((12, 5000), dtype=np.float32))
    rng = np.random.default_rng(0)
    rows = {"path": [*map(str, headers), "zeros.npy", "nowhere.dcm"], "patient_id": [*np.arange(24) // 2, None, None]}
    table = pd.DataFrame(rows | {name: rng.integers(0, 2, 26) for name in NAMES[:-1]})
    table.loc[3, NAMES[0]] = np.nan
    table.to_csv(folder / "labels.csv", index=False)
    return folder / "labels.csv"


def test_records_files_and_a_table_of_labels_calibrate_as_manifests_do(files, tmp_path, monkeypatch, capsys, caplog):
    path = saved(tmp_path / "model.pt")
    found = answers_to_files(str(path), load_source(path), str(files))
    table = pd.read_csv(files)
    np.testing.assert_array_equal(found.targets[:, :-1], table[NAMES[:-1]].to_numpy()[:24])
    assert np.isnan(found.targets[:, -1]).all() and len(np.unique(found.owners)) == 12
    assert "no column 'label 47'" in caplog.text
    assert "zeros.npy: the median lead spans 0 mV" in caplog.text and "nowhere.dcm" in caplog.text
    predictor = Predictor(path)
    windows = predictor.logits(read_record(table["path"][5]))
    np.testing.assert_allclose(found.free[5], predictor.joined(windows))
    np.testing.assert_allclose(found.logits[5], Predictor(path, published=True).joined(windows), atol=1e-6)
    said = ecg_calibrate(path, "--data", files, monkeypatch=monkeypatch, capsys=capsys)
    assert "24 records of 12 patients (labels.csv)" in said and load_source(path).calibration.fitted
    assert "cannot tell records unlike these, which takes 50" in said
    np.testing.assert_allclose(found.pooled[5], predictor.answers(read_record(table["path"][5]))[1], atol=1e-6)


def test_a_table_of_files_that_does_not_fit_is_named(files, tmp_path, monkeypatch, capsys):
    path = saved(tmp_path / "model.pt")
    for columns, message in (
        ({"name": ["a"]}, "column 'path'"), ({"path": ["a.dcm"]}, "no column 'label 0'"),
        ({"path": ["a.dcm"], "label 0": [2]}, "neither 0 nor 1"), ({"path": ["a.dcm"], "label 0": [1]}, "none of the"),
    ):  # fmt: skip
        pd.DataFrame(columns).to_csv(tmp_path / "t.csv", index=False)
        with pytest.raises(ConfigError, match=message):
            answers_to_files(str(path), load_source(path), str(tmp_path / "t.csv"))
    for words in (["--data", files, "task.seed=1"], ["--data", tmp_path, "--units", "uV"]):
        with pytest.raises(SystemExit) as ended:
            ecg_calibrate(path, *words, monkeypatch=monkeypatch, capsys=capsys)
        assert ended.value.code == 2


def record(odds):
    """Its windows have these log odds, in the model's scale."""
    signal = np.zeros((12, 2 * SAMPLES), dtype=np.float32)
    signal[0] = np.tile(np.pad(odds / TRUE_SLOPE + np.log(WEIGHTS), (0, SAMPLES - LABELS)), 2)
    return Record(signal, 500.0, list(LEADS))


def test_answers_are_probabilities_with_decisions_that_the_text_says(calibrated):
    predictor = Predictor(calibrated)
    odds = np.full(LABELS, -4.0)
    odds[44], odds[42] = 3.0, 0.0
    found = predictor._predict("a", record(odds), None)
    assert found.calibrated and found.probabilities["label 44"] == pytest.approx(expit(3.0), abs=0.06)
    decided = {name: answer["decision"] for name, answer in zip(NAMES, found.decisions)}
    assert decided["label 44"] == "present" and decided["label 47"] == "absent"
    assert decided["label 0"] in ("absent", "not validated")
    ends = found.decisions[42]["interval"]
    assert ends[0] < found.probabilities["label 42"] + 0.05 and ends[1] > found.probabilities["label 42"] - 0.05
    text = as_text([found])
    assert "present:\n    label 44" in text and "others below threshold" in text and "score" not in text
    windows = [window["probabilities"] for window in found.windows]
    assert windows[0] == windows[1] == pytest.approx(found.probabilities, abs=1e-6)
    assert expit(predictor.logit(predictor.logits(record(odds)), "label 44")) == pytest.approx(
        found.probabilities["label 44"], abs=1e-6
    )


def test_a_record_unlike_those_of_the_validation_is_told(calibrated, data):
    held = answers_to(str(calibrated), load_source(calibrated), str(data), "test", {})
    assert held.pooled.shape == (400, DIM)
    known = load_model(calibrated).calibration.stored["likeness"]
    assert (distances(known, held.pooled) > known["limit"]).mean() < 0.02
    for published in (False, True):
        predictor = Predictor(calibrated, published=published)
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message="unlike")
            predictor._predict("a", record(logit(SHARES)), None)
        with pytest.warns(UserWarning, match="unlike the ECGs that this model was validated on: the distance is"):
            predictor._predict("a", record(logit(SHARES) + 12), None)


def test_another_prevalence_moves_probability_threshold_and_interval_and_decides_alike(calibrated):
    stored = load_model(calibrated).calibration.stored
    odds = np.zeros(LABELS)
    plain, moved = (Predictor(calibrated, prevalence=share)._predict("a", record(odds), None)
                    for share in ({}, {"label 42": 0.02}))  # fmt: skip
    shift = logit(0.02) - logit(stored["prevalence"][42])
    assert logit(moved.probabilities["label 42"]) - logit(plain.probabilities["label 42"]) == pytest.approx(shift)
    for key in ("decision", "sensitivity"):
        assert moved.decisions[42][key] == plain.decisions[42][key]
    assert logit(moved.decisions[42]["threshold"]) - logit(plain.decisions[42]["threshold"]) == pytest.approx(shift)
    assert moved.probabilities["label 44"] == plain.probabilities["label 44"]
    for share, said in (({"label 99": 0.1}, "label 99"), ({"label 3": 1.5}, "between 0 and 1")):
        with pytest.raises(UsageError, match=said):
            Predictor(calibrated, prevalence=share)
    with pytest.raises(UsageError, match="run ecg-calibrate"):
        Predictor(calibrated, prevalence={"label 3": 0.1}, published=True)


def test_the_published_arithmetic_is_one_option_away(calibrated):
    found = Predictor(calibrated, published=True)
    logits = torch.linspace(-3, 3, LABELS)[None]
    np.testing.assert_allclose(found.aggregate(logits), logits[0].sigmoid(), atol=1e-7)
    assert not found.calibrated and found.about["calibrated"] is False
    model = load_model(calibrated)
    torch.testing.assert_close(model.probabilities(logits, published=True), logits.sigmoid())


@pytest.mark.parametrize("layout", ["ecg_signals", "fairseq_signals", "huggingface"])
def test_pos_weight_is_taken_back_without_any_data(tmp_path, layout):
    """Acceptance 3.5.1: sigmoid(z - log w) to 1e-6."""
    path = saved(tmp_path / "model", layout)
    logits = torch.from_numpy(np.random.default_rng(0).normal(0, 4, (5, LABELS))).float()
    wanted = expit(logits.double().numpy() - np.log(WEIGHTS))
    np.testing.assert_allclose(load_model(path).probabilities(logits), wanted, atol=1e-6, rtol=0)
    np.testing.assert_allclose(Predictor(path, labels=NAMES).aggregate(logits), wanted.mean(axis=0), atol=1e-6, rtol=0)
    assert not Predictor(path, labels=NAMES).calibrated


def test_published_files_answer_without_what_their_criterion_added(golden):
    weights = [0.25, 2.333333, 2.333333, 9.0, 4.0, 4.0, 9.0, 9.0]
    model = load_model(golden / "wcr" / "clf" / "checkpoint.pt")
    logits = torch.linspace(-5, 5, 8)
    np.testing.assert_allclose(model.probabilities(logits), expit(logits.numpy() - np.log(weights)), atol=1e-6, rtol=0)


def test_fine_tuning_and_training_on_start_without_it(classification, sample, tmp_path):
    from ecg_signals.composition import resolve_config
    from ecg_signals.trainer import Trainer

    sections = {**classification, "optimization": {"max_update": 1, "lr": [1e-3]}}
    Trainer(resolve_config(sections)).train()
    path = tmp_path / "checkpoints" / "checkpoint_last.pt"
    source = load_source(path)
    assert source.calibration.log_pos_weight == pytest.approx(np.log([1.0, 2.0, 3.0]))
    content = {key: np.zeros(3).tolist() for key in ("b", "prevalence", "n_positive", "n_known", "log_pos_weight")}
    content |= {"method": "affine", "a": 1.0, "curves": [None] * 3, "thresholds": [None] * 3, "bands": None}
    content |= {"n_records": 4, "n_patients": 4, "ece_before": 0.2, "ece_uncalibrated": 0.1, "ece_after": 0.0}
    content |= {"subset": "valid", "data_hash": "", "date": "2026-01-01"}
    raw = torch.load(path, weights_only=True)
    raw["extra_state"]["ecg_signals"]["calibration"] = content
    write_checkpoint(path, raw)
    assert load_source(path).calibration.fitted
    tuned = {**sections["model"], "model_path": str(path), "no_pretrained_weights": False}
    save = {"save_dir": str(tmp_path / "tuned")}
    Trainer(resolve_config({**sections, "model": tuned, "checkpoint": save})).train()
    assert not load_source(tmp_path / "tuned" / "checkpoint_last.pt").calibration.fitted
    Trainer(resolve_config({**sections, "optimization": {"max_update": 2, "lr": [1e-3]}})).train()
    assert not load_source(path).calibration.fitted


def test_transformers_training_drops_it(calibrated, tmp_path):
    pytest.importorskip("transformers")
    from transformers import AutoModelForSequenceClassification

    import ecg_signals.hf  # noqa: F401

    convert(calibrated, tmp_path / "folder", "hf")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "folder")
    model.save_pretrained(tmp_path / "kept")
    assert load_source(tmp_path / "kept").calibration == load_source(calibrated).calibration
    model.train()
    model.save_pretrained(tmp_path / "trained")
    found = load_source(tmp_path / "trained").calibration
    assert not found.fitted and not any(found.log_pos_weight)
