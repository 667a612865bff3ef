"""What no recording should hold: pretraining keeps finite weights, or ends in one message."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat

from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.signal.leads import LEADS
from ecg_signals.trainer import Trainer

SIGNALS = [
    "no values",
    "one lead without values",
    "gaps",
    "infinite",
    "constant",
    "one constant lead",
    "huge",
    "flat end",
]
GAPS = SIGNALS[:4]
MODELS: dict[str, dict[str, Any]] = {
    "jepa": {
        "dim": 16, "depth": 1, "num_heads": 2, "pred_dim": 8, "pred_depth": 1, "pred_num_heads": 2, "min_block_size": 2,
    },
    "st_mem": {
        "seq_len": 300, "patch_size": 25, "embed_dim": 16, "depth": 1, "num_heads": 2, "head_dim": 8,
        "decoder_embed_dim": 8, "decoder_depth": 1, "decoder_num_heads": 1,
    },
}  # fmt: skip
DATASETS = {"jepa_dump": {"window_samples": 300}, "ecg_windows": {"crop_samples": 300}}


def hostile(kind: str, records: int = 6, samples: int = 600) -> np.ndarray:
    """float32 [records, 12, samples] of noise, half of the records as `kind` says."""
    data = np.random.default_rng(0).standard_normal((records, 12, samples)).astype(np.float32)
    bad = data[::2]
    if kind == "no values":
        bad[:] = np.nan
    elif kind == "one lead without values":
        bad[:, 3] = np.nan
    elif kind == "gaps":
        bad[:, :, 50:550:3] = np.nan
    elif kind == "infinite":
        bad[:, 2, 100:105] = np.inf
    elif kind == "constant":
        bad[:] = 0.7
    elif kind == "one constant lead":
        bad[:, 5] = -1.3
    elif kind == "huge":
        bad[:] *= 1e30
    elif kind == "flat end":
        bad[:, :, 300:] = bad[:, :, 299:300]
    return data


def trained(folder: Path, data: np.ndarray, dataset: str, model: str, notes: dict[str, Any] | None = None) -> Any:
    """Four updates on these records, a dump or files; returns the model."""
    task = {"_name": "ecg_pretraining", "data": str(folder), "sample_rate": 500}
    if dataset == "jepa_dump":
        np.save(folder / "train.npy", data.swapaxes(1, 2))
        (folder / "train.npy.json").write_text(json.dumps({"sample_rate": 500, **(notes or {})}))
    else:
        for number, record in enumerate(data):
            savemat(folder / f"{number}.mat", {"feats": record, "curr_sample_rate": 500, "idx": number})
        rows = "".join(f"{number}.mat\t{data.shape[-1]}\n" for number in range(len(data)))
        (folder / "train.tsv").write_text(f"{folder}\n{rows}")
    trainer = Trainer(resolve_config({
        "common": {"log_format": "none", "cpu": True},
        "task": task,
        "dataset": {"_name": dataset, "batch_size": 3, "num_workers": 0, "disable_validation": True,
                    **DATASETS[dataset]},
        "model": {"_name": model, **MODELS[model]},
        "criterion": {"_name": "jepa" if model == "jepa" else "mae"},
        "optimizer": {"_name": "adamw"},
        "optimization": {"max_update": 4, "lr": [1e-3]},
        "checkpoint": {"no_save": True, "save_dir": str(folder / "checkpoints")},
    }))  # fmt: skip
    trainer.train()
    return trainer.model


@pytest.mark.filterwarnings("error::RuntimeWarning")  # numpy's, which nobody could act upon
@pytest.mark.parametrize("kind", SIGNALS)
def test_a_dump_may_hold_anything_and_weights_stay_finite(tmp_path: Path, kind: str):
    assert_finite(trained(tmp_path, hostile(kind), "jepa_dump", "jepa"))


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("kind", SIGNALS)
def test_files_without_gaps_keep_weights_finite_and_others_are_named(tmp_path: Path, kind: str):
    if kind not in GAPS:
        assert_finite(trained(tmp_path, hostile(kind), "ecg_windows", "st_mem"))
        return
    with pytest.raises(ConfigError, match=r"[024]\.mat holds NaN or infinite values in lead .*Leave such records out"):
        trained(tmp_path, hostile(kind), "ecg_windows", "st_mem")


def assert_finite(model: torch.nn.Module) -> None:
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())


@pytest.mark.parametrize("dataset, model", [("jepa_dump", "jepa"), ("ecg_windows", "st_mem")])
def test_records_that_are_all_too_short_are_one_error(tmp_path: Path, dataset: str, model: str):
    with pytest.raises(ConfigError, match=r"no record of 300 samples|has 299 samples at 500 Hz, less than a window"):
        trained(tmp_path, hostile("gap-free", samples=299), dataset, model)


def test_a_dump_in_another_order_of_leads_trains_the_same_weights(tmp_path: Path):
    data, order = hostile("flat end"), np.random.default_rng(0).permutation(12)
    for name in ("standard", "other"):
        (tmp_path / name).mkdir()
    one = trained(tmp_path / "standard", data, "jepa_dump", "jepa")
    notes = {"leads": [LEADS[lead] for lead in order]}
    other = trained(tmp_path / "other", data[:, order], "jepa_dump", "jepa", notes)
    torch.testing.assert_close(other.state_dict(), one.state_dict(), rtol=0, atol=1e-6)


def test_a_dump_of_another_rate_is_resampled_and_one_of_no_known_rate_or_leads_is_an_error(tmp_path: Path):
    data = hostile("gaps")
    assert_finite(trained(tmp_path, data, "jepa_dump", "jepa", {"sample_rate": 257.0}))
    with pytest.raises(ConfigError, match=r"sample rate of train .* not known.*dataset\.rates"):
        trained(tmp_path, data, "jepa_dump", "jepa", {"sample_rate": None})
    with pytest.raises(ConfigError, match=r"12 leads, but 2 names.*dataset\.dump_leads"):
        trained(tmp_path, data, "jepa_dump", "jepa", {"leads": ["I", "II"]})
