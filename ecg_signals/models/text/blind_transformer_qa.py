"""ECG-QA without the ECG: what the question alone tells of the answer."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ecg_signals.config import MISSING, another_default, option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.encoders.ecg_transformer import TransformerConfig
from ecg_signals.models.text.text_model import Signal, TextModel
from ecg_signals.models.text.text_options import BERT_TABLES, EmbeddingOptions, Text, check_size
from ecg_signals.modules.dropout import Dropout
from ecg_signals.modules.heads import linear
from ecg_signals.modules.pooling import POOLINGS, pool_frames
from ecg_signals.modules.transformer import TransformerEncoder
from ecg_signals.registry import register_model


@dataclass
class BlindTransformerQAConfig(EmbeddingOptions, TransformerConfig):
    load_bert_embedding: bool = another_default(EmbeddingOptions, "load_bert_embedding", False)
    num_labels: int = option(MISSING, "columns of the logits", least=1)
    pooling: str = option(
        "valid", "mean over unpadded tokens, or over each channel's non-zero values", choices=POOLINGS, ours=True
    )


@register_model("blind_transformer_qa", dataclass=BlindTransformerQAConfig)
class BlindTransformerQA(TextModel):
    """Source: Oh et al. 2023, ECG-QA, arXiv:2306.15681: one of its two ablations."""

    cfg: BlindTransformerQAConfig

    def __init__(self, cfg: BlindTransformerQAConfig) -> None:
        super().__init__(cfg)
        width = cfg.encoder_embed_dim
        check_size("model.encoder_embed_dim", width, {"encoder_attention_heads": cfg.encoder_attention_heads})
        self.encoder = TransformerEncoder(
            cfg.encoder_layers, width, cfg.encoder_ffn_embed_dim, cfg.encoder_attention_heads,
            dropout=cfg.dropout, attention_dropout=cfg.attention_dropout, activation_dropout=cfg.activation_dropout,
            layer_norm_first=cfg.layer_norm_first, layerdrop=cfg.encoder_layerdrop,
        )  # fmt: skip
        self.layer_norm = nn.LayerNorm(width)
        self.dropout_input = Dropout(cfg.dropout_input)
        self.language_embedding = nn.Embedding(cfg.vocab_size, width, padding_idx=cfg.pad_token)
        self.position_embedding = nn.Embedding(cfg.max_text_size, width)
        self.token_type_embedding = nn.Embedding(2, width)
        self.proj = linear(width, cfg.num_labels)

    @property
    def dim(self) -> int:
        return self.cfg.encoder_embed_dim

    @property
    def attention_heads(self) -> int:
        return self.cfg.encoder_attention_heads

    @classmethod
    def published_options(cls) -> dict[str, Any]:
        return {"pooling": "nonzero"}

    def bert_parts(self) -> dict[str, str]:
        return BERT_TABLES if self.cfg.load_bert_embedding else {}

    def read(self, first: Signal, second: Signal | None, text: Text, hidden: list[Tensor] | None = None) -> ModelOutput:
        """ECGs are only counted: features [batch, tokens, width] are the text's."""
        words = self.dropout_input(self.layer_norm(self.language_embedding(text.ids)))
        words = words + self.position_embedding.weight[: words.shape[1]] + self.token_type_embedding.weight[0]
        x, saliency = self.encoder(words, text.padding, need_weights=self.cfg.saliency, hidden=hidden)
        pooled = pool_frames(x, text.padding, self.cfg.pooling)
        output = ModelOutput(features=x, pooled=pooled, padding_mask=text.padding, logits=self.proj(pooled))
        return output if saliency is None else ModelOutput(output, saliency=saliency)
