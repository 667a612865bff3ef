"""Stratified folds: drawn as the published ones, and what holds of any."""

import json
from pathlib import Path

import numpy as np

from ecg_signals.preprocess.stratify import stratified_folds


def test_folds_are_the_published_ones_of_records_and_of_groups(golden: Path):
    wanted = json.loads((golden / "benchmarks" / "protocol_misc.json").read_text())["stratify"]
    labels, sizes, seed = wanted["labels"], wanted["group_sizes"], wanted["random_seed"]
    folds = stratified_folds(labels, wanted["ratios10"], seed=seed)
    assert [np.flatnonzero(folds == fold).tolist() for fold in range(10)] == wanted["folds10"]
    repeated = [own * size for own, size in zip(labels, sizes)]
    folds = stratified_folds(repeated, [0.2] * 5, sizes, seed)
    assert [np.flatnonzero(folds == fold).tolist() for fold in range(5)] == wanted["folds5_grouped"]


def test_every_fold_gets_its_share_of_a_rare_label_and_what_has_no_label_gets_none():
    labels = [["usual"]] * 80 + [["usual", "rare"]] * 10 + [[]]
    folds = stratified_folds(labels, [0.1] * 10)
    assert folds[-1] == -1
    assert sorted(folds[80:90]) == list(range(10))
    assert np.bincount(folds[:-1]).tolist() == [9] * 10
