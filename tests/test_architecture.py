"""docs/architecture.md says what the code is, and every room says what lives in it."""

import ast
import re
from pathlib import Path

import pytest
from test_layers import ALIASES, LAYERS, ORDER, PACKAGE

from ecg_signals.registry import REGISTRIES

ROOT = PACKAGE.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_the_order_is_the_one_that_the_imports_keep():
    (block,) = re.findall(r"```\n(.*?)\n```", section("Who may import whom"), re.DOTALL)
    assert block == ORDER.strip()


def test_every_room_has_a_line_and_every_line_a_room():
    listed = re.findall(r"^- `(\w+)`: .*\.$", section("The rooms"), re.MULTILINE)
    assert sorted(listed) == sorted({name.partition(".")[0] for name in LAYERS})
    assert all(f"`{name}`" in section("The rooms") for name in ALIASES)


def test_every_file_and_folder_that_it_names_is_there():
    named = set(re.findall(r"`((?:\w+/)+(?:\w+\.py)?)", PAGE)) | set(re.findall(r"`(\w+\.py)`", PAGE))
    named |= set(re.findall(r"^((?:\w+/)+(?:\w+\.py)?)  ", PAGE, re.MULTILINE))
    concrete = {name for name in named if not re.search(r"[A-Z]{4}", name)}
    assert len(concrete) > 30
    assert [name for name in sorted(concrete) if not ((ROOT / name).exists() or (PACKAGE / name).exists())] == []


def test_it_says_where_every_registered_kind_goes():
    kinds = set(REGISTRIES) - {"task"}
    assert {kind for kind in kinds if f"`register_{kind}`" not in section("Where to add what")} == set()


def test_it_is_short_and_linked():
    assert len(PAGE.splitlines()) < 150
    assert all("docs/architecture.md" in (ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md"))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("__init__.py")), ids=lambda path: path.parent.name)
def test_every_folder_says_what_lives_there(path: Path):
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert text and text.endswith(".")
