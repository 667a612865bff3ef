"""What every registered dataset promises; `small.yaml` gives each name a kind of manifest and options."""

import pickle
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from scipy.io import savemat

from ecg_signals.config import UsageError
from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.registry import get_entry, register_dataset
from ecg_signals.sections import DatasetConfig

SMALL = yaml.safe_load((Path(__file__).parent / "small.yaml").read_text())["dataset"]
NAMES = [n for n in register_dataset.names() if get_entry("dataset", n).cls.__module__.startswith("ecg_signals.")]
RECORDS, SAMPLES = 4, 400


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four records of two segments each, under every kind of manifest."""
    home = tmp_path_factory.mktemp("datasets")
    rng = np.random.default_rng(0)
    rows: dict[str, list[str]] = {"plain": [], "pairs": [], "people": [], "pointers": [], "questions": [], "table": []}
    for record in range(RECORDS):
        for segment in range(2):
            name = f"r{record}_{segment}"
            feats = rng.standard_normal((12, SAMPLES)).astype(np.float32)
            numbers = {"curr_sample_rate": 500, "idx": record, "patient_id": record // 2}
            tracks = {"segment_label": np.arange(SAMPLES) // 50 % 4, "segment_mask": np.arange(SAMPLES) < 50}
            texts = {"text": ["no st", "ecg"][segment]}
            savemat(home / f"{name}.mat", {"feats": feats, **texts, **numbers, **tracks})
            savemat(home / f"asks_{name}.mat", question(home / f"{name}.mat", record))
            savemat(home / f"to_{name}.mat", {"ecg_path": str(home / f"{name}.mat"), "label": [[0, 1]], "idx": record})
            np.save(home / f"{name}.npy", feats)
            rows["plain"].append(f"{name}.mat\t{SAMPLES}")
            rows["people"].append(f"{name}.mat\t{SAMPLES}\t{record}")
            rows["pointers"].append(f"to_{name}.mat\t{SAMPLES}")
            rows["questions"].append(f"asks_{name}.mat\t{SAMPLES}\t4")
            rows["table"].append(f"{name}.npy,50,0,{record % 2},{segment}")
        rows["pairs"].append(f"r{record}\t{SAMPLES}\t0\t0,1")
    first = {"pairs": f"{home}\nmat\n", "table": "filename,age,sex,AF,SB\n"}
    for kind, lines in rows.items():
        (home / f"{kind}.tsv").write_text(first.get(kind, f"{home}\n") + "\n".join(lines) + "\n")
    (home / "vocab.txt").write_text("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\necg\nno\nst\n")
    (home / "contract.json").write_text('{"window_samples": 300, "steps": []}')
    return home


def question(record: Path, number: int) -> dict[str, Any]:
    """As ecg-preprocess ecgqa writes it: half of them about two ECGs."""
    types = dict.fromkeys(("question_type1", "question_type2", "question_type3", "attribute_id"), 0)
    answers = {"answer": [0, 1, 0], "valid_classes": [0, 1]}
    return {"ecg_path": np.array([str(record)] * (1 + number % 2)), "question": "no ecg", **answers, **types}


def make(name: str, folder: Path, *, training: bool = True, seed: int = 1) -> BaseDataset:
    entry, small = get_entry("dataset", name), SMALL[name]
    given = {key: value.replace("FOLDER", str(folder)) if isinstance(value, str) else value
             for key, value in small["options"].items()}  # fmt: skip
    cfg = entry.dataclass.from_mapping({"_name": name, **given}, where="dataset")
    return entry.cls(cfg, folder / f"{small['manifest']}.tsv", training=training, seed=seed)


def loaded(dataset: BaseDataset, epoch: int = 1, workers: int = 0) -> list[dict[str, Any]]:
    return list(BatchIterator(dataset, batch_size=3, num_workers=workers).batches(epoch))


def same(found: Any, wanted: Any) -> bool:
    if isinstance(wanted, torch.Tensor):
        return torch.equal(found, wanted)
    if isinstance(wanted, dict):
        return set(found) == set(wanted) and all(same(found[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(map(same, found, wanted))
    return bool(found == wanted)


def test_every_dataset_has_small_options():
    assert set(NAMES) == set(SMALL)


@pytest.mark.parametrize("name", NAMES)
def test_batches_hold_float32_signals_and_every_item_once(name, folder):
    dataset = make(name, folder)
    assert len(dataset) == len(dataset.sizes) and dataset.sizes.dtype.kind == "i"
    batches = loaded(dataset)
    for batch in batches:
        source = batch["net_input"]["source"]
        assert source.dtype == torch.float32 and source.ndim == 3 and torch.isfinite(source).all()
        assert batch["id"].dtype == torch.int64 and len(batch["id"]) == len(source)
        if "padding_mask" in batch["net_input"]:
            assert batch["net_input"]["padding_mask"].dtype == torch.bool
    ids = torch.cat([batch["id"] for batch in batches])
    assert sorted(set(ids.tolist())) == list(range(len(dataset)))


@pytest.mark.parametrize("name", NAMES)
def test_batches_are_a_function_of_seed_and_epoch(name, folder):
    first = loaded(make(name, folder), epoch=2)
    assert same(loaded(make(name, folder), epoch=2), first)
    for other in (loaded(make(name, folder, seed=2), epoch=2), loaded(make(name, folder), epoch=3)):
        if SMALL[name].get("draws_nothing"):
            assert same(in_order(other), in_order(first))
        else:
            assert not same(*([batch["net_input"]["source"] for batch in batches] for batches in (other, first)))


def in_order(batches: list[dict[str, Any]]) -> list[torch.Tensor]:
    """The signals of all items by their number."""
    rows = [row for batch in batches for row in zip(batch["id"].tolist(), batch["net_input"]["source"])]
    return [signal for _, signal in sorted(rows, key=lambda row: row[0])]


@pytest.mark.parametrize("name", NAMES)
def test_loading_processes_change_nothing(name, folder):
    dataset = make(name, folder)
    assert same(loaded(dataset, workers=2), loaded(dataset))


@pytest.mark.parametrize("name", NAMES)
def test_a_dataset_travels_to_another_process_while_in_use(name, folder):
    dataset = make(name, folder)
    wanted = loaded(dataset)
    assert same(loaded(pickle.loads(pickle.dumps(dataset))), wanted)


@pytest.mark.parametrize("name", NAMES)
def test_validation_items_have_the_keys_of_training_items(name, folder):
    assert set(make(name, folder, training=False)[0]) == set(make(name, folder)[0])


@pytest.mark.parametrize("name", NAMES)
def test_no_items_collate_to_an_empty_batch(name, folder):
    assert make(name, folder).collate([]) == {}


@pytest.mark.parametrize("name", NAMES)
def test_options_stay_out_of_fairseq_signals_schema_and_have_a_meaning(name):
    shared = {item.name for item in fields(DatasetConfig)}
    for item in fields(get_entry("dataset", name).dataclass):
        peers = item.metadata.get("section") == "task"  # in fairseq-signals too, where the section holds it
        assert item.name in shared or ((peers or item.metadata["ours"]) and item.metadata["help"]), item.name


@pytest.mark.parametrize("name", NAMES)
def test_an_unknown_option_names_its_nearest_neighbour(name):
    with pytest.raises(UsageError, match="did you mean 'batch_size'"):
        get_entry("dataset", name).dataclass.from_mapping({"batch_sise": 3}, where="dataset")
