"""Checkpoints, folders and side files that want to run something, change the process, or take all memory or time.

Run as a script it opens each of them in this one process, under limits, and prints what came of it as JSON lines, with
the CPU time and the peak of memory of each file by itself:
`python malicious.py FOLDER`. `test_malicious.py` reads that.
"""

import collections
import copyreg
import io
import json
import os
import pickle
import resource
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from strangers import cost

CANARY = "canary"
SHELL = f"touch {CANARY}"
MECHANISMS: dict[str, Callable[[Path], Path]] = {}


def mechanism(make: Callable[[Path], Path]) -> Callable[[Path], Path]:
    MECHANISMS[make.__name__] = make
    return make


# Pickle assembly.


def text(value: str) -> bytes:
    raw = value.encode()
    return b"X" + struct.pack("<I", len(raw)) + raw


def named(name: str) -> bytes:
    module, _, leaf = name.rpartition(".")
    return f"c{module}\n{leaf}\n".encode()


def number(value: int) -> bytes:
    raw = value.to_bytes(16, "little", signed=True)
    return b"\x8a" + bytes([len(raw)]) + raw


def call(name: str, *args: bytes) -> bytes:
    return named(name) + b"(" + b"".join(args) + b"tR"


def table(**items: bytes) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items.items()) + b"u"


def storage(key: str = "0", count: int = 4, kind: str = "FloatStorage") -> bytes:
    return b"(" + text("storage") + named(f"torch.{kind}") + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(offset: int = 0, size: tuple = (4,), stride: tuple = (1,), stored: bytes | None = None) -> bytes:
    shape, steps = (b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (size, stride))
    parts = (stored or storage(), number(offset), shape, steps, b"\x89", call("collections.OrderedDict"))
    return call("torch._utils._rebuild_tensor_v2", *parts)


FAST = {"compression": zipfile.ZIP_DEFLATED, "compresslevel": 1}  # a bomb all the same


def archive(path: Path, value: bytes, storages: dict[str, bytes] | None = None, **options: Any) -> Path:
    """A zip file as torch.save writes it, with `value` under "x"."""
    pickled = b"\x80\x02" + table(model=tensor(), x=value) + b"."
    with zipfile.ZipFile(path, "w", **options) as file:
        file.writestr("a/data.pkl", pickled)
        for key, content in {"0": bytes(16), **(storages or {})}.items():
            file.writestr(f"a/data/{key}", content)
    return path


def legacy(path: Path, value: bytes, keys: tuple[str, ...] = (), data: bytes = b"") -> Path:
    head = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})]
    path.write_bytes(b"".join(head) + b"\x80\x02" + table(x=value) + b"." + pickle.dumps(list(keys), 2) + data)
    return path


def pickles(**values: bytes) -> None:
    """Mechanisms that are one value of a checkpoint."""
    for name, value in values.items():
        MECHANISMS[name] = lambda folder, value=value: archive(folder / "a.pt", value)


def doubled(start: bytes, twice: bytes, times: int = 60) -> bytes:
    """A value that holds the one before twice, `times` over."""
    return start + b"q\x01" + (b"0" + twice + b"q\x01") * times


EVIL = text(SHELL)
REBUILD = named("torch._utils._rebuild_tensor_v2")
RAW = b"B" + struct.pack("<I", 1 << 20) + bytes(1 << 20)  # 1 MB in the file
DTYPE = (
    call("numpy.dtype", text("u1"), b"\x89\x88")
    + b"(K\x03"
    + text("|")
    + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)
ARRAY = call("numpy.core.multiarray._reconstruct", named("numpy.ndarray"), b"K\x00\x85", b"C\x01b")

# Reaching real objects.
pickles(
    defaults_of_a_function=REBUILD + table(__defaults__=b"(" + EVIL + b"t") + b"b",
    dictionary_of_a_function=named("torch._utils._rebuild_tensor") + b"(N" + table(canary=b"K\x01") + b"tb",
    attributes_of_counter=named("collections.Counter") + table(canary=b"K\x01") + b"b",
    attributes_of_ordered_dict=named("collections.OrderedDict") + table(canary=b"K\x01") + b"b",
    attributes_of_a_stand_in=named("omegaconf.dictconfig.DictConfig") + table(path=EVIL, canary=b"K\x01") + b"b",
    attributes_of_a_dtype=named("torch.float32") + table(canary=b"K\x01") + b"b",
    attributes_of_a_tensor=tensor() + table(canary=b"K\x01", grad=b"K\x01") + b"b",
    attributes_of_a_path=call("pathlib.PosixPath", text("a")) + table(_raw=EVIL) + b"b",
    items_of_a_class=named("collections.OrderedDict") + text("canary") + b"K\x01s",
    items_of_a_tensor=tensor() + b"K\x00K\x01s",
    appends_to_a_function=REBUILD + b"K\x01a",
    appends_to_a_tuple=b")K\x01a",
    members_of_a_class=named("builtins.set") + b"(K\x01\x90",
    state_of_a_call=call("omegaconf.dictconfig.DictConfig", EVIL) + table(__class__=named("builtins.int")) + b"b",
    # Running something.
    reduces_system=call("os.system", EVIL),
    reduces_eval=call("builtins.eval", text(f"open('{CANARY}', 'w')")),
    reduces_exec_of_python_2=call("__builtin__.eval", text(f"open('{CANARY}', 'w')")),
    instance_of_system=b"(" + EVIL + b"ios\nsystem\n",
    object_of_system=b"(" + named("os.system") + EVIL + b"o",
    new_object_of_popen=named("subprocess.Popen") + b"(" + EVIL + b"t\x81",
    new_object_with_keywords=named("subprocess.Popen") + b"(" + EVIL + b"t" + table(shell=b"\x88") + b"\x92",
    stack_global_of_system=text("os") + text("system") + b"\x93(" + EVIL + b"tR",
    dotted_name=call("torch.hub.load", EVIL),
    name_inside_an_allowed_class=b"ccollections\nOrderedDict.fromkeys\n(" + EVIL + b"tR",
    reconstructs_popen=call("copyreg._reconstructor", named("subprocess.Popen"), named("builtins.object"), EVIL),
    new_object_function=call("copyreg.__newobj__", named("subprocess.Popen"), EVIL),
    rebuilds_with_system=call("torch._tensor._rebuild_from_type_v2", named("os.system"), b"N(" + EVIL + b"tN"),
    calls_what_a_call_returned=call("omegaconf.a.B", EVIL) + b"(" + EVIL + b"tR",
    calls_a_text=EVIL + b"(tR",
    getattr_of_a_class=call("builtins.getattr", named("collections.OrderedDict"), text("fromkeys")),
    getitem_of_a_function=call("operator.attrgetter", text("__globals__")),
    loads_nested_bytes=call("torch.storage._load_from_bytes", b"C\x04abcd"),
    loads_numpy=call("numpy.load", EVIL),
    decodes_with_a_codec=call("_codecs.encode", EVIL, text("zlib_codec")),
    defaultdict_with_a_factory=call("collections.defaultdict", named("os.system")) + EVIL + b"K\x01s",
    extension_code=b"\x82\x01",
    persistent_text=b"P" + SHELL.encode() + b"\n",
    persistent_object=call("omegaconf.a.B", EVIL) + b"Q",
    persistent_of_a_function=b"(" + text("storage") + named("torch.hub.Load") + text("0") + text("cpu") + b"K\x04tQ",
    out_of_band_buffer=b"\x97",
    name_with_escape_codes=b"cfairseq.\x1b[2J\nEvil\x07\n(tR",
    memo_that_was_never_put=b"h\x63",
    underflow=b"0000",
    # Tensors that lie outside their bytes, or are far larger.
    tensor_behind_its_storage=tensor(offset=1 << 40),
    tensor_longer_than_its_storage=tensor(size=(1 << 20,)),
    tensor_with_a_negative_stride=tensor(offset=3, size=(4,), stride=(-1,)),
    tensor_before_its_storage=tensor(offset=-64),
    tensor_of_one_number_expanded=tensor(size=(1 << 40,), stride=(0,)),
    tensor_whose_size_overflows=tensor(size=(1 << 40, 1 << 40), stride=(0, 0)),
    tensor_of_a_wide_window=tensor(size=(4, 1 << 30), stride=(1, 0)),
    tensor_of_too_many_dimensions=tensor(size=(1,) * 900, stride=(1,) * 900),
    tensors_of_one_storage_again_and_again=b"]("
    + tensor(size=(1 << 22,), stride=(0,))
    + b"q\x01"
    + b"h\x01" * 4000
    + b"e",
    storage_that_states_more=tensor(stored=storage(count=1 << 30)),
    storage_of_another_file=tensor(stored=storage(key="../../../../etc/passwd")),
    storage_of_the_pickle=tensor(stored=storage(key="../data.pkl", count=8)),
    storage_of_a_huge_count=tensor(
        stored=b"("
        + text("storage")
        + named("torch.FloatStorage")
        + text("0")
        + text("cpu")
        + b"\x8a\x60"
        + b"\x7f" * 96
        + b"tQ"
    ),
    quantised_tensor=call("torch._utils._rebuild_qtensor", storage(kind="QInt8Storage"), b"K\x00"),
    sparse_tensor=call("torch._utils._rebuild_sparse_tensor", b"N", b"("),
    meta_tensor=call(
        "torch._utils._rebuild_meta_tensor_no_storage", named("torch.float32"), b"(" + number(1 << 40) + b"t"
    ),
    wrapper_tensor=call("torch._utils._rebuild_wrapper_subclass", named("torch.Tensor")),
    tensor_from_numpy=call("torch._utils._rebuild_device_tensor_from_numpy", EVIL),
    object_array=ARRAY + b"(K\x01(K\x01t" + call("numpy.dtype", text("O8")) + b"\x89(" + EVIL + b"ltb",
    structured_array=ARRAY
    + b"(K\x01(K\x01t"
    + call("numpy.dtype", text("V8"))
    + b"(K\x03"
    + text("|")
    + b"N"
    + b"("
    + EVIL
    + b"t"
    + table(a=b"K\x01")
    + b"K\x08K\x01tb\x89C\x08abcdefghtb",
    array_of_a_stated_shape=ARRAY + b"(K\x01(" + number(1 << 40) + b"t" + DTYPE + b"\x89C\x04abcdtb",
    array_with_a_wide_type=call("numpy.core.multiarray.scalar", call("numpy.dtype", text("S900000000")), b"C\x01a"),
)
# Size decided by the file.
pickles(
    bytearray_of_a_number=call("builtins.bytearray", number(3 << 30)),
    bytes_of_a_number=call("builtins.bytes", number(3 << 30)),
    list_of_bytes=b"](" + RAW + b"q\x01" + b"cbuiltins\nlist\nq\x0200" + b"h\x02h\x01\x85R" * 300 + b"e",
    text_of_an_object=call("builtins.str", b"(" + b"K\x01" * 9 + b"t"),
    integer_of_a_text=call("builtins.int", text("9" * 1_000_000)),
    complex_of_a_text=call("builtins.complex", text("9" * 1_000_000)),
    long_of_a_million_digits=b"\x8b" + struct.pack("<i", 420_000) + b"\x7f" * 420_000,
    long_as_text=b"L" + b"9" * 1_000_000 + b"L\n",
    length_beyond_the_end=b"\x8e" + struct.pack("<Q", 1 << 40) + b"abc",
    text_beyond_the_end=b"\x8d" + struct.pack("<Q", 1 << 62) + b"abc",
    tuples_that_double=doubled(b")", b"h\x01h\x01\x86"),
    lists_that_double=doubled(b"]", b"](h\x01h\x01e"),
    tables_that_double=doubled(b"}", b"}(K\x01h\x01K\x02h\x01u"),
    records_that_double=doubled(b")", named("omegaconf.a.B") + b"(h\x01h\x01tR"),
    tuples_that_double_as_a_key=b"}" + doubled(b")", b"h\x01h\x01\x86") + b"K\x01s",
    tuples_that_double_in_a_set=b"\x8f(" + doubled(b")", b"h\x01h\x01\x86") + b"\x90",
    frozen_sets_that_nest=b"(" * 60 + b"K\x01" + b"\x91" * 60,
    tuples_a_million_deep=b")" + b"\x85" * 900_000,
    tuples_a_million_deep_as_a_key=b"})" + b"\x85" * 900_000 + b"K\x01s",
    lists_a_million_deep=b"](" * 300_000 + b"e" * 300_000,
    records_deep=doubled(b"N", named("omegaconf.a.B") + b"(h\x01tR", 5000),
    a_record_that_is_its_own_state=named("omegaconf.a.B") + b")Rq\x01h\x01b",
    a_list_that_holds_itself=b"]q\x01h\x01a",
    an_array_that_is_its_own_state=ARRAY[:-5] + b"q\x01(K\x01h\x01h\x01h\x01h\x01tb",
    colliding_keys=b"}(" + b"".join(number(i * ((1 << 61) - 1)) + b"N" for i in range(60_000)) + b"u",
    colliding_members=b"\x8f(" + b"".join(number(i * ((1 << 61) - 1)) for i in range(60_000)) + b"\x90",
    colliding_fractions=b"}(" + b"".join(b"G" + struct.pack(">d", i * 2.0**61) + b"N" for i in range(60_000)) + b"u",
    long_keys_that_are_equal=text("a" * 3_000_000)
    + b"q\x01"
    + text("a" * 3_000_000)
    + b"q\x02}h\x01Ns"
    + b"h\x02Ns" * 100_000,
    memo_far_away=b"Nr" + struct.pack("<I", (1 << 32) - 1),
    memo_as_text=b"Np99999999999\n",
    colliding_memo=b"N" + b"".join(b"r" + struct.pack("<I", (i << 18) & 0xFFFFFFFF) for i in range(100_000)),
    copies_of_a_counter=b"](}("
    + b"".join(text(f"{i}") + b"N" for i in range(50_000))
    + b"uq\x01"
    + b"ccollections\nCounter\nq\x020"
    + b"h\x02h\x01\x85R" * 100_000
    + b"e",
    copies_of_a_list=b"]("
    + b"]("
    + b"K\x01" * 100_000
    + b"eq\x01"
    + b"ccollections\ndeque\nq\x020"
    + b"h\x02h\x01\x85R" * 100_000
    + b"e",
    calls_with_a_long_tuple=b"]("
    + b"("
    + b"K\x01" * 100_000
    + b"tq\x01"
    + b"cnumpy\nndarray\nq\x020"
    + b"h\x02h\x01R" * 100_000
    + b"e",
    texts_encoded_again=b"]("
    + text("a" * 1_000_000)
    + b"q\x01c_codecs\nencode\nq\x020"
    + b"h\x02h\x01\x85R" * 5000
    + b"e",
    paths_of_long_parts=b"]("
    + text("a" * 1_000_000)
    + b"q\x01cpathlib\nPosixPath\nq\x020"
    + b"h\x02("
    + b"h\x01" * 100
    + b"tR"
    + b"e",
    arrays_of_the_same_bytes=b"]("
    + RAW
    + b"q\x01"
    + DTYPE
    + b"q\x0200"
    + (ARRAY + b"(K\x01(" + number(1 << 20) + b"th\x02\x89h\x01tb") * 2000
    + b"e",
    scalars_of_long_texts=b"]("
    + RAW
    + b"q\x01"
    + call("numpy.dtype", text("S1048576"))
    + b"q\x020"
    + b"cnumpy.core.multiarray\nscalar\nq\x030"
    + b"h\x03h\x02h\x01\x86R" * 5000
    + b"e",
    a_long_text_named_again=b"](" + text("a" * 2_000_000) + b"q\x01" + b"h\x01" * 500_000 + b"e",
    two_million_instructions=b"](" + b"N" * 2_000_000 + b"e",
    marks_without_end=b"(" * 1_500_000,
    tables_by_the_million=b"](" + b"}" * 1_500_000 + b"e",
    tensors_by_the_million=b"]("
    + REBUILD
    + b"q\x01("
    + storage()
    + b"K\x00K\x01\x85K\x01\x85\x89NtQ"[:-1]
    + b"q\x02"
    + b"h\x01h\x02R" * 300_000
    + b"e",
)


@mechanism
def deflated_pickle(folder: Path) -> Path:
    return archive(folder / "a.pt", b"](" + b"N" * 30_000_000 + b"e", **FAST)


@mechanism
def deflated_tensor(folder: Path) -> Path:
    return archive(folder / "a.pt", b"N", {"1": bytes(100_000_000)}, **FAST)


@mechanism
def repeated_parts(folder: Path) -> Path:
    archive(folder / "a.pt", b"N")
    with zipfile.ZipFile(folder / "a.pt", "a") as file:
        file.writestr("a/data.pkl", b"\x80\x02" + call("os.system", EVIL) + b".")
    return folder / "a.pt"


@mechanism
def overlapping_parts(folder: Path) -> Path:
    """Every tensor is the same megabyte: the list of members points to one place."""
    archive(folder / "a.pt", b"N", {str(index): bytes(1 << 20) if index == 1 else b"" for index in range(1, 500)})
    raw = bytearray((folder / "a.pt").read_bytes())
    first = raw.index(b"PK\x01\x02")
    entry = raw.index(b"a/data/1", first) - 46
    sizes, offset = raw[entry + 20 : entry + 28], raw[entry + 42 : entry + 46]
    place = raw.find(b"PK\x01\x02", entry + 4)
    while place > 0:
        raw[place + 20 : place + 28], raw[place + 42 : place + 46] = sizes, offset
        place = raw.find(b"PK\x01\x02", place + 4)
    (folder / "a.pt").write_bytes(raw)
    return folder / "a.pt"


@mechanism
def a_list_of_members_of_many_megabytes(folder: Path) -> Path:
    return archive(folder / "a.pt", b"N", {f"{'x' * 1000}{index}": b"" for index in range(4500)})


@mechanism
def source_code_in_an_old_file(folder: Path) -> Path:
    identity = (
        b"(" + text("module") + named("fairseq.models.Net") + text(f"{folder}/net.py") + text("import os") + b"tQ"
    )
    return legacy(folder / "a.pt", identity)


@mechanism
def an_old_file_of_a_terabyte(folder: Path) -> Path:
    return legacy(folder / "a.pt", storage(count=1 << 38), ("0",), struct.pack("<q", 1 << 38))


@mechanism
def a_view_outside_its_storage(folder: Path) -> Path:
    view = b"(" + text("v") + b"K\x02K\x09t"
    identity = b"(" + text("storage") + named("torch.FloatStorage") + text("0") + text("cpu") + b"K\x04" + view + b"tQ"
    return legacy(folder / "a.pt", tensor(stored=identity), ("0",), struct.pack("<q", 4) + bytes(16))


@mechanism
def an_old_file_that_runs_something_before_its_content(folder: Path) -> Path:
    (folder / "a.pt").write_bytes(b"\x80\x02" + call("os.system", EVIL) + b".")
    return folder / "a.pt"


@mechanism
def an_old_file_without_line_breaks(folder: Path) -> Path:
    with (folder / "a.pt").open("wb") as stream:
        stream.write(b"V" + b"a" * 50_000_000)
    return folder / "a.pt"


@mechanism
def a_tar_archive_with_links(folder: Path) -> Path:
    with tarfile.open(folder / "a.pt", "w") as file:
        link = tarfile.TarInfo("storages")
        link.type, link.linkname = tarfile.SYMTYPE, f"../{CANARY}"
        file.addfile(link)
        member = tarfile.TarInfo("pickle")
        member.size = 4
        file.addfile(member, io.BytesIO(b"abcd"))
    return folder / "a.pt"


@mechanism
def a_named_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "a.pt")
    return folder / "a.pt"


@mechanism
def an_endless_device(folder: Path) -> Path:
    return Path("/dev/zero")


@mechanism
def a_socket(folder: Path) -> Path:
    import socket

    here = Path.cwd()
    os.chdir(folder)  # a socket's path has at most 107 bytes
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a.pt")
    os.chdir(here)
    return folder / "a.pt"


# Options of a model.


def published(folder: Path, **options: Any) -> Path:
    """A file of fairseq-signals' layout whose weights say nothing about the model's size."""
    import torch

    state = {"feature_extractor.conv.weight": torch.zeros(4), "fc.weight": torch.zeros(4, 4)}
    torch.save({"cfg": {"model": {"_name": "wav2vec2_cmsc", **options}}, "model": state}, folder / "a.pt")
    return folder / "a.pt"


def hugging_face(folder: Path, config: str, name: str = "model.safetensors", content: bytes | None = None) -> Path:
    header = b'{"fc.weight":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    (folder / "config.json").write_text(config)
    (folder / name).write_bytes(struct.pack("<Q", len(header)) + header + bytes(16) if content is None else content)
    return folder


def options(**values: Any) -> str:
    return json.dumps({"ecg_signals": {"name": "wav2vec2_cmsc", "options": values}})


def models(**values: dict[str, Any]) -> None:
    for name, chosen in values.items():
        MECHANISMS[name] = lambda folder, chosen=chosen: published(folder, **chosen)
        MECHANISMS[f"{name}_in_a_folder"] = lambda folder, chosen=chosen: hugging_face(folder, options(**chosen))


models(
    a_million_layers={"encoder_layers": 1_000_000},
    thirty_thousand_wide={"encoder_embed_dim": 30_000, "encoder_attention_heads": 10},
    wider_than_memory={"encoder_embed_dim": 1 << 40, "encoder_attention_heads": 1},
    wider_than_a_number={"encoder_embed_dim": 10**300},
    ninety_thousand_convolutions={"conv_feature_layers": "[(64, 2, 2)] * 90000"},
    convolutions_multiplied_twice={"conv_feature_layers": "[[(64, 2, 2)] * 9999] * 9999"},
    convolutions_of_a_deep_text={"conv_feature_layers": "[" * 90_000},
    convolutions_of_many_signs={"conv_feature_layers": "-" * 90_000 + "1"},
    convolutions_of_a_long_text={"conv_feature_layers": "[" + "(64, 2, 2)," * 200_000 + "]"},
    convolutions_of_a_long_product={"conv_feature_layers": "*".join(["9" * 4000] * 300)},
    negative_sizes={"encoder_embed_dim": -768},
    options_of_other_kinds={"encoder_layers": {"a": [1]}, "dropout": [[]], "conv_feature_layers": {"x": 1}},
    a_second_file_to_read={"model_path": "/dev/zero", "no_pretrained_weights": False},
)


@mechanism
def hubert_with_a_million_layers(folder: Path) -> Path:
    import torch

    names = ("encoder.pos_conv_embed.conv.bias", "feature_extractor.conv_layers.0.conv.weight")
    state = {name: torch.zeros(4) for name in names}
    sizes = {"conv_dim": [4] * 100_000, "conv_kernel": [1] * 100_000, "conv_stride": [1] * 100_000}
    config = {**sizes, "hidden_size": 12, "num_hidden_layers": 1_000_000, "num_attention_heads": 3}
    torch.save({"model_config": config, "model_state_dict": state}, folder / "a.pt")
    return folder / "a.pt"


@mechanism
def a_name_of_ten_megabytes(folder: Path) -> Path:
    return published(folder, _name="a" * 10_000_000)


@mechanism
def names_with_escape_codes(folder: Path) -> Path:
    import torch

    torch.save({"\x1b[2J\x07": 1, "model": {"\x1b]0;x\x07": torch.zeros(1)}}, folder / "a.pt")
    return folder / "a.pt"


@mechanism
def sections_of_other_kinds(folder: Path) -> Path:
    import torch

    torch.save({"cfg": {"model": [1]}, "model": {"a": torch.zeros(1)}, "extra_state": [1]}, folder / "a.pt")
    return folder / "a.pt"


@mechanism
def config_nested_deeply(folder: Path) -> Path:
    return hugging_face(folder, "[" * 900_000)


@mechanism
def config_nested_ten_thousand(folder: Path) -> Path:
    return hugging_face(folder, '{"a":' * 900 + "1" + "}" * 900)


@mechanism
def config_of_many_lists(folder: Path) -> Path:
    return hugging_face(folder, "[" + "[]," * 3_000_000 + "[]]")


@mechanism
def config_of_a_long_number(folder: Path) -> Path:
    return hugging_face(folder, '{"a": ' + "9" * 1_000_000 + "}")


@mechanism
def config_that_is_a_pipe(folder: Path) -> Path:
    hugging_face(folder, "{}")
    (folder / "config.json").unlink()
    os.mkfifo(folder / "config.json")
    return folder


@mechanism
def config_that_is_a_list(folder: Path) -> Path:
    return hugging_face(folder, "[1]")


@mechanism
def labels_that_are_no_numbers(folder: Path) -> Path:
    return hugging_face(
        folder, json.dumps({"ecg_signals": {"name": ["a"], "options": 3}, "id2label": {"9" * 5000: "a"}})
    )


@mechanism
def safetensors_with_a_huge_header(folder: Path) -> Path:
    return hugging_face(folder, options(), content=struct.pack("<Q", 1 << 40) + b"{}")


@mechanism
def safetensors_with_a_long_header(folder: Path) -> Path:
    header = b'{"a":' + b" " * 90_000_000 + b"{}}"
    return hugging_face(folder, options(), content=struct.pack("<Q", len(header)) + header)


@mechanism
def safetensors_outside_its_bytes(folder: Path) -> Path:
    header = b'{"w":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4398046511104]}}'
    return hugging_face(folder, options(), content=struct.pack("<Q", len(header)) + header)


@mechanism
def an_index_of_another_folder(folder: Path) -> Path:
    (folder.parent / "elsewhere.safetensors").write_bytes(b"")
    index = json.dumps({"weight_map": {"a": "../elsewhere.safetensors", "b": "/etc/passwd"}})
    return hugging_face(folder, options(), "model.safetensors.index.json", index.encode())


@mechanism
def an_index_that_names_a_link(folder: Path) -> Path:
    (folder / "part").symlink_to("/dev/zero")
    return hugging_face(folder, options(), "model.safetensors.index.json", b'{"weight_map": {"a": "part"}}')


@mechanism
def an_index_of_other_kinds(folder: Path) -> Path:
    return hugging_face(folder, options(), "model.safetensors.index.json", b'{"weight_map": [{}]}')


@mechanism
def an_index_of_one_file_under_many_names(folder: Path) -> Path:
    names = ["/".join(["."] * count + ["model.safetensors"]) for count in range(1500)]
    index = json.dumps({"weight_map": {str(number): name for number, name in enumerate(names)}})
    hugging_face(folder, options())
    return hugging_face(folder, options(), "model.safetensors.index.json", index.encode())


@mechanism
def a_weight_inside_a_hundred_thousand_wrappers(folder: Path) -> Path:
    name = "module." * 300_000 + "w"
    header = json.dumps({name: {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    return hugging_face(folder, options(), content=struct.pack("<Q", len(header)) + header + bytes(16))


@mechanism
def labels_that_are_no_texts(folder: Path) -> Path:
    labels = [[1], {"a": 2}]
    return hugging_face(folder, json.dumps({"ecg_signals": {"name": "wav2vec2_cmsc", "options": {}, "labels": labels}}))


@mechanism
def a_number_of_labels_that_is_a_text(folder: Path) -> Path:
    values = {"name": "ecg_transformer_classifier", "options": {"num_labels": "9" * 5000}}
    return hugging_face(folder, json.dumps({"ecg_signals": values}))


@mechanism
def a_pickle_in_a_folder(folder: Path) -> Path:
    hugging_face(folder, options())
    (folder / "model.safetensors").unlink()
    archive(folder / "pytorch_model.bin", call("os.system", EVIL))
    return folder


@mechanism
def a_contract_of_a_huge_window(folder: Path) -> Path:
    config = {"name": "wav2vec2_cmsc", "options": {}, "signal": {"sample_rate": 1e300, "window_samples": 1 << 50}}
    return hugging_face(folder, json.dumps({"ecg_signals": config}))


# Other files of pickles.


@mechanism
def kmeans_that_runs_something(folder: Path) -> Path:
    (folder / "kmeans.pkl").write_bytes(b"\x80\x02" + call("os.system", EVIL) + b".")
    return folder / "kmeans.pkl"


def joblib_array(shape: bytes, kind: str = "f4") -> bytes:
    state = table(shape=shape, order=text("C"), dtype=call("numpy.dtype", text(kind)), allow_mmap=b"\x88")
    return (
        b"\x80\x02}"
        + text("cluster_centers_")
        + named("joblib.numpy_pickle.NumpyArrayWrapper")
        + b")\x81"
        + state
        + b"b"
    )


@mechanism
def kmeans_of_a_stated_shape(folder: Path) -> Path:
    (folder / "kmeans.pkl").write_bytes(joblib_array(b"(" + number(1 << 20) + number(1 << 20) + b"t") + b"abcds.")
    return folder / "kmeans.pkl"


@mechanism
def kmeans_of_objects(folder: Path) -> Path:
    (folder / "kmeans.pkl").write_bytes(joblib_array(b"(K\x01K\x01t", "O8") + b"abcdefghs.")
    return folder / "kmeans.pkl"


@mechanism
def kmeans_in_a_deflated_archive(folder: Path) -> Path:
    import numpy as np

    header = {"descr": "<f4", "fortran_order": False, "shape": (1 << 16, 1 << 10)}
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, header)
    with zipfile.ZipFile(folder / "kmeans.npz", "w", **FAST) as file:
        file.writestr("centers.npy", content.getvalue() + bytes(1 << 28))
    return folder / "kmeans.npz"


@mechanism
def kmeans_that_is_a_pipe(folder: Path) -> Path:
    os.mkfifo(folder / "kmeans.npz")
    return folder / "kmeans.npz"


def side_file(folder: Path, header: bytes) -> Path:
    (folder / "array.npy").write_bytes(bytes(64))
    (folder / "array_header.pkl").write_bytes(header)
    return folder / "array.npy"


@mechanism
def header_of_pointers(folder: Path) -> Path:
    return side_file(folder, b"\x80\x02" + table(shape=b"K\x04\x85", dtype=text("O"), offset=b"K\x00") + b".")


@mechanism
def header_of_a_huge_shape(folder: Path) -> Path:
    shape = b"(" + number(1 << 40) + number(1 << 40) + b"t"
    return side_file(folder, b"\x80\x02" + table(shape=shape, dtype=text("f4"), offset=b"K\x00") + b".")


@mechanism
def header_of_a_negative_offset(folder: Path) -> Path:
    return side_file(folder, b"\x80\x02" + table(shape=b"K\x04\x85", dtype=text("f4"), offset=number(-64)) + b".")


@mechanism
def header_that_runs_something(folder: Path) -> Path:
    return side_file(folder, b"\x80\x02" + call("os.system", EVIL) + b".")


@mechanism
def header_of_a_structured_type(folder: Path) -> Path:
    kind = b"](" + text("a") + text("O") + b"\x86" + b"e"
    return side_file(folder, b"\x80\x02" + table(shape=b"K\x04\x85", dtype=kind, offset=b"K\x00") + b".")


def opener(path: Path) -> Callable[[Path], Any]:
    from ecg_signals import load_model
    from ecg_signals.clustering.kmeans import load_kmeans
    from ecg_signals.evaluation.store import MemmapReader

    if path.name.startswith("kmeans"):
        return load_kmeans
    return MemmapReader.from_header if path.name.startswith("array") else load_model


def shared_state() -> tuple[Any, ...]:
    """What a file could change for the rest of the process."""
    import torch

    from ecg_signals.checkpoint import names, pickles

    functions = (torch._utils._rebuild_tensor_v2, torch._utils._rebuild_tensor, torch._utils._rebuild_parameter)
    classes = (
        collections.Counter,
        collections.OrderedDict,
        names.Inert,
        names.Name,
        names.PendingArray,
        pickles.Machine,
    )
    tables = (names.CALLS, names.VALUES, pickles._OPCODES)
    return (
        [(function.__defaults__, function.__code__, dict(vars(function))) for function in functions],
        [set(vars(cls)) for cls in classes],
        [dict.fromkeys(table) for table in tables],
        set(os.environ),
        os.getcwd(),
    )


def attempt(name: str, folder: Path) -> dict[str, Any]:
    from ecg_signals.config import ConfigError

    folder.mkdir()
    path = MECHANISMS[name](folder)
    before = {str(item) for item in folder.rglob("*")}
    open_it = opener(path)
    with cost() as taken:
        try:
            outcome, message = "opened", type(open_it(path)).__name__
        except ConfigError as error:
            outcome, message = "refused", str(error)
        except BaseException as error:
            outcome, message = "raised", f"{type(error).__name__}: {str(error)[:300]}"
    return {
        "name": name,
        "outcome": outcome,
        "message": message,
        "path": str(path),
        "size": path.stat().st_size if path.is_file() else 0,
        "seconds": taken.seconds,
        "memory": taken.memory,
        "written": sorted({str(item) for item in folder.rglob("*")} - before),
    }


def main(folder: Path, names: list[str]) -> None:
    import torch  # before the limit: its libraries alone map gigabytes

    torch.set_num_threads(1)
    copyreg.add_extension("os", "system", 1)
    os.chdir(folder)
    attempt("a_million_layers", folder / "first")  # imports what loading needs
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + (4 << 30), -1))
    resource.setrlimit(resource.RLIMIT_CPU, (300, 310))
    state = shared_state()
    for number_, name in enumerate(names or MECHANISMS):
        result = attempt(name, folder / f"{number_:03d}")
        result["canary"] = (folder / CANARY).exists() or any((folder / f"{number_:03d}").rglob(CANARY))
        result["changed"] = shared_state() != state
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
