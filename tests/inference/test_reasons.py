"""Reasons: occlusion finds what a rule reads, changes with the weights, and says when it found nothing."""

import json
import sys
from pathlib import Path

import ecg_signals.sample
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from ecg_signals.cli.predict import main
from ecg_signals.inference import reasons
from ecg_signals.inference.predict import Predictor
from ecg_signals.inference.reasons import Occlusion, Reason, Windows, explain
from ecg_signals.readers.read import read_record
from ecg_signals.signal.contract import SignalContract
from ecg_signals.signal.leads import LEADS

SAMPLE = Path(next(iter(ecg_signals.sample.__path__)))
FILES = sorted(SAMPLE.glob("records500/*/*.hea"))
CONTRACT = SignalContract(sample_rate=100.0, window_samples=500, steps=[{"name": "resample"}, {"name": "standardise"}])
V5 = LEADS.index("V5")


def windows_of(file: Path, contract: SignalContract = CONTRACT) -> Windows:
    source, mask = contract.prepare(read_record(file.with_suffix("")), return_mask=True)
    stride = (contract.stride_samples or contract.window_samples) / contract.sample_rate
    return Windows(source, mask, [k * stride for k in range(len(source))], contract.sample_rate, contract.leads)


def mean_logit(logits: Tensor) -> float:
    return float(logits.double().mean())


def reason_of(windows: Windows, ask) -> Reason:
    return explain(Occlusion(windows, ask, mean_logit), "label")


def cell_values(reason: Reason) -> np.ndarray:
    """[leads, cells]."""
    return np.array([[value for *_, value in reason.cells[lead]] for lead in reason.leads])


def planted(windows: Windows):
    """V5 is inverted between 2 and 3 s of the record's first window; the rule reads that."""
    shape = windows.source[0, V5, 200:300].clone()
    shape -= shape.mean()
    windows.source[0, V5, 200:300] = -windows.source[0, V5, 200:300]

    def ask(source: Tensor, padding: Tensor | None) -> Tensor:
        alike = (source[:, V5, 200:300] * shape).sum(dim=1) / shape.square().sum()
        return (-4 * alike)[:, None]

    return ask


def test_a_planted_rule_is_found_in_its_lead_and_its_second():
    windows = windows_of(FILES[3])
    windows = Windows(windows.source[:1], windows.padding[:1], [0.0], 100.0, windows.leads)
    reason = reason_of(windows, planted(windows))
    values = np.maximum(cell_values(reason), 0)
    assert values.shape == (12, 20) and values[V5, 8:12].sum() >= 0.9 * values.sum() > 0
    assert reason.leads["V5"] > 1 and max(abs(reason.leads[lead]) for lead in LEADS if lead != "V5") < 1e-6
    assert reason.stable and reason.lost > 10 * max(reason.random, 0.01)
    begin, end, _ = max((cell for cell in reason.cells["V5"]), key=lambda cell: cell[2])
    assert 2 <= begin < end <= 3


class Network(nn.Module):
    """A small random network over all leads."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.layers = nn.Sequential(nn.Conv1d(12, 24, 25, 4, 12), nn.Tanh(), nn.Conv1d(24, 24, 15, 4, 7), nn.Tanh())
        self.head = nn.Linear(24, 1)
        for weight in self.parameters():
            nn.init.normal_(weight, std=0.3)

    @torch.no_grad()
    def forward(self, source: Tensor, padding: Tensor | None = None) -> Tensor:
        return self.head(self.layers(source).amax(dim=-1))


def test_the_map_of_shuffled_weights_is_another():
    alike = []
    for number, file in enumerate(FILES[:6]):
        windows, network = windows_of(file), Network(number)
        first = cell_values(reason_of(windows, network)).ravel()
        for weight in network.parameters():
            weight.data = weight.data.ravel()[torch.randperm(weight.numel())].view_as(weight)
        alike.append(spearmanr(first, cell_values(reason_of(windows, network)).ravel()).statistic)
    assert np.mean(np.abs(alike)) < 0.3


def test_deleting_the_best_cells_costs_more_than_deleting_random_ones():
    network = Network(0)
    better = [found.lost > found.random for file in FILES[:25] for found in _of_each_window(file, network)]
    assert len(better) == 50 and np.mean(better) >= 0.9


def _of_each_window(file: Path, network: Network):
    windows = windows_of(file)
    for k in range(2):
        one = Windows(windows.source[k : k + 1], windows.padding[k : k + 1], [0.0], 100.0, windows.leads)
        yield reason_of(one, network)


def test_a_model_that_looks_at_nothing_has_no_reason():
    reason = reason_of(windows_of(FILES[0]), lambda source, padding: torch.zeros(len(source), 1))
    assert not reason.stable and reason.count == 0 and "no stable reason found" in reason.words()
    assert not cell_values(reason).any()


def test_only_what_the_record_has_is_left_out_and_padding_stays(tmp_path: Path):
    record = read_record(FILES[0].with_suffix(""))
    record.signal = record.signal[:, :1500]
    seen = []

    def ask(source: Tensor, padding: Tensor | None) -> Tensor:
        assert padding is not None and bool(padding[:, :, 300:].all()) and not padding[:, :, :300].any()
        seen.append(len(source))
        assert not source[:, :, 300:].any()
        return source.mean(dim=(1, 2))[:, None]

    with pytest.warns(UserWarning, match="filled up with zeros"):
        source, mask = CONTRACT.prepare(record, return_mask=True)
    reason = reason_of(Windows(source, mask, [0.0], 100.0, CONTRACT.leads), ask)
    assert {len(own) for own in reason.cells.values()} == {12} and max(seen) <= 64
    assert sum(seen) == 1 + 12 + 144 + 1 + reasons.DRAWS


def test_a_cell_is_left_out_of_all_windows_that_overlap_there():
    contract = SignalContract(sample_rate=100.0, window_samples=500, stride_samples=250, steps=CONTRACT.steps)
    windows = windows_of(FILES[0], contract)
    assert len(windows.source) == 3
    occlusion = Occlusion(windows, lambda source, padding: source[:, :1, 0], mean_logit)
    assert occlusion.grid() == list(range(40))
    assert occlusion.pieces(2, 12) == [(0, 2, 300, 325), (1, 2, 50, 75)]
    assert occlusion.pieces(0, 39) == [(2, 0, 475, 500)]


def test_a_long_record_is_asked_where_its_answer_is_highest():
    source = torch.randn(40, 12, 500)
    source[7, 0] += 3
    windows = Windows(
        source, torch.zeros_like(source, dtype=torch.bool), [5.0 * k for k in range(40)], 100.0, list(LEADS)
    )
    reason = reason_of(windows, lambda source, padding: source[:, 0].mean(dim=1, keepdim=True))
    assert (reason.windows, reason.of_windows) == (12, 40) and "12 of 40 windows" in reason.words()
    assert any(begin == 35.0 for begin, *_ in reason.cells["I"])


def test_few_leads_have_cells_where_a_model_is_large():
    windows = windows_of(FILES[3])
    reason = explain(Occlusion(windows, Network(1), mean_logit), "label", few_leads=3)
    ranked = sorted(reason.leads, key=lambda lead: -abs(reason.leads[lead]))
    assert set(reason.cells) == set(ranked[:3]) and len(reason.leads) == 12


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reasons, "CELL_SECONDS", 1.0)


def test_ecg_predict_explains_one_label_or_the_first(golden: Path, coarse, monkeypatch, capsys, tmp_path: Path):
    record = read_record(FILES[0].with_suffix(""))
    np.save(tmp_path / "a.npy", record.signal[:, :2500])
    words = ["ecg-predict", str(tmp_path / "a.npy"), "--sample-rate", "500", "--model"]
    words.append(str(golden / "wcr" / "clf" / "checkpoint.pt"))
    monkeypatch.setattr(sys, "argv", [*words, "--explain", "top", "--json", "--plot", str(tmp_path / "out")])
    with pytest.raises(SystemExit, match="0"):
        main()
    (found,) = json.loads(capsys.readouterr().out)
    (reason,) = found["reasons"]
    first = max(found["probabilities"], key=found["probabilities"].get)
    assert reason["label"] == first and list(reason["leads"]) == list(LEADS) and len(reason["cells"]["V1"]) == 5
    assert {"lost", "random", "stable", "text"} <= set(reason)
    assert (tmp_path / "out" / f"a.npy_why_{first}.png").is_file()
    monkeypatch.setattr(sys, "argv", [*words, "--explain", "label_9"])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert "unknown label to be explained, 'label_9'" in capsys.readouterr().err


def test_the_answer_that_is_explained_is_that_of_the_record(golden: Path):
    predictor = Predictor(golden / "wcr" / "clf" / "checkpoint.pt", published=True)
    record = read_record(FILES[0].with_suffix(""))
    found = predictor.predict(FILES[0].with_suffix(""))
    logits = predictor.logits(record)
    for label in predictor.labels:
        probability = 1 / (1 + np.exp(-predictor.logit(logits, label)))
        assert probability == pytest.approx(found.probabilities[label], rel=1e-6)
    predictor.model.logit_kind = "classes"
    shares = [1 / (1 + np.exp(-predictor.logit(logits[:1], label))) for label in predictor.labels]
    np.testing.assert_allclose(shares, logits[0].softmax(dim=0), rtol=1e-5)
