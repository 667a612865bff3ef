"""A recipe names registered metrics, a plugin's too: validations print them, and the best file is chosen by one."""

import json

import numpy as np
import pytest

from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError, UsageError
from ecg_signals.evaluation.evaluator import Evaluator
from ecg_signals.metrics.base import Metric
from ecg_signals.registry import REGISTRIES, register_metric
from ecg_signals.runtime.placement import Placement
from ecg_signals.training.trainer import Trainer


@pytest.fixture
def sureness():
    @register_metric("sureness")
    class Sureness(Metric):
        """How far scores are from one half."""

        best = 0.5

        def __call__(self, scored):
            return np.abs(scored.scores - 0.5).mean(axis=0)

    yield "sureness"
    del REGISTRIES["metric"].entries["sureness"]


def sections_of(classification, metrics, best="loss", **criterion):
    recipe = {**classification, "common_eval": {"metrics": metrics}}
    recipe["criterion"] = {**recipe["criterion"], **criterion}
    recipe["checkpoint"] = {**recipe["checkpoint"], "best_checkpoint_metric": best,
                            "maximize_best_checkpoint_metric": best != "loss"}  # fmt: skip
    return recipe


def trained(*recipe, **criterion):
    trainer = Trainer(resolve_config(sections_of(*recipe, **criterion)))
    trainer.train()
    lines = map(json.loads, (trainer.save_dir / "metrics.jsonl").read_text().splitlines())
    return trainer, [row for row in lines if row["split"] == "valid"]


def test_the_best_file_is_chosen_by_a_plugins_metric_that_the_recipe_names(classification, sureness):
    trainer, rows = trained(classification, [sureness, "specificity"], sureness)
    assert trainer.manager.best == max(row["sureness"] for row in rows) > 0
    assert all("specificity" in row and "auroc" in row for row in rows)


def test_one_of_a_name_that_the_criterion_prints_stands_beside_it_and_equals_the_macro_mean(classification):
    _, rows = trained(classification, ["auroc", "recall"])
    for row in rows:
        assert row["auroc_macro"] == pytest.approx(row["auroc"]) and {"recall", "recall_macro"} <= set(row)


def test_a_label_without_a_value_counts_in_the_mean_as_the_recipe_says(classification, tmp_path):
    labels = np.load(classification["task"]["label_file"])
    labels[8:, 2] = 0  # none of the validation's records has it
    np.save(tmp_path / "y.npy", labels)
    recipe = {**classification, "task": {**classification["task"], "label_file": str(tmp_path / "y.npy")}}
    recipe["optimization"] = {"max_update": 1, "lr": [1e-3]}
    sections = sections_of(recipe, ["auroc"])
    trainer = Trainer(resolve_config({**sections, "common_eval": {"metrics": ["auroc"], "absent": "half"}}))
    trainer.train()
    row = json.loads((trainer.save_dir / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["auroc_labels"] == 2 and row["auroc_macro"] == pytest.approx((2 * row["auroc"] + 0.5) / 3)
    path = str(trainer.save_dir / "checkpoint_last.pt")
    for absent, wanted in (("zero", 2 * row["auroc"] / 3), ("skip", row["auroc"]), ("nan", np.nan)):
        common_eval = {"path": path, "metrics": ["auroc"], "absent": absent}
        found = Evaluator({**sections, "common_eval": common_eval, "checkpoint": {}}, Placement()).validate()
        assert found["valid"]["auroc_macro"] == pytest.approx(wanted, nan_ok=True)


def test_ecg_validate_prints_what_training_printed(classification, sureness):
    trainer, rows = trained(classification, [sureness], report_auc=False)
    sections = sections_of(classification, [sureness], report_auc=False)
    sections["common_eval"]["path"] = str(trainer.save_dir / "checkpoint_last.pt")
    printed = Evaluator(sections, Placement()).validate()["valid"]
    assert printed["sureness"] == pytest.approx(rows[-1]["sureness"]) and "auroc" not in printed


def test_a_metric_that_cannot_score_the_model_stops_before_training(classification):
    with pytest.raises(UsageError, match="the metric 'r2' scores values, but the model gives labels"):
        Trainer(resolve_config(sections_of(classification, ["r2"])))
    with pytest.raises(ConfigError, match=r"common_eval.metrics=\[specificity\] prints it"):
        Trainer(resolve_config(sections_of(classification, None, "specificity"))).train()
