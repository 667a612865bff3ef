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
# From a record file, in whatever format, rate and order of leads you have it, to probabilities per label and a picture.
# Everything here runs without network on the real ECGs that come with the package, in about a minute.

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
# Here a record of the sample stands in, made as awkward as a real one may be: 360 Hz, leads in another order, aVF missing, in
# a bare `.npy` file that says none of this. (WFDB records, `.mat`, HDF5 and `.csv` files say it themselves.)

# %%
original = ecg_signals.read_record(sample / "records500" / "00000" / "00017_hr")
leads = ["V1", "V2", "V3", "V4", "V5", "V6", "aVL", "aVR", "III", "II", "I"]
times = np.arange(0, original.signal.shape[1] / 500, 1 / 360)
rows = [np.interp(times, np.arange(original.signal.shape[1]) / 500, original.signal[original.leads.index(lead)]) for lead in leads]
np.save(work / "my_ecg.npy", np.array(rows, dtype=np.float32))

record = ecg_signals.read_record(work / "my_ecg.npy", sample_rate=360, leads=leads)
print(record.signal.shape, record.sample_rate, "Hz", record.leads)

# %% [markdown]
# ## Predict
#
# `model.signal.prepare` makes of it what the model was trained on: the order of leads, aVF from two other limb leads, the
# rate, the scaling, windows of 5 s. `source` is what the model takes.

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
prediction = predictor.predict(work / "my_ecg.npy", sample_rate=360, leads=leads)
figure(answered(record, prediction, "my_ecg.npy, and what a toy model says"))

# %% [markdown]
# The same from the shell, for any number of files, as text, as `--json`, and with `--plot DIR` as pictures:

# %% language="bash"
# HERE=$PWD/$WORK
# cd $SAMPLE/records500/00000
# ecg-predict 00028_hr 00039_hr --model $HERE/toy/checkpoints/checkpoint_best.pt --plot $HERE/pictures
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
