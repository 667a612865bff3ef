"""merl: an ECG encoder beside what a language model, which never trains, makes of the ECGs' reports.

Liu et al. 2024, Zero-Shot ECG Classification with Multimodal Learning and Test-time Clinical Knowledge Enhancement,
arXiv:2403.06659.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import ConfigError, option
from ecg_signals.interop.merl.contract import merl
from ecg_signals.models.any_encoder import AnyEncoderOptions
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.models.contrastive.views import encoder_without_head
from ecg_signals.models.heads.finetuned import EncoderWithHead
from ecg_signals.models.text.text_options import BERT
from ecg_signals.modules.bert import BertReader
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.registry import register_model
from ecg_signals.signal.contract import SignalContract


@dataclass
class MerlConfig(AnyEncoderOptions):
    frames: int = option(
        313, "frames of the encoder at most, which a learned query reads; 0: a perceptron on its pooled vector, as "
        "published with vision transformers", least=0,
    )  # fmt: skip
    out_dim: int = option(256, "width of what is compared; a multiple of pool_heads", least=1)
    hidden_dim: int = option(256, "width inside the projection of texts and inside the perceptron", least=1)
    text_dim: int = option(768, "width of a report's vector; 768 of ncbi/MedCPT-Query-Encoder", least=1)
    pool_heads: int = option(4, "attention heads of the query", least=1)
    view_dropout: float = option(0.1, "of the two views of an ECG", least=0, most=1)
    language_layers: int = option(
        0, "layers of a BERT, text_dim wide, that reads reports; 0: they come as its vectors; published: 12", least=0
    )
    language_ffn_dim: int = option(3072, "width inside its perceptrons", least=1)
    language_attention_heads: int = option(12, "its attention heads; they divide text_dim", least=1)
    language_positions: int = option(512, "tokens that it has places for", least=1)
    vocab_size: int = option(30522, "tokens of its vocabulary", least=1)
    language_model_path: str | None = option(None, BERT)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.frames and self.out_dim % self.pool_heads:
            raise ConfigError(f"model.out_dim={self.out_dim} with model.pool_heads={self.pool_heads}; set a multiple")
        heads = self.language_attention_heads
        if self.language_layers and self.text_dim % heads:
            raise ConfigError(
                f"model.text_dim={self.text_dim} with model.language_attention_heads={heads}; set a multiple"
            )


class AttentionPool(nn.Module):
    """What a query, learned and with a place of its own, reads from frames."""

    def __init__(self, frames: int, dim: int, heads: int) -> None:
        super().__init__()
        self.positional_embedding = nn.Parameter(torch.randn(1, frames + 1, dim) / dim)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dim))
        self.mhsa = nn.MultiheadAttention(dim, heads, batch_first=True)
        self.c_proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor]:
        """x [batch, frames, dim] -> [batch, dim], and how much the query attends to every frame [batch, 1, frames].

        The query's place counts twice, as published.
        """
        frames, most = x.shape[1], self.positional_embedding.shape[1] - 1
        if frames > most:
            raise ConfigError(f"the encoder gives {frames} frames, but model.frames={most}; cut shorter windows")
        query = (self.cls_token + self.positional_embedding[:, :1]).expand(len(x), -1, -1).to(x.dtype)
        x = torch.cat([query, x], dim=1) + self.positional_embedding[:, : frames + 1].to(x.dtype)
        hidden = None if padding is None else F.pad(padding, (1, 0))
        read, attention = self.mhsa(x[:, :1], x, x, key_padding_mask=hidden)
        return self.c_proj(read[:, 0]), attention[..., 1:]


@register_model("merl", dataclass=MerlConfig)
class Merl(EncoderWithHead):
    """A head stands on the encoder alone."""

    cfg: MerlConfig
    encoder: BaseModel
    encoder_class = None  # the options say which

    def __init__(self, cfg: MerlConfig) -> None:
        super().__init__(cfg)
        width, hidden, out = self.encoder.dim, cfg.hidden_dim, cfg.out_dim
        if cfg.frames:
            self.downconv = nn.Conv1d(width, out, 1)
            self.att_pool_head = AttentionPool(cfg.frames, out, cfg.pool_heads)
        else:
            self.proj_e = nn.Sequential(
                nn.Linear(width, hidden), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out), nn.BatchNorm1d(out)
            )
        self.linear1 = nn.Linear(out if cfg.frames else width, out, bias=False)
        self.linear2 = nn.Linear(out if cfg.frames else width, out, bias=False)
        self.view_dropout = nn.Dropout(cfg.view_dropout)
        self.lm_model = self._language_model(cfg)
        self.proj_t = nn.Sequential(nn.Linear(cfg.text_dim, hidden), nn.GELU(), nn.Linear(hidden, out))

    @staticmethod
    def _language_model(cfg: MerlConfig) -> BertReader | None:
        if not cfg.language_layers:
            return None
        sizes = (cfg.vocab_size, cfg.language_positions, cfg.language_layers, cfg.text_dim, cfg.language_ffn_dim)
        return BertReader(*sizes, cfg.language_attention_heads, dropout=0.0).requires_grad_(False)

    def bert_parts(self) -> dict[str, str]:
        return {"lm_model": "with pooler"} if self.lm_model is not None and self.cfg.language_model_path else {}

    @classmethod
    def usual_input(cls) -> SignalContract:
        return merl()

    @classmethod
    def encoder_of(cls, cfg: Any, usual: type[BaseModel] | None = None) -> tuple[type[BaseModel], Any]:
        return encoder_without_head(cfg)

    @property
    def dim(self) -> int:
        return self.encoder.dim

    def forward(
        self,
        source: Tensor | None = None,
        padding_mask: Tensor | None = None,
        encoded: Mapping[str, Tensor] | None = None,
        text_pooled: Tensor | None = None,
        text: Tensor | None = None,
        text_padding_mask: Tensor | None = None,
    ) -> ModelOutput:
        """source [batch, leads, samples] -> what the encoder gives, and what the criterion compares.

        Args:
            text_pooled: [batch, text_dim], a language model's vectors of the reports.
            text, text_padding_mask: in their place token numbers int64 [batch, tokens] and bool [batch, tokens].
        Returns: projected, view_1 and view_2 [batch, out_dim]; with texts projected_text [batch, out_dim].
        """
        output = super().forward(source, padding_mask, encoded)
        if text is not None:
            text_pooled = self.read(text, text_padding_mask)
        if text_pooled is not None:
            output["projected_text"] = self.proj_t(text_pooled.to(self.linear1.weight.dtype))
        return output

    @torch.no_grad()
    def read(self, text: Tensor, padding: Tensor | None = None) -> Tensor:
        """Token numbers int64 [texts, tokens], bool [texts, tokens] True = padding -> their vectors [texts, text_dim].

        Raises: ConfigError without a language model, and for texts longer than it has places for.
        """
        if self.lm_model is None:
            raise ConfigError("the model has no language model: set model.language_layers=12 and "
                              "model.language_model_path=FOLDER, or give vectors of reports, text_pooled")  # fmt: skip
        if text.shape[1] > self.cfg.language_positions:
            most = self.cfg.language_positions
            raise ConfigError(f"a text has {text.shape[1]} tokens, but model.language_positions={most}; set "
                              f"task.max_text_size={most} to cut longer ones off")  # fmt: skip
        return self.lm_model(text, padding)

    def train(self, mode: bool = True) -> "Merl":
        """The language model drops nothing out."""
        super().train(mode)
        if self.lm_model is not None:
            self.lm_model.eval()
        return self

    def head(self, encoded: ModelOutput, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        if self.cfg.frames:
            frames = self.downconv(encoded["features"].transpose(1, 2)).transpose(1, 2)
            padding = encoded.get("padding_mask")
            encoded["projected"], encoded["attention"] = self.att_pool_head(frames, padding)
            mean = pool_frames(frames, padding)
        else:
            mean = encoded["pooled"]
            encoded["projected"] = self.proj_e(mean)
        for name, layer in (("view_1", self.linear1), ("view_2", self.linear2)):
            encoded[name] = self.view_dropout(layer(mean))
        return encoded
