"""CPC's loss against the published program's, by hand, and where records have padding."""

import json

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from published_baselines import fill, renamed

from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.registry import build
from ecg_signals.trainer import Trainer

TINY = {"conv_dim": [16] * 4, "hidden_dim": 12}


@pytest.mark.parametrize("name", ["cpc_fc_pre", "cpc_fc_pre_mlp", "cpc_conv_pre"])
@torch.no_grad()
def test_the_published_draws_give_the_published_loss(golden, name):
    folder = golden / "benchmarks"
    arrays = np.load(folder / "models_tiny_ssl.npz")
    config = json.loads((folder / "models_tiny_ssl.json").read_text())[name]
    state = {key.partition("/sd/")[2]: arrays[key] for key in arrays.files if key.startswith(f"{name}/sd/")}
    options = {"conv_kernel": config["kss"], "conv_stride": config["strides"], "mlp": config["mlp"]}
    model = fill(build("model", "cpc", **TINY, **options), renamed("fc_lstm", state))
    output = model(torch.from_numpy(arrays["x"]))
    for key, value in (("encoded", "z"), ("predicted", "c_proj")):
        torch.testing.assert_close(output[key], torch.from_numpy(arrays[f"{name}/{value}"]), rtol=1e-4, atol=1e-5)
    criterion = build(
        "criterion", "cpc", steps_predicted=config["steps_predicted"], negatives_per_frame=config["n_false_negatives"],
        negatives="sequence" if config["negatives_from_same_seq_only"] else "batch",
    )  # fmt: skip
    source, draws = (torch.from_numpy(arrays[f"{name}/{key}"]) for key in ("x_loss", "neg_draws"))
    out = criterion(model, {"net_input": {"source": source, "neg_draws": draws}})
    assert float(out.loss) / out.sample_size == pytest.approx(float(arrays[f"{name}/loss"]), rel=1e-5)
    assert float(out.logs["correct"] / out.logs["count"]) == pytest.approx(float(arrays[f"{name}/acc"]))


class Frames(torch.nn.Module):
    def __init__(self, encoded, predicted, padding=None):
        super().__init__()
        self.output = {"encoded": encoded, "predicted": predicted, "padding_mask": padding}

    def forward(self, source):
        return self.output


def loss(criterion, encoded, predicted, padding=None, draws=None):
    net_input = {"source": encoded, **({} if draws is None else {"neg_draws": draws})}
    return criterion(Frames(encoded, predicted, padding), {"net_input": net_input})


@pytest.mark.parametrize("negatives", ["batch", "sequence"])
def test_the_loss_is_a_cross_entropy_over_the_later_frame_and_all_others(negatives):
    torch.manual_seed(0)
    encoded, predicted = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    criterion = build("criterion", "cpc", steps_predicted=2, negatives_per_frame=2, negatives=negatives)
    draws = criterion.draw(2, 5)
    assert draws.shape == (3, 4) and draws.max() < (8 if negatives == "batch" else 4)
    expected = 0.0
    for item in range(2):
        for frame in range(3):
            others = []
            for draw in draws[frame].view(2, 2)[item].tolist():
                place = draw % 4
                place += place >= frame + 2
                others.append(encoded[draw // 4 if negatives == "batch" else item, place])
            candidates = torch.stack([encoded[item, frame + 2], *others])
            expected += F.cross_entropy(candidates @ predicted[item, frame], torch.tensor(0))
    out = loss(criterion, encoded, predicted, draws=draws)
    torch.testing.assert_close(out.loss, expected)
    assert out.sample_size == 2 and float(out.logs["count"]) == 6


def test_products_in_several_parts_are_the_same(monkeypatch):
    torch.manual_seed(0)
    encoded, predicted = torch.randn(3, 9, 4), torch.randn(3, 9, 4)
    criterion = build("criterion", "cpc", steps_predicted=2, negatives_per_frame=5)
    draws = criterion.draw(3, 9)
    whole = loss(criterion, encoded, predicted, draws=draws)
    monkeypatch.setattr("ecg_signals.criteria.cpc.MOST", 100)
    torch.testing.assert_close(loss(criterion, encoded, predicted, draws=draws).loss, whole.loss)


@pytest.mark.parametrize("negatives", ["batch", "sequence"])
def test_frames_of_padding_are_neither_told_nor_told_from(negatives):
    torch.manual_seed(0)
    encoded, predicted = torch.randn(2, 6, 3), torch.randn(2, 6, 3)
    padding = torch.arange(6) >= torch.tensor([[4], [6]])
    criterion = build("criterion", "cpc", steps_predicted=1, negatives_per_frame=30, negatives=negatives)
    draws = criterion.draw(2, 6)
    changed = encoded.masked_fill(padding[..., None], 7.0)
    first, second = (loss(criterion, frames, predicted, padding, draws) for frames in (encoded, changed))
    assert torch.equal(first.loss, second.loss) and float(first.logs["count"]) == 3 + 5


def test_segments_without_a_later_frame_are_refused():
    criterion = build("criterion", "cpc", steps_predicted=5)
    with pytest.raises(ConfigError, match=r"5 frames per item, and criterion\.steps_predicted=5"):
        loss(criterion, torch.randn(2, 5, 3), torch.randn(2, 5, 3))


def test_a_head_stands_on_what_a_run_of_cpc_stored(sample, tmp_path):
    small = {"conv_dim": [8, 8], "conv_kernel": [10, 4], "conv_stride": [5, 4], "hidden_dim": 8, "mlp": True}
    config = {
        "task": {"_name": "ecg_pretraining", "data": str(sample.single)},
        "dataset": {"batch_size": 4, "num_workers": 0, "disable_validation": True},
        "model": {"_name": "cpc", **small},
        "criterion": {"_name": "cpc", "negatives_per_frame": 8},
        "optimizer": {"_name": "adamw"},
        "lr_scheduler": {"_name": "fixed"},
        "optimization": {"max_update": 2, "lr": [1e-3]},
        "checkpoint": {"save_dir": str(tmp_path)},
        "common": {"log_format": "none"},
    }
    trainer = Trainer(resolve_config(config))
    trainer.train()
    path = str(tmp_path / "checkpoint_last.pt")
    model = build("model", "classifier", model_path=path, num_labels=3, pool="mean_max_last", layer_decay=0.1)
    assert model.encoder.cfg._name == "fc_lstm" and model.encoder.cfg.conv_dim == [8, 8]
    state = trainer.model.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in model.encoder.state_dict().items())
    rates = [model.lr_scale(f"{name}.weight", None) for name in ("encoder.layers.0.0", "proj")]
    assert rates == pytest.approx([0.01, 1.0])
