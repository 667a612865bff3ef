"""An encoder and a head that are not ours pretrain, fine-tune, resume, convert and predict like ours."""

import copy
import logging
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ecg_signals.checkpoint.convert import convert
from ecg_signals.checkpoint.load import load_model
from ecg_signals.composition import resolve_config
from ecg_signals.config import MISSING, BaseConfig, ConfigError, option
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput
from ecg_signals.inference.predict import Predictor
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.models.heads.finetuned import FinetunedModel, FinetuneOptions
from ecg_signals.registry import build, register_criterion, register_model
from ecg_signals.trainer import Trainer


@dataclass
class PatchesConfig(BaseConfig):
    dim: int = option(MISSING, "width of a frame")
    patch: int = option(50, "samples per frame")
    gain: float = option(1.0, "factor of the frames")
    dropout: float = option(0.2, "of the frames")
    unit: str = option("mV", "of the input", as_pretrained=True)


class Patches(BaseModel):
    """No options of fairseq-signals' models, no ARCHITECTURE, a plain dict as output."""

    encoder_name = "patches"

    def __init__(self, cfg) -> None:
        super().__init__(cfg)
        self.patches = nn.Conv1d(12, cfg.dim, cfg.patch, stride=cfg.patch)
        self.dropout = nn.Dropout(cfg.dropout)

    @property
    def dim(self) -> int:
        return self.cfg.dim

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> dict:
        features = self.dropout(self.cfg.gain * self.patches(source).transpose(1, 2))
        return {"features": features, "pooled": features.mean(dim=1), "padding_mask": None}


class MaskedPatches(Patches):
    """The encoder with what pretraining needs."""

    def __init__(self, cfg) -> None:
        super().__init__(cfg)
        self.decoder = nn.Linear(cfg.dim, 12 * cfg.patch)

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> dict:
        output = super().forward(source, padding_mask)
        return {**output, "decoded": self.decoder(output["features"])}


class AroundPatches(BaseModel):
    """Pretraining around an encoder, instead of on top of it."""

    encoder_class = Patches

    def __init__(self, cfg) -> None:
        super().__init__(cfg)
        self.encoder, self.decoder = Patches(cfg), nn.Linear(cfg.dim, 12 * cfg.patch)

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> dict:
        output = self.encoder(source, padding_mask)
        return {**output, "decoded": self.decoder(output["features"])}


class Reconstruction(BaseCriterion):
    dataset = "ecg_file"

    def forward(self, model, batch):
        source = batch["net_input"]["source"]
        decoded = model(**batch["net_input"])["decoded"]
        frames = source.unflatten(-1, (decoded.shape[1], -1)).transpose(1, 2).flatten(2)
        loss = (decoded - frames).square().mean(dim=(1, 2)).sum()
        return CriterionOutput(loss, float(len(source)), {"loss": loss.detach(), "nsignals": float(len(source))})


@dataclass
class HeadConfig(FinetuneOptions, PatchesConfig):
    dropout: float = option(0.0, "of the frames")
    hidden: int = option(8, "width of the head")


class Head(FinetunedModel):
    encoder_class = Patches

    def __init__(self, cfg: HeadConfig) -> None:
        super().__init__(cfg)
        self.proj = nn.Sequential(nn.Linear(cfg.dim, cfg.hidden), nn.ReLU(), nn.Linear(cfg.hidden, cfg.num_labels))

    def head(self, encoded: ModelOutput, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        encoded["logits"] = self.proj(self.final_dropout(encoded["pooled"]))
        return encoded


MODELS = {
    "patches": (PatchesConfig, Patches),
    "masked_patches": (PatchesConfig, MaskedPatches),
    "around_patches": (PatchesConfig, AroundPatches),
    "patches_head": (HeadConfig, Head),
}


@pytest.fixture(autouse=True)
def plugin():
    for name, (options, cls) in MODELS.items():
        register_model(name, dataclass=options)(cls)
    register_criterion("reconstruction")(Reconstruction)
    yield
    for name in MODELS:
        del register_model.entries[name]
    del register_criterion.entries["reconstruction"]


def train(recipe, folder, **model):
    recipe = copy.deepcopy(recipe)
    updates = model.pop("updates", 4)
    recipe |= {"model": model, "checkpoint": {"save_dir": str(folder), "save_interval_updates": 2}}
    recipe["optimization"] |= {"max_update": updates}
    trainer = Trainer(resolve_config(recipe))
    trainer.train()
    return trainer


@pytest.fixture(params=["masked_patches", "around_patches"])
def pretrained(request, classification, tmp_path):
    """A checkpoint that a plugin's model and criterion wrote, of other sizes than the defaults."""
    recipe = {**copy.deepcopy(classification), "criterion": {"_name": "reconstruction"}}
    recipe["task"] = {"_name": "ecg_pretraining", "data": recipe["task"]["data"], "enable_padding": True}
    options = {"_name": request.param, "dim": 12, "patch": 100, "gain": 0.5}
    train(recipe, tmp_path / "pretraining", updates=2, **options)
    return tmp_path / "pretraining" / "checkpoint_last.pt"


def same_weights(first, second):
    return all(torch.equal(value, second.state_dict()[key]) for key, value in first.state_dict().items())


@pytest.mark.parametrize("head", [
    {"_name": "patches_head"}, {"_name": "classifier", "pool": "attentive", "pool_heads": 2, "layer_decay": 0.5},
    {"_name": "classifier", "pool": "max_mean", "head": "mlp", "freeze_finetune_updates": 1},
    {"_name": "classifier", "freeze_encoder": True},
])  # fmt: skip
def test_a_plugin_pretrains_fine_tunes_resumes_converts_and_predicts(
    head, pretrained, classification, sample, tmp_path
):
    classification["criterion"] = {"_name": "binary_cross_entropy_with_logits"}
    head = {**head, "model_path": str(pretrained), "num_labels": 3}
    whole = train(classification, tmp_path / "whole", **head)
    cfg = whole.model.encoder.cfg
    assert type(whole.model.encoder) is Patches and (cfg.dim, cfg.patch, cfg.gain) == (12, 100, 0.5)
    if head["_name"] == "patches_head":
        assert cfg.dropout == 0.0 and cfg.hidden == 8  # the head's own
    train(classification, tmp_path / "parts", updates=2, **head)
    pretrained.unlink()
    resumed = train(classification, tmp_path / "parts", **head)
    assert same_weights(whole.model, resumed.model)
    last = tmp_path / "parts" / "checkpoint_last.pt"
    convert(last, tmp_path / "folder", "hf")
    convert(tmp_path / "folder", tmp_path / "back.pt", "fairseq")
    import scipy.io

    np.save(tmp_path / "record.npy", scipy.io.loadmat(sample.single.parent / "segmented" / "r00_0.mat")["feats"])
    reading = {"sample_rate": 500, "leads": ["I", "II", "III", "aVR", "aVL", "aVF", *(f"V{n}" for n in range(1, 7))]}
    answers = []
    for source in (last, tmp_path / "folder", tmp_path / "back.pt"):
        assert same_weights(load_model(source), whole.model)
        answers.append(Predictor(source).predict(tmp_path / "record.npy", **reading).probabilities)
    assert set(answers[0]) == {"odd", "third", "rare"} and answers[0] == answers[1] == answers[2]


def test_a_run_may_go_on_from_a_fine_tuned_file_with_another_head(pretrained, classification, tmp_path):
    first = train(classification | {"criterion": {"_name": "binary_cross_entropy_with_logits"}}, tmp_path / "first",
                  _name="patches_head", model_path=str(pretrained), num_labels=3, updates=1)  # fmt: skip
    path = str(first.save_dir / "checkpoint_last.pt")
    again = build("model", "patches_head", model_path=path, num_labels=5, hidden=4)
    assert same_weights(again.encoder, first.model.encoder) and again.proj[0].weight.shape == (4, 12)


def test_what_a_run_sets_itself_is_kept_and_said_and_must_fit(pretrained, caplog):
    path = str(pretrained)
    with caplog.at_level(logging.INFO):
        model = build("model", "patches_head", model_path=path, num_labels=3, gain=2.0)
    assert model.cfg.gain == 2.0 and "model.gain=2.0" in caplog.text and "it was 0.5" in caplog.text
    with pytest.raises(ConfigError, match=r"patches.weight \(\[12, 12, 100\] in the file, \[6, 12, 100\] in the model"):
        build("model", "patches_head", model_path=path, num_labels=3, dim=6)
    with pytest.raises(ConfigError, match=r"unit=mV, but this run has unit=uV; set model.unit=mV"):
        build("model", "patches_head", model_path=path, num_labels=3, unit="uV")


@pytest.mark.parametrize("pretrained", ["masked_patches"], indirect=True)
def test_parts_that_only_pretraining_needs_stay_behind_and_are_named(pretrained, caplog):
    with caplog.at_level(logging.INFO):
        build("model", "patches_head", model_path=str(pretrained), num_labels=3)
    assert "not taken over, as only its pretraining needs them: decoder" in caplog.text
