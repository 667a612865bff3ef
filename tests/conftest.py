"""Fixtures that every test may use."""

import os
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest


def shared_folder() -> Path:
    """Where the reference material lies: $ECG_SIGNALS_SHARED, else ../shared beside the checkout."""
    default = Path(__file__).parents[2] / "shared"
    return Path(os.environ.get("ECG_SIGNALS_SHARED", default))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material; tests that ask for it skip where it is absent."""
    folder = shared_folder()
    if not folder.is_dir():
        if os.environ.get("ECG_SIGNALS_REQUIRE_SHARED"):
            pytest.fail(f"{folder} is absent, but ECG_SIGNALS_REQUIRE_SHARED is set")
        pytest.skip(f"no reference material at {folder}; set ECG_SIGNALS_SHARED")
    return folder


@pytest.fixture(scope="session")
def golden(shared: Path) -> Path:
    return shared / "golden"


@pytest.fixture(scope="session")
def data(shared: Path) -> Path:
    return shared / "data"
