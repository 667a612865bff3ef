"""The CSV dataset against the reference, and what it says to wrong input."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ecg_signals.config import ConfigError
from ecg_signals.data.datasets.hubert_csv import HubertCsvConfig, HubertCsvDataset, crop, valid_columns
from ecg_signals.signal.hubert_ecg import hubert_preprocess
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record

PUBLISHED = {"decimation": "flat", "attention_mask": "decimated"}


@pytest.fixture(scope="module")
def reference(golden: Path) -> dict[str, Any]:
    with np.load(golden / "hubert_ecg/dataset/dataset_items.npz") as arrays:
        return {key: arrays[key] for key in arrays.files}


def open_csv(golden: Path, name: str = "multi_label", training: bool = False, **options: Any) -> HubertCsvDataset:
    folder = golden / "hubert_ecg/dataset"
    cfg = HubertCsvConfig.from_mapping({"ecg_dir": str(folder / "ecgs"), **options})
    return HubertCsvDataset(cfg, folder / f"{name}.csv", training=training)


@pytest.mark.parametrize("factor", [None, 5, 10])
def test_items_are_the_references(golden: Path, reference: dict[str, Any], factor: int | None) -> None:
    dataset = open_csv(golden, downsampling_factor=factor, **PUBLISHED)
    for index in (0, 1):
        item = dataset[dataset.names.index(str(reference[f"file_{index}"]))]
        np.testing.assert_allclose(item["source"].flatten(), reference[f"ecg_{index}_ds{factor}"], atol=1e-5)
        mask = (~item["padding"]).expand(12, -1).flatten()
        np.testing.assert_array_equal(mask, reference[f"attention_mask_{index}_ds{factor}"])
        np.testing.assert_array_equal(item["label"], reference[f"labels_{index}"])
        assert item["source"].dtype == torch.float32
    assert dataset.labels == ["NORM", "AFIB", "1AVB", "LBBB"] and dataset.num_labels == 4


def test_digests_are_of_the_values_of_each_label_whatever_their_order(golden: Path) -> None:
    dataset, other = open_csv(golden), open_csv(golden)
    whole = dataset.label_digests()
    assert list(whole) == ["NORM", "AFIB", "1AVB", "LBBB"]
    dataset.select_labels([2, 0])
    assert dataset.label_digests() == {name: whole[name] for name in ("1AVB", "NORM")}
    other.label_table[0, 1] = np.nan
    assert [name for name, digest in other.label_digests().items() if digest != whole[name]] == ["AFIB"]


def test_leads_decimated_one_by_one_are_the_references(golden: Path, reference: dict[str, Any]) -> None:
    dataset = open_csv(golden)
    source = dataset[dataset.names.index(str(reference["file_0"]))]["source"]
    np.testing.assert_allclose(source.flatten(), reference["ecg_0_per_lead_decimated"], atol=1e-5)


@pytest.mark.parametrize("factor", [None, 5])
@pytest.mark.parametrize("case", ["nan", "pad"])
def test_missing_values_and_zero_padding_are_the_references(
    golden: Path, reference: dict[str, Any], case: str, factor: int | None
) -> None:
    dataset = open_csv(golden, downsampling_factor=factor, **PUBLISHED)
    item = dataset.prepared(*crop(reference[f"{case}_in"], 0, 2500))
    np.testing.assert_allclose(item["source"].flatten(), reference[f"{case}_out_ds{factor}"], atol=1e-5)
    mask = (~item["padding"]).expand(12, -1).flatten()
    np.testing.assert_array_equal(mask, reference[f"{case}_attention_mask_ds{factor}"])


def test_zero_padding_is_found_before_decimation(golden: Path, reference: dict[str, Any]) -> None:
    expected = valid_columns(reference["pad_in"])[::5]
    found = open_csv(golden).prepared(*crop(reference["pad_in"], 0, 2500))["padding"]
    assert 0 < expected.sum() < 500
    np.testing.assert_array_equal(~found, expected)


def test_random_crops_and_long_crops_are_the_references(golden: Path, reference: dict[str, Any]) -> None:
    dataset = open_csv(golden, **PUBLISHED)
    signal = np.load(golden / "hubert_ecg/dataset/ecgs" / str(reference["file_0"]))
    draws = np.random.RandomState(int(reference["random_crop_seed"]))
    for start, expected in zip(reference["random_crop_starts"], reference["random_crop_calls"]):
        assert draws.randint(0, signal.shape[1] - 2500 + 1) == start
        item = dataset.prepared(*crop(signal, int(start), 2500))
        np.testing.assert_allclose(item["source"].flatten(), expected, atol=1e-5)


def test_random_crops_follow_seed_epoch_and_item_alone(golden: Path) -> None:
    first, again = (open_csv(golden, training=True, random_crop=True) for _ in range(2))
    assert torch.equal(first[1]["source"], again[1]["source"])
    again.set_epoch(2)
    assert not torch.equal(first[1]["source"], again[1]["source"])
    held_out = open_csv(golden, random_crop=True)
    assert torch.equal(held_out[1]["source"], open_csv(golden)[1]["source"])
    assert not torch.equal(open_csv(golden, random_crop_valid=True)[1]["source"], held_out[1]["source"])


def test_class_numbers_and_real_numbers_have_their_own_types(golden: Path, tmp_path: Path, reference: Any) -> None:
    classes = open_csv(golden, "multi_class", task_type="multi_class")
    assert classes[0]["label"].item() == reference["mc_label_0"].item() and classes[0]["label"].dtype == torch.int64
    assert classes.collate([classes[0], classes[1]])["label"].shape == (2,)
    assert classes.labels is None
    (tmp_path / "ages.csv").write_text("filename,age\na.npy,41.5\nb.npy,\n")
    cfg = HubertCsvConfig.from_mapping({"label_columns": ["age"], "task_type": "regression"})
    ages = HubertCsvDataset(cfg, tmp_path / "ages.csv")
    np.save(tmp_path / "a.npy", np.ones((12, 3000), dtype=np.float32))
    np.save(tmp_path / "b.npy", np.ones((12, 3000), dtype=np.int16))
    batch = ages.collate([ages[0], ages[1]])
    assert batch["label"].tolist()[0] == [41.5] and torch.isnan(batch["label"][1])
    assert batch["net_input"]["source"].shape == (2, 12, 500) and "padding_mask" not in batch["net_input"]
    assert ages.sizes.tolist() == [500, 500]


def test_a_short_ecg_is_padded_and_masked_also_with_random_crops(tmp_path: Path) -> None:
    np.save(tmp_path / "short.npy", np.random.default_rng(0).uniform(-1, 1, (12, 1500)))
    np.save(tmp_path / "long.npy", np.random.default_rng(1).uniform(-1, 1, (12, 5000)))
    (tmp_path / "train.csv").write_text("filename,x,y\nshort.npy,0,1\nlong.npy,1,0\n")
    cfg = HubertCsvConfig.from_mapping({"label_start_index": 1, "random_crop": True})
    dataset = HubertCsvDataset(cfg, tmp_path / "train.csv", training=True)
    mask = dataset.collate([dataset[0], dataset[1]])["net_input"]["padding_mask"]
    assert mask.shape == (2, 12, 500)
    assert mask[0].sum().item() == 12 * 200 and not mask[1].any() and mask[0, 3, 300:].all()
    assert "padding_mask" not in dataset.collate([dataset[1]])["net_input"]
    assert dataset.collate([]) == {}


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        ("name,a\nx.npy,1\n", {}, "no column 'filename'"),
        ("filename,a\n", {}, "lists no ECG"),
        ("filename,a\nx.npy,1\nx.npy,0\n", {}, "more than once"),
        ("filename,age,a\nx.npy,4,1\n", {"label_columns": ["b"]}, "no column 'b'"),
        ("filename,a\nx.npy,2\n", {"label_start_index": 1}, "other than 0 and 1"),
        ("filename,a\nx.npy,yes\n", {"label_start_index": 1}, "not all numbers"),
        ("filename,a,b\nx.npy,1,0\n", {"label_start_index": 1, "task_type": "multi_class"}, "takes one"),
        ("filename,a\nx.npy,1.5\n", {"label_start_index": 1, "task_type": "multi_class"}, "class numbers"),
        ("filename,a\nx.npy,1\n", {"window_samples": 2501}, "multiple"),
    ],
)
def test_wrong_tables_are_named(tmp_path: Path, text: str, options: dict[str, Any], message: str) -> None:
    (tmp_path / "train.csv").write_text(text)
    with pytest.raises(ConfigError, match=message):
        HubertCsvDataset(HubertCsvConfig.from_mapping(options), tmp_path / "train.csv")


def test_wrong_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("filename,a\nx.npy,1\n")
    dataset = HubertCsvDataset(HubertCsvConfig.from_mapping({"label_start_index": 1}), tmp_path / "train.csv")
    with pytest.raises(ConfigError, match=r"dataset\.ecg_dir"):
        dataset[0]
    np.save(tmp_path / "x.npy", np.zeros((5000, 12)))
    with pytest.raises(ConfigError, match=r"\[12, samples\]"):
        dataset[0]
    (tmp_path / "x.npy").write_bytes(b"no array")
    with pytest.raises(ConfigError, match=r"numpy\.save"):
        dataset[0]
    with pytest.raises(ConfigError, match="ecg-cluster assign"):
        _ = dataset.vocab_sizes


def test_what_the_dataset_gives_is_what_its_contract_prepares(tmp_path: Path) -> None:
    signal = np.random.default_rng(0).normal(size=(12, 3000)).cumsum(axis=1)
    for decimation in ("per_lead", "flat"):
        np.save(tmp_path / "a.npy", hubert_preprocess(signal, 500))
        (tmp_path / "train.csv").write_text("filename\na.npy\n")
        dataset = HubertCsvDataset(HubertCsvConfig.from_mapping({"decimation": decimation}), tmp_path / "train.csv")
        record = Record(signal.astype(np.float32), 500.0, list(LEADS))
        prepared = dataset.input_contract().prepare(record)
        assert prepared.shape == (1, 12, 500)
        torch.testing.assert_close(dataset[0]["source"], prepared[0], atol=1e-4, rtol=0)
