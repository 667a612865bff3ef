"""What BERT knows of words, from a folder of its weights on this machine."""

import logging
from collections.abc import Mapping

from torch import Tensor, nn

from ecg_signals.checkpoint.load import fill_strictly
from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.interop.huggingface.folder import read_folder

logger = logging.getLogger(__name__)

WORDS = "embeddings.word_embeddings.weight"
HINT = (
    "set model.language_model_path to a folder with config.json and model.safetensors of bert-base-uncased, from "
    "https://huggingface.co/google-bert/bert-base-uncased (440 MB, by hand: nothing is downloaded)"
)


def begin_from_bert(part: nn.Module, what: str, path: str | None) -> None:
    """Fill `part`: "all" of BERT but its pooler, "with pooler", or its "word embeddings" alone.

    Raises: ConfigError without a folder, and where its weights are not of this size.
    """
    if not path:
        raise ConfigError(
            f"this model's text side begins with BERT's weights: {HINT}; or begin with random ones: "
            f"model.{'load_pretrained_weights' if what == 'all' else 'load_bert_embedding'}=false"
        )
    folder = resolve_input(path)
    if not folder.is_dir():
        raise ConfigError(f"model.language_model_path={path} is not a folder; {HINT}")
    state = encoder_weights(read_folder(folder)["weights"], str(folder), what == "with pooler")
    if what == "word embeddings":
        state = {"weight": state[WORDS]}
    fill_strictly(part, state, str(folder))
    logger.info("%s: begun with %s of BERT", folder, what)


def encoder_weights(weights: Mapping[str, Tensor], where: str, pooler: bool = False) -> dict[str, Tensor]:
    """BERT's embeddings and layers under their own names, whatever model they are part of, and spelt as today."""
    parts = ("embeddings.", "encoder.", *(("pooler.",) if pooler else ()))
    prefix = "bert." if f"bert.{WORDS}" in weights else ""
    if prefix + WORDS not in weights:
        raise ConfigError(f"{where} holds no {WORDS}, so it is not BERT; {HINT}")
    found = {}
    for key, value in weights.items():
        name = key.removeprefix(prefix).replace("LayerNorm.gamma", "LayerNorm.weight")
        name = name.replace("LayerNorm.beta", "LayerNorm.bias")
        if key.startswith(prefix) and name.startswith(parts) and "position_ids" not in name:
            found[name] = value
    return found
