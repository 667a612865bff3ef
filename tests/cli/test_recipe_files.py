"""A recipe that is broken in any way is one ConfigError that names the file, and the line where there is one."""

import os
import re
import sys

import pytest

from ecg_signals.cli.app import hydra_app
from ecg_signals.cli.recipe_files import check_recipe
from ecg_signals.cli.recipes import find_recipe, packaged_recipes, recipe_names
from ecg_signals.cli.running import reported_errors
from ecg_signals.config import ConfigError, UsageError

LAUGHS = "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 40))
BROKEN = {
    "not yaml": ("common: {seed: 1\ntask: ]", "line 2"),
    "tabs": ("common:\n\tseed: 1", "line 2"),
    "two documents": ("common: {seed: 1}\n---\ntask: {data: x}", "line 2"),
    "binary": (b"\x80\x02}q\x00.", "UTF-8"),
    "control characters": ("common: {seed: '\x07'}", "not valid yaml"),
    "a list": ("[1, 2]", "line 1"),
    "a text": ("hello", "line 1"),
    "an unknown section": (
        "common: {seed: 1}\n\ncomon: {seed: 2}",
        "line 3: unknown section 'comon'; did you mean 'common'",
    ),
    "a section that is a list": ("common: {seed: 1}\nmodel: [1]", "line 2: 'model' holds a list"),
    "a section that is a number": ("optimization: 3", "line 1: 'optimization' holds '3'"),
    "hydra as a list": ("hydra: [1]", "line 1: 'hydra' holds a list"),
    "defaults as a mapping": ("defaults: {a: b}", "line 1: 'defaults' holds a mapping"),
    "billion laughs": (LAUGHS, "aliases written out"),
    "an anchor inside itself": ("common: &a {seed: *a}", "aliases written out"),
    "deep": ("common: " + "[" * 5000 + "]" * 5000, "nests deeper|levels"),
    "deep by lines": ("\n".join(" " * n + "a:" for n in range(40)), "levels"),
    "huge": ("# " + "x" * 300_000, "bytes"),
    "wide": ("\n".join(f"a{n}: 1" for n in range(15_000)), "values"),
    "python": ("common: {seed: !!python/object/apply:os.system [true]}", "not valid yaml"),
    "no such date": ("common: {seed: 2024-13-45}", "quote it"),
    "a key that is a list": ("? [a]\n: 1", "not valid yaml|cannot be composed"),
    "an unclosed reference": ("task: {_name: ecg_pretraining, data: 'a${b'}", "r.yaml"),
    "references that multiply": (
        "model:\n  _name: w2v\n  a0: x\n"
        + "".join(f"  a{n}: '${{model.a{n - 1}}}${{model.a{n - 1}}}'\n" for n in range(1, 40)),
        "multiply",
    ),
    "a missing parent": ("defaults: [nobody, _self_]", "nobody"),
    "itself as a parent": ("defaults: [r, _self_]", "start from each other"),
    "numbers in defaults": ("defaults: [1, 2.5, null]", "r.yaml"),
    "a wrong type": ("common: {seed: 1}\noptimization:\n  lr: fast", "r.yaml, line 3"),
    "an unknown key": ("common:\n  sed: 1", "did you mean 'seed'.*r.yaml, line 2"),
}


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """What --cfg prints on standard error for r.yaml; it composes and checks as a run does."""
    monkeypatch.chdir(tmp_path)

    def show(*words):
        argv = ["--config-dir", str(tmp_path), "--config-name", "r", "--cfg", "job", *words]
        monkeypatch.setattr(sys, "argv", ["ecg-train", *argv])
        with pytest.raises(SystemExit) as stop, reported_errors():
            hydra_app(argv, "train")(None)()
        return stop.value.code, capsys.readouterr().err

    return show


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_recipe_is_one_message_that_names_it(name, run, tmp_path):
    content, said = BROKEN[name]
    (tmp_path / "r.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    status, text = run()
    assert status in (1, 2) and text.startswith("error: ") and "r.yaml" in text
    assert re.search(said, text.replace("\n", " ")), text
    assert len(text) < 2000


def test_what_the_command_line_sets_is_not_blamed_on_the_recipe(run, tmp_path):
    (tmp_path / "r.yaml").write_text("common:\n  seed: 1")
    assert "line" not in run("common.seed=x")[1]


def test_folders_pipes_and_missing_files_are_named(tmp_path):
    (tmp_path / "a.yaml").mkdir()
    os.mkfifo(tmp_path / "b.yaml")
    for name, said in (("a", "is a folder"), ("b", "is a named pipe")):
        folder, found = find_recipe(name, str(tmp_path))
        with pytest.raises(ConfigError, match=said):
            check_recipe(folder / f"{found}.yaml", [folder])
    with pytest.raises(UsageError, match="there is no recipe 'c'"):
        find_recipe("c", str(tmp_path))


def test_a_broken_parent_is_named(run, tmp_path):
    (tmp_path / "r.yaml").write_text("defaults: [{g: p}, _self_]")
    (tmp_path / "g").mkdir()
    (tmp_path / "g" / "p.yaml").write_text("a: [")
    assert "g/p.yaml is not valid yaml" in run()[1]


def test_a_path_in_place_of_a_name_says_what_to_type(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my recipes").mkdir()
    (tmp_path / "my recipes" / "a.yaml").touch()
    with pytest.raises(UsageError, match="--config-dir 'my recipes' --config-name a"):
        find_recipe("my recipes/a.yaml", None)


def test_every_packaged_recipe_is_within_the_bounds():
    for name in recipe_names(packaged_recipes()):
        assert check_recipe(packaged_recipes() / f"{name}.yaml", [packaged_recipes()])


def test_too_many_parents_are_an_error_about_the_recipe_that_was_named(tmp_path):
    (tmp_path / "common.yaml").write_text("defaults: [seed, _self_]\n")
    (tmp_path / "seed.yaml").write_text("common: {seed: 1}\n")
    path = tmp_path / "r.yaml"
    path.write_text(f"defaults: [{', '.join(['common'] * 60)}, _self_]\n")
    with pytest.raises(ConfigError, match=rf"{path}: .* are more than 100 \(\w+\); take one out"):
        check_recipe(path, [tmp_path])
