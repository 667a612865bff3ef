"""`jepa_dump`: dumps and manifests as ECG-JEPA was pretrained on them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.io import savemat

from ecg_signals.config import ConfigError, UsageError
from ecg_signals.data.datasets.jepa_dump import JepaDumpConfig, JepaDumpDataset
from ecg_signals.interop.ecg_jepa.datasets import DATASETS, published_name
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record

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
        np.testing.assert_allclose(item["source"], wanted, atol=2e-3)


def test_a_lead_without_values_becomes_zeros_or_another_record_is_drawn(tmp_path):
    data = noise(6, 300, 12, dtype=np.float32)
    data[:5, :, 3] = np.nan
    data[5, :, 7] = 0.5  # constant
    dump(tmp_path / "d.npy", data, sample_rate=500)
    options = {"window_samples": 200, "statistics": {"d": "computed"}}
    dataset = made(tmp_path / "d.npy", **options)
    batch = dataset.collate([dataset[index] for index in range(6)])
    zero = batch["net_input"]["source"]
    assert batch["empty"].nonzero().tolist() == [[row, 3] for row in range(5)]
    assert torch.isfinite(zero).all() and (zero[:5, 3] == 0).all() and (zero[:, :3] != 0).any(dim=-1).all()
    other = made(tmp_path / "d.npy", empty_leads="redraw", **options)
    assert {other[index]["id"] for index in range(6)} == {5}
    data[5, :, 0] = np.nan
    dump(tmp_path / "d.npy", data, sample_rate=500)
    with pytest.raises(ConfigError, match=r"dataset\.empty_leads=zero"):
        made(tmp_path / "d.npy", empty_leads="redraw", **options)[0]


def test_gaps_are_bridged_from_beyond_the_excerpt_and_infinite_values_are_gaps(tmp_path):
    data = np.full((1, 400, 12), np.nan, np.float32)
    data[0, [0, 399]] = [[0.0] * 12, [3.99] * 12]
    data[0, 200, 4] = np.inf
    dump(tmp_path / "d.npy", data, sample_rate=500)
    item = made(tmp_path / "d.npy", window_samples=100, statistics={"d": "computed"})[0]
    line = 0.01 * (item["start"] + np.arange(100))
    np.testing.assert_allclose(item["source"], np.tile(line, (12, 1)), atol=1e-5)


@pytest.mark.parametrize(
    "name, shape, options, message",
    [
        ("ptb-xl", (2, 1000, 12), {}, r"records of 1000 samples; ptb-xl has 5000 at 500 Hz.*dataset\.rates"),
        ("ptb-xl", (2, 5000, 8), {}, r"holds 8 leads, but 12 names"),
        ("mine", (2, 5000, 12), {}, r"sample rate of mine .* dataset\.rates=\{mine: HZ\}"),
        ("mine", (2, 400, 12), {"rates": {"mine": 500}}, r"no record of 5000 samples at 500 Hz.*longest of 400"),
        ("mine", (2, 6000, 12), {"rates": {"mine": 500}}, r"the statistics of I, II, .*dataset\.statistics"),
        ("mine", (2, 60), {}, r"float16 \[2, 60\]; expected numbers \[records, samples, leads\]"),
    ],
)
def test_a_dump_that_does_not_fit_is_one_clear_error(tmp_path, name, shape, options, message):
    np.save(tmp_path / f"{name}.npy", np.zeros(shape, np.float16))
    with pytest.raises(ConfigError, match=message):
        made(tmp_path / f"{name}.npy", **options)


def test_options_about_datasets_that_are_not_there_and_compressed_dumps_are_errors(tmp_path):
    dump(tmp_path / "a.npy", noise(2, 300, 12), sample_rate=500)
    np.savez_compressed(tmp_path / "b.npz", data=noise(300, 12), sizes=[300])
    with pytest.raises(ConfigError, match=r"compressed.*numpy\.savez"):
        made(tmp_path / "b.npz", window_samples=100)
    with pytest.raises(UsageError, match=r"'ptbxl' of dataset\.rates.*There are"):
        made(tmp_path / "a.npy", window_samples=100, rates={"ptbxl": 500})
    with pytest.raises(ConfigError, match=r"no chance for a"):
        dumps = dict.fromkeys("ab", str(tmp_path / "a.npy"))
        made("train", window_samples=100, dumps=dumps, mixture={"b": 1})
    with pytest.raises(ConfigError, match=r"neither c\.npy"):
        made(tmp_path / "train", window_samples=100, mixture={"a": 1, "c": 1})


def test_the_contract_brings_a_record_to_what_the_dataset_yields(tmp_path):
    data = noise(1, 4000, 12, dtype=np.float32)
    dump(tmp_path / "code-15.npy", data)
    dataset = made(tmp_path / "code-15.npy", rates={"code-15": 400}, sample_rate=500, window_samples=5000)
    contract = dataset.input_contract()
    record = Record(data[0].T, 400.0, list(LEADS), [], {})
    torch.testing.assert_close(contract.prepare(record)[0], batch_of(dataset, 0)[0], atol=1e-4, rtol=1e-4)


def test_folders_and_dumps_are_called_as_published():
    names = {"ptb-xl-a-large-1.0.3": "ptb-xl", "mimic-iv-ecg-1.0": "mimic-iv-ecg", "cpsc_2018_extra": "cpsc-extra",
             "cpsc_2018": "cpsc", "ptb": "ptb", "st_petersburg_incart": "st-petersburg", "ptb2": None}  # fmt: skip
    assert {name: published_name(name) for name in names} == names
    assert all(len(one.mean) == len(one.std) == 12 for one in DATASETS.values())


def test_a_sparse_dump_is_never_read_whole(tmp_path):
    from ecg_signals.preprocess.dumps import npy_header

    path = tmp_path / "big.npy"
    with path.open("wb") as file:
        file.write(npy_header((200_000, 5000, 12), np.dtype(np.float16)))
        file.truncate(file.tell() + 200_000 * 5000 * 12 * 2)
    statistics = tmp_path / "s.json"
    statistics.write_text(json.dumps({"mean": [0.0] * 12, "std": [1.0] * 12}))
    before = anonymous()
    dataset = made(path, rates={"big": 500}, statistics={"big": str(statistics)}, batches_per_epoch=5)
    batches = dataset.batches(batch_size=64, shuffle=True).batches(1)
    assert sum(len(batch["id"]) for batch in batches) == 320
    assert anonymous() - before < 300 << 20


def anonymous():
    """Bytes of anonymous memory of this process."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) << 10


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4"])
@pytest.mark.parametrize(
    "value, gap", [(np.nan, True), (-np.nan, True), (np.inf, True), (-np.inf, True), (-6e4, False)]
)
def test_gaps_are_found_whatever_the_type(dtype, value, gap):
    from ecg_signals.data.conditioning import has_gap

    values = np.zeros((50, 12), dtype)
    assert not has_gap(values.T) and not has_gap(np.zeros((12, 3), np.int16))
    values[7, 3] = value
    assert has_gap(values.T) is gap and has_gap(values[5:9].T) is gap
