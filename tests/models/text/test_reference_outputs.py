"""Models of ECG and text against fairseq-signals' outputs, losses and gradients."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from reference_models import close
from scipy.io import loadmat

from ecg_signals import load_model
from ecg_signals.checkpoint.convert import convert
from ecg_signals.config import ConfigError
from ecg_signals.registry import build
from ecg_signals.signal.segments import segment_contract

STORED = ("m3ae", "medvill", "blind")


@pytest.fixture(scope="module")
def folder(golden) -> Path:
    return golden / "ecg_text"


@pytest.fixture(scope="module")
def outputs(folder):
    return dict(np.load(folder / "outputs.npz"))


@pytest.fixture(scope="module")
def inputs(folder):
    return {key: torch.from_numpy(value) for key, value in np.load(folder / "inputs.npz").items() if key != "names"}


@pytest.fixture(scope="module")
def files(folder, tmp_path_factory) -> dict[str, Path]:
    """A checkpoint of every model; three of them are stored in parts, or by a rule."""
    place, configs = tmp_path_factory.mktemp("text"), json.loads((folder / "configs.json").read_text())
    states = {name: torch.load(folder / f"{name}.pt", weights_only=True)["model"] for name in (
        *STORED, "m3ae_qa_extra", "ecg_lang_extra")}  # fmt: skip
    keys = {name: json.loads((folder / f"{name}_keys.json").read_text()) for name in ("m3ae_qa", "ecg_lang")}
    for name, base in (("m3ae_qa", "m3ae"), ("ecg_lang", "medvill")):
        within = {f"encoder.{key}": value for key, value in states[base].items()} | states[f"{name}_extra"]
        states[name] = {key: within[key] for key in keys[name]}
    states["resnet_lstm"] = weights_by_rule(json.loads((folder / "resnet_lstm_weights.json").read_text()))
    found = {name: folder / f"{name}.pt" for name in STORED}
    for name in ("m3ae_qa", "ecg_lang", "resnet_lstm"):
        found[name] = place / f"{name}.pt"
        torch.save({"cfg": {"model": configs[name]}, "model": states[name]}, found[name])
    return found


def weights_by_rule(rule):
    draws, state, digest = np.random.RandomState(rule["seed"]), {}, hashlib.sha256()
    for key in sorted(rule["keys"]):
        shape = tuple(rule["keys"][key])
        if key.endswith("num_batches_tracked"):
            value = np.zeros(shape, dtype=np.int64)
        else:
            n = draws.standard_normal(shape).astype(np.float32)
            if key.endswith("running_var"):
                n = 0.5 + np.abs(n)
            elif key.endswith("running_mean"):
                n = 0.1 * n
            elif len(shape) == 1:
                n = 1 + 0.1 * n if key.endswith("weight") else 0.05 * n
            else:
                n = n / np.sqrt(np.prod(shape[1:]))
            value = n.astype(np.float32)
        digest.update(key.encode() + value.tobytes())
        state[key] = torch.from_numpy(value)
    assert digest.hexdigest() == rule["sha256"]
    return state


def question(inputs, second=False):
    out = {"text": inputs["text"], "text_padding_mask": inputs["text_padding_mask"]}
    return {**out, "ecg_2": inputs["source_2"], "ecg_2_padding_mask": inputs["ecg_2_padding_mask"]} if second else out


def valid_classes(inputs):
    return list(inputs["valid_classes_flat"].split(inputs["valid_classes_len"].tolist()))


def qa_batch(inputs, second):
    net_input = {"source": inputs["source"], **question(inputs, second)}
    labels = {"label": inputs["answer"].float(), "valid_classes": valid_classes(inputs)}
    return {"id": torch.arange(4), "net_input": net_input, **labels}


def check_gradients(model, outputs, prefix):
    found = dict(model.named_parameters())
    stored = {key.removeprefix(f"{prefix}/grad/"): value for key, value in outputs.items()
              if key.startswith(f"{prefix}/grad/")}  # fmt: skip
    assert stored and set(stored) <= set(found)
    for key, value in stored.items():
        if np.abs(value).max() < 1e-6:  # biases of keys: zero, but for rounding
            assert found[key].grad.abs().max() < 1e-6
        else:
            close(found[key].grad, value, 1e-4, key)


def test_m3ae_reads_hides_and_tells_as_published(files, inputs, outputs):
    model = load_model(files["m3ae"])
    text = {"text_padding_mask": inputs["text_padding_mask"]}
    net_input = {"source": inputs["source"], "text": inputs["m3ae/text_masked"], **text, "noise": inputs["m3ae/noise"]}
    output = model(**net_input, mask=True)
    names = {"multi_modal_text_feats": "text_features", "multi_modal_cls_feats": "pooled", "mlm_logits": "mlm_logits",
             "mim_logits": "mim_logits", "itm_logits": "itm_logits", "mim_masks": "hidden_frames",
             "mim_ids_restore": "restore_order"}  # fmt: skip
    for stored, name in names.items():
        close(output[name], outputs[f"m3ae/{stored}"], 1e-5, stored)
    close(output["features"], outputs["m3ae/multi_modal_ecg_feats"][:, 1:], 1e-5)
    plain = model(inputs["source"], **question(inputs))
    close(plain["text_features"], outputs["m3ae/unmasked_text_feats"], 1e-5)
    close(plain["features"], outputs["m3ae/unmasked_ecg_feats"][:, 1:], 1e-5)
    close(plain["pooled"], outputs["m3ae/unmasked_cls_feats"], 1e-5)
    batch = {"id": torch.arange(4), "net_input": net_input, "mlm_labels": inputs["m3ae/mlm_labels"],
             "is_aligned": inputs["m3ae/is_aligned"]}  # fmt: skip
    found = build("criterion", "m3ae")(model, batch)
    for key, stored in {"loss": "loss", "loss_0": "loss_mlm", "loss_1": "loss_mim", "loss_2": "loss_itm"}.items():
        close(found.logs[key], outputs[f"m3ae/{stored}"], 1e-5, stored)
    assert found.logs["mlm_correct"] == outputs["m3ae/mlm_correct"]
    assert found.logs["itm_correct"] == outputs["m3ae/itm_correct"] and found.sample_size == 1
    found.loss.backward()
    check_gradients(model, outputs, "m3ae")
    raw = build("criterion", "m3ae", norm_pix_loss=False)(model, batch)
    close(raw.logs["loss_1"], outputs["m3ae/loss_mim_raw"], 1e-5)


def test_m3ae_without_a_word_that_is_asked_for_has_a_finite_loss(files, inputs):
    labels = torch.full_like(inputs["text"], -100)
    batch = {"net_input": {"source": inputs["source"], **question(inputs)}, "mlm_labels": labels}
    assert torch.isfinite(build("criterion", "m3ae")(load_model(files["m3ae"]), batch).loss)


def test_m3ae_qa_answers_as_published(files, inputs, outputs):
    model = load_model(files["m3ae_qa"])
    close(model(inputs["source"], **question(inputs))["logits"], outputs["m3ae_qa/out_one_ecg"], 1e-5)
    close(model(inputs["source"], **question(inputs, second=True))["logits"], outputs["m3ae_qa/out_mixed"], 1e-5)
    check_question_loss(model, inputs, outputs, "m3ae_qa", second=True, stored="loss")
    check_gradients(model, outputs, "m3ae_qa")


def test_m3ae_qa_reads_two_ecgs_of_every_question_as_published(files, inputs, outputs, data):
    records = sorted((data / "code15/segmented").glob("*.mat"))[5:9]
    samples = inputs["source"].shape[-1]
    second = torch.stack([torch.from_numpy(loadmat(path)["feats"][:, :samples]).float() for path in records])
    known = inputs["source_2"].flatten(1).any(dim=1)
    assert known.tolist() == [True, False, True, True] and torch.equal(second[known], inputs["source_2"][known])
    found = load_model(files["m3ae_qa"])(inputs["source"], **question(inputs), ecg_2=second)["logits"]
    close(found, outputs["m3ae_qa/out_all_two"], 1e-5)


def check_question_loss(model, inputs, outputs, name, second, stored):
    found = build("criterion", "binary_cross_entropy_with_logits")(model, qa_batch(inputs, second))
    close(found.loss, outputs[f"{name}/{stored}"], 1e-5, name)
    if f"{name}/sample_size" in outputs:
        assert found.sample_size == outputs[f"{name}/sample_size"]
    found.loss.backward()


def test_medvill_tells_words_and_pairs_as_published(files, inputs, outputs):
    model = load_model(files["medvill"])
    replay = {"text_mask_kind": inputs["medvill/mask_kind"], "text_random_ids": inputs["medvill/random_ids"]}
    net_input = {"source": inputs["source"], **question(inputs), **replay}
    output = model(**net_input, mask=True)
    close(output["mlm_logits"], outputs["medvill/mlm_x"], 1e-5)
    close(output["align_logits"][:, None], outputs["medvill/align_x"], 1e-5)
    assert output["mlm_targets"].tolist() == outputs["medvill/mlm_y"].tolist()
    batch = {"id": torch.arange(4), "net_input": net_input, "is_aligned": inputs["m3ae/is_aligned"]}
    found = build("criterion", "medvill")(model, batch)
    for key, stored in {"loss": "loss", "loss_0": "loss_mlm", "loss_1": "loss_align"}.items():
        close(found.logs[key], outputs[f"medvill/{stored}"], 1e-5, stored)
    assert found.sample_size == outputs["medvill/sample_size"]
    found.loss.backward()
    check_gradients(model, outputs, "medvill")


@pytest.mark.parametrize("kind", ["peer", "fixed"])
def test_the_classifier_of_ecg_and_text_answers_as_published_and_with_padding_left_out(kind, files, inputs, outputs):
    model = load_model(files["ecg_lang"], **({} if kind == "peer" else {"text_padding": True}))
    close(model(inputs["source"], **question(inputs))["logits"], outputs[f"ecg_lang/{kind}_one"], 1e-5)
    mixed = model(inputs["source"], **question(inputs, second=True))["logits"]
    close(mixed, outputs[f"ecg_lang/{kind}_mixed"], 1e-5)
    if kind == "fixed":
        check_question_loss(model, inputs, outputs, "ecg_lang", second=True, stored="fixed_loss")


def test_the_blind_and_the_recurrent_model_answer_as_published(files, inputs, outputs):
    model = load_model(files["blind"])
    close(model(inputs["source"], **question(inputs))["logits"], outputs["blind/x"], 1e-5)
    check_question_loss(model, inputs, outputs, "blind", second=False, stored="loss")
    check_gradients(model, outputs, "blind")
    model = load_model(files["resnet_lstm"])
    close(model(inputs["source"], **question(inputs))["logits"], outputs["resnet_lstm/out"], 1e-4)
    mixed = model(inputs["source"], **question(inputs, second=True))["logits"]
    close(mixed, outputs["resnet_lstm/out_mixed"], 1e-4)


def test_older_models_of_questions_answer_as_published(golden):
    folder = golden / "wcr" / "other_models"
    inputs = {key: torch.from_numpy(value) for key, value in np.load(folder / "inputs.npz").items() if key != "names"}
    outputs = dict(np.load(folder / "outputs.npz"))
    text = {"text": inputs["text"], "text_padding_mask": inputs["text_padding_mask"]}
    for name in ("ecg_lang", "deaf"):
        model = load_model(folder / f"{name}.pt")
        close(model(inputs["source"], **text)["logits"], outputs[f"{name}/out"], 1e-5, name)
        two = model(inputs["source"], **text, ecg_2=inputs["source2"])["logits"]
        close(two, outputs[f"{name}/out_two_ecgs"], 1e-5, name)


@pytest.mark.parametrize("name", [*STORED, "m3ae_qa", "ecg_lang", "resnet_lstm"])
def test_a_published_file_becomes_a_folder_and_a_file_again_bit_by_bit(name, files, tmp_path):
    before = load_model(files[name])
    convert(files[name], tmp_path / "folder", "hf")
    convert(tmp_path / "folder", tmp_path / "back.pt", "fairseq")
    for place in (tmp_path / "folder", tmp_path / "back.pt"):
        after = load_model(place)
        assert after.cfg.to_dict() == before.cfg.to_dict()
        assert all(torch.equal(value, before.state_dict()[key]) for key, value in after.state_dict().items())
    assert before.signal is None or before.signal.sample_rate == segment_contract().sample_rate


@pytest.mark.parametrize(("name", "stored"), [("m3ae_qa", "out_mixed"), ("ecg_lang", "peer_mixed"), ("blind", "x")])
def test_transformers_classes_answer_questions_as_published(name, stored, files, inputs, outputs, tmp_path):
    hf = pytest.importorskip("ecg_signals.hf")
    convert(files[name], tmp_path / "folder", "hf")
    model = hf.EcgSignalsForSequenceClassification.from_pretrained(tmp_path / "folder")
    asked = question(inputs, second=True)
    close(model(inputs["source"], **asked).logits, outputs[f"{name}/{stored}"], 1e-5)
    found = model(inputs["source"], labels=inputs["answer"].float(), output_hidden_states=True, **asked)
    close(found.logits, outputs[f"{name}/{stored}"], 1e-5)
    assert len(found.hidden_states) == 3 and found.loss.isfinite()
    model.save_pretrained(tmp_path / "again")
    again = hf.EcgSignalsModel.from_pretrained(tmp_path / "again")
    assert torch.equal(again(inputs["source"], **asked).logits, found.logits)


def test_transformers_class_of_a_model_without_texts_refuses_one(inputs, golden, tmp_path):
    hf = pytest.importorskip("ecg_signals.hf")
    convert(golden / "wcr/clf/checkpoint.pt", tmp_path / "folder", "hf")
    with pytest.raises(ConfigError, match="'ecg_transformer_classifier' takes no text"):
        hf.EcgSignalsModel.from_pretrained(tmp_path / "folder")(inputs["source"], text=inputs["text"])
