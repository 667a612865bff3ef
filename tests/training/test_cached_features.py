"""What an encoder that never trains answers to items that never change is computed once."""

import json
import logging

import numpy as np
import pytest
import torch

from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.trainer import Trainer


@pytest.fixture
def probe(classification):
    """A probe of a random encoder on windows of 1000 of the sample's 2500 samples."""
    classification["task"] |= {"max_sample_size": 1000, "enable_padding": False}
    classification["dataset"] |= {"window_stride": 750, "crop_starts": "windows", "validate_interval_updates": 4}
    encoder = {key: value for key, value in classification["model"].items() if key.startswith(("encoder_", "conv_"))}
    classification["model"] = {
        "_name": "classifier", "encoder": {"_name": "ecg_transformer", **encoder}, "num_labels": 3,
        "freeze_encoder": True, "no_pretrained_weights": True, "pool": "attentive", "pool_heads": 4,
    }  # fmt: skip
    classification["optimization"] |= {"max_update": 16, "lr": [1e-2]}
    return classification


def run(recipe, folder, **dataset):
    """Printed losses, the trained head, and how many windows went through the encoder after the first validation."""
    sections = {**recipe, "dataset": {**recipe["dataset"], **dataset}, "checkpoint": {"save_dir": str(folder)}}
    trainer, seen = Trainer(resolve_config(sections)), []
    trainer.model.encoder.register_forward_hook(lambda module, inputs, output: seen.append(len(output["features"])))
    trainer.train()
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    printed = [[row.get(key) for row in rows] for key in ("split", "loss", "auroc", "gnorm")]
    return printed, dict(trainer.model.state_dict()), sum(seen)


def same(one, other):
    assert one[0][0] == other[0][0]
    for mine, theirs in zip(one[0][1:], other[0][1:]):
        for a, b in zip(mine, theirs, strict=True):
            assert a == b if a is None else a == pytest.approx(b, rel=1e-4, abs=1e-5)
    for name, value in one[1].items():
        torch.testing.assert_close(value, other[1][name], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("pool", ["attentive", "mean"])
def test_a_probe_learns_the_same_with_features_computed_once(probe, tmp_path, caplog, pool):
    probe["model"]["pool"] = pool
    caplog.set_level(logging.INFO)
    plain = run(probe, tmp_path / "plain", cache_features=False)
    cached = run(probe, tmp_path / "cached")
    in_files = run(probe, tmp_path / "files", features_in_memory=0)
    same(plain, cached)
    assert cached[0] == in_files[0] and all(torch.equal(cached[1][key], in_files[1][key]) for key in cached[1])
    # 16 items in 3 windows to train on, 8 to validate on; and the first item of each once more
    assert cached[2] == 3 * (16 + 8) + 2 * 3 < plain[2] == 16 * 4 + 4 * 8 * 3
    assert "features of 16 items in 48 windows" in caplog.text and "computed once" in caplog.text
    (stored, *_) = sorted((tmp_path / "files" / "features").iterdir())
    shape = (48, 62, 32) if pool == "attentive" else (48, 32)
    assert np.load(stored / ("frames.npy" if pool == "attentive" else "pooled.npy")).shape == shape


def test_noise_of_evaluations_is_not_trained_on_with_cached_features_either(probe, tmp_path):
    same(*(run(probe, tmp_path / str(cached), noise_level=3, cache_features=cached) for cached in (False, True)))


def test_a_run_that_goes_on_takes_the_stored_features_unless_the_data_changed(probe, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    whole = run(probe, tmp_path / "whole", features_in_memory=0)
    probe["optimization"]["max_update"] = 12
    run(probe, tmp_path / "halves", features_in_memory=0)
    probe["optimization"]["max_update"] = 16
    caplog.clear()
    _, weights, seen = run(probe, tmp_path / "halves", features_in_memory=0)
    assert seen == 0 and caplog.text.count("are those in") == 2
    assert all(torch.equal(weights[name], value) for name, value in whole[1].items())


def test_an_encoder_with_counters_is_told_from_others(probe, tmp_path):
    encoder = {"_name": "xresnet1d", "blocks": [1], "width": 4, "stem": [4]}
    probe["model"] |= {"encoder": encoder, "pool": "max_mean"}
    run(probe, tmp_path, features_in_memory=0)
    assert len(list((tmp_path / "features").iterdir())) == 2


@pytest.mark.parametrize("options, why", [
    ({"crop_starts": "any"}, "training crops begin anywhere"),
    ({"crop_starts": "any", "window_stride": None}, "items are cropped at random"),
    ({"window_stride": 750, "perturbation_mode": ["random_leads_masking"]}, "augmented"),
])  # fmt: skip
def test_items_that_change_are_not_cached_and_that_is_said(probe, tmp_path, caplog, options, why):
    caplog.set_level(logging.INFO)
    probe["optimization"]["max_update"] = 4
    run(probe, tmp_path / "run", **options)
    (line,) = {record.getMessage() for record in caplog.records if "again and again" in record.getMessage()}
    assert why in line


def test_a_run_too_short_to_see_every_window_computes_what_it_sees(probe, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    probe["optimization"]["max_update"] = 4
    _, _, seen = run(probe, tmp_path / "run")
    assert "1.0 epochs see fewer windows than the 3" in caplog.text and seen == 4 * 4 + 3 * 8 + 3


def test_crops_that_begin_as_windows_do_need_windows(probe):
    del probe["dataset"]["window_stride"]
    with pytest.raises(ConfigError, match=r"set dataset\.window_stride=SAMPLES"):
        Trainer(resolve_config(probe))
