"""The input contract: from any record to what each published family was trained on."""

import dataclasses
import json
import warnings

import numpy as np
import pytest
import scipy.io
import torch

from ecg_signals import read_record
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.interop.ecg_jepa.contract import ecg_jepa
from ecg_signals.interop.ecg_jepa_kim.contract import ecg_jepa_kim
from ecg_signals.interop.ecgfounder.contract import ecgfounder
from ecg_signals.interop.fairseq_signals.contract import ecg_fm
from ecg_signals.interop.hubert_ecg.contract import hubert_ecg
from ecg_signals.interop.merl.contract import merl
from ecg_signals.interop.st_mem.contract import st_mem
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.missing import interpolate_nan
from ecg_signals.signal.record import Record
from ecg_signals.signal.segments import segment_contract

FAMILIES = {
    "ecg_fm": ecg_fm,
    "fairseq_signals": segment_contract,
    "hubert_ecg": hubert_ecg,
    "ecg_jepa": ecg_jepa,
    "st_mem": st_mem,
}


def synthetic(rate=500, seconds=10.0, seed=0):
    """Twelve leads, mV, with a beat each second and limb leads that obey Einthoven."""
    rng = np.random.default_rng(seed)
    time = np.arange(int(rate * seconds)) / rate
    beat = np.exp(-(((time % 1.0) - 0.5) ** 2) / (2 * 0.02**2)) + 0.3 * np.sin(2 * np.pi * time)
    signal = rng.uniform(0.3, 1.5, (12, 1)) * beat * rng.choice([-1, 1], (12, 1))
    signal += 0.2 * np.sin(2 * np.pi * rng.uniform(1, 5, (12, 1)) * time)
    one, two = signal[:2]
    signal[2:6] = [two - one, -(one + two) / 2, one - two / 2, two - one / 2]
    return Record(signal.astype(np.float32), rate, list(LEADS))


def quiet(contract, record, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return contract.prepare(record, **options)


def without(record, *names):
    rows = [index for index, name in enumerate(record.leads) if name not in names]
    return dataclasses.replace(record, signal=record.signal[rows], leads=[record.leads[row] for row in rows])


def test_ecg_fm_gets_the_published_segments_to_the_last_bit(data):
    contract = ecg_fm()
    for path in sorted((data / "code15/org").glob("*.mat")):
        windows = contract.prepare(read_record(path))
        for index, window in enumerate(windows):
            stored = scipy.io.loadmat(data / f"code15/segmented/{path.stem}_{index}.mat")["feats"]
            np.testing.assert_array_equal(window.numpy(), stored.astype(np.float32))
        assert not (data / f"code15/segmented/{path.stem}_{len(windows)}.mat").exists()


@pytest.mark.parametrize("factor", [None, 5, 10])
def test_hubert_ecg_gets_the_items_of_its_own_dataset(data, golden, factor):
    items = np.load(golden / "hubert_ecg/dataset/dataset_items.npz")
    for index in range(2):
        record = read_record(data / "code15/org" / str(items[f"file_{index}"]).replace(".npy", ".mat"))
        source = hubert_ecg(factor).prepare(record)
        assert source.shape[1:] == (12, 2500 // (factor or 1))
        np.testing.assert_allclose(source[0].reshape(-1), items[f"ecg_{index}_ds{factor}"], atol=1e-5)


def test_ecg_jepa_gets_what_its_preprocessing_makes(golden):
    stages = np.load(golden / "jepa/preprocess/stages.npz")
    expected = stages["clipped"].astype(np.float64)
    raw, resampled = stages["raw"].astype(np.float64), stages["resampled_500"].astype(np.float64)
    normalized = stages["normalized"].astype(np.float64)
    std = np.diff(resampled[[0, 1000]], axis=0) / np.diff(normalized[[0, 1000]], axis=0)
    mean = resampled[0] - normalized[0] * std[0]
    contract = ecg_jepa(mean=mean, std=std[0], crop_seconds=6, baseline_removed=True)
    source = quiet(contract, Record(raw.T.astype(np.float32), 400, list(LEADS)))
    np.testing.assert_allclose(source[0].T.numpy(), expected, atol=0.03)  # the reference rounds to float16 at each step
    assert np.abs(source[0].T.numpy() - expected).mean() < 2e-3


def test_gaps_are_bridged_as_in_ecg_jepas_preprocessing(golden):
    stages = np.load(golden / "jepa/preprocess/stages.npz")
    result = interpolate_nan(stages["raw"].astype(np.float64).T).T
    np.testing.assert_allclose(result, stages["interpolated"].astype(np.float64), rtol=1e-3, atol=1e-3)


def test_ecg_jepa_crops_overlap_by_half(golden):
    clipped = np.load(golden / "jepa/preprocess/stages.npz")["clipped"]
    contract = dataclasses.replace(ecg_jepa(), steps=[])
    source = contract.prepare(Record(clipped.T.astype(np.float32), 500, list(LEADS)))
    expected = np.load(golden / "jepa/preprocess/stages.npz")["strided_crops"]
    np.testing.assert_array_equal(source.numpy()[:, :, ::25].transpose(0, 2, 1), expected.astype(np.float32))
    assert ecg_jepa().prepare(synthetic()).shape == (7, 12, 1250)


def test_st_mem_gets_what_its_evaluation_pipeline_makes(golden):
    stored = np.load(golden / "st_mem/transforms/transforms.npz")
    contract = dataclasses.replace(st_mem(), stride_samples=125)
    source = contract.prepare(Record(stored["raw_500hz_mV"], 500, list(LEADS)))
    np.testing.assert_allclose(source, stored["eval_pipeline_ncrop3"], atol=1e-4)
    assert st_mem().prepare(synthetic()).shape == (1, 12, 2250)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rate", [100, 250, 257, 360, 400, 500, 1000])
def test_records_of_any_rate_become_the_same_windows(family, rate):
    contract = FAMILIES[family]()
    source = contract.prepare(synthetic(rate, 10))
    expected = contract.prepare(synthetic(500, 10))
    assert source.shape == expected.shape and source.dtype == torch.float32
    correlation = np.corrcoef(source[0].reshape(-1), expected[0].reshape(-1))[0, 1]
    assert correlation > 0.95


@pytest.mark.parametrize("family", FAMILIES)
def test_leads_in_any_order_and_case_give_the_same_windows(family):
    contract, record = FAMILIES[family](), synthetic()
    order = np.random.default_rng(1).permutation(12)
    shuffled = Record(record.signal[order], 500, [LEADS[row].upper() for row in order])
    torch.testing.assert_close(contract.prepare(shuffled), contract.prepare(record), rtol=0, atol=0)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("lead", LEADS[:6])
def test_a_missing_limb_lead_is_derived_from_two_others(family, lead):
    contract, record = FAMILIES[family](), synthetic()
    expected = contract.prepare(record)
    torch.testing.assert_close(contract.prepare(without(record, lead)), expected, rtol=1e-3, atol=1e-3)
    record.signal[LEADS.index(lead)] = np.nan
    torch.testing.assert_close(contract.prepare(record), expected, rtol=1e-3, atol=1e-3)


def test_limb_leads_are_derived_from_leads_that_the_model_does_not_take():
    contract = segment_contract(leads=["aVF", "V1"])
    expected = contract.prepare(synthetic())
    torch.testing.assert_close(contract.prepare(without(synthetic(), "aVF")), expected, rtol=1e-3, atol=1e-3)


def test_a_missing_chest_lead_is_zero_where_leads_were_masked_in_training():
    with pytest.warns(UserWarning, match=r"the record has no V3; zero is put in"):
        source = ecg_fm().prepare(without(synthetic(), "V3"))
    expected = ecg_fm().prepare(synthetic())
    assert not source[:, 8].any()
    rest = [index for index in range(12) if index != 8]
    torch.testing.assert_close(source[:, rest], expected[:, rest], rtol=0, atol=0)


@pytest.mark.parametrize("family", ["fairseq_signals", "hubert_ecg", "ecg_jepa", "st_mem"])
def test_a_missing_chest_lead_is_an_error_for_other_models(family):
    with pytest.raises(ConfigError, match=r"the record has no V3, V6 \(found I, II, .*only limb leads can be derived"):
        FAMILIES[family]().prepare(without(synthetic(), "V3", "V6"))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_record_without_any_needed_lead_or_sample_is_an_error(family):
    with pytest.raises(ConfigError, match=r"the record has no I, II, III"):
        FAMILIES[family]().prepare(Record(np.ones((1, 5000), np.float32), 500, ["V9"]))
    with pytest.raises(ConfigError, match=r"no samples"):
        FAMILIES[family]().prepare(Record(np.ones((12, 0), np.float32), 500, list(LEADS)))


@pytest.mark.parametrize(("family", "windows"), [("ecg_fm", 12), ("hubert_ecg", 12), ("ecg_jepa", 47), ("st_mem", 6)])
def test_a_long_record_gives_as_many_windows_as_fit(family, windows):
    source, mask = FAMILIES[family]().prepare(synthetic(500, 61.2), return_mask=True)
    assert len(source) == windows and not mask.any()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_short_record_is_padded_with_a_mask_and_a_warning(family):
    contract = FAMILIES[family]()
    seconds = 0.6 * contract.window_samples / contract.sample_rate
    with pytest.warns(UserWarning, match=r"shorter than one window of .* filled up with zeros"):
        source, mask = contract.prepare(synthetic(500, seconds), return_mask=True)
    assert source.shape == mask.shape == (1, 12, contract.window_samples)
    start = int(mask[0, 0].int().argmax())
    assert abs(start / contract.window_samples - 0.6) < 0.01 and mask[..., start:].all() and not mask[..., :start].any()
    assert source[mask].abs().max() < 0.3  # exactly zero but for the ringing of HuBERT-ECG's decimation
    assert family == "hubert_ecg" or not source[mask].any()


def test_missing_samples_are_filled_as_in_training_or_refused():
    record = synthetic()
    record.signal[7, 100:140] = np.nan
    with pytest.raises(ConfigError, match=r"missing \(NaN\): V2 40; the model was trained on records without"):
        ecg_fm().prepare(record)
    with pytest.warns(UserWarning, match=r"V2 40; they are filled"):
        hubert = hubert_ecg(None).prepare(record)
    others = np.delete(hubert[0].numpy(), 7, axis=0)
    np.testing.assert_allclose(hubert[0, 7], others.mean(), atol=1e-5)  # the whole lead, as published
    with pytest.warns(UserWarning, match=r"V2 40; they are filled"):
        jepa = ecg_jepa().prepare(record)
    assert torch.isfinite(jepa).all()
    repaired = dataclasses.replace(record, signal=interpolate_nan(record.signal))
    assert torch.isfinite(ecg_fm().prepare(repaired)).all()


@pytest.mark.parametrize(("family", "value"), [("ecg_fm", 0.0), ("hubert_ecg", -1.0)])
def test_a_flat_lead_is_reported_and_has_a_fixed_value(family, value):
    record = synthetic()
    record.signal[9] = 0.25
    contract = FAMILIES[family]()
    with pytest.warns(UserWarning, match=r"flat in the whole record: V4"):
        source = contract.prepare(record)
    middle = source[:, 9, contract.window_samples // 4 : -contract.window_samples // 4]
    np.testing.assert_allclose(middle, value, atol=0.02)


@pytest.mark.parametrize("made", [ecg_jepa_kim, merl, ecgfounder])
def test_infinite_samples_are_missing_ones(made):
    gap, infinite = synthetic(), synthetic()
    gap.signal[7, 100], infinite.signal[7, 100] = np.nan, -np.inf
    with pytest.warns(UserWarning, match=r"missing \(NaN\): V2 1"):
        found = made().prepare(infinite)
    assert torch.equal(found, quiet(made(), gap)) and bool(found.isfinite().all())


def test_a_record_shorter_than_the_median_of_its_baseline_is_prepared_without_a_further_warning():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ecgfounder().prepare(synthetic(500, 0.3))
    assert [str(item.message).partition(",")[0] for item in caught] == ["the record has 0.3 s"]


def test_windows_may_be_filtered_and_normalised_as_the_task_was():
    contract = segment_contract(filtered=True, mean=[0.5] * 12, std=[2.0] * 12)
    plain, result = segment_contract().prepare(synthetic()), contract.prepare(synthetic())
    from ecg_signals.signal.filters import clean

    np.testing.assert_allclose(result[1], (clean(plain[1].numpy(), 500) - 0.5) / 2, atol=1e-4)


def test_a_contract_without_resampling_refuses_other_rates():
    contract = dataclasses.replace(ecg_fm(), steps=[])
    assert contract.prepare(synthetic(500)).shape == (2, 12, 2500)
    with pytest.raises(ConfigError, match=r"the record has 250 Hz, but the model takes 500 Hz"):
        contract.prepare(synthetic(250))


def test_a_replaced_rate_or_lead_list_is_what_records_are_brought_to():
    contract = dataclasses.replace(ecg_fm(), sample_rate=250.0, leads=["II", "V5"], window_samples=1250)
    assert contract.prepare(synthetic(500, 10)).shape == (2, 2, 1250)


@pytest.mark.parametrize("family", FAMILIES)
def test_contracts_survive_json(family):
    contract = FAMILIES[family]()
    again = SignalContract.from_dict(json.loads(json.dumps(contract.to_dict())))
    assert again == contract


def test_unknown_steps_options_and_keys_name_their_neighbour():
    with pytest.raises(UsageError, match=r"unknown step 'standardize'; did you mean 'standardise'.*ecg-list step"):
        SignalContract(steps=[{"name": "standardize"}])
    with pytest.raises(UsageError, match=r"key 'step high_pass.cuttoff'; did you mean 'cutoff'"):
        SignalContract(steps=[{"name": "high_pass", "cuttoff": 1}])
    with pytest.raises(UsageError, match=r"key 'stride' of the input contract; did you mean 'stride_samples'"):
        SignalContract.from_dict({"stride": 5})
    with pytest.raises(UsageError, match=r"the decimation factor is 4"):
        hubert_ecg(4)
    with pytest.raises(ConfigError, match=r"one value for each of 12 leads, found 3 and 12"):
        ecg_jepa(mean=[0, 0, 0])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prepared_batch_passes_the_check_and_a_raw_one_does_not(family, data):
    contract = FAMILIES[family]()
    paths = sorted((data / "ptbxl_500").rglob("records500/*/*.hea"))[::60]
    records = [read_record(path) for path in paths]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        contract.check_source(torch.cat([contract.prepare(record) for record in records]))
    raw = torch.stack([torch.from_numpy(record.signal[:, : contract.window_samples]) for record in records])
    for scale in (1, 1000):
        with pytest.warns(UserWarning, match=r"the model was trained on .*Make source with model.signal.prepare"):
            contract.check_source(scale * raw)


def test_a_batch_of_the_wrong_shape_says_what_the_model_takes():
    contract = ecg_fm()
    source = contract.prepare(synthetic())
    with pytest.warns(UserWarning, match=r"1000 samples per window; the model was trained on 2500 \(5 s at 500 Hz\)"):
        contract.check_source(source[:, :, :1000])
    with pytest.raises(ConfigError, match=r"shape \[2, 8, 2500\]; the model takes \[batch, 12, 2500\]"):
        contract.check_source(source[:, :8])
    source[0, 0, 0] = torch.nan
    with pytest.raises(ConfigError, match=r"source holds NaN"):
        contract.check_source(source)


def test_importing_the_contract_does_not_import_torch():
    import subprocess
    import sys

    module = "ecg_signals.interop.hubert_ecg.contract"
    code = f"import sys, {module}; sys.exit('torch' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
