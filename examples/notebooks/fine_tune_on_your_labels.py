# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Fine-tune on your own labels
#
# A folder of files that recorders exported, a table to type labels into, a trained model. In a clone of the repository this is
# `make prepare-data`, then labels, then `make train`; here are the commands behind it. Everything runs without network on the
# real ECGs that come with the package, in two to three minutes on a CPU.

# %%
import csv
import json
import os
import shutil
import sys
from pathlib import Path

import ecg_signals
import ecg_signals.sample
import matplotlib.pyplot as plt
import pandas as pd

# %matplotlib inline

work = Path("work/own")
data = work / "training_data"
shutil.rmtree(work, ignore_errors=True)  # each run starts anew
raw = data / "raw"
raw.mkdir(parents=True)
sample = Path(next(iter(ecg_signals.sample.__path__)))
os.environ["SAMPLE"], os.environ["WORK"] = str(sample), str(work)
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where ecg-train and the others lie
os.environ["TQDM_DISABLE"] = "1"  # no progress bars in a stored notebook

# %% [markdown]
# ## 1. Your files
#
# Copy into `training_data/raw` what the machine exported, whatever its format, name, rate and order of leads: SCP-ECG,
# DICOM, HL7 aECG, the XML of MUSE, CardioSoft and Philips, ISHNE, EDF, WFDB, `.npy`, tables. Here 91 WFDB records of PTB-XL
# and one SCP-ECG file stand in. It is looked at first:

# %%
from ecg_signals.sheet.layout import layout
from ecg_signals.sheet.picture import figure

with open(sample / "ptbxl_database.csv") as file:
    rows = list(csv.DictReader(file))
for row in rows:
    row["file"] = f"{Path(row['filename_hr']).name}.hea"
    for path in (sample / row["filename_hr"]).parent.glob(f"{Path(row['filename_hr']).name}.*"):
        shutil.copy(path, raw)
exported = shutil.copy(sample / "recorders" / "ecg.scp", raw)  # record 17, as a recorder would store it
for path in raw.glob("00017_hr.*"):
    path.unlink()
next(row for row in rows if row["ecg_id"] == "17")["file"] = "ecg.scp"
record = ecg_signals.read_record(exported)
print(record.format, record.signal.shape, record.sample_rate, "Hz", record.leads)
figure(layout(record, title="ecg.scp"))

# %% [markdown]
# A CSV beside the files is optional; this one says who the patients are, so that nobody is in both splits, and keeps one of
# them for validation. It could hold the labels as well, then there is nothing to type.

# %%
about = pd.DataFrame({"filename": [row["file"] for row in rows]})
about = about.assign(patient_id=[int(float(row["patient_id"])) for row in rows])
whose = about.loc[about["filename"] == "ecg.scp", "patient_id"].item()
about["split"] = about["patient_id"].map({whose: "valid"})
about.to_csv(raw / "about.csv", index=False)
about.head(3)

# %% [markdown]
# ## 2. Prepare
#
# Every record is filtered, resampled to 500 Hz and scaled as HuBERT-ECG expects it. A second run does only what is new.

# %% language="bash"
# ecg-preprocess prepare $WORK/training_data labels=wide_qrs,irregular,normal --workers 1   # make prepare-data

# %% [markdown]
# ## 3. Labels
#
# Open `metadata/train_dataset.csv` and `metadata/val_dataset.csv` in any spreadsheet and type 1 or 0; nothing means
# unknown. Training refuses to start before that:

# %% language="bash"
# ecg-preprocess settings $WORK/training_data --run $WORK/training_data/checkpoints/mine || true

# %% [markdown]
# Here the labels come from what the cardiologists of PTB-XL wrote.

# %%
codes = {f"{row['file']}.npy": row["scp_codes"] for row in rows}
meaning = {
    "wide_qrs": ["'CLBBB'", "'ILBBB'", "'CRBBB'", "'IVCD'", "'PACE'"],
    "irregular": ["'AFIB'", "'AFLT'", "'SARRH'"],
    "normal": ["'NORM'"],
}
for split in ("train", "val"):
    path = data / "metadata" / f"{split}_dataset.csv"
    table = pd.read_csv(path)
    for label, names in meaning.items():
        table[label] = [int(any(name in codes[file] for name in names)) for file in table["filename"]]
    table.to_csv(path, index=False)
table.head(4)

# %% [markdown]
# ## 4. A pretrained model
#
# Published weights go by name (`pip install "ecg-signals[hf]"`, network needed, so not run here):
#
# ```bash
# MODEL=Edoardo-BS/hubert-ecg-small     # or -base, -large, or a .pt file, or a folder
# ```
#
# As a stand-in, a **toy** is pretrained on the records themselves, without their labels: each frame is described by its
# spectrum, the descriptions are clustered, and a tiny HuBERT-ECG learns to name the cluster of masked frames.

# %% language="bash"
# set -euo pipefail
# cd $WORK
# TABLES=$PWD/training_data/metadata
# ecg-cluster dump $TABLES/train_dataset.csv $TABLES/val_dataset.csv features --ecg-dir training_data/processed --kind mfcc > log
# ecg-cluster fit features kmeans --clusters 20 >> log
# ecg-cluster assign features targets --models kmeans/kmeans_20.npz >> log
# ecg-train --config-name hubert/pretrain_small hydra.run.dir=pretrained checkpoint.save_dir=. \
#     task.data=$TABLES dataset.train_subset=train_dataset dataset.valid_subset=val_dataset \
#     dataset.ecg_dir=$PWD/training_data/processed dataset.targets=$PWD/targets model.vocab_sizes=[20] \
#     dataset.batch_size=15 dataset.num_workers=0 optimization.max_update=30 optimization.lr=[1e-3] optimization.update_freq=[1] \
#     model.hidden_size=64 model.num_hidden_layers=2 model.num_attention_heads=4 model.intermediate_size=128 \
#     model.conv_dim=[32,32,32,32,32] model.num_conv_pos_embeddings=32 model.classifier_proj_size=32 >> log
# ls pretrained/*.pt

# %% [markdown]
# ## 5. Train
#
# `settings` checks the tables and prints what `ecg-train` has to know: how many labels, where they start, how the
# model's training data were decimated. `make train MODEL=...` is these two lines.

# %% language="bash"
# set -euo pipefail
# cd $WORK
# MODEL=pretrained/checkpoint_last.pt
# SETTINGS=$(ecg-preprocess settings training_data --run training_data/checkpoints/mine --model $MODEL)
# echo $SETTINGS
# ecg-train --config-name hubert/finetune_own hydra.run.dir=training_data/checkpoints/mine \
#     task.data=training_data/metadata dataset.ecg_dir=training_data/processed model.model_path=$MODEL $SETTINGS \
#     optimization.max_epoch=20 optimization.lr=[2e-3] model.unfreeze_conv_embedder=true common.log_format=simple \
#     | sed -nE "s/.*(epoch [0-9]+) .*valid on.* (loss [0-9.]+) .* (auroc [0-9.]+) .*/\1  \2  \3/p"

# %% [markdown]
# The last two settings are for a toy; published weights are fine-tuned without them.
#
# ## 6. How it went
#
# `metrics.jsonl` beside the checkpoints holds every number in full precision.

# %%
run = data / "checkpoints" / "mine"
lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
trained = [line for line in lines if line["split"] == "train"]
checked = [line for line in lines if line["split"] == "val_dataset"]

_, (left, right) = plt.subplots(1, 2, figsize=(10, 3.2), layout="constrained")
left.plot([line["epoch"] for line in trained], [line["loss"] for line in trained], color="#2b6cb0", label="train")
left.plot([line["epoch"] for line in checked], [line["loss"] for line in checked], color="#c05621", label="validation")
left.set(title="loss", xlabel="epoch")
left.legend(frameon=False)
right.plot([line["epoch"] for line in checked], [line["auroc"] for line in checked], color="#c05621")
right.axhline(0.5, color="#909090", linewidth=0.8, linestyle="--")
right.set(title="macro AUROC, validation", xlabel="epoch", ylim=(0, 1))
for axes in (left, right):
    axes.spines[["top", "right"]].set_visible(False)
    axes.xaxis.get_major_locator().set_params(integer=True)
plt.show()

# %% [markdown]
# Seventy-two records teach little, and twenty measure little: this shows the way, not a result.
#
# ## 7. Predict
#
# The checkpoint knows its label names and how a raw record becomes its input, so the file that the machine exported is all
# it takes.

# %%
from ecg_signals.inference.pictures import answered
from ecg_signals.inference.predict import Predictor

predictor = Predictor(run / "checkpoint_best.pt")
row = table.set_index("filename").loc["ecg.scp.npy"]  # of the validation table
typed = ", ".join(label for label in meaning if row[label] == 1) or "none of the three"
prediction = predictor.predict(exported)
figure(answered(record, prediction, f"ecg.scp, labelled {typed}"))

# %% [markdown]
# From the shell: `ecg-predict training_data/raw/ecg.scp --model .../checkpoint_best.pt --format json`.
