"""Span masks: bit-equal with the reference draws, and their promises."""

import json

import numpy as np
import pytest

from ecg_signals.signal.span_mask import compute_mask_indices


def test_masks_equal_the_reference_for_every_stored_call(golden):
    folder = golden / "wcr" / "batching"
    stored = np.load(folder / "masks.npz")
    for case in json.loads((folder / "mask_cases.json").read_text()):
        number, seed, shape = case.pop("case"), case.pop("np_seed"), tuple(case.pop("shape"))
        padding = stored["padding_mask"] if case.pop("with_padding") else None
        mask = compute_mask_indices(shape, padding, **case, rng=np.random.RandomState(seed))
        np.testing.assert_array_equal(mask, stored[f"case{number}"], err_msg=str(case))


def test_masks_equal_the_framework_vectors(golden):
    vectors = json.loads((golden / "fairseq_signals_trained" / "framework_vectors.json").read_text())
    for case in vectors["compute_mask_indices"]:
        padding = None
        if case.get("padding"):
            padding = np.zeros(case["shape"], dtype=bool)
            padding[1, 60:] = True
        mask = compute_mask_indices(
            tuple(case["shape"]), padding, **case["kwargs"], rng=np.random.RandomState(case["seed"])
        )
        assert [list(np.flatnonzero(row)) for row in mask] == case["mask_true_columns"]


@pytest.mark.parametrize("mask_type", ["static", "uniform", "normal", "poisson"])
def test_every_item_hides_equally_many_frames_and_no_padding(mask_type):
    padding = np.arange(90)[None] >= np.array([90, 60, 30, 12])[:, None]
    mask = compute_mask_indices((4, 90), padding, 0.65, 10, mask_type, 3, min_masks=2, rng=np.random.RandomState(0))
    assert len(set(mask.sum(axis=1))) == 1 and mask.sum() > 0
    assert not (mask & padding).any()


def test_spans_that_must_not_overlap_stay_apart():
    mask = compute_mask_indices((1, 200), None, 0.5, 8, no_overlap=True, min_space=3, rng=np.random.RandomState(3))
    starts = np.flatnonzero(np.diff(np.r_[False, mask[0]].astype(int)) == 1)
    ends = np.flatnonzero(np.diff(np.r_[mask[0], False].astype(int)) == -1) + 1
    assert set(ends - starts) == {8}
    assert (starts[1:] - ends[:-1] >= 1).all()


def test_an_unknown_length_distribution_is_an_error():
    with pytest.raises(ValueError, match="static"):
        compute_mask_indices((1, 10), None, 0.5, 2, "gamma", rng=np.random.RandomState(0))
