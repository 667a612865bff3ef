import pickle

import numpy as np
import pytest

from ecg_signals.config import ConfigError
from ecg_signals.evaluation.store import create_array, header_path, open_array
from ecg_signals.utils.store import MemmapBatchWriter, MemmapReader, memmap_batch_process


@pytest.mark.parametrize("raw", [False, True])
def test_an_array_reads_back_through_its_sidecar(tmp_path, raw):
    path = tmp_path / "outputs_test.npy"
    array = create_array(path, (3, 2), np.dtype("float32"), raw=raw)
    array[:] = [[1, 2], [3, 4], [5, 6]]
    array.flush()
    assert MemmapReader.from_header(path)[1].tolist() == [3, 4]
    header = pickle.loads(header_path(path).read_bytes())
    again = np.memmap(path, dtype=header["dtype"], mode="r", shape=header["shape"], offset=header["offset"])
    assert again.tolist() == array.tolist()
    if not raw:
        assert np.load(path).tolist() == array.tolist()


def test_extracted_files_of_the_reference_are_read(golden):
    folder = golden / "fairseq_signals_trained" / "extract"
    outputs = MemmapReader.from_header(folder / "outputs_synth.npy")
    assert outputs[:].shape == (3, 8)
    features = MemmapReader.from_header(folder / "encoder_out_synth.npy")[:]
    embedding = features.sum(axis=1) / (features != 0).sum(axis=1)
    np.testing.assert_allclose(embedding, np.load(folder / "emb_synth.npy"), rtol=1e-5)


def test_a_batch_writer_and_reader_meet(tmp_path):
    writer = MemmapBatchWriter(tmp_path / "emb.npy", (4, 3), transform=lambda rows: rows * 2)
    memmap_batch_process(np.arange(12.0).reshape(4, 3), writer, batch_size=3)
    assert MemmapReader.from_header(tmp_path / "emb.npy")[:].tolist() == (np.arange(12.0).reshape(4, 3) * 2).tolist()
    with pytest.raises(ValueError, match="do not fit"):
        writer(np.zeros((1, 3)))


def test_nothing_in_a_sidecar_is_executed(tmp_path):
    path = tmp_path / "outputs_test.npy"
    path.write_bytes(b"\0" * 8)

    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    header_path(path).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ConfigError, match="not a header"):
        open_array(path)
    assert not (tmp_path / "executed").exists()


def test_a_cut_file_is_named(tmp_path):
    path = tmp_path / "outputs_test.npy"
    create_array(path, (4, 4), np.dtype("float32"), raw=True)
    with open(path, "r+b") as file:
        file.truncate(20)
    with pytest.raises(ConfigError, match=r"20 bytes.*64"):
        open_array(path)


@pytest.mark.parametrize(
    "header",
    [
        {"shape": (1, 1), "dtype": np.dtype("O")},
        {"shape": (1, 1), "dtype": "O"},
        {"shape": (1, 1), "dtype": "object"},
        {"shape": (1, 1), "dtype": np.object_},
        {"shape": (1, 1), "dtype": "f4,O"},
        {"shape": (-1, -2), "dtype": "float32"},
        {"shape": (10**12, 10**12), "dtype": "float32"},
        {"shape": (1.5, 2), "dtype": "float32"},
        {"shape": (2, 1), "dtype": "float32", "offset": -8},
        {"shape": "ab", "dtype": "float32"},
        [1, 2],
        {"shape": (2,), "dtype": "x" * 5000},
    ],
)
def test_a_sidecar_of_pointers_or_impossible_sizes_is_refused(tmp_path, header):
    path = tmp_path / "outputs_test.npy"
    path.write_bytes(b"\1" * 8)
    header_path(path).write_bytes(pickle.dumps(header))
    with pytest.raises(ConfigError, match=r"not a header of shape and dtype|its header says"):
        open_array(path)


@pytest.mark.parametrize("dtype", [np.dtype("float32"), np.float32, "float32", np.dtype(">f8"), np.dtype("bool")])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_every_way_to_write_a_plain_type_is_read_without_unpickling(tmp_path, dtype, protocol):
    path = tmp_path / "outputs_test.npy"
    values = np.arange(6).astype(dtype).reshape(2, 3)
    path.write_bytes(b"1234" + values.tobytes() + b"rest")
    header_path(path).write_bytes(pickle.dumps({"shape": (2, 3), "dtype": dtype, "offset": 4}, protocol=protocol))
    with pytest.warns(UserWarning, match="the rest is left out"):
        found = open_array(path)
    np.testing.assert_array_equal(found, values)
    assert found.dtype == values.dtype
