"""Every packaged recipe trains on the repository's sample, shrunk by overrides.

Those that fairseq-signals ships too (test_recipes says which) train from its own files, through --config-dir.
"""

import csv
import json
import math
import runpy
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file
from test_recipes import NAMES, PACKAGED, packaged
from text_material import TOKENS, write_bert, write_questions_of_ecgqa

import ecg_signals
from ecg_signals.checkpoint.convert import convert
from ecg_signals.cli import inference, preprocess, train
from ecg_signals.clustering.rows import RowWriter
from ecg_signals.interop.ecg_jepa.datasets import DATASETS
from ecg_signals.interop.layout import ModelSource, get_layout, inputs_of
from ecg_signals.readers.read import read_record
from ecg_signals.registry import build
from ecg_signals.signal.leads import LEADS

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "examples" / "sample"

QUICK = [
    "optimization.max_update=2", "dataset.batch_size=4", "dataset.num_workers=0", "+dataset.max_valid_steps=2",
    "common.log_interval=1", "hydra/job_logging=none",
]  # fmt: skip
NARROW = [
    "model.encoder_embed_dim=16", "+model.encoder_layers=1", "+model.encoder_ffn_embed_dim=16",
    "+model.encoder_attention_heads=2", "+model.conv_pos=8", "+model.conv_pos_groups=2",
    "+model.conv_feature_layers='[(16, 2, 2)] * 4'",
]  # fmt: skip
NARROW_SIZES = [setting.lstrip("+") for setting in NARROW]
WAV2VEC2 = [*NARROW, "model.final_dim=8", "+model.latent_vars=4", "+model.num_negatives=5"]
HUBERT = [
    "model.hidden_size=16", "model.num_hidden_layers=1", "model.num_attention_heads=2", "model.intermediate_size=16",
    "model.conv_dim=[8,8,8,8,8]", "model.num_conv_pos_embeddings=16", "model.num_conv_pos_embedding_groups=4",
]  # fmt: skip
MAE_SIZES = {
    "seq_len": 300, "embed_dim": 16, "depth": 1, "num_heads": 2, "decoder_embed_dim": 16, "decoder_depth": 1,
    "decoder_num_heads": 1,
}  # fmt: skip
JEPA = [
    "model.dim=16", "model.depth=1", "model.num_heads=2", "model.pred_dim=8", "model.pred_depth=1",
    "model.pred_num_heads=2", "model.patch_size=250", "model.min_block_size=2",
]  # fmt: skip
CPC = ["+model.conv_dim=[16,16,16,16]", "+model.hidden_dim=16", "criterion.negatives_per_frame=8"]
VIEWS = ["+model.encoder.blocks=[1,1]", "+model.encoder.width=8", "model.hidden_dim=8", "model.out_dim=8"]
SWAV = [*VIEWS, "model.prototypes=10", "model.queue_size=4", "model.queue_start=0", "model.freeze_prototypes_updates=1"]
MOCO_V3 = ["+model.encoder.dim=16", "+model.encoder.depth=1", "+model.encoder.num_heads=2", *VIEWS[2:]]
NARROW_BY_MODEL = {
    "simclr": VIEWS, "byol": VIEWS, "moco": VIEWS, "moco_v3": MOCO_V3, "swav": SWAV, "cpc": CPC, "wav2vec2": WAV2VEC2,
    "wav2vec2_cmsc": WAV2VEC2, "ecg_transformer": NARROW,
}  # fmt: skip


@dataclass
class Material:
    """What the files' `???` are filled with."""

    segments: Path  # manifests of ecg-preprocess
    labels: Path
    people: Path  # identification manifests
    questions: Path  # manifests of files that point to records
    pretrained: Path
    probes: Path  # where one is made if it is asked for
    waves: Path  # segments with marked waves: folders `together` and `alone`

    @property
    def probe(self) -> Path:
        """A head on `pretrained`, whose training may go on."""
        found = self.probes / "checkpoints" / "checkpoint_last.pt"
        if not found.exists():
            run(train.main, ["--config-name", "jepa/linear", *self.settings(packaged("jepa/linear")),
                             f"hydra.run.dir={self.probes}"])  # fmt: skip
        return found

    def settings(self, content: dict[str, Any]) -> list[str]:
        """Overrides that make one file run here."""
        task, model = content["task"], content["model"] or {}
        criterion = content.get("criterion", {}).get("_name", "")
        folder = self.segments / "cmsc" if "cmsc" in criterion or criterion == "clocs" else self.segments
        out = [*QUICK, *NARROW_BY_MODEL.get(model.get("_name", ""), [])]
        if task["_name"] == "ecg_segmentation":
            folder = self.waves / ("together" if model.get("in_d") == 12 else "alone") / "manifest"
            out.append("+model.initial_dim=2")
        elif task["_name"] == "ecg_identification":
            folder = self.people
            out.append(f"model.num_labels={people_in(self.people)}")
        elif task.get("path_dataset"):
            folder = self.questions
            out += ["+task.max_sample_size=1000", *(["model.num_labels=3"] if model else [])]
        elif task["_name"] == "ecg_classification":
            labels = self.labels / "single" if criterion == "multi_class" else self.labels
            out += [f"+task.label_file={labels}/y.npy", "model.num_labels=71"]
        if model.get("no_pretrained_weights") and model["_name"].startswith(("classifier", "unet")):
            pass  # its encoder is small enough
        elif "no_pretrained_weights" in model and "resnet" not in model["_name"] and "se_wrn" not in model["_name"]:
            scratch = model["no_pretrained_weights"]
            out += ["+model.encoder_embed_dim=16", *NARROW[1:]] if scratch else [f"+model.model_path={self.pretrained}"]
        elif model.get("model_path") == "???":
            out.append(f"model.model_path={self.probe if model.get('keep_head') else self.pretrained}")
        return [f"task.data={folder}", *out]


def people_in(folder: Path) -> int:
    return 1 + max(int(line.split("\t")[2]) for line in (folder / "train.tsv").read_text().splitlines()[1:])


def run(main: Any, argv: list[str]) -> None:
    """One of our commands in this process."""
    before, sys.argv = sys.argv, ["command", *argv]
    try:
        main()
    finally:
        sys.argv = before


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Material]:
    folder = tmp_path_factory.mktemp("material")
    preprocess.run(["ptbxl", str(SAMPLE), str(folder / "sample"), "keep_org=false", "--workers", "1"])
    segments = folder / "sample" / "manifest"
    write_people(segments, folder / "sample", folder / "people")
    write_questions(folder / "questions")
    write_single(folder / "sample" / "labels")
    pretrain = ["--config-name", "w2v_cmsc_rlm", f"task.data={segments}/cmsc", *QUICK, *WAV2VEC2]
    run(train.main, [*pretrain, f"hydra.run.dir={folder}/pretrain"])
    yield Material(
        segments, folder / "sample" / "labels", folder / "people", folder / "questions",
        folder / "pretrain" / "checkpoints" / "checkpoint_last.pt", folder / "probe", write_waves(folder / "ludb"),
    )  # fmt: skip


def write_waves(folder: Path) -> Path:
    """The sample with marks by rule, in LUDB's layout, preprocessed with leads together and alone."""
    runpy.run_path(str(ROOT / "examples/segmentation/stand_in.py"))["main"](SAMPLE, folder / "raw", 10)
    settings = {"together": [], "alone": ["separate_leads=true", "leads=II"]}
    for name, more in settings.items():
        words = ["segment_seconds=2", "keep_org=false", *more, "--workers", "1"]
        preprocess.run(["ludb", str(folder / "raw"), str(folder / name), *words])
    return folder


def write_people(segments: Path, data: Path, out: Path) -> None:
    """Identification manifests: a person's first segment is the gallery, the second the probe."""
    root, *rows = (segments / "train.tsv").read_text().splitlines()
    with (data / "meta.csv").open(newline="") as file:
        patient = {Path(row["save_file"]).stem: row["patient_id"] for row in csv.DictReader(file)}
    numbers: dict[str, int] = {}
    parts: dict[str, list[str]] = {"train": [], "valid_gallery": [], "valid_probe": []}
    for row in rows:
        stem, _, part = Path(row.split("\t")[0]).stem.rpartition("_")
        line = f"{row}\t{numbers.setdefault(patient[stem], len(numbers))}"
        parts["train"].append(line)
        parts["valid_probe" if int(part) % 2 else "valid_gallery"].append(line)
    out.mkdir()
    for name, lines in parts.items():
        (out / f"{name}.tsv").write_text("\n".join([root, *lines]) + "\n")


def write_single(labels: Path) -> None:
    """The same labels in a folder of their own, of which every record has one."""
    (labels / "single").mkdir()
    table = np.load(labels / "y.npy")
    np.save(labels / "single" / "y.npy", np.eye(table.shape[1])[np.arange(len(table)) % table.shape[1]])
    shutil.copy(labels / "label_def.csv", labels / "single")


def write_questions(out: Path) -> None:
    """Files that point to a record, name the leads to look at and the attributes asked for."""
    from scipy.io import savemat

    out.mkdir()
    records = sorted((SAMPLE / "records500").rglob("*.hea"))[:12]
    for k, record in enumerate(records):
        content = {
            "ecg_path": str(record.with_suffix("")),
            "lead": [[0, 1, 2], [6, 7]][k % 2],
            "target_idx": [0, 2] if k % 2 else [1],
            "label": [k // 2 % 2, 1] if k % 2 else [k // 4 % 2],
            "attribute_id": [k % 3] * (1 + k % 2),
        }
        savemat(out / f"{k}.mat", content)
    for split, first, last in (("train", 0, 8), ("valid", 8, 10), ("test", 10, 12)):
        lines = [f"{k}.mat\t5000" for k in range(first, last)]
        (out / f"{split}.tsv").write_text("\n".join([str(out), *lines]) + "\n")


@pytest.fixture(scope="module")
def published(golden: Path) -> dict[str, Any]:
    return json.loads((golden / "fairseq_signals_trained" / "recipes.json").read_text())


def check_two_updates(run: Path, lowest: float = 0.0) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in (run / "checkpoints/metrics.jsonl").read_text().splitlines()]
    inner = [row for row in rows if row["split"] == "train_inner"]
    assert [row["num_updates"] for row in inner] == [1, 2]
    assert all(math.isfinite(row["loss"]) and row["loss"] > lowest for row in inner)
    return rows


@pytest.mark.parametrize("file", [name for name in sorted(PACKAGED) if not name.endswith("infer")])
def test_a_published_file_trains_two_updates(file: str, published: dict[str, Any], material: Material, tmp_path: Path):
    (tmp_path / "recipe.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(published[file])))
    argv = ["--config-dir", str(tmp_path), "--config-name", "recipe", f"hydra.run.dir={tmp_path}/run"]
    run(train.main, [*argv, *material.settings(published[file])])
    rows = check_two_updates(tmp_path / "run")
    wanted = [name for name in published[file]["dataset"]["valid_subset"].split(",") if name]
    assert {row["split"] for row in rows} - {"train", "train_inner"} == set(wanted)
    model = ecg_signals.load_model(tmp_path / "run/checkpoints/checkpoint_last.pt")
    assert model.cfg._name == published[file]["model"]["_name"]


def test_the_published_inference_file_applies_a_classifier(
    published: dict[str, Any], material: Material, tmp_path: Path
):
    trained = "scratch/ecg_classification/ecg_transformer/multi_label_cls_path_dataset"
    for name, content in (("train", published[trained]), ("infer", published["scratch/ecg_classification/infer"])):
        (tmp_path / f"{name}.yaml").write_text(OmegaConf.to_yaml(OmegaConf.create(content)))
    argv = ["--config-dir", str(tmp_path), "--config-name", "train", f"hydra.run.dir={tmp_path}/run"]
    run(train.main, [*argv, *material.settings(published[trained])])
    (tmp_path / "out").mkdir()
    argv = ["--config-dir", str(tmp_path), "--config-name", "infer", f"hydra.run.dir={tmp_path}/infer"]
    words = [
        f"task.data={material.questions}", f"common_eval.path={tmp_path}/run/checkpoints/checkpoint_last.pt",
        "common_eval.extract=[output]", f"common_eval.results_path={tmp_path}/out", "dataset.num_workers=0",
        "+task.max_sample_size=1000",
    ]  # fmt: skip
    run(inference.main, [*argv, *words])
    assert np.load(tmp_path / "out" / "outputs_test.npy").shape == (2, 3)


OWN = [name for name in NAMES if name not in {*PACKAGED.values(), "config"}]


def mae_settings(content: dict[str, Any], material: Material, pretrained: Path | None = None) -> list[str]:
    """Overrides that make a masked autoencoder's recipe run here, from `pretrained` where it starts from a file."""
    settings = [f"task.data={material.segments}", "dataset.crop_samples=300", *QUICK]
    head = content["model"]["_name"] == "classifier"
    if head:
        settings += [f"+task.label_file={material.labels}/y.npy", "model.num_labels=71"]
    if head and content["model"]["model_path"]:
        return [*settings, f"model.model_path={pretrained}"]
    sizes = [f"+model.{'encoder.' if head else ''}{key}={value}" for key, value in MAE_SIZES.items()]
    return [*settings, *sizes]


@pytest.fixture(scope="module")
def autoencoders(material: Material, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One pretrained file of each kind."""
    folder = tmp_path_factory.mktemp("mae")
    for name in ("st_mem", "mtae", "mlae"):
        settings = mae_settings(packaged(f"mae/{name}"), material)
        run(train.main, ["--config-name", f"mae/{name}", *settings, f"hydra.run.dir={folder}/{name}"])
        check_two_updates(folder / name)
    return {path.name: path / "checkpoints" / "checkpoint_last.pt" for path in folder.iterdir()}


@pytest.mark.parametrize("name", [name for name in OWN if name.startswith("mae/")])
def test_a_recipe_of_masked_autoencoders_trains_two_updates(
    name: str, material: Material, autoencoders: dict[str, Path], tmp_path: Path
):
    content = packaged(name)
    starts = list(autoencoders) if content["model"].get("model_path") else ["st_mem"]
    for start in starts[: 3 if name == "mae/finetune" else 1]:
        settings = mae_settings(content, material, autoencoders[start])
        run(train.main, ["--config-name", name, *settings, f"hydra.run.dir={tmp_path}/{start}"])
        check_two_updates(tmp_path / start)
        model = ecg_signals.load_model(tmp_path / start / "checkpoints/checkpoint_last.pt")
        if content["model"]["_name"] == "classifier":
            assert model.encoder.cfg._name == start and not model.encoder.cfg.decoder
        assert model.signal.window_samples == 300 and model.signal.sample_rate == 250


FOUNDATION = ("ecgfounder/", "ecg_jepa_kim/", "ecg_cpc/", "fmb/")
TEXTS = ("text/", "qa/")
ELSEWHERE = ("hubert/", "jepa/vit_", "mae/", "merl/", *FOUNDATION, *TEXTS)
CPC_SIZES = {"conv_dim": [8] * 4, "hidden_dim": 8, "num_layers": 1}
KIM_SIZES = {"dim": 16, "depth": 1, "num_heads": 2}
TINY_ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {  # of a recipe's folder or file
    "ecgfounder": ("net1d", {"base_dim": 8, "dims": [8, 16], "blocks": [1, 1], "group_width": 4}),
    "ecg_jepa_kim": ("cropa_vit", KIM_SIZES),
    "ecg_cpc": ("fc_lstm", {**CPC_SIZES, "conv_kernel": [3, 1, 1, 1], "conv_stride": [2, 1, 1, 1], "context": "s4",
                            "context_proj": False}),
    "merl": ("merl_resnet", {"width": 4}),
    "ked": ("xresnet1d", {"blocks": [1, 1], "widths": [4, 8], "stem": [4, 4, 8]}),
    "st_mem": ("st_mem", {**MAE_SIZES, "decoder": False}),
    "ecg_fm": ("ecg_transformer", {"encoder_embed_dim": 16, "encoder_layers": 1, "encoder_ffn_embed_dim": 16,
                                   "encoder_attention_heads": 2, "conv_pos": 8, "conv_pos_groups": 2,
                                   "conv_feature_layers": "[(16, 2, 2)] * 4"}),
    "finetune": ("merl_resnet", {"width": 4}),
}  # fmt: skip


def foundation_settings(name: str, content: dict[str, Any], material: Material, folder: Path) -> list[str]:
    """Overrides that make a foundation model's recipe run here, from a tiny file of its family."""
    samples = 300 if content["task"]["sample_rate"] < 500 else 600
    settings = [f"task.data={material.segments}", f"dataset.crop_samples={samples}", *QUICK]
    if content["dataset"].get("window_stride"):
        settings.append(f"dataset.window_stride={samples}")
    if content["model"]["_name"] != "classifier":
        sizes = CPC_SIZES if content["model"]["_name"] == "cpc" else {
            **KIM_SIZES, "pred_dim": 8, "pred_depth": 1, "pred_num_heads": 2}  # fmt: skip
        return [*settings, *(f"++model.{key}={value}" for key, value in sizes.items())]
    family, _, file = name.partition("/")
    kind, options = TINY_ENCODERS[file if family == "fmb" else family]
    model = build("model", kind, **options)
    source = ModelSource(kind, {key: value for key, value in model.cfg.to_dict().items() if key != "_name"},
                         model.state_dict(), where="memory")  # fmt: skip
    get_layout("ecg_signals").save(source, folder / "tiny.pt")
    return [*settings, f"+task.label_file={material.labels}/y.npy", "model.num_labels=71",
            f"model.model_path={folder}/tiny.pt"]  # fmt: skip


@pytest.mark.parametrize("name", [name for name in OWN if name.startswith(FOUNDATION)])
def test_a_recipe_of_foundation_models_trains_two_updates(name: str, material: Material, tmp_path: Path):
    content = packaged(name)
    settings = foundation_settings(name, content, material, tmp_path)
    run(train.main, ["--config-name", name, *settings, f"hydra.run.dir={tmp_path}/run"])
    check_two_updates(tmp_path / "run")
    model = ecg_signals.load_model(tmp_path / "run/checkpoints/checkpoint_last.pt")
    assert model.signal.sample_rate == content["task"]["sample_rate"]
    steps = [step for step in content["dataset"]["steps"] if step["name"] != "window"]
    assert [step for step in model.signal.steps if step["name"] != "window"][-len(steps) :] == steps


def test_recipes_of_foundation_models_make_the_input_that_their_files_state():
    """But for the length of the window, which the comparison's recipe of ST-MEM has by itself."""
    kinds = {"fmb": "fmb", "ecgfounder": "published", "ecg_jepa_kim": "published", "ecg_cpc": "published",
             "merl": "published"}  # fmt: skip
    for name in (name for name in OWN if name.startswith((*FOUNDATION, "merl/")) and name != "fmb/finetune"):
        content, (family, _, file) = packaged(name), name.partition("/")
        kind, options = TINY_ENCODERS[file if family == "fmb" else family]
        options = {**options, "seq_len": 2250} if kind == "st_mem" else options
        contract = inputs_of(kind, build("model", kind, **options).cfg.to_dict())[kinds[family]]
        assert content["task"]["sample_rate"] == contract.sample_rate, name
        assert content["dataset"]["crop_samples"] == contract.window_samples, name
        assert (content["task"].get("leads_to_load") or list(LEADS)) == contract.leads, name
        steps = [step for step in contract.steps if step["name"] != "window"]
        assert [step for step in content["dataset"]["steps"] if step["name"] != "window"] == steps, name


LANGUAGE = [
    "+model.hidden_dim=16", "+model.num_heads=2", "+model.num_top_layer=2", "+model.mim_layer=1",
    "+model.language_layers=1", "+model.language_embed_dim=16", "+model.language_ffn_embed_dim=16",
    "+model.mim_decoder_hidden_dim=8", "+model.mim_decoder_num_layers=1", "+model.mim_decoder_num_heads=2",
]  # fmt: skip
FROM_NOTHING = [f"++{setting}" for setting in NARROW_SIZES]
RECURRENT = ["+model.lstm_input_dim=8", "+model.lstm_embed_dim=8", "+model.configuration=resnet18",
             "+model.final_dim=8"]  # fmt: skip


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_questions_of_ecgqa(tmp_path_factory.mktemp("questions"))


def text_settings(name: str, material: Material, questions: Path, pretrained: dict[str, Path]) -> list[str]:
    """Overrides that make a recipe of ECG and text run here, from `pretrained` where it starts from a file."""
    model = packaged(name)["model"]
    settings = [*QUICK, *TOKENS, f"task.tokenizer={questions.parent / 'vocab.txt'}"]
    if name.startswith("text/"):
        settings += [f"task.data={material.segments}", "optimization.update_freq=[1]"]
        settings += [f"+dataset.text_file={material.segments.parent}/meta.csv", *FROM_NOTHING]
        bert = "load_pretrained_weights" if name == "text/m3ae" else "load_bert_embedding"
        return [*settings, f"model.{bert}=false", *(LANGUAGE if name == "text/m3ae" else [])]
    settings += [f"task.data={questions}", "model.num_labels=3", "optimization.update_freq=[1]"]
    if model.get("model_path") == "???":
        return [*settings, f"model.model_path={pretrained[name.removeprefix('qa/')]}"]
    if model["_name"] == "resnet_lstm_classifier":
        return [*settings, *RECURRENT]
    unread = {"qa/blind": "model.conv_", "qa/deaf": "model.vocab_size"}.get(name, "nothing")
    return [one for one in (*settings, *FROM_NOTHING) if unread not in one]


@pytest.fixture(scope="module")
def read_reports(material: Material, questions: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One model of each kind that was pretrained on reports."""
    folder = tmp_path_factory.mktemp("reports")
    for name in ("m3ae", "medvill"):
        settings = text_settings(f"text/{name}", material, questions, {})
        run(train.main, ["--config-name", f"text/{name}", *settings, f"hydra.run.dir={folder}/{name}"])
        check_two_updates(folder / name)
    return {path.name: path / "checkpoints" / "checkpoint_last.pt" for path in folder.iterdir()}


def test_texts_are_read_by_models_pretrained_on_reports(read_reports: dict[str, Path]):
    assert {name: ecg_signals.load_model(path).cfg._name for name, path in read_reports.items()} == {
        "m3ae": "m3ae", "medvill": "medvill"}  # fmt: skip


def test_merl_trains_beside_a_language_model_that_does_not(material: Material, questions: Path, tmp_path: Path):
    bert = write_bert(tmp_path / "bert")
    settings = [*QUICK, f"task.data={material.segments}", f"task.tokenizer={questions.parent / 'vocab.txt'}",
                f"dataset.text_file={material.segments.parent}/meta.csv", "dataset.crop_samples=600",
                "+model.encoder.width=4", "+model.frames=50", "+model.out_dim=8", "+model.hidden_dim=6",
                "model.language_layers=1", "+model.text_dim=16", "+model.language_ffn_dim=16",
                "+model.language_attention_heads=2", "+model.language_positions=64", "+model.vocab_size=20",
                "+dataset.least_words=1", "task.max_text_size=32", f"model.language_model_path={bert}"]  # fmt: skip
    run(train.main, ["--config-name", "merl/pretrain", *settings, f"hydra.run.dir={tmp_path}/run"])
    check_two_updates(tmp_path / "run")
    model = ecg_signals.load_model(tmp_path / "run/checkpoints/checkpoint_last.pt")
    before = load_file(bert / "model.safetensors")
    assert all(torch.equal(value, before[key]) for key, value in model.lm_model.state_dict().items())
    assert model.signal.leads[4] == "aVF" and model.signal.steps[-1] == {"name": "min_max"}


@pytest.mark.parametrize("name", [name for name in OWN if name.startswith("qa/")])
def test_a_recipe_of_questions_trains_two_updates(
    name: str, material: Material, questions: Path, read_reports: dict[str, Path], tmp_path: Path
):
    settings = text_settings(name, material, questions, read_reports)
    run(train.main, ["--config-name", name, *settings, f"hydra.run.dir={tmp_path}"])
    rows = check_two_updates(tmp_path)
    assert "question_type1_0_em_accuracy" in [row for row in rows if row["split"] == "valid"][-1]
    assert ecg_signals.load_model(tmp_path / "checkpoints/checkpoint_last.pt").labels == ["no", "yes", "static noise"]


@pytest.mark.parametrize("name", [name for name in OWN if not name.startswith(ELSEWHERE)])
def test_a_recipe_of_ours_trains_two_updates(name: str, material: Material, tmp_path: Path):
    run(train.main, ["--config-name", name, *material.settings(packaged(name)), f"hydra.run.dir={tmp_path}"])
    check_two_updates(tmp_path, -4.01 if name == "byol" else 0.0)  # its loss is -4 where all views agree


@dataclass
class Ecgs:
    """What HuBERT-ECG's recipes read: .npy files, and a model that was pretrained on them."""

    folder: Path
    files: list[str]
    pretrained: Path | None = None

    def settings(self, content: dict[str, Any], tables: Path) -> list[str]:
        """Overrides that make one recipe run here; its tables of labels are written to `tables`."""
        data, model = content["dataset"], content["model"]
        labels = 3 if model.get("num_labels") == "???" else model.get("num_labels")
        for split, files in (("train_subset", self.files[:8]), ("valid_subset", self.files[8:])):
            write_table(tables / f"{data.get(split) or split.removesuffix('_subset')}.csv", files, data, labels)
        out = [*QUICK, f"task.data={tables}", f"dataset.ecg_dir={self.folder}", "dataset.validate_interval_updates=2"]
        out += ["checkpoint.save_dir=checkpoints", *([f"model.num_labels={labels}"] if labels else [])]
        if data.get("targets") == "???":
            targets = write_targets(tables / "targets", self.files, model["vocab_sizes"])
            out += [f"dataset.targets={targets}", "model.classifier_proj_size=8"]
        return [*out, *HUBERT, *([f"model.model_path={self.pretrained}"] if model.get("model_path") else [])]


def write_table(path: Path, files: list[str], data: dict[str, Any], labels: int | None) -> None:
    """A table as the recipe describes it: other columns first, then 0 and 1 by label, or class numbers."""
    head = ["filename", *(f"c{number}" for number in range(1, data.get("label_start_index") or 3))]
    names = data.get("label_columns") or [f"label {number}" for number in range(labels or 0)]
    classes = data.get("task_type") == "multi_class"
    with path.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow([*head, *(names[:1] if classes else names)])
        for row, name in enumerate(files):
            values = [row % len(names)] if classes else [(row + column) % 2 for column in range(len(names))]
            table.writerow([name, *[1] * (len(head) - 1), *values])


def write_targets(folder: Path, files: list[str], vocab_sizes: list[int]) -> Path:
    """Random clusters of every frame, for k-means models of these sizes."""
    writer = RowWriter(folder, files, {"what": "targets", "vocab_sizes": vocab_sizes})
    draws = np.random.default_rng(0).integers(0, vocab_sizes, (len(files), 93, len(vocab_sizes)))
    writer.write(slice(0, len(files)), draws.transpose(0, 2, 1).astype(np.int16))
    writer.finish()
    return folder


@pytest.fixture(scope="module")
def ecgs(tmp_path_factory: pytest.TempPathFactory) -> Ecgs:
    """The sample's first twelve records."""
    folder = tmp_path_factory.mktemp("ecgs")
    files = [f"{record.stem}.npy" for record in sorted((SAMPLE / "records500").rglob("*.hea"))[:12]]
    for file, record in zip(files, sorted((SAMPLE / "records500").rglob("*.hea"))):
        signal = read_record(record).signal
        np.save(folder / file, (signal / np.abs(signal).max()).astype(np.float32))
    made = Ecgs(folder, files)
    (folder / "tables").mkdir()
    settings = made.settings(packaged("hubert/pretrain_small"), folder / "tables")
    run(train.main, ["--config-name", "hubert/pretrain_small", *settings, f"hydra.run.dir={folder}/pretrain"])
    return Ecgs(folder, files, folder / "pretrain" / "checkpoints" / "checkpoint_last.pt")


@pytest.mark.parametrize("name", [name for name in OWN if name.startswith("hubert/")])
def test_a_recipe_on_tables_of_labels_trains_two_updates(name: str, ecgs: Ecgs, tmp_path: Path):
    settings = ecgs.settings(packaged(name), tmp_path)
    run(train.main, ["--config-name", name, *settings, f"hydra.run.dir={tmp_path}/run"])
    check_two_updates(tmp_path / "run")


@pytest.fixture(scope="module")
def dumps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One dump of two records for every dataset of JEPA's pretraining."""
    folder = tmp_path_factory.mktemp("dumps")
    for number, (name, dataset) in enumerate(DATASETS.items()):
        draws = np.random.default_rng(number).normal(size=(2, dataset.samples or int(10.5 * dataset.sample_rate), 12))
        np.save(folder / f"{name}.npy", (draws * dataset.std + dataset.mean).astype(np.float16))
    return folder


@pytest.mark.parametrize("name", [name for name in OWN if name.startswith("jepa/vit_")])
def test_a_recipe_on_dumps_trains_two_updates(name: str, dumps: Path, tmp_path: Path):
    mixture = packaged(name)["dataset"].get("mixture") or {}
    data = dumps if len(mixture) > 1 else dumps / f"{next(iter(mixture), 'ptb-xl')}.npy"
    argv = ["--config-name", name, f"task.data={data}", *QUICK, *JEPA, f"hydra.run.dir={tmp_path}"]
    run(train.main, argv)
    check_two_updates(tmp_path)
    model = ecg_signals.load_model(tmp_path / "checkpoints/checkpoint_last.pt")
    convert(tmp_path / "checkpoints/checkpoint_last.pt", tmp_path / "original.pt", "original")
    config = torch.load(tmp_path / "original.pt", weights_only=True)["config"]
    assert (config["steps"], config["dim"], config["final_weight_decay"]) == (2, 16, 0.1)
    assert config["channel_size"] == 5000 and config["datasets"] == (mixture or {"mimic-iv-ecg": 1.0})
    assert model.signal is not None and model.signal.sample_rate == 500
