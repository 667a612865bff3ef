"""Parameters that have no part in some updates: the model says so, and several ranks compute what one does."""

import copy
import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from warm_commands import python

from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.criteria.binary_cross_entropy_with_logits import (
    BinaryCrossEntropyWithLogitsConfig,
    BinaryCrossEntropyWithLogitsCriterion,
)
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.models.encoders.convnet import ConvNet, ConvNetConfig
from ecg_signals.registry import build, register_criterion, register_model
from ecg_signals.runtime.strategy import DDP, leaves_parameters_out
from ecg_signals.sections import DistributedTrainingConfig
from ecg_signals.trainer import Trainer

HUBERT = {
    "_name": "hubert_ecg_classifier",
    "num_labels": 3,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "conv_dim": [4] * 5,
    "conv_kernel": [10, 8, 8, 8, 8],
    "conv_stride": [10, 8, 4, 4, 2],
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "layerdrop": 0.0,
}
CONVNET = {"_name": "two_ways", "conv_feature_layers": "[(4, 16, 16)]", "output_dim": 3}


class TwoWays(ConvNet):
    """A plugin's model, whose two halves take turns."""

    def __init__(self, cfg: ConvNetConfig) -> None:
        super().__init__(cfg)
        self.other = ConvNet(cfg)
        self.turn = 0

    @property
    def sometimes_unused(self) -> bool:
        return True

    def before_forward(self, num_updates: int) -> None:
        self.turn = num_updates % 2

    def forward(self, source: torch.Tensor, padding_mask: torch.Tensor | None = None) -> ModelOutput:
        return self.other(source, padding_mask) if self.turn else super().forward(source, padding_mask)


class UnsaidTwoWays(TwoWays):
    sometimes_unused = False


@dataclass
class ScaledConfig(BinaryCrossEntropyWithLogitsConfig):
    pass


class Scaled(BinaryCrossEntropyWithLogitsCriterion):
    """A plugin's criterion with a parameter of its own, which a rank uses for the first records alone."""

    def __init__(self, cfg: ScaledConfig) -> None:
        super().__init__(cfg)
        self.factor = nn.Parameter(torch.ones(()))

    def forward(self, model, batch):
        output = super().forward(model, batch)
        if int(batch["id"].min()) < 4:
            output.loss = output.loss * self.factor
        return output


def register() -> None:
    register_model("two_ways", dataclass=ConvNetConfig)(TwoWays)
    register_criterion("scaled_bce", dataclass=ScaledConfig)(Scaled)


@pytest.fixture(autouse=True)
def registered():
    register()
    yield
    del register_model.entries["two_ways"], register_criterion.entries["scaled_bce"]


def run(recipe):
    trainer = Trainer(resolve_config(recipe))
    trainer.train()
    return trainer


def run_all(file: str) -> None:
    """One rank of all recipes of a json file."""
    from ecg_signals.runtime.launch import process_group

    register()
    recipes = json.loads(Path(file).read_text())
    with process_group(resolve_config(recipes[0])) as placement:
        for recipe in recipes:
            Trainer(resolve_config(recipe), placement).train()


def on_two_ranks(recipes, folder):
    (folder / "recipes.json").write_text(json.dumps(recipes))
    launcher = [python(), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*launcher, __file__, str(folder / "recipes.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )


def variant(recipe, folder, freq, model, criterion):
    recipe = copy.deepcopy(recipe)
    recipe["model"] = {**({} if "_name" in model else recipe["model"]), **model}
    recipe["criterion"]["_name"] = criterion or recipe["criterion"]["_name"]
    recipe["optimization"] |= {"max_update": 3, "update_freq": [freq]}
    recipe["dataset"] |= {"batch_size": 2, "disable_validation": True}
    recipe["checkpoint"]["save_dir"] = str(folder)
    return recipe


CASES = {
    "hubert": ({**HUBERT, "freezing_steps": 2, "layerdrop": 0.5}, None),
    "transformer": ({"freeze_finetune_updates": 2, "encoder_layerdrop": 0.5, "encoder_layers": 2}, None),
    "plugin": (CONVNET, None),
    "criterion": ({}, "scaled_bce"),
}


def test_two_ranks_equal_one_where_parameters_are_sometimes_unused(classification, tmp_path):
    together = [
        variant(classification, tmp_path / f"two_{name}", 1, model, criterion)
        for name, (model, criterion) in CASES.items()
    ]
    done = on_two_ranks(together, tmp_path)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    for name, (model, criterion) in CASES.items():
        alone = run(variant(classification, tmp_path / f"one_{name}", 2, model, criterion))
        stored = torch.load(tmp_path / f"two_{name}" / "checkpoint_last.pt", weights_only=True)
        for key, value in alone.model.state_dict().items():
            torch.testing.assert_close(stored["model"][key], value, rtol=1e-5, atol=1e-6, msg=f"{name}: {key} differs")
        for key, value in alone.criterion.state_dict().items():
            torch.testing.assert_close(stored["criterion"][key], value, rtol=1e-5, atol=1e-6)


def test_a_model_that_does_not_say_so_ends_with_one_message(tmp_path):
    model = UnsaidTwoWays(ConvNetConfig(conv_feature_layers="[(4, 16, 16)]", output_dim=3))
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    try:
        strategy = DDP(DistributedTrainingConfig(), torch.device("cpu"))
        wrapped = strategy.setup(model)
        with pytest.raises(ConfigError) as caught:
            for _ in range(2):
                with strategy.synchronised(last=True):
                    wrapped(torch.randn(2, 12, 64))["logits"].sum().backward()
    finally:
        dist.destroy_process_group()
    for word in ("UnsaidTwoWays", "distributed_training.find_unused_parameters=true", "sometimes_unused"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    "name, options, expected",
    [
        ("ecg_transformer", {}, False),
        ("ecg_transformer", {"encoder_layerdrop": 0.1}, True),
        ("ecg_transformer", {"feature_grad_mult": 0.0}, True),
        ("ecg_transformer", {"apply_mask": True, "mask_prob": 0.0}, True),
        ("wav2vec2", {"apply_mask": True, "mask_prob": 0.65}, False),
        ("hubert_ecg", {"layerdrop": 0.0}, False),
        ("hubert_ecg", {"layerdrop": 0.1}, True),
        ("hubert_ecg_classifier", {"layerdrop": 0.0, "num_labels": 1}, False),
        ("hubert_ecg_classifier", {"layerdrop": 0.0, "num_labels": 1, "freezing_steps": 1}, True),
        ("se_wrn_classifier", {"num_labels": 1, "freeze_finetune_updates": 1}, True),
        ("se_wrn_classifier", {"num_labels": 1}, False),
        ("two_ways", {"output_dim": 1}, True),
    ],
)
def test_models_say_whether_parameters_are_sometimes_unused(name, options, expected):
    options |= {"no_pretrained_weights": True} if "classifier" in name else {}
    with torch.device("meta"):
        assert leaves_parameters_out(build("model", name, **options)) is expected


def test_a_part_of_a_model_is_asked_too():
    model = BaseModel(ConvNetConfig())
    model.part = nn.Sequential(nn.Linear(2, 2))
    assert not leaves_parameters_out(model)
    model.part[0].sometimes_unused = True
    assert leaves_parameters_out(model)


if __name__ == "__main__":
    run_all(sys.argv[1])
