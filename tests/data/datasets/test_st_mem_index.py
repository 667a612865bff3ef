"""Index files of ST-MEM, their pickled signals, and the windows that are made of them."""

import json
import pickle
import warnings
from pathlib import Path

import ecg_signals.sample
import numpy as np
import pytest
import torch
from scipy.io import savemat
from scipy.signal import sosfiltfilt

from ecg_signals import load_model
from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError
from ecg_signals.evaluation.windows import Windowed
from ecg_signals.readers.read import read_record
from ecg_signals.registry import get_entry
from ecg_signals.signal.filters import butterworth
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record
from ecg_signals.signal.resample import resample_fourier
from ecg_signals.signal.steps.base import make_step
from ecg_signals.signal.windows import Cutting, centre_start, random_start, stepped_starts
from ecg_signals.trainer import Trainer

PUBLISHED = {"sample_rate": 250, "filter_scope": "window", "window_spread": "published", "window_count": 3}


@pytest.fixture(scope="module")
def vectors(golden):
    with np.load(golden / "st_mem" / "transforms" / "transforms.npz") as found:
        return dict(found)


def signal(samples=2500, leads=12, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).standard_normal((leads, samples)).astype(dtype)


def write_index(folder: Path, content, header="FILE_NAME,SAMPLE_RATE,LABEL", rows=None) -> Path:
    """index.csv beside the files of `content`: name -> array."""
    for name, array in content.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(pickle.dumps(array))
    lines = rows or [f"{name},500,{number % 3}" for number, name in enumerate(content)]
    (folder / "index.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder / "index.csv"


def opened(path, training=False, name="st_mem_index", seed=1, **options):
    entry = get_entry("dataset", name)
    cfg = entry.dataclass.from_mapping({"_name": name, **options}, where="dataset")
    return entry.cls(cfg, path, training=training, seed=seed)


def windows(dataset, index=0):
    """[windows, leads, samples]"""
    source = dataset[index]["source"].numpy()
    return source if source.ndim == 3 else source[None]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_pickled_signals_give_the_published_windows(tmp_path, vectors, protocol, dtype):
    path = write_index(tmp_path, {"a/r.pkl": vectors["raw_500hz_mV"]})
    (tmp_path / "a/r.pkl").write_bytes(pickle.dumps(vectors["raw_500hz_mV"].astype(dtype), protocol=protocol))
    found = windows(opened(path, **PUBLISHED))
    np.testing.assert_allclose(found, vectors["eval_pipeline_ncrop3"], atol=1e-4)


def test_npy_mat_and_records_give_the_windows_of_pickles(tmp_path, vectors):
    raw = vectors["raw_500hz_mV"]
    np.save(tmp_path / "r.npy", raw)
    savemat(tmp_path / "r.mat", {"feats": raw, "curr_sample_rate": 500})
    table = "\n".join([",".join(LEADS), *(",".join(map(str, row)) for row in raw.T)])
    (tmp_path / "t.csv").write_text(f"# sample_rate: 500\n{table}\n")
    path = write_index(tmp_path, {}, rows=["r.npy,500,0", "r.mat,500,0", "t.csv,500,0"])
    dataset = opened(path, **PUBLISHED)
    for index in range(3):
        np.testing.assert_allclose(windows(dataset, index), vectors["eval_pipeline_ncrop3"], atol=1e-4)


def test_plain_manifests_give_the_same_windows_without_pickles(tmp_path, vectors):
    raw = vectors["raw_500hz_mV"]
    savemat(tmp_path / "r.mat", {"feats": raw, "curr_sample_rate": 500, "idx": 0})
    (tmp_path / "valid.tsv").write_text(f"{tmp_path}\nr.mat\t{raw.shape[1]}\n")
    found = windows(opened(tmp_path / "valid.tsv", name="ecg_windows", **PUBLISHED))
    np.testing.assert_allclose(found, vectors["eval_pipeline_ncrop3"], atol=1e-4)


def test_a_real_record_of_the_reference_data_reads_by_its_header(tmp_path, data):
    header = sorted((data / "ptbxl_500").rglob("*_hr.hea"))[0]
    path = write_index(tmp_path, {}, rows=[f"{header.relative_to(data)},500,0"])
    found = windows(opened(path, sample_rate=250, signal_dir=str(data), window_count=3))
    assert found.shape == (3, 12, 2250) and np.isfinite(found).all()
    np.testing.assert_allclose(found.std(axis=(1, 2)), 1, atol=1e-4)


def test_filtering_first_leaves_no_edges_in_the_windows(tmp_path):
    """Corrected order: the middle of the windows is the same, their edges differ."""
    path = write_index(tmp_path, {"r.pkl": signal(5000).cumsum(axis=1)})
    options = {"sample_rate": 250, "standardise_windows": "none", "window_count": 2}
    first, second = (windows(opened(path, filter_scope=scope, **options)) for scope in ("record", "window"))
    inner = np.abs(first - second)[:, :, 700:-700].max()
    assert np.abs(first - second)[1, :, :50].max() > 20 * inner
    np.testing.assert_allclose(first[0, :, 250:], first[1, :, :-250], atol=1e-6)  # one filtered record


def test_the_input_contract_makes_the_same_windows(tmp_path, vectors):
    raw = vectors["raw_500hz_mV"]
    for scope in ("record", "window"):
        path = write_index(tmp_path, {"r.pkl": raw})
        dataset = opened(path, sample_rate=250, filter_scope=scope, window_stride=2250)
        contract = dataset.input_contract()
        assert contract.sample_rate == 250 and contract.window_samples == 2250
        found = contract.prepare(Record(raw, 500, list(LEADS), [], {})).numpy()
        np.testing.assert_allclose(found, windows(dataset), atol=1e-5)


def test_the_contract_of_segments_says_how_they_were_made(tmp_path):
    savemat(tmp_path / "r.mat", {"feats": signal(), "curr_sample_rate": 500, "idx": 0})
    (tmp_path / "valid.tsv").write_text(f"{tmp_path}\nr.mat\t2500\n")
    dataset = opened(tmp_path / "valid.tsv", name="ecg_windows", sample_rate=250, crop_samples=1000)
    steps = [step["name"] for step in dataset.input_contract().steps]
    assert steps == ["resample", "standardise", "resample", "high_pass", "low_pass", "window", "standardise"]
    assert dataset.input_contract().steps[0]["to"] == 500


@pytest.mark.parametrize("length, size, count", [(2500, 2250, 3), (2501, 2250, 3), (2253, 2250, 3), (2500, 2250, 2),
                                                 (1250, 1000, 4)])  # fmt: skip
def test_published_starts_are_the_published_ones(golden, length, size, count):
    known = json.loads((golden / "st_mem" / "transforms" / "ncrop_starts.json").read_text())
    assert stepped_starts(length, size, count) == known[f"{length}_{size}_{count}"]


def test_published_steps_where_the_published_rule_divides_by_zero_are_one_sample():
    assert stepped_starts(2251, 2250, 3) == [0, 1] and stepped_starts(2000, 2250, 3) == [0]
    assert stepped_starts(2500, 2250, 1) == [125]


def test_crops_are_cut_where_the_published_ones_are(vectors):
    whole = vectors["aug_input"]
    start = random_start(whole.shape[1], 120, np.random.RandomState(505))
    np.testing.assert_array_equal(whole[:, start : start + 120], vectors["random_crop_120"])
    start = centre_start(whole.shape[1], 121)
    np.testing.assert_array_equal(whole[:, start : start + 121], vectors["center_crop_121"])
    moved = [whole[:2, at : at + 100] for at in Cutting(100, stride=60).starts(whole.shape[1])]
    np.testing.assert_array_equal(np.stack(moved), vectors["moving_window_100_60"])


def test_a_batch_holds_the_windows_of_its_items(tmp_path):
    path = write_index(tmp_path, {f"{k}.pkl": signal(5000, seed=k) for k in range(3)})
    dataset = opened(path, sample_rate=250, label_col=["LABEL"], window_count=3)
    batch = dataset.collate([dataset[0], dataset[2]])
    assert batch["net_input"]["source"].shape == (2, 3, 12, 2250) and "padding_mask" not in batch["net_input"]
    assert batch["id"].tolist() == [0, 2] and batch["label"].tolist() == [[0], [2]]
    trained = opened(path, training=True, sample_rate=250, label_col=["LABEL"], window_count=3)
    assert trained.collate([trained[0], trained[2]])["net_input"]["source"].shape == (2, 12, 2250)


@pytest.mark.parametrize("padding", [False, True])
def test_items_of_a_batch_may_have_different_numbers_of_windows(tmp_path, padding):
    path = write_index(tmp_path, {"a.pkl": signal(500), "b.pkl": signal(330)}, rows=["a.pkl,250,0", "b.pkl,250,0"])
    dataset = opened(path, sample_rate=250, crop_samples=100, window_stride=100, enable_padding=padding)
    batch = dataset.collate([dataset[0], dataset[1]])["net_input"]
    assert batch["source"].shape == (2, 5, 12, 100)
    sums = lambda source, padding_mask=None: {"logits": source.sum(dim=(1, 2))[:, None]}  # noqa: E731
    model = Windowed(Asked(sums), dataset.cutting, "values")
    found = model(**batch)["logits"][:, 0]
    wanted = [windows(dataset, index).sum(axis=(1, 2)).mean() for index in range(2)]
    torch.testing.assert_close(found, torch.tensor(wanted), atol=1e-3, rtol=0)


class Asked(torch.nn.Module):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, **given):
        return self.answer(**given)


def test_training_windows_lie_anywhere_and_depend_on_the_epoch(tmp_path):
    path = write_index(tmp_path, {"r.pkl": np.tile(np.arange(5000.0), (12, 1))})
    plain = {"high_pass": None, "low_pass": None, "standardise_windows": "none", "sample_rate": 500}
    dataset = opened(path, training=True, crop_samples=1000, **plain)
    starts = []
    for epoch in range(40):
        dataset.set_epoch(epoch)
        starts.append(float(windows(dataset)[0, 0, 0]))
    assert len(set(starts)) > 30 and min(starts) < 800 and max(starts) > 3200
    dataset.set_epoch(7)
    assert float(windows(dataset)[0, 0, 0]) == starts[7]


@pytest.mark.parametrize("lead, rows", [("12lead", 12), ("limb_lead", 6), ("lead1", 1), ("lead2", 1)])
def test_leads_go_by_their_published_names(tmp_path, lead, rows):
    raw = signal()
    path = write_index(tmp_path, {"r.pkl": raw})
    plain = {"high_pass": None, "low_pass": None, "standardise_windows": "none", "sample_rate": 500}
    found = opened(path, lead=lead, crop_samples=100, window_stride=100, **plain)
    first = 1 if lead == "lead2" else 0
    np.testing.assert_allclose(windows(found)[0], raw[first : first + rows, :100].astype(np.float32))
    by_name = opened(path, leads_to_load=["V2", "aVR"], crop_samples=100, window_stride=100, **plain)
    np.testing.assert_allclose(windows(by_name)[0], raw[[7, 3], :100].astype(np.float32))


def test_labels_are_class_numbers_or_one_column_per_class(tmp_path):
    path = write_index(tmp_path, {f"{k}.pkl": signal(seed=k) for k in range(3)})
    numbers = opened(path, sample_rate=250, crop_samples=1000, label_col=["LABEL"])
    assert [numbers[k]["label"].tolist() for k in range(3)] == [[0], [1], [2]] and numbers.labels is None
    named = opened(path, sample_rate=250, crop_samples=1000, label_col=["LABEL"], class_names=["slow", "mid", "fast"])
    assert named.labels == ["slow", "mid", "fast"] and named.num_labels == 3
    assert [named[k]["label"].tolist() for k in range(3)] == np.eye(3).tolist()
    named.select_labels([2, 0, 1])
    assert named.labels == ["fast", "slow", "mid"] and named[2]["label"].tolist() == [1, 0, 0]
    assert "label" not in opened(path, sample_rate=250, crop_samples=1000)[0]


def test_an_empty_label_is_unknown(tmp_path):
    rows = ["r.pkl,250,1,0", "r.pkl,250,,1"]
    path = write_index(tmp_path, {"r.pkl": signal()}, header="FILE_NAME,SAMPLE_RATE,AF,SB", rows=rows)
    dataset = opened(path, sample_rate=250, label_col=["AF", "SB"])
    assert dataset.labels == ["AF", "SB"] and dataset.known_labels().tolist() == [1, 2]
    assert np.isnan(dataset.labels_that_are(np.isinf)).all()
    np.testing.assert_array_equal(dataset[1]["label"], [np.nan, 1])


def test_without_a_column_of_rates_nothing_is_resampled(tmp_path):
    raw = signal(3000)
    path = write_index(tmp_path, {"r.pkl": raw}, header="FILE_NAME", rows=["r.pkl"])
    plain = {"high_pass": None, "low_pass": None, "standardise_windows": "none"}
    found = windows(opened(path, fs_col=None, sample_rate=250, **plain))
    np.testing.assert_allclose(found[0], raw[:, 375:2625].astype(np.float32))


class Danger:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_nothing_in_a_pickle_is_executed(tmp_path):
    path = write_index(tmp_path, {"r.pkl": Danger(tmp_path / "mark")})
    with pytest.raises(ConfigError, match=r"r.pkl.*nothing was executed"):
        opened(path)
    assert not (tmp_path / "mark").exists()


@pytest.mark.parametrize(
    "content, words",
    [
        ({"signal": np.zeros((12, 100))}, "holds a dict"),
        ([1, 2, 3], "holds a list"),
        (np.array([[object()]]), "was refused"),
        (np.zeros((5000, 12)), r"shape \[5000, 12\].*\[leads, samples\]"),
        (np.zeros(100), r"shape \[100\]"),
        (np.array([["a"]]), "expected numbers"),
        (np.full((12, 2500), np.nan), "NaN"),
    ],
)
def test_other_pickles_are_one_error_that_names_the_file(tmp_path, content, words):
    path = write_index(tmp_path, {"r.pkl": content}, rows=["r.pkl,250,0"])
    with pytest.raises(ConfigError, match=rf"r.pkl.*{words}"):
        opened(path, sample_rate=250)[0]


@pytest.mark.parametrize("content", [b"", b"\x80\x04\x95", b"not a pickle", pickle.dumps(np.zeros((12, 2500)))[:-900]])
def test_damaged_files_are_one_error_that_names_the_file(tmp_path, content):
    path = write_index(tmp_path, {"r.pkl": 0})
    (tmp_path / "r.pkl").write_bytes(content)
    with pytest.raises(ConfigError, match=r"r.pkl"):
        opened(path)


def test_files_are_looked_at_when_they_are_read(tmp_path):
    path = write_index(tmp_path, {"r.pkl": signal()}, rows=["r.pkl,250,0", "gone.pkl,250,1"])
    dataset = opened(path, sample_rate=250)
    assert len(dataset) == 2 and len(windows(dataset)) == 1
    with pytest.raises(ConfigError, match=r"gone.pkl.*index.csv"):
        dataset[1]


@pytest.mark.parametrize(
    "rows, words",
    [
        ([",250,0", "r.pkl,250,0", ",250,0"], r"2 of 3 rows name no file.*lines 2, 4"),
        (["r.pkl,250,0", "r.pkl,,0"], r"1 of 2 rows have no sample rate in the column SAMPLE_RATE \(lines 3"),
        (["r.pkl,-1,0"], "no sample rate"),
        (["r.pkl,250,x"], "something else than a class number"),
        (["r.pkl,250,1.5"], "something else than a class number"),
        (["r.pkl,250,-1"], "something else than a class number"),
    ],
)
def test_bad_rows_are_counted_and_named(tmp_path, rows, words):
    path = write_index(tmp_path, {"r.pkl": signal()}, rows=rows)
    with pytest.raises(ConfigError, match=words):
        opened(path, label_col=["LABEL"])


def test_a_missing_column_names_the_nearest(tmp_path):
    path = write_index(tmp_path, {"r.pkl": signal()})
    with pytest.raises(ConfigError, match=r"FILE_NAME"):
        opened(path, filename_col="FILENAME")


def test_a_rate_that_the_file_contradicts_is_an_error(tmp_path):
    savemat(tmp_path / "r.mat", {"feats": signal(), "curr_sample_rate": 500})
    path = write_index(tmp_path, {}, rows=["r.mat,250,0"])
    with pytest.raises(ConfigError, match=r"r.mat holds 500 Hz.*250 Hz in line 2"):
        opened(path)


def test_a_short_record_is_one_error_or_filled_up_under_a_mask(tmp_path):
    path = write_index(tmp_path, {"a.pkl": signal(2000), "b.pkl": signal(3000)}, rows=["a.pkl,250,0", "b.pkl,250,0"])
    with pytest.raises(ConfigError, match=r"a.pkl has 2000 samples at 250 Hz.*enable_padding"):
        opened(path, sample_rate=250)[0]
    dataset = opened(path, sample_rate=250, enable_padding=True)
    for items in ([0], [0, 1]):
        batch = dataset.collate([dataset[item] for item in items])["net_input"]
        assert batch["source"].shape == (len(items), 12, 2250)
        assert batch["padding_mask"][0].sum() == 12 * 250 and not batch["source"][0, :, 2000:].any()


def test_a_flat_record_becomes_zeros(tmp_path, vectors):
    path = write_index(tmp_path, {"r.pkl": np.full((12, 2500), 0.5)}, rows=["r.pkl,250,0"])
    plain = {"high_pass": None, "low_pass": None, "sample_rate": 250}
    assert not windows(opened(path, **plain)).any() and not vectors["standardize_constant"].any()


def test_augmentations_come_last_and_in_training_alone(tmp_path):
    path = write_index(tmp_path, {"r.pkl": signal(5000)})
    options = {"sample_rate": 250, "perturbation_mode": ["flip"], "train_crop": "center"}
    plain, flipped = opened(path, **options), opened(path, training=True, keep_original=True, **options)
    item = flipped[0]
    np.testing.assert_array_equal(item["source"], -windows(plain)[0])
    np.testing.assert_array_equal(item["original"], windows(plain)[0])


def test_rows_know_their_patients(tmp_path):
    rows = ["r.pkl,250,7", "r.pkl,250,", "r.pkl,250,7"]
    path = write_index(tmp_path, {"r.pkl": signal()}, header="FILE_NAME,SAMPLE_RATE,patient_id", rows=rows)
    dataset = opened(path, sample_rate=250)
    dataset.with_owners = True
    owners = [dataset[index]["owner"] for index in range(3)]
    assert owners[0] == owners[2] >= 0 and owners[1] < 0


def test_a_label_column_serves_the_usual_training(tmp_path):
    """Class numbers train with cross entropy, named classes with binary cross entropy."""
    logits = torch.zeros(1, 3)
    path = write_index(tmp_path, {"r.pkl": signal(5000)})
    for options, criterion in (({}, "cross_entropy"), ({"class_names": ["a", "b", "c"]}, "cross_entropy"),
                               ({"class_names": ["a", "b", "c"]}, "binary_cross_entropy_with_logits")):  # fmt: skip
        dataset = opened(path, sample_rate=250, label_col=["LABEL"], **options)
        entry = get_entry("criterion", criterion)
        batch = dataset.collate([dataset[0]])
        found = entry.cls(entry.dataclass())(lambda source: {"logits": logits}, batch)
        assert torch.isfinite(found.loss)


@pytest.mark.parametrize("options", [{"min_sample_size": 3}, {"class_names": ["a"]},
                                     {"label_file": "y.npy", "label_col": ["LABEL"]}])  # fmt: skip
def test_options_that_contradict_are_errors(tmp_path, options):
    path = write_index(tmp_path, {"r.pkl": signal()})
    with warnings.catch_warnings(), pytest.raises(ConfigError):
        warnings.simplefilter("error")
        opened(path, **options)


def test_an_index_trains_a_classifier_whose_predictions_see_the_same_windows(classification, tmp_path):
    """Class numbers, three windows at validation, and the input contract that the checkpoint keeps."""
    home = Path(next(iter(ecg_signals.sample.__path__)))
    headers = sorted(str(path.relative_to(home)) for path in home.rglob("*.hea"))[:6]
    for split, rows in (("train", headers[:4]), ("valid", headers[4:])):
        lines = [f"{name},500,{number % 3}" for number, name in enumerate(rows)]
        (tmp_path / f"{split}.csv").write_text("\n".join(["FILE_NAME,SAMPLE_RATE,LABEL", *lines]) + "\n")
    classification["task"] = {"_name": "ecg_classification", "data": str(tmp_path), "sample_rate": 100}
    classification["task"] |= {"perturbation_mode": ["rand_augment"]}
    chosen = {"_name": "st_mem_index", "signal_dir": str(home), "label_col": ["LABEL"], "crop_samples": 300}
    classification["dataset"] |= chosen | {"window_count": 3, "batch_size": 2}
    classification["criterion"] = {"_name": "cross_entropy"}
    classification["optimization"]["max_update"] = 2
    Trainer(resolve_config(classification)).train()
    path = tmp_path / "checkpoints" / "checkpoint_last.pt"
    model = load_model(path)
    assert model.signal.window_count == 3 and model.signal.window_samples == 300 and model.signal.zero_missing_leads
    dataset = opened(tmp_path / "valid.csv", **chosen, sample_rate=100, window_count=3)
    found = model.signal.prepare(read_record(home / headers[4])).numpy()
    np.testing.assert_allclose(found, windows(dataset), atol=1e-5)


@pytest.mark.parametrize("kind, cutoff", [("highpass", 0.67), ("lowpass", 40.0)])
def test_filters_are_the_published_ones(golden, kind, cutoff):
    """An impulse through the published sections, forwards and backwards."""
    known = json.loads((golden / "st_mem" / "transforms" / "filters.json").read_text())[f"{kind}_sos"]
    impulse = np.eye(1, 2000, 1000)
    np.testing.assert_allclose(
        butterworth(impulse, 250, cutoff, kind), sosfiltfilt(np.array(known), impulse), atol=1e-9
    )


def test_the_steps_of_the_pipeline_are_the_published_ones(vectors):
    np.testing.assert_allclose(resample_fourier(vectors["raw_500hz_mV"], 500, 250), vectors["resampled_250"], atol=1e-5)
    high = butterworth(vectors["input_1000"], 250, 0.67, "highpass")
    np.testing.assert_allclose(high, vectors["hp_067"], atol=1e-5)
    low = butterworth(high, 250, 40, "lowpass")
    np.testing.assert_allclose(low, vectors["lp_40"], atol=1e-5)
    joint = make_step({"name": "standardise", "jointly": True})(low, 250, 250)[0]
    np.testing.assert_allclose(joint, vectors["standardized"], atol=1e-5)
