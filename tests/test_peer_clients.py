"""What ECG-FM's notebooks and scripts call and read works under our name: `fairseq_signals` -> `ecg_signals`."""

import numpy as np
import pandas as pd
import pytest
import torch

from ecg_signals.config import ConfigError
from ecg_signals.models import build_model_from_checkpoint
from ecg_signals.models.classification.ecg_transformer_classifier import ECGTransformerClassificationModel
from ecg_signals.preprocess.manifests import write_manifests
from ecg_signals.registry import build
from ecg_signals.utils.file import extract_filename
from ecg_signals.utils.store import MemmapBatchWriter, MemmapReader, memmap_batch_process

LABELS = ["Poor data quality", "Sinus rhythm", "Atrial fibrillation"]
AGGREGATION = {"Poor data quality": "max", "Sinus rhythm": "mean", "Atrial fibrillation": "mean"}
SIZES = {
    "encoder_layers": 2,
    "encoder_embed_dim": 32,
    "encoder_ffn_embed_dim": 64,
    "encoder_attention_heads": 4,
    "conv_feature_layers": "[(16, 2, 2)] * 4",
    "conv_pos": 8,
    "conv_pos_groups": 4,
    "num_labels": len(LABELS),
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A stand-in for mimic_iv_ecg_finetuned.pt: the published layout, random weights."""
    torch.manual_seed(0)
    model = build("model", "ecg_transformer_classifier", no_pretrained_weights=True, **SIZES)
    cfg = {
        "task": {"_name": "ecg_classification"},
        "model": {"_name": "ecg_transformer_classifier", **SIZES},
        "criterion": {"_name": "binary_cross_entropy_with_logits"},
    }
    path = tmp_path_factory.mktemp("ckpts") / "mimic_iv_ecg_finetuned.pt"
    torch.save({"args": None, "cfg": cfg, "model": model.state_dict()}, path)
    return path


def with_attention(model):
    """As the quickstart switches saliency on: flags set on a model that is already built."""
    model.encoder.encoder.need_weights = True
    for layer in model.encoder.encoder.layers:
        layer.need_weights = True
    return model


def embedding(x, device="cpu"):
    """Mean over non-zero frames, as the notebooks compute it: [batch, frames, dim] -> [batch, dim]."""
    x = torch.as_tensor(np.array(x)).to(device)
    return torch.div(x.sum(dim=1), (x != 0).sum(dim=1)).cpu().numpy()


def test_the_quickstart_gives_predictions_embeddings_and_attention(checkpoint):
    model = with_attention(build_model_from_checkpoint(checkpoint_path=str(checkpoint)))
    assert isinstance(model, ECGTransformerClassificationModel)
    model.eval()
    model.to("cpu")
    batches = [torch.randn(3, 12, 2500), torch.randn(2, 12, 2500)]
    found = [model(source=source) for source in batches]
    probabilities = torch.sigmoid(torch.concatenate([out["out"] for out in found])).detach().cpu().numpy()
    table = pd.DataFrame(probabilities, columns=LABELS, index=["a.mat", "a.mat", "b.mat", "b.mat", "c.mat"])
    assert table.groupby(table.index).agg(AGGREGATION).astype(float).shape == (3, 3)
    embeddings = np.concatenate([embedding(out["encoder_out"].detach()) for out in found])
    np.testing.assert_allclose(embeddings, torch.cat([out["pooled"] for out in found]).detach(), rtol=1e-5, atol=1e-6)
    saliency = torch.concatenate([out["saliency"] for out in found]).detach()
    assert saliency.shape == (5, 2, 156, 156)
    highest = saliency[:, -1].max(axis=2).values.squeeze().numpy()
    assert highest.shape == (5, 156) and (highest > 1 / 156).all()


@torch.no_grad()
def test_attention_switched_on_after_building_is_the_softmax_of_the_scaled_products(checkpoint):
    model = build_model_from_checkpoint(str(checkpoint))
    source = torch.randn(2, 12, 1000)
    without = model(source)
    assert without["saliency"] is None and "saliency" not in without
    hidden = model.extract_features(source, layers="all")["hidden_states"]
    found = with_attention(model)(source)
    for index, layer in enumerate(model.encoder.encoder.layers):
        query = layer.self_attn.q_proj(hidden[index]).unflatten(-1, (4, 8)).transpose(1, 2)
        key = layer.self_attn.k_proj(hidden[index]).unflatten(-1, (4, 8)).transpose(1, 2)
        expected = (query @ key.transpose(-2, -1) / 8**0.5).softmax(dim=-1).mean(dim=1)
        torch.testing.assert_close(found["saliency"][:, index], expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found["logits"], without["logits"], rtol=1e-5, atol=1e-6)
    asked_for = build_model_from_checkpoint(str(checkpoint), saliency=True)(source)
    torch.testing.assert_close(asked_for["saliency"], found["saliency"])
    model.encoder.encoder.need_weights = False
    for layer in model.encoder.encoder.layers:
        layer.need_weights = False
    assert model(source)["saliency"] is None


@torch.no_grad()
def test_attention_switched_on_after_building_equals_the_reference(golden):
    model = with_attention(build_model_from_checkpoint(golden / "wcr" / "clf" / "checkpoint.pt"))
    inputs, outputs = (np.load(golden / "wcr" / "clf" / f"{name}.npz") for name in ("inputs", "outputs"))
    found = model(torch.from_numpy(inputs["source"]))["saliency"]
    expected = outputs["sal/saliency"]  # of the first item alone
    np.testing.assert_allclose(found[: len(expected)], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("beside", [True, False], ids=["sidecar beside", "sidecar elsewhere"])
def test_embeddings_of_an_extracted_array_are_one_array(tmp_path, beside):
    frames = np.random.default_rng(0).normal(size=(7, 5, 4)).astype("float32")
    header = None if beside else tmp_path / "elsewhere.pkl"
    writer = MemmapBatchWriter(str(tmp_path / "encoder_out_test.npy"), frames.shape, header_file=header)
    for start in range(0, 7, 3):
        writer(frames[start : start + 3])
    assert (writer.n, writer.total_n) == (7, 7)
    writer.close()
    reader = MemmapReader.from_header(str(tmp_path / "encoder_out_test.npy"), header_file=header)
    assert reader.shape == (7, 5, 4) and reader.dtype == "float32" and len(reader) == 7
    assert reader.file.endswith("encoder_out_test.npy")
    assert reader.header_file == str(header or tmp_path / "encoder_out_test_header.pkl")
    found = memmap_batch_process(reader, embedding, 3, progress=True, device="cpu")
    np.testing.assert_allclose(found, frames.mean(axis=1), rtol=1e-5)
    np.save(tmp_path / "emb_test.npy", found)
    assert np.load(tmp_path / "emb_test.npy").shape == (7, 4)


def test_a_headerless_array_is_read_by_its_stated_shape_and_type(tmp_path):
    np.arange(6, dtype="float64").tofile(tmp_path / "raw.npy")
    assert MemmapReader(str(tmp_path / "raw.npy"), (3, 2), "float64")[2].tolist() == [4, 5]
    with pytest.raises(ConfigError, match="the file is cut"):
        MemmapReader(tmp_path / "raw.npy", (4, 2), "float64")
    np.save(tmp_path / "real.npy", np.zeros((2, 2), dtype="float32"))
    with pytest.raises(ConfigError, match=r"holds an array of \(2, 2\), not of \(3, 2\)"):
        MemmapReader(tmp_path / "real.npy", (3, 2))


def test_no_rows_give_no_embeddings():
    assert memmap_batch_process(np.zeros((0, 5, 4)), lambda rows: rows.sum(axis=1), 3).shape == (0, 4)


def test_the_linear_probe_aligns_our_manifests_with_labels(tmp_path):
    segments = pd.DataFrame(
        {"path": ["/data/code_15_7_0.mat", "/data/code_15_7_1.mat"], "sample_size": 2500, "split": "test"}
    )
    write_manifests(segments, tmp_path)
    table = pd.read_csv(tmp_path / "test.tsv", sep="\t", index_col="Unnamed: 0")
    table.index.name = "file"
    files = table.reset_index()["file"]
    names = extract_filename("/data/" + files).replace(r"_\d+\.mat$", ".mat", regex=True)
    assert names.tolist() == ["code_15_7.mat"] * 2
