import json
import math

import numpy as np
import pytest
import torch
from stand_in import StandIn, batch_of, numbers, printed_by

from ecg_signals.checkpoint.load import load_model
from ecg_signals.config import ConfigError
from ecg_signals.metrics.tally import sum_updates
from ecg_signals.registry import build

RECIPE = {"infonce": True, "loss_weights": [0.1, 10.0], "log_keys": ["prob_perplexity", "code_perplexity", "temp"]}
NAMES = {"w2v": "wav2vec2", "w2v_cmsc": "wav2vec2_with_cmsc"}
TERMS = ("loss", "loss_0", "loss_1", "loss_2", "loss_3")


def load(golden, folder):
    return tuple(np.load(golden / f"wcr/{folder}/{name}.npz") for name in ("inputs", "outputs"))


def replayed(given, folder, step):
    """The batch of one step of the reference, with all that it drew."""
    source = torch.from_numpy(given["source"])
    batch = batch_of(len(source))
    batch["net_input"] = {"source": source}
    if step == "padloss":
        lengths = torch.from_numpy(given["pad/lengths"])
        source = source[: len(lengths), :, : int(lengths.max())].clone()
        padding = (torch.arange(source.shape[2]) >= lengths[:, None])[:, None].expand(source.shape).contiguous()
        batch = batch_of(len(source))
        batch["net_input"] = {"source": source.masked_fill(padding, 0.0), "padding_mask": padding}
    for key in ("mask_indices", "neg_idxs", "gumbel_noise", "gumbel_temp"):
        if f"{step}/{key}" in given:
            batch["net_input"][key] = torch.from_numpy(given[f"{step}/{key}"])
    if folder == "w2v_cmsc":
        batch |= {key: torch.from_numpy(given[key]) for key in ("patient_id", "segment")}
    return batch


def model_for(golden, folder):
    dropouts = ["dropout", "attention_dropout", "activation_dropout", "dropout_input", "dropout_features"]
    dropouts.append("encoder_layerdrop")
    return load_model(golden / f"wcr/{folder}/checkpoint.pt", **dict.fromkeys(dropouts, 0.0))


@pytest.mark.parametrize(
    ("folder", "step"),
    [("w2v", "eval"), ("w2v", "train"), ("w2v", "padloss"), ("w2v_cmsc", "eval"), ("w2v_cmsc", "train")],
)
def test_every_term_of_the_loss_equals_the_reference_from_the_signal_on(golden, folder, step):
    given, wanted = load(golden, folder)
    model = model_for(golden, folder).train(step == "train")
    criterion = build("criterion", NAMES[folder], **RECIPE).train(step == "train")
    out = criterion(model, replayed(given, folder, step))
    for term in TERMS:
        if f"{step}/{term}" in wanted:
            assert float(out.logs[term]) == pytest.approx(float(wanted[f"{step}/{term}"]), rel=1e-5, abs=1e-6), term
    assert float(out.loss.detach()) == pytest.approx(float(wanted[f"{step}/loss"]), rel=1e-5)
    assert float(out.sample_size) == wanted[f"{step}/sample_size"]
    logs = numbers(out.logs)
    assert [logs["correct"], logs["count"]] == [wanted[f"{step}/correct"], wanted[f"{step}/count"]]


@pytest.mark.parametrize("folder", ["w2v", "w2v_cmsc"])
def test_gradients_of_a_training_step_equal_the_reference(golden, folder):
    given, wanted = load(golden, folder)
    model = model_for(golden, folder).train()
    build("criterion", NAMES[folder], **RECIPE)(model, replayed(given, folder, "train")).loss.backward()
    stored = [key for key in wanted if key.startswith("train/grad/")]
    found = {name: parameter.grad for name, parameter in model.named_parameters()}
    assert len(stored) > 50
    for key in stored:
        expected = torch.from_numpy(wanted[key])
        difference = (found[key.removeprefix("train/grad/")] - expected).abs().max()
        assert difference <= 1e-4 * expected.abs().max(), key


def outputs_of(given):
    return {
        "pred_logits": torch.from_numpy(given["w2v_pred_logits"]),
        "features_pen": torch.from_numpy(given["w2v_features_pen"]),
        "prob_perplexity": torch.from_numpy(given["w2v_prob_ppl"]),
        "num_vars": 32,
        "temp": 1.5,
    }


def test_the_loss_of_given_logits_equals_the_reference(golden):
    given, wanted = load(golden, "criteria")
    criterion = build("criterion", "wav2vec2", **RECIPE)
    out = criterion(StandIn(outputs_of(given)), batch_of(3))
    assert float(out.loss) == pytest.approx(float(wanted["w2v_infonce/loss"]), rel=1e-5)
    terms = [float(out.logs[f"loss_{number}"]) for number in range(3)]
    assert terms == pytest.approx(wanted["w2v_infonce/terms"], rel=1e-5)
    assert out.sample_size == wanted["w2v_infonce/sample_size"]
    logs = numbers(out.logs)
    assert [logs["correct"], logs["count"]] == [wanted["w2v_infonce/correct"], wanted["w2v_infonce/count"]]


def test_statistics_are_printed_in_the_order_of_the_reference(golden):
    given, _ = load(golden, "criteria")
    criterion = build("criterion", "wav2vec2", **RECIPE)
    out = criterion(StandIn(outputs_of(given)), batch_of(3))
    printed = printed_by(criterion, out)
    lines = (golden / "fairseq_signals_trained/train_json_lines.tsv").read_text().splitlines()
    line = json.loads(next(text.partition("\t")[2] for text in lines if text.startswith("train_inner")))
    published = [key for key in line if key in ("nsignals", "accuracy", "temp") or "loss" in key or "perplexity" in key]
    absent = ("code_perplexity", "loss_3")  # outputs that this stand-in does not have
    assert list(printed) == [key for key in published if key not in absent]
    assert printed["loss"] == pytest.approx(float(out.loss) / 30 / math.log(2))
    assert printed["prob_perplexity"] == pytest.approx(21.5) and printed["temp"] == 1.5


def test_perplexities_are_means_over_updates_of_means_over_their_batches():
    criterion = build("criterion", "wav2vec2", **RECIPE)
    batches = [{"loss": 1.0, "sample_size": 2.0, "batches": 1.0, "nsignals": 4, "prob_perplexity": value,
                "correct": 1, "count": 4} for value in (10.0, 20.0, 40.0)]  # fmt: skip
    for updates, perplexity, items in (([batches[:2], batches[2:]], 27.5, 6), ([batches], 70 / 3, 12),
                                       ([[batch] for batch in batches], 70 / 3, 4)):  # fmt: skip
        printed = criterion.metrics(sum_updates(updates, criterion.averaged), {})
        assert printed["prob_perplexity"] == pytest.approx(perplexity) and printed["nsignals"] == items
        assert printed["accuracy"] == 0.25 and printed["loss"] == pytest.approx(0.5 / math.log(2))


def test_a_composite_hands_the_means_of_its_parts_on():
    parts = {"wav2vec2": RECIPE}
    criterion = build("criterion", "composite_criterion", criterion_names=["wav2vec2"], args=parts)
    batches = [{"loss": 1.0, "batches": 1.0, "nsignals": 4, "0_nsignals": 4, "0_prob_perplexity": value}
               for value in (10.0, 20.0)]  # fmt: skip
    printed = criterion.metrics(sum_updates([batches], criterion.averaged), {})
    assert printed["0_prob_perplexity"] == 15 and printed["nsignals"] == 8


def test_a_term_of_weight_zero_is_left_out(golden):
    given, wanted = load(golden, "criteria")
    out = build("criterion", "wav2vec2", loss_weights=[0.0, 10.0])(StandIn(outputs_of(given)), batch_of(3))
    contrast, _, penalty = wanted["w2v_infonce/terms"]
    assert float(out.loss) == pytest.approx(contrast + penalty, rel=1e-5)
    assert float(out.logs["loss_1"]) == pytest.approx(penalty, rel=1e-5) and "loss_2" not in out.logs
    alone = build("criterion", "wav2vec2")(StandIn(outputs_of(given)), batch_of(3))
    assert float(alone.loss) == pytest.approx(contrast, rel=1e-5) and "loss_0" not in alone.logs
    shared = build("criterion", "wav2vec2", loss_weights=[2.0])(StandIn(outputs_of(given)), batch_of(3))
    assert float(shared.logs["loss_2"]) == pytest.approx(2 * 0.37 * 30, rel=1e-5)


def test_a_wrong_number_of_loss_weights_is_refused(golden):
    given, _ = load(golden, "criteria")
    with pytest.raises(ConfigError, match="has 3 values, but the model gives 2 terms"):
        build("criterion", "wav2vec2", loss_weights=[1.0, 1.0, 1.0])(StandIn(outputs_of(given)), batch_of(3))
    with pytest.raises(ConfigError, match=r"criterion\.cmsc_weights"):
        build("criterion", "wav2vec2_with_cmsc", cmsc_weights=[1.0, 2.0])


def test_without_infonce_every_candidate_is_a_question_of_its_own():
    logits = torch.tensor([2.0, -1.0, float("-inf")])[:, None, None]
    out = build("criterion", "wav2vec2", infonce=False)(StandIn({"pred_logits": logits}), batch_of(1))
    assert float(out.loss) == pytest.approx(math.log1p(math.exp(-2)) + math.log1p(math.exp(-1)))


def test_frames_whose_logits_are_all_equal_count_as_wrong():
    logits = torch.zeros(3, 1, 2)
    logits[0, 0, 1] = 1.0
    out = build("criterion", "wav2vec2")(StandIn({"pred_logits": logits}), batch_of(1))
    assert [numbers(out.logs)[key] for key in ("correct", "count")] == [1, 2]


@pytest.mark.parametrize("infonce, loss", [(True, 0.0), (False, 6 * math.log(2))])
def test_without_negatives_nothing_is_told_apart(infonce, loss):
    out = build("criterion", "wav2vec2", infonce=infonce)(StandIn({"pred_logits": torch.zeros(1, 2, 3)}), batch_of(2))
    assert (float(out.loss), numbers(out.logs)["correct"]) == (pytest.approx(loss), 0)


def test_the_criterion_asks_for_the_masked_pass():
    model = StandIn({"pred_logits": torch.zeros(3, 1, 2)})
    batch = batch_of(1)
    batch["net_input"] = {"source": torch.zeros(1, 12, 8), "neg_idxs": torch.zeros(1, 4)}
    build("criterion", "wav2vec2")(model, batch)
    assert set(model.calls[0]) == {"source", "neg_idxs", "mask"} and model.calls[0]["mask"] is True


def cmsc_outputs(frames, mask, padding=None):
    zeroed = frames if padding is None else frames.masked_fill(padding[..., None], 0.0)
    return {
        "pred_logits": torch.zeros(3, len(frames), 2),
        "masked_features": frames,
        "masked_pooled": zeroed.mean(dim=1),
        "mask_indices": mask,
        "padding_mask": padding,
    }


def test_the_contrast_of_segments_counts_as_often_as_there_are_masked_frames_and_is_weighted():
    torch.manual_seed(0)
    frames, mask = torch.randn(4, 6, 5), torch.zeros(4, 6, dtype=torch.bool)
    batch = batch_of(4, patient_id=torch.tensor([0, 0, 1, 1]), segment=torch.tensor([0, 1, 0, 1]))
    model = StandIn(cmsc_outputs(frames, mask))
    alone = build("criterion", "cmsc")(StandIn({"pooled": frames.mean(dim=1)}), batch)
    for weights, factor in ((None, 1.0), ([0.5], 0.5)):
        out = build("criterion", "wav2vec2_with_cmsc", cmsc_weights=weights)(model, batch)
        assert float(out.logs["loss_1"]) == pytest.approx(factor * 8 * float(alone.loss), rel=1e-5)
    assert "loss_1" not in build("criterion", "wav2vec2_with_cmsc", cmsc_weights=[0.0])(model, batch).logs


def test_masked_frames_and_padding_can_be_left_out_of_the_pooled_segments():
    torch.manual_seed(1)
    frames, mask = torch.randn(4, 6, 5), torch.zeros(4, 6, dtype=torch.bool)
    mask[:, 1:3] = True
    padding = torch.zeros(4, 6, dtype=torch.bool)
    padding[0, 5] = True
    batch = batch_of(4, patient_id=torch.tensor([0, 0, 1, 1]), segment=torch.tensor([0, 1, 0, 1]))
    criterion = build("criterion", "wav2vec2_with_cmsc", cmsc_masked_frames=False)
    out = criterion(StandIn(cmsc_outputs(frames, mask, padding)), batch)
    changed = frames.clone()
    changed[:, 1:3] = 9.0
    changed[0, 5] = -9.0
    again = criterion(StandIn(cmsc_outputs(changed, mask, padding)), batch)
    assert torch.equal(out.loss, again.loss)
    published = build("criterion", "wav2vec2_with_cmsc")
    plain, other = (published(StandIn(cmsc_outputs(value, mask)), batch).loss for value in (frames, changed))
    assert plain != other


def test_a_replayed_batch_need_not_number_its_items(golden):
    given, _ = load(golden, "w2v")
    batch = replayed(given, "w2v", "eval")
    del batch["id"]
    criterion = build("criterion", "wav2vec2", **RECIPE)
    found = criterion(load_model(golden / "wcr/w2v/checkpoint.pt"), batch)
    assert found.logs["nsignals"] == len(given["source"])


def test_a_mask_of_another_length_is_named(golden):
    given, _ = load(golden, "w2v")
    batch = replayed(given, "w2v", "eval")
    batch["net_input"]["mask_indices"] = batch["net_input"]["mask_indices"][:, :-1]
    with pytest.raises(ConfigError, match="mask_indices has shape"):
        build("criterion", "wav2vec2", **RECIPE)(load_model(golden / "wcr/w2v/checkpoint.pt"), batch)
