"""The input contract of a trained model: read off its training data, stored in its checkpoints."""

import copy
import dataclasses
import logging

import numpy as np
import pytest
import scipy.io
import torch

from ecg_signals import load_model, read_record
from ecg_signals.composition import resolve_config
from ecg_signals.interop.fairseq_signals.contract import ecg_fm
from ecg_signals.interop.hubert_ecg.contract import hubert_ecg
from ecg_signals.registry import get_entry
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record
from ecg_signals.signal.segments import segment_contract
from ecg_signals.trainer import Trainer


def train(recipe, **changes):
    recipe = copy.deepcopy(recipe)
    recipe["optimization"]["max_update"] = 1
    for name, value in changes.items():
        section, _, key = name.partition("__")
        recipe[section][key] = value
    trainer = Trainer(resolve_config(recipe))
    trainer.train()
    return trainer


def checkpoint(trainer):
    return trainer.save_dir / "checkpoint_last.pt"


def dataset(folder, **options):
    entry = get_entry("dataset", "ecg_file")
    return entry.cls(entry.dataclass(**options), folder / "train.tsv", training=True)


@pytest.fixture
def segments(tmp_path):
    """A manifest of 600-sample segments at 250 Hz; `write(scale)` makes z-scores (1) or raw values."""

    def write(scale=1.0, leads=12):
        rng = np.random.default_rng(0)
        for index in range(4):
            content = {"feats": scale * rng.standard_normal((leads, 600)), "curr_sample_rate": 250, "idx": index}
            scipy.io.savemat(tmp_path / f"s{index}.mat", content)
        (tmp_path / "train.tsv").write_text(f"{tmp_path}\n" + "".join(f"s{i}.mat\t600\n" for i in range(4)))
        return tmp_path

    return write


def test_a_checkpoint_carries_the_contract_of_its_training_data(pretraining, data):
    model = load_model(checkpoint(train(pretraining)))
    expected = segment_contract(zero_missing_leads=True)
    assert model.signal == expected
    record = read_record(data / "ptbxl_500/records500/00000/00001_hr")
    with torch.no_grad():
        assert model(model.signal.prepare(record))["features"].shape[0] == 2


def test_fine_tuning_keeps_what_the_pretrained_model_was_used_to(pretraining, classification, tmp_path):
    pretrained = checkpoint(train(pretraining))
    scratch = train(classification, checkpoint__save_dir=str(tmp_path / "scratch"))
    assert scratch.model.signal == segment_contract()
    changes = {"model__model_path": str(pretrained), "model__no_pretrained_weights": False}
    tuned = train(classification, **changes, checkpoint__save_dir=str(tmp_path / "tuned"))
    assert tuned.model.signal == segment_contract(zero_missing_leads=True)


def test_rate_window_leads_and_steps_are_those_of_the_segments(segments):
    folder = segments()
    assert dataset(folder).input_contract() == segment_contract(250, window_samples=600)
    chosen = dataset(folder, leads_to_load=["V5", "II"], max_sample_size=500, filter=True).input_contract()
    assert chosen == segment_contract(250, ["V5", "II"], 500, filtered=True)
    for name, value in (("mean", 0.5), ("std", 2.0)):
        (folder / f"{name}.txt").write_text("\n".join(str(value + lead) for lead in range(12)))
    options = {"normalize": True, "mean_path": str(folder / "mean.txt"), "std_path": str(folder / "std.txt")}
    steps = dataset(folder, leads_to_load=["V5", "II"], **options).input_contract().steps
    assert steps[-1] == {"name": "normalise", "mean": [10.5, 1.5], "std": [12.0, 3.0]}


def test_segments_in_millivolt_are_not_standardised(segments):
    contract = dataset(segments(scale=0.2)).input_contract()
    assert [step["name"] for step in contract.steps] == ["resample"]
    record = Record(np.random.default_rng(1).standard_normal((12, 700)).astype(np.float32), 250, list(LEADS))
    np.testing.assert_array_equal(contract.prepare(record)[0], record.signal[:, :600])


def test_no_contract_is_invented_where_leads_or_rate_are_unknown(segments):
    assert dataset(segments(), leads_bucket=["V1", "V2"]).input_contract() is None
    assert dataset(segments(leads=3)).input_contract() is None


def test_a_contract_makes_of_the_raw_record_what_the_dataset_yields(data, tmp_path):
    folder = data / "code15"
    names = sorted(path.name for path in (folder / "segmented").glob("code_15_270272_*.mat"))
    (tmp_path / "train.tsv").write_text(f"{folder / 'segmented'}\n" + "".join(f"{name}\t2500\n" for name in names))
    items = dataset(tmp_path, filter=True)
    source = items.input_contract().prepare(read_record(folder / "org/code_15_270272.mat"))
    for index, window in enumerate(source):
        torch.testing.assert_close(window, items[index]["source"], rtol=1e-4, atol=1e-5)


def test_training_on_another_rate_than_the_pretrained_models_is_reported(caplog):
    from ecg_signals.tasks.base import succeed

    with caplog.at_level(logging.WARNING):
        result = succeed(ecg_fm(), segment_contract(250, window_samples=1250))
    assert "pretrained at 500 Hz, but the training data have 250 Hz" in caplog.text
    assert result == dataclasses.replace(ecg_fm(), sample_rate=250.0, window_samples=1250)


def test_hubert_items_have_the_published_contract_with_their_own_decimation(golden, tmp_path):
    entry = get_entry("dataset", "hubert_csv")
    for options, expected in (
        ({"decimation": "flat"}, hubert_ecg(5)),
        ({"downsampling_factor": None}, hubert_ecg(None, flat=False)),
        ({"downsampling_factor": 10}, hubert_ecg(10, flat=False)),
    ):
        cfg = entry.dataclass(ecg_dir=str(golden / "hubert_ecg/dataset/ecgs"), **options)
        assert entry.cls(cfg, golden / "hubert_ecg/dataset/multi_label.csv").input_contract() == expected
