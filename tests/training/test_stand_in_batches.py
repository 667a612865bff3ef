"""A rank without a batch computes on another one, which counts nothing: what it leaves in the model, too."""

import pytest
import torch

from ecg_signals.composition import resolve_config
from ecg_signals.training.trainer import Trainer

CNN = {"_name": "xresnet1d", "blocks": [1, 1], "width": 4, "stem": [4, 4, 8]}
MODELS = {
    "moco": {"queue_size": 20},
    "swav": {"queue_size": 12, "prototypes": 7},
    "byol": {"final_encoder_momentum": 0.996},
}


@pytest.mark.parametrize("name", MODELS)
def test_a_batch_that_stands_in_leaves_no_trace_in_queues_averages_and_batch_norms(pretraining, sample, tmp_path, name):
    views = {"data": str(sample.single), "max_sample_size": 250, "perturbation_mode": ["time_out"], "p": [1.0]}
    sections = {
        **pretraining,
        "task": {"_name": "ecg_pretraining", **views},
        "dataset": {"batch_size": 4, "num_workers": 0, "disable_validation": True, "valid_subset": ""},
        "criterion": {"_name": name},
        "model": {"_name": name, "encoder": CNN, "hidden_dim": 8, "out_dim": 6, **MODELS[name]},
    }
    states = []
    for more in ([], [None], [None, None]):
        trainer = Trainer(resolve_config({**sections, "checkpoint": {"save_dir": str(tmp_path / str(len(more)))}}))
        batches = list(trainer.iterator.batches(1))[1:3]
        for batch in batches:
            trainer.train_update([batch, *more])
        states.append(trainer.model.state_dict())
    assert any("num_batches_tracked" in key and int(value) for key, value in states[0].items())
    for state in states[1:]:
        assert [key for key, value in state.items() if not torch.equal(value, states[0][key])] == []
