"""Small files that ask for much memory, for other people's files, or never end: one ConfigError, at once."""

import os
import struct
import zipfile
import zlib

import h5py
import numpy as np
import pytest
import scipy.io
from strangers import answered_in_time

from ecg_signals import limits, read_record
from ecg_signals.config import ConfigError
from ecg_signals.preprocess.archives import check_spreadsheet, unpack
from ecg_signals.readers.npy_file import load_npz
from ecg_signals.readers.wfdb_header import read_header
from ecg_signals.readers.wfdb_part import Notes, Part


def refused(path, match, read=read_record, **options):
    """Reading `path` is a ConfigError that took neither time nor memory."""
    size = path.stat().st_size if path.is_file() else 0
    with answered_in_time(size), pytest.raises(ConfigError, match=match) as caught:
        read(path, **options)
    assert len(str(caught.value)) < 2000
    return str(caught.value)


@pytest.fixture
def header(tmp_path):
    """Writes r.hea over r.dat, which holds 1000 zero bytes; "{}" in a line is a signal file's rest."""
    (tmp_path / "r.dat").write_bytes(bytes(1000))

    def write(*lines):
        (tmp_path / "r.hea").write_text("\n".join(lines) + "\n")
        return tmp_path / "r.hea"

    return write


PLAIN = "r.dat 16 1000/mV 16 0 0 0 0 I"


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (["r 1 500 1000000000", PLAIN], "truncated"),
        (["r 1 500 " + "9" * 60, PLAIN], "truncated"),
        (["r 1 500 " + "9" * 60_000, PLAIN], "no WFDB header"),
        (["r 1 " + "5" * 60_000 + " 100", PLAIN], "no WFDB header"),
        (["r 1 " + "5" * 60_000 + "x", PLAIN], "no WFDB header"),
        (["r/" + "5" * 60_000 + " 1 500", "s 5"], "no WFDB header"),
        (["r 1 500 100", f"{'d' * 300}.dat 16 1/mV"], "too long"),
        (["r 1 500 100", f"{'d/' * 300}r.dat 16 1/mV"], "too long"),
        (["r 1 500 100", "r.dat 16 1/mV 16 0 0 0 0 " + "I" * 10_000], "letters|no WFDB header"),
        (["r 1 500 100", "r.dat 16 " + "1" * 60_000 + "x"], "no WFDB header"),
        (["r 1 500 100", "r.dat 16 1(" + "1" * 60_000 + ")/mV"], "no WFDB header"),
        (["r 1 500 100", "r.dat 16 1/mV 16 " + "1" * 60_000], "no WFDB header"),
        (["r 1 500 100", "r.dat 16x99999999999 1/mV 16 0 0 0 0 I"], "truncated"),
        (["r 1 500 100", "r.dat 16+99999999999999 1/mV 16 0 0 0 0 I"], "truncated"),
        (["r 1 500 100", "r.dat 16:90000000 1/mV 16 0 0 0 0 I"], "skew"),
        (["r 1 500 100", "r.dat 16:-5 1/mV 16 0 0 0 0 I"], "no WFDB header"),
        (["r 1 500", "r.dat 16x99999999999 1/mV 16 0 0 0 0 I"], "without samples"),
        (["r 300000 500 1", *["r.dat 16"] * 300_000], "300000 signals"),
        (["r/3 1 500 80000200", "s 100", "~ 80000000", "t 100"], "gaps included"),
        (["r/60000 1 500 6000000", *["s 100"] * 60_000], "the segment s 60000 times"),
        (["r/2 1 500 6000000", "r 100", "s 100"], "has segments itself"),
    ],
)
def test_a_header_takes_no_memory_that_its_files_do_not_hold(tmp_path, header, lines, match):
    for name in ("s", "t"):
        (tmp_path / f"{name}.hea").write_text(f"{name} 1 500 100\n{PLAIN}\n")
    refused(header(*lines), match)


def test_a_header_of_gigabytes_is_not_read(tmp_path, header):
    path = header("r 1 500 100", PLAIN)
    os.truncate(path, 3 * 2**30)
    refused(path, "bytes; at most")


@pytest.mark.parametrize("name", ["/etc/passwd", "../x.dat", "a/../../x.dat", "..\\x.dat", "C:\\x.dat", "\\\\host\\x"])
def test_names_that_leave_the_folder_are_refused(tmp_path, header, name):
    (tmp_path.parent / "x.dat").write_bytes(bytes(1000))
    refused(header("r 1 500 100", PLAIN.replace("r.dat", name)), "does not lie below")
    refused(header("r/1 1 500 100", f"{name} 100"), "does not lie below")


def test_links_that_leave_the_folder_are_refused(tmp_path, header):
    secret = tmp_path / "elsewhere"
    (secret / "deep").mkdir(parents=True)
    (secret / "x.dat").write_bytes(bytes(1000))
    folder = tmp_path / "sent"
    folder.mkdir()
    (folder / "r.hea").write_text(f"r 1 500 100\n{PLAIN}\n")
    (folder / "r.dat").symlink_to(secret / "x.dat")
    refused(folder / "r", "which a link leads out of")
    (folder / "sub").symlink_to(secret)
    (folder / "r.hea").write_text(f"r 1 500 100\n{PLAIN.replace('r.dat', 'sub/x.dat')}\n")
    refused(folder / "r", "which a link leads out of")
    (folder / "own.hea").symlink_to(folder / "r.hea")  # a header that is a link inside the folder changes nothing
    refused(folder / "own", "which a link leads out of")


def record(folder, name="r"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.dat").write_bytes(np.arange(500, dtype="<i2").tobytes())
    (folder / f"{name}.hea").write_text(f"{name} 1 500 500\n{PLAIN.replace('r.dat', name + '.dat')}\n")


def test_a_folder_that_is_a_link_is_read(tmp_path):
    record(tmp_path / "real")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert read_record(tmp_path / "link/r").signal.shape == (1, 500)


def test_a_record_whose_files_are_all_links_into_one_store_is_read(tmp_path):
    record(tmp_path / "store")
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for number, name in enumerate(("r.hea", "r.dat")):
        key = tmp_path / f"store/{number}/key"
        key.parent.mkdir()
        (tmp_path / "store" / name).rename(key)
        (checkout / name).symlink_to(key)
    assert read_record(checkout / "r").signal.shape == (1, 500)


def test_annexed_signal_files_are_read_beside_headers_that_are_not(tmp_path):
    record(tmp_path / "data/records")
    key = tmp_path / "data/.git/annex/objects/aa/bb/KEY/KEY"
    key.parent.mkdir(parents=True)
    (tmp_path / "data/records/r.dat").rename(key)
    (tmp_path / "data/records/r.dat").symlink_to("../.git/annex/objects/aa/bb/KEY/KEY")
    assert read_record(tmp_path / "data/records/r").signal.shape == (1, 500)


@pytest.mark.parametrize("name", ["r.hea", "r.dat", "r.mat", "r.npy", "r.csv", "r.h5"])
def test_a_pipe_or_a_device_in_place_of_a_file_is_refused(tmp_path, header, name):
    header("r 1 500 100", PLAIN)
    (tmp_path / name).unlink(missing_ok=True)
    os.mkfifo(tmp_path / name)
    refused(tmp_path / name, "named pipe|no header")
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    refused(tmp_path / name, "is a device|a link leads out")


def hdf5(path, write):
    with h5py.File(path, "w") as file:
        write(file)
    return path


def tracings(shape=(1, 5000, 12), **options):
    return lambda file: file.create_dataset("tracings", shape, "f4", **options)


@pytest.mark.parametrize(
    ("write", "match"),
    [
        (tracings((1, 10**9, 12)), "no values are stored"),
        (tracings((1, 10**9, 12), chunks=(1, 1000, 12), fillvalue=1.0), "no values are stored"),
        (
            lambda file: tracings((1, 10**9, 12), chunks=(1, 1000, 12))(file).__setitem__((0, 0, 0), 1),
            "bytes in memory",
        ),
        (lambda file: tracings((1, 10**6, 12), chunks=(1, 1, 1))(file).__setitem__((0, 0, 0), 1), "chunks; at most"),
        (
            lambda file: tracings((1, 40_000_000, 12), chunks=(1, 40_000_000, 12), compression="gzip")(
                file
            ).id.write_direct_chunk((0, 0, 0), zlib.compress(bytes(1000))),
            "bytes in memory",
        ),
        (
            lambda file: tracings(chunks=(1, 5000, 12), compression="gzip")(file).id.write_direct_chunk(
                (0, 0, 0), zlib.compress(bytes(250 * 2**20), 1)
            ),
            "a chunk that becomes more than its 240000 bytes",
        ),
        (tracings((1, 5000, 12), chunks=(1, 5000, 12), scaleoffset=0, fillvalue=0), "no values are stored"),
        (lambda file: tracings(chunks=True, scaleoffset=2)(file).__setitem__(0, 1.0), "compressed in a way"),
        (lambda file: file.__setitem__("tracings", h5py.ExternalLink("/etc/passwd", "x")), "a link to another place"),
        (lambda file: file.__setitem__("tracings", h5py.SoftLink("/tracings")), "a link to another place|expected"),
        (tracings(external=[("/etc/passwd", 0, 240_000)]), "values in other files"),
        (lambda file: file.create_group("tracings"), "is no array"),
        (lambda file: file.create_dataset("tracings", (1, 2, 12), h5py.string_dtype()), "expected numbers"),
        (lambda file: file.create_dataset("ecg", (12, 10**9), "f4", fillvalue=3), "no values are stored"),
    ],
)
def test_an_hdf5_file_takes_no_memory_and_no_file_that_it_does_not_hold(tmp_path, write, match):
    refused(hdf5(tmp_path / "r.h5", write), match)


def test_virtual_hdf5_values_and_ids_that_are_not_stored_are_refused(tmp_path):
    layout = h5py.VirtualLayout((1, 5000, 12), "f4")
    layout[0] = h5py.VirtualSource("/etc/other.h5", "x", (5000, 12))
    refused(hdf5(tmp_path / "r.h5", lambda file: file.create_virtual_dataset("tracings", layout)), "values in other")

    def write(file):
        file["tracings"] = np.ones((1, 100, 12), np.float32)
        file.create_dataset("exam_id", (10**9,), "i8", fillvalue=1)

    refused(hdf5(tmp_path / "i.h5", write), "'exam_id' is empty")


def test_parts_of_an_hdf5_record_that_are_not_stored_are_missing_values(tmp_path):
    signal = np.random.default_rng(0).standard_normal((1, 4000, 12)).astype("f4")

    def write(file):
        data = file.create_dataset("tracings", (1, 4000, 12), "f4", chunks=(1, 1000, 12), compression="lzf")
        data[:, :3000] = signal[:, :3000]

    with pytest.warns(UserWarning, match="1 chunks of tracings are not stored"):
        found = read_record(hdf5(tmp_path / "r.h5", write)).signal
    np.testing.assert_array_equal(found[:, :3000], signal[0, :3000].T)
    assert np.isnan(found[:, 3000:]).all()


@pytest.mark.parametrize("content", [np.zeros((12, 4 * 10**7)), np.zeros((12, 4 * 10**7), np.int8)])
def test_a_compressed_mat_file_takes_no_memory_that_its_bytes_do_not_stand_for(tmp_path, content):
    tag = struct.pack("<IIIIIIIIii", 14, 3 * 10**9, 6, 8, 6, 0, 5, 8, *content.shape)
    element = zlib.compress(tag + bytes(64 * 2**20), 9)
    text = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    (tmp_path / "r.mat").write_bytes(text + struct.pack("<II", 15, len(element)) + element)
    refused(tmp_path / "r.mat", r"its compressed content would take 3,000,000,008 bytes")


def test_cells_of_a_mat_file_end_at_a_depth_and_a_number(tmp_path):
    deep = np.zeros((1, 1))
    for _ in range(40):
        deep, inner = np.empty((1, 1), object), deep
        deep[0, 0] = inner
    scipy.io.savemat(tmp_path / "r.mat", {"feats": deep})
    refused(tmp_path / "r.mat", "more than 16 deep")
    content = bytearray((tmp_path / "r.mat").read_bytes())
    content[128 + 36 : 128 + 40] = struct.pack("<i", 10**9)  # columns of the outermost cell
    (tmp_path / "r.mat").write_bytes(content)
    refused(tmp_path / "r.mat", "more than 100000 elements")


NPY = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }"


@pytest.mark.parametrize(
    ("header", "match"),
    [
        (NPY % ("<f8", (12, 10**12)), r"says 96000000000000 bytes .* and 960 follow"),
        (NPY % ("<f8", (12, 9)), r"says 864 bytes .* and 960 follow"),
        (NPY % ("<f8", (10**30, 10**30)), "and 960 follow"),
        (NPY % ("<f8", (-12, -10)), "its shape is"),
        (NPY % ("|O", (12, 10)), "holds .*no plain numbers"),
        (NPY % ("|V8", (12, 10)), "no plain numbers"),
        (NPY % ("|S2000000000", (12, 10)), "follow"),
        (NPY % ("<f8", "(" * 4000), "does not parse"),
        ("-" * 9000, "does not parse"),
        (NPY % ("<f8", "9" * 9000), "does not parse|its shape"),
    ],
)
def test_an_npy_file_holds_exactly_what_its_header_says(tmp_path, header, match):
    text = header.encode() + b"\n"
    (tmp_path / "r.npy").write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(960))
    refused(tmp_path / "r.npy", match, sample_rate=500)


def test_an_npz_archive_takes_no_memory_that_its_bytes_do_not_stand_for(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "FREE_BYTES", 2**20)
    np.savez_compressed(tmp_path / "r.npz", a=np.arange(5), b=np.zeros(2**21, np.uint8))
    with pytest.raises(ConfigError, match=r"r.npz: its content would take"):
        load_npz(tmp_path / "r.npz")
    np.savez_compressed(tmp_path / "s.npz", a=np.arange(5), b=np.float32(3))
    found = load_npz(tmp_path / "s.npz")
    assert found["a"].tolist() == [0, 1, 2, 3, 4] and found["b"].shape == ()


def lying(path, name, content, stated):
    """A zip file whose member says that it has `stated` bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr(name, content)
    raw, size = bytearray(path.read_bytes()), struct.pack("<I", stated)
    entry = raw.index(b"PK\x01\x02")
    raw[22:26] = raw[entry + 24 : entry + 28] = size
    path.write_bytes(raw)
    return path


def test_members_of_archives_that_become_more_than_they_say_are_refused(tmp_path):
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118) + (NPY % ("<f4", (25,))).ljust(117).encode() + b"\n"
    refused(lying(tmp_path / "r.npz", "a.npy", header + bytes(1 << 28), 228), "truncated or no plain .npz", load_npz)
    archive = lying(tmp_path / "r.zip", "ptb/a.hea", bytes(1 << 28), 100)
    refused(archive, "truncated or no zip file", unpack, dest=tmp_path / "out", wanted=lambda name: True)
    assert not list((tmp_path / "out").rglob("*.hea"))


def test_a_spreadsheet_that_unpacks_to_far_more_than_its_size_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "t.xlsx", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.writestr("xl/worksheets/sheet1.xml", bytes(1 << 28))
    refused(tmp_path / "t.xlsx", "would unpack to 268,435,456 bytes", check_spreadsheet)
    (tmp_path / "t.xlsx").write_bytes(b"no zip")
    refused(tmp_path / "t.xlsx", "no .xlsx file", check_spreadsheet)


def test_an_npz_archive_of_many_members_or_of_another_compression_is_refused_in_time(tmp_path):
    with zipfile.ZipFile(tmp_path / "r.npz", "w") as file:
        for number in range(20_000):
            file.writestr(f"{number}.npy", b"")
    refused(tmp_path / "r.npz", "more than 1000 arrays", load_npz)
    with zipfile.ZipFile(tmp_path / "b.npz", "w", zipfile.ZIP_BZIP2) as file:
        file.writestr("a.npy", bytes(200 << 20))
    refused(tmp_path / "b.npz", "its content would take", load_npz)


def test_an_hdf5_file_of_many_names_or_bombs_beside_the_record_is_refused_in_time(tmp_path):
    def many(file):
        file["x"] = 1
        for number in range(20_000):
            file.id.links.create_hard(f"n{number}".encode(), file.id, b"x")

    refused(hdf5(tmp_path / "r.h5", many), "holds 20001 things")

    def ids(file):
        file["tracings"] = np.ones((1, 100, 12), np.float32)
        data = file.create_dataset("exam_id", (1,), "i8", chunks=(1,), compression="gzip")
        data.id.write_direct_chunk((0,), zlib.compress(bytes(250 << 20), 1))

    refused(hdf5(tmp_path / "i.h5", ids), "a chunk that becomes more than its 8 bytes")


def test_a_mat_file_of_many_variables_is_refused_in_time(tmp_path):
    scipy.io.savemat(tmp_path / "r.mat", {"x": 1})
    content = (tmp_path / "r.mat").read_bytes()
    (tmp_path / "r.mat").write_bytes(content[:128] + content[128:] * 200_000)
    refused(tmp_path / "r.mat", "expected 'feats'")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (",".join(["1"] * 200_000) + "\n" + ",".join(["1"] * 200_000), "200000 columns; at most"),
        ("I,II\n" + "1" * 2**20 + ",2\n", "a line of more than"),
        ("I,II\n1,2\n" + "," * 2**20 + "\n1,2\n", "a line of more than"),
        ("# x\n" * 5000 + "I,II\n1,2\n", "no table in its first"),
        (f"I{' ' * 100_000}x,II\n1,2\n", "a column called"),
        (f"I{'(' * 100_000},II\n1,2\n", "a column called"),
    ],
)
def test_a_table_has_no_endless_lines_columns_or_names(tmp_path, text, match):
    (tmp_path / "r.csv").write_text(text)
    refused(tmp_path / "r.csv", match)


def test_a_table_of_gigabytes_without_a_line_is_not_read(tmp_path):
    (tmp_path / "r.csv").write_text("I,II\n1,2\n")
    os.truncate(tmp_path / "r.csv", 3 * 2**30)
    refused(tmp_path / "r.csv", "a line of more than")


def test_a_day_of_twelve_leads_at_1000_hz_is_believed_when_its_bytes_are_there(tmp_path):
    """Only the measures are taken: a sparse file stands for 24 hours, which are not read."""
    frames = 86_400_000
    lines = [f"r.dat 16 1000/mV 16 0 0 0 0 {name}" for name in ("I", "II", "III", "aVR", "aVL", "aVF")]
    lines += [f"r.dat 16 1000/mV 16 0 0 0 0 V{number}" for number in range(1, 7)]
    (tmp_path / "r.hea").write_text("\n".join([f"r 12 1000 {frames}", *lines]))
    (tmp_path / "r.dat").touch()
    os.truncate(tmp_path / "r.dat", frames * 24)
    part = Part(read_header(tmp_path / "r.hea"), None, None, Notes())
    assert part.frames == frames and len(part.leads) == 12
