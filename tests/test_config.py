from dataclasses import dataclass

import pytest

from ecg_signals.composition import resolve_config
from ecg_signals.config import LAUNCH_DIR, BaseConfig, ConfigError, UsageError, option, parse_literal, resolve_input


@dataclass
class ExampleConfig(BaseConfig):
    rate: float = option(0.1, "a rate")
    layers: int = option(2, "layers")
    sizes: list[int] = option([1, 2], "sizes")
    betas: tuple[float, float] = option((0.9, 0.999), "betas")
    on: bool = option(False, "switch")
    path: str | None = option(None, "a path")
    kind: str = option("a", "a choice", choices=("a", "b"))
    share: float | None = option(None, "a share", least=0, most=1)
    steps: list[int] = option([1], "steps", least=1)
    heat: float = option(0.1, "a divisor", above=0)


def test_strings_become_the_declared_types():
    cfg = ExampleConfig.from_mapping(
        {"rate": "5e-5", "layers": "3", "sizes": "[4, 5]", "betas": "(0.9, 0.98)", "on": "true"}
    )
    assert (cfg.rate, cfg.layers, cfg.sizes, cfg.betas, cfg.on) == (5e-5, 3, [4, 5], (0.9, 0.98), True)


def test_a_single_number_serves_where_a_list_is_meant():
    assert ExampleConfig.from_mapping({"sizes": 7}).sizes == [7]


@pytest.mark.parametrize(
    "values",
    [
        {"layers": 2.5},
        {"layers": True},
        {"on": "maybe"},
        {"betas": [1.0]},
        {"rate": "fast"},
        {"kind": "c"},
        {"layers": None},
        {"sizes": "[__import__('os')]"},
        {"share": 1.5},
        {"share": "nan"},
        {"steps": [2, 0]},
        {"heat": 0},
    ],
)
def test_a_value_of_the_wrong_type_names_the_key(values):
    with pytest.raises(ConfigError, match=next(iter(values))):
        ExampleConfig.from_mapping(values, where="example")


def test_a_number_outside_its_range_is_told_the_range_and_the_edges_are_inside():
    with pytest.raises(ConfigError, match=r"example\.share=-0\.1; set example\.share to 0 to 1"):
        ExampleConfig.from_mapping({"share": -0.1}, where="example")
    with pytest.raises(ConfigError, match=r"example\.steps=\[2, 0\]; set example\.steps to 1 or more in every entry"):
        ExampleConfig.from_mapping({"steps": [2, 0]}, where="example")
    with pytest.raises(ConfigError, match=r"example\.heat to more than 0"):
        ExampleConfig.from_mapping({"heat": 0}, where="example")
    for values in ({"share": 0}, {"share": 1}, {"share": None}, {"share": "???"}, {"steps": []}, {"heat": 1e-9}):
        ExampleConfig.from_mapping(values)


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("common", "log_interval", 0),
        ("common", "seed", -1),
        ("common", "fp16_init_scale", 0),
        ("dataset", "num_workers", -1),
        ("dataset", "max_valid_steps", 0),
        ("checkpoint", "save_interval", 0),
    ],
)
def test_numbers_that_a_run_would_stumble_over_are_refused_with_the_recipe(section, key, value):
    with pytest.raises(ConfigError, match=f"{section}.{key}={value}; set {section}.{key} to"):
        resolve_config({section: {key: value}})


def test_a_misspelt_key_gets_its_nearest_neighbour():
    with pytest.raises(UsageError, match="did you mean 'layers'"):
        ExampleConfig.from_mapping({"layer": 3})


def test_question_marks_raise_only_when_they_are_read():
    cfg = ExampleConfig.from_mapping({"path": "???", "rate": "???"})
    assert cfg.to_dict()["path"] == "???"
    with pytest.raises(ConfigError, match="path"):
        _ = cfg.path
    with pytest.raises(ConfigError, match=r"set it on the command line: task\.path=VALUE"):
        _ = ExampleConfig.from_mapping({"path": "???"}, where="task").path


def test_defaults_are_not_shared_between_instances():
    first, second = ExampleConfig(), ExampleConfig()
    first.sizes.append(3)
    assert second.sizes == [1, 2]


def test_lists_of_tuples_may_be_multiplied_and_added():
    assert parse_literal("[(256, 2, 2)] * 2 + [(512, 3, 2)]") == [(256, 2, 2), (256, 2, 2), (512, 3, 2)]


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "[1] * 10 ** 9",
        "open('x')",
        "[x for x in (1,)]",
        "(1).__class__",
        "[0] * 99999999",
        "(" * 5000,
    ],
)
def test_nothing_but_literals_is_parsed(text):
    with pytest.raises(ConfigError):
        parse_literal(text)


def test_inputs_are_looked_for_where_the_command_was_typed(tmp_path, monkeypatch):
    (tmp_path / "launch").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "launch" / "labels.npy").touch()
    monkeypatch.setenv(LAUNCH_DIR, str(tmp_path / "launch"))
    monkeypatch.chdir(tmp_path / "run")
    assert resolve_input("labels.npy") == tmp_path / "launch" / "labels.npy"
    (tmp_path / "run" / "labels.npy").touch()
    assert resolve_input("labels.npy").resolve() == tmp_path / "run" / "labels.npy"


def test_every_config_has_defaults_of_its_own():
    @dataclass
    class Inner(BaseConfig):
        sizes: list[int] = option([1], "sizes")

    @dataclass
    class Outer(BaseConfig):
        inner: Inner = option(Inner(), "a section inside")
        nested: list[list[int]] = option([[1]], "lists inside")

    first, second = Outer(), Outer()
    first.inner.sizes.append(2)
    first.nested[0].append(2)
    assert second.inner.sizes == [1] and second.nested == [[1]]


def test_resolvers_in_the_options_of_a_file_stay_text(monkeypatch):
    monkeypatch.setenv("SECRET", "shown")
    texts = ["${oc.env:SECRET}", "\\${oc.env:SECRET}", "\\\\${oc.env:SECRET}", "a ${task.data} b"]
    for text in texts:
        stored = {"task": {"_name": "ecg_pretraining", "data": text}, "model": {"_name": "wav2vec2"}}
        assert resolve_config(stored, lenient=True).to_dict()["task"]["data"] == text


def test_references_between_the_options_of_a_file_are_followed_but_do_not_unfold_without_end():
    task = {"_name": "ecg_pretraining", "data": "${common.wandb_project}"}
    stored = {"task": task, "common": {"wandb_project": "p"}, "model": {"_name": "wav2vec2"}}
    assert resolve_config(stored, lenient=True).task.data == "p"
    nested = {f"a{index}": [f"${{common_eval.model_overrides.a{index + 1}}}"] * 2 for index in range(40)}
    with pytest.raises(ConfigError):
        resolve_config({**stored, "common_eval": {"model_overrides": {**nested, "a40": 1}}}, lenient=True)


@pytest.mark.parametrize(
    "model",
    [
        {"_name": None, "arch": "wav2vec2", "final_dim": 8},
        {"wav2vec2": {"final_dim": 8}},
        {"_name": None, "wav2vec2": {"final_dim": 8}},
        {"_name": "wav2vec2", "final_dim": 8},
    ],
)
def test_a_model_is_named_in_each_of_fairseq_signals_ways(model):
    config = resolve_config({"model": model})
    assert (config.model._name, config.model.final_dim) == ("wav2vec2", 8)
