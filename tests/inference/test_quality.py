"""What an answer says of the record's quality, and records that get none."""

import json
import sys
import warnings
from pathlib import Path

import ecg_signals.sample
import numpy as np
import pytest
from vendor_files import scp_bytes

from ecg_signals.cli.predict import main
from ecg_signals.cli.view import run as view
from ecg_signals.inference.pictures import unanswered
from ecg_signals.inference.predict import Predictor, as_text
from ecg_signals.readers.read import read_record
from ecg_signals.signal.leads import LEADS

FILE = Path(next(iter(ecg_signals.sample.__path__))) / "records500" / "00000" / "00017_hr"


@pytest.fixture(scope="module")
def masked(golden):
    """A model that was trained with lead masking."""
    return Predictor(golden / "wcr" / "clf" / "checkpoint.pt")


@pytest.fixture(scope="module")
def signal():
    return read_record(FILE).signal


def saved(path, signal):
    np.save(path, np.asarray(signal, dtype=np.float32))
    return path


def test_a_sound_record_says_so_and_a_suspicion_is_the_first_line(masked, signal, tmp_path):
    assert as_text([masked.predict(FILE)]).splitlines()[1] == "  quality: ok"
    turned = signal[[0, 2, 1, 4, 3, 5, *range(6, 12)]]
    turned[0] *= -1  # the arms' electrodes exchanged
    found = masked.predict(saved(tmp_path / "a.npy", turned), sample_rate=500)
    assert found.error is None and "LA/RA" in found.quality.swap and "dextrocardia" in found.quality.swap
    assert as_text([found]).splitlines()[1].startswith("  quality: limited: check the electrodes")


def test_a_flat_lead_is_missing_to_a_model_that_knows_missing_leads(masked, signal, tmp_path):
    flat, gone = signal.copy(), signal.copy()
    flat[8], gone[8] = 0.2, np.nan
    wanted = masked.predict(saved(tmp_path / "gone.npy", gone), sample_rate=500)
    found = masked.predict(saved(tmp_path / "flat.npy", flat), sample_rate=500)
    assert found.probabilities == wanted.probabilities and found.quality.leads["V3"] == ["flat"]
    assert any("no V3; zero is put in" in text for text in found.warnings)


def test_an_unusable_record_has_no_answer_but_a_picture(masked, signal, golden, tmp_path, monkeypatch, capsys):
    path, sound = saved(tmp_path / "zeros.npy", 0 * signal), saved(tmp_path / "sound.npy", signal)
    model = golden / "wcr" / "clf" / "checkpoint.pt"
    words = [path, sound, "--sample-rate", "500", "--model", model, "--device", "cpu"]
    monkeypatch.setattr(sys, "argv", ["ecg-predict", *map(str, words), "--json", "--plot", str(tmp_path / "drawn")])
    with pytest.raises(SystemExit) as ended:
        main()
    bad, good = json.loads(capsys.readouterr().out)
    assert ended.value.code == 1 and "probabilities" not in bad and "probabilities" in good
    assert bad["quality"]["verdict"] == "unusable" and bad["quality"]["leads"]["V6"] == ["flat"]
    assert good["quality"] == {"verdict": "ok", "leads": {lead: [] for lead in LEADS}, "texts": [], "swap": None}
    assert sorted(path.name for path in (tmp_path / "drawn").iterdir()) == ["sound.npy.png", "zeros.npy.png"]
    assert masked.predict(path, force=True, sample_rate=500).probabilities


def test_noise_and_a_wrong_unit_have_no_answer(masked, signal, tmp_path):
    noise = np.random.default_rng(0).standard_normal(signal.shape)
    found = masked.predict(saved(tmp_path / "noise.npy", noise), sample_rate=500)
    assert "unusable: 12 of 12 leads are flat or noise" in found.error and not found.probabilities
    counts = masked.predict(saved(tmp_path / "counts.npy", signal * 200), sample_rate=500)
    assert "--units" in counts.error and counts.quality.verdict == "unusable"
    assert masked.predict(tmp_path / "counts.npy", sample_rate=500, units="5uV").error is None


def test_places_of_leads_that_other_leads_were_recorded_for_stay_empty(golden, signal, tmp_path):
    leads = ["I", "II", "V3R", "V1", "V2", "V4", "V6", "V7"]
    rows = [LEADS.index(name) if name in LEADS else 6 for name in leads]
    path = tmp_path / "right.scp"
    path.write_bytes(scp_bytes(signal[rows], leads))
    found = Predictor(golden / "hubert_ecg" / "checkpoints" / "finetune_linear.pt").predict(path)
    assert found.error.startswith("the record has no V3, V5 ")
    sheet = unanswered(read_record(path), found)
    drawn, named = {trace.lead for trace in sheet.traces}, {text.words for text in sheet.texts if text.role == "lead"}
    assert {"V3 not recorded", "V5 not recorded", "V3R", "V7", "V4"} <= named
    assert not {"V3", "V5"} & drawn and {"V3R", "V7", "V4"} <= drawn


def test_the_sheet_says_what_is_wrong_and_nothing_of_a_sound_record(signal, tmp_path):
    flat = signal.copy()
    flat[8] = 0
    for name, values in (("flat", flat), ("sound", signal)):
        path = saved(tmp_path / f"{name}.npy", values)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            view([str(path), "--sample-rate", "500", "--out", str(tmp_path / f"{name}.svg")])
        drawn = "quality limited: flat: V3" in (tmp_path / f"{name}.svg").read_text()
        said = any("quality limited: flat: V3" in str(item.message) for item in caught)
        assert drawn == said == (name == "flat")
