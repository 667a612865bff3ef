"""What a plugin hangs into the training loop: a dataset's own sampler, and a model's schedule of the optimizer."""

import copy
from dataclasses import dataclass

import pytest
import torch

from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError, option
from ecg_signals.data.batching import BatchIterator, WeightedIterator
from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.models.encoders.convnet import ConvNet, ConvNetConfig
from ecg_signals.registry import register_dataset, register_model
from ecg_signals.training.trainer import Trainer


class Weighted(EcgFileDataset):
    """The last three quarters of a split are read nine times as often as the first; an epoch is 6 batches."""

    def batches(self, **options) -> BatchIterator:
        if not options["shuffle"]:
            return super().batches(**options)
        first = len(self) // 4
        sizes = [first, len(self) - first]
        return WeightedIterator(self, group_sizes=sizes, weights=[0.1, 0.9], batches_per_epoch=6, **options)


@dataclass
class DecayingConfig(ConvNetConfig):
    weight_decay_end: float = option(0.5, "weight decay after the fourth update")


class Decaying(ConvNet):
    """JEPA's kind of schedule: weight decay follows from the update; a target follows the weights."""

    def __init__(self, cfg: DecayingConfig) -> None:
        super().__init__(cfg)
        self.target = copy.deepcopy(self.trained()[0]).requires_grad_(False)

    def trained(self):
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    def before_update(self, num_updates, optimizer):
        for group in optimizer.param_groups:
            group["weight_decay"] = self.cfg.weight_decay_end * min(1.0, num_updates / 4)

    @torch.no_grad()
    def after_update(self, num_updates):
        self.target.lerp_(self.trained()[0], 0.1)


@pytest.fixture(autouse=True)
def registered():
    register_dataset("weighted_ecg_file", dataclass=EcgFileConfig)(Weighted)
    register_model("decaying", dataclass=DecayingConfig)(Decaying)
    yield
    del register_dataset.entries["weighted_ecg_file"], register_model.entries["decaying"]


def train(recipe, folder, *, updates, **dataset):
    recipe = copy.deepcopy(recipe)
    recipe["checkpoint"]["save_dir"] = str(folder)
    recipe["optimization"]["max_update"] = updates
    recipe["dataset"] |= dataset
    trainer = Trainer(resolve_config(recipe))
    seen, original = [], trainer.train_update

    def remembering(batches):
        seen.append([batch["id"].tolist() for batch in batches])
        original(batches)

    trainer.train_update = remembering
    trainer.train()
    return trainer, seen


def assert_same_state(one, other):
    for part in ("model", "optimizer"):
        first, second = getattr(one, part).state_dict(), getattr(other, part).state_dict()
        torch.testing.assert_close(first, second, rtol=0, atol=0)


def test_a_dataset_with_a_weighted_sampler_trains_and_resumes_at_the_same_item(classification, tmp_path):
    weighted = {"_name": "weighted_ecg_file", "batch_size": 4, "num_workers": 1}
    whole, seen = train(classification, tmp_path / "whole", updates=9, **weighted)
    _, before = train(classification, tmp_path / "parts", updates=4, **weighted)
    resumed, after = train(classification, tmp_path / "parts", updates=9, **weighted)
    assert before + after == seen and len(seen) == 9
    assert_same_state(resumed, whole)
    ids = [number for update in seen for batch in update for number in batch]
    first = len(whole.task.load_dataset("train")) // 4
    assert sum(number < first for number in ids) < len(ids) / 4 and len(set(ids)) < len(ids)
    assert type(whole.iterator) is WeightedIterator
    assert type(whole.validation.subsets["valid"]["valid"]) is BatchIterator


def test_a_weighted_sampler_wants_items_per_batch(classification, tmp_path):
    with pytest.raises(ConfigError, match=r"set dataset.batch_size=ITEMS"):
        train(classification, tmp_path, updates=1, _name="weighted_ecg_file", batch_size=None, max_tokens=5000)


def test_a_model_schedules_weight_decay_and_its_target_and_resumes_to_the_bit(classification, tmp_path):
    sections = {"_name": "decaying", "conv_feature_layers": "[(4, 16, 16)]", "output_dim": 3}
    recipe = {**classification, "model": sections}
    whole, _ = train(recipe, tmp_path / "whole", updates=6)
    train(recipe, tmp_path / "parts", updates=3)
    stored = torch.load(tmp_path / "parts" / "checkpoint_last.pt", weights_only=True)
    assert stored["last_optimizer_state"]["param_groups"][0]["weight_decay"] == 0.25
    resumed, _ = train(recipe, tmp_path / "parts", updates=6)
    assert whole.optimizer.param_groups[0]["weight_decay"] == 0.5
    assert_same_state(resumed, whole)
    assert not torch.equal(resumed.model.target, resumed.model.trained()[0])
