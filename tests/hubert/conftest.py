"""What HuBERT-ECG's tests share: a tiny model's options and published files as models."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from ecg_signals.checkpoint.read import read_checkpoint
from ecg_signals.interop.hubert_ecg.names import from_checkpoint, is_published_checkpoint
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import build


def build_parts(parts: tuple[str, dict[str, Any], dict[str, Any], Any]) -> BaseModel:
    name, options, state, _ = parts
    model = build("model", name, **options).eval()
    model.load_state_dict(model.upgrade_state_dict(state))
    return model


def load_published(path: Path) -> BaseModel:
    content = read_checkpoint(path)
    assert is_published_checkpoint(content)
    return build_parts(from_checkpoint(content))


def silence(model: BaseModel) -> BaseModel:
    """Every kind of dropout off, so that a training step is a function of its batch."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for name in ("dropout_probability", "layerdrop"):
            if hasattr(module, name):
                setattr(module, name, 0.0)
    return model


@pytest.fixture(scope="session")
def load() -> Callable[[Path], BaseModel]:
    return load_published


@pytest.fixture(scope="session")
def quiet() -> Callable[[BaseModel], BaseModel]:
    return silence


@pytest.fixture(scope="session")
def from_parts() -> Callable[[Any], BaseModel]:
    return build_parts


@pytest.fixture(scope="session")
def tiny_encoder() -> dict[str, Any]:
    return {
        "conv_dim": [8] * 5,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 24,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 4,
    }


@pytest.fixture(scope="session")
def tiny(tiny_encoder: dict[str, Any]) -> dict[str, Any]:
    return {**tiny_encoder, "classifier_proj_size": 8, "vocab_sizes": [7, 5]}
