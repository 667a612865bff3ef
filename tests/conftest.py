"""Fixtures that every test may use."""

import importlib.util
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
if importlib.util.find_spec("datasets") is None:
    sys.modules["datasets"] = None  # type: ignore[assignment]  # else transformers takes tests/data/datasets for it

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))  # vendor_files, which tools/fuzz.py uses as well

import pytest
from warm_commands import warm

from ecg_signals.config import LAUNCH_DIR


def shared_folder() -> Path:
    """Where the reference material lies: $ECG_SIGNALS_SHARED, else ../shared beside the checkout."""
    default = Path(__file__).parents[2] / "shared"
    return Path(os.environ.get("ECG_SIGNALS_SHARED", default))


LONG = ("test_notebooks", "test_crash", "test_fuzz", "test_readme", "test_training_ranks", "test_bench_train_step")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with tests of many seconds come first, so that no process ends on one while the other has nothing left."""
    items.sort(key=lambda item: item.path.stem not in LONG)


@pytest.fixture(autouse=True)
def launch_folder() -> Iterator[None]:
    """Commands that ran in this process leave no launch folder behind for the next test."""
    yield
    os.environ.pop(LAUNCH_DIR, None)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material; tests that ask for it skip where it is absent."""
    folder = shared_folder()
    if not folder.is_dir():
        if os.environ.get("ECG_SIGNALS_REQUIRE_SHARED"):
            pytest.fail(f"{folder} is absent, but ECG_SIGNALS_REQUIRE_SHARED is set")
        pytest.skip(f"no reference material at {folder}; set ECG_SIGNALS_SHARED")
    return folder


class Travelling(type(Path())):  # type: ignore[misc]
    """The part of the reference vectors that lies in the repository; a test that asks it for more skips."""

    def __truediv__(self, key: str) -> "Travelling":
        found: Travelling = super().__truediv__(key)
        if not found.exists():
            pytest.skip(f"{key} is not among the vectors in tests/golden; set ECG_SIGNALS_SHARED")
        return found


@pytest.fixture(scope="session")
def golden() -> Path:
    """Inputs, weights and outputs of the published systems; where the reference material is absent, some of them."""
    if shared_folder().is_dir() or os.environ.get("ECG_SIGNALS_REQUIRE_SHARED"):
        return shared_folder() / "golden"
    return Travelling(Path(__file__).parent / "golden")


@pytest.fixture(scope="session")
def data(shared: Path) -> Path:
    return shared / "data"


@pytest.fixture(scope="session")
def commands() -> Path:
    """A folder for PATH with every ecg-* command and python, each in a process of its own, started in a moment."""
    return warm()


@dataclass(frozen=True)
class Sample:
    """Segments of the sample's first records, as manifests: `pairs` for CMSC, `single` with labels."""

    pairs: Path
    single: Path
    label_file: Path


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """12 real PTB-XL records, two 5 s segments each: 8 to train on, 4 to validate on; 3 labels of which one is rare."""
    import ecg_signals.sample
    import numpy as np
    import scipy.io

    from ecg_signals.readers.read import read_record

    folder = tmp_path_factory.mktemp("sample")
    source = Path(next(iter(ecg_signals.sample.__path__)))
    records = sorted(source.rglob("*.hea"))[:12]
    (folder / "segmented").mkdir()
    for index, path in enumerate(records):
        signal = read_record(path).signal
        signal = (signal - signal.mean(axis=1, keepdims=True)) / signal.std(axis=1, keepdims=True)
        for segment in range(2):
            content = {"feats": signal[:, segment * 2500 : (segment + 1) * 2500], "curr_sample_rate": 500, "idx": index}
            scipy.io.savemat(folder / "segmented" / f"r{index:02d}_{segment}.mat", {**content, "patient_id": index})
    splits = {"train": range(8), "valid": range(8, 12)}
    for name in ("pairs", "single", "labels"):
        (folder / name).mkdir()
    for split, indices in splits.items():
        rows = [f"r{index:02d}\t2500\t0\t0,1\n" for index in indices]
        (folder / "pairs" / f"{split}.tsv").write_text(f"{folder / 'segmented'}\nmat\n{''.join(rows)}")
        rows = [f"r{index:02d}_{segment}.mat\t2500\n" for index in indices for segment in range(2)]
        (folder / "single" / f"{split}.tsv").write_text(f"{folder / 'segmented'}\n{''.join(rows)}")
    labels = np.array([[index % 2, index % 3 == 0, index in (1, 9)] for index in range(12)], dtype=np.float64)
    np.save(folder / "labels" / "y.npy", labels)
    (folder / "labels" / "label_def.csv").write_text("name\nodd\nthird\nrare\n")
    return Sample(folder / "pairs", folder / "single", folder / "labels" / "y.npy")


TINY_ENCODER = {
    "encoder_layers": 1,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 4,
    "conv_feature_layers": "[(16, 2, 2)] * 4",
    "conv_pos": 16,
    "conv_pos_groups": 4,
}


@pytest.fixture
def pretraining(sample: Sample, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """A small W2V+CMSC+RLM recipe on the sample, as plain sections; checkpoints go to tmp_path."""
    return {
        "common": {"log_interval": 1, "log_format": "json"},
        "task": {
            "_name": "ecg_pretraining",
            "data": str(sample.pairs),
            "enable_padding": True,
            "perturbation_mode": ["random_leads_masking"],
            "p": [1.0],
        },
        "dataset": {"batch_size": 2, "num_workers": 0},
        "model": {
            "_name": "wav2vec2_cmsc",
            **TINY_ENCODER,
            "apply_mask": True,
            "mask_prob": 0.65,
            "quantize_targets": True,
            "final_dim": 16,
            "latent_vars": 16,
            "num_negatives": 10,
            "feature_grad_mult": 0.1,
            "dropout_input": 0.1,
            "dropout_features": 0.1,
        },
        "criterion": {
            "_name": "wav2vec2_with_cmsc",
            "infonce": True,
            "loss_weights": [0.1, 10],
            "log_keys": ["prob_perplexity", "code_perplexity", "temp"],
        },
        "optimizer": {"_name": "adam", "adam_betas": "(0.9, 0.98)", "adam_eps": "1e-06", "weight_decay": 0.01},
        "lr_scheduler": {"_name": "fixed", "warmup_updates": 0},
        "optimization": {"max_update": 8, "lr": [1e-3]},
        "checkpoint": {"save_dir": str(tmp_path / "checkpoints")},
    }


@pytest.fixture
def classification(sample: Sample, tmp_path: Path) -> dict[str, dict[str, Any]]:
    """A small classifier from scratch on the sample's three labels, as plain sections."""
    return {
        "common": {"log_interval": 1, "log_format": "json"},
        "task": {
            "_name": "ecg_classification",
            "data": str(sample.single),
            "enable_padding": True,
            "label_file": str(sample.label_file),
        },
        "dataset": {"batch_size": 4, "num_workers": 0},
        "model": {
            "_name": "ecg_transformer_classifier",
            **TINY_ENCODER,
            "num_labels": 3,
            "no_pretrained_weights": True,
        },
        "criterion": {"_name": "binary_cross_entropy_with_logits", "report_auc": True, "pos_weight": [1.0, 2.0, 3.0]},
        "optimizer": {"_name": "adam", "adam_betas": "(0.9, 0.98)", "adam_eps": "1e-08"},
        "lr_scheduler": {"_name": "fixed", "warmup_updates": 0},
        "optimization": {"max_update": 8, "lr": [1e-3]},
        "checkpoint": {"save_dir": str(tmp_path / "checkpoints")},
    }
