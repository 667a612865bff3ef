"""What models of texts share: options of the vocabulary, and what a text is where none is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.modules.pooling import pool_frames

BERT = "folder of BERT's weights (config.json, model.safetensors or pytorch_model.bin) on this machine"

BERT_TABLES = {  # parts that begin as BERT's, see BaseModel.bert_parts
    "language_embedding": "word embeddings", "position_embedding": "position embeddings",
    "token_type_embedding": "token type embeddings",
}  # fmt: skip


@dataclass
class VocabularyOptions(BaseConfig):
    vocab_size: int = option(30522, "tokens of the vocabulary", least=1)
    max_text_size: int = option(512, "tokens of a text at most, [CLS] and [SEP] included", follows="task.max_text_size",
                                least=1)  # fmt: skip
    empty_text: list[int] = option(
        [101, 102], "tokens of the text where none is given: [CLS] [SEP]", least=0, ours=True
    )
    language_model_path: str | None = option(None, BERT, ours=True)


@dataclass
class EmbeddingOptions(VocabularyOptions):
    load_bert_embedding: bool = option(
        True,
        "start the embeddings of words, and of places and kinds where there are any, from BERT's, in "
        "language_model_path; of no effect once a run has begun",
    )
    pad_token: int = option(0, "number of [PAD]", follows="task.pad_token", least=0)


class Text(NamedTuple):
    """int64 [batch, tokens], and bool [batch, tokens], True = padding, None where there is none."""

    ids: Tensor
    padding: Tensor | None


def text_of(cfg: Any, source: Tensor, text: Tensor | None, padding: Tensor | None) -> Text:
    """The texts of a batch, the empty one for each of its items where there are none.

    Raises: ConfigError for texts that are longer than the model takes, or for another number of them than of items.
    """
    if text is None:
        if not cfg.empty_text or max(cfg.empty_text) >= cfg.vocab_size:
            raise ConfigError(
                f"model.empty_text={list(cfg.empty_text)}, expected tokens below model.vocab_size={cfg.vocab_size}; "
                f"give a text, or set model.empty_text to the numbers of [CLS] and [SEP]"
            )
        text, padding = torch.tensor(cfg.empty_text, device=source.device).expand(len(source), -1), None
    if text.dim() != 2 or len(text) != len(source):
        raise ConfigError(
            f"text has shape {list(text.shape)}; expected [batch, tokens] with a row for each of {len(source)} ECGs"
        )
    if text.shape[1] > cfg.max_text_size:
        raise ConfigError(
            f"a text has {text.shape[1]} tokens, but model.max_text_size={cfg.max_text_size}; set "
            f"task.max_text_size={cfg.max_text_size}, so that longer ones are cut off"
        )
    if padding is not None and not torch.compiler.is_compiling() and not bool(padding.any()):
        padding = None
    return Text(text, padding)


def _whole(x: Tensor, padding: Tensor | None) -> Tensor:
    return torch.zeros(x.shape[:2], dtype=torch.bool, device=x.device) if padding is None else padding


def check_size(name: str, size: int, wanted: Mapping[str, int]) -> None:
    """Raises: ConfigError for a width that the named numbers of heads do not divide."""
    for key, heads in wanted.items():
        if size % heads:
            raise ConfigError(f"model.{key}={heads} does not divide {name}={size}; set model.{key} to a divisor")


class Frames(NamedTuple):
    """One ECG, or two with a separator between: [batch, frames, dim], bool [batch, frames] True = padding or None."""

    x: Tensor
    padding: Tensor | None


def mean_of(frames: Frames, part: slice, pooling: str) -> Tensor:
    """Mean over some places of a sequence, [batch, dim]."""
    padding = None if frames.padding is None else frames.padding[:, part]
    return pool_frames(frames.x[:, part], padding, pooling)


def join_padding(first: Frames, second: Frames) -> Tensor | None:
    """Padding of two sequences one behind the other."""
    if first.padding is None and second.padding is None:
        return None
    return torch.cat([_whole(part.x, part.padding) for part in (first, second)], dim=1)


def join_ecgs(first: Frames, separator: Tensor, second: Frames) -> Frames:
    """An item without a second ECG has padding throughout it; its separator, [dim], then is padding, too."""
    between = separator.to(first.x.dtype).expand(len(first.x), 1, -1)
    x = torch.cat([first.x, between, second.x], dim=1)
    if first.padding is None and second.padding is None:
        return Frames(x, None)
    behind = _whole(second.x, second.padding)
    return Frames(x, torch.cat([_whole(first.x, first.padding), behind.all(dim=1, keepdim=True), behind], dim=1))
