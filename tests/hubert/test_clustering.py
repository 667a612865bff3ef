"""k-means, its files, and the stages of ecg-cluster."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ecg_signals.cli import cluster
from ecg_signals.clustering.kmeans import KMeansModel, fit_batches, load_kmeans, measure, measure_per_batch, unit_rows
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.data.datasets.hubert_csv import HubertCsvConfig, HubertCsvDataset
from ecg_signals.data.named_rows import NamedRows
from ecg_signals.registry import build


@pytest.fixture(scope="module")
def reference(golden: Path) -> dict[str, Any]:
    with np.load(golden / "hubert_ecg/targets/kmeans.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def batches(reference: dict[str, Any]) -> list[np.ndarray]:
    return [reference["features"][order].reshape(-1, 29) for order in reference["batch_order"]]


@pytest.mark.parametrize("start", ["kpp", "fixed_init"])
def test_centres_and_labels_are_the_references(reference: dict[str, Any], start: str) -> None:
    init = reference["init"] if start == "fixed_init" else None
    for steps, expected in enumerate(reference[f"{start}_centers_per_step"], 1):
        model = fit_batches(batches(reference)[:steps], 8, init=init)
        np.testing.assert_allclose(model.centers, expected, atol=1e-5)
        np.testing.assert_allclose(
            model.info["last_batch_sse"], reference[f"{start}_inertia_per_step"][steps - 1], rtol=1e-5
        )
    np.testing.assert_array_equal(model.counts, reference[f"{start}_counts"])
    features = reference["features"]
    np.testing.assert_array_equal(model.assign(features), reference[f"{start}_labels_normalized"])
    quality = measure(lambda: [features[:2].reshape(-1, 29), features[2:].reshape(-1, 29)], model)
    np.testing.assert_allclose(quality.davies_bouldin, reference[f"{start}_davies_bouldin"], rtol=1e-6)
    np.testing.assert_allclose(quality.calinski_harabasz, reference[f"{start}_calinski_harabasz"], rtol=1e-6)
    published = measure_per_batch(batches(reference), model)
    np.testing.assert_allclose(published.sse, reference[f"{start}_inertia_per_step"][-1], rtol=1e-5)
    model.normalise = False
    np.testing.assert_array_equal(model.assign(features), reference[f"{start}_labels_raw_as_peer_dataset"])


def test_centres_start_from_all_frames_of_a_first_batch_of_any_length() -> None:
    """scikit-learn's default draws them from 3072 frames; the published batches of 100 ECGs have 9300."""
    from sklearn.cluster import MiniBatchKMeans

    rng = np.random.default_rng(0)
    frames = [unit_rows(rng.normal(size=(93 * 40, 4)).astype(np.float32)) for _ in range(2)]
    reference = MiniBatchKMeans(5, random_state=42, batch_size=93 * 40, n_init=20, reassignment_ratio=0.0)
    for batch in frames:
        reference.partial_fit(batch)
    np.testing.assert_allclose(fit_batches(frames, 5).centers, reference.cluster_centers_, atol=1e-5)


def test_published_pickles_are_read_without_being_run(golden: Path, tmp_path: Path, reference: dict[str, Any]) -> None:
    targets = golden / "hubert_ecg/targets"
    with np.load(targets / "flow_cluster_labels.npz") as flow:
        for path in sorted(targets.glob("k_means_*.pkl")):
            model = load_kmeans(path)
            expected = reference["kpp_centers"] if model.clusters == 8 else flow[f"centers_{model.clusters}"]
            np.testing.assert_array_equal(model.centers, expected)
    model.save(tmp_path / "copy.npz")
    np.testing.assert_array_equal(load_kmeans(tmp_path / "copy.npz").centers, model.centers)
    assert load_kmeans(path, normalise=False).normalise is False


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("open('executed', 'w')",))


def test_malicious_and_damaged_kmeans_files_are_refused(golden: Path, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"cluster_centers_": Malicious()}))
    with pytest.raises(ConfigError, match="exec"):
        load_kmeans(tmp_path / "bad.pkl")
    assert not (tmp_path / "executed").exists()
    whole = next((golden / "hubert_ecg/targets").glob("k_means_10*.pkl")).read_bytes()
    (tmp_path / "cut.pkl").write_bytes(whole[:-2000])
    with pytest.raises(ConfigError):
        load_kmeans(tmp_path / "cut.pkl")
    (tmp_path / "other.npz").write_bytes(b"no")
    with pytest.raises(ConfigError, match="ecg-cluster fit"):
        load_kmeans(tmp_path / "other.npz")
    with pytest.raises(ConfigError, match="does not exist"):
        load_kmeans(tmp_path / "none.npz")


def test_clusters_of_separate_clouds_are_found_and_measured() -> None:
    draws = np.random.default_rng(0)
    clouds = np.repeat(np.eye(3), 200, axis=0) + draws.normal(0, 0.02, (600, 3))
    model = fit_batches([draws.permutation(clouds).astype(np.float32)] * 3, 3)
    labels = model.assign(clouds).reshape(3, 200)
    assert (labels == labels[:, :1]).all() and len(set(labels[:, 0])) == 3
    good = measure(lambda: [clouds], model)
    bad = measure(lambda: [clouds], KMeansModel(unit_rows(draws.normal(size=(3, 3)))))
    assert good.davies_bouldin < 0.2 and good.sse < bad.sse
    with pytest.raises(ConfigError, match="first batch has 2 frames"):
        fit_batches([clouds[:2]], 3)
    with pytest.raises(ConfigError, match="fitted on 3 values"):
        model.assign(np.zeros((4, 5)))


@pytest.fixture
def ecgs(tmp_path: Path) -> Path:
    """Seven ECGs, one without any value, one short, and a CSV."""
    draws = np.random.default_rng(3)
    names = [f"r{number}.npy" for number in range(7)]
    for name in names:
        np.save(tmp_path / name, draws.uniform(-1, 1, (12, 2600)).astype(np.float32))
    np.save(tmp_path / "r2.npy", np.full((12, 2600), np.nan, dtype=np.float32))
    np.save(tmp_path / "r5.npy", draws.uniform(-1, 1, (12, 1800)))
    (tmp_path / "train.csv").write_text("filename,age,sex,a,b\n" + "".join(f"{name},1,0,1,0\n" for name in names))
    return tmp_path


def run(text: str) -> None:
    cluster.run(text.split())


def test_stages_lead_from_ecgs_to_targets_that_a_dataset_serves(ecgs: Path, capsys: Any, tiny: dict[str, Any]) -> None:
    run(f"dump {ecgs}/train.csv {ecgs}/features --kind mfcc")
    assert "7 ECGs x 93 x 39 values" in capsys.readouterr().out
    run(f"fit {ecgs}/features {ecgs}/kmeans --clusters 5 7 --files-per-batch 3")
    models = f"{ecgs}/kmeans/kmeans_7.npz {ecgs}/kmeans/kmeans_5.npz"
    run(f"evaluate {ecgs}/features {ecgs}/report --models {models}")
    rows = (ecgs / "report/quality.csv").read_text().splitlines()
    assert len(rows) == 3 and rows[1].startswith("5,kmeans_5.npz") and (ecgs / "report/elbow.png").stat().st_size > 5000
    run(f"assign {ecgs}/features {ecgs}/targets --models {models}")
    assert "model.vocab_sizes=[7,5]" in capsys.readouterr().out
    dataset = HubertCsvDataset(HubertCsvConfig.from_mapping({"targets": str(ecgs / "targets")}), ecgs / "train.csv")
    assert len(dataset) == 6 and "r2.npy" not in dataset.names and dataset.vocab_sizes == [7, 5]
    batch = dataset.collate([dataset[index] for index in range(6)])
    assert batch["cluster_labels"].shape == (6, 2, 93) and "label" not in batch
    for head, size in enumerate((7, 5)):
        model = load_kmeans(ecgs / f"kmeans/kmeans_{size}.npz")
        expected = model.assign(NamedRows(ecgs / "features").values[[0, 1, 3, 4, 5, 6]])
        np.testing.assert_array_equal(batch["cluster_labels"][:, head], expected)
    output = build("criterion", "hubert_pretraining").train()(build("model", "hubert_ecg", **tiny).train(), batch)
    assert torch.isfinite(output.loss)


def test_a_second_run_computes_only_what_is_missing(ecgs: Path, monkeypatch: Any) -> None:
    from ecg_signals.clustering import rows, stages

    monkeypatch.setattr(rows, "ROWS_PER_PART", 2)
    described: list[int] = []
    real = stages.describe

    def interrupted(signals: np.ndarray, options: Any) -> np.ndarray:
        described.append(len(signals))
        if len(described) == 3:
            raise KeyboardInterrupt
        return real(signals, options)

    monkeypatch.setattr(stages, "describe", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(f"dump {ecgs}/train.csv {ecgs}/features")
    with pytest.raises(ConfigError, match="not complete"):
        NamedRows(ecgs / "features")
    run(f"dump {ecgs}/train.csv {ecgs}/features")
    assert described == [2, 2, 2, 2, 1]  # the third part twice, the first two once
    run(f"dump {ecgs}/train.csv {ecgs}/features")
    assert len(described) == 5
    whole = NamedRows(ecgs / "features").values
    monkeypatch.setattr(rows, "ROWS_PER_PART", 512)
    run(f"dump {ecgs}/train.csv {ecgs}/at_once --workers 1")
    np.testing.assert_array_equal(NamedRows(ecgs / "at_once").values, whole)
    run(f"fit {ecgs}/features {ecgs}/kmeans --clusters 4 --files-per-batch 2")
    stamp = (ecgs / "kmeans/kmeans_4.npz").stat().st_mtime_ns
    run(f"fit {ecgs}/features {ecgs}/kmeans --clusters 4 6 --files-per-batch 2")
    assert (ecgs / "kmeans/kmeans_4.npz").stat().st_mtime_ns == stamp and (ecgs / "kmeans/kmeans_6.npz").exists()
    with pytest.raises(ConfigError, match="other files_per_batch"):
        run(f"fit {ecgs}/features {ecgs}/kmeans --clusters 4 --files-per-batch 3")
    with pytest.raises(ConfigError, match="was made with sample_rate=100"):
        run(f"dump {ecgs}/train.csv {ecgs}/features --sample-rate 50")


def test_latents_of_one_layer_are_dumped(golden: Path, tmp_path: Path) -> None:
    checkpoint = golden / "hubert_ecg/checkpoints/hubert_1_iteration_9_run0.pt"
    folder = golden / "hubert_ecg/dataset"
    names = [line.partition(",")[0] for line in (folder / "multi_label.csv").read_text().splitlines()[1:]]
    for table, chosen in (("train", names[:3]), ("valid", [*names[2:], "empty.npy"])):
        (tmp_path / f"{table}.csv").write_text(
            "filename,age,sex,fold\n" + "".join(f"{name},1,1,7\n" for name in chosen)
        )
    np.save(tmp_path / "empty.npy", np.full((12, 2500), np.nan))
    for name in names:
        (tmp_path / name).symlink_to(folder / "ecgs" / name)
    run(f"dump {tmp_path}/train.csv {tmp_path}/valid.csv {tmp_path}/latents --kind latent --layer 2 "
        f"--checkpoint {checkpoint} --batch-size 2")  # fmt: skip
    packed = NamedRows(tmp_path / "latents")
    assert packed.names == [*names, "empty.npy"] and packed.settings["decimation"] == "flat"
    assert packed.values.shape == (6, 93, 32) and np.isnan(packed.values[5]).all()
    with np.load(golden / "hubert_ecg/model/model_outputs.npz") as arrays:
        for name, expected in zip(arrays["input_files"], arrays["hidden_states"][2]):
            np.testing.assert_allclose(packed.values[packed.names.index(str(name))], expected, atol=1e-4)


def test_wrong_arguments_are_named(ecgs: Path) -> None:
    with pytest.raises(UsageError, match="did you mean --kind"):
        run(f"dump {ecgs}/train.csv {ecgs}/f --knd mfcc")
    with pytest.raises(UsageError, match="--checkpoint FILE and --layer"):
        run(f"dump {ecgs}/train.csv {ecgs}/f --kind latent")
    with pytest.raises(ConfigError, match="no part of the table"):
        run(f"dump {ecgs}/train.csv {ecgs}/f --start 0.5 --end 0.2")
    run(f"dump {ecgs}/train.csv {ecgs}/time")
    run(f"fit {ecgs}/time {ecgs}/kmeans --clusters 4")
    run(f"dump {ecgs}/train.csv {ecgs}/other --sample-rate 50")
    with pytest.raises(ConfigError, match="was fitted on features"):
        run(f"assign {ecgs}/other {ecgs}/targets --models {ecgs}/kmeans/kmeans_4.npz")
    with pytest.raises(ConfigError, match="that ecg-cluster wrote"):
        run(f"assign {ecgs}/kmeans {ecgs}/targets --models {ecgs}/kmeans/kmeans_4.npz")
    with pytest.raises(ConfigError, match="no cluster targets"):
        HubertCsvDataset(HubertCsvConfig.from_mapping({"targets": str(ecgs / "time")}), ecgs / "train.csv")
