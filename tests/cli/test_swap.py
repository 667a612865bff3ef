"""Another model, criterion, ... than the recipe's starts from its own defaults; --cfg checks as a run does."""

import sys

import pytest
from omegaconf import OmegaConf

from ecg_signals.cli.app import hydra_app, job_sections
from ecg_signals.composition import resolve_config


@pytest.fixture
def compose(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ecg-train"])
    (tmp_path / "r.yaml").write_text(
        """
task: {_name: ecg_classification, data: here}
dataset: {_name: ecg_file, batch_size: 3}
model: {_name: ecg_transformer_classifier, num_labels: 26, encoder_layers: 7, dropout: 0.3}
criterion: {_name: binary_cross_entropy_with_logits, report_auc: true, pos_weight: [2.0]}
optimizer: {_name: adam, adam_eps: 1e-3, weight_decay: 0.7}
lr_scheduler: {_name: fixed, warmup_updates: 9}
"""
    )

    def run(*words):
        found = []
        argv = ["--config-dir", str(tmp_path), "--config-name", "r", "hydra.run.dir=run", *words]
        hydra_app(argv, "train")(lambda raw: found.append(job_sections(raw)))()
        return found

    return run


def test_another_model_starts_from_its_own_defaults_and_keeps_what_has_none(compose, capsys, tmp_path):
    (sections,) = compose("model=se_wrn_classifier")
    assert sections["model"] == {"_name": "se_wrn_classifier", "num_labels": 26}
    said = capsys.readouterr().err
    assert "model.dropout, model.encoder_layers" in said and said.count("left out") == 1
    resolve_config(sections)
    assert OmegaConf.load(tmp_path / "run" / ".hydra" / "config.yaml").model == sections["model"]


@pytest.mark.parametrize(
    ("kind", "name"),
    [("criterion", "mse"), ("optimizer", "adamw"), ("lr_scheduler", "cosine"), ("dataset", "hubert_csv")],
)
def test_everything_registered_can_be_swapped(kind, name, compose):
    (sections,) = compose(f"{kind}={name}")
    resolve_config(sections)
    if kind == "dataset":
        assert sections[kind]["batch_size"] == 3
    else:
        assert sections[kind] == {"_name": name}


def test_what_the_command_line_sets_stays_even_if_the_recipe_sets_it_too(compose):
    (sections,) = compose("optimizer=adamw", "optimizer.weight_decay=0.2")
    assert sections["optimizer"] == {"_name": "adamw", "weight_decay": 0.2}


def test_the_recipes_own_name_changes_nothing(compose, capsys):
    (sections,) = compose("model=ecg_transformer_classifier", "optimizer._name=adam")
    assert sections["model"]["dropout"] == 0.3 and sections["optimizer"]["weight_decay"] == 0.7
    assert "starts from" not in capsys.readouterr().err


def test_every_run_of_a_sweep_is_swapped_by_itself(compose):
    found = compose("--multirun", "hydra.sweep.dir=sweep", "optimizer=adam,adamw")
    assert [sections["optimizer"].get("weight_decay") for sections in found] == [0.7, None]


def test_a_setting_that_the_new_thing_does_not_have_is_an_error(compose, capsys):
    with pytest.raises(SystemExit) as stop:
        compose("--cfg", "job", "model=se_wrn_classifier", "model.encoder_layers=3")
    assert stop.value.code == 2 and "unknown key 'model.encoder_layers'" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["common.sed=3"], "did you mean 'seed'"),
        (["comon.seed=3"], "did you mean 'common'"),
        (["model.encoder_layer=3"], "did you mean 'encoder_layers'"),
        (["optimizer=adan"], "did you mean 'adam'"),
        (["common.seed=many"], "common.seed is 'many'"),
        (["common.log_format=jsn"], "it must be one of"),
        (["--multirun"], "leave out --multirun"),
        (["--package", "modle"], "did you mean 'model'"),
    ],
)
def test_cfg_refuses_what_a_run_would_refuse(words, said, compose, capsys):
    with pytest.raises(SystemExit):
        compose("--cfg", "job", *words)
    shown = capsys.readouterr()
    assert said in shown.err and not shown.out


def test_cfg_prints_what_a_run_composes(compose, capsys, tmp_path):
    compose("--cfg", "job", "model=se_wrn_classifier", "task.data=x=1")
    printed = OmegaConf.to_container(OmegaConf.create(capsys.readouterr().out))
    assert printed == compose("model=se_wrn_classifier", "task.data=x=1")[0]
    compose("--cfg", "job", "--package", "optimizer.weight_decay")
    assert capsys.readouterr().out == "0.7\n"
