"""Seconds and memory of the areas of many labels, ours beside scikit-learn's, in one run and one thread.

    python tools/bench/auroc.py                    1,000,000 records, 164 labels
    python tools/bench/auroc.py --records 100000 --dtype float64 --tied 1000 --share 0.5

Random scores, some of them tied; labels of every frequency, one without positives and one without negatives. Seconds
are of the processor, which others may use as well. Memory is what a side takes at its peak beside scores and targets,
in a process of its own.
"""

import argparse
import multiprocessing
import os
import resource
import time
from collections.abc import Callable

import numpy as np

SIDES = ("ours", "scikit-learn")
Found = tuple[
    float, float, np.ndarray, np.ndarray
]  # seconds of the processor, MB at the peak, areas [labels] of ROC and of PR


def make_data(options: argparse.Namespace) -> tuple[np.ndarray, np.ndarray]:
    """Scores and int8 targets, [records, labels], filled label by label."""
    rng = np.random.default_rng(0)
    scores = np.empty((options.records, options.labels), dtype=options.dtype)
    targets = np.empty((options.records, options.labels), dtype=np.int8)
    shares = np.append(np.geomspace(1e-4, 0.5, options.labels - 2), (0.0, 1.0))  # of the records that have the label
    shares = shares if options.share is None else np.full(options.labels, options.share)
    for label, share in enumerate(shares):
        targets[:, label] = rng.random(options.records) < share
        drawn = rng.standard_normal(options.records) + targets[:, label]
        scores[:, label] = np.round(drawn * options.tied) / options.tied if options.tied and label % 2 else drawn
    return scores, targets


def ours(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from ecg_signals.metrics.ranking import ranking_metrics

    found = ranking_metrics(scores, targets)
    return found.auroc, found.average_precision


def theirs(scores: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Label by label, those that define no area left out."""
    from sklearn.metrics import average_precision_score, roc_auc_score

    both = np.full((2, targets.shape[1]), np.nan)
    for label, positives in enumerate(targets.sum(axis=0, dtype=np.int64)):
        if 0 < positives < len(targets):
            both[0, label] = roc_auc_score(targets[:, label], scores[:, label])
        if positives:
            both[1, label] = average_precision_score(targets[:, label], scores[:, label])
    return both[0], both[1]


def measured(side: str, options: argparse.Namespace, queue: "multiprocessing.Queue[Found]") -> None:
    """Run one side and put what it took into the queue."""
    scores, targets = make_data(options)
    function: Callable[..., tuple[np.ndarray, np.ndarray]] = ours if side == "ours" else theirs
    function(scores[:1000], targets[:1000])  # imports
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    areas = function(scores, targets)
    spent = time.process_time() - began
    queue.put((spent, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024, *areas))


def run_side(side: str, options: argparse.Namespace) -> Found:
    context = multiprocessing.get_context("spawn")
    queue: multiprocessing.Queue[Found] = context.Queue()
    process = context.Process(target=measured, args=(side, options, queue))
    process.start()
    found = queue.get()
    process.join()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--labels", type=int, default=164)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--tied", type=int, default=100, help="steps per unit of every other label's scores; 0: none")
    parser.add_argument("--share", type=float, help="of the records that have each label (1e-4 to 0.5, 0 and 1)")
    options = parser.parse_args()
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    found = {side: run_side(side, options) for side in SIDES}
    for side, (seconds, memory, *_) in found.items():
        print(f"{side:13} {seconds:8.2f} s, {memory:7.0f} MB beside scores and targets")
    mine, other = (np.array(found[side][2:]) for side in SIDES)
    np.testing.assert_allclose(mine, other, rtol=0, atol=1e-12)
    print(f"AUROC and average precision of {options.labels} labels, {options.records:,} records: "
          f"{found[SIDES[1]][0] / found[SIDES[0]][0]:.1f} times as fast; they differ by at most "
          f"{np.nanmax(np.abs(mine - other)):.1e}")  # fmt: skip


if __name__ == "__main__":
    main()
