"""Settings on the command line: what hydra gets for what was typed."""

from pathlib import Path

import pytest

from ecg_signals.cli.overrides import DeclaredTypes, hydra_override
from ecg_signals.config import UsageError

SECTIONS = {
    "task": {"_name": "ecg_classification"},
    "model": {"_name": "wav2vec2_cmsc"},
    "criterion": {"_name": "binary_cross_entropy_with_logits"},
}


def means(text, many=False):
    """The value that hydra reads."""
    from hydra.core.override_parser.overrides_parser import OverridesParser

    override = hydra_override(text, Path("/nowhere"), DeclaredTypes(lambda: SECTIONS), many)
    parsed = OverridesParser.create().parse_override(override)
    return list(parsed.sweep_iterator()) if parsed.is_sweep_override() else parsed.value()


PATHS = [
    "/tmp/jürgen/ekg",
    "runs/epoch=3-step=5.pt",
    "a b/(c)/[d]/{e}/f,g/h:i",
    "O'Brien/\"x\"/'y",
    "C:\\data\\(x)\\new",
    "50%/#1/$HOME/&;!<>|*?",
    "心电图/данные",
    "end\\",
    "2024_01",
    "007",
    "1e5",
    "true",
    "[old]",
    "[old]/a=b",
    "{a: 1}",
    "x, y",
    " blank ",
    "a\nb",
]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("key", ["task.data", "checkpoint.save_dir", "common.user_dir", "hydra.run.dir"])
def test_a_path_is_taken_as_it_was_typed(path, key):
    assert means(f"{key}={path}") == path


@pytest.mark.parametrize("path", [path for path in PATHS if "/" in path])
def test_a_path_for_an_option_of_unknown_type_is_taken_as_it_was_typed(path):
    assert means(f"plugin.file={path}") == path or path.startswith(("[", "{"))


def test_a_tilde_at_the_start_is_the_home_folder(monkeypatch):
    monkeypatch.setenv("HOME", "/home/jürgen")
    assert means("task.data=~/ekg=1") == "/home/jürgen/ekg=1"
    assert means("hydra.run.dir=~") == "/home/jürgen"
    assert means("task.data=a~/b") == "a~/b"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("optimization.max_update=1_000", 1000),
        ("optimization.lr=[1e-3,2e-3]", [1e-3, 2e-3]),
        ("common.fp16=true", True),
        ("model.dropout=0.5", 0.5),
        ("common.user_dir=null", None),
        ("checkpoint.save_dir=", ""),
        ("checkpoint.save_dir='a b'", "a b"),
        ('model.conv_feature_layers="[(64, 2, 2)] * 4"', "[(64, 2, 2)] * 4"),
        ("model.conv_feature_layers=[(64, 2, 2)] * 4", "[(64, 2, 2)] * 4"),
        ("task.data=${common.user_dir}/jürgen", "${common.user_dir}/jürgen"),
        ("task.data=a${b", "a\\${b"),
        ("unknown.key={a: 1, b: [x]}", {"a": 1, "b": ["x"]}),
        ("dataset.valid_subset=valid,test", "valid,test"),
        ("common_eval.extract=[a=b,c d]", ["a=b", "c d"]),
    ],
)
def test_other_values_keep_their_meaning(text, value):
    assert means(text) == value


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("optimization.max_update=1,2", ["1", "2"]),
        ("optimization.max_update=range(1,3)", ["1", "2"]),
        ("common.seed=choice(1,2)", ["1", "2"]),
        ("optimization.lr=[1e-4],[1e-3]", ["[0.0001]", "[0.001]"]),
        ("model.model_path=runs/epoch=3.pt,runs/é.pt", ["'runs/epoch=3.pt'", "'runs/é.pt'"]),
        ("criterion=cross_entropy,mse", ["cross_entropy", "mse"]),
    ],
)
def test_commas_and_functions_separate_the_runs_of_a_sweep(text, values):
    assert [getattr(value, "with_quotes", lambda value=value: str(value))() for value in means(text, True)] == values


@pytest.mark.parametrize("text", ["optimization.max_update=1,2", "task.data=choice(a,b)"])
def test_several_values_without_multirun_are_an_error(text):
    with pytest.raises(UsageError, match="--multirun"):
        means(text)


@pytest.mark.parametrize(
    "text", ["~/data", "/data", "task.data", "a b=1", "+++a=1", "ü=1", "--x=1", "task.data=\udcff"]
)
def test_what_is_no_setting_is_named_as_it_was_typed(text):
    with pytest.raises(UsageError) as error:
        hydra_override(text, Path("/nowhere"))
    assert repr(text) in str(error.value) and "++a" not in str(error.value).replace(text, "")


def test_options_of_a_section_within_a_section_have_their_types():
    chosen = {"model": {"_name": "classifier", "encoder": {"_name": "se_wrn"}}}
    for key, value, meant in (("num_filters", "[4, 8]", "[4, 8]"), ("num_blocks", "2", 2), ("leadwise", "true", True)):
        override = hydra_override(f"model.encoder.{key}={value}", Path("/nowhere"), DeclaredTypes(lambda: chosen))
        from hydra.core.override_parser.overrides_parser import OverridesParser

        assert OverridesParser.create().parse_override(override).value() == meant
