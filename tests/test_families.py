"""No general room names a family: what another project made lives in its wing, its models and its recipes."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

PACKAGE = Path(__file__).parents[1] / "ecg_signals"
# What a family is made of; inside, its name stands.
FAMILY = (
    "interop/",
    "models/hubert/",
    "criteria/hubert_pretraining.py",
    "data/datasets/hubert_csv.py",
    "signal/hubert_ecg.py",
    "signal/steps/hubert_ecg.py",
    "preprocess/hubert_records.py",
)
NAME = re.compile("hubert|fairseq", re.IGNORECASE)
# Files outside that name one all the same, and why.
EXCEPTIONS = {
    "composition.py": "old recipes: its options without effect, its old names of criteria",
    "registry.py": "old names of criteria",
    "cli/composing.py": "the same two tables, for what the command line replaces",
    "checkpoint/recipe.py": "old names of criteria, in stored recipes",
    "checkpoint/state.py": "our training state is a file that fairseq-signals reads, too",
    "checkpoint/convert.py": "--to fairseq has meant our own layout from the beginning",
    "cli/convert.py": "--to fairseq has meant our own layout from the beginning",
    "checkpoint/names.py": "the modules whose classes may stand in a pickle, by name",
    "models/catalogue.py": "the list of published weights",
    "hf.py": "the place to import the Hugging Face classes from",
    "cli/preprocess.py": "ecg-preprocess hubert",
    "preprocess/source.py": "the journal of ecg-preprocess hubert",
    "preprocess/training_folder.py": "one's own folder is prepared for HuBERT-ECG",
    "preprocess/training_settings.py": "one's own folder is prepared for HuBERT-ECG",
    "clustering/stages.py": "the clusters are HuBERT-ECG's targets, from its tables and models",
}
FILES = [str(path.relative_to(PACKAGE)) for path in sorted(PACKAGE.rglob("*.py"))]


def words(tree: ast.AST) -> Iterator[str]:
    """Every name, import and one-word text of a module; sentences for users may say where a thing is from."""
    for node in ast.walk(tree):
        for field in ("id", "attr", "name", "arg", "module"):
            if isinstance(getattr(node, field, None), str):
                yield getattr(node, field)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not re.search(r"\s", node.value):
            yield node.value


def named(file: str) -> set[str]:
    tree = ast.parse((PACKAGE / file).read_text(encoding="utf-8"))
    return {word for word in words(tree) if NAME.search(word)}


def test_no_general_room_names_a_family():
    general = [file for file in FILES if not file.startswith(FAMILY) and file not in EXCEPTIONS]
    assert {file: found for file in general if (found := named(file))} == {}


def test_every_exception_is_still_one():
    assert [file for file in EXCEPTIONS if not named(file)] == []


def test_recipes_of_one_family_stand_in_its_folder():
    recipes = Path(__file__).parents[1] / "configs"
    general = [path for path in recipes.rglob("*.yaml") if path.parent.name != "hubert"]
    settings = {path.name: str(yaml.safe_load(path.read_text(encoding="utf-8"))) for path in general}
    assert [name for name, found in settings.items() if "hubert" in found] == []
