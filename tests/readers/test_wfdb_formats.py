"""Every sample format: counts written by the definition of the format, read by us and by the wfdb package."""

import numpy as np
import pytest
import wfdb

from ecg_signals import read_record
from ecg_signals.config import ConfigError

HIGHEST = {8: 50, 80: 127, 212: 2047, 310: 511, 311: 511, 24: 2**23 - 1, 32: 2**30}
NAMES = ("I", "II", "V1")


def encode(fmt, counts):
    """Bytes of counts [samples, leads]."""
    flat = counts.reshape(-1)
    if fmt in (310, 311):
        flat = np.append(flat, np.zeros(-len(flat) % 3, int))
        a, b, c = (flat & 0x3FF).reshape(-1, 3).T
        if fmt == 311:
            return (a | b << 10 | c << 20).astype("<u4").tobytes()
        return np.stack([(a << 1) | ((c & 31) << 11), (b << 1) | ((c >> 5) << 11)], axis=1).astype("<u2").tobytes()
    if fmt == 212:
        flat = np.append(flat, np.zeros(len(flat) % 2, int))
        a, b = (flat & 0xFFF).reshape(-1, 2).T
        return np.stack([a & 255, (a >> 8) | (b >> 8 << 4), b & 255], axis=1).astype("u1").tobytes()
    if fmt == 24:
        return flat.astype("<i4").view("u1").reshape(-1, 4)[:, :3].tobytes()
    if fmt == 8:
        return np.diff(counts, axis=0, prepend=counts[:1]).astype("i1").tobytes()
    kinds = {16: ("<i2", 0), 32: ("<i4", 0), 61: (">i2", 0), 80: ("u1", 128), 160: ("<u2", 32768)}
    dtype, shift = kinds[fmt]
    return (flat + shift).astype(dtype).tobytes()


@pytest.mark.parametrize("fmt", [8, 16, 24, 32, 61, 80, 160, 212, 310, 311])
@pytest.mark.parametrize(("samples", "leads"), [(3, 3), (50, 3), (1, 1), (7, 1), (2, 1), (22, 2)])  # blocks not full
def test_each_format_is_decoded_as_it_is_defined(tmp_path, fmt, samples, leads):
    high = HIGHEST.get(fmt, 32767)
    counts = np.random.default_rng(samples).integers(-high, high, (samples, leads))
    (tmp_path / "r.dat").write_bytes(encode(fmt, counts))
    sums = counts.sum(axis=0) % 65536
    lines = [f"r.dat {fmt} 7(5)/mV 16 0 {counts[0, i]} {sums[i]} 0 {name}" for i, name in enumerate(NAMES[:leads])]
    (tmp_path / "r.hea").write_text("\n".join([f"r {leads} 500 {samples}", *lines]))
    found = read_record(tmp_path / "r")
    np.testing.assert_array_equal(found.signal, ((counts.T - 5) / 7).astype(np.float32))
    np.testing.assert_array_equal(found.signal, wfdb.rdrecord(str(tmp_path / "r")).p_signal.T.astype(np.float32))
    assert "wrong_checksum" not in found.metadata


@pytest.mark.parametrize(("fmt", "high"), [("508", 127), ("516", 32767), ("524", 2**23 - 1)])
def test_compressed_formats_are_read_as_by_the_wfdb_package(tmp_path, fmt, high):
    counts = np.random.default_rng(0).integers(-high, high, (50, 3))
    wfdb.wrsamp(
        "r", 500, ["mV"] * 3, list(NAMES), d_signal=counts, fmt=[fmt] * 3, adc_gain=[7.0] * 3, baseline=[5] * 3,
        write_dir=str(tmp_path),
    )  # fmt: skip
    np.testing.assert_array_equal(read_record(tmp_path / "r").signal, ((counts.T - 5) / 7).astype(np.float32))
    header = tmp_path / "r.hea"
    header.write_text(header.read_text().replace("500 50", "500 40"))
    with pytest.warns(UserWarning, match="r.dat holds 10 samples more"):
        assert read_record(tmp_path / "r").signal.shape == (3, 40)
    header.write_text(header.read_text().replace("500 40", "500 90"))
    with pytest.raises(ConfigError, match=r"r.dat is truncated: 50 samples found, 90 expected"):
        read_record(header)
    header.write_text(header.read_text().replace("500 90", "500 90000000000"))
    with pytest.raises(ConfigError, match=r"only [\d,]+ bytes are stored for it"):
        read_record(header)
