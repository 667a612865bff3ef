"""A small PTB-XL as ecg-preprocess leaves it: invented signals, labels that one sees in them."""

from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import savemat

from ecg_signals.signal.leads import LEADS

CODES = ("{'NORM': 100.0, 'SR': 0.0}", "{'IMI': 80.0, 'AFIB': 0.0}", "{'LVH': 0.0, 'NORM': 50.0, 'SR': 0.0}")
RECORDS, RATE = 36, 100


def write_data(folder: Path, leads: tuple[str, ...] = tuple(LEADS), **columns: list) -> Path:
    """`columns` replace those of meta.csv; None leaves one out."""
    rng = np.random.default_rng(0)
    (folder / "org").mkdir(parents=True)
    time = np.arange(4 * RATE) / RATE
    names = [f"ptbxl_{idx:05d}.mat" for idx in range(RECORDS)]
    for idx, name in enumerate(names):
        beats = np.exp(-(((time % (0.6 + 0.2 * (idx % 3))) - 0.3) ** 2) / 0.0008)
        signal = beats * np.linspace(0.5, 1.5, len(leads))[:, None] + 0.05 * rng.standard_normal(
            (len(leads), len(time))
        )
        content = {"feats": signal.astype(np.float32), "curr_sample_rate": RATE, "idx": idx}
        savemat(folder / "org" / name, content)
    table = {
        "idx": range(RECORDS), "save_file": names, "source": "ptbxl", "path": [f"{name}.hea" for name in names],
        "lead_order": str(list(leads)), "patient_id": [idx // 2 for idx in range(RECORDS)],
        "age": [300 if idx == 0 else 20 + idx for idx in range(RECORDS)],
        "scp_codes": [CODES[idx % 3] for idx in range(RECORDS)],
        "strat_fold": [idx // 2 % 6 + 5 for idx in range(RECORDS)],
    } | columns  # fmt: skip
    pd.DataFrame({key: value for key, value in table.items() if value is not None}).to_csv(
        folder / "meta.csv", index=False
    )
    (folder / "segmented.csv").write_text("path,save_file,sample_size\n")
    return folder


TINY = """
common: {log_interval: 1}
task: {_name: ecg_classification, data: '???'}
dataset: {batch_size: 8}
model:
  _name: classifier
  no_pretrained_weights: true
  num_labels: "???"
  pool: max_mean
  encoder: {_name: fc_lstm, conv_dim: [8], conv_kernel: [5], conv_stride: [4], hidden_dim: 8, num_layers: 1}
criterion: {_name: binary_cross_entropy_with_logits}
optimization: {max_update: 6, lr: [1e-2]}
optimizer: {_name: adamw}
"""
