"""Records of any rate, lead order and length through every family's `prepare`, and through ecg-predict."""

import json
import sys
from pathlib import Path

import ecg_signals.sample
import numpy as np
import pytest

from ecg_signals.cli.predict import main
from ecg_signals.config import ConfigError
from ecg_signals.interop.ecg_jepa.contract import ecg_jepa
from ecg_signals.interop.fairseq_signals.contract import ecg_fm
from ecg_signals.interop.hubert_ecg.contract import hubert_ecg
from ecg_signals.interop.st_mem.contract import st_mem
from ecg_signals.readers.read import read_record
from ecg_signals.signal.leads import LEADS
from ecg_signals.signal.record import Record
from ecg_signals.signal.segments import segment_contract

FILE = Path(next(iter(ecg_signals.sample.__path__))) / "records500" / "00000" / "00028_hr"
RATES = [250, 257, 360, 400, 500, 1000]
CONTRACTS = {
    "ecg_fm": ecg_fm(),
    "fairseq_signals": segment_contract(),
    "hubert_ecg": hubert_ecg(),
    "hubert_ecg_500_hz": hubert_ecg(None),
    "ecg_jepa": ecg_jepa(),
    "st_mem": st_mem(),
}
MASKED = ("ecg_fm",)  # trained with lead masking
MODELS = {"ecg_fm": "wcr/clf/checkpoint.pt", "hubert_ecg": "hubert_ecg/checkpoints/finetune_linear.pt"}


@pytest.fixture(scope="module")
def plain():
    return read_record(FILE)


def changed(record, rate=500, without=(), seconds=None, shuffled=False):
    """The same heart recorded otherwise: at `rate`, some leads missing or in another order, shorter or longer."""
    from scipy.signal import resample

    leads = [lead for lead in record.leads if lead not in without]
    if shuffled:
        leads = [leads[index] for index in np.random.default_rng(1).permutation(len(leads))]
    signal = resample(record.signal, round(record.signal.shape[1] * rate / 500), axis=1)
    signal = signal[[record.leads.index(lead) for lead in leads]].astype(np.float32)
    if seconds:
        signal = np.tile(signal, (1, 6))[:, : round(seconds * rate)]
    return Record(signal, rate, leads)


def likeness(one, other):
    """The lowest correlation of two lead traces, over windows [windows, leads, samples]."""
    pairs = zip(np.asarray(one).reshape(-1, one.shape[-1]), np.asarray(other).reshape(-1, other.shape[-1]))
    return min(np.corrcoef(a, b)[0, 1] for a, b in pairs)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("family", CONTRACTS)
def test_another_rate_order_and_a_missing_limb_lead_give_the_same_windows(family, rate, plain):
    contract = CONTRACTS[family]
    wanted = contract.prepare(plain)
    found = contract.prepare(changed(plain, rate, without=("aVL",), shuffled=True))
    assert found.shape == wanted.shape and likeness(found, wanted) > 0.98


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("family", CONTRACTS)
def test_a_missing_chest_lead_is_zero_after_lead_masking_and_else_one_error_that_names_it(family, rate, plain):
    contract, record = CONTRACTS[family], changed(plain, rate, without=("V3",), shuffled=True)
    if family in MASKED:
        with pytest.warns(UserWarning, match="no V3; zero is put in"):
            source = contract.prepare(record)
        others = [index for index, lead in enumerate(LEADS) if lead != "V3"]
        assert not source[:, LEADS.index("V3")].any()
        assert likeness(source[:, others], contract.prepare(plain)[:, others]) > 0.98
    else:
        with pytest.raises(ConfigError, match=r"the record has no V3 .* Give a record with these leads"):
            contract.prepare(record)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("family", CONTRACTS)
def test_three_seconds_are_filled_up_where_a_window_is_longer_and_sixty_give_all_windows(family, rate, plain):
    contract = CONTRACTS[family]
    window = contract.window_samples / contract.sample_rate
    stride = (contract.stride_samples or contract.window_samples) / contract.sample_rate
    record = changed(plain, rate, seconds=3)
    if window > 3:
        with pytest.warns(UserWarning, match="3 s, shorter than one window"):
            source, mask = contract.prepare(record, return_mask=True)
        valid = round(3 * contract.sample_rate)
        assert len(source) == 1 and abs(int((~mask[0, 0]).sum()) - valid) <= 1 and mask[0, :, valid + 1 :].all()
    else:
        assert len(contract.prepare(record)) == int((3 - window) / stride + 1e-6) + 1
    source, mask = contract.prepare(changed(plain, rate, seconds=60), return_mask=True)
    assert len(source) == int((60 - window) / stride + 1e-6) + 1 and not mask.any() and source.isfinite().all()


def predicted(capsys, monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["ecg-predict", *map(str, words), "--json", "--device", "cpu"])
    with pytest.raises(SystemExit) as end:
        main()
    return end.value.code, json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("family", MODELS)
def test_ecg_predict_gives_a_result_or_one_clear_error_for_each(family, golden, plain, tmp_path, capsys, monkeypatch):
    model = ["--model", golden / MODELS[family]]
    _, [wanted] = predicted(capsys, monkeypatch, FILE, *model)
    for rate in RATES:
        cases = {
            "same": changed(plain, rate, shuffled=True),
            "limb": changed(plain, rate, without=("III",), shuffled=True),
            "chest": changed(plain, rate, without=("V6",), shuffled=True),
            "short": changed(plain, rate, seconds=3),
            "long": changed(plain, rate, seconds=60),
        }
        for name, record in cases.items():
            path = tmp_path / f"{name}_{rate}.npy"
            np.save(path, record.signal)
            stated = ["--sample-rate", rate, "--leads", ",".join(record.leads)]
            status, [found] = predicted(capsys, monkeypatch, path, *model, *stated)
            if name == "chest" and family not in MASKED:
                assert status == 1 and found["error"].startswith("the record has no V6")
                continue
            assert status == 0 and all(0 <= value <= 1 for value in found["probabilities"].values())
            assert len(found["windows"]) == {"short": 1, "long": 12}.get(name, 2)
            assert bool(found["warnings"]) == (name in ("chest", "short"))
            if name in ("same", "limb"):
                near = [
                    abs(found["probabilities"][key] - wanted["probabilities"][key]) for key in wanted["probabilities"]
                ]
                assert max(near) < 0.06, (name, rate)
