"""One transformer over the frames of an ECG, or of two, and the tokens of a text."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ecg_signals.config import option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.encoders.ecg_transformer import ECGTransformer, ECGTransformerConfig
from ecg_signals.models.text.text_model import Signal, TextModel
from ecg_signals.models.text.text_options import BERT_TABLES, EmbeddingOptions, Frames, Text, join_ecgs, join_padding
from ecg_signals.modules.pooling import pool_frames
from ecg_signals.registry import register_model


@dataclass
class ECGLanguageTransformerConfig(EmbeddingOptions, ECGTransformerConfig):
    sep_token: int = option(102, "number of [SEP], whose word embedding stands between two ECGs",
                            follows="task.sep_token", least=0)  # fmt: skip


@register_model("ecg_language_transformer", dataclass=ECGLanguageTransformerConfig)
class ECGLanguageTransformer(TextModel, ECGTransformer):  # type: ignore[misc]
    """Source: Oh et al. 2023, ECG-QA, arXiv:2306.15681; after Moon et al. 2021, MedViLL, arXiv:2105.11333."""

    cfg: ECGLanguageTransformerConfig
    encoder_name = "ecg_language_transformer"
    ARCHITECTURE: ClassVar[tuple[str, ...]] = (
        *ECGTransformer.ARCHITECTURE, "vocab_size", "max_text_size", "pad_token", "sep_token", "empty_text",
    )  # fmt: skip

    def __init__(self, cfg: ECGLanguageTransformerConfig) -> None:
        super().__init__(cfg)
        width = cfg.encoder_embed_dim
        self.feats_layer_norm = self.layer_norm  # of the convolutions' output
        self.layer_norm = nn.LayerNorm(width)  # of word embeddings
        self.language_embedding = nn.Embedding(cfg.vocab_size, width, padding_idx=cfg.pad_token)
        self.position_embedding = nn.Embedding(cfg.max_text_size, width)
        self.token_type_embedding = nn.Embedding(2, width)

    def parts(self) -> list[tuple[str, ...]]:
        first, *rest = super().parts()
        return [(*first, "feats_layer_norm", "language_embedding", "position_embedding", "token_type_embedding"), *rest]

    @property
    def sometimes_unused(self) -> bool:
        return super().sometimes_unused or self.mask_emb is not None

    def bert_parts(self) -> dict[str, str]:
        return BERT_TABLES if self.cfg.load_bert_embedding else {}

    def training_pass(self, source: Tensor, padding_mask: Tensor | None, **question: Tensor | None) -> ModelOutput:
        return self(source, padding_mask, mask=self.cfg.apply_mask and self.training, **question)

    @property
    def frame_norm(self) -> nn.Module:
        return self.feats_layer_norm

    def read(
        self,
        first: Signal,
        second: Signal | None,
        text: Text,
        hidden: list[Tensor] | None = None,
        mask: bool = False,
    ) -> ModelOutput:
        """mask: hide frames of the ECGs as the mask_* options say.

        Returns: features [batch, frames, width] of the ECGs, text_features [batch, tokens, width], pooled [batch,
            width] of both, padding_mask and text_padding_mask, where there is any padding.
        """
        ecgs = self.ecgs(first, second, mask)
        return self.encode(ecgs, Frames(self.embed(text), text.padding), hidden, self.attention(ecgs, text))

    def attention(self, ecgs: Frames, texts: Text) -> Tensor | None:
        """Which position reads which, bool [positions, positions], ECGs first; None where all read all."""
        return None

    def ecgs(self, first: Signal, second: Signal | None, mask: bool) -> Frames:
        """The transformer's input from one ECG or two."""
        found = Frames(*self.frames(*first, mask=mask))
        if second is not None:
            separator = self.language_embedding.weight[self.cfg.sep_token]
            found = join_ecgs(found, separator, Frames(*self.frames(*second, mask=mask)))
        return Frames(self.place(found.x, found.padding) + self.token_type_embedding.weight[0], found.padding)

    def embed(self, text: Text) -> Tensor:
        """Tokens -> the transformer's input [batch, tokens, width]; unlike BERT's, the norm stands before the place."""
        return self.placed(self.dropout_input(self.layer_norm(self.language_embedding(text.ids))))

    def placed(self, words: Tensor) -> Tensor:
        return words + self.position_embedding.weight[: words.shape[1]] + self.token_type_embedding.weight[1]

    def encode(
        self, ecgs: Frames, words: Frames, hidden: list[Tensor] | None = None, attend: Tensor | None = None
    ) -> ModelOutput:
        """Both through the transformer. attend: bool [query, key] of all positions, ECGs first."""
        padding, frames = join_padding(ecgs, words), ecgs.x.shape[1]
        x = torch.cat([ecgs.x, words.x], dim=1)
        x, saliency = self.encoder(x, padding, need_weights=self.cfg.saliency, hidden=hidden, attend=attend)
        output = ModelOutput(
            features=x[:, :frames],
            text_features=x[:, frames:],
            pooled=pool_frames(x, padding, self.cfg.pooling),
            padding_mask=ecgs.padding,
            text_padding_mask=words.padding,
        )
        return output if saliency is None else ModelOutput(output, saliency=saliency)


def pooled_sides(output: ModelOutput, pooling: str) -> dict[str, Any]:
    """Means over an output's ECG frames and over its tokens, [batch, width] each."""
    return {
        "ecg": pool_frames(output["features"], output["padding_mask"], pooling),
        "text": pool_frames(output["text_features"], output["text_padding_mask"], pooling),
    }
