"""What every registered dataset of ecg-preprocess promises."""

from dataclasses import fields
from pathlib import Path

import pytest

from ecg_signals.cli.preprocess import dataset_help
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.preprocess.options import PreprocessConfig, parse_options
from ecg_signals.preprocess.pipeline import preprocess_dataset
from ecg_signals.registry import register_source

NAMES = [name for name in register_source.names() if name in register_source.ours()]


def files_below(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize("name", NAMES)
def test_its_help_names_what_it_expects_and_every_option(name):
    page, entry = dataset_help(name), register_source.get(name)
    assert entry.cls.title in page and entry.cls.layout in page
    assert all(f"  {item.name}=" in page for item in fields(entry.dataclass) if item.name != "_name")


@pytest.mark.parametrize("name", NAMES)
def test_its_options_have_a_meaning_and_defaults_that_hold(name):
    options = register_source.get(name).dataclass
    assert issubclass(options, PreprocessConfig)
    assert all(item.name == "_name" or item.metadata["help"] for item in fields(options))
    assert parse_options([], options) == options()
    with pytest.raises(UsageError, match="did you mean 'sample_rate'"):
        parse_options(["sample_rat=500"], options)


@pytest.mark.parametrize("name", NAMES)
def test_options_that_change_what_is_read_are_options(name):
    entry = register_source.get(name)
    assert set(entry.cls.reading_options) <= {item.name for item in fields(entry.dataclass)}


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_folder_is_one_error_that_says_what_is_expected_and_leaves_nothing(name, tmp_path):
    (tmp_path / "source").mkdir()
    options = parse_options([], register_source.get(name).dataclass)
    with pytest.raises(ConfigError) as told:
        preprocess_dataset(name, tmp_path / "source", tmp_path / "dest", options, 1)
    text = str(told.value)
    assert str(tmp_path / "source") in text and len(text.splitlines()) == 1
    assert any(word in text for word in ("expected", "expects", "There", "there is no", "Download"))
    assert files_below(tmp_path / "source") == [] and not (tmp_path / "dest").exists()


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_is_not_there_is_named(name, tmp_path):
    options = parse_options([], register_source.get(name).dataclass)
    with pytest.raises(ConfigError, match="is not a folder"):
        preprocess_dataset(name, tmp_path / "nowhere", tmp_path / "dest", options, 1)


def test_no_two_write_files_of_one_name():
    prefixes = [register_source.get(name).cls.prefix for name in NAMES]
    assert len(set(prefixes)) == len(prefixes)


def test_one_without_the_options_of_every_dataset_is_refused():
    from ecg_signals.preprocess.source import Source

    with pytest.raises(ValueError, match="its dataclass BaseConfig must extend"):
        register_source("mine")(type("Mine", (Source,), {}))
