"""Files written whole or not at all."""

import errno
import os
import resource
import signal
from pathlib import Path

import numpy as np
import pytest

from ecg_signals.config import ConfigError
from ecg_signals.files import CannotWrite, replacing, writing


@pytest.fixture
def small_files():
    """No file may grow over 64 kB, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    signal.signal(signal.SIGXFSZ, before)


@pytest.mark.parametrize(
    "write", [lambda file: file.write(bytes(1 << 20)), lambda file: np.save(file, np.ones(1 << 18))]
)
def test_a_file_that_does_not_fit_is_one_message_and_the_old_content_stays(tmp_path, small_files, write):
    path = tmp_path / "table.npy"
    path.write_bytes(b"before")
    told = pytest.raises(CannotWrite, match=r"table\.npy.* are free in.*same command again")
    with told, replacing(path) as partial, open(partial, "wb") as file:
        write(file)
    assert path.read_bytes() == b"before"
    assert os.listdir(tmp_path) == ["table.npy"]


def test_a_file_that_is_missing_in_the_block_is_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(FileNotFoundError), replacing(tmp_path / "new") as partial:
        partial.write_bytes((tmp_path / "absent").read_bytes())


def test_a_source_that_may_not_be_read_is_not_taken_for_a_place_that_refuses_to_be_written(tmp_path):
    with pytest.raises(PermissionError), replacing(tmp_path / "new") as partial:
        partial.touch()
        raise PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "source" / "a.npy"))


def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path):
    source = tmp_path / "mine.npy"
    source.write_bytes(b"mine")
    for name, link in (("soft", os.symlink), ("hard", os.link)):
        link(source, tmp_path / name)
        with replacing(tmp_path / name) as partial:
            partial.write_bytes(b"new")
        assert (tmp_path / name).read_bytes() == b"new"
    assert source.read_bytes() == b"mine"


def test_the_message_names_the_path_the_space_and_what_to_type(tmp_path):
    told = pytest.raises(ConfigError, match=r"cannot write .*out: No space.*needs about 5,000 bytes.*free in.*DEST")
    with told, writing(Path(tmp_path / "out"), needed=5000, advice="Give another DEST"):
        raise OSError(errno.ENOSPC, "No space left on device")
