"""Reading checkpoints: every published form, and nothing in them runs."""

import argparse
import contextlib
import io
import os
import pickle
import random
import struct
import subprocess
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch

from ecg_signals.checkpoint import names
from ecg_signals.checkpoint.pickles import Machine
from ecg_signals.checkpoint.plain import plain_tree
from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.config import ConfigError


class Calls:
    """An object whose pickle asks for `function(*args)`."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


def save(path: Path, content: object, legacy: bool = False) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def raw_pickle_checkpoint(path: Path, data: bytes) -> Path:
    """A torch zip archive around hand-written pickle opcodes."""
    torch.save({}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(name, data if name.endswith("data.pkl") else content)
    return path


def test_tensors_and_containers_come_back(tmp_path):
    content = {"model": OrderedDict(w=torch.randn(3, 2)), "cfg": {"a": [1, (2.5, None)], "b": "x"}, "step": 3}
    found = read_checkpoint(save(tmp_path / "a.pt", content))
    assert torch.equal(found["model"]["w"], content["model"]["w"])
    assert found["cfg"] == {"a": [1, (2.5, None)], "b": "x"} and found["step"] == 3


@pytest.mark.parametrize("legacy", [False, True])
def test_numpy_arrays_scalars_and_namespaces_become_plain(tmp_path, legacy):
    content = {
        "args": argparse.Namespace(arch="wav2vec2", lr=[0.1], path=Path("a") / "b"),
        "scores": [np.arange(6, dtype=">f4").reshape(2, 3), np.asfortranarray(np.arange(6.0).reshape(2, 3))],
        "best": np.float64(0.25),
        "model": {"w": torch.nn.Parameter(torch.ones(2))},
    }
    found = read_checkpoint(save(tmp_path / "a.pt", content, legacy))
    assert found["args"]["arch"] == "wav2vec2" and found["args"]["path"] == "a/b"
    assert all(np.array_equal(have, want) for have, want in zip(found["scores"], content["scores"]))
    assert found["best"] == 0.25 and type(found["best"]) is float
    assert type(found["model"]["w"]) is torch.Tensor


@pytest.mark.parametrize("name", ["w2v_cmsc_omegaconf20_weightg", "w2v_cmsc_omegaconf23"])
def test_omegaconf_configs_become_plain_dicts(golden, name):
    cfg = read_checkpoint(golden / "wcr" / "ckpt_variants" / f"{name}.pt")["cfg"]
    assert type(cfg) is dict and type(cfg["model"]) is dict and cfg["model"]["_name"] == "wav2vec2_cmsc"
    assert cfg["model"]["latent_temp"] == [2.0, 0.5, 0.999995]


def test_every_published_checkpoint_reads_as_plain_containers(golden):
    def check(value: object) -> None:
        if isinstance(value, dict):
            for item in value.values():
                check(item)
        elif isinstance(value, (list, tuple)):
            for item in value:
                check(item)
        else:
            kinds = (torch.Tensor, np.ndarray, int, float, str, bytes, torch.dtype, type(None))
            assert isinstance(value, kinds), type(value)

    files = sorted(golden.rglob("*.pt"))
    assert files
    for file in files:
        check(read_checkpoint(file))


def test_unknown_classes_are_recorded_and_never_imported(tmp_path):
    opcodes = b"\x80\x02}(X\x05\x00\x00\x00modelcno_such_package.models\nNet\n)\x81}(X\x01\x00\x00\x00aK\x01ubu."
    found = read_checkpoint(raw_pickle_checkpoint(tmp_path / "a.pt", opcodes))
    assert found["model"] == {"__class__": "no_such_package.models.Net", "a": 1}


def run_marker(tmp_path: Path) -> tuple[Path, str]:
    marker = tmp_path / "marker"
    return marker, f"touch {marker}"


@pytest.mark.parametrize("legacy", [False, True])
def test_os_system_is_refused_by_name(tmp_path, legacy):
    marker, command = run_marker(tmp_path)
    file = save(tmp_path / "evil.pt", {"model": {}, "x": Calls(os.system, command)}, legacy)
    with pytest.raises(ConfigError, match=r"(posix|nt)\.system"):
        read_checkpoint(file)
    assert not marker.exists()


@pytest.mark.parametrize("function", [eval, exec, getattr, __import__, print, open])
def test_builtin_functions_are_refused_by_name(tmp_path, function):
    file = save(tmp_path / "evil.pt", {"model": {}, "x": Calls(function, "1")})
    with pytest.raises(ConfigError, match=rf"\.{function.__name__}"):
        read_checkpoint(file)


REFUSED = (
    "operator.attrgetter functools.partial subprocess.Popen importlib.import_module torch.load torch.hub.load "
    "torch.storage._load_from_bytes numpy.load torch.serialization.load pickle.loads some_package.run builtins.type"
)


@pytest.mark.parametrize("name", REFUSED.split())
def test_functions_and_the_standard_library_are_refused_by_name(name):
    module, _, leaf = name.rpartition(".")
    with pytest.raises(ConfigError, match=name.replace(".", r"\.")):
        names.known_name(module, leaf)


def test_a_reduce_inside_omegaconf_metadata_is_refused(tmp_path):
    omegaconf = pytest.importorskip("omegaconf")
    marker, command = run_marker(tmp_path)
    cfg = omegaconf.OmegaConf.create({"model": {"_name": "wav2vec2"}})
    object.__getattribute__(cfg, "__dict__")["_metadata"].key = Calls(os.system, command)
    with pytest.raises(ConfigError, match="system"):
        read_checkpoint(save(tmp_path / "evil.pt", {"cfg": cfg, "model": {}}))
    assert not marker.exists()


def test_a_class_of_the_standard_library_is_refused_under_its_name_of_python_2(tmp_path):
    marker = tmp_path / "marker"
    file = save(tmp_path / "evil.pt", {"model": {}, "x": Calls(subprocess.Popen, ["touch", str(marker)])})
    with pytest.raises(ConfigError, match=r"subprocess\.Popen"):  # torch.save writes commands.Popen
        read_checkpoint(file)
    assert not marker.exists()


IMPOSTORS = "OrderedDict DictConfig ContainerMetadata Namespace ndarray _rebuild_tensor_v2 HuBERTECGConfig HubertConfig"


@pytest.mark.parametrize("name", IMPOSTORS.split())
def test_a_class_named_like_a_known_one_is_refused(tmp_path, monkeypatch, name):
    marker = tmp_path / "marker"
    (tmp_path / "impostor_module.py").write_text(f"open({str(marker)!r}, 'w')\nclass {name}:\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    opcodes = b"\x80\x02}(X\x05\x00\x00\x00modelcimpostor_module\n" + name.encode() + b"\n)Ru."
    with pytest.raises(ConfigError, match=f"impostor_module.{name}"):
        read_checkpoint(raw_pickle_checkpoint(tmp_path / "evil.pt", opcodes))
    assert not marker.exists()


def test_a_dotted_name_of_an_allowed_module_reaches_nothing():
    dotted = [("omegaconf", "os.system"), ("collections", "OrderedDict.fromkeys"), ("fairseq", "__import__")]
    for module, name in dotted:
        try:
            found = names.known_name(module, name)
        except ConfigError:
            continue
        assert found == names.Name(module, name)


def test_calling_a_stub_only_records_the_call():
    opcodes = b"cfairseq.models\nrun_this\n(Vrm -rf\nt\x81}(V__class__\nK\x01ub."
    stub = Machine(io.BytesIO(opcodes)).run()
    assert type(stub) is names.Inert and stub.path == "fairseq.models.run_this"
    assert plain_tree(stub, len(opcodes)) == {"__class__": 1, "__args__": ("rm -rf",)}


def test_object_arrays_are_refused(tmp_path):
    file = save(tmp_path / "a.pt", {"model": {}, "x": np.array([{}, []], dtype=object)})
    with pytest.raises(ConfigError, match="numpy array of"):
        read_checkpoint(file)


def test_a_cyclic_file_ends(tmp_path):
    content: dict = {"model": {}}
    content["self"] = content
    found = read_checkpoint(save(tmp_path / "a.pt", content))
    assert found["self"] == "<the dict that holds this>"


def truncated(path: Path) -> None:
    torch.save({"model": torch.zeros(5000)}, path)
    path.write_bytes(path.read_bytes()[:9000])


def renamed_member(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")


def safetensors_file(path: Path) -> None:
    header = b'{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), "is empty"),
        (lambda path: path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "Git LFS pointer"),
        (lambda path: path.write_text("\n<!DOCTYPE html><html>404</html>"), "web page"),
        (truncated, "cut short or damaged"),
        (renamed_member, r"without data\.pkl \(it holds hello\.txt\)"),
        (safetensors_file, "safetensors"),
        (lambda path: path.write_bytes(b"what is this" * 10), "not a checkpoint: it starts with"),
        (lambda path: path.write_bytes(pickle.dumps([1, 2])), "pickle"),
        (lambda path: torch.save([1, 2], path), "holds a list"),
        (lambda path: path.mkdir(), "is a folder"),
        (lambda path: path.write_bytes(b"\x93NUMPY" + bytes(90)), "npy array"),
        (lambda path: torch.jit.script(torch.nn.ReLU()).save(str(path)), "TorchScript"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path, write, message):
    file = tmp_path / "a.pt"
    write(file)
    with pytest.raises(ConfigError, match=message) as caught:
        read_checkpoint(file)
    assert str(file) in str(caught.value)


def test_a_missing_file_lists_the_checkpoints_beside_it(tmp_path):
    save(tmp_path / "checkpoint_last.pt", {})
    with pytest.raises(ConfigError, match=r"does not exist; checkpoints there: checkpoint_last\.pt"):
        read_checkpoint(tmp_path / "checkpoint_best.pt")


def test_every_cut_of_a_checkpoint_is_one_clear_error(tmp_path):
    buffer = io.BytesIO()
    torch.save({"model": {"w": torch.arange(50.0)}}, buffer)
    whole = buffer.getvalue()
    for length in range(1, len(whole), 97):
        file = tmp_path / "cut.pt"
        file.write_bytes(whole[:length])
        with pytest.raises(ConfigError):
            read_checkpoint(file)


def test_damaged_bytes_are_clear_errors_too(tmp_path):
    """A few hundred files with random bytes changed: each is read, or refused with one message."""
    content = {"args": argparse.Namespace(a=[1, 2]), "model": OrderedDict(w=torch.randn(3)), "s": np.arange(4.0)}
    save(tmp_path / "whole.pt", content, legacy=True)
    whole, draws = (tmp_path / "whole.pt").read_bytes(), random.Random(0)
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(draws.randint(1, 4)):
            changed[draws.randrange(len(changed))] = draws.randrange(256)
        (tmp_path / "a.pt").write_bytes(changed)
        with contextlib.suppress(ConfigError):
            read_checkpoint(tmp_path / "a.pt")
