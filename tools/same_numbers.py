"""Run the same small jobs with two installations and compare what they compute, to the last bit.

    python tools/same_numbers.py BEFORE/.venv/bin/python AFTER/.venv/bin/python

For changes that are meant to leave the numbers alone. Jobs: preprocessing, packing, pretraining (contrastive, masked,
augmented), training and fine-tuning classifiers, HuBERT-ECG's clustering, pretraining, fine-tuning and testing,
validation, inference, extraction, prediction and conversion, on the repository's sample. Compared: the losses and
statistics of every update, weights, optimizer moments, extracted arrays, probabilities, results by label, what ecg-test
prints and writes, and the files that preprocessing writes.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

# differ from run to run
CLOCK = {
    "ups", "wall", "train_wall", "segments_per_second", "data_wait", "gb_free", "wps", "time", "bsz_per_second",
    "seconds",
}  # fmt: skip
TINY = [
    "model.encoder_layers=2", "model.encoder_embed_dim=32", "model.encoder_ffn_embed_dim=48",
    "model.encoder_attention_heads=4", "model.conv_feature_layers='[(16, 2, 2)] * 4'", "model.conv_pos=16",
    "model.conv_pos_groups=4",
]  # fmt: skip
WAV2VEC2 = [*TINY, "model.final_dim=16", "model.latent_vars=16", "model.num_negatives=10"]
QUICK = [
    "optimization.max_update=3", "optimization.lr=[1e-3]", "dataset.batch_size=6", "dataset.num_workers=0",
    "dataset.max_valid_steps=2", "common.log_interval=1", "common.log_format=none", "optimization.update_freq=[2]",
]  # fmt: skip
HUBERT = [
    "model.hidden_size=24", "model.num_hidden_layers=2", "model.num_attention_heads=2", "model.intermediate_size=32",
    "model.conv_dim=[8,8,8,8,8]", "model.num_conv_pos_embeddings=8", "model.num_conv_pos_embedding_groups=2",
]  # fmt: skip
UNFROZEN = "model.transformer_blocks_to_unfreeze=2"
LABEL_START = 4  # columns before the labels in the tables of `ecg-preprocess hubert`
PRETRAINING = ("w2v_cmsc_rlm", "w2v_cmsc_augs", "w2v_rlm", "cmsc_rlm", "simclr_augs", "3kg")


class Jobs:
    """The jobs of one installation, below `folder`."""

    def __init__(self, python: Path, folder: Path) -> None:
        self.bin, self.folder = python.parent, folder
        folder.mkdir(parents=True)

    def run(self, command: str, *words: Any) -> str:
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONHASHSEED": "0"}
        argv = [str(self.bin / command), *map(str, words)]
        done = subprocess.run(argv, cwd=self.folder, env=env, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{' '.join(argv)} ended with status {done.returncode}:\n{done.stderr[-3000:]}")
        return done.stdout

    def all(self, sample: Path) -> dict[str, str]:
        """A digest per result."""
        found: dict[str, str] = {}
        self.run("ecg-preprocess", "ptbxl", sample, "data", "--workers", 1)
        self.run("ecg-preprocess", "hubert", "ptbxl", sample, "hubert", "--workers", 1)
        for name in ("data", "hubert"):
            found |= {f"file {path}": digest for path, digest in self._files(name).items()}
        self.run("ecg-pack", "data/manifest", "packed")
        for name in PRETRAINING:
            found |= self._train(
                name, "packed/cmsc" if "cmsc" in name else "packed", WAV2VEC2 if "w2v" in name else TINY
            )
        found |= self._classifiers() | self._hubert()
        return found

    def _files(self, name: str) -> dict[str, str]:
        """Text without this folder's own path; journals and logs hold times."""
        here, found = str(self.folder.resolve()).encode(), {}
        for path in sorted((self.folder / name).rglob("*")):
            if path.is_file() and path.suffix not in (".jsonl", ".log"):
                content = path.read_bytes()
                content = content if path.suffix in (".mat", ".npy") else content.replace(here, b"")
                content = content[128:] if path.suffix == ".mat" else content  # its header holds the time of writing
                found[str(path.relative_to(self.folder))] = digest(content)
        return found

    def _train(self, recipe: str, data: str, sizes: list[str], *more: str, run: str | None = None) -> dict[str, str]:
        run = run or f"run_{recipe.replace('/', '_')}"
        words = [f"task.data={self.folder / data}", *QUICK, *sizes, *more, f"hydra.run.dir={self.folder / run}"]
        self.run("ecg-train", "--config-name", recipe, *words)
        checkpoints = self.folder / run / "checkpoints"
        found = {}
        for number, line in enumerate((checkpoints / "metrics.jsonl").read_text().splitlines()):
            row = {key: value for key, value in json.loads(line).items() if key not in CLOCK}
            found[f"{run} row {number}"] = json.dumps(row, sort_keys=True)
        stored = torch.load(checkpoints / "checkpoint_last.pt", weights_only=True)
        for key in ("model", "criterion", "last_optimizer_state"):
            found |= {f"{run} {key}{name}": value for name, value in leaves(stored[key])}
        return found

    def _classifiers(self) -> dict[str, str]:
        labels = [f"task.label_file={self.folder / 'data/labels/y.npy'}", "model.num_labels=71"]
        start = f"model.model_path={self.folder / 'run_w2v_cmsc_rlm/checkpoints/checkpoint_last.pt'}"
        found = self._train("finetune/diagnosis", "packed", [start], *labels)
        found |= self._train("scratch/diagnosis", "data/manifest", TINY, *labels)
        found |= self._train("scratch/se_wrn", "data/manifest", ["task.path_dataset=false"], *labels, run="run_se_wrn")
        model = self.folder / "run_finetune_diagnosis/checkpoints/checkpoint_last.pt"
        (self.folder / "extracted").mkdir()
        words = [f"common_eval.path={model}", f"task.data={self.folder / 'data/manifest'}", labels[0]]
        extract = ["common_eval.extract=[output,encoder_out]", f"common_eval.results_path={self.folder / 'extracted'}"]
        self.run("ecg-validate", "--config-name", "finetune/diagnosis", *words, "dataset.valid_subset=test", *extract)
        for path in sorted((self.folder / "extracted").glob("*.npy")):
            found[f"extracted {path.name}"] = digest(np.load(path).tobytes())
        record = next(iter(sorted((self.folder / "sample").rglob("*.hea"))))
        found["predict"] = self.run("ecg-predict", record, "--model", model, "--json").replace(str(self.folder), "")
        labelled = ["dataset.valid_subset='valid,test'", "common_eval.intervals=20"]
        self.run("ecg-validate", "--config-name", "finetune/diagnosis", *words, *labelled, "hydra.run.dir=validated")
        found |= {f"file {path}": value for path, value in self._files("validated").items() if "hydra" not in path}
        outputs = ["dataset.valid_subset=test", "common_eval.results_path=inferred", "hydra.run.dir=inferring"]
        self.run("ecg-inference", "--config-name", "finetune/diagnosis", *words[:-1], *outputs)
        found |= {f"file {path}": value for path, value in self._files("inferred").items()}
        for layout in ("fairseq", "hf"):
            self.run("ecg-convert", model, f"converted_{layout}", "--to", layout)
        weights = torch.load(self.folder / "converted_fairseq", weights_only=True)["model"]
        return found | {f"converted {name}": value for name, value in leaves(weights)}

    def _hubert(self) -> dict[str, str]:
        tables = sorted(path for path in (self.folder / "hubert").rglob("*.csv") if path.stem in ("train", "valid"))
        arrays = next(iter(sorted((self.folder / "hubert").rglob("*.npy")))).parent
        self.run("ecg-cluster", "dump", *tables, "features", "--ecg-dir", arrays, "--kind", "mfcc")
        self.run("ecg-cluster", "fit", "features", "kmeans", "--clusters", 5)
        self.run("ecg-cluster", "assign", "features", "targets", "--models", "kmeans/kmeans_5.npz")
        found = {
            f"targets {name}": digest((self.folder / name / "values.npy").read_bytes())
            for name in ("features", "targets")
        }
        data = str(tables[0].parent.relative_to(self.folder))
        more = [f"dataset.ecg_dir={arrays}", f"dataset.targets={self.folder / 'targets'}", "lr_scheduler.max_update=8"]
        found |= self._train("hubert/pretrain_small", data, HUBERT, *more, "model.vocab_sizes=[5]")
        encoder = self.folder / "run_hubert_pretrain_small/checkpoints/checkpoint_last.pt"
        words = ["--ecg-dir", arrays, "--kind", "latent", "--checkpoint", encoder, "--layer", 1, "--batch-size", 5]
        self.run("ecg-cluster", "dump", *tables, "latents", *words)
        found["latents"] = digest((self.folder / "latents/values.npy").read_bytes())
        found |= self._tested(data, arrays, encoder)
        start = f"model.model_path={encoder}"
        found |= self._train("hubert/pretrain_small_2", data, HUBERT, start, *more, "model.vocab_sizes=[5]")
        labels = ["dataset.label_columns=[NORM,SR,IMI]", "model.num_labels=3", *more[:1], *more[2:]]
        slow = ["model.layer_wise_lr=true", "model.freezing_steps=1", "model.transformer_blocks_to_unfreeze=1"]
        return found | self._train("hubert/finetune", data, [start], *labels, *slow)

    def _tested(self, data: str, arrays: Path, encoder: Path) -> dict[str, str]:
        """Fine-tuning of HuBERT-ECG, and ecg-test on its table, plain and over crops."""
        table = self.folder / data / "test.csv"
        labels = len(table.read_text().splitlines()[0].split(",")) - LABEL_START
        more = [f"dataset.ecg_dir={arrays}", f"dataset.label_start_index={LABEL_START}", f"model.num_labels={labels}"]
        start = [f"model.model_path={encoder}", UNFROZEN]
        found = self._train("hubert/finetune", data, start, *more, run="run_hubert_tested")
        model = self.folder / "run_hubert_tested/checkpoints/checkpoint_last.pt"
        words = [table, "--model", model, "--ecg-dir", arrays, "--label-start-index", LABEL_START, "--batch-size", 5]
        for name, options in (("plain", []), ("crops", ["--tta", "--tta-aggregation", "max", "--published-zeros"]),
                              ("mean", ["--tta", "--n-augs", 7])):  # fmt: skip
            said = self.run("ecg-test", *words, "--out", f"tested_{name}", "--save-probs", "--intervals", 5, *options)
            found[f"ecg-test {name}"] = said.replace(str(self.folder), "")
            found |= {f"file {path}": value for path, value in self._files(f"tested_{name}").items()}
        return found


def leaves(value: Any, name: str = "") -> list[tuple[str, str]]:
    """Tensors and numbers of nested containers by path, as digests and text."""
    if isinstance(value, torch.Tensor):
        return [(name, digest(value.detach().contiguous().numpy().tobytes()))]
    if isinstance(value, dict):
        return [item for key in value for item in leaves(value[key], f"{name}.{key}")]
    if isinstance(value, (list, tuple)):
        return [item for number, part in enumerate(value) for item in leaves(part, f"{name}.{number}")]
    return [(name, repr(value))]


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path, help="python of an environment with the package as it was")
    parser.add_argument("after", type=Path, help="python of an environment with the package as it is now")
    parser.add_argument("--store", type=Path, help="file that keeps the first one's results, for the next comparison")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="same_numbers_"))
    sample = Path(__file__).parents[1] / "examples" / "sample"
    results = []
    for name, python in (("before", arguments.before), ("after", arguments.after)):
        if name == "before" and arguments.store and arguments.store.is_file():
            results.append(json.loads(arguments.store.read_text()))
            continue
        jobs = Jobs(python.absolute(), work / name)
        (work / name / "sample").symlink_to(sample)
        results.append(jobs.all(sample))
        if name == "before" and arguments.store:
            arguments.store.write_text(json.dumps(results[0], indent=1))
    before, after = results
    different = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    for key in different[:40]:
        print(f"{key}\n  before {str(before.get(key))[:300]}\n  after  {str(after.get(key))[:300]}")
    print(f"{len(before)} results compared, {len(different)} differ")
    sys.exit(bool(different))


if __name__ == "__main__":
    main()
