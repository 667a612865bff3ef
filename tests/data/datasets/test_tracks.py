"""Annotations of every sample go along with the signal: cropped, padded and viewed alike, whatever their shape."""

import numpy as np
import pytest
import torch
from data_helpers import make_dataset, write_mat

from ecg_signals.config import ConfigError
from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.datasets.cmsc import CmscDataset
from ecg_signals.data.datasets.ecg_file import EcgFileConfig, EcgFileDataset
from ecg_signals.data.patients import PatientsConfig
from ecg_signals.registry import register_dataset

NAMES = ("wave", "inside", "per_lead")
LENGTHS = [50, 90, 70]


@pytest.fixture
def waves(monkeypatch):
    """A plugin's datasets, which name the tracks that they read."""
    monkeypatch.setattr(register_dataset, "entries", dict(register_dataset.entries))
    register_dataset("waves", dataclass=EcgFileConfig)(type("Waves", (EcgFileDataset,), {"tracks": NAMES}))
    register_dataset("pairs_of_waves", dataclass=PatientsConfig)(type("Pairs", (CmscDataset,), {"tracks": NAMES}))


@pytest.fixture
def annotated(segments):
    """Signals whose samples count up, and tracks that say the same: sample t is t, t is odd, t for each of 12 leads."""
    folder = segments(lengths=LENGTHS)
    for record, samples in enumerate(LENGTHS):
        time = np.arange(samples)
        tracks = {"wave": time.astype(np.int64), "inside": time % 2 == 1, "per_lead": np.tile(time / 2, (3, 12, 1))}
        for segment in range(2):
            name = folder / f"segmented/r{record}_{segment}.mat"
            write_mat(name, np.tile(time, (12, 1)).astype(np.float32), idx=record, **tracks)
    return folder


@pytest.mark.parametrize("name, manifest", [("waves", "plain"), ("pairs_of_waves", "pairs")])
@pytest.mark.parametrize("options", [
    {"max_sample_size": 40}, {}, {"enable_padding": True}, {"enable_padding": True, "max_sample_size": 60},
    {"enable_padding": True, "num_batch_buckets": 2},
])  # fmt: skip
def test_tracks_are_cropped_and_padded_as_the_signal_is(waves, annotated, name, manifest, options):
    dataset = make_dataset(name, annotated / f"{manifest}.tsv", training=True, leads_to_load=[3], **options)
    (batch,) = BatchIterator(dataset, batch_size=9, num_workers=1).batches(1)
    source, tracks = batch["net_input"]["source"], batch["tracks"]
    samples = source.shape[-1]
    assert tracks["wave"].dtype == torch.int64 and tracks["wave"].shape == (6, 1, samples)
    assert tracks["inside"].shape == (6, 1, samples) and tracks["per_lead"].shape == (6, 3, 12, samples)
    assert torch.equal(tracks["wave"], source.long())
    assert torch.equal(tracks["inside"].bool(), source.long() % 2 == 1)
    assert torch.equal(tracks["per_lead"], (source / 2).double()[:, :, None].expand(6, 3, 12, samples))
    assert "padding_mask" not in batch["net_input"] or not tracks["wave"][batch["net_input"]["padding_mask"]].any()


def test_a_file_without_a_track_or_with_one_of_another_length_is_named(waves, annotated):
    dataset = make_dataset("waves", annotated / "plain.tsv")
    signal = np.ones((12, 50), dtype=np.float32)
    write_mat(annotated / "segmented/r0_1.mat", signal, wave=np.arange(50), inside=np.arange(50))
    with pytest.raises(ConfigError, match=r"r0_1.mat holds no array per_lead; expected .* 50 samples"):
        dataset[1]
    write_mat(annotated / "segmented/r0_1.mat", signal, wave=np.arange(49))
    with pytest.raises(
        ConfigError, match=r"r0_1.mat holds wave \[1, 49\]; expected .* 50 samples, wave \[..., samples\]"
    ):
        dataset[1]
