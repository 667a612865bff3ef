"""ECG-JEPA's fine-tuned files through our datasets and evaluations: the published predictions on 500 PTB-XL records."""

import json
from pathlib import Path

import numpy as np
import pandas
import pytest
import scipy.io

from ecg_signals import load_model, read_record
from ecg_signals.composition import resolve_config
from ecg_signals.evaluation.evaluator import Evaluator
from ecg_signals.evaluation.table import TableOptions, run_table
from ecg_signals.metrics.ranking import ranking_metrics
from ecg_signals.readers.npy_file import load_npz
from ecg_signals.runtime.placement import Placement
from ecg_signals.signal.leads import LEADS
from ecg_signals.trainer import Trainer

RUNS = ["linear__superdiagnostic", "finetune_after_linear__superdiagnostic", "finetune__ST-MEM"]


@pytest.fixture(params=RUNS)
def published(request, golden):
    """A checkpoint, its predictions on fold 10, and what else is known of the run."""
    folder = golden / "jepa" / "finetune_eval"
    facts = json.loads((folder / "expected.json").read_text())[request.param]
    with np.load(folder / f"{request.param}_predictions.npz") as arrays:
        return folder / f"{request.param}_best_chkpt.pt", dict(arrays), facts


def names(data, rows):
    return pandas.read_csv(data / "ptbxl_500" / "ptbxl_database.csv")["filename_hr"].iloc[rows].tolist()


def check(found, predictions, facts):
    np.testing.assert_allclose(found, predictions["test_predictions"], atol=1e-4)
    auroc = ranking_metrics(found, predictions["test_targets"]).auroc
    wanted = [np.nan if value is None else value for value in facts["per_class_test_auc"]]
    np.testing.assert_allclose(auroc, wanted, atol=1e-9)


def test_record_files_get_the_published_predictions(published, data, tmp_path):
    """ecg-test: what the checkpoint's own input contract says, from raw records on."""
    path, predictions, facts = published
    targets, single = predictions["test_targets"], facts["task"] == "ST-MEM"
    table = {"filename": names(data, facts["test_row_index"])}
    table |= {"class": targets.argmax(1)} if single else dict(zip(facts["classes"], targets.T.astype(int)))
    pandas.DataFrame(table).to_csv(tmp_path / "t.csv", index=False)
    run_table(load_model(path), TableOptions(
        str(tmp_path / "t.csv"), ecg_dir=str(data / "ptbxl_500"), out=str(tmp_path), label_start_index=1,
        batch_size=100, save_probabilities=True,
    ))  # fmt: skip
    check(np.load(tmp_path / "probs/t/probs_0_bs100.npy"), predictions, facts)


def write_segments(folder: Path, data: Path, rows, targets, split: str) -> None:
    """Whole records in mV as ecg-preprocess stores them without standardising, their manifest and labels."""
    (folder / split).mkdir(parents=True)
    for number, name in enumerate(names(data, rows)):
        signal = read_record(data / "ptbxl_500" / name).signal
        content = {"feats": signal, "curr_sample_rate": 500, "idx": number}
        scipy.io.savemat(folder / split / f"{number}.mat", content)
    lines = "".join(f"{number}.mat\t5000\n" for number in range(len(rows)))
    (folder / f"{split}.tsv").write_text(f"{folder / split}\n{lines}")
    np.save(folder / f"{split}.npy", targets.astype(np.float64))


def preprocessing(folder: Path, model) -> dict[str, object]:
    """The contract's mean, deviation and clip as options of a dataset of segments."""
    step = next(step for step in model.signal.steps if step["name"] == "normalise")
    for key in ("mean", "std"):
        values = dict(zip(model.signal.leads, step[key]))
        np.savetxt(folder / f"{key}.txt", [values[lead] for lead in LEADS])
    return {"normalize": True, "mean_path": str(folder / "mean.txt"), "std_path": str(folder / "std.txt")}


@pytest.mark.parametrize("published", RUNS[1:], indirect=True)
def test_a_manifest_of_whole_records_gets_the_published_predictions(published, data, tmp_path):
    """ecg-validate: windows and rule are the checkpoint's; its .npz is the published one's twin."""
    path, predictions, facts = published
    model = load_model(path)
    if model.signal.sample_rate != 500:
        pytest.skip("the stored segments have 500 Hz")
    write_segments(tmp_path, data, facts["test_row_index"], predictions["test_targets"], "test")
    sections = {
        "task": {"_name": "ecg_classification", "data": str(tmp_path), "label_file": str(tmp_path / "test.npy"),
                 **preprocessing(tmp_path, model)},
        "dataset": {"batch_size": 16, "num_workers": 0, "valid_subset": "test", "clip": 5.0},
        "criterion": {"_name": "multi_class" if facts["task"] == "ST-MEM" else "multi_label"},
        "common_eval": {"path": str(path), "predictions": str(tmp_path / "out.npz")},
    }  # fmt: skip
    printed = Evaluator(sections, Placement()).validate()["test"]
    written = load_npz(tmp_path / "out.npz")
    np.testing.assert_array_equal(written["test_targets"], predictions["test_targets"])
    check(written["test_predictions"], predictions, facts)
    wanted = [value for value in facts["per_class_test_auc"] if value is not None]
    assert printed["auroc"] == pytest.approx(np.mean(wanted), abs=1e-9)


def test_a_published_probe_is_fine_tuned_on_with_its_head(golden, data, tmp_path):
    """jepa/finetune_after_linear from a published file: the first validation is of the file's own predictions."""
    folder = golden / "jepa" / "finetune_eval"
    facts = json.loads((folder / "expected.json").read_text())[RUNS[0]]
    path, model = folder / f"{RUNS[0]}_best_chkpt.pt", load_model(folder / f"{RUNS[0]}_best_chkpt.pt")
    with np.load(folder / f"{RUNS[0]}_predictions.npz") as arrays:
        write_segments(tmp_path, data, facts["test_row_index"], arrays["test_targets"], "train")
    (tmp_path / "valid.tsv").write_text((tmp_path / "train.tsv").read_text())
    (tmp_path / "label_def.csv").write_text("name\n" + "\n".join(facts["classes"]) + "\n")
    trainer = Trainer(resolve_config({
        "task": {"_name": "ecg_classification", "data": str(tmp_path), "label_file": str(tmp_path / "train.npy"),
                 "max_sample_size": 1250, **preprocessing(tmp_path, model)},
        "dataset": {"batch_size": 16, "num_workers": 0, "window_stride": 625,
                    "window_rule": "mean_logits", "clip": 5.0, "validate_interval": 0, "validate_interval_updates": 1},
        "criterion": {"_name": "multi_label"},
        "optimizer": {"_name": "adamw"},
        "lr_scheduler": {"_name": "fixed"},
        "optimization": {"lr": [0.0], "max_update": 1},
        "model": {"_name": "classifier", "model_path": str(path), "keep_head": True, "encoder_dropout": 0.1},
        "checkpoint": {"no_save": True, "best_checkpoint_metric": "auroc", "maximize_best_checkpoint_metric": True},
    }))  # fmt: skip
    assert trainer.model.labels == facts["classes"] and trainer.model.cfg.encoder.dropout == 0.1
    trainer.train()
    assert trainer.validation.best_printed["valid"] == pytest.approx(np.mean(facts["per_class_test_auc"]), abs=1e-3)
