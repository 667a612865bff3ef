"""What every registered record format promises; `WRITERS` makes a file of each."""

import warnings
from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat
from vendor_files import WRITERS as VENDORS

from ecg_signals import read_record
from ecg_signals.config import ConfigError
from ecg_signals.registry import register_reader

NAMES = [name for name in register_reader.names() if name in register_reader.ours()]
SIGNAL = np.round(np.random.default_rng(0).standard_normal((12, 1000)) * 200).astype(np.float32) / 200  # mV


def write_hdf5(path: Path, signal: np.ndarray) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file["ecg"] = signal


def write_wfdb(path: Path, signal: np.ndarray) -> None:
    from ecg_signals.signal.leads import LEADS

    counts = np.round(signal * 200).astype("<i2")
    counts.T.tofile(path.with_suffix(".dat"))
    lines = [f"{path.stem} 12 500 {signal.shape[1]}"]
    lines += [f"{path.stem}.dat 16 200/mV 16 0 {row[0]} 0 0 {lead}" for lead, row in zip(LEADS, counts)]
    path.write_text("\n".join(lines) + "\n")


WRITERS = {
    "wfdb": (".hea", write_wfdb),
    "mat": (".mat", lambda path, signal: savemat(path, {"feats": signal, "curr_sample_rate": 500})),
    "hdf5": (".h5", write_hdf5),
    "npy": (".npy", np.save),
    "table": (".csv", lambda path, signal: np.savetxt(path, signal.T, delimiter=",", fmt="%.6f")),
    **VENDORS,
}
COUNTED = ("scp", "ishne", "philips", "cardiosoft")  # state the size of a count, for which the caller's units stand


def made(name: str, folder: Path) -> Path:
    suffix, write = WRITERS[name]
    write(folder / f"r{suffix}", SIGNAL)
    return folder / f"r{suffix}"


def read(path: Path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some formats say no rate
        return read_record(path, **options)


def test_every_format_has_a_writer():
    assert set(WRITERS) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_record_is_leads_by_samples_in_millivolts(name, tmp_path):
    record = read(made(name, tmp_path))
    assert record.sample_rate in (400, 500) and len(record.leads) == 12
    assert record.signal.dtype == np.float32
    np.testing.assert_allclose(record.signal, SIGNAL, atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_the_caller_says_the_units(name, tmp_path):
    units = "5mV" if name in COUNTED else "V"
    np.testing.assert_allclose(read(made(name, tmp_path), units=units).signal, 1000 * SIGNAL, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_it_knows_its_files_and_no_others(name, tmp_path):
    for other in NAMES:
        (tmp_path / other).mkdir()
        path = made(other, tmp_path / other)
        entry = register_reader.get(name)
        assert (entry.cls(entry.dataclass()).recognise(path) is not None) == (other == name)


@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
@pytest.mark.parametrize("name", [name for name in NAMES if name not in ("table", "ishne")])
def test_a_file_that_is_cut_off_is_one_error_that_names_it(name, share, tmp_path):
    """A table may end after any row, and an ISHNE file's own count of samples is not believed."""
    path = made(name, tmp_path)
    stored = path.with_suffix(".dat") if name == "wfdb" else path
    stored.write_bytes(stored.read_bytes()[: int(share * stored.stat().st_size)])
    with pytest.raises(ConfigError) as told:
        read(path)
    assert stored.name in str(told.value) and len(str(told.value).splitlines()) == 1


def test_an_empty_table_is_an_error_that_names_it(tmp_path):
    (tmp_path / "r.csv").touch()
    with pytest.raises(ConfigError, match=r"r\.csv"):
        read(tmp_path / "r.csv")


@pytest.mark.parametrize("name", NAMES)
def test_an_id_is_for_formats_of_many_records(name, tmp_path):
    with pytest.raises(ConfigError, match="id"):
        read(made(name, tmp_path), id=7)


@pytest.mark.parametrize("name", NAMES)
def test_a_rate_is_for_formats_that_state_none(name, tmp_path):
    by = register_reader.get(name).cls.stated_by
    if by:
        with pytest.raises(ConfigError, match=f"states its rate and leads by {by}; leave out sample_rate"):
            read(made(name, tmp_path), sample_rate=250)
    else:
        assert read(made(name, tmp_path), sample_rate=500).sample_rate == 500
