"""MATLAB, HDF5, .npy files and tables."""

import h5py
import numpy as np
import pytest
import scipy.io

from ecg_signals import read_record
from ecg_signals.config import ConfigError
from ecg_signals.signal.leads import LEADS


@pytest.fixture
def signal():
    return np.random.default_rng(0).standard_normal((12, 300)).astype(np.float32)


def test_files_of_the_preprocessing_read_back_with_their_metadata(data):
    path = data / "code15/segmented/code_15_270272_1.mat"
    record, stored = read_record(path), scipy.io.loadmat(path)
    np.testing.assert_array_equal(record.signal, stored["feats"].astype(np.float32))
    assert record.sample_rate == 500 and record.leads == list(LEADS) and record.signal.dtype == np.float32
    assert record.metadata["segment_i"] == 1 and record.metadata["idx"] == stored["idx"].item()


def test_a_mat_file_may_name_its_leads(tmp_path, signal):
    scipy.io.savemat(tmp_path / "x.mat", {"feats": signal[:2], "curr_sample_rate": 250, "leads": ["V1", "avf"]})
    record = read_record(tmp_path / "x.mat")
    assert record.leads == ["V1", "aVF"] and record.sample_rate == 250
    scipy.io.savemat(tmp_path / "y.mat", {"feats": signal[:2], "curr_sample_rate": 250})
    with pytest.raises(ConfigError, match=r"y.mat holds .* 12 leads were expected; name them"):
        read_record(tmp_path / "y.mat")
    assert read_record(tmp_path / "y.mat", leads=["I", "II"]).leads == ["I", "II"]


def test_the_struct_of_cpsc2018_is_read(data):
    record = read_record(data / "wfdb_samples/cpsc2018/A1980.mat")
    assert record.signal.shape == (12, 5000) and record.sample_rate == 500
    assert record.metadata == {"sex": "Male", "age": 52}


def test_mat_files_that_hold_no_record_say_what_they_hold(tmp_path, signal, data):
    scipy.io.savemat(tmp_path / "x.mat", {"other": signal})
    with pytest.raises(ConfigError, match=r"x.mat holds other; expected 'feats'"):
        read_record(tmp_path / "x.mat")
    content = (data / "physionet2021_sample/cpsc/A0001.mat").read_bytes()
    (tmp_path / "alone.mat").write_bytes(content)
    with pytest.raises(ConfigError, match=r"needs its header alone.hea"):
        read_record(tmp_path / "alone.mat")


def test_a_truncated_mat_file_is_named_wherever_it_was_cut(tmp_path, data):
    content = (data / "code15/org/code_15_270272.mat").read_bytes()
    path = tmp_path / "cut.mat"
    for size in (0, 10, 127, 128, 140, 200, 1000, len(content) // 2, len(content) - 400):
        path.write_bytes(content[:size])
        with pytest.raises(ConfigError, match=r"cut.mat (is truncated|holds)"):
            read_record(path)
    scipy.io.savemat(path, {"feats": np.ones((12, 500)), "curr_sample_rate": 500}, do_compression=True)
    packed = path.read_bytes()
    path.write_bytes(packed[: len(packed) // 2])
    with pytest.raises(ConfigError, match=r"cut.mat (is truncated|holds)"):
        read_record(path)


def test_code15_records_are_found_by_exam_id_without_their_padding(golden, data):
    path = golden / "jepa/code15_dump/exams_part0.hdf5"
    record = read_record(path, id=358121)
    stored = scipy.io.loadmat(data / "code15/org/code_15_358121.mat")["feats"]
    np.testing.assert_allclose(record.signal, stored, rtol=1e-3, atol=1e-3)  # the tracings were rounded to float16
    assert record.sample_rate == 400 and record.metadata["exam_id"] == 358121
    assert sum(record.metadata["stripped_samples"]) == 4096 - stored.shape[1]
    assert read_record(path, id="358121").metadata == record.metadata


def test_an_id_that_is_absent_or_left_out_is_an_error_that_lists_some(golden):
    path = golden / "jepa/code15_dump/exams_part0.hdf5"
    with pytest.raises(ConfigError, match=r"holds nothing for id 5; it has 3 records"):
        read_record(path, id=5)
    with pytest.raises(ConfigError, match=r"holds 3 records .*say which with id="):
        read_record(path)
    with pytest.raises(ConfigError, match=r"must be a number"):
        read_record(path, id="five")


def test_a_file_of_tracings_without_ids_is_addressed_by_row(tmp_path, signal):
    with h5py.File(tmp_path / "t.hdf5", "w") as file:
        file["tracings"] = np.stack([signal.T, 2 * signal.T])
    np.testing.assert_array_equal(read_record(tmp_path / "t.hdf5", id=1).signal, 2 * signal)


def test_sph_records_are_millivolt_at_500_hz(data):
    path = data / "physionet2021_sample/sph/SPH00002.h5"
    record = read_record(path)
    with h5py.File(path) as file:
        np.testing.assert_array_equal(record.signal, np.asarray(file["ecg"]).astype(np.float32))
    assert record.sample_rate == 500 and record.leads == list(LEADS)


def test_an_hdf5_file_that_the_caller_has_open_is_read_and_stays_open(tmp_path, signal):
    with h5py.File(tmp_path / "t.h5", "w") as file:
        file["ecg"] = signal
    with h5py.File(tmp_path / "t.h5") as file:
        values = file["ecg"]
        np.testing.assert_array_equal(read_record(tmp_path / "t.h5").signal, signal)
        np.testing.assert_array_equal(values[()], signal)
    with h5py.File(tmp_path / "t.h5", "a") as file:  # a file that was left open would refuse this
        file["more"] = 1


def test_hdf5_files_that_are_cut_or_foreign_are_named(tmp_path, data):
    content = (data / "physionet2021_sample/sph/SPH00002.h5").read_bytes()
    for size in (0, 100, 5000, len(content) - 5000):
        (tmp_path / "cut.h5").write_bytes(content[:size])
        with pytest.raises(ConfigError, match=r"cut.h5 is truncated or no HDF5 file"):
            read_record(tmp_path / "cut.h5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = np.zeros(3)
    with pytest.raises(ConfigError, match=r"other.h5 holds x; expected 'tracings'"):
        read_record(tmp_path / "other.h5")


def test_npy_arrays_are_read_in_either_orientation(tmp_path, signal):
    signal[3, 5] = np.inf
    np.save(tmp_path / "a.npy", signal)
    np.save(tmp_path / "b.npy", signal.T.astype(np.float64))
    with pytest.warns(UserWarning, match=r"a.npy states no sample rate; 500 Hz assumed"):
        record = read_record(tmp_path / "a.npy")
    assert record.sample_rate == 500 and np.isnan(record.signal[3, 5]) and np.isnan(record.signal).sum() == 1
    other = read_record(tmp_path / "b.npy", sample_rate=250, units="uV")
    np.testing.assert_allclose(other.signal, record.signal / 1000, rtol=1e-6)
    assert other.sample_rate == 250 and other.leads == list(LEADS)


@pytest.mark.parametrize("value", [np.zeros((3, 4, 5)), np.zeros((12, 0)), np.array(["a"]), np.zeros((5, 90))])
def test_arrays_that_are_no_record_are_refused(tmp_path, value):
    np.save(tmp_path / "x.npy", value)
    with pytest.raises(ConfigError, match=r"x.npy holds an array of"):
        read_record(tmp_path / "x.npy", sample_rate=500)


def test_pickled_and_truncated_npy_files_are_refused(tmp_path, signal):
    np.save(tmp_path / "p.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    np.save(tmp_path / "t.npy", signal)
    content = (tmp_path / "t.npy").read_bytes()
    for size in (0, 4, 60, len(content) - 8):
        (tmp_path / "t.npy").write_bytes(content[:size])
        with pytest.raises(ConfigError, match=r"t.npy is truncated or no plain .npy array"):
            read_record(tmp_path / "t.npy")
    with pytest.raises(ConfigError, match=r"p.npy is truncated or no plain"):
        read_record(tmp_path / "p.npy")


def test_a_table_names_its_leads_units_and_times(tmp_path):
    rows = "\n".join(f"{0.004 * i:.3f},{i},{2 * i},{'' if i == 3 else 3000 * i}" for i in range(20))
    (tmp_path / "t.csv").write_text("time,avr,I,V1 (uV)\n" + rows)
    record = read_record(tmp_path / "t.csv", units="mV")
    assert record.leads == ["aVR", "I", "V1"] and record.sample_rate == 250
    assert record.signal[:, 4].tolist() == [4, 8, 12] and np.isnan(record.signal[2, 3])


def test_tables_may_lack_names_use_other_separators_and_state_things_in_comments(tmp_path, signal):
    np.savetxt(tmp_path / "plain.csv", signal.T, delimiter=",")
    np.testing.assert_allclose(read_record(tmp_path / "plain.csv", sample_rate=500).signal, signal, rtol=1e-6)
    text = "# sample_rate: 1000 Hz\n# units: uV\nII;V2\n" + "\n".join(f"{i},5;{i}" for i in range(9))
    (tmp_path / "comma.csv").write_text(text)
    record = read_record(tmp_path / "comma.csv")
    assert record.sample_rate == 1000 and record.leads == ["II", "V2"]
    np.testing.assert_allclose(record.signal[0], (np.arange(9) + 0.5) / 1000, rtol=1e-6)
    (tmp_path / "hefei.txt").write_text("I II V1 V2 V3 V4 V5 V6\n" + "\n".join("1 2 3 4 5 6 7 8" for _ in range(30)))
    assert read_record(tmp_path / "hefei.txt", sample_rate=500, units="uV").signal[7, 0] == np.float32(0.008)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("I,II,V11\n1,2,3\n4,5,6\n", "unknown lead name 'V11' in .*t.csv; did you mean 'V1'"),
        ("I,II\n1,2\n3,x\n", "t.csv holds 'x' in column II, row 2, which is no number"),
        ("I,II\n1,2\n1,2,3\n", "t.csv is no table of numbers"),
        ("I,II,III\n1,2\n3,4\n", "3 names over 2 columns"),
        ("time,I\n0,1\n0,2\n", "time column of .*t.csv does not increase"),
        ("time,I\n0,1\n1,2\n2,3\n9,3\n", "has a gap of 7 s"),
        ("I (mmHg)\n1\n2\n", "units 'mmHg' of column I"),
        ("time,index\n0,1\n1,2\n", "none of which is a lead"),
        ("# sample_rate: fast\nI\n1\n2\n", "states the sample rate 'fast'"),
        ("\n", "holds no numbers"),
    ],
)
def test_bad_tables_say_what_is_wrong(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_record(tmp_path / "t.csv")


def test_binary_rubbish_named_csv_is_refused(tmp_path):
    (tmp_path / "t.csv").write_bytes(bytes(range(128, 256)))
    with pytest.raises(ConfigError, match=r"is no text file"):
        read_record(tmp_path / "t.csv")


def test_values_that_single_precision_cannot_hold_are_missing_and_counted(tmp_path, signal):
    values = signal.astype(np.float64)
    values[2, 7], values[3, 8] = 1e300, -np.inf
    np.save(tmp_path / "x.npy", values)
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["ecg"] = values
    for name, options in (("x.npy", {"sample_rate": 500}), ("x.h5", {})):
        with pytest.warns(UserWarning, match=r"2 values are infinite or too large"):
            record = read_record(tmp_path / name, **options)
        assert np.isnan(record.signal[2, 7]) and np.isnan(record.signal).sum() == 2


def test_an_npy_file_with_more_than_its_array_is_refused(tmp_path, signal):
    np.save(tmp_path / "x.npy", signal)
    with open(tmp_path / "x.npy", "ab") as file:
        file.write(b"\0")
    with pytest.raises(ConfigError, match=r"says 14400 bytes .* and 14401 follow"):
        read_record(tmp_path / "x.npy")
