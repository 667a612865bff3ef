"""What BERT knows of words, from a folder of its weights on this machine."""

import logging
from collections.abc import Mapping

from torch import Tensor, nn

from ecg_signals.checkpoint.load import fill_strictly
from ecg_signals.config import ConfigError, resolve_input
from ecg_signals.interop.huggingface.folder import read_folder

logger = logging.getLogger(__name__)

WORDS, PLACES = "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"
TABLES = {  # what a model may take alone
    "word embeddings": WORDS, "position embeddings": PLACES,
    "token type embeddings": "embeddings.token_type_embeddings.weight",
}  # fmt: skip
HINT = (
    "set model.language_model_path to a folder with config.json and model.safetensors of bert-base-uncased, from "
    "https://huggingface.co/google-bert/bert-base-uncased (440 MB, by hand: nothing is downloaded)"
)


def begin_from_bert(part: nn.Module, what: str, path: str | None) -> None:
    """Fill `part`: "all" of BERT but its pooler, "with pooler", or one of TABLES alone, of whose places the first ones
    are enough.

    Raises: ConfigError without a folder, and where its weights, or its attention heads, are not as many.
    """
    if not path:
        raise ConfigError(
            f"this model's text side begins with BERT's weights: {HINT}; or begin with random ones: "
            f"model.{'load_pretrained_weights' if what == 'all' else 'load_bert_embedding'}=false"
        )
    folder = resolve_input(path)
    if not folder.is_dir():
        raise ConfigError(f"model.language_model_path={path} is not a folder; {HINT}")
    content = read_folder(folder)
    state = encoder_weights(content["weights"], str(folder), what == "with pooler")
    if what in TABLES:
        state = {"weight": state[TABLES[what]][: len(part.weight) if TABLES[what] == PLACES else None]}  # type: ignore[arg-type]
    else:
        _check_heads(content["huggingface"], part, str(folder))
    fill_strictly(part, state, str(folder))
    logger.info("%s: begun with %s of BERT", folder, what)


def _check_heads(config: Mapping[str, object], part: nn.Module, where: str) -> None:
    """Raises: ConfigError where the file's layers have other attention heads, which no weight shows."""
    found, own = config.get("num_attention_heads"), {layer.heads for layer in part.modules() if hasattr(layer, "heads")}
    if isinstance(found, int) and own and own != {found}:
        raise ConfigError(
            f"{where} has {found} attention heads, not {own.pop()}; set model.language_attention_heads={found}"
        )


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
