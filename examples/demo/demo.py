"""The main job on the ECGs of this repository, as `make demo` runs it.

Raw PTB-XL records -> segments, manifests and CMSC pairs -> W2V+CMSC+RLM pretraining -> fine-tuning with weighted BCE
-> probabilities and thresholds from the validation patients -> a test on patients never seen -> one HTML page. Every
command is printed before it runs and can be typed as it stands; a second run does only what is missing.
"""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
RUN = Path("runs/demo")  # below ROOT, where every command runs
DATA = RUN / "data"
PRETRAINED = RUN / "pretrain/checkpoints/checkpoint_last.pt"
FINETUNED = RUN / "finetune/checkpoints/checkpoint_best.pt"
CALIBRATED = RUN / "calibrated.pt"
PAGE = RUN / "report.html"
SET = {"OMP_NUM_THREADS": "1"}  # so small a model gains little from a second thread and loses much to a busy machine


@dataclass(frozen=True)
class Step:
    """One command of the demo; done once it has ended well and the file it makes is there."""

    name: str
    says: str
    command: str
    makes: Path


PREPROCESS = f"ecg-preprocess ptbxl examples/sample {DATA} --workers 2"

PRETRAIN = f"""\
ecg-train --config-name w2v_cmsc_rlm_small \\
  task.data={DATA}/manifest/cmsc \\
  dataset.batch_size=14 dataset.num_workers=1 \\
  dataset.valid_subset=valid dataset.disable_validation=false dataset.validate_interval=10 \\
  optimization.max_epoch=60 optimization.lr=[1e-3] optimization.update_freq=[1] \\
  model.encoder_layers=4 model.encoder_embed_dim=128 model.encoder_ffn_embed_dim=512 \\
  model.encoder_attention_heads=4 model.final_dim=64 model.latent_vars=64 \\
  'model.conv_feature_layers="[(64, 2, 2)] * 4"' model.conv_pos=32 \\
  checkpoint.save_interval=10 common.log_format=simple \\
  hydra.run.dir={RUN}/pretrain"""

FINETUNE = f"""\
ecg-train --config-name finetune/diagnosis \\
  task.data={DATA}/manifest \\
  +task.label_file={DATA}/labels/y.npy \\
  +criterion.pos_weight=$(cat {DATA}/labels/pos_weight.txt) \\
  model.model_path={PRETRAINED} \\
  model.num_labels=$(($(wc -l < {DATA}/labels/label_def.csv) - 1)) \\
  dataset.batch_size=28 dataset.num_workers=1 dataset.valid_subset=valid \\
  optimization.max_epoch=20 optimization.lr=[3e-4] \\
  checkpoint.best_checkpoint_metric=auroc checkpoint.maximize_best_checkpoint_metric=true \\
  checkpoint.no_epoch_checkpoints=true common.log_format=simple \\
  hydra.run.dir={RUN}/finetune"""

CALIBRATE = f"ecg-calibrate {FINETUNED} --data {DATA} --subset valid --out {CALIBRATED}"

VALIDATE = f"""\
ecg-validate --config-name finetune/diagnosis \\
  task.data={DATA}/manifest \\
  +task.label_file={DATA}/labels/y.npy \\
  dataset.valid_subset=test dataset.num_workers=1 \\
  common_eval.path={FINETUNED} \\
  common_eval.extract=[output] common_eval.results_path={RUN}/test \\
  common.log_format=simple hydra.run.dir={RUN}/test"""

STEPS = [
    Step("preprocess", "records -> segments, labels, manifests, pairs", PREPROCESS, DATA / "manifest/cmsc/train.tsv"),
    Step("pretrain", "W2V+CMSC+RLM on pairs of adjacent segments", PRETRAIN, PRETRAINED),
    Step("finetune", "71 labels, positives weighted, validated on other patients", FINETUNE, FINETUNED),
    Step("calibrate", "what makes probabilities of its answers, from the validation patients", CALIBRATE, CALIBRATED),
    Step("validate", "the best checkpoint on the test patients", VALIDATE, RUN / "test/outputs_test.npy"),
]


def read_done() -> dict[str, Any]:
    """Step -> the command that did it and its seconds."""
    path = ROOT / RUN / "done.json"
    return json.loads(path.read_text()) if path.exists() else {}


def run_step(step: Step, done: dict[str, Any]) -> None:
    """Print and run one command, unless it was done before."""
    print(f"\n== {step.name}: {step.says}", flush=True)
    if done.get(step.name, {}).get("command") == step.command and (ROOT / step.makes).exists():
        print(f"done before ({done[step.name]['seconds']:.0f} s): {step.makes}", flush=True)
        return
    print(f"$ {step.command}", flush=True)
    if step.name == "validate":
        (ROOT / RUN / "test").mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    code = subprocess.run(["bash", "-c", step.command], cwd=ROOT, env={**os.environ, **SET, "PATH": path}).returncode
    if code:
        sys.exit(f"{step.name} ended with status {code}; `make demo` continues where it stopped")
    done[step.name] = {"command": step.command, "seconds": time.monotonic() - began}
    (ROOT / RUN / "done.json").write_text(json.dumps(done, indent=2))


def main() -> None:
    (ROOT / RUN).mkdir(parents=True, exist_ok=True)
    done = read_done()
    print(*(f"$ export {name}={value}" for name, value in SET.items()), sep="\n")
    for step in STEPS:
        run_step(step, done)
    from summary import summarise

    summarise(ROOT, RUN, done)
    print(f"\ncheckpoint  {CALIBRATED}\nmetrics     {FINETUNED.parent / 'metrics.jsonl'}\npage        {PAGE}")


if __name__ == "__main__":
    main()
