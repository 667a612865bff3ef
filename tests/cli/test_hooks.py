"""A stranger's recipe gets no code run through hydra, a checkpoint none at all; what the user types stays allowed."""

import subprocess
import sys
import textwrap

import pytest
import torch
from warm_commands import python

from ecg_signals.cli.app import hydra_app, plain_sections
from ecg_signals.config import ConfigError, UsageError

CANARY = "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n"
CANARY += "class Hook:\n    def __getattr__(self, name):\n        return lambda *a, **k: None\n"
# What lies in the recipe's folder; r.yaml is the recipe.
HOOKS = {
    "callback": {"r.yaml": "hydra: {callbacks: {x: {_target_: canary.Hook}}}"},
    "callback with a reference": {
        "r.yaml": "common: {log_file: canary.Hook}\nhydra: {callbacks: {x: {_target_: '${common.log_file}'}}}"
    },
    "handler factory": {"r.yaml": "hydra: {job_logging: {handlers: {file: {(): canary.Hook}}}}"},
    "handler class": {"r.yaml": "hydra: {hydra_logging: {version: 1, handlers: {console: {class: canary.Hook}}}}"},
    "imported stream": {"r.yaml": "hydra: {job_logging: {handlers: {file: {filename: 'ext://canary.Hook'}}}}"},
    "launcher": {"r.yaml": "hydra: {launcher: {_target_: canary.Hook}}"},
    "sweeper": {"r.yaml": "hydra: {mode: MULTIRUN, sweeper: {_target_: canary.Hook}}"},
    "sweep over hydra": {"r.yaml": "hydra: {mode: MULTIRUN, sweeper: {params: {'+hydra.callbacks.x._target_': c}}}"},
    "search path": {"r.yaml": "hydra: {searchpath: ['pkg://canary']}"},
    "environment": {"r.yaml": "hydra: {job: {env_set: {LD_PRELOAD: ./x.so}}}"},
    "another yaml": {"r.yaml": "defaults: [o, _self_]", "o.yaml": "hydra: {callbacks: {x: {_target_: canary.Hook}}}"},
    "a package": {"r.yaml": "defaults: [cb@hydra.callbacks.x, _self_]", "cb.yaml": "_target_: canary.Hook"},
    "a package's header": {
        "r.yaml": "defaults: [{g: cb}, _self_]",
        "g/cb.yaml": "# @package hydra.callbacks.x\n_target_: canary.Hook",
    },
    "an override in defaults": {
        "r.yaml": "defaults: [{override hydra/job_logging: evil}, _self_]",
        "hydra/job_logging/evil.yaml": "version: 1\nroot: {handlers: [x]}\nhandlers: {x: {(): canary.Hook}}",
    },
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "canary.py").write_text(CANARY)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["ecg-train"])
    return tmp_path


def write(folder, files):
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def compose(folder, *words):
    """The sections that a run gets."""
    found = []
    hydra_app(["--config-dir", str(folder), "--config-name", "r", *words], "train")(
        lambda raw: found.append(plain_sections(raw))
    )()
    return found


@pytest.mark.parametrize("name", HOOKS)
def test_a_recipe_that_names_code_for_hydra_is_refused(name, folder):
    write(folder, HOOKS[name])
    with pytest.raises(ConfigError, match=r"--allow-hooks|hydra\.searchpath is only supported"):
        compose(folder)
    assert not (folder / "ran").exists() and "canary" not in sys.modules


@pytest.mark.parametrize("name", ["callback", "an override in defaults"])
def test_a_recipe_can_be_looked_at_without_running_its_code(name, folder, capsys):
    write(folder, HOOKS[name])
    compose(folder, "--cfg", "job")
    assert "optimization:" in capsys.readouterr().out
    compose(folder, "--cfg", "hydra")
    assert "callbacks:" in capsys.readouterr().out
    assert not (folder / "ran").exists() and "canary" not in sys.modules


def test_a_users_own_folder_does_not_replace_what_hydra_calls_by_name(folder):
    write(folder, {"r.yaml": "common: {seed: 2}", "hydra/launcher/submitit_slurm.yaml": "_target_: canary.Hook"})
    with pytest.raises(UsageError, match="--allow-hooks"):
        compose(folder, "hydra/launcher=submitit_slurm")


def test_what_the_command_line_asks_of_hydra_is_allowed(folder):
    write(folder, {"r.yaml": "defaults: [w2v, _self_]\nhydra: {run: {dir: here}, job_logging: {root: {level: WARN}}}"})
    found = compose(folder, "hydra/job_logging=none", "hydra/launcher=basic", "+hydra.job.env_set.A_B=1")
    assert found[0]["model"]["_name"] == "wav2vec2" and (folder / "here" / ".hydra").is_dir()


def test_with_allow_hooks_a_recipe_does_what_it_says(tmp_path):
    (tmp_path / "canary.py").write_text(CANARY)
    write(tmp_path, {**HOOKS["callback"]})
    words = ["--allow-hooks", "--config-dir", ".", "--config-name", "r"]
    code = f"import sys; sys.path.insert(0, '.'); sys.argv = ['ecg-train', *{words}]\n"
    code += "from ecg_signals.cli.train import main; main()"
    done = subprocess.run([python(), "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert (tmp_path / "ran").exists(), done.stderr


def test_a_checkpoint_runs_nothing_that_its_config_names(folder):
    from ecg_signals.checkpoint.load import load_model, load_source
    from ecg_signals.registry import build

    model = build("model", "convnet", output_dim=2)
    evil = {"_target_": "canary.Hook"}
    cfg = {
        "common": {"user_dir": str(folder / "canary.py")},
        "model": {"_name": "convnet", "output_dim": 2},
        "hydra": {"callbacks": {"x": evil}, "job_logging": {"handlers": {"x": {"()": "canary.Hook"}}}},
        "job_logging_cfg": {"version": 1, "handlers": {"x": {"()": "canary.Hook"}}, "root": {"handlers": ["x"]}},
    }
    torch.save({"cfg": cfg, "model": model.state_dict()}, folder / "c.pt")
    load_source(folder / "c.pt")
    load_model(folder / "c.pt")
    assert not (folder / "ran").exists() and "canary" not in sys.modules


def test_looking_at_a_recipe_does_not_import_the_plugin_that_it_names(folder, capsys, caplog):
    write(
        folder,
        {
            "r.yaml": textwrap.dedent("""
        common: {user_dir: canary.py}
        model: {_name: of_the_plugin, anything: 1}
    """)
        },
    )
    compose(folder, "--cfg", "job")
    assert "of_the_plugin" in capsys.readouterr().out and "not checked" in caplog.text
    assert not (folder / "ran").exists()
    with pytest.raises(SystemExit):
        compose(folder, "--cfg", "job", f"common.user_dir={folder}/canary.py")
    assert (folder / "ran").exists()
    sys.modules.pop("canary", None)
