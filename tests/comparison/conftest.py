"""A small PTB-XL and a recipe for it, once per session."""

from pathlib import Path

import pytest
from small_data import TINY, write_data


@pytest.fixture(scope="session")
def small_ptbxl(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "ptbxl")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    path.write_text(TINY)
    return path
