"""The stages behind HuBERT-ECG's targets: dump features, fit k-means, assign clusters, evaluate.

Each stage writes whole files in one step and skips what is there, so a run that was interrupted is simply run again.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from ecg_signals.clustering.features import WINDOW, DescriptorOptions, describe
from ecg_signals.clustering.kmeans import (
    KMeansModel,
    Quality,
    fit_batches,
    frame_batches,
    load_kmeans,
    measure,
    measure_per_batch,
)
from ecg_signals.clustering.rows import progress, replace_file, written_rows
from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.data.datasets.hubert_csv import crop
from ecg_signals.data.label_table import read_table
from ecg_signals.data.loading import batches_in_order
from ecg_signals.data.named_rows import NamedRows
from ecg_signals.data.sources.npy_folder import NpyFolder
from ecg_signals.evaluation.run import run
from ecg_signals.files import file_digest
from ecg_signals.processes import process_pool
from ecg_signals.signal.contract import stated_contract
from ecg_signals.signal.hubert_ecg import decimate_crop
from ecg_signals.signal.steps.hubert_ecg import decimation_of
from ecg_signals.tables import write_table

logger = logging.getLogger(__name__)

EMPTY = -1  # cluster of every frame of an ECG without any value
FILES_PER_BATCH = 100  # described together: enough for NumPy, little memory
TITLES = {  # of the curves, by attribute of Quality
    "sse": "SSE (look for the elbow)",
    "davies_bouldin": "Davies-Bouldin (lower is better)",
    "calinski_harabasz": "Calinski-Harabasz (higher is better)",
}


@dataclass(frozen=True)
class Records:
    """The ECGs of a stage: names, and the folder in which they lie.

    Args of `from_csv`: CSVs with a column `filename` (an ECG in several of them counts once), the folder of the .npy
    files (None: the first CSV's), and start and end as shares of all rows, 0 to 1.
    """

    names: list[str]
    folder: Path

    @classmethod
    def from_csv(
        cls, csvs: Sequence[str | Path], folder: str | Path | None, start: float = 0.0, end: float = 1.0
    ) -> "Records":
        if not 0 <= start < end <= 1:
            raise ConfigError(f"--start {start} --end {end} is no part of the table; use 0 <= start < end <= 1")
        names = list(dict.fromkeys(name for csv in csvs for name in read_table(csv)["filename"]))
        chosen = names[round(start * len(names)) : round(end * len(names))]
        if not chosen:
            raise ConfigError(f"--start {start} --end {end} leaves none of {len(names)} ECGs; widen the range")
        return cls(chosen, resolve_input(folder) if folder else resolve_input(csvs[0]).parent)


# ---------------------------------------------------------------- dump


def dump_descriptors(records: Records, dest: str | Path, options: DescriptorOptions, workers: int = 0) -> NamedRows:
    """Descriptors of every ECG -> named rows [ECGs, 93, values] float32; an ECG without any value gives NaN."""

    def values(missing: list[slice]) -> Iterable[np.ndarray]:
        return _run(_describe_files, [(records.names[rows], records.folder, options) for rows in missing], workers)

    return written_rows(dest, records.names, {"what": "features", **asdict(options)}, "describe", values)


def _run(function: Callable[[Any], Any], jobs: Sequence[Any], workers: int) -> Iterable[Any]:
    """Results in the order of the jobs, computed here or by `workers` processes."""
    if workers <= 0:
        yield from map(function, jobs)
        return
    fewer = f"Parts that are written are kept; run the same command again with --workers {workers // 2}"
    with process_pool(workers, fewer) as pool:
        yield from pool.map(function, jobs)


def _describe_files(job: tuple[list[str], Path, DescriptorOptions], at_once: int = 64) -> np.ndarray:
    """One part's descriptors, `at_once` ECGs at a time: what fits into the processor's cache is described fastest."""
    names, folder, options = job
    groups = [names[start : start + at_once] for start in range(0, len(names), at_once)]
    return np.concatenate(
        [describe(np.stack([_first_window(name, folder) for name in group]), options) for group in groups]
    )


def _first_window(name: str, folder: Path) -> np.ndarray:
    """The first 5 s, [12, 2500] float64, NaN kept, zeros behind a shorter ECG."""
    window = np.zeros((12, WINDOW))
    signal = NpyFolder(folder).read(name).signal[:, :WINDOW]
    window[:, : signal.shape[1]] = signal
    return window


def dump_latents(
    records: Records,
    dest: str | Path,
    checkpoint: str,
    layer: int,
    *,
    batch_size: int = 32,
    workers: int = 0,
    decimation: str | None = None,
) -> NamedRows:
    """Hidden states of one layer of a pretrained model -> named rows [ECGs, 93, width] float32.

    Args:
        checkpoint: of a hubert_ecg; also a fine-tuned one.
        layer: 0 is the input of the first block, i the output of block i.
        decimation: "flat" or "per_lead"; None: what the checkpoint's input contract says.
    """
    from ecg_signals.checkpoint.load import load_model
    from ecg_signals.interop.hubert_ecg.contract import decimation_factor
    from ecg_signals.models.hubert.hubert_ecg import HubertEcg
    from ecg_signals.models.hubert.hubert_ecg_classifier import HubertEcgClassifier
    from ecg_signals.runtime.placement import compute_device

    model = load_model(checkpoint, device=compute_device())
    if not isinstance(model, (HubertEcg, HubertEcgClassifier)):
        raise ConfigError(f"{checkpoint} holds a {type(model).__name__}; give a checkpoint of hubert_ecg")
    how = decimation or decimation_of(stated_contract(model.signal, checkpoint).steps)[1]
    settings = {"what": "features", "kind": "latent", "layer": layer, "decimation": how}
    settings |= {"checkpoint": Path(checkpoint).name, "sha256": _weights_digest(model)}
    factor = decimation_factor(model.cfg.conv_stride)

    def values(missing: list[slice]) -> Iterable[np.ndarray]:
        for rows in missing:
            sources = Sources(records.names[rows], records.folder, factor, flat=how == "flat")
            yield _hidden_states(sources, model, layer, batch_size, workers)

    return written_rows(dest, records.names, settings, f"layer {layer}", values)


class Sources(Dataset[dict[str, Tensor]]):
    """The first 5 s of each ECG as a model takes them, `source` [1, 12, samples]; NaN for an ECG without any value."""

    def __init__(self, names: list[str], folder: Path, factor: int | None, flat: bool) -> None:
        self.names, self.folder, self.factor, self.flat = names, folder, factor, flat

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        signal = NpyFolder(self.folder).read(self.names[index]).signal[:, :WINDOW]
        window, _ = crop(signal, 0, WINDOW)
        source = decimate_crop(window, self.factor, self.flat)
        source = np.full_like(source, np.nan) if np.isnan(signal).all() else source
        return {"source": torch.from_numpy(source)[None]}


def _hidden_states(sources: Sources, model: Any, layer: int, batch_size: int, workers: int) -> np.ndarray:
    """[ECGs, 93, width] float32."""
    found: list[np.ndarray] = []
    run(
        model,
        batches_in_order(sources, batch_size, workers),
        next(model.parameters()).device,
        [lambda answer: found.append(answer.output["hidden_states"][0].float().cpu().numpy())],
        call=lambda batch: model.extract_features(batch["source"], layers=layer),
    )
    return np.concatenate(found)


def _weights_digest(model: Any) -> str:
    """sha256 of a model's weights, wherever they were read from."""
    digest = hashlib.sha256()
    for key, value in sorted(model.state_dict().items()):
        digest.update(key.encode())
        digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


# ---------------------------------------------------------------- fit


def open_features(folder: str | Path) -> NamedRows:
    """The features in a folder. Raises: ConfigError when it holds something else, such as targets."""
    features = NamedRows(folder)
    if features.settings.get("what") != "features":
        raise ConfigError(
            f"{folder} holds {features.settings.get('what')}; give a folder that `ecg-cluster dump` wrote"
        )
    return features


def filled_rows(features: NamedRows) -> np.ndarray:
    """Rows whose features are all finite."""
    chunks = range(0, len(features.values), 1024)
    finite = [np.isfinite(features.values[start : start + 1024]).all(axis=(1, 2)) for start in chunks]
    return np.flatnonzero(np.concatenate(finite))


def fit(
    features: NamedRows,
    dest: str | Path,
    clusters: Sequence[int],
    *,
    files_per_batch: int = FILES_PER_BATCH,
    seed: int = 42,
) -> list[Path]:
    """One k-means model per number of clusters, `kmeans_<clusters>.npz`; those that are there are kept."""
    rows = np.random.RandomState(seed).permutation(filled_rows(features))
    if len(rows) == 0:
        raise ConfigError(
            f"{features.folder} holds no ECG with values; check the table and --ecg-dir given to `ecg-cluster dump`"
        )
    paths = []
    for count in clusters:
        path = Path(dest) / f"kmeans_{count}.npz"
        how: dict[str, Any] = {"clusters": count, "files_per_batch": files_per_batch, "fit_seed": seed}
        how |= {"features": features.settings, "files": len(rows)}
        paths.append(path)
        if path.is_file():
            _same_fit(path, how)
            continue
        source, parts = frame_batches(features.values, rows, files_per_batch), -(-len(rows) // files_per_batch)
        model = fit_batches(progress(source, f"k-means {count}", parts), count, seed=seed)
        every = partial(frame_batches, features.values, rows, FILES_PER_BATCH, rest=True)
        model.info |= how | {"sse": measure(every, model).sse}
        model.save(path)
    return paths


def _same_fit(path: Path, how: dict[str, Any]) -> None:
    stored = load_kmeans(path).info
    different = sorted(key for key, value in how.items() if stored.get(key) != value)
    if different:
        raise ConfigError(f"{path} was fitted with other {', '.join(different)}; choose another folder or delete it")


# ---------------------------------------------------------------- assign


def assign(features: NamedRows, dest: str | Path, models: Sequence[str], *, raw: bool = False) -> NamedRows:
    """Cluster numbers of every frame -> named rows [ECGs, models, 93] int16, what `dataset.targets` takes.

    Args:
        features: from `dump`.
        models: k-means files, one head of the model each.
        raw: predict on features as they are although centres were fitted on scaled ones, as published.
    """
    loaded = [load_kmeans(path, normalise=False if raw else None) for path in models]
    settings = {
        "what": "targets",
        "vocab_sizes": [model.clusters for model in loaded],
        "raw": raw,
        "models": [file_digest(resolve_input(path)) for path in models],
        "features": features.settings,
    }
    for path, model in zip(models, loaded):
        check_features(path, model, features)

    def values(missing: list[slice]) -> Iterable[np.ndarray]:
        return (_clusters(features.values[rows], loaded) for rows in missing)

    return written_rows(dest, features.names, settings, "assign", values)


def check_features(path: str, model: KMeansModel, features: NamedRows) -> None:
    """Raises: ConfigError when a k-means model was fitted on other features; published files do not say on which."""
    fitted = model.info.get("features")
    if fitted is not None and fitted != features.settings:
        raise ConfigError(
            f"{path} was fitted on features {fitted}, but {features.folder} holds {features.settings}; "
            f"dump features with the same settings"
        )


def _clusters(values: np.ndarray, models: Sequence[KMeansModel]) -> np.ndarray:
    """[ECGs, frames, values] -> [ECGs, models, frames] int16; EMPTY where values are not finite."""
    finite = np.isfinite(values).all(axis=(1, 2))
    filled = np.where(finite[:, None, None], values, 0.0).astype(np.float32)
    labels = np.stack([model.assign(filled) for model in models], axis=1)
    labels[~finite] = EMPTY
    return labels.astype(np.int16)


# ---------------------------------------------------------------- evaluate


def evaluate(
    features: NamedRows,
    dest: str | Path,
    models: Sequence[str],
    *,
    per_batch: bool = False,
    files_per_batch: int = FILES_PER_BATCH,
) -> Path:
    """Quality of k-means models -> `quality.csv` and, as curves over the number of clusters, `elbow.png`.

    Args:
        per_batch: average over batches of `files_per_batch` files, and take the SSE of the last one, as published.
    """
    import pandas

    rows = filled_rows(features)
    found: list[tuple[int, str, Quality]] = []
    for path in models:
        model = load_kmeans(path)
        check_features(path, model, features)
        if per_batch:
            quality = measure_per_batch(frame_batches(features.values, rows, files_per_batch), model)
        else:
            quality = measure(partial(frame_batches, features.values, rows, FILES_PER_BATCH, rest=True), model)
        found.append((model.clusters, Path(path).name, quality))
    found.sort(key=lambda item: item[:2])
    lines = [(count, name, *(f"{value:.6g}" for value in astuple(quality))) for count, name, quality in found]
    table = Path(dest) / "quality.csv"
    write_table(table, pandas.DataFrame(lines, columns=["clusters", "model", *TITLES]))
    replace_file(Path(dest) / "elbow.png", partial(_plot, found))
    return table


def _plot(found: list[tuple[int, str, Quality]], stream: Any) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    for axes, (name, title) in zip(figure.subplots(1, len(TITLES)), TITLES.items()):
        axes.plot([count for count, _, _ in found], [getattr(quality, name) for _, _, quality in found], marker="o")
        axes.set(title=title, xlabel="clusters")
        axes.grid(alpha=0.3)
    figure.savefig(stream, format="png", dpi=120)
