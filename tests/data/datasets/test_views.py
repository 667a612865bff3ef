"""The datasets whose items hold several signals, or a person."""

import numpy as np
import pytest
import torch
from data_helpers import SAMPLES, make_dataset, write_mat
from scipy.io import loadmat, savemat

from ecg_signals.config import ConfigError
from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.transforms.three_kg import three_kg_views

AUGMENTED = {"perturbation_mode": ["emg_noise", "random_leads_masking"], "mask_leads_prob": 0.3}


def stored(folder, name):
    return torch.from_numpy(loadmat(folder / "segmented" / f"{name}.mat")["feats"])


def collated(dataset, rows=(0, 1, 2)):
    return dataset.collate([dataset[row] for row in rows])


def test_a_cmsc_batch_holds_both_segments_of_every_row_in_order(segments):
    folder = segments()
    batch = collated(make_dataset("cmsc", folder / "pairs.tsv", enable_padding=True), (2, 0))
    assert batch["id"].tolist() == [2, 2, 0, 0] == batch["patient_id"].tolist()
    assert batch["segment"].tolist() == [0, 1, 0, 1]
    names = ["r2_0", "r2_1", "r0_0", "r0_1"]
    assert torch.equal(batch["net_input"]["source"], torch.stack([stored(folder, name) for name in names]))
    assert batch["net_input"]["padding_mask"].shape == (4, 12, SAMPLES) and not batch["net_input"]["padding_mask"].any()
    assert collated(make_dataset("cmsc", folder / "pairs.tsv"), ()) == {}


def test_segments_of_a_pair_are_augmented_and_cropped_each_on_its_own(segments):
    folder = segments()
    for record in range(3):
        same = loadmat(folder / f"segmented/r{record}_0.mat")["feats"]
        write_mat(folder / f"segmented/r{record}_1.mat", same, idx=record)
    dataset = make_dataset("cmsc", folder / "pairs.tsv", training=True, max_sample_size=40, **AUGMENTED)
    source = collated(dataset)["net_input"]["source"]
    assert source.shape == (6, 12, 40) and not torch.equal(source[0], source[1])
    plain = collated(make_dataset("cmsc", folder / "pairs.tsv", max_sample_size=40))["net_input"]["source"]
    assert not torch.equal(plain[0], plain[1])


@pytest.mark.parametrize(
    "files, pair_by, expected",
    [
        ({}, None, [0, 1, 2]),
        ({"patient_id": lambda record: 70 + record // 2}, None, [70, 70, 71]),
        ({"patient_id": lambda record: 70 + record // 2}, "record", [0, 1, 2]),
        ({"patient_id": lambda record: np.nan if record == 1 else 70.0}, None, [70, -2, 70]),
    ],
)
def test_pairs_belong_to_the_patient_where_files_name_one(segments, files, pair_by, expected):
    dataset = make_dataset("cmsc", segments(**files) / "pairs.tsv", pair_by=pair_by)
    assert collated(dataset)["patient_id"].tolist() == [patient for patient in expected for _ in range(2)]


def test_patients_named_by_text_are_numbered_alike_everywhere(segments):
    dataset = make_dataset("cmsc", segments(patient_id=lambda record: f"p{record // 2}") / "pairs.tsv")
    numbers = collated(dataset)["patient_id"].tolist()
    assert numbers[0] == numbers[2] != numbers[4] and min(numbers) >= 0


def test_pairing_by_patient_needs_patients(segments):
    dataset = make_dataset("cmsc", segments() / "pairs.tsv", pair_by="patient")
    with pytest.raises(ConfigError, match=r"r0_0.mat holds no patient_id.*pair_by=record"):
        dataset[0]


def test_perturbed_views_are_two_augmentations_in_training_and_copies_otherwise(segments):
    folder = segments(lengths=[50, 70, 90])
    batch = collated(
        make_dataset("perturbed_views", folder / "plain.tsv", training=True, enable_padding=True, **AUGMENTED)
    )
    assert batch["id"].tolist() == [0, 0, 1, 1, 2, 2]
    source = batch["net_input"]["source"]
    assert source.shape == (6, 12, 70) and not torch.equal(source[0], source[1])
    copies = collated(make_dataset("perturbed_views", folder / "plain.tsv", enable_padding=True, **AUGMENTED))
    assert torch.equal(copies["net_input"]["source"][0::2], copies["net_input"]["source"][1::2])
    picked = make_dataset("perturbed_views", folder / "plain.tsv", leads_to_load=[1], training=True, **AUGMENTED)
    assert collated(picked, (4, 5))["net_input"]["source"].shape == (4, 1, 90)


def test_views_are_cropped_behind_their_augmentation_or_before_it_once_for_all_or_each_on_its_own(segments):
    folder = segments(lengths=[60, 70, 90])
    options = {"max_sample_size": 40, "training": True}

    def whole(row):
        return stored(folder, f"r{row // 2}_{row % 2}")

    def starts(dataset, row):
        return [
            next(i for i in range(51) if torch.equal(view, whole(row)[:, i : i + 40]))
            for view in collated(dataset, (row,))["net_input"]["source"]
        ]

    found = {}
    for crop in ("after", "once", "each"):
        dataset = make_dataset("perturbed_views", folder / "plain.tsv", crop_views=crop, **options)
        found[crop] = [starts(dataset, row) for row in range(6)]
        assert dataset[0]["source"][0].shape[-1] == (60 if crop == "after" else 40)
    assert all(first == second for first, second in found["once"]) and len(set(map(tuple, found["once"]))) > 3
    assert all(any(first != second for first, second in found[crop]) for crop in ("after", "each"))
    gone = {"perturbation_mode": ["time_out"], "time_out_share": [0.5, 0.5], "crop_views": "once"}
    views = make_dataset("perturbed_views", folder / "plain.tsv", **options, **gone)[0]["source"]
    assert [int((view == 0).all(dim=0).sum()) for view in views] == [20, 20]  # half of the crop, not of the segment
    short = make_dataset("perturbed_views", folder / "plain.tsv", training=True, max_sample_size=65, crop_views="once")
    first, second = collated(short, (0, 5))["net_input"]["source"][2:]
    assert first.shape[-1] == 60 and torch.equal(first, second)
    with pytest.raises(ConfigError, match=r"dataset\.crop_views=once needs .*set task\.max_sample_size"):
        make_dataset("perturbed_views", folder / "plain.tsv", crop_views="once")


def test_small_views_are_stretches_of_further_views(segments):
    folder = segments(lengths=[50, 70, 90])
    options = {"max_sample_size": 40, "small_views": 3, "small_samples": 20}
    batch = collated(make_dataset("perturbed_views", folder / "plain.tsv", training=True, **options, **AUGMENTED))
    assert batch["net_input"]["source"].shape == (6, 12, 40) and batch["small"].shape == (3, 3, 12, 20)
    assert not torch.equal(batch["small"][0, 0], batch["small"][0, 1])
    plain = make_dataset("perturbed_views", folder / "plain.tsv", **options)
    whole, small = plain[0]["source"][0], plain[0]["small"]
    assert all(any(torch.equal(part, whole[:, i : i + 20]) for i in range(31)) for part in small)
    with pytest.raises(ConfigError, match=r"shorter than dataset\.small_samples=51"):
        make_dataset("perturbed_views", folder / "plain.tsv", **{**options, "small_samples": 51})[0]


def test_three_kg_views_are_drawn_for_training_and_validation(segments):
    folder = segments(patient_id=lambda record: 5 + record)
    options = {"inferred_3kg_config": {"angle": 30, "scale": 2.0, "mask_ratio": 0.25}}
    dataset = make_dataset("three_kg_views", folder / "plain.tsv", **options)
    batch = collated(dataset)
    assert batch["id"].tolist() == [0, 0, 1, 1, 2, 2] and batch["patient_id"].tolist() == [5, 5, 5, 5, 6, 6]
    expected = three_kg_views(stored(folder, "r0_0").numpy(), dataset.rng(0), angle=30, scale=2.0, mask_ratio=0.25)
    np.testing.assert_array_equal(batch["net_input"]["source"][:2].numpy(), np.stack(expected))
    some = collated(make_dataset("three_kg_views", folder / "plain.tsv", leads_to_load=["V6", "aVF"], **options))
    assert torch.equal(some["net_input"]["source"], batch["net_input"]["source"][:, [11, 5]])
    off = {"inferred_3kg_config": {"angle": 0, "scale": None, "mask_ratio": 0}}
    still = collated(make_dataset("three_kg_views", folder / "plain.tsv", **off))["net_input"]["source"]
    assert torch.equal(still[0], still[1])


def test_three_kg_needs_twelve_leads_and_known_options(segments):
    folder = segments()
    with pytest.raises(ConfigError, match="may hold angle, scale, mask_ratio"):
        make_dataset("three_kg_views", folder / "plain.tsv", inferred_3kg_config={"angel": 3})
    for key, value, limits in (("angle", -1, "0 to 180"), ("scale", 0.5, "1 or more"), ("mask_ratio", 1.5, "0 to 1"),
                               ("scale", "wide", "1 or more")):  # fmt: skip
        with pytest.raises(ConfigError, match=f"has {key}={value}; set it to {limits}, or 0"):
            make_dataset("three_kg_views", folder / "plain.tsv", inferred_3kg_config={key: value})
    for file in (folder / "segmented").iterdir():
        write_mat(file, np.zeros((8, SAMPLES)))
    with pytest.raises(ConfigError, match="holds 8 leads; 3KG"):
        make_dataset("three_kg_views", folder / "plain.tsv")[0]


def test_identification_items_carry_class_and_patient(segments):
    dataset = make_dataset(
        "identification", segments(patient_id=lambda record: 5 + record) / "people.tsv", training=True
    )
    batch = collated(dataset, (0, 2, 5))
    assert batch["label"].tolist() == [0, 1, 0] and batch["label"].dtype == torch.int64
    assert batch["patient_id"].tolist() == [5, 6, 7] and dataset.num_labels == 2
    assert collated(dataset, ()) == {}


@pytest.fixture
def pointers(data, tmp_path):
    """Three files that point to real WFDB records, with leads and labels of their own."""
    records = [data / f"ptbxl_500/records500/00000/0000{number}_hr" for number in (1, 2, 3)]
    leads = [[1], [6, 7, 8], list(range(12))]
    for number, (record, lead) in enumerate(zip(records, leads)):
        target = np.arange(number + 1)
        others = {"label": target % 2, "target_idx": target, "attribute_id": number}
        savemat(tmp_path / f"{number}.mat", {"ecg_path": str(record), "lead": lead, **others})
    (tmp_path / "train.tsv").write_text(f"{tmp_path}\n" + "".join(f"{number}.mat\t5000\n" for number in range(3)))
    return tmp_path / "train.tsv"


def test_pointed_records_load_the_leads_and_labels_their_files_name(pointers, data):
    from ecg_signals.readers.read import read_record

    dataset = make_dataset(
        "ecg_path", pointers, load_specific_lead=True, enable_padding_leads=True, enable_padding=True
    )
    batch = collated(dataset)
    assert [label.tolist() for label in batch["label"]] == [[0], [0, 1], [0, 1, 0]]
    assert [target.tolist() for target in batch["target_idx"]] == [[0], [0, 1], [0, 1, 2]]
    assert [attribute.tolist() for attribute in batch["attribute_id"]] == [[0], [1], [2]]
    source = batch["net_input"]["source"]
    record = read_record(data / "ptbxl_500/records500/00000/00002_hr")
    np.testing.assert_array_equal(source[1, [6, 7, 8]].numpy(), record.signal[[6, 7, 8]])
    assert source.shape == (3, 12, 5000) and not source[1, [0, 1, 9]].any() and source[0, 1].any()
    assert make_dataset("ecg_path", pointers, leads_to_load=[0, 1])[2]["source"].shape == (2, 5000)


def test_pointed_records_with_other_leads_need_padded_rows_to_share_a_batch(pointers):
    with pytest.raises(ConfigError, match="enable_padding_leads=true"):
        collated(make_dataset("ecg_path", pointers, load_specific_lead=True))


def test_a_file_that_points_nowhere_is_named(pointers):
    savemat(pointers.parent / "1.mat", {"feats": np.zeros((12, 9))})
    with pytest.raises(ConfigError, match=r"1.mat holds no ecg_path"):
        make_dataset("ecg_path", pointers)[1]
    savemat(pointers.parent / "1.mat", {"ecg_path": "/nowhere/at_all"})
    with pytest.raises(ConfigError, match="at_all"):
        make_dataset("ecg_path", pointers)[1]


def test_views_do_not_depend_on_loading_processes_or_batches(segments):
    folder = segments(records=5)
    for name, manifest in (("cmsc", "pairs"), ("perturbed_views", "plain"), ("three_kg_views", "plain")):

        def sources(size, workers, name=name, manifest=manifest):
            dataset = make_dataset(name, folder / f"{manifest}.tsv", training=True, max_sample_size=50, **AUGMENTED)
            batches = BatchIterator(dataset, batch_size=size, shuffle=False, num_workers=workers).batches(2)
            return torch.cat([batch["net_input"]["source"] for batch in batches])

        assert torch.equal(sources(2, 0), sources(3, 2))
