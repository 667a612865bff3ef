import pickle

import numpy as np
import pytest
import torch
from data_helpers import RATE, SAMPLES, make_dataset, write_mat
from scipy.io import loadmat

from ecg_signals.config import ConfigError
from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.collation import Cropping
from ecg_signals.signal.filters import clean


def feats(folder, name="r0_0.mat"):
    return loadmat(folder / "segmented" / name)["feats"]


def test_an_item_holds_the_file_as_float32(segments):
    folder = segments(dtype=np.float64)
    dataset = make_dataset("ecg_file", folder / "plain.tsv")
    item = dataset[3]
    assert set(item) == {"id", "source"} and item["id"] == 3 and item["source"].dtype == torch.float32
    np.testing.assert_array_equal(item["source"].numpy(), feats(folder, "r1_1.mat").astype(np.float32))
    assert dataset.sizes.tolist() == [SAMPLES] * 6 and dataset.sample_rate == RATE


def test_collation_equals_the_reference(golden):
    """The reference draws crops from numpy's older generator, one for every item that is longer than the batch."""
    drawn, expected = (np.load(golden / f"wcr/batching/collate_{name}puts.npz") for name in ("in", "out"))
    signals = [torch.from_numpy(drawn[f"x{number}"]) for number in range(4)]
    for name, padding, longest in (
        ("pad", True, None),
        ("pad_max600", True, 600),
        ("crop", False, None),
        ("crop_max450", False, 450),
    ):
        rng = np.random.RandomState(int(drawn["np_seed"]))
        cropping = Cropping(drawn["lengths"], padding, longest, 0)
        items = [{"source": signal} for signal in signals]
        batch = cropping(items, lambda _, surplus, rng=rng: rng.randint(0, surplus + 1))["net_input"]
        np.testing.assert_array_equal(batch["source"].numpy(), expected[f"{name}/source"])
        if padding:
            mask = batch["padding_mask"].numpy()
            np.testing.assert_array_equal(mask, np.repeat(expected[f"{name}/padding_mask"][:, None], 2, axis=1))


@pytest.mark.parametrize(
    "padding, longest, wanted", [(True, None, 90), (True, 60, 60), (False, None, 50), (False, 40, 40)]
)
def test_a_batch_is_padded_or_cropped_to_one_length(segments, padding, longest, wanted):
    folder = segments(lengths=[50, 70, 90])
    dataset = make_dataset("ecg_file", folder / "plain.tsv", enable_padding=padding, max_sample_size=longest)
    batch = dataset.collate([dataset[row] for row in range(6)])
    source = batch["net_input"]["source"]
    assert source.shape == (6, 12, wanted) and batch["id"].tolist() == list(range(6))
    assert ("padding_mask" in batch["net_input"]) is padding
    whole = [dataset[row]["source"] for row in range(6)]
    for row, signal in enumerate(whole):
        length = min(signal.shape[1], wanted)
        windows = signal.unfold(1, length, 1).transpose(0, 1)  # every crop of that length
        assert any(torch.equal(source[row, :, :length], window) for window in windows)
        assert not source[row, :, length:].any()
        if padding:
            assert (batch["net_input"]["padding_mask"][row] == (torch.arange(wanted) >= length)).all()
    again = dataset.collate([dataset[row] for row in range(6)])
    assert torch.equal(again["net_input"]["source"], source)


def test_crops_depend_on_epoch_and_item_alone(segments):
    folder = segments(lengths=[50, 90, 90])
    dataset = make_dataset("ecg_file", folder / "plain.tsv", max_sample_size=30)
    together = dataset.collate([dataset[row] for row in (0, 2, 5)])["net_input"]["source"]
    alone = [dataset.collate([dataset[row]])["net_input"]["source"][0] for row in (5, 2, 0)]
    assert torch.equal(together, torch.stack(alone[::-1]))
    dataset.set_epoch(2)
    assert not torch.equal(dataset.collate([dataset[row] for row in (0, 2, 5)])["net_input"]["source"], together)


def test_no_items_collate_to_nothing(segments):
    assert make_dataset("ecg_file", segments() / "plain.tsv").collate([]) == {}


@pytest.mark.parametrize("leads", [[0, 6, 11], "I,V1,v6", "[0, 6, 11]", ["i", "V1", 11]])
def test_leads_are_chosen_by_name_or_number(segments, leads):
    folder = segments()
    found = make_dataset("ecg_file", folder / "plain.tsv", leads_to_load=leads)[0]["source"]
    np.testing.assert_array_equal(found.numpy(), feats(folder)[[0, 6, 11]])


def test_leads_not_loaded_are_zero_rows_when_leads_are_padded(segments):
    folder = segments()
    found = make_dataset("ecg_file", folder / "plain.tsv", leads_to_load=[7, 1], enable_padding_leads=True)[0]["source"]
    assert found.shape == (12, SAMPLES)
    np.testing.assert_array_equal(found[[7, 1]].numpy(), feats(folder)[[7, 1]])
    assert not found[[0, 2, 3, 4, 5, 6, 8, 9, 10, 11]].any()


def test_one_lead_of_the_bucket_is_drawn_and_comes_last(segments):
    folder = segments()
    options = {"leads_to_load": [0, 6, 1, 7, 8], "leads_bucket": ["V1", "V2", "V3"]}
    dataset = make_dataset("ecg_file", folder / "plain.tsv", **options)
    raw, drawn = feats(folder), set()
    for epoch in range(1, 30):
        dataset.set_epoch(epoch)
        found = dataset[0]["source"].numpy()
        np.testing.assert_array_equal(found[:2], raw[[0, 1]])
        drawn |= {lead for lead in (6, 7, 8) if np.array_equal(found[2], raw[lead])}
        np.testing.assert_array_equal(found, dataset[0]["source"].numpy())
    assert drawn == {6, 7, 8}


def test_filter_and_normalize_use_the_statistics_of_the_original_leads(segments, tmp_path):
    folder = segments(lengths=[600])
    (tmp_path / "mean.txt").write_text("\n".join(str(number) for number in range(12)))
    (tmp_path / "std.txt").write_text("\n".join(str(1 + number) for number in range(12)))
    options = {
        "normalize": True,
        "mean_path": str(tmp_path / "mean.txt"),
        "std_path": str(tmp_path / "std.txt"),
        "filter": True,
    }
    found = make_dataset("ecg_file", folder / "plain.tsv", leads_to_load=[9, 2], **options)[0]["source"].numpy()
    expected = (clean(feats(folder), RATE)[[9, 2]] - [[9], [2]]) / [[10], [3]]
    np.testing.assert_allclose(found, expected, atol=1e-5)


ALL_AUGMENTATIONS = ["random_leads_masking", "powerline_noise", "emg_noise", "baseline_shift", "baseline_wander"]


@pytest.mark.parametrize(
    "options", [{}, {"leads_to_load": [1, 9]}, {"leads_to_load": [1, 9], "enable_padding_leads": True}]
)
def test_augmentation_is_keyed_by_seed_epoch_and_item_and_only_in_training(segments, options):
    folder = segments()
    options = {"perturbation_mode": ALL_AUGMENTATIONS, "mask_leads_prob": 0.2, "keep_original": True, **options}
    plain = make_dataset("ecg_file", folder / "plain.tsv", **options)
    dataset = make_dataset("ecg_file", folder / "plain.tsv", training=True, **options)
    item = dataset[0]
    assert set(plain[0]) == {"id", "source"}
    assert torch.equal(item["original"], plain[0]["source"]) and not torch.equal(item["source"], item["original"])
    assert torch.equal(item["source"], dataset[0]["source"])
    other_seed = make_dataset("ecg_file", folder / "plain.tsv", training=True, seed=2, **options)[0]["source"]
    dataset.set_epoch(2)
    assert not torch.equal(dataset[0]["source"], item["source"]) and not torch.equal(other_seed, item["source"])
    batch = dataset.collate([dataset[0], dataset[1]])
    assert batch["original"].shape == batch["net_input"]["source"].shape
    if "enable_padding_leads" in options:
        assert not item["source"][[0, *range(2, 9), 10, 11]].any()


def test_short_rows_are_left_out(segments):
    dataset = make_dataset("ecg_file", segments(lengths=[50, 70, 90]) / "plain.tsv", min_sample_size=70)
    assert dataset.sizes.tolist() == [70, 70, 90, 90] and dataset[3]["source"].shape == (12, 90)


def test_batch_buckets_leave_few_lengths(segments):
    folder = segments(lengths=[50, 55, 60, 65, 70, 75, 80, 85])
    dataset = make_dataset("ecg_file", folder / "plain.tsv", enable_padding=True, num_batch_buckets=2)
    batches = list(BatchIterator(dataset, batch_size=2).batches(1))
    assert {batch["net_input"]["source"].shape[2] for batch in batches} == {65, 85}
    with pytest.raises(ConfigError, match="enable_padding=true"):
        make_dataset("ecg_file", folder / "plain.tsv", num_batch_buckets=2)


def write_labels(folder, table, names=None):
    (folder / "labels").mkdir(exist_ok=True)
    np.save(folder / "labels/y.npy", table)
    if names is not None:
        (folder / "labels/label_def.csv").write_text("name,pos_count_all\n" + "".join(f"{name},3\n" for name in names))
    return str(folder / "labels/y.npy")


def test_labels_come_from_the_row_of_the_record_and_their_names_from_beside_the_file(segments):
    folder = segments()
    path = write_labels(folder, np.array([[0, 1], [1, np.nan], [1, 1.0]]), ["AF", ["left", " bundle"][0]])
    dataset = make_dataset("ecg_file", folder / "plain.tsv", label_file=path)
    assert dataset.labels == ["AF", "left"] and dataset.num_labels == 2
    batch = dataset.collate([dataset[0], dataset[2], dataset[5]])
    assert batch["label"].dtype == torch.float32
    torch.testing.assert_close(batch["label"], torch.tensor([[0, 1], [1, torch.nan], [1, 1]]), equal_nan=True)


def test_labels_inside_the_files_serve_without_a_label_file(segments):
    dataset = make_dataset("ecg_file", segments(label=lambda record: [record % 2, 1, 0]) / "plain.tsv")
    assert dataset.num_labels == 3 and dataset.labels is None
    assert dataset.collate([dataset[0], dataset[2]])["label"].tolist() == [[0, 1, 0], [1, 1, 0]]


def test_a_label_file_travels_to_another_process_by_name(segments):
    folder = segments()
    path = write_labels(folder, np.arange(20000.0).reshape(10000, 2))
    dataset = pickle.loads(content := pickle.dumps(make_dataset("ecg_file", folder / "plain.tsv", label_file=path)))
    assert len(content) < 10_000 and dataset[2]["label"].tolist() == [2, 3]


@pytest.mark.parametrize(
    "table, names, message",
    [
        (np.zeros((3, 2)), ["AF", "SB", "ST"], "names 3 labels, but .*y.npy has 2 columns"),
        (np.zeros(3), None, r"is float64 of shape \[3\]"),
        (np.array([["a"]]), None, "expected numbers"),
    ],
)
def test_a_label_file_that_does_not_fit_is_named(segments, table, names, message):
    folder = segments()
    with pytest.raises(ConfigError, match=message):
        make_dataset("ecg_file", folder / "plain.tsv", label_file=write_labels(folder, table, names))


def test_a_record_without_a_label_row_is_named(segments):
    folder = segments()
    dataset = make_dataset("ecg_file", folder / "plain.tsv", label_file=write_labels(folder, np.zeros((2, 2))))
    with pytest.raises(ConfigError, match=r"r2_0.mat holds idx 2, but .* rows 0 to 1"):
        dataset[4]
    with pytest.raises(ConfigError, match="does not exist; make it with `ecg-preprocess labels`"):
        make_dataset("ecg_file", folder / "plain.tsv", label_file=str(folder / "none.npy"))


def test_a_pickled_label_file_is_refused(segments):
    folder = segments()
    np.save(folder / "y.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(ConfigError, match=r"y.npy is truncated or no plain .npy array"):
        make_dataset("ecg_file", folder / "plain.tsv", label_file=str(folder / "y.npy"))


def test_a_file_with_another_rate_is_named_with_both_rates(segments):
    folder = segments()
    write_mat(folder / "segmented/r1_0.mat", np.zeros((12, SAMPLES)), idx=1, curr_sample_rate=400)
    dataset = make_dataset("ecg_file", folder / "plain.tsv")
    with pytest.raises(ConfigError, match=r"r1_0.mat holds 400 Hz, but the first file, .*r0_0.mat, holds 500 Hz"):
        dataset[2]
    dataset = make_dataset("ecg_file", folder / "plain.tsv", sample_rate=400)
    with pytest.raises(
        ConfigError, match=r"r0_0.mat holds 500 Hz, but task.sample_rate is 400 Hz.*task.sample_rate=500"
    ):
        dataset[0]


def test_a_missing_file_and_a_truncated_one_are_named_in_every_process(segments):
    folder = segments()
    (folder / "segmented/r1_0.mat").unlink()
    broken = folder / "segmented/r2_1.mat"
    broken.write_bytes(broken.read_bytes()[:-1000])
    dataset = make_dataset("ecg_file", folder / "plain.tsv")
    with pytest.raises(ConfigError, match=r"r1_0.mat does not exist"):
        dataset[2]
    with pytest.raises(ConfigError, match=r"r2_1.mat is truncated"):
        list(BatchIterator(make_dataset("ecg_file", _without(folder, "r1_0")), batch_size=2, num_workers=1).batches(1))


def _without(folder, name):
    path = folder / "rest.tsv"
    path.write_text("".join(line for line in (folder / "plain.tsv").read_text().splitlines(True) if name not in line))
    return path


def test_nan_is_an_error_that_names_the_lead_unless_that_lead_is_not_loaded(segments):
    folder = segments()
    signal = np.ones((12, SAMPLES))
    signal[7] = np.nan
    write_mat(folder / "segmented/r1_0.mat", signal, idx=1)
    with pytest.raises(ConfigError, match=r"r1_0.mat holds NaN or infinite values in lead V2\. .*filter_cols=nan_any"):
        make_dataset("ecg_file", folder / "plain.tsv")[2]
    assert make_dataset("ecg_file", folder / "plain.tsv", leads_to_load=[0, 6])[2]["source"].shape == (2, SAMPLES)


def test_a_flat_lead_and_huge_values_are_data(segments):
    folder = segments()
    signal = np.full((12, SAMPLES), 1e30)
    signal[3] = 0
    write_mat(folder / "segmented/r1_0.mat", signal, idx=1)
    assert not make_dataset("ecg_file", folder / "plain.tsv")[2]["source"][3].any()


def test_files_with_other_leads_are_named(segments):
    folder = segments()
    write_mat(folder / "segmented/r1_0.mat", np.zeros((8, SAMPLES)), idx=1)
    with pytest.raises(ConfigError, match=r"r1_0.mat holds 8 leads, but .*r0_0.mat holds 12"):
        make_dataset("ecg_file", folder / "plain.tsv")[2]
    with pytest.raises(ConfigError, match=r"r1_0.mat holds 8 leads, but lead 11 \(V6\) is wanted"):
        make_dataset("ecg_file", folder / "plain.tsv", leads_to_load=[0, 11])[2]


def test_a_mat_file_without_feats_is_named(segments):
    folder = segments()
    from scipy.io import savemat

    savemat(folder / "segmented/r0_0.mat", {"val": np.zeros((12, 9))})
    with pytest.raises(ConfigError, match=r"r0_0.mat holds no array `feats`"):
        make_dataset("ecg_file", folder / "plain.tsv")


@pytest.mark.parametrize(
    "options, message",
    [
        ({"leads_to_load": ["V7"]}, "unknown lead 'V7'"),
        ({"leads_to_load": [0, 0]}, "names a lead twice"),
        ({"leads_to_load": [0], "leads_bucket": [1]}, "names leads that task.leads_to_load"),
        ({"normalize": True}, "needs task.mean_path"),
        ({"normalize": True, "mean_path": "no.txt", "std_path": "no.txt"}, "mean_path=no.txt is not a text file"),
    ],
)
def test_options_that_do_not_fit_are_named(segments, options, message):
    with pytest.raises(ConfigError, match=message):
        make_dataset("ecg_file", segments() / "plain.tsv", **options)


def test_npy_files_are_read_and_need_a_rate_only_for_what_depends_on_it(tmp_path):
    signals = np.random.default_rng(0).standard_normal((3, 12, 80)).astype(np.float32)
    for number, signal in enumerate(signals):
        np.save(tmp_path / f"{number}.npy", signal)
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\n" + "".join(f"{number}.npy\t80\n" for number in range(3)))
    dataset = make_dataset("ecg_file", tmp_path / "train.tsv")
    np.testing.assert_array_equal(dataset[1]["source"].numpy(), signals[1])
    with pytest.raises(ConfigError, match="needs the sample rate"):
        make_dataset("ecg_file", tmp_path / "train.tsv", training=True, perturbation_mode=["powerline_noise"])
    (tmp_path / "1.npy").write_bytes((tmp_path / "1.npy").read_bytes()[:500])
    with pytest.raises(ConfigError, match=r"1.npy is truncated"):
        dataset[1]
