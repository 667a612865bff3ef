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
# # Use a pretrained model on your ECG
#
# From the file that the machine exported, whatever its format, rate and order of leads, to an answer per label and a
# picture. Everything here runs without network on the real ECGs that come with the package, in about a minute.

# %%
import os
import shutil
import sys
from pathlib import Path

import ecg_signals
import ecg_signals.sample
import numpy as np
import pandas as pd
import torch

# %matplotlib inline

work = Path("work/pretrained")
shutil.rmtree(work, ignore_errors=True)  # each run starts anew
work.mkdir(parents=True)
sample = Path(next(iter(ecg_signals.sample.__path__)))
os.environ["SAMPLE"], os.environ["WORK"] = str(sample), str(work)
os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where ecg-train and the others lie
os.environ["TQDM_DISABLE"] = "1"  # no progress bars in a stored notebook

# %% [markdown]
# ## Which weights
#
# Published weights are named by a file or by their place on the Hugging Face hub (`pip install "ecg-signals[hf]"`; they
# are downloaded once and then read from the cache). This is not run here, because it needs the network:
#
# ```python
# model = ecg_signals.load_model("wanglab/ecg-fm/physionet_finetuned.pt")     # ECG-FM, 26 labels of PhysioNet 2021
# model = ecg_signals.load_model("Edoardo-BS/hubert-ecg-base")                # HuBERT-ECG, features without labels
# model = ecg_signals.load_model("/where/I/put/it/physionet_finetuned.pt")    # a file, without network
# ```
#
# As a stand-in, the next cell trains a **toy**: 55 records, five labels (PTB-XL's superclasses), a few seconds. It shows how
# things are called; its answers are worth nothing.

# %% language="bash"
# set -euo pipefail
# ecg-preprocess ptbxl $SAMPLE $WORK/data labels=superdiagnostic keep_org=false --workers 1 | sed -n 3,6p
# ecg-train --config-name scratch/diagnosis hydra.run.dir=$WORK/toy \
#     task.data=$WORK/data/manifest task.label_file=$WORK/data/labels/y.npy \
#     criterion.pos_weight=$(cat $WORK/data/labels/pos_weight.txt) model.num_labels=5 \
#     'model.conv_feature_layers="[(32,8,8)]+[(32,4,4)]*2"' model.encoder_layers=2 model.encoder_embed_dim=64 \
#     model.encoder_ffn_embed_dim=128 model.encoder_attention_heads=4 model.conv_pos=16 model.conv_pos_groups=4 \
#     dataset.batch_size=16 dataset.num_workers=0 dataset.valid_subset=valid \
#     optimization.max_epoch=4 optimization.lr=[5e-4] common.log_format=simple common.log_interval=100 \
#     checkpoint.best_checkpoint_metric=auroc checkpoint.maximize_best_checkpoint_metric=true \
#     | grep -o "epoch.*valid on.*accuracy [0-9.]*"

# %% [markdown]
# ## Load it
#
# `load_model` recognises the layout of the file, rebuilds the architecture, and executes nothing that is in it. What the
# model expects as input travels with it, as `model.signal`.

# %%
model = ecg_signals.load_model(work / "toy" / "checkpoints" / "checkpoint_best.pt")
print(f"{sum(p.numel() for p in model.parameters()):,} parameters, labels {', '.join(model.labels)}")
signal = model.signal
print(f"{signal.sample_rate:g} Hz, windows of {signal.window_samples} samples, leads {' '.join(signal.leads)}")
for step in signal.steps:
    print("  ", step)

# %% [markdown]
# ## Your ECG
#
# Give the file that the machine exported; its content says what it is, whatever its name. Here an SCP-ECG file stands in.
# DICOM, HL7 aECG, the XML of MUSE, CardioSoft and Philips, EDF and tables are read alike.

# %%
file = sample / "recorders" / "ecg.scp"
record = ecg_signals.read_record(file)
print(record.format, record.signal.shape, record.sample_rate, "Hz", record.leads)

# %% [markdown]
# ## Predict
#
# `model.signal.prepare` makes of it what the model was trained on: the order of leads, missing limb leads from two others,
# the rate, the scaling, windows of 5 s. `source` is what the model takes.

# %%
source = model.signal.prepare(record)  # [windows, leads, samples]
with torch.inference_mode():
    output = model(source)
probabilities = model.probabilities(output["logits"])  # [windows, labels]
pd.DataFrame(probabilities.numpy(), columns=model.labels, index=[f"window {i}" for i in range(len(source))]).round(3)

# %% [markdown]
# `Predictor` does the same from the file on, puts the windows together, and tells what was unusual about the record.
# The picture shows the first 10 s as on paper; a thin line spans what the single windows say.

# %%
from ecg_signals.inference.pictures import answered
from ecg_signals.inference.predict import Predictor
from ecg_signals.sheet.layout import layout
from ecg_signals.sheet.picture import figure

predictor = Predictor(work / "toy" / "checkpoints" / "checkpoint_best.pt")
prediction = predictor.predict(file)
figure(answered(record, prediction, "ecg.scp, and what a toy model says"))

# %% [markdown]
# ## Probabilities
#
# These are scores: they order records. What makes probabilities of them, thresholds and what those reach come from records
# of other patients whose truth is known, and are stored with the weights. The validation records of the toy are so few that
# most labels remain "not validated". From the shell, for any number of files; `--format json` or `csv`, `--plot DIR` draws:

# %% language="bash"
# ecg-calibrate $WORK/toy/checkpoints/checkpoint_best.pt --data $WORK/data --out $WORK/calibrated.pt
# HERE=$PWD/$WORK
# cd $SAMPLE/recorders
# ecg-predict ecg.scp ecg.xml --model $HERE/calibrated.pt --plot $HERE/pictures
# ls $HERE/pictures

# %% [markdown]
# ## Features instead of labels
#
# Every model gives `features`, one vector per frame, and `pooled`, one per window: for clustering, search, or a small
# classifier of your own.

# %%
{key: tuple(output[key].shape) for key in ("features", "pooled", "logits")}

# %% [markdown]
# ## When something is not as it should be
#
# A record that cannot be used says why; one that can be used with reservations says so. Here: only 3 s, and without V3.

# %%
original = ecg_signals.read_record(sample / "records500" / "00000" / "00017_hr")
np.save(work / "short.npy", original.signal[:, :1500])
print(predictor.predict(work / "short.npy", sample_rate=500).warnings)

kept = [index for index, lead in enumerate(original.leads) if lead != "V3"]
np.save(work / "no_v3.npy", original.signal[kept])
print(predictor.predict(work / "no_v3.npy", sample_rate=500, leads=[original.leads[index] for index in kept]).error)

print(predictor.predict(work / "nowhere.npy").error)

# %%
without = ecg_signals.read_record(work / "no_v3.npy", sample_rate=500, leads=[original.leads[index] for index in kept])
figure(layout(without, title="no_v3.npy"))

# %% [markdown]
# Next: [fine-tune on your own labels](fine_tune_on_your_labels.ipynb).
