from pathlib import Path

from data_helpers import make_dataset

from ecg_signals.data.batching import BatchIterator

FOLDER = Path(__file__).parents[2] / "manifests/synthetic"


def test_the_synthetic_manifest_loads_from_anywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, path, items in (("ecg_file", "train", 4), ("ecg_file", "valid", 2), ("cmsc", "cmsc/train", 2)):
        dataset = make_dataset(name, FOLDER / f"{path}.tsv")
        assert len(dataset) == items
        batch = next(iter(BatchIterator(dataset, batch_size=10).batches(1)))
        assert batch["net_input"]["source"].shape[1:] == (12, 250)
