"""HuBERT-ECG's encoder against the reference, and what must hold for any size."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.config import ConfigError
from ecg_signals.interop.hubert_ecg.contract import decimation_factor
from ecg_signals.interop.hubert_ecg.names import from_checkpoint, from_config, to_checkpoint, to_config
from ecg_signals.models.base import BaseModel
from ecg_signals.models.hubert.hubert_ecg import TEMPERATURE
from ecg_signals.models.hubert.layers import receptive_field
from ecg_signals.models.hubert.masking import padded_frames, time_mask
from ecg_signals.registry import build, get_entry


@pytest.fixture(scope="module")
def reference(golden: Path) -> dict[str, Any]:
    with np.load(golden / "hubert_ecg/model/model_outputs.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files if arrays[key].dtype.kind != "U"}


@pytest.fixture(scope="module")
def source(reference: dict[str, Any]) -> torch.Tensor:
    return reference["input"].view(3, 12, 500)


@pytest.fixture(scope="module")
def pretrained(golden: Path, load: Any) -> BaseModel:
    return load(golden / "hubert_ecg/checkpoints/hubert_1_iteration_9_run0.pt")


def close(found: torch.Tensor, expected: torch.Tensor, scale: float = 1.0) -> None:
    """To 1e-5 of a value of size `scale`: layer norms make values of size 1."""
    torch.testing.assert_close(found, expected, atol=1e-5 * scale, rtol=1e-5)


@pytest.mark.parametrize("size", ["small", "base", "large"])
def test_parameter_names_shapes_and_counts_are_the_published_ones(golden: Path, size: str) -> None:
    folder = golden / "hubert_ecg"
    config = json.loads((folder / f"config_{size}.json").read_text())
    counts = json.loads((folder / "param_counts.json").read_text())[size]
    vector = torch.empty(config["hidden_size"])
    with torch.device("meta"):
        _, options, _, _ = from_config(config, {"masked_spec_embed": vector})
        model = build("model", "hubert_ecg", **{**options, "vocab_sizes": [100]})
        encoder = {key: value for key, value in options.items() if key in model_options("hubert_ecg_classifier")}
        classifier = build("model", "hubert_ecg_classifier", **encoder, num_labels=164)
    for built, stage, count in (
        (model, "pretrain", "pretrain_vocab100"),
        (classifier, "finetune", "finetune_linear_164"),
    ):
        expected = json.loads((folder / f"state_dict_{size}_{stage}.json").read_text())
        assert {key: list(value.shape) for key, value in built.state_dict().items()} == expected
        assert list(built.state_dict()) == list(expected)
        assert sum(parameter.numel() for parameter in built.parameters()) == counts[count]


def model_options(name: str) -> set[str]:
    return {item.name for item in fields(get_entry("model", name).dataclass)}


def test_hidden_states_and_pooled_features_are_the_references(
    pretrained: BaseModel, source: Any, reference: Any
) -> None:
    with torch.no_grad():
        output = pretrained.extract_features(source, layers="all")
    close(torch.stack(output["hidden_states"]), reference["hidden_states"])
    close(output["pooled"], reference["pooled_mean"])
    close(output["features"], reference["hidden_states"][-1])


def test_frames_before_the_encoder_are_the_references(pretrained: BaseModel, source: Any, reference: Any) -> None:
    with torch.no_grad():
        close(pretrained.feature_extractor(source.flatten(1)).transpose(1, 2), reference["conv_features"])
        close(pretrained.frames(source), reference["projected"])


def test_one_layer_is_the_same_as_in_all_layers(pretrained: BaseModel, source: Any, reference: Any) -> None:
    with torch.no_grad():
        for layer in range(4):
            found = pretrained.extract_features(source, layers=layer)["hidden_states"]
            assert len(found) == 1
            close(found[0], reference["hidden_states"][layer])
    with pytest.raises(ConfigError, match="hidden states 0 to 3"):
        pretrained.extract_features(source, layers=4)


def test_cluster_logits_are_the_references(pretrained: BaseModel, source: Any, reference: Any) -> None:
    with torch.no_grad():
        logits = pretrained(source, heads=True)["cluster_logits"]
    assert len(logits) == 2
    for head, found in enumerate(logits):
        close(found, reference[f"cluster_logits_{head}"], scale=1 / TEMPERATURE)  # cosines, magnified


def test_given_masks_replace_the_references_frames(pretrained: BaseModel, source: Any, reference: Any) -> None:
    with torch.no_grad():
        output = pretrained(source, mask=True, mask_time_indices=reference["mask_time_indices"])
        first, _ = pretrained.encode(source, None, reference["mask_time_indices"], last=0)
    close(output["features"], reference["last_hidden_state_masked"])
    close(first[0], reference["encoder_input_masked_first_layer"])


def test_the_published_frame_count_keeps_the_first_frames(pretrained: BaseModel, source: Any, reference: Any) -> None:
    padding = (reference["attention_mask"] == 0).view(3, 12, 500)
    with torch.no_grad():
        output = pretrained(source, padding_mask=padding)
    assert torch.equal(~output["padding_mask"], reference["frame_attention_mask"])
    close(output["features"], reference["last_hidden_state_with_attention_mask"])


def test_the_published_count_of_hardly_any_sample_counts_frames_from_the_end():
    """Lengths below 1 are the published index of the last kept frame: -1 - 1 is the last but one."""
    padding = torch.ones(3, 6000, dtype=torch.bool)
    padding[1, :50], padding[2, :82] = False, False  # lengths -1, 0 and 1
    kept = ~padded_frames(padding, [10, 3, 3, 2, 2], [4, 2, 2, 2, 2], "count")
    assert kept.sum(dim=1).tolist() == [92, 93, 1] and not kept[0, -1] and kept[2, 0]


@pytest.mark.parametrize("head", ["linear", "mlp", "emb"])
def test_logits_of_the_three_heads_are_the_references(
    golden: Path, source: Any, reference: Any, head: str, load: Any
) -> None:
    model = load(golden / f"hubert_ecg/checkpoints/finetune_{head}.pt")
    padding = (reference["attention_mask"] == 0).view(3, 12, 500)
    with torch.no_grad():
        output = model(source)
        close(model(source, padding_mask=padding)["logits"], reference[f"{head}_logits_with_attention_mask"])
    close(output["logits"], reference[f"{head}_logits"])
    close(output["pooled"], reference[f"{head}_pooled"])


def test_the_oldest_files_and_folders_hold_the_same_model(
    golden: Path, pretrained: BaseModel, source: Any, load: Any, from_parts: Any
) -> None:
    from safetensors.torch import load_file as load_weights

    folder = golden / "hubert_ecg/checkpoints"
    legacy = load(folder / "legacy_hubertconfig_weight_gv.pt")
    config = json.loads((folder / "pretrain_hf/config.json").read_text())
    hub = from_parts(from_config(config, load_weights(folder / "pretrain_hf/model.safetensors")))
    for other in (legacy, hub):
        assert other.cfg.vocab_sizes == [10, 6]
        with torch.no_grad():
            assert torch.equal(other(source)["features"], pretrained(source)["features"])


def test_a_classifier_folder_is_the_fine_tuned_file(golden: Path, source: Any, load: Any, from_parts: Any) -> None:
    from safetensors.torch import load_file as load_weights

    folder = golden / "hubert_ecg/checkpoints"
    config = json.loads((folder / "finetune_linear_hf/config.json").read_text())
    parts = from_config(config, load_weights(folder / "finetune_linear_hf/model.safetensors"))
    assert parts[0] == "hubert_ecg_classifier" and parts[3] is None
    with torch.no_grad():
        assert torch.equal(from_parts(parts)(source)["logits"], load(folder / "finetune_linear.pt")(source)["logits"])


@pytest.mark.parametrize("name", ["hubert_1_iteration_9_run0", "finetune_linear", "finetune_mlp", "finetune_emb"])
def test_a_file_written_in_the_published_layout_is_read_back(
    golden: Path, tmp_path: Path, name: str, load: Any, from_parts: Any
) -> None:
    parts = from_checkpoint(read_checkpoint(golden / f"hubert_ecg/checkpoints/{name}.pt"))
    labels = ["a", "b", "c", "d"] if parts[0] == "hubert_ecg_classifier" else None
    model = from_parts(parts)
    options = {**model.cfg.to_dict()}
    torch.save(to_checkpoint(parts[0], options, model.state_dict(), labels), tmp_path / "copy.pt")
    torch.load(tmp_path / "copy.pt", weights_only=True)
    again = from_checkpoint(read_checkpoint(tmp_path / "copy.pt"))
    assert again[3] == labels and list(again[2]) == list(parts[2])
    assert from_config(to_config(parts[0], options, labels), again[2])[1:] == (again[1], again[2], labels)
    assert from_parts(again).cfg == model.cfg


def test_a_file_without_training_state_or_config_is_accepted_or_named(golden: Path, from_parts: Any) -> None:
    content = read_checkpoint(golden / "hubert_ecg/checkpoints/finetune_mlp.pt")
    bare = {key: content[key] for key in ("model_config", "model_state_dict")}
    assert from_parts(from_checkpoint(bare)).cfg.classifier_hidden_size == 24
    with pytest.raises(ConfigError, match="model_config"):
        from_checkpoint({"model_state_dict": content["model_state_dict"]})


@pytest.mark.parametrize(
    ("kernels", "strides", "samples", "field", "factor"),
    [
        ([10, 3, 3, 3, 3, 2, 2], [5, 2, 2, 2, 2, 2, 2], 30000, (400, 320), None),
        ([10, 3, 3, 2, 2], [4, 2, 2, 2, 2], 6000, (82, 64), 5),
        ([10, 3, 3, 2], [4, 2, 2, 2], 3000, (50, 32), 10),
    ],
)
def test_every_front_end_makes_93_frames_of_5_s(
    tiny: dict[str, Any], kernels: list[int], strides: list[int], samples: int, field: Any, factor: int | None
) -> None:
    options = {**tiny, "conv_kernel": kernels, "conv_stride": strides, "conv_dim": [8] * len(kernels)}
    output = build("model", "hubert_ecg", **options).eval()(torch.randn(1, 12, samples // 12), mask=True)
    assert output["features"].shape == (1, 93, 16) and output["mask_time_indices"].shape == (1, 93)
    assert receptive_field(kernels, strides) == field and decimation_factor(strides) == factor
    with pytest.raises(ConfigError, match="conv_stride"):
        decimation_factor([2, 2])


@pytest.mark.parametrize("name", ["mask_0", "mask_1", "mask_2", "mask_len3"])
def test_masks_are_drawn_as_the_reference_draws_them(golden: Path, name: str, load: Any) -> None:
    with np.load(golden / "hubert_ecg/targets/mask_indices.npz") as arrays:
        expected, (seed, batch, frames, prob) = arrays[name], arrays[f"{name}_args"]
    length = 3 if name == "mask_len3" else 1
    found = time_mask(int(batch), int(frames), prob, length, 2, np.random.RandomState(int(seed)))
    np.testing.assert_array_equal(found, expected)


def test_source_alone_never_masks_and_masks_follow_torchs_seed(tiny: dict[str, Any]) -> None:
    model = build(
        "model", "hubert_ecg", **tiny, layerdrop=0.0, hidden_dropout=0.0, attention_dropout=0.0, activation_dropout=0.0
    ).train()
    source = torch.randn(2, 12, 500)
    assert torch.equal(model(source)["features"], model(source)["features"])
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(model(source, mask=True)["mask_time_indices"])
    assert torch.equal(masks[0], masks[1]) and not torch.equal(masks[0], masks[2])
    assert masks[0].sum(dim=1).tolist() in ([30, 30], [31, 31])


def test_every_lead_of_a_padded_ecg_keeps_its_frames() -> None:
    padding = torch.zeros(1, 12, 500, dtype=torch.bool)
    padding[:, :, 300:] = True  # 3 of 5 s are there
    kernels, strides = [10, 3, 3, 2, 2], [4, 2, 2, 2, 2]
    kept = ~padded_frames(padding.flatten(1), kernels, strides, "receptive_field")[0]
    starts = torch.arange(93) * 64
    expected = torch.stack([~padding.flatten()[start : start + 82].any() for start in starts])
    assert torch.equal(kept, expected)
    assert set((starts[kept] // 500).tolist()) == set(range(12))
    counted = ~padded_frames(padding.flatten(1), kernels, strides, "count")[0]
    assert counted.tolist() == [True] * 55 + [False] * 38  # published: leads I to V1 and nothing else


def test_padding_at_the_end_of_one_lead_counts_the_same_under_both_rules() -> None:
    padding = torch.zeros(4, 6000, dtype=torch.bool)
    for row, valid in enumerate((6000, 3000, 1000, 82)):
        padding[row, valid:] = True
    rules = [padded_frames(padding, [10, 3, 3, 2, 2], [4, 2, 2, 2, 2], rule) for rule in ("receptive_field", "count")]
    assert torch.equal(*rules)


def test_padded_samples_do_not_change_the_pooled_features_of_frames_that_miss_them(
    tiny_encoder: dict[str, Any],
) -> None:
    model = build("model", "hubert_ecg_classifier", **tiny_encoder, num_labels=3, feat_extract_norm="layer").eval()
    source = torch.randn(2, 12, 500)
    padding = torch.zeros(2, 12, 500, dtype=torch.bool)
    padding[:, :, 350:] = True
    with torch.no_grad():
        first = model(source, padding_mask=padding)
        second = model(source.masked_fill(padding, 9.0), padding_mask=padding)
        per_record = model(source, padding_mask=padding[:, 0])
    torch.testing.assert_close(first["logits"], second["logits"])
    torch.testing.assert_close(first["logits"], per_record["logits"])


def test_norms_before_the_branches_build_and_train(tiny: dict[str, Any]) -> None:
    model = build("model", "hubert_ecg", **tiny, do_stable_layer_norm=True).eval()
    states = model.extract_features(torch.randn(1, 12, 500), layers="all")["hidden_states"]
    torch.testing.assert_close(states[-1].mean(dim=-1), torch.zeros(1, 93), atol=1e-5, rtol=0)
    states[-1].square().sum().backward()
    assert model.encoder.layer_norm.weight.grad is not None


def test_a_record_shorter_than_a_frame_is_named(tiny: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="72 samples"):
        build("model", "hubert_ecg", **tiny)(torch.zeros(1, 12, 6))


def test_options_that_do_not_fit_each_other_are_named(tiny: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="num_attention_heads"):
        build("model", "hubert_ecg", **{**tiny, "num_attention_heads": 3})
    with pytest.raises(ConfigError, match="one entry of each per convolution"):
        build("model", "hubert_ecg", **{**tiny, "conv_stride": [4, 2]})


def test_heads_that_do_not_divide_the_width_are_an_error_of_the_users():
    with pytest.raises(ConfigError, match=r"hidden_size=768 is not a multiple of model\.num_attention_heads=5"):
        build("model", "hubert_ecg", num_attention_heads=5)
