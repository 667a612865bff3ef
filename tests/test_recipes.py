"""The packaged recipes: all compose, and those that fairseq-signals ships too say the same as its files."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from ecg_signals.cli.app import hydra_app, plain_sections
from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError, parse_literal
from ecg_signals.interop.fairseq_signals.ignored import IGNORED
from ecg_signals.interop.fairseq_signals.names import task_options

CONFIGS = Path(__file__).parents[1] / "configs"
NAMES = sorted(path.relative_to(CONFIGS).with_suffix("").as_posix() for path in CONFIGS.rglob("*.yaml"))
# fairseq-signals' file -> our recipe
PACKAGED = {
    "wav2vec2/pretraining/w2v": "w2v",
    "wav2vec2/pretraining/w2v_rlm": "w2v_rlm",
    "wav2vec2/pretraining/w2v_augs": "w2v_augs",
    "w2v_cmsc/pretraining/w2v_cmsc": "w2v_cmsc",
    "w2v_cmsc/pretraining/w2v_cmsc_rlm": "w2v_cmsc_rlm",
    "w2v_cmsc/pretraining/w2v_cmsc_rlm_small": "w2v_cmsc_rlm_small",
    "w2v_cmsc/pretraining/w2v_cmsc_augs": "w2v_cmsc_augs",
    "cmsc/pretraining/ecg_transformer/cmsc": "cmsc",
    "cmsc/pretraining/ecg_transformer/cmsc_rlm": "cmsc_rlm",
    "simclr/pretraining/ecg_transformer/simclr_rlm": "simclr_rlm",
    "simclr/pretraining/ecg_transformer/simclr_augs": "simclr_augs",
    "3kg/pretraining/ecg_transformer/3kg": "3kg",
    "w2v_cmsc/finetuning/ecg_transformer/grounding_classification/base_total": "finetune/grounding",
    "scratch/ecg_classification/ecg_transformer/diagnosis_physionet2021": "scratch/diagnosis",
    "scratch/ecg_classification/ecg_transformer/multi_head_cls_path_dataset": "scratch/multi_head",
    "scratch/ecg_classification/ecg_transformer/multi_label_cls_path_dataset": "scratch/multi_label",
    "scratch/ecg_classification/resnet/nejedly2021_total": "scratch/nejedly2021",
    "scratch/ecg_classification/resnet/se_wrn_total": "scratch/se_wrn",
    "scratch/ecg_classification/infer": "infer",
    "scratch/ecg_identification/identification": "scratch/identification",
    **{
        f"{folder}/{task}": f"finetune/{task}"
        for folder in (
            "3kg/finetuning/ecg_transformer",
            "cmsc/finetuning/ecg_transformer",
            "simclr/finetuning/ecg_transformer",
            "w2v_cmsc/finetuning/ecg_transformer",
            "wav2vec2/finetuning",
        )
        for task in ("diagnosis", "identification")
    },
}
# Keys in which a packaged recipe differs from the published file on purpose.
DIFFERENT = {
    "distributed_training.distributed_world_size",  # the visible GPUs, whatever they are
    "criterion.weights_file",  # ??? in files that never read it
    "common.wandb_project",  # nobody else's account
    "common.wandb_entity",
}
# (key, published value, ours)
DIFFERENT_VALUES = [
    ("criterion._name", "clocs", "cmsc"),  # two names of one criterion
    ("model.model_path", None, "???"),  # one of the five published diagnosis files names no pretrained file
]


def packaged(name: str) -> dict[str, Any]:
    from hydra import compose, initialize_config_module

    with initialize_config_module("ecg_signals.configs", version_base="1.3"):
        return OmegaConf.to_container(compose(config_name=name))  # type: ignore[return-value]


def flat(tree: dict[str, Any] | None, prefix: str = "") -> dict[str, Any]:
    out = {}
    for key, value in (tree or {}).items():
        out.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return out


def parsed(value: Any) -> Any:
    """"5e-5" and 5e-05 are one number, "(0.9, 0.98)" and [0.9, 0.98] one list."""
    if isinstance(value, (list, tuple)):
        return [parsed(item) for item in value]
    if isinstance(value, str):
        try:
            return parsed(parse_literal(value))
        except ConfigError:
            return value
    return value


@pytest.fixture(scope="module")
def published(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "fairseq_signals_trained" / "recipes.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_every_packaged_recipe_composes_to_known_keys_and_names(name: str):
    raw = packaged(name)
    config = resolve_config(raw)
    assert config.distributed_training.distributed_world_size is None
    for group in ("task", "model", "criterion", "optimizer", "lr_scheduler"):
        if isinstance(raw.get(group), dict):
            assert getattr(config, group)._name == raw[group]["_name"]


def test_every_published_recipe_is_packaged(published: dict[str, Any]):
    assert set(published) == set(PACKAGED)


@pytest.mark.parametrize("file", sorted(PACKAGED))
def test_a_packaged_recipe_equals_the_published_one_in_every_key(file: str, published: dict[str, Any]):
    ours, theirs = resolve_config(packaged(PACKAGED[file])), flat(published[file])
    sections = {group: getattr(ours, group) for group in published[file]}
    plain = {group: section.to_dict() for group, section in sections.items() if section is not None}
    values = flat({**plain, "task": plain["task"] | task_options(ours)})
    for key, value in theirs.items():
        section, _, option = key.partition(".")
        if key in DIFFERENT or key == "model" or (key, value, values.get(key)) in DIFFERENT_VALUES:
            continue
        if option in IGNORED.get(section, {}):
            continue
        assert key in values, key
        assert parsed(values[key]) == parsed(value), key


def test_each_recipe_starts_with_what_it_is():
    for name in NAMES:
        lines = (CONFIGS / f"{name}.yaml").read_text().splitlines()
        assert ("/" in name) == (lines[0] == "# @package _global_"), name
        assert lines["/" in name].startswith("# "), name


# ------------------------------------------------------------------ fairseq-signals' own files through --config-dir


def composed(argv: list[str], monkeypatch: pytest.MonkeyPatch, folder: Path) -> dict[str, Any]:
    """The sections that `ecg-train ARGV` would train with."""
    found: list[dict[str, Any]] = []

    def job(raw: Any) -> None:
        found.append(plain_sections(raw))

    monkeypatch.setattr(sys, "argv", ["ecg-train"])
    hydra_app([*argv, f"hydra.run.dir={folder}", "hydra/job_logging=none"], "train")(job)()
    return found[0]


@pytest.fixture(scope="module")
def written(published: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every published file, under its own path, as the yaml that users have."""
    folder = tmp_path_factory.mktemp("published")
    for name, content in published.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(content)))
    return folder


@pytest.mark.parametrize("file", sorted(PACKAGED))
def test_a_published_file_composes_through_config_dir(
    file: str, written: Path, published: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    path = written / file
    argv = ["--config-dir", str(path.parent), "--config-name", path.name, "task.data=here", "+dataset.num_workers=0"]
    if "num_labels" in (published[file]["model"] or {}):
        argv.append("model.num_labels=5")
    config = resolve_config(composed(argv, monkeypatch, tmp_path))
    assert (config.task.data, config.dataset.num_workers) == ("here", 0)
    for group in ("task", "model", "criterion", "optimizer", "lr_scheduler"):
        if published[file].get(group):
            assert getattr(config, group)._name == published[file][group]["_name"]


def test_a_users_file_wins_over_the_packaged_recipe_of_the_same_name(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    (tmp_path / "w2v.yaml").write_text("common: {seed: 77}\n")
    sections = composed(["--config-dir", str(tmp_path), "--config-name", "w2v"], monkeypatch, tmp_path)
    assert sections["common"]["seed"] == 77


def test_a_users_file_may_start_from_a_packaged_recipe(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("defaults: [w2v_cmsc_rlm, _self_]\ncommon: {seed: 78}\n")
    sections = composed(["--config-dir", str(tmp_path), "--config-name", "mine"], monkeypatch, tmp_path)
    assert (sections["common"]["seed"], sections["model"]["_name"]) == (78, "wav2vec2_cmsc")


def test_a_broken_yaml_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "mine.yaml").write_text("task:\n  data: [1, 2\nmodel: null\n")
    with pytest.raises(ConfigError, match=r"mine\.yaml is not valid yaml.*line 3"):
        composed(["--config-dir", str(tmp_path), "--config-name", "mine"], monkeypatch, tmp_path)
