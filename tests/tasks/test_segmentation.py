"""From LUDB's layout to marked waves on a sheet: preprocess, train, validate, draw."""

import json
import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.io import loadmat, savemat

import ecg_signals
from ecg_signals.cli import preprocess, train, validate, view
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.inference.predict import Predictor
from ecg_signals.inference.waves import Delineator, open_delineator
from ecg_signals.metrics.delineation import compare, delineate, match
from ecg_signals.readers.read import read_record
from ecg_signals.registry import build, get_entry
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.record import Record

ROOT = Path(__file__).parents[2]
WAVES = {"p": 0, "qrs": 1, "t": 2}
TINY = ["+model.initial_dim=4", "+model.kernel_size=5", "dataset.num_workers=0", "dataset.batch_size=8",
        "common.log_interval=1", "hydra/job_logging=none", "dataset.valid_subset=valid"]  # fmt: skip


def stand_in(source, dest, count):
    runpy.run_path(str(ROOT / "examples/segmentation/stand_in.py"))["main"](source, dest, count)
    return dest


def command(monkeypatch, main, *words):
    monkeypatch.setattr("sys.argv", ["command", *words])
    main()


@pytest.fixture(scope="module")
def ludb(data, tmp_path_factory):
    """Records of PTB-XL in LUDB's layout, preprocessed with leads together and alone."""
    home = tmp_path_factory.mktemp("ludb")
    raw = stand_in(data / "ptbxl_500/records500", home / "raw", 10)
    preprocess.run(["ludb", str(raw), str(home / "together"), "segment_seconds=2", "--workers", "1"])
    alone = ["separate_leads=true", "leads=II,V5", "segment_seconds=2"]
    preprocess.run(["ludb", str(raw), str(home / "alone"), *alone, "--workers", "1"])
    return home


@pytest.fixture(scope="module")
def trained(ludb):
    """A small model of all leads, trained until it knows the rule of the marks, and its run's folder."""
    monkeypatch = pytest.MonkeyPatch()
    words = [f"task.data={ludb}/together/manifest", "optimization.max_update=25", "optimization.lr=[2e-2]",
             "model.backbone=unet", "+model.dropout=0.0", "task.perturbation_mode=null",
             "dataset.validate_interval=100"]  # fmt: skip
    argv = ["--config-name", "scratch/segmentation", *words, *TINY, f"hydra.run.dir={ludb}/run"]
    command(monkeypatch, train.main, *argv)
    monkeypatch.undo()
    return ludb / "run"


def test_training_learns_where_waves_are(trained):
    rows = [json.loads(line) for line in (trained / "checkpoints/metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["split"] == "train_inner"]
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:3])
    valid = [row for row in rows if row["split"] == "valid"][-1]
    assert valid["accuracy"] > 0.5 and {"wave_f1", "qrs_onset_f1", "t_offset_f1"} <= set(valid)


def test_the_checkpoint_states_records_in_millivolt(trained):
    place = trained / "checkpoints/checkpoint_last.pt"
    section = torch.load(place, weights_only=True)["cfg"]["model"]
    assert section["sample_rate"] == 500 and section["args"] is None  # what fairseq-signals builds it from
    model = ecg_signals.load_model(place)
    assert model.of_samples and model.signal.window_samples == 1000
    assert [step["name"] for step in model.signal.steps] == ["resample"]


def test_validation_writes_how_well_boundaries_were_found(trained, ludb, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    command(monkeypatch, validate.main, "--config-name", "scratch/segmentation", f"task.data={ludb}/together/manifest",
            f"common_eval.path={trained}/checkpoints/checkpoint_last.pt", "dataset.valid_subset=train",
            "dataset.num_workers=0", "dataset.batch_size=3", f"hydra.run.dir={tmp_path}/out")  # fmt: skip
    table = pd.read_csv(tmp_path / "out/waves_train.csv")
    assert list(table["wave"]) == ["p", "p", "qrs", "qrs", "t", "t"]
    statistics = json.loads((tmp_path / "out/results.json").read_text())["statistics"]["train"]
    f1 = 2 * table["found"].sum() / (table["found"] + table["marked"] + table["extra"]).sum()
    assert statistics["wave_f1"] == pytest.approx(f1, abs=1e-4)
    qrs = table[table["wave"] == "qrs"]
    assert (qrs["sensitivity"] > 0.5).all() and (qrs["error_sd_ms"] < 150).all() and (qrs["tolerance_ms"] == 150).all()


def test_waves_are_drawn_on_the_sheet_and_written_as_a_table(trained, data, tmp_path):
    record = sorted((data / "ptbxl_500/records500").rglob("*.hea"))[0]
    checkpoint = str(trained / "checkpoints/checkpoint_last.pt")
    table, sheet = tmp_path / "waves.csv", tmp_path / "ecg.svg"
    view.run([str(record), "--out", str(sheet), "--waves", checkpoint, "--wave-table", str(table)])
    rows = pd.read_csv(table)
    assert set(rows["lead"]) == set(read_record(record).leads) or len(set(rows["lead"])) == 12
    drawn = sheet.read_text()
    assert drawn.count('class="wave-qrs"') > (rows["wave"] == "qrs").sum() / 12  # a key and bands in every column
    assert "QRS complex" in drawn


def test_a_model_of_waves_is_no_classifier(trained):
    with pytest.raises(ConfigError, match="ecg-view RECORD --waves"):
        Predictor(trained / "checkpoints/checkpoint_last.pt")


def test_a_classifier_marks_no_waves(golden):
    with pytest.raises(ConfigError, match="scratch/segmentation"):
        open_delineator(golden / "wcr/clf/checkpoint.pt")


def test_a_model_of_single_leads_with_labels_trains_and_marks_every_lead(ludb, data, monkeypatch, tmp_path):
    words = ["--config-name", "scratch/segmentation_cgm", f"task.data={ludb}/alone/manifest", *TINY, "+model.cgm_dim=4",
             "optimization.max_update=2", f"hydra.run.dir={tmp_path}/run"]  # fmt: skip
    command(monkeypatch, train.main, *words)
    delineator = open_delineator(tmp_path / "run/checkpoints/checkpoint_last.pt")
    record = read_record(sorted((data / "ptbxl_500/records500").rglob("*.hea"))[0])
    record.signal, record.leads = record.signal[1:4], ["II", "V1", "X"]
    assert list(delineator(record)) == ["II", "V1"]
    rows = [json.loads(line) for line in (tmp_path / "run/checkpoints/metrics.jsonl").read_text().splitlines()]
    valid = [row for row in rows if row["split"] == "valid"][-1]
    assert {"0_wave_f1", "0_accuracy", "1_auroc"} <= set(valid)


class Above(torch.nn.Module):
    """QRS where the input exceeds a height."""

    waves, cfg = WAVES, None

    def __init__(self, height):
        super().__init__()
        self.height = torch.nn.Parameter(torch.tensor(height))

    def forward(self, source):
        high = (source[:, 0] > self.height).float()
        return {"logits": torch.stack([high * 0 - 1, high, high * 0 - 1, 1 - high], dim=-1)}


def test_a_long_record_is_marked_as_its_windows_are():
    signal = np.zeros((1, 7300), np.float32)
    for begin in (990, 1995, 4000, 7250):
        signal[0, begin : begin + 30] = 2.0
    record = Record(signal, 500, ["II"])
    contract = SignalContract(500.0, ["II"], 2000, [])
    found = Delineator(Above(1.0), contract)(record)["II"]["qrs"] * 500
    assert found.round().astype(int).tolist() == [[b, b + 29] for b in (990, 1995, 4000, 7250)]


def test_a_lead_alone_is_normalised_without_the_others_and_every_window_for_itself():
    signal = np.zeros((2, 5000), np.float32)
    signal[1, 100:120], signal[1, 3500:3520], signal[0] = 1.0, 50.0, 1000 * np.sin(np.arange(5000))
    joint = {"name": "standardise", "jointly": True, "variance_eps": 1e-5}
    contract = SignalContract(500.0, ["II"], 2000, [{"name": "window"}, joint])
    found = Delineator(Above(2.0), contract)(Record(signal, 500, ["I", "II"]))["II"]["qrs"] * 500
    assert found.round().astype(int).tolist() == [[100, 119], [3500, 3519]]


def test_a_table_of_waves_is_no_picture(tmp_path):
    with pytest.raises(UsageError, match=r"waves\.csv"):
        view.run(["a.hea", "--waves", "m.pt", "--wave-table", str(tmp_path / "a.png")])


def test_padding_counts_neither_in_the_loss_nor_among_the_marks(ludb):
    manifest = ludb / "together/manifest/train.tsv"
    entry = get_entry("dataset", "segmentation")
    dataset = entry.cls(entry.dataclass(enable_padding=True), manifest)
    items = [dataset[0], dataset[1]]
    items[1]["source"] = items[1]["source"][:, :600]
    items[1]["tracks"] = {name: track[..., :600] for name, track in items[1]["tracks"].items()}
    batch = dataset.collate(items)
    assert batch["segment_label"].shape == (2, 1000) and batch["segment_mask"][1, 600:].all()
    assert "label" not in batch


def test_a_layer_norm_is_over_all_leads_together_and_in_the_contract(ludb):
    entry = get_entry("dataset", "segmentation")
    manifest = ludb / "together/manifest/train.tsv"
    dataset = entry.cls(entry.dataclass(normalize=True), manifest)
    stored = loadmat(Path(dataset.manifest.root) / dataset.name_of(0))["feats"]
    wanted = torch.nn.functional.layer_norm(torch.from_numpy(stored), stored.shape)
    torch.testing.assert_close(dataset[0]["source"], wanted, atol=1e-5, rtol=1e-5)
    steps = dataset.input_contract().steps
    assert steps[-1] == {"name": "standardise", "jointly": True, "variance_eps": 1e-5}


def test_the_nearest_pairs_are_matched_first_and_each_boundary_once():
    judged = np.ones(2000, bool)
    found = match(np.array([100, 160, 900]), np.array([150, 300, 1500]), judged, 500)
    assert (found.hits, found.extra, found.missed) == (1, 2, 2)  # 160-150 is nearest; 100 and 300 find no partner
    assert found.mean == pytest.approx(0.02) and np.isnan(found.deviation)
    exact = match(np.array([225]), np.array([150]), judged, 500)  # 150 ms
    assert exact.hits == 1 and match(np.array([226]), np.array([150]), judged, 500).hits == 0


def test_what_is_found_where_nothing_was_looked_for_counts_neither_way():
    judged = np.zeros(1000, bool)
    judged[300:701] = True
    assert match(np.array([100, 500, 900]), np.array([500]), judged, 500).extra == 0
    assert match(np.array([295]), np.array([300]), judged, 500).hits == 1  # just before what was marked


def test_a_perfect_answer_has_no_error():
    classes = np.full(1000, 3)
    classes[100:150], classes[200:240], classes[300:380] = 0, 1, 2
    found = compare(classes, classes, np.ones(1000, bool), WAVES, 500)
    assert all((one.f1, one.mean, one.missed) == (1, 0, 0) for one in found.values()) and len(found) == 6
    assert delineate(classes, WAVES)["qrs"].tolist() == [[200, 239]]


def marked_files(folder, **tracks):
    """A dataset of two files of 12 leads and 20 samples, with these tracks beside the signal."""
    folder.mkdir()
    for name in ("a", "b"):
        arrays = {"feats": np.random.default_rng(0).normal(size=(12, 20)), "curr_sample_rate": 500, **tracks}
        savemat(folder / f"{name}.mat", arrays)
    (folder / "train.tsv").write_text(f"{folder}\na.mat\t20\nb.mat\t20\n")
    entry = get_entry("dataset", "segmentation")
    return entry.cls(entry.dataclass(), folder / "train.tsv")


def test_all_is_marked_in_a_file_that_says_nothing_else(tmp_path):
    dataset = marked_files(tmp_path / "files", segment_label=np.full((1, 20), 3))
    batch = dataset.collate([dataset[0], dataset[1]])
    assert batch["segment_mask"].shape == (2, 20) and not batch["segment_mask"].any()


def test_a_file_that_marks_a_class_that_the_model_does_not_have_is_named(tmp_path):
    dataset = marked_files(tmp_path / "files", segment_label=np.full((1, 20), 4))
    assert dataset[1]["tracks"]["segment_label"].max() == 4
    model = build("model", "unet_segmentor", initial_dim=2, in_d=12)
    build("task", "ecg_segmentation", data=str(tmp_path)).align(model, build("criterion", "cross_entropy"), dataset)
    with pytest.raises(ConfigError, match=r"b\.mat marks samples as class 4.*model\.label_idx"):
        dataset[1]


def test_a_focal_loss_has_a_slope_where_the_right_class_is_certain():
    logits = torch.tensor([[[40.0, 0, 0, 0], [0, 1.0, 0, 0]]], requires_grad=True)
    batch = {"net_input": {"source": torch.zeros(1, 1, 2)}, "segment_label": torch.tensor([[0, 2]])}
    for gamma in (0.0, 0.5, 1.0, 2.0):
        found = build("criterion", "cross_entropy", focal_loss=True, gamma=gamma)(lambda **_: {"logits": logits}, batch)
        ce = -np.log(1 / (3 + np.e))
        assert found.loss.item() == pytest.approx((1 - np.exp(-ce)) ** gamma * ce, rel=1e-5)
        (slope,) = torch.autograd.grad(found.loss, logits)
        assert slope.isfinite().all()


@pytest.mark.parametrize("name", ["binary_cross_entropy_with_logits", "mse", "cross_entropy"])
def test_a_criterion_of_labels_says_that_there_are_none(name):
    batch = {"net_input": {"source": torch.zeros(1, 1, 4)}}
    with pytest.raises(ConfigError, match=r"the data have none; set task\.label_file"):
        build("criterion", name)(lambda **_: {"logits": torch.zeros(1, 4)}, batch)
