"""Masks of JEPA: the published ones from the same generator, their statistics from a faster one, and the edges."""

import json
from pathlib import Path

import numpy as np
import pytest

from ecg_signals.config import ConfigError
from ecg_signals.models.jepa.masks import MaskRule
from ecg_signals.registry import build


def runs(row: np.ndarray) -> list[tuple[bool, int]]:
    """(visible, length) of every run."""
    edges = np.flatnonzero(np.diff(row.astype(int))) + 1
    return [(bool(part[0]), len(part)) for part in np.split(row, edges)]


def as_rows(visible: np.ndarray, patches: int) -> np.ndarray:
    rows = np.zeros((len(visible), patches), dtype=bool)
    np.put_along_axis(rows, visible, True, axis=1)
    return rows


@pytest.mark.parametrize("name", ["default_10s", "doc_36", "finetune_like_100"])
def test_the_published_call_order_gives_the_published_masks(name: str, golden: Path):
    stored = np.load(golden / "jepa" / "masks" / f"exact_{name}.npz")
    patches, rule = int(stored["num_patches"]), MaskRule(int(stored["min_block_size"]), *stored["keep_ratio"])
    for seed, kept, packed in zip(stored["seed"], stored["num_keep"], stored["mask_packed"]):
        visible, masked = rule.draw_in_published_order(1, patches, np.random.RandomState(seed))
        assert visible.shape == (1, kept) and masked.shape == (1, patches - kept)
        assert np.array_equal(as_rows(visible, patches)[0], np.unpackbits(packed)[:patches].astype(bool))


def test_a_published_batch_is_drawn_row_by_row_behind_one_share(golden: Path):
    stored = np.load(golden / "jepa" / "masks" / "collator_batch.npz")
    found = MaskRule().draw_in_published_order(6, 200, np.random.RandomState(int(stored["seed"])))
    assert np.array_equal(found[0], stored["mask_encoder"]) and np.array_equal(found[1], stored["mask_predictor"])


@pytest.mark.parametrize("name", ["default_10s", "doc_36", "finetune_like_100"])
def test_all_rows_at_once_have_the_published_statistics(name: str, golden: Path):
    """Within five standard errors of both samples."""
    wanted = json.loads((golden / "jepa" / "masks" / "stats.json").read_text())[name]
    rule = MaskRule(wanted["min_block_size"], wanted["min_keep_ratio"], wanted["max_keep_ratio"])
    patches, rng = wanted["num_patches"], np.random.default_rng(7)
    rows = np.concatenate([as_rows(rule.draw(4, patches, rng)[0], patches) for _ in range(500)])
    parts = [runs(row) for row in rows]
    found = {
        "kept_ratio": rows.mean(axis=1),
        "masked_runs_per_mask": [sum(not visible for visible, _ in row) for row in parts],
        "masked_run_length": [size for row in parts for visible, size in row if not visible],
        "kept_runs_per_mask": [sum(visible for visible, _ in row) for row in parts],
        "kept_run_length": [size for row in parts for visible, size in row if visible],
        "longest_masked_run": [max(size for visible, size in row if not visible) for row in parts],
    }
    for key, values in found.items():
        spread = wanted[key]["std"] * (1 / wanted[key]["n"] + 4 / len(values)) ** 0.5  # four rows share a ratio
        assert abs(np.mean(values) - wanted[key]["mean"]) < 5 * spread, key
        assert np.std(values) == pytest.approx(wanted[key]["std"], rel=0.08), key
    tenth = patches // 10
    middle = slice((patches - tenth) // 2, (patches - tenth) // 2 + tenth)
    for key, place in (("first", slice(0, tenth)), ("middle", middle), ("last", slice(-tenth, None))):
        assert rows[:, place].mean() == pytest.approx(wanted[f"keep_frequency_{key}_decile"], abs=0.04)
    assert min(found["masked_run_length"]) >= rule.min_block


@pytest.mark.parametrize("drawn", ["rows at once", "row by row"])
def test_turned_masks_show_every_patch_equally_often(drawn: str):
    rule, shares = MaskRule(min_block=5, rotate=True), []
    rng = np.random.default_rng(0) if drawn == "rows at once" else np.random.RandomState(0)
    draw = rule.draw if drawn == "rows at once" else rule.draw_in_published_order
    shares = np.mean([as_rows(draw(40, 40, rng)[0], 40).mean(axis=0) for _ in range(50)], axis=0)
    assert shares.std() < 0.02 and shares.max() - shares.min() < 0.08
    plain = np.mean([as_rows(MaskRule(min_block=5).draw(40, 40, np.random.default_rng(k))[0], 40).mean(axis=0)
                     for k in range(50)], axis=0)  # fmt: skip
    assert plain.max() - plain.min() > 0.3


@pytest.mark.parametrize("patches", [2, 3, 5, 11, 12, 13, 40])
@pytest.mark.parametrize("share", [(0.01, 0.02), (0.15, 0.25), (0.9, 1.0)])
def test_short_inputs_keep_a_visible_and_a_masked_patch_whatever_the_block(patches: int, share: tuple[float, float]):
    rule = MaskRule(10, *share)
    for visible, masked in (
        rule.draw(3, patches, np.random.default_rng(0)),
        rule.draw_in_published_order(3, patches, np.random.RandomState(0)),
    ):
        assert visible.shape[1] >= 1 and masked.shape[1] >= 1 and visible.shape[0] == 3
        assert np.array_equal(np.sort(np.hstack([visible, masked]), axis=1), np.tile(np.arange(patches), (3, 1)))
        assert (np.diff(visible, axis=1) > 0).all() and (np.diff(masked, axis=1) > 0).all()


def test_what_cannot_be_masked_says_what_to_set():
    with pytest.raises(ConfigError, match=r"1 patch; set model\.patch_size"):
        MaskRule().draw(2, 1, np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"model\.min_keep_ratio=0\.3 is more than model\.max_keep_ratio=0\.25"):
        build("model", "jepa", min_keep_ratio=0.3)
