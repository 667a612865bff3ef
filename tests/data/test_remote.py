"""Stores on a server: a local one that answers ranges, and fsspec's memory."""

import os
import pickle
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import fsspec
import numpy as np
import pytest
import torch
from data_helpers import SAMPLES, make_dataset

from ecg_signals.config import ConfigError
from ecg_signals.data import remote
from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.data.manifest import Manifest
from ecg_signals.data.pack import pack_manifests
from ecg_signals.data.sources import remote as remote_source
from ecg_signals.data.sources.files import FileSource

RECORD_BYTES = 12 * SAMPLES * 4


@pytest.fixture
def store(segments, tmp_path, monkeypatch):
    """Packed records beside their files; the cache is a folder of this test."""
    monkeypatch.setenv("ECG_SIGNALS_CACHE", str(tmp_path / "cache"))
    home = segments(records=6, patient_id=lambda record: record)
    (home / "manifest/cmsc").mkdir(parents=True)
    for name, target in (("plain", "train"), ("people", "people"), ("pairs", "cmsc/train")):
        (home / f"{name}.tsv").rename(home / f"manifest/{target}.tsv")
    pack_manifests(home / "manifest", home / "packed", shard_bytes=3 * RECORD_BYTES)
    return home


@pytest.fixture
def served(store):
    """A server of the store that answers ranges. `spoil` changes answers: (path, range) -> bytes or a status."""
    state = SimpleNamespace(asked=[], spoil=None, ranges=True)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self):
            self.do_GET()

        def do_GET(self):
            path = store / "packed" / self.path.lstrip("/")
            if not path.is_file():
                return self.answer(404, b"")
            content, asked = path.read_bytes(), self.headers.get("Range")
            whole = f'"{len(content)}-{path.stat().st_mtime_ns}"'
            if self.command == "HEAD":
                return self.answer(200, content, {"ETag": whole, "Accept-Ranges": "bytes"})
            state.asked.append((self.path, asked))
            if not asked or not state.ranges:
                return self.answer(200, content, {"ETag": whole})
            first, last = map(int, asked.removeprefix("bytes=").split("-"))
            piece = content[first : last + 1]
            piece = state.spoil(self.path, piece) if state.spoil else piece
            if isinstance(piece, int):
                return self.answer(piece, b"")
            return self.answer(206, piece, {"Content-Range": f"bytes {first}-{last}/{len(content)}"})

        def answer(self, status, content, headers=()):
            self.send_response(status)
            for name, value in dict(headers, **{"Content-Length": len(content)}).items():
                self.send_header(name, str(value))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        def log_message(self, *words):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()


def find(name, url, split="train"):
    cfg = SimpleNamespace(train_subset="train", dumps=None, mixture=None)
    return BaseDataset.find(cfg, SimpleNamespace(data=url), split)


def batches_of(name, path, workers=0, **options):
    dataset = make_dataset(name, path, training=True, enable_padding=True, **options)
    iterator = BatchIterator(dataset, batch_size=4, num_workers=workers)
    found = [batch["net_input"]["source"] for epoch in (1, 2) for batch in iterator.batches(epoch)]
    iterator.close()
    return torch.cat(found)


@pytest.mark.parametrize("name, folder", [("ecg_file", ""), ("cmsc", "/cmsc"), ("three_kg_views", "")])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_store_on_a_server_gives_the_batches_of_the_files(store, served, name, folder, workers):
    modes = {"perturbation_mode": ["random_leads_masking"]}
    found = batches_of(name, find(name, served.url + folder), workers, **modes)
    assert torch.equal(found, batches_of(name, store / f"manifest{folder}/train.tsv", **modes))


def test_any_protocol_of_fsspec_serves_a_store(store):
    memory = fsspec.filesystem("memory")
    memory.put(str(store / "packed"), "/bucket/ecg", recursive=True)
    try:
        found = batches_of("ecg_file", find("ecg_file", "memory://bucket/ecg/"))
        assert torch.equal(found, batches_of("ecg_file", store / "manifest/train.tsv"))
    finally:
        memory.rm("/bucket", recursive=True)


def test_a_batch_is_one_call_and_index_and_manifests_come_once(store, served, monkeypatch):
    calls = []
    original = remote._asked
    monkeypatch.setattr(remote, "_asked", lambda ranges: (calls.append(ranges), original(ranges))[1])
    path = find("cmsc", f"{served.url}/cmsc")
    dataset = make_dataset("cmsc", path, training=True, enable_padding=True)
    assert [len(call) for call in calls] == [1, 1, 1]  # manifest, index, first record
    calls.clear()
    for _ in BatchIterator(dataset, batch_size=3, shuffle=False).batches(1):
        pass
    assert [sorted(behind - first for _, first, behind in call) for call in calls] == [[2 * RECORD_BYTES] * 3] * 2
    calls.clear()
    make_dataset("cmsc", find("cmsc", f"{served.url}/cmsc"), enable_padding=True)
    assert [call[0][0].rpartition("/")[2] for call in calls] == ["shard_00000.npy"]
    other = np.load(store / "packed/shard_00000.npy")
    assert len(other) == 2 and len(pickle.dumps(dataset.source)) < 5000


def test_a_local_manifest_may_have_the_url_of_a_store_as_its_root(store, served):
    text = (store / "packed/train.tsv").read_text().split("\n", 1)[1]
    (store / "mine.tsv").write_text(f"{served.url}/\n{text}")
    assert Manifest(store / "mine.tsv").root == served.url
    assert torch.equal(batches_of("ecg_file", store / "mine.tsv"), batches_of("ecg_file", store / "manifest/train.tsv"))
    (store / "mine.tsv").write_text(f"{served.url}\nr0_0.mat\t{SAMPLES}\n")
    with pytest.raises(ConfigError, match=r"127.*/r0_0.mat is a file on a server, where only packed stores are read"):
        batches_of("ecg_file", store / "mine.tsv")


def test_what_was_read_stays_on_the_disk_up_to_a_bound(store, served, monkeypatch):
    path = find("ecg_file", served.url)
    few = 5 * RECORD_BYTES / 1e9
    expected = batches_of("ecg_file", store / "manifest/train.tsv")
    assert torch.equal(batches_of("ecg_file", path, remote_cache=1.0), expected)
    before = len(served.asked)
    assert torch.equal(batches_of("ecg_file", path, remote_cache=1.0), expected)
    assert len(served.asked) == before
    assert torch.equal(batches_of("ecg_file", path, remote_cache=few), expected)
    kept = list((store / "cache/ranges").glob("??/*"))
    assert sum(file.stat().st_size for file in kept) <= 12 * RECORD_BYTES
    remote.RangeCache(5 * RECORD_BYTES, store / "cache/ranges").put("", ("u", 0, 3), b"abc")
    kept = list((store / "cache/ranges").glob("??/*"))
    assert sum(file.stat().st_size for file in kept) <= 5 * RECORD_BYTES


SPOILT = {
    "short": (lambda path, piece: piece[:-1], r"shard_00000.npy:128 of http.* bytes came"),
    "long": (lambda path, piece: piece + b"more", r"sends more than the 5,760 bytes that were asked for"),
    "refused": (lambda path, piece: 503, r"cannot be read: bytes 128 to 5,888 were asked for, .*503"),
    "gone": (lambda path, piece: 404, r"shard_00000.npy:128 of http.*FileNotFoundError"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_server_that_answers_something_else_is_one_error_naming_url_and_record(store, served, kind):
    spoil, message = SPOILT[kind]
    path = find("ecg_file", served.url)
    served.spoil = lambda name, piece: spoil(name, piece) if name.endswith(".npy") else piece
    with pytest.raises(ConfigError, match=message):
        make_dataset("ecg_file", path)


def test_a_server_that_fails_once_is_asked_again(store, served):
    path = find("ecg_file", served.url)
    failed = []
    served.spoil = lambda name, piece: piece if name in failed else failed.append(name) or 500
    assert len(batches_of("ecg_file", path)) == 24 and failed


def test_a_server_without_ranges_or_without_an_answer_is_one_error(store, served, monkeypatch):
    served.ranges = False
    with pytest.raises(ConfigError, match="the server sends whole files instead of ranges"):
        find("ecg_file", served.url)
    served.ranges = True
    path = find("ecg_file", served.url)
    monkeypatch.setattr(remote, "REMOTE_SECONDS", 0.3)
    monkeypatch.setattr(remote, "TRIES", 1)
    never = threading.Event()
    served.spoil = lambda name, piece: (never.wait(1.0), piece)[1]
    with pytest.raises(ConfigError, match=r"/index.arrow cannot be read.*no answer within 0.3 s"):
        make_dataset("ecg_file", path)
    with pytest.raises(ConfigError, match=r"http://127.0.0.1:9/train.tsv (is not there|cannot be reached)"):
        find("ecg_file", "http://127.0.0.1:9")


def test_sizes_that_a_server_states_are_bounded(store, served, monkeypatch):
    monkeypatch.setattr(remote, "MAX_REMOTE_FILE", 100)
    with pytest.raises(ConfigError, match=r"bytes as the server states; a number up to 100 is believed"):
        find("ecg_file", served.url)
    monkeypatch.undo()
    monkeypatch.setenv("ECG_SIGNALS_CACHE", str(store / "cache"))
    monkeypatch.setattr(remote_source, "MAX_REMOTE_BATCH", RECORD_BYTES)
    source = FileSource(served.url)
    addresses = [f"shard_00000.npy:{128 + row * RECORD_BYTES}:{RECORD_BYTES}" for row in range(2)]
    with pytest.raises(ConfigError, match=r"Lower dataset.batch_size"):
        source.fetch(addresses)
    with pytest.raises(ConfigError, match="manifest and store belong to different runs"):
        source.fetch(["shard_00000.npy:128:1000000"])


def test_a_manifest_without_a_store_around_it_is_an_error(store, served):
    os.rename(store / "packed/index.arrow", store / "packed/other")
    with pytest.raises(ConfigError, match=r"belongs to no packed store.*hold index.arrow"):
        find("ecg_file", served.url)


def test_without_fsspec_the_extra_is_named(monkeypatch):
    remote._filesystem.cache_clear()
    monkeypatch.setitem(sys.modules, "fsspec", None)
    with pytest.raises(ConfigError, match=r'pip install "ecg-signals\[remote\]"'):
        remote.filesystem("https://host/store")
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"fsspec knows no nothing://"):
        remote.filesystem("nothing://x")
