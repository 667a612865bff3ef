"""Training state in fairseq-signals' layout: written as it writes it, read back from its files and ours."""

import copy
import logging

import pytest
import torch
from torch import nn

from ecg_signals.checkpoint.initialise import continue_model
from ecg_signals.checkpoint.optimizer_state import merge_optimizer_state, unflatten_optimizer_state
from ecg_signals.checkpoint.plain import plain_values
from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.checkpoint.state import (
    Moment,
    Trained,
    pack_state,
    restored_state,
    unpack_state,
)
from ecg_signals.checkpoint.write import write_checkpoint
from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.interop.fairseq_signals.names import peer_config
from ecg_signals.registry import get_entry

RUN = "fairseq_signals_trained"
FILES = [f"{RUN}/checkpoint_last.pt", f"{RUN}/checkpoint_2_3.pt", f"{RUN}/finetune/checkpoint_last.pt"]


class Parts:
    """What a trainer has, built from a checkpoint's recipe."""

    def __init__(self, cfg):
        self.config = resolve_config(cfg, lenient=True)
        self.model = get_entry("model", self.config.model._name).cls(self.config.model)
        self.criterion = get_entry("criterion", self.config.criterion._name).cls(self.config.criterion)
        self.optimizer = get_entry("optimizer", self.config.optimizer._name).cls(
            self.model.param_groups(self.config), self.config.optimizer
        )
        self.schedule = get_entry("lr_scheduler", self.config.lr_scheduler._name).cls(self.config.lr_scheduler)

    def restore(self, state):
        state.load_model(self.model, self.criterion)
        state.load_optimizer(self.optimizer, self.criterion, self.config)

    def pack(self, ours=(), **changes):
        trained = Trained(self.model, self.criterion, self.optimizer, self.schedule)
        moment = {"num_updates": 6, "epoch": 4, "iterations_in_epoch": 0, "training_time": 1.5}
        moment = Moment(**{**moment, "val_loss": 8.5, "best": 8.5, **changes})
        return pack_state(self.config, trained, moment, trained.states(), dict(ours))


@pytest.fixture(scope="module", params=FILES)
def resumed(request, golden):
    raw = read_checkpoint(golden / request.param)
    state = restored_state(raw, request.param)
    parts = Parts(copy.deepcopy(state.cfg))
    parts.restore(state)
    return raw, state, parts


def test_files_of_fairseq_signals_are_taken_apart(resumed):
    raw, state, parts = resumed
    assert state.num_updates == raw["optimizer_history"][-1]["num_updates"]
    position = raw["extra_state"]["train_iterator"]
    assert (state.epoch, state.iterations_in_epoch) == (position["epoch"], position["iterations_in_epoch"])
    assert state.best == raw["extra_state"]["best"] and state.ours == {}
    assert all(torch.equal(parts.model.state_dict()[key], value) for key, value in raw["model"].items())
    moments = raw["last_optimizer_state"]["state"]
    restored = parts.optimizer.state_dict()["state"]
    assert set(restored) == set(moments)
    assert all(torch.equal(restored[index]["exp_avg_sq"], moments[index]["exp_avg_sq"]) for index in moments)


def tree(value, path=""):
    """Every key with the type of its value; optimizer moments and weights with their shape."""
    if isinstance(value, dict):
        return {f"{path}.{key}": kind for key, item in value.items() for kind in [tree(item)]}
    if isinstance(value, torch.Tensor):
        return f"Tensor{list(value.shape)} {value.dtype}"
    if isinstance(value, (list, tuple)):
        return [type(value).__name__, *[tree(item) for item in value]]
    return type(value).__name__


def test_files_of_ours_have_fairseq_signals_keys_and_types(resumed):
    raw, state, parts = resumed
    packed = parts.pack(num_updates=state.num_updates, epoch=state.epoch, iterations_in_epoch=state.iterations_in_epoch)
    assert list(packed) == list(raw)
    expected_cfg = {key: value for key, value in raw["cfg"].items() if key != "job_logging_cfg"}
    assert packed["cfg"] == expected_cfg and tree(packed["cfg"]) == tree(expected_cfg)
    assert list(packed["cfg"]["model"]) and set(packed["cfg"]["model"]) == set(expected_cfg["model"])
    for key in ("model", "criterion", "optimizer_history", "task_state", "last_optimizer_state"):
        assert tree(packed[key]) == tree(raw[key]), key
    assert packed["optimizer_history"] == raw["optimizer_history"]
    assert set(packed["extra_state"]) - set(raw["extra_state"]) == {"ecg_signals"}
    assert tree(packed["extra_state"]["train_iterator"]) == tree(raw["extra_state"]["train_iterator"])


def test_a_written_state_comes_back_whole_with_weights_only(resumed, tmp_path):
    _, _, parts = resumed
    ours = {"position": {"epoch": 4, "samples": 12}, "best_printed": {"valid": 8.5}}
    write_checkpoint(tmp_path / "a.pt", parts.pack(ours=ours))
    torch.load(tmp_path / "a.pt", weights_only=True)
    state = unpack_state(tmp_path / "a.pt", parts.config.checkpoint)
    again = Parts(state.cfg)
    again.restore(state)
    assert again.config.to_dict() == parts.config.to_dict() and state.ours["position"] == ours["position"]
    assert (state.num_updates, state.epoch, state.training_time) == (6, 4, 1.5)
    for first, second in zip(
        parts.optimizer.state_dict()["state"].values(), again.optimizer.state_dict()["state"].values()
    ):
        assert first["step"] == second["step"] and torch.equal(first["exp_avg"], second["exp_avg"])


def test_half_precision_is_stored_as_float32_and_views_without_what_surrounds_them(golden):
    parts = Parts(read_checkpoint(golden / FILES[0])["cfg"])
    parts.model.half()
    parts.model.mask_emb = nn.Parameter(torch.zeros(1000).half()[:32])
    packed = parts.pack()["model"]
    assert all(value.dtype == torch.float32 for value in packed.values())
    assert packed["mask_emb"].untyped_storage().nbytes() == 32 * 4


def test_no_optimizer_state_is_stored_when_it_is_not_wanted(golden):
    parts = Parts(read_checkpoint(golden / FILES[0])["cfg"])
    parts.config.checkpoint.no_save_optimizer_state = True
    packed = parts.pack()
    assert "last_optimizer_state" not in packed
    state = restored_state(packed, "a.pt")
    assert state.optimizer is None
    with pytest.raises(ConfigError, match=r"no optimizer state; set checkpoint.reset_optimizer=true"):
        parts.restore(state)


def test_before_the_first_validation_there_is_no_best(golden):
    packed = Parts(read_checkpoint(golden / FILES[0])["cfg"]).pack(val_loss=None, best=None)
    assert "best" not in packed["extra_state"] and packed["extra_state"]["val_loss"] is None
    assert restored_state(packed, "a.pt").best is None


def test_a_model_that_only_this_package_has_is_stored_whole():
    config = resolve_config(
        {
            "task": {"_name": "ecg_pretraining", "data": "x"},
            "model": {"_name": "hubert_ecg"},
            "criterion": {"_name": "hubert_pretraining"},
            "optimizer": {"_name": "adamw"},
            "lr_scheduler": {"_name": "cosine"},
        },
        lenient=True,
    )
    cfg = peer_config(config)
    assert cfg["model"] == plain_values(config.model.to_dict()) and cfg["optimizer"]["_name"] == "adamw"
    assert "bf16" not in cfg["common"] and "user_dir" not in cfg["common"]


def test_other_criteria_and_optimizers_are_refused_by_name(golden):
    state = restored_state(read_checkpoint(golden / FILES[0]), "a.pt")
    parts = Parts(state.cfg)
    state.criterion_class_name = "Wav2Vec2Criterion"
    with pytest.raises(ConfigError, match="criterion Wav2Vec2Criterion, this recipe has Wav2Vec2WithCMSCCriterion"):
        state.load_optimizer(parts.optimizer, parts.criterion, parts.config)
    state.criterion_class_name, state.optimizer_class_name = None, "FairseqNAG"
    with pytest.raises(ConfigError, match="optimizer FairseqNAG, this recipe has Adam"):
        state.load_optimizer(parts.optimizer, parts.criterion, parts.config)
    state.optimizer_class_name = "FP16Optimizer"
    state.load_optimizer(parts.optimizer, parts.criterion, parts.config)


def test_the_recipe_wins_over_the_stored_options_and_says_so(golden, caplog):
    state = restored_state(read_checkpoint(golden / FILES[0]), "a.pt")
    state.cfg["optimizer"]["weight_decay"] = 0.5
    parts = Parts(state.cfg)
    with caplog.at_level(logging.WARNING):
        state.load_optimizer(parts.optimizer, parts.criterion, parts.config)
    assert parts.optimizer.param_groups[0]["weight_decay"] == 0.5
    assert "weight_decay is 0.01 in the checkpoint and 0.5 in the recipe" in caplog.text and "betas" not in caplog.text


def test_optimizer_overrides_win_over_both(golden):
    state = restored_state(read_checkpoint(golden / FILES[0]), "a.pt")
    parts = Parts(state.cfg)
    parts.config.checkpoint.optimizer_overrides = "{'eps': 1e-3}"
    state.load_optimizer(parts.optimizer, parts.criterion, parts.config)
    assert parts.optimizer.param_groups[0]["eps"] == 1e-3


def test_another_number_of_parameters_is_an_error():
    stored = {"state": {}, "param_groups": [{"params": [0, 1, 2], "lr": 1.0}]}
    current = {"state": {}, "param_groups": [{"params": [0, 1], "lr": 1.0}]}
    with pytest.raises(ConfigError, match=r"groups of \[3\] tensors, this recipe's has \[2\]"):
        merge_optimizer_state(stored, current, {})


def test_a_flat_half_precision_state_is_cut_into_parameters():
    parameters = [torch.zeros(2, 3), torch.zeros(4)]
    flat = torch.arange(10.0)
    stored = {
        "loss_scale": 128.0,
        "state": {0: {"step": 7, "exp_avg": flat, "exp_avg_sq": flat * 2}},
        "param_groups": [{"lr": 0.1, "params": [0]}],
    }
    cut = unflatten_optimizer_state(stored, parameters)
    assert torch.equal(cut["state"][0]["exp_avg"], flat[:6].view(2, 3)) and cut["state"][1]["step"] == 7
    assert torch.equal(cut["state"][1]["exp_avg_sq"], flat[6:] * 2) and cut["param_groups"][0]["params"] == [0, 1]
    with pytest.raises(ConfigError, match="for 10 weights, this model trains 11"):
        unflatten_optimizer_state(stored, [torch.zeros(5), torch.zeros(6)])


def test_half_precision_runs_store_the_flat_state_of_fairseq_signals_and_resume_from_it(golden):
    state = restored_state(read_checkpoint(golden / FILES[0]), "a.pt")
    parts = Parts(state.cfg)
    parts.restore(state)
    del parts.optimizer.state[parts.optimizer.param_groups[0]["params"][3]]
    parts.config.common.fp16 = True
    packed = parts.pack(ours={"scaler": {"scale": 32.0}})
    assert packed["optimizer_history"][0]["optimizer_name"] == "FP16Optimizer"
    flat = packed["last_optimizer_state"]
    count = sum(parameter.numel() for parameter in parts.model.parameters())
    assert list(flat["state"]) == [0] and flat["state"][0]["exp_avg"].shape == (count,)
    assert flat["param_groups"][0]["params"] == [0] and flat["loss_scale"] == 32.0
    again = Parts(state.cfg)
    again.restore(restored_state(packed, "b.pt"))
    first, second = parts.optimizer.state_dict()["state"], again.optimizer.state_dict()["state"]
    assert first.keys() == second.keys() and 3 not in second
    assert all(torch.equal(first[index]["exp_avg_sq"], second[index]["exp_avg_sq"]) for index in first)
    assert all(first[index]["step"] == second[index]["step"] for index in first)


def test_the_loss_scale_of_fairseq_signals_is_restored_and_ours_is_stored(golden):
    raw = read_checkpoint(golden / FILES[0])
    raw["last_optimizer_state"]["loss_scale"] = 64.0
    assert restored_state(raw, "a.pt").ours["scaler"] == {"scale": 64.0}
    packed = Parts(raw["cfg"]).pack(ours={"scaler": {"scale": 32.0, "attempts": 3}})
    assert packed["last_optimizer_state"]["loss_scale"] == 32.0
    assert restored_state(packed, "a.pt").ours["scaler"]["attempts"] == 3


def test_files_older_than_the_optimizer_history_are_brought_up_to_date():
    moments = {"state": {}, "param_groups": []}
    raw = {
        "model": {"w": torch.zeros(1)},
        "optimizer": moments,
        "best_loss": 2.5,
        "epoch": 3,
        "batch_offset": 17,
        "val_loss": 2.75,
        "args": {"arch": "wav2vec2", "lr": 0.1},
    }
    state = restored_state(raw, "a.pt")
    assert (state.epoch, state.iterations_in_epoch, state.num_updates) == (3, 17, 0)
    assert state.optimizer == moments and state.schedule_state == {"best": 2.5} and state.val_loss == 2.75
    assert state.cfg["optimization"]["lr"] == [0.1]


def test_an_optimizer_inside_the_history_is_found():
    moments = {"state": {}, "param_groups": []}
    raw = {
        "model": {"w": torch.zeros(1)},
        "optimizer_history": [{"optimizer": moments, "best_loss": 1.0}],
        "extra_state": {},
    }
    assert restored_state(raw, "a.pt").optimizer == moments


def test_a_file_without_weights_is_named():
    with pytest.raises(ConfigError, match=r"a\.pt has no weights under 'model'; it holds state_dict"):
        restored_state({"state_dict": {}}, "a.pt")


def test_a_run_that_goes_on_from_published_weights_keeps_their_arithmetic(golden, caplog):
    state = restored_state(read_checkpoint(golden / FILES[0]), "old.pt")
    config = resolve_config(state.cfg, lenient=True)
    published = get_entry("model", config.model._name).cls.published_options()
    assert published and all(getattr(config.model, key) != value for key, value in published.items())
    with caplog.at_level(logging.WARNING):
        kept = state.keep_arithmetic(config.model)
    assert kept == published and {key: getattr(config.model, key) for key in published} == published
    assert all(f"model.{key}={value}" in caplog.text for key, value in published.items())

    again = resolve_config(state.cfg, lenient=True)  # the same recipe, and a checkpoint that this run wrote itself
    state.ours |= {"format": 1, "published_options": kept}
    assert state.keep_arithmetic(again.model) == published
    assert {key: getattr(again.model, key) for key in published} == published
    state.ours["published_options"] = {}
    fresh = resolve_config(state.cfg, lenient=True)
    assert state.keep_arithmetic(fresh.model) == {} and fresh.model.include_padding is False


def test_values_that_weights_only_refuses_are_refused_when_writing():
    with pytest.raises(TypeError, match="plain values only, not object"):
        plain_values({"a": object()})


def test_a_resumed_fine_tuning_run_does_not_need_its_pretrained_file(golden, tmp_path):
    file = golden / RUN / "finetune" / "checkpoint_last.pt"
    state = restored_state(read_checkpoint(file), str(file))
    state.cfg["model"]["model_path"] = str(tmp_path / "gone.pt")
    config = resolve_config(state.cfg, lenient=True)
    for key in ("encoder_layers", "encoder_embed_dim", "encoder_ffn_embed_dim", "conv_feature_layers", "conv_pos"):
        setattr(config.model, key, type(config.model).__dataclass_fields__[key].default)
    model = continue_model(config.model, state)
    assert config.model.model_path == str(tmp_path / "gone.pt")
    state.load_model(model, nn.Module())
    assert torch.equal(model.state_dict()["proj.weight"], state.model_state["proj.weight"])
