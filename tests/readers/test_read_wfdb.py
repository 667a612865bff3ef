"""WFDB records of every kind, against the wfdb package and against stored reference values."""

import json
import shutil
import warnings

import numpy as np
import pytest
import wfdb

from ecg_signals import read_record
from ecg_signals.config import ConfigError
from ecg_signals.signal.leads import LEADS


def write(folder, name, signal, *, fmt="16", units=None, names=None, rate=500, **options):
    """signal [samples, leads] in physical units -> a record of the wfdb package."""
    leads = signal.shape[1]
    wfdb.wrsamp(
        name, fs=rate, units=units or ["mV"] * leads, sig_name=names or list(LEADS[:leads]), p_signal=signal,
        fmt=[fmt] * leads, write_dir=str(folder), **options,
    )  # fmt: skip
    return folder / f"{name}.hea"


@pytest.fixture
def noise():
    return np.random.default_rng(0).standard_normal((700, 3))


def quiet(path, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_record(path, **options)


def all_headers(data, golden):
    found = []
    for folder in (data / "physionet2021_sample", data / "wfdb_samples", golden / "wcr/preprocess/raw"):
        found += sorted(folder.rglob("*.hea"))
    return found + sorted((data / "ptbxl_500").rglob("*.hea"))[::25]


def test_every_sample_equals_the_wfdb_package_to_the_last_bit(data, golden):
    for header in all_headers(data, golden):
        record, expected = quiet(header), wfdb.rdrecord(str(header.with_suffix("")))
        np.testing.assert_array_equal(record.signal, expected.p_signal.T.astype(np.float32), err_msg=str(header))
        assert record.signal.dtype == np.float32 and record.signal.flags.c_contiguous
        assert record.sample_rate == expected.fs
        assert [name.lower() for name in record.leads] == [name.lower() for name in expected.sig_name]
        assert record.comments == expected.comments


def test_the_reference_values_of_every_format_are_met(data, golden):
    expected = json.loads((golden / "benchmarks/wfdb_expected.json").read_text())
    for name, values in expected.items():
        if name.endswith(".atr"):
            continue
        record = quiet(data / "wfdb_samples" / f"{name}.mat" if "cpsc2018" in name else data / "wfdb_samples" / name)
        signal = record.signal.astype(np.float64)
        if "sig_len" in values:
            assert signal.shape[1] == values["sig_len"]
        for key in ("mean", "std", "min", "max"):
            if key in values:
                found = getattr(signal, key)(axis=1)
                np.testing.assert_allclose(found, values[key], rtol=1e-4, atol=1e-4, err_msg=f"{name} {key}")


def test_a_record_is_named_by_header_signal_file_or_stem(data):
    folder = data / "wfdb_samples/wfdb_formats"
    for name in ("s0010_re", "s0010_re.hea", "s0010_re.dat", "s0010_re.xyz"):
        record = read_record(folder / name)
        assert record.leads[:4] == ["I", "II", "III", "aVR"] and record.signal.shape == (15, 38400)
    assert read_record(data / "physionet2021_sample/cpsc/A0001.mat").metadata["dx"] == "59118001"


def test_comments_with_a_colon_become_metadata(data):
    record = read_record(data / "physionet2021_sample/ptb_ptbxl/HR00001")
    assert record.metadata["age"] == "56" and record.metadata["sex"] == "Female"
    assert record.metadata["recorded"] == "04-Jun-2020 15:11:55"
    assert record.comments[2] == "Dx: 251146004,426783006"


def test_a_wrong_checksum_is_reported_with_file_and_lead(data):
    with pytest.warns(UserWarning, match=r"100ms.hea: the samples do not give the checksum.* MLII"):
        record = read_record(data / "wfdb_samples/wfdb_formats/100ms/100ms")
    assert record.metadata["wrong_checksum"] == ["MLII"] and record.signal.shape == (2, 2000)


@pytest.mark.parametrize("fmt", ["16", "212", "24", "32", "80", "516"])
def test_every_unit_of_voltage_becomes_millivolt(tmp_path, noise, fmt):
    plain = quiet(write(tmp_path, "plain", noise, fmt=fmt))
    scaled = quiet(write(tmp_path, "scaled", noise * [1e3, 1e-3, 1], fmt=fmt, units=["uV", "V", "mV"]))
    np.testing.assert_allclose(scaled.signal, plain.signal, rtol=1e-5, atol=1e-5)


def test_a_micro_sign_in_any_encoding_is_microvolt(tmp_path, noise):
    header = write(tmp_path, "micro", noise * 1e3, units=["uV"] * 3)
    expected = quiet(header).signal
    for encoding in ("utf-8", "latin-1"):
        header.write_bytes(header.read_text().replace("/uV", "/µV").encode(encoding))
        np.testing.assert_array_equal(read_record(header).signal, expected)
        header.write_text(header.read_bytes().decode(encoding).replace("µV", "uV"))


def test_signals_that_are_no_voltage_are_left_out_with_a_warning(tmp_path, noise):
    header = write(tmp_path, "mixed", noise, units=["mV", "mmHg", "mV"], names=["II", "ABP", "V5"])
    with pytest.warns(UserWarning, match=r"ABP \(mmHg\) left out"):
        record = read_record(header)
    assert record.leads == ["II", "V5"]
    only = write(tmp_path, "only", noise, units=["mmHg", "bpm", "NU"])
    with pytest.raises(ConfigError, match=r"holds no voltage"):
        read_record(only)


def test_uncalibrated_counts_are_taken_as_200_per_millivolt(tmp_path, noise):
    header = write(tmp_path, "counts", np.round(noise * 200), units=["adu"] * 3)
    with pytest.warns(UserWarning, match=r"without calibration"):
        record = read_record(header)
    np.testing.assert_allclose(record.signal, noise.T, atol=0.003)


def test_missing_samples_are_nan(tmp_path, noise):
    noise[100:200, 1] = np.nan
    for fmt in ("16", "212", "24", "80"):
        record = quiet(write(tmp_path, f"gap{fmt}", noise, fmt=fmt))
        assert np.isnan(record.signal[1, 100:200]).all() and np.isnan(record.signal).sum() == 100


def test_several_samples_in_a_frame_are_averaged_and_skew_is_undone(tmp_path):
    rng = np.random.default_rng(1)
    counts = [rng.integers(-900, 900, 400), rng.integers(-900, 900, 200)]
    record = wfdb.Record(
        record_name="frames", n_sig=2, fs=250, sig_len=200, fmt=["16", "16"], samps_per_frame=[2, 1],
        file_name=["frames.dat"] * 2, skew=[None, None], byte_offset=[None, None], adc_gain=[200.0, 200.0],
        baseline=[0, 0], units=["mV", "mV"], adc_res=[16, 16], adc_zero=[0, 0], init_value=[int(c[0]) for c in counts],
        checksum=[int(c.sum() % 65536) for c in counts], block_size=[0, 0], sig_name=["I", "II"], e_d_signal=counts,
    )  # fmt: skip
    record.wrsamp(expanded=True, write_dir=str(tmp_path))
    header = tmp_path / "frames.hea"
    np.testing.assert_allclose(read_record(header).signal[0], counts[0].reshape(-1, 2).mean(1) / 200, atol=0.0026)
    expected = wfdb.rdrecord(str(tmp_path / "frames")).p_signal.T
    np.testing.assert_array_equal(read_record(header).signal, expected.astype(np.float32))
    header.write_text(header.read_text().replace("frames.dat 16 ", "frames.dat 16:3 "))
    expected = wfdb.rdrecord(str(tmp_path / "frames")).p_signal.T
    np.testing.assert_allclose(quiet(header).signal, expected, rtol=1e-6)


def test_a_layout_record_has_nan_in_gaps_and_where_a_segment_lacks_a_lead(tmp_path, noise):
    write(tmp_path, "one", noise, names=["I", "II", "V1"])
    write(tmp_path, "two", noise[:, :2], names=["V1", "I"])
    lines = [f"~ 0 200/mV 16 0 0 0 0 {lead}" for lead in ("I", "II", "V1")]
    (tmp_path / "lay.hea").write_text("\n".join(["lay 3 500 0", *lines]))
    (tmp_path / "all.hea").write_text("all/4 3 500 1500\nlay 0\none 700\n~ 100\ntwo 700\n")
    record = quiet(tmp_path / "all")
    assert record.leads == ["I", "II", "V1"] and record.signal.shape == (3, 1500)
    np.testing.assert_array_equal(record.signal[:, :700], quiet(tmp_path / "one").signal)
    np.testing.assert_array_equal(record.signal[[2, 0], 800:], quiet(tmp_path / "two").signal)
    assert np.isnan(record.signal[:, 700:800]).all() and np.isnan(record.signal[1, 700:]).all()


def test_a_header_without_length_reads_the_whole_file(tmp_path, noise):
    for fmt in ("16", "212", "80"):
        header = write(tmp_path, f"open{fmt}", noise, fmt=fmt)
        expected = quiet(header).signal
        header.write_text(header.read_text().replace(" 500 700", " 500"))
        np.testing.assert_array_equal(quiet(header).signal[:, :700], expected)


@pytest.mark.parametrize("fmt", ["16", "212", "80", "24", "516"])
def test_a_truncated_signal_file_is_named(tmp_path, noise, fmt):
    header = write(tmp_path, "short", noise, fmt=fmt)
    signal_file = next(path for path in tmp_path.iterdir() if path.suffix != ".hea")
    content = signal_file.read_bytes()
    for share in (0.0, 0.3, 0.95):
        signal_file.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(ConfigError, match=r"short.*(truncated|cannot be read)"):
            read_record(header)


def test_an_absent_signal_file_is_named(tmp_path, noise):
    header = write(tmp_path, "gone", noise)
    (tmp_path / "gone.dat").unlink()
    with pytest.raises(ConfigError, match=r"gone.dat does not exist, but gone.hea says"):
        read_record(header)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("# only a comment\n", "is empty"),
        ("this is no header\n", "no WFDB header: found the line 'this is no header'"),
        ("r 2 500 100\nr.dat 16 200 11 0 0 0 0 I\n", "announces 2 signals but has 1 signal lines"),
        ("r 1 500 100\n???\n", "no WFDB header: found the line"),
        ("r 1 500 100\nr.dat 99 200 11 0 0 0 0 I\n", "unknown WFDB format 99"),
        ("r 0 500 100\n", "describes no signal"),
        ("r/2 1 500 100\nx 50\ny\n", "expected 'segment samples'"),
        ("r/1 1 500 100\nx 100\n", "x.hea does not exist, but .* lists it as a segment"),
    ],
)
def test_a_header_that_does_not_parse_shows_the_line(tmp_path, text, message):
    (tmp_path / "r.hea").write_text(text)
    (tmp_path / "r.dat").write_bytes(bytes(400))
    with pytest.raises(ConfigError, match=message) as caught:
        read_record(tmp_path / "r.hea")
    assert str(tmp_path) in str(caught.value)


def test_segments_that_do_not_fit_are_named(tmp_path, noise):
    write(tmp_path, "one", noise)
    (tmp_path / "all.hea").write_text("all/1 3 500 600\none 600\n")
    with pytest.raises(ConfigError, match=r"one.hea holds 3 signals of 700 samples; .* expects 3 of 600"):
        read_record(tmp_path / "all")


def test_missing_files_and_headers_say_what_to_do(tmp_path, noise):
    with pytest.raises(ConfigError, match=r"there is no file .*nothing.hea"):
        read_record(tmp_path / "nothing.hea")
    with pytest.raises(ConfigError, match=r"its folder .* does not exist"):
        read_record(tmp_path / "absent/nothing")
    with pytest.raises(ConfigError, match=r"is a folder"):
        read_record(tmp_path)
    header = write(tmp_path, "lonely", noise)
    header.unlink()
    with pytest.raises(ConfigError, match=r"lonely.dat has no header lonely.hea beside it"):
        read_record(tmp_path / "lonely.dat")
    with pytest.raises(ConfigError, match=r"extension '.edf'"):
        shutil.copy(tmp_path / "lonely.dat", tmp_path / "x.edf")
        read_record(tmp_path / "x.edf")


def test_arguments_that_a_wfdb_record_leaves_no_room_for_are_refused(data):
    path = data / "physionet2021_sample/cpsc/A0001"
    with pytest.raises(ConfigError, match=r"single record"):
        read_record(path, id=3)
    with pytest.raises(ConfigError, match=r"leave out sample_rate"):
        read_record(path, sample_rate=250)
