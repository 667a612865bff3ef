"""The one loop of a model over data."""

import pytest
import torch
from torch import nn

from ecg_signals.criteria.base import CriterionOutput
from ecg_signals.evaluation.run import Rows, evaluate_split, run

CPU = torch.device("cpu")


class Doubling(nn.Module):
    def forward(self, source):
        self.gradients = torch.is_grad_enabled()
        return {"logits": 2 * source}


class Judge(nn.Module):
    averaged = ()

    def forward(self, model, batch):
        logits = model(**batch["net_input"])["logits"]
        noise = torch.rand(())
        return CriterionOutput(logits.sum(), len(logits), {"noise": noise}, {} if self.training else {"logits": logits})


def batch_of(*ids):
    return {"id": torch.tensor(ids), "net_input": {"source": torch.tensor(ids, dtype=torch.float64)[:, None]}}


def test_every_batch_of_this_rank_is_answered_once_in_evaluation_mode_and_without_gradients():
    model, found = Doubling().train(), []
    run(model, [batch_of(3, 1), None, {}, batch_of(2)], CPU, [found.append])
    assert [answer.number for answer in found] == [0, 3] and not model.training and not model.gradients
    assert [answer.output["logits"].flatten().tolist() for answer in found] == [[6, 2], [4]]
    assert found[0].output["logits"].dtype == torch.float32 and found[0].judged is None


def test_consumers_see_the_models_answer_behind_the_criterions_and_nothing_stays_on_the_model():
    model, found = Doubling(), []
    run(model, [batch_of(1)], CPU, [found.append], criterion=Judge().eval(), seed=1)
    (answer,) = found
    assert answer.output["logits"].item() == 2 and answer.judged.sample_size == 1
    assert not model._forward_hooks
    with pytest.raises(RuntimeError):
        run(model, [{"net_input": {}}], CPU, [], call=lambda batch: (_ for _ in ()).throw(RuntimeError))
    assert not model._forward_hooks


def test_something_else_may_be_asked_of_a_model():
    found = []
    run(Doubling(), [batch_of(5)], CPU, [found.append], call=lambda batch: batch["net_input"]["source"] + 1)
    assert found[0].output.item() == 6


def test_scores_stand_in_manifest_order_and_an_item_seen_twice_counts_once():
    batches = [batch_of(4, 0), None, batch_of(2, 4)]
    logs, scores = evaluate_split(Doubling(), Judge(), batches, CPU, seed=1, autocast=torch.no_grad)
    assert scores["logits"].flatten().tolist() == [0, 4, 8]
    assert logs["sample_size"] == 4 and logs["batches"] == 2 and logs["updates"] == 2
    again, _ = evaluate_split(Doubling(), Judge(), batches, CPU, seed=1, autocast=torch.no_grad)
    other, _ = evaluate_split(Doubling(), Judge(), batches, CPU, seed=2, autocast=torch.no_grad)
    assert again == logs and other["noise"] != logs["noise"]


def test_nothing_kept_is_nothing_gathered():
    assert Rows().gathered() == {}
