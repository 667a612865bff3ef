"""`jepa_dump`: dumps and manifests as ECG-JEPA was pretrained on them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from ecg_signals.data.datasets.jepa_dump import JepaDumpConfig, JepaDumpDataset
from ecg_signals.interop.ecg_jepa.datasets import DATASETS

ULP = 2e-3 + 1e-9  # float16 below 4


def made(path, *, training=True, seed=1, **options):
    return JepaDumpDataset(JepaDumpConfig.from_mapping(options), path, training=training, seed=seed)


def dump(path: Path, data: np.ndarray, **notes) -> Path:
    np.save(path, data)
    if notes:
        Path(f"{path}.json").write_text(json.dumps(notes))
    return path


def noise(*shape, seed=0, dtype=np.float16):
    return (np.random.default_rng(seed).standard_normal(shape) * 0.2).astype(dtype)


def batch_of(dataset, *indices):
    return dataset.collate([dataset[index] for index in indices])["net_input"]["source"]


@pytest.fixture(scope="module")
def stages(shared):
    return np.load(shared / "golden/jepa/preprocess/stages.npz")


@pytest.mark.parametrize("arithmetic", ["float16", "float32"])
def test_load_time_steps_equal_the_published_ones(stages, tmp_path, arithmetic):
    path = dump(tmp_path / "code-15.npy", stages["highpass_fs400"][None])
    options = {"rates": {"code-15": 400}, "arithmetic": arithmetic, "window_samples": 3000}
    found = batch_of(made(path, **options), 0)[0].T
    torch.testing.assert_close(found, torch.from_numpy(stages["pretrain_preprocess_out"]).float(), atol=ULP, rtol=1e-3)


@pytest.mark.parametrize("arithmetic", ["float16", "float32"])
def test_gaps_are_bridged_then_baseline_wander_is_removed(stages, tmp_path, arithmetic):
    path = dump(tmp_path / "code-15.npy", stages["raw"][None])
    options = {"rates": {"code-15": 400}, "arithmetic": arithmetic, "window_samples": 3000}
    dataset = made(path, remove_baseline_wander=["code-15"], **options)
    found = batch_of(dataset, 0)[0].T
    # the offset of 10 mV costs the published float16 up to 4.5 uV before the filter, some 0.01 deviations
    tolerance = ULP if arithmetic == "float16" else 0.03
    torch.testing.assert_close(found, torch.from_numpy(stages["clipped"]).float(), atol=tolerance, rtol=1e-3)


@pytest.mark.parametrize("name, key, rate, samples", [("mimic-iv-ecg", "mimic", 500, 1500), ("x", "incart", 257, 2500)])
def test_lead_order_and_odd_rates_equal_the_published_ones(stages, tmp_path, name, key, rate, samples):
    path = dump(tmp_path / f"{name}.npy", stages[f"{key}_in"][None])
    statistics = tmp_path / "s.json"
    statistics.write_text(json.dumps({"mean": [0] * 12, "std": [0.3] * 12}))
    options = {} if key == "mimic" else {"statistics": {"x": str(statistics)}}
    dataset = made(path, rates={name: rate}, window_samples=samples, arithmetic="float16", **options)
    found = batch_of(dataset, 0)[0].T
    torch.testing.assert_close(found, torch.from_numpy(stages[f"{key}_out"]).float(), atol=ULP, rtol=1e-3)


def test_records_of_any_length_and_type_are_read_where_they_lie(tmp_path):
    sizes = np.array([400, 700, 500])
    for dtype in ("float16", "float32", "float64", ">f4", "int16"):
        data = (noise(1600, 12, dtype=np.float64) * 100).astype(dtype)
        np.savez(tmp_path / "cpsc.npz", data=data, sizes=sizes)
        dataset = made(tmp_path / "cpsc.npz", window_samples=450, clip=None)
        assert len(dataset) == 2
        for index, (first, behind) in enumerate([(400, 1100), (1100, 1600)]):
            item = dataset[index]
            wanted = data[first:behind][item["start"] :][:450].T.astype(np.float32)
            std = np.array(DATASETS["cpsc"].std, dtype=np.float32)[:, None]
            np.testing.assert_allclose(dataset.collate([item])["net_input"]["source"][0], wanted / std, rtol=1e-6)


def test_the_same_records_give_the_same_batches_as_dump_and_as_manifest(tmp_path):
    data = noise(3, 600, 12, dtype=np.float32)
    dump(tmp_path / "d.npy", data, sample_rate=500)
    lines = [str(tmp_path)]
    for number, record in enumerate(data):
        savemat(tmp_path / f"{number}.mat", {"feats": record.T, "curr_sample_rate": 500})
        lines.append(f"{number}.mat\t600")
    (tmp_path / "train.tsv").write_text("\n".join(lines) + "\n")
    options = {"mixture": {"mine": 1}, "window_samples": 500}
    one, other = made(tmp_path / "d.npy", **options), made(tmp_path / "train.tsv", **options)
    assert torch.equal(batch_of(one, 0, 1, 2), batch_of(other, 0, 1, 2))


def test_batches_go_on_after_a_stop_and_are_shared_by_ranks(tmp_path):
    for name, records in (("a", 40), ("b", 8)):
        dump(tmp_path / f"{name}.npy", noise(records, 300, 12), sample_rate=500)
    options = {"dumps": {name: str(tmp_path / f"{name}.npy") for name in "ab"}, "mixture": {"a": 1, "b": 3.0}}

    def batches(epoch=1, start=0, **how):
        dataset = made("train", **options, window_samples=100, batches_per_epoch=12)
        iterator = dataset.batches(batch_size=16, shuffle=True, **how)
        return [batch["net_input"]["source"] for batch in iterator.batches(epoch, start)]

    whole = batches()
    assert len(whole) == 12
    for workers in (0, 2):
        assert all(map(torch.equal, batches(start=5, num_workers=workers), whole[5:]))
    for rank in (0, 1):
        assert all(map(torch.equal, batches(rank=rank, world_size=2), whole[rank::2]))
    assert not torch.equal(batches(epoch=2)[0], whole[0])


def test_a_dataset_is_drawn_by_its_weight_whatever_its_size_and_weights_need_not_sum_to_one(tmp_path):
    for name, records in (("a", 40), ("b", 8)):
        dump(tmp_path / f"{name}.npy", noise(records, 60, 12), sample_rate=500)
    dataset = made(tmp_path / "train", mixture={"a": 0.1 + 0.2, "b": 0.9}, window_samples=50, batches_per_epoch=100)
    iterator = dataset.batches(batch_size=20, shuffle=True)
    drawn = iterator.plan(1).indices
    assert (drawn >= 40).mean() == pytest.approx(0.75, abs=0.03) and set(drawn) == set(range(48))


def test_a_record_drawn_again_is_cropped_anew(tmp_path):
    dump(tmp_path / "a.npy", noise(1, 5000, 12), sample_rate=500)
    dataset = made(tmp_path / "a.npy", window_samples=50, batches_per_epoch=1)
    (batch,) = dataset.batches(batch_size=30, shuffle=True).batches(1)
    assert len(set(batch["start"].tolist())) > 20


def test_a_long_record_is_resampled_around_the_excerpt_as_if_it_were_resampled_whole(tmp_path):
    record = noise(257 * 100, 12, dtype=np.float32).cumsum(axis=0) / 100
    dump(tmp_path / "incart.npy", record[None], sample_rate=257)
    options = {"mixture": {"incart": 1.0}, "window_samples": 5000, "remove_baseline_wander": ["incart"]}
    near = made(tmp_path / "incart.npy", **options)
    for epoch in range(1, 6):
        near.set_epoch(epoch)
        item = near[0]
        member = near.members[0]
        assert member.conditioning.span(25700, item["start"], 5000) != (0, 25700)
        signal, _ = member.conditioning(member.records.read(0))
        wanted = signal[:, item["start"] :][:, :5000]
        np.testing.assert_allclose(item["source"].numpy(), wanted, atol=2e-3)
