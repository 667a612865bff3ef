"""How a model begins: constructors read nothing, recipes and `build` start from a file, resumed runs do not."""

import copy

import pytest
import torch

from ecg_signals.checkpoint.initialise import begin_model, continue_model
from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.checkpoint.state import restored_state
from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.registry import build, get_entry, register_model
from ecg_signals.trainer import Trainer

SIZES = {"encoder_layers": 1, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 16, "encoder_attention_heads": 2,
         "conv_feature_layers": "[(8, 8, 8)]", "conv_pos": 4, "conv_pos_groups": 2}  # fmt: skip
STARTING = [name for name in register_model.names() if "model_path" in get_entry("model", name).dataclass().to_dict()]


@pytest.mark.parametrize("name", STARTING)
def test_a_constructor_reads_no_file_and_leaves_its_options_alone(name):
    entry = get_entry("model", name)
    given = {"num_labels": 2, "encoder": {"_name": "se_wrn"}}
    options = {key: value for key, value in given.items() if key in entry.dataclass.__dataclass_fields__}
    cfg = entry.dataclass.from_mapping({"_name": name, "model_path": "no/such.pt", **options})
    before = copy.deepcopy(cfg.to_dict())
    with torch.device("meta"):
        model = entry.cls(cfg)
    assert model.cfg.to_dict() == before and model.signal is None
    with pytest.raises(ConfigError, match=r"no/such\.pt does not exist"):
        build("model", name, model_path="no/such.pt", **options)


def run(recipe, folder, model, updates):
    recipe = {**copy.deepcopy(recipe), "model": model}
    recipe["checkpoint"] = {"save_dir": str(folder), "save_interval_updates": 2}
    recipe["criterion"] = {"_name": "binary_cross_entropy_with_logits"}
    recipe["optimization"] |= {"max_update": updates}
    trainer = Trainer(resolve_config(recipe))
    trainer.train()
    return trainer


def test_a_resumed_run_needs_its_own_file_alone(classification, tmp_path, caplog):
    scratch = {"_name": "ecg_transformer_classifier", "num_labels": 3, "no_pretrained_weights": True, **SIZES}
    first = run(classification, tmp_path / "first", scratch, 2).save_dir / "checkpoint_last.pt"
    tuned = {"_name": "ecg_transformer_classifier", "num_labels": 3, "model_path": str(first)}
    whole = run(classification, tmp_path / "whole", tuned, 4)
    run(classification, tmp_path / "parts", tuned, 2)
    first.unlink()
    resumed = run(classification, tmp_path / "parts", tuned, 4)
    assert resumed.model.cfg.to_dict() == whole.model.cfg.to_dict() and resumed.model.signal == whole.model.signal
    for key, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[key]), key


def test_a_run_that_goes_on_keeps_the_sizes_that_its_file_states(tmp_path, classification):
    scratch = {"_name": "ecg_transformer_classifier", "num_labels": 3, "no_pretrained_weights": True, **SIZES}
    path = str(run(classification, tmp_path, scratch, 1).save_dir / "checkpoint_last.pt")
    entry = get_entry("model", "ecg_transformer_classifier")
    cfg = entry.dataclass.from_mapping({"_name": entry.name, "num_labels": 3, "model_path": "gone.pt"})
    assert continue_model(cfg, restored_state(read_checkpoint(path), path)).cfg.encoder_embed_dim == 16
    cfg = entry.dataclass.from_mapping({"_name": entry.name, "num_labels": 3, "model_path": "???"})
    with pytest.raises(ConfigError, match="model_path"):
        begin_model(cfg)
