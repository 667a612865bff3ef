"""WFDB headers as people write them: what is ambiguous is an error or a warning, never another scale or rate."""

import warnings

import numpy as np
import pytest
import scipy.io

from ecg_signals import read_record
from ecg_signals.config import ConfigError

COUNTS = np.random.default_rng(3).integers(-900, 900, (400, 2)).astype("<i2")  # [samples, signals]


def record(folder, lines, counts=COUNTS, first=None, name="r"):
    """A header of `lines`, the text after the file name of each signal, over one file of 16-bit counts."""
    (folder / f"{name}.dat").write_bytes(counts.astype("<i2").tobytes())
    text = "\n".join(f"{name}.dat {line}" for line in lines)
    (folder / f"{name}.hea").write_text(f"{first or f'{name} {len(lines)} 500 {len(counts)}'}\n{text}\n")
    return folder / f"{name}.hea"


def read(path, **options):
    """The record, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = read_record(path, **options)
    return found, [str(item.message) for item in caught]


def test_a_baseline_with_a_decimal_point_is_read(tmp_path):
    lines = ["16 1000.0(2.0)/mV 16 0 0 0 0 I", "16 1e3(-3)/mV 16 0 0 0 0 II"]
    found, said = read(record(tmp_path, lines))
    np.testing.assert_allclose(found.signal, ((COUNTS - [2, -3]) / 1000).T, rtol=1e-6)
    assert found.leads == ["I", "II"] and not said


@pytest.mark.parametrize(
    "fields",
    [
        "16 1000,0/mV 16 0 0 0 0 II",
        "16 1000 /mV 16 0 0 0 0 II",
        "16 1000/ mV 16 0 0 0 0 II",
        "16 1000( 0)/mV 16 0 0 0 0 II",
        "16 1.000,5(0)/mV 16 0 0 0 0 II",
        "16 1_000/mV 16 0 0 0 0 II",
        "16 0x10/mV 16 0 0 0 0 II",
        "16 inf/mV 16 0 0 0 0 II",
        "16 nan/mV 16 0 0 0 0 II",
        "16 1e400/mV 16 0 0 0 0 II",
        "16 1e-30/mV 16 0 0 0 0 II",
        "16 1000(1e50)/mV 16 0 0 0 0 II",
        "16 1000/mV 16 99999999999999 0 0 0 II",
        "16 1000/mV 16,0 0 0 0 0 II",
        "16 1000/mV 16 0 0 II",
        "16 II",
        "16x 1000/mV 16 0 0 0 0 II",
        "16+-4 1000/mV 16 0 0 0 0 II",
        "-16 1000/mV 16 0 0 0 0 II",
    ],
)
def test_a_field_that_does_not_parse_is_never_part_of_the_name(tmp_path, fields):
    path = record(tmp_path, ["16 1000/mV 16 0 0 0 0 I", fields])
    with pytest.raises(ConfigError, match=r"r.hea.* the line 'r.dat ") as caught:
        read_record(path)
    assert fields[:30] in str(caught.value)


@pytest.mark.parametrize(
    "first", ["r 2 500,0 400", "r 2 -500 400", "r 2 nan 400", "r 2 1e9 400", "r 2 500 4e2", "r -2 500"]
)
def test_a_record_line_that_does_not_parse_is_an_error(tmp_path, first):
    with pytest.raises(ConfigError, match=r"r.hea "):
        read_record(record(tmp_path, ["16 1000/mV 16 0 0 0 0 I"] * 2, first=first))


@pytest.mark.parametrize("name", ["-aVR", "aVR-", "minus aVR", "−aVR", "aVR (inverted)", "Lead -aVR", "neg. AVR"])
def test_a_lead_stored_upside_down_is_turned_over_and_said_so(tmp_path, name):
    found, said = read(record(tmp_path, [f"16 1000/mV 16 0 0 0 0 {name}", "16 1000/mV 16 0 0 0 0 ECG-II"]))
    assert found.leads == ["aVR", "II"]
    np.testing.assert_allclose(found.signal, (COUNTS * [-1, 1] / 1000).T, rtol=1e-6)
    assert [name in text and "turned over" in text for text in said] == [True]


@pytest.mark.parametrize("calibration", ["0", "0/mV", "0(0)/mV", "1/adu", "1/counts", ""])
def test_a_gain_of_zero_or_none_is_said_to_be_uncalibrated(tmp_path, calibration):
    fields = [f"16 {calibration} 16 0 0 0 0 {name}" if calibration else "16" for name in ("I", "II")]
    found, said = read(record(tmp_path, fields))
    np.testing.assert_allclose(found.signal, COUNTS.T / 200, rtol=1e-6)
    (uncalibrated,) = (text for text in said if "without calibration" in text)
    assert "200 counts per mV" in uncalibrated
    found, said = read(record(tmp_path, fields), units="4.88uV")
    np.testing.assert_allclose(found.signal, COUNTS.T * 4.88e-3, rtol=1e-6)
    assert not any("without calibration" in text for text in said)


def test_units_that_are_asked_for_replace_those_of_the_header(tmp_path):
    path = record(tmp_path, ["16 1/mV 16 0 0 0 0 I", "16 1/mmHg 16 0 0 0 0 ABP"])
    found, said = read(path, units="uV")
    np.testing.assert_allclose(found.signal, COUNTS.T[:1] / 1000, rtol=1e-6)
    assert any("I (mV) read in uV" in text for text in said) and any("ABP (mmHg) left out" in text for text in said)
    with pytest.raises(ConfigError, match=r"units 'bpm' .* no voltage"):
        read_record(path, units="bpm")


def test_leads_with_several_samples_per_frame_keep_their_rate(tmp_path):
    frames = np.random.default_rng(4).integers(-900, 900, (100, 9)).astype("<i2")  # 4 of II, 4 of V5, 1 of ABP
    lines = ["16x4 1000/mV 16 0 0 0 0 II", "16x4 1000/mV 16 0 0 0 0 V5", "16 10/mmHg 16 0 0 0 0 ABP"]
    found, said = read(record(tmp_path, lines, frames, "r 3 125 100"))
    expected = frames[:, :8].reshape(100, 2, 4).transpose(1, 0, 2).reshape(2, 400) / 1000
    np.testing.assert_allclose(found.signal, expected, rtol=1e-6)
    assert found.sample_rate == 500 and not [text for text in said if "ABP" not in text]


def test_leads_of_several_rates_are_averaged_to_a_common_one_and_said_so(tmp_path):
    frames = np.random.default_rng(4).integers(-900, 900, (100, 6)).astype("<i2")
    found, said = read(record(tmp_path, ["16x4 1/mV 16 0 0 0 0 II", "16x2 1/mV 16 0 0 0 0 V5"], frames, "r 2 125 100"))
    assert found.sample_rate == 250
    np.testing.assert_array_equal(found.signal[1], frames[:, 4:].reshape(-1))
    np.testing.assert_array_equal(found.signal[0], np.trunc(frames[:, :4].reshape(-1, 2).mean(axis=1)))
    assert any("several rates (II 500, V5 250 Hz)" in text for text in said)


def test_a_checksum_covers_what_is_stored_not_what_is_left_after_the_skew(tmp_path):
    sums = COUNTS.sum(axis=0, dtype=np.int64) % 65536
    path = record(tmp_path, [f"16 1000/mV 16 0 0 {sums[0]} 0 I", f"16:3 1000/mV 16 0 0 {sums[1]} 0 II"])
    found, said = read(path)
    assert "wrong_checksum" not in found.metadata and not said
    np.testing.assert_allclose(found.signal[1, :397], COUNTS[3:, 1] / 1000, rtol=1e-6)
    assert np.isnan(found.signal[1, 397:]).all() and not np.isnan(found.signal[0]).any()
    with pytest.raises(ConfigError, match=r"II has a skew of 90000000 of 400 samples"):
        read_record(record(tmp_path, ["16 1 16 0 0 0 0 I", "16:90000000 1 16 0 0 0 0 II"]))


@pytest.mark.parametrize("compressed", [False, True])
def test_a_challenge_file_saved_again_gives_its_counts_whatever_its_container(tmp_path, compressed):
    lines = ["16+24 1000/mV 16 0 0 0 0 I", "16+24 1000/mV 16 0 0 0 0 II"]
    path = record(tmp_path, lines)
    path.write_text(path.read_text().replace("r.dat", "r.mat"))
    for options in ({"format": "4"}, {"do_compression": compressed}):
        for array in (COUNTS.T, COUNTS.T.astype(float), COUNTS):
            scipy.io.savemat(tmp_path / "r.mat", {"val": array}, **options)
            found, said = read(path)
            np.testing.assert_allclose(found.signal, COUNTS.T / 1000, rtol=1e-6)
            plain = options.get("format") == "4" and array.dtype == np.int16 and array.shape == (2, 400)
            assert ["another kind" in text for text in said] == [] if plain else [True]
    scipy.io.savemat(tmp_path / "r.mat", {"val": COUNTS.T[:, :100]})
    with pytest.raises(ConfigError, match=r"r.mat is truncated: 100 samples found"):
        read_record(path)
    scipy.io.savemat(tmp_path / "r.mat", {"val": COUNTS.T / 1000})
    with pytest.raises(ConfigError, match=r"r.mat holds fractions"):
        read_record(path)


@pytest.mark.parametrize("start", [b"\x89HDF\r\n\x1a\n", b"\x93NUMPY", b"PK\x03\x04", b"\x1f\x8b\x08", b"fLaC"])
def test_a_container_is_not_read_as_samples(tmp_path, start):
    path = record(tmp_path, ["16 1000/mV 16 0 0 0 0 I", "16 1000/mV 16 0 0 0 0 II"])
    content = (tmp_path / "r.dat").read_bytes()
    (tmp_path / "r.dat").write_bytes(start + content[len(start) :])
    with pytest.raises(ConfigError, match=r"r.dat is .*says that it holds bare samples"):
        read_record(path)


def test_bytes_behind_the_last_sample_are_mentioned(tmp_path):
    path = record(tmp_path, ["16 1000/mV 16 0 0 0 0 I", "16 1000/mV 16 0 0 0 0 II"])
    with open(tmp_path / "r.dat", "ab") as file:
        file.write(b"\0")
    assert any("r.dat holds 1 bytes more than the header" in text for text in read(path)[1])


@pytest.mark.parametrize("first", ["folder/r 2 500 400", "a/b/r 2 500 400"])
def test_a_folder_before_the_names_is_no_obstacle_where_the_file_lies_beside(tmp_path, first):
    path = record(tmp_path, ["16 1000/mV 16 0 0 0 0 I", "16 1000/mV 16 0 0 0 0 II"], first=first)
    path.write_text(path.read_text().replace("r.dat", "folder/r.dat"))
    found, said = read(path)
    np.testing.assert_allclose(found.signal, COUNTS.T / 1000, rtol=1e-6)
    assert any("folder/r.dat does not exist; r.dat beside the header is read" in text for text in said)


def test_a_record_called_by_a_number_in_a_folder_has_no_segments(tmp_path):
    path = record(tmp_path, ["16 1000/mV 16 0 0 0 0 I"] * 2, first="folder/00001 2 500 400", name="00001")
    assert read_record(path).signal.shape == (2, 400)


def segments(folder, lines, first):
    """Two segments `a` and `b` of 400 samples at 500 Hz, `p` of pressure alone, and the record of `lines`."""
    record(folder, ["16 1000/mV 16 0 0 0 0 I", "16 1000/mV 16 0 0 0 0 II"], name="a")
    record(folder, ["16 1000/mV 16 0 0 0 0 I", "16 1000/mV 16 0 0 0 0 II"], name="b")
    record(folder, ["16 1000/mV 16 0 0 0 0 II", "16 1000/mV 16 0 0 0 0 I"], name="turned")
    record(folder, ["16 1000/mV 16 0 0 0 0 I", "16 1000/mV 16 0 0 0 0 V1"], name="other")
    record(folder, ["16 10/mmHg 16 0 0 0 0 ABP"], COUNTS[:, :1], name="p")
    record(folder, ["16 1000/mV 16 0 0 0 0 I"] * 2, first="slow 2 250 400", name="slow")
    layout = "\n".join(f"~ 0 1000/mV 16 0 0 0 0 {name}" for name in ("I", "II"))
    (folder / "lay.hea").write_text(f"lay 2 500 0\n{layout}\n")
    (folder / "all.hea").write_text("\n".join([first, *lines]) + "\n")
    return folder / "all.hea"


def test_a_segment_without_voltage_is_a_gap_that_is_counted(tmp_path):
    path = segments(tmp_path, ["lay 0", "a 400", "p 400", "b 400"], "all/4 2 500 1200")
    found, said = read(path)
    np.testing.assert_allclose(found.signal[:, :400], COUNTS.T / 1000, rtol=1e-6)
    np.testing.assert_allclose(found.signal[:, 800:], COUNTS.T / 1000, rtol=1e-6)
    assert np.isnan(found.signal[:, 400:800]).all()
    assert any("1 of 3 segments (400 of 1200 samples) hold no voltage" in text for text in said)


def test_a_segment_of_another_rate_is_an_error(tmp_path):
    path = segments(tmp_path, ["a 400", "slow 400"], "all/2 2 500 800")
    with pytest.raises(ConfigError, match=r"slow.hea has 250 Hz, but .*all.hea has 500 Hz"):
        read_record(path)


def test_a_total_that_the_segments_do_not_have_is_said(tmp_path):
    found, said = read(segments(tmp_path, ["a 400"], "all/1 2 500 9999"))
    assert found.signal.shape == (2, 400) and any("400 samples, but its first line says 9999" in text for text in said)


def test_segments_without_layout_are_matched_by_name_or_refused(tmp_path):
    found, said = read(segments(tmp_path, ["a 400", "turned 400"], "all/2 2 500 800"))
    np.testing.assert_allclose(found.signal[::-1, 400:], COUNTS.T / 1000, rtol=1e-6)
    assert any("another order" in text for text in said)
    with pytest.raises(ConfigError, match=r"other.hea holds 2 signals \(I, V1\); .* expects 2 \(I, II\)"):
        read_record(segments(tmp_path, ["a 400", "other 400"], "all/2 2 500 800"))


def test_a_lead_that_the_layout_does_not_list_is_named(tmp_path):
    found, said = read(segments(tmp_path, ["lay 0", "other 400"], "all/2 2 500 400"))
    assert np.isnan(found.signal[1]).all() and any("V1 left out" in text for text in said)
