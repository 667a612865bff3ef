"""What tools/fuzz.py damages: a target per kind of file that the package reads, made small from the sample's ECGs."""

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import vendor_files
from fuzz import Target

RECORDS = 4
SAMPLES = 400


def load_everything() -> None:
    """What the targets need, imported once before processes are forked."""
    for name in (
        "scipy.signal", "pandas", "h5py", "pyarrow", "torch", "wfdb", "yaml", "hydra", "sklearn.cluster",
        "ecg_signals.checkpoint.load", "ecg_signals.clustering.stages", "ecg_signals.data.pack",
        "ecg_signals.readers.read", "ecg_signals.preprocess.pipeline", "ecg_signals.trainer", "ecg_signals.composition",
        "ecg_signals.inference.predict", "pydicom.filereader", "defusedxml.ElementTree",
    ):  # fmt: skip
        importlib.import_module(name)


def sample_folder() -> Path:
    import ecg_signals.sample

    return Path(next(iter(ecg_signals.sample.__path__)))


def signals() -> Any:
    """[records, 12, samples] float32, mV."""
    from ecg_signals.readers.read import read_record

    headers = sorted(sample_folder().rglob("*.hea"))[:RECORDS]
    return np.stack([read_record(path).signal[:, :SAMPLES] for path in headers])


def command(module: str, words: str) -> None:
    """A command of ours, in this process; its words have no blanks."""
    sys.argv = [module, *words.split()]
    importlib.import_module(f"ecg_signals.cli.{module}").main()


# Records ------------------------------------------------------------------------------------------------------------


def make_wfdb(formats: str) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        import wfdb

        wfdb.wrsamp(
            "r", fs=500, units=["mV"] * 12, fmt=[formats] * 12, p_signal=signals()[0].T.astype(float),
            sig_name=["I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6"], write_dir=str(folder),
            adc_gain=[1000.0 if formats != "212" else 300.0] * 12, baseline=[0] * 12, comments=["Age: 50", "Sex: Male"],
        )  # fmt: skip

    return make


def make_segments(folder: Path) -> None:
    """A WFDB record of two segments and a gap."""
    make_wfdb("16")(folder)
    for number in (1, 2):
        text = (folder / "r.hea").read_text().replace("r.dat", f"s{number}.dat").replace("r 12", f"s{number} 12", 1)
        (folder / f"s{number}.hea").write_text(text)
        shutil.copy(folder / "r.dat", folder / f"s{number}.dat")
    layout = "".join(line.replace("r.dat", "~") + "\n" for line in (folder / "r.hea").read_text().splitlines()[1:13])
    (folder / "lay.hea").write_text(f"lay 12 500 0\n{layout}")
    (folder / "r.dat").unlink()
    total = 2 * SAMPLES + 100
    (folder / "r.hea").write_text(f"r/4 12 500 {total}\nlay 0\ns1 {SAMPLES}\n~ 100\ns2 {SAMPLES}\n")


def make_challenge(folder: Path) -> None:
    """A record of the PhysioNet Challenges: a header and a MATLAB 4 file of int16."""
    counts = np.rint(signals()[0] * 1000).astype(np.int16)
    scipy.io.savemat(folder / "r.mat", {"val": counts}, format="4")
    rows = "".join(f"r.mat 16+24 1000/mV 16 0 {row[0]} 0 0 V{n}\n" for n, row in enumerate(counts))
    (folder / "r.hea").write_text(f"r 12 500 {SAMPLES}\n{rows}#Age: 50\n")


def make_mat(folder: Path) -> None:
    scipy.io.savemat(folder / "r.mat", {"feats": signals()[0], "curr_sample_rate": 500, "idx": 3, "patient_id": 7})


def make_npy(folder: Path) -> None:
    np.save(folder / "r.npy", signals()[0])


def make_table(folder: Path) -> None:
    head = "I,II,III,aVR,aVL,aVF,V1,V2,V3,V4,V5,V6"
    np.savetxt(folder / "r.csv", signals()[0].T[:50], "%.4f", ",", header=f"# sample_rate: 500\n{head}", comments="")


def make_hdf5(folder: Path) -> None:
    """A part of CODE-15, and a record of SPH."""
    import h5py

    with h5py.File(folder / "r.hdf5", "w") as file:
        file["exam_id"] = [10, 11, 12, 0]
        file.create_dataset("tracings", data=signals().transpose(0, 2, 1), chunks=True, compression="gzip")
    with h5py.File(folder / "r.h5", "w") as file:
        file["ecg"] = signals()[0]


def make_vendor(name: str) -> Callable[[Path], None]:
    """A recorder's file with twelve leads, called r whatever it is."""

    def make(folder: Path) -> None:
        vendor_files.WRITERS[name][1](folder / "r", np.round(signals()[0] * 200) / 200)

    return make


def make_philips(folder: Path) -> None:
    """A compressed one."""
    signal = np.round(signals()[0] * 200) / 200
    (folder / "r").write_text(vendor_files.philips(signal, data=vendor_files.xli(vendor_files.counts(signal))))


def make_discontinuous(folder: Path) -> None:
    rows = [(f"ECG {lead}", "mV", row) for lead, row in zip(vendor_files.LEADS, signals()[0])]
    content = vendor_files.edf_bytes(rows, per_record=[100] * 12, seconds=0.2, kind="EDF+D", starts=[0, 0.2, 1, 1.2])
    (folder / "r").write_bytes(content)


def make_own_tables(folder: Path) -> None:
    own = {"section": vendor_files.own_section(), "pack": vendor_files.own_huffman}
    (folder / "r").write_bytes(vendor_files.scp_bytes(signals()[0], **own))


def make_bdf(folder: Path) -> None:
    rows = [(f"ECG {lead}", "mV", row) for lead, row in zip(vendor_files.LEADS, signals()[0])]
    content = vendor_files.edf_bytes(rows, per_record=[100] * 12, seconds=0.2, kind="BDF+C", wide=True)
    (folder / "r").write_bytes(content)


def make_layouts(folder: Path) -> None:
    """A table with a lead in every row, and one with key lines before its column."""
    rows = "".join(f"{lead},{','.join(f'{value:.3f}' for value in row[:50])}\n"
                   for lead, row in zip(vendor_files.LEADS, signals()[0]))  # fmt: skip
    (folder / "rows.csv").write_text(rows)
    values = "\n".join(f"{value * 1000:.0f}" for value in signals()[0][0])
    (folder / "keys.csv").write_text(f"Sample Rate,500 Hz\nLead,Lead I\nUnit,uV\n\n{values}\n", encoding="utf-16")


def read_layouts(folder: Path) -> Any:
    return [*read_one("rows.csv", sample_rate=500)(folder), *read_one("keys.csv")(folder)]


def read_one(name: str, **options: Any) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from ecg_signals import read_record

        return list(read_record(folder / name, **options).signal.shape)

    return read


# Data ---------------------------------------------------------------------------------------------------------------


def make_segmented(folder: Path) -> None:
    """Segment files, a manifest of them and one of pairs, labels."""
    (folder / "cmsc").mkdir()
    for number, signal in enumerate(signals()):
        for part in (0, 1):
            content = {"feats": signal[:, :200], "curr_sample_rate": 500, "idx": number, "patient_id": number}
            scipy.io.savemat(folder / f"r{number}_{part}.mat", content)
    rows = [f"r{number}_{part}.mat\t200\n" for number in range(RECORDS) for part in (0, 1)]
    (folder / "train.tsv").write_text(f".\n{''.join(rows)}")
    pairs = "".join(f"r{number}\t200\t0\t0,1\n" for number in range(RECORDS))
    (folder / "cmsc" / "train.tsv").write_text(f"..\nmat\n{pairs}")
    np.save(folder / "y.npy", np.eye(RECORDS, 3))
    (folder / "label_def.csv").write_text("name,positives\nAF,1\nMI,1\nLBBB,1\n")


def read_batches(name: str, manifest: str, **options: Any) -> Callable[[Path], Any]:
    """The dataset's items, as shapes. The manifest's root is the folder it lies in."""

    def read(folder: Path) -> Any:
        import os

        from ecg_signals.registry import get_entry

        os.chdir((folder / manifest).parent)
        entry = get_entry("dataset", name)
        given = {key: str(folder / value) for key, value in options.items()}
        cfg = entry.dataclass.from_mapping({"_name": name, **given}, where="dataset")
        dataset = entry.cls(cfg, folder / manifest)
        items = [dataset[index] for index in range(len(dataset))]
        dataset.collate(items)
        return None

    return read


read_labelled = read_batches("ecg_file", "train.tsv", label_file="y.npy")


def make_store(folder: Path) -> None:
    from ecg_signals.data.pack import pack_manifests

    source = folder / "source"
    source.mkdir()
    make_segmented(source)
    (source / "manifest").mkdir()
    text = (source / "train.tsv").read_text().replace(".\n", f"{source}\n", 1)
    (source / "manifest" / "train.tsv").write_text(text)
    pack_manifests(source / "manifest", folder / "packed")
    shutil.rmtree(source)
    manifest = folder / "packed" / "train.tsv"
    manifest.write_text(".\n" + manifest.read_text().split("\n", 1)[1])


def read_store(folder: Path) -> Any:
    from ecg_signals.data.manifest import Manifest
    from ecg_signals.data.sources.files import FileSource

    manifest = Manifest(folder / "packed" / "train.tsv")
    reader = FileSource(folder / "packed")
    found = [reader.read(manifest.addresses(row)[0]) for row in range(len(manifest))]
    return sorted({tuple(file.signal.shape) for file in found})


def make_hubert(folder: Path) -> None:
    for number, signal in enumerate(signals()):
        np.save(folder / f"e{number}.npy", np.tile(signal, 7)[:, :2500])
    rows = "".join(f"e{number}.npy,{number % 2},{number % 3 == 0:d}\n" for number in range(RECORDS))
    (folder / "t.csv").write_text(f"filename,AF,MI\n{rows}")


def make_features(folder: Path) -> None:
    """Features of frames, k-means models, and targets."""
    make_hubert(folder)
    command("cluster", f"dump {folder}/t.csv {folder}/f --ecg-dir {folder}")
    command("cluster", f"fit {folder}/f {folder}/k --clusters 3")
    for path in folder.glob("*.npy"):
        path.unlink()


def read_features(folder: Path) -> Any:
    from ecg_signals.clustering.kmeans import load_kmeans
    from ecg_signals.clustering.stages import assign, open_features

    features = open_features(folder / "f")
    model = load_kmeans(folder / "k" / "kmeans_3.npz")
    found = assign(features, folder / "targets", [str(folder / "k" / "kmeans_3.npz")])
    return [list(features.values.shape), list(model.centers.shape), list(found.values.shape)]


def make_metrics(folder: Path) -> None:
    rows = [{"split": "train_inner", "num_updates": update, "loss": 1.0 / update} for update in range(1, 9)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def read_metrics(folder: Path) -> Any:
    from ecg_signals.composition import resolve_config
    from ecg_signals.reporting import Reporter

    reporter = Reporter(resolve_config({"task": {"_name": "ecg_pretraining", "data": "."}}), folder, True)
    reporter.rewind(5)
    reporter.close()


# Preprocessing ------------------------------------------------------------------------------------------------------


def make_ptbxl(folder: Path) -> None:
    """A PTB-XL of a few records, and what preprocessing it left behind."""
    source = folder / "source"
    shutil.copytree(sample_folder(), source, ignore=shutil.ignore_patterns("*.py", "README*", "__pycache__"))
    lines = (source / "ptbxl_database.csv").read_text().splitlines(keepends=True)
    (source / "ptbxl_database.csv").write_text("".join(lines[: RECORDS + 1]))
    kept = {Path(cell.strip()).name for line in lines[1 : RECORDS + 1] for cell in line.split(",")}
    for path in [*source.rglob("*.hea"), *source.rglob("*.dat")]:
        if path.stem not in kept:
            path.unlink()
    read_ptbxl(folder)


def read_ptbxl(folder: Path) -> None:
    command("preprocess", f"ptbxl {folder}/source {folder}/dest --workers 1")


def read_steps(folder: Path) -> None:
    dest = folder / "dest"
    grouped = "--strategy grouped --group_col patient_id --fractions 0.5,0.5 --split_labels a,b"
    command("preprocess", f"split --processed_root {dest} {grouped} --save_files_suffix _again")
    splits = f"--meta_splits {dest}/meta_split.csv --segmented_splits {dest}/segmented_split.csv"
    command("preprocess", f"labels --output_dir {folder}/l --labels {dest}/labels/labels.csv {splits}")
    command("preprocess", f"manifest --split_file_paths {dest}/segmented_split.csv --save_dir {folder}/m")
    command("preprocess", f"pairs {dest}/manifest --dest {folder}/p")


def make_own(folder: Path) -> None:
    """A user's folder of arrays with a table about them."""
    for number, signal in enumerate(signals()):
        np.save(folder / f"r{number}.npy", np.tile(signal, 7)[:, :2600])
    rows = "".join(f"r{number}.npy,p{number},{50 + number},{number % 2},0\n" for number in range(RECORDS))
    (folder / "table.csv").write_text(f"path,patient_id,age,AF,MI\n{rows}")


def read_own(folder: Path) -> None:
    command("preprocess", f"npy {folder} {folder}/dest --workers 1 source_rate=500")


# Recipes, checkpoints -----------------------------------------------------------------------------------------------

SECTIONS = ("task.", "dataset.", "model.", "optimization.", "criterion.", "optimizer.", "lr_scheduler.", "common.")
RECIPE = """# @package _global_
defaults:
  - w2v_cmsc_rlm
  - _self_
task:
  data: manifests
  perturbation_mode: [random_leads_masking]
  p: [1.0]
optimization:
  max_update: 10
  lr: [5e-5]
model:
  conv_feature_layers: "[(256, 2, 2)] * 4"
  dropout: 0.1
"""


def make_recipe(folder: Path) -> None:
    (folder / "mine.yaml").write_text(RECIPE)


def read_recipe(folder: Path) -> None:
    command("train", f"--config-dir {folder} --config-name mine --cfg job")


TINY = {
    "encoder_layers": 1, "encoder_embed_dim": 16, "encoder_ffn_embed_dim": 16, "encoder_attention_heads": 2,
    "conv_feature_layers": "[(8, 4, 4)] * 4", "conv_pos": 16, "conv_pos_groups": 4, "num_labels": 3,
}  # fmt: skip


def make_checkpoint(folder: Path) -> None:
    """A classifier in fairseq's layout and as a Hugging Face folder."""
    import torch

    from ecg_signals.registry import build

    model = build("model", "ecg_transformer_classifier", no_pretrained_weights=True, **TINY)
    cfg = {"model": {"_name": "ecg_transformer_classifier", "no_pretrained_weights": True, **TINY}}
    cfg = {**cfg, "task": {"_name": "ecg_classification"}, "criterion": {"_name": "binary_cross_entropy_with_logits"}}
    content = {"cfg": cfg, "model": model.state_dict(), "extra_state": {}, "optimizer_history": []}
    torch.save(content, folder / "c.pt")
    command("convert", f"{folder}/c.pt {folder}/hf --to hf")


def read_model(name: str) -> Callable[[Path], Any]:
    def read(folder: Path) -> Any:
        from ecg_signals import load_model

        return [list(weight.shape) for weight in load_model(folder / name).parameters()]

    return read


TARGETS = {
    "wfdb": Target(make_wfdb("16"), read_one("r.hea"), ("r.hea", "r.hea", "r.dat"), stated=True),
    "wfdb_212": Target(make_wfdb("212"), read_one("r.hea"), ("r.hea", "r.dat"), stated=True),
    "wfdb_24": Target(make_wfdb("24"), read_one("r.hea"), ("r.hea", "r.dat"), stated=True),
    "wfdb_segments": Target(make_segments, read_one("r.hea"), ("*.hea", "*.dat"), stated=True),
    "challenge": Target(make_challenge, read_one("r.hea"), ("r.hea", "r.mat"), stated=True),
    "mat": Target(make_mat, read_one("r.mat"), ("r.mat",), stated=True),
    "npy": Target(make_npy, read_one("r.npy", sample_rate=500), ("r.npy",), stated=True),
    "table": Target(make_table, read_one("r.csv"), ("r.csv",)),
    "layouts": Target(make_layouts, read_layouts, ("rows.csv", "keys.csv")),
    **{name: Target(make_vendor(name), read_one("r"), ("r",)) for name in vendor_files.WRITERS},
    "xli": Target(make_philips, read_one("r"), ("r",)),
    "edf_gaps": Target(make_discontinuous, read_one("r"), ("r",)),
    "scp_own": Target(make_own_tables, read_one("r"), ("r",)),
    "bdf": Target(make_bdf, read_one("r"), ("r",)),
    "code15": Target(make_hdf5, read_one("r.hdf5", id=11), ("r.hdf5",), stated=True),
    "sph": Target(make_hdf5, read_one("r.h5"), ("r.h5",), stated=True),
    "segments": Target(make_segmented, read_labelled, ("*.tsv", "r0_0.mat")),
    "pairs": Target(make_segmented, read_batches("cmsc", "cmsc/train.tsv"), ("cmsc/*.tsv", "r1_0.mat")),
    "labels": Target(make_segmented, read_labelled, ("y.npy", "label_def.csv")),
    "store": Target(make_store, read_store, ("packed/*",), stated=True),
    "hubert": Target(make_hubert, read_batches("hubert_csv", "t.csv"), ("t.csv", "e1.npy")),
    "features": Target(make_features, read_features, ("f/*", "k/*"), stated=True),
    "metrics": Target(make_metrics, read_metrics, ("metrics.jsonl",)),
    "ptbxl": Target(make_ptbxl, read_ptbxl, ("source/*.csv", "dest/progress.jsonl", "dest/*.csv")),
    "steps": Target(make_ptbxl, read_steps, ("dest/*.csv", "dest/labels/labels.csv", "dest/manifest/train.tsv")),
    "own": Target(make_own, read_own, ("table.csv", "r1.npy")),
    "recipe": Target(make_recipe, read_recipe, ("mine.yaml",), places=SECTIONS),
    "checkpoint": Target(make_checkpoint, read_model("c.pt"), ("c.pt",), stated=True),
    "hugging_face": Target(make_checkpoint, read_model("hf"), ("hf/*",), stated=True),
}
