"""Mini-batch k-means on frame features: fit, store, name the cluster of a frame, measure the result."""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.clustering.rows import replace_file
from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.limits import regular_file
from ecg_signals.readers.npy_file import load_npz

FORMAT = 1  # of our .npz


@dataclass
class KMeansModel:
    """Centres and what was done to features before they were fitted.

    Attributes:
        centers: [clusters, values] float32.
        normalise: features are scaled to length 1 first, as they were when the centres were fitted.
        counts: [clusters], frames that moved each centre.
        info: how it was fitted, plain values; `sse` over all frames.
    """

    centers: np.ndarray
    normalise: bool = True
    counts: np.ndarray | None = None
    info: dict[str, Any] = field(default_factory=dict)

    @property
    def clusters(self) -> int:
        return len(self.centers)

    def assign(self, features: np.ndarray) -> np.ndarray:
        """Nearest centre of each frame: [..., values] -> [...] int64."""
        flat = features.reshape(-1, features.shape[-1])
        if flat.shape[1] != self.centers.shape[1]:
            raise ConfigError(
                f"the k-means model was fitted on {self.centers.shape[1]} values per frame, the features have "
                f"{flat.shape[1]}; use features of the same kind"
            )
        flat = unit_rows(flat) if self.normalise else flat
        score = flat @ self.centers.T  # [frames, clusters]
        score -= 0.5 * np.square(self.centers).sum(axis=1)
        return score.argmax(axis=1).reshape(features.shape[:-1])

    def save(self, path: str | Path) -> None:
        """Write an .npz in one step; `load_kmeans` reads it."""
        arrays: dict[str, Any] = {"centers": self.centers, "normalise": np.array(self.normalise)}
        if self.counts is not None:
            arrays["counts"] = self.counts
        text = json.dumps({"format": FORMAT, **self.info})
        replace_file(Path(path), lambda stream: np.savez(stream, info=np.array(text), **arrays))


def load_kmeans(path: str | Path, *, normalise: bool | None = None) -> KMeansModel:
    """A k-means model: our .npz, or a published joblib .pkl, of which nothing is executed.

    Args:
        path: the file.
        normalise: overrides whether features are scaled to length 1; False assigns as published, where centres were
            fitted on scaled features and targets predicted on raw ones.
    """
    file = resolve_input(path)
    if not file.exists():
        raise ConfigError(f"{file} does not exist; give a file of `ecg-cluster fit`, or a published .pkl")
    model = _read_npz(regular_file(file)) if file.suffix == ".npz" else _read_pickle(file)
    if normalise is not None:
        model.normalise = normalise
    return model


def _read_npz(file: Path) -> KMeansModel:
    try:
        stored = load_npz(file)
        centers, counts = stored["centers"], stored.get("counts")
        if centers.ndim != 2 or centers.dtype.kind != "f" or not centers.size:
            raise ValueError(f"its centers are {centers.dtype} {list(centers.shape)}")
        return KMeansModel(centers, bool(stored["normalise"]), counts, json.loads(str(stored["info"])))
    except (ConfigError, KeyError, ValueError, OSError, RecursionError) as error:
        raise ConfigError(
            f"{file} is no k-means file of ecg-cluster ({error}); make it with `ecg-cluster fit`"
        ) from None


def _read_pickle(file: Path) -> KMeansModel:
    from ecg_signals.clustering.joblib_file import read_joblib

    fields = read_joblib(file)
    centers = fields.get("cluster_centers_")
    if not isinstance(centers, np.ndarray) or centers.ndim != 2 or centers.dtype.kind != "f" or not centers.size:
        raise ConfigError(
            f"{file} holds no fitted k-means model (found {', '.join(fields)[:200]}); make one with `ecg-cluster fit`"
        )
    counts = fields.get("_counts")
    info = {"seed": fields.get("random_state"), "last_batch_sse": fields.get("inertia_")}
    return KMeansModel(centers.astype(np.float32), True, counts if isinstance(counts, np.ndarray) else None, info)


def unit_rows(values: np.ndarray) -> np.ndarray:
    """Rows [..., values] scaled to length 1; rows of zeros stay."""
    length = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.where(length > 0, length, 1)


def fit_batches(
    batches: Iterable[np.ndarray], clusters: int, *, seed: int = 42, init: np.ndarray | None = None
) -> KMeansModel:
    """One pass of scikit-learn's mini-batch k-means over frames scaled to length 1.

    Args:
        batches: [frames, values] each; the first one gives the centres to start from and must hold `clusters` frames.
        clusters: number of centres.
        seed: of the k-means++ draw on the first batch.
        init: [clusters, values] to start from instead.
    """
    from sklearn.cluster import MiniBatchKMeans

    start: Any = "k-means++" if init is None else init
    fitted = MiniBatchKMeans(clusters, random_state=seed, init=start, n_init=1, reassignment_ratio=0.0)
    for batch in batches:
        if not hasattr(fitted, "cluster_centers_"):
            if len(batch) < clusters:
                raise ConfigError(
                    f"the first batch has {len(batch)} frames, but {clusters} clusters are wanted; raise "
                    f"--files-per-batch or lower --clusters"
                )
            fitted.set_params(init_size=len(batch))  # all of it; the default takes 3072 frames
        fitted.partial_fit(unit_rows(batch))
    if not hasattr(fitted, "cluster_centers_"):
        raise ConfigError("there are no features to cluster; make them with `ecg-cluster dump`")
    info = {"seed": seed, "steps": int(fitted.n_steps_), "last_batch_sse": float(fitted.inertia_)}
    return KMeansModel(fitted.cluster_centers_.astype(np.float32), True, np.asarray(fitted._counts), info)


def frame_batches(
    values: np.ndarray, rows: np.ndarray, files_per_batch: int, rest: bool = False
) -> Iterator[np.ndarray]:
    """Frames of consecutive groups of rows of [files, frames, values]; a smaller last one if alone, or with `rest`."""
    for start in range(0, len(rows), files_per_batch):
        chosen = np.sort(rows[start : start + files_per_batch])
        if len(chosen) == files_per_batch or start == 0 or rest:
            yield np.ascontiguousarray(values[chosen]).reshape(-1, values.shape[-1])


@dataclass(frozen=True)
class Quality:
    """How well centres describe frames: lower `sse` and `davies_bouldin`, higher `calinski_harabasz` are better."""

    sse: float
    davies_bouldin: float
    calinski_harabasz: float


def measure(batches: Callable[[], Iterable[np.ndarray]], model: KMeansModel) -> Quality:
    """Quality over all frames, in two passes that hold one batch at a time.

    SSE is about the model's centres; the two indices about the means of the frames assigned to each, as in
    scikit-learn, clusters without frames left out.
    """
    clusters, dim = model.centers.shape
    counts, sums, sse = np.zeros(clusters), np.zeros((clusters, dim)), 0.0
    for frames, labels in _assigned(batches(), model):
        counts += np.bincount(labels, minlength=clusters)
        np.add.at(sums, labels, frames)
        sse += float(np.square(frames - model.centers[labels]).sum())
    used = counts > 0
    means = sums / np.maximum(counts, 1)[:, None]
    spread, within = np.zeros(clusters), 0.0
    for frames, labels in _assigned(batches(), model):
        squared = np.square(frames - means[labels]).sum(axis=1)
        within += float(squared.sum())
        spread += np.bincount(labels, np.sqrt(squared), minlength=clusters)
    total, kinds = counts.sum(), int(used.sum())
    if kinds < 2:
        return Quality(sse, np.nan, np.nan)
    between = float((counts[:, None] * np.square(means - sums.sum(axis=0) / total)).sum())
    index = between / (kinds - 1) / (within / (total - kinds)) if within > 0 else np.inf
    return Quality(sse, _davies_bouldin(means[used], spread[used] / counts[used]), float(index))


def _davies_bouldin(means: np.ndarray, spread: np.ndarray) -> float:
    """Mean over clusters of the largest (spread i + spread j) / distance of their means."""
    square = np.square(means).sum(axis=1)
    distance = np.sqrt(np.maximum(square[:, None] + square - 2 * means @ means.T, 0.0))
    np.fill_diagonal(distance, np.inf)
    distance[distance == 0] = np.inf
    return float(((spread[:, None] + spread) / distance).max(axis=1).mean())


def _assigned(batches: Iterable[np.ndarray], model: KMeansModel) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for batch in batches:
        frames = (unit_rows(batch) if model.normalise else batch).astype(np.float64)
        yield frames, model.assign(batch)


def measure_per_batch(batches: Iterable[np.ndarray], model: KMeansModel) -> Quality:
    """As published: SSE of the last batch, the indices averaged over batches."""
    from sklearn.metrics import calinski_harabasz_score, davies_bouldin_score

    sse, bouldin, harabasz = np.nan, [], []
    for frames, labels in _assigned(batches, model):
        sse = float(np.square(frames - model.centers[labels]).sum())
        bouldin.append(davies_bouldin_score(frames, labels))
        harabasz.append(calinski_harabasz_score(frames, labels))
    return Quality(sse, float(np.mean(bouldin)), float(np.mean(harabasz)))
