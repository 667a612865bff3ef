"""Ranks that hold a part of the weights each compute what one rank with all of them does, and go on from its state."""

import copy
import json
import shutil
from pathlib import Path

import ecg_signals.sample
import numpy as np
import pytest
import torch
from launching import on_ranks

from ecg_signals.checkpoint.convert import convert
from ecg_signals.checkpoint.load import load_model
from ecg_signals.clustering.rows import RowWriter
from ecg_signals.composition import resolve_config
from ecg_signals.readers.read import read_record
from ecg_signals.trainer import Trainer

HUBERT = {
    "_name": "hubert_ecg", "vocab_sizes": [7, 5], "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2,
    "intermediate_size": 16, "conv_dim": [4] * 5, "num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8, "layerdrop": 0.4, "mask_time_prob": 0.33,
}  # fmt: skip
JEPA = {
    "_name": "jepa", "dim": 16, "depth": 2, "num_heads": 2, "pred_dim": 8, "pred_depth": 1, "pred_num_heads": 2,
    "encoder_momentum": 0.5, "final_encoder_momentum": 0.9, "final_weight_decay": 0.5, "patch_size": 50,
    "min_block_size": 4,
}  # fmt: skip
SHARDED = {"ddp_backend": "fully_sharded"}
FOLDERS = {**SHARDED, "use_sharded_state": True}


def hubert(folder):
    """Real records and their targets."""
    records = sorted(Path(next(iter(ecg_signals.sample.__path__))).rglob("*.hea"))[:8]
    names = [f"{path.stem}.npy" for path in records]
    for path, name in zip(records, names):
        np.save(folder / name, read_record(path).signal[:, :2600])
    (folder / "train.csv").write_text("filename,age,sex\n" + "".join(f"{name},1,0\n" for name in names))
    writer = RowWriter(folder / "targets", names, {"what": "targets", "vocab_sizes": [7, 5]})
    writer.write(slice(0, 8), np.random.default_rng(0).integers(0, 5, (8, 2, 93)).astype(np.int16))
    writer.finish()
    return {
        "task": {"_name": "ecg_pretraining", "data": str(folder)},
        "dataset": {"_name": "hubert_csv", "targets": str(folder / "targets"), "batch_size": 2},
        "model": HUBERT,
        "criterion": {"_name": "hubert_pretraining"},
        "optimizer": {"_name": "adamw", "weight_decay": 0.01},
    }


def jepa(sample):
    return {
        "task": {"_name": "ecg_pretraining", "data": str(sample.single), "enable_padding": True},
        "dataset": {"_name": "ecg_file", "batch_size": 2},
        "model": {**JEPA, "max_update": 10},
        "criterion": {"_name": "jepa"},
        "optimizer": {"_name": "adamw", "weight_decay": 0.1},
    }


@pytest.fixture
def families(pretraining, sample, tmp_path):
    """Recipes; the first one clips, averages its weights, accumulates two batches for an update, and validates."""
    pretraining["optimization"] = {"clip_norm": 0.5}
    pretraining["dataset"] |= {"batch_size": 1}
    pretraining["ema"] = {"store_ema": True, "ema_decay": 0.5}
    (tmp_path / "hubert").mkdir()
    recipes = {"wav2vec2_cmsc": pretraining, "hubert_ecg": hubert(tmp_path / "hubert"), "jepa": jepa(sample)}
    for name, recipe in recipes.items():
        recipe["common"] = {"log_interval": 1, "log_format": "none", "cpu": True}
        recipe["dataset"] |= {"num_workers": 0, "disable_validation": name != "wav2vec2_cmsc", "validate_interval": 0}
        recipe["optimization"] = {"lr": [1e-3], "max_update": 10, **recipe.get("optimization", {})}
        recipe["lr_scheduler"] = {"_name": "fixed", "warmup_updates": 0}
    return recipes


def variant(recipe, folder, ranks, updates=10, **distributed):
    """The recipe for so many ranks, with as many items in every update."""
    recipe = copy.deepcopy(recipe)
    freq = 4 if "ema" in recipe else 2
    recipe["optimization"] |= {"max_update": updates, "update_freq": [freq // ranks], "run_ahead": ranks > 1}
    recipe["checkpoint"] = {"save_dir": str(folder), "save_interval": 1000}
    recipe["distributed_training"] = distributed
    return recipe


def losses(folder):
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if row["split"] == "train_inner"]


def validation(folder):
    rows = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [row["loss"] for row in rows if row["split"] == "valid"]


def train(recipe):
    Trainer(resolve_config(recipe)).train()


@pytest.mark.parametrize(
    "names", [["wav2vec2_cmsc"], pytest.param(["hubert_ecg", "jepa"], marks=pytest.mark.slow)], ids=" ".join
)
def test_sharded_ranks_equal_whole_ones_and_a_single_one_and_take_over_from_each_other(names, families, tmp_path):
    begun = {"write_checkpoints_asynchronously": True}
    together = []
    families = {name: families[name] for name in names}
    for name, recipe in families.items():
        train(variant(recipe, tmp_path / name / "one", 1))
        train(variant(recipe, tmp_path / name / "from_one", 1, updates=4, **FOLDERS))
        half = variant(recipe, tmp_path / name / "from_two", 2, updates=6, **FOLDERS)
        half["checkpoint"] |= begun
        together += [
            variant(recipe, tmp_path / name / "ddp", 2, ddp_backend="c10d"),
            variant(recipe, tmp_path / name / "sharded", 2, **SHARDED),
            half,
            variant(recipe, tmp_path / name / "from_one", 2, **FOLDERS),
        ]
    on_ranks(2, together, tmp_path)
    for name, recipe in families.items():
        folder = tmp_path / name
        train(variant(recipe, folder / "from_two", 1))
        expected = losses(folder / "one")
        assert len(expected) == 10
        whole = torch.load(folder / "one" / "checkpoint_last.pt", weights_only=True)
        for other in ("ddp", "sharded", "from_one", "from_two"):
            assert losses(folder / other) == pytest.approx(expected, abs=1e-5), f"{name} {other}"
            if other in ("sharded", "from_one"):  # on two ranks, which draw other masks than one
                assert validation(folder / other)[-1:] == pytest.approx(validation(folder / "ddp")[-1:], abs=1e-5)
            model = load_model(folder / other / "checkpoint_last.pt")
            for key, value in model.state_dict().items():
                where = f"{name} {other} {key}"
                torch.testing.assert_close(value, whole["model"][key], rtol=1e-3, atol=1e-4, msg=where)
        assert (folder / "from_one" / "checkpoint_last.pt").is_dir()
        assert (folder / "from_two" / "checkpoint_last.pt").is_file()  # which took the folder's place
        check_conversion(folder / "from_one" / "checkpoint_last.pt", tmp_path / f"{name}.pt")


def check_conversion(folder, file):
    """One file of a folder that two ranks have written; training goes on from it as well."""
    assert len(list(folder.glob("*.safetensors"))) == 2
    done = convert(folder, file, "fairseq")
    content = torch.load(file, weights_only=True)
    assert not done.optimizer_left and content["last_optimizer_state"]["state"]
    assert content["extra_state"]["ecg_signals"]["position"]["epoch"] > 1


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler")
def test_compiled_blocks_of_sharded_ranks_compute_what_plain_ones_do(families, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    without = (
        "dropout",
        "attention_dropout",
        "activation_dropout",
        "dropout_input",
        "dropout_features",
        "encoder_layerdrop",
    )
    families["wav2vec2_cmsc"]["model"] |= dict.fromkeys(without, 0.0)  # compiled, dropout draws other numbers
    together = []
    for name in ("wav2vec2_cmsc", "jepa"):
        both = [
            variant(families[name], tmp_path / name / kind, 2, updates=4, **SHARDED) for kind in ("plain", "compiled")
        ]
        both[1]["common"] |= {"compile": True}
        together += both
    on_ranks(2, together, tmp_path, timeout=600)
    for name in ("wav2vec2_cmsc", "jepa"):
        assert losses(tmp_path / name / "compiled") == pytest.approx(losses(tmp_path / name / "plain"), rel=1e-5)
