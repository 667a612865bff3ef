"""A residual network for the ECGs, an LSTM for the question, and the product of what they give."""

from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from ecg_signals.config import another_default, option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.encoders.ecg_transformer import ModelConfig
from ecg_signals.models.heads.finetuned import FinetuneOptions
from ecg_signals.models.text.question_head import QuestionHead
from ecg_signals.models.text.text_model import Signal, TextModel
from ecg_signals.models.text.text_options import EmbeddingOptions, Text
from ecg_signals.modules.conv_stem import unpadded_lengths
from ecg_signals.modules.heads import linear
from ecg_signals.registry import register_model

BLOCKS = {  # configuration -> blocks of every stage, and whether they have a bottleneck
    "resnet18": ((2, 2, 2, 2), False), "resnet34": ((3, 4, 6, 3), False), "resnet50": ((3, 4, 6, 3), True),
    "resnet101": ((3, 4, 23, 3), True), "resnet152": ((3, 8, 36, 3), True),
}  # fmt: skip
STRIDE = 32  # samples of a frame behind the last stage


@dataclass
class ResnetLSTMConfig(EmbeddingOptions, ModelConfig):
    load_bert_embedding: bool = another_default(EmbeddingOptions, "load_bert_embedding", False)
    lstm_input_dim: int = option(768, "width of the word embeddings", least=1)
    lstm_embed_dim: int = option(512, "width of the LSTM", least=1)
    lstm_num_layer: int = option(2, "layers of the LSTM", least=1)
    dropout: float = option(0.0, "between the layers of the LSTM", least=0, most=1)
    bidirectional: bool = option(False, "the LSTM reads the text backwards, too")
    configuration: str = option("resnet50", "the residual network", choices=tuple(BLOCKS))
    in_d: int = option(12, "leads", least=1)
    final_dim: int = option(1024, "width of the two vectors that are multiplied", least=1)
    sep_token: int = option(102, "number of [SEP]", follows="task.sep_token", least=0)


@dataclass
class ResnetLSTMClassifierConfig(FinetuneOptions, ResnetLSTMConfig):
    final_dropout: float = option(0.0, "of the product", least=0, most=1, ours=True)


class ResnetLSTM(TextModel):
    """The encoder within; it is not registered by a name of its own."""

    cfg: ResnetLSTMConfig

    def __init__(self, cfg: ResnetLSTMConfig) -> None:
        super().__init__(cfg)
        self.resnet = nn.ModuleDict({"featuare_extractor": Resnet1d(cfg.configuration, cfg.in_d)})  # spelt as published
        self.resnet_final_proj = nn.Linear(self.features.dim, cfg.final_dim)
        self.lstm = nn.ModuleDict({
            "encoder": nn.LSTM(
                cfg.lstm_input_dim, cfg.lstm_embed_dim, cfg.lstm_num_layer, batch_first=True,
                dropout=cfg.dropout if cfg.lstm_num_layer > 1 else 0.0, bidirectional=cfg.bidirectional,
            ),
            "word_embeddings": nn.Embedding(cfg.vocab_size, cfg.lstm_input_dim, padding_idx=cfg.pad_token),
        })  # fmt: skip
        states = 2 * cfg.lstm_num_layer * (2 if cfg.bidirectional else 1)
        self.lstm_final_proj = nn.Linear(states * cfg.lstm_embed_dim, cfg.final_dim)

    @property
    def features(self) -> "Resnet1d":
        return cast(Resnet1d, self.resnet["featuare_extractor"])

    @property
    def dim(self) -> int:
        return self.features.dim

    def bert_parts(self) -> dict[str, str]:
        return {"lstm.word_embeddings": "word embeddings"} if self.cfg.load_bert_embedding else {}

    def read(self, first: Signal, second: Signal | None, text: Text, hidden: list[Tensor] | None = None) -> ModelOutput:
        """`pooled` [batch, final_dim] is the product, features [batch, frames, dim] are those of the first ECG.

        Padding of ECGs is not left out of their means, as published.
        """
        x = self.features(first.source, hidden)  # [batch, dim, frames]
        signal = self.resnet_final_proj(x.mean(dim=-1))
        if second is not None:
            other = self.resnet_final_proj(self.features(second.source).mean(dim=-1))
            if second.padding_mask is not None:
                other = other.masked_fill((unpadded_lengths(second.padding_mask) == 0).unsqueeze(-1), 0.0)
            signal = signal + other
        padding = None if first.padding_mask is None else _padded(first.padding_mask, x.shape[-1])
        return ModelOutput(features=x.transpose(1, 2), pooled=signal * self._words(text), padding_mask=padding)

    def _words(self, texts: Text) -> Tensor:
        """What the LSTM knows at the end of each text, [batch, final_dim]."""
        words = self.lstm["word_embeddings"](texts.ids)
        if texts.padding is not None:
            lengths = (~texts.padding).sum(dim=1).clamp(min=1).cpu()
            words = pack_padded_sequence(words, lengths, batch_first=True, enforce_sorted=False)
        _, states = self.lstm["encoder"](words)
        return self.lstm_final_proj(torch.cat([*states[0], *states[1]], dim=-1))


def _padded(padding_mask: Tensor, frames: int) -> Tensor:
    lengths = torch.div(unpadded_lengths(padding_mask) + STRIDE - 1, STRIDE, rounding_mode="floor")
    return torch.arange(frames, device=lengths.device) >= lengths.unsqueeze(1)


@register_model("resnet_lstm_classifier", dataclass=ResnetLSTMClassifierConfig)
class ResnetLSTMClassifier(QuestionHead):
    """Source: Oh et al. 2023, ECG-QA, arXiv:2306.15681; He et al. 2015, arXiv:1512.03385, in one dimension."""

    cfg: ResnetLSTMClassifierConfig
    encoder_class = ResnetLSTM
    usually_pretrained = False

    def __init__(self, cfg: ResnetLSTMClassifierConfig) -> None:
        super().__init__(cfg)
        self.proj = linear(cfg.final_dim, cfg.num_labels)

    def answers(self, encoded: ModelOutput, source: Tensor) -> ModelOutput:
        encoded["logits"] = self.proj(self.final_dropout(encoded["pooled"]))
        return encoded


class Resnet1d(nn.Module):
    """[batch, leads, samples] -> [batch, dim, frames]; parts are called as torchvision calls them."""

    def __init__(self, configuration: str, leads: int) -> None:
        super().__init__()
        blocks, bottleneck = BLOCKS[configuration]
        self.conv1 = nn.Conv1d(leads, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm1d(64)
        self.maxpool = nn.MaxPool1d(3, stride=2, padding=1)
        self.dim, made = 64, Bottleneck if bottleneck else BasicBlock
        for stage, count in enumerate(blocks):
            layers: list[nn.Module] = []
            for number in range(count):
                layers.append(made(self.dim, 64 << stage, 2 if stage and number == 0 else 1))
                self.dim = (64 << stage) * made.expansion
            self.add_module(f"layer{stage + 1}", nn.Sequential(*layers))

    def forward(self, x: Tensor, hidden: list[Tensor] | None = None) -> Tensor:
        x = self.maxpool(torch.relu(self.bn1(self.conv1(x))))
        for stage in range(4):
            x = self.get_submodule(f"layer{stage + 1}")(x)
            if hidden is not None:
                hidden.append(x.transpose(1, 2))
        return x


class _Block(nn.Module):
    expansion: int = 1
    downsample: nn.Module | None

    def _shortcut(self, dim: int, out_dim: int, stride: int) -> nn.Module | None:
        if stride == 1 and dim == out_dim:
            return None
        return nn.Sequential(nn.Conv1d(dim, out_dim, 1, stride=stride, bias=False), nn.BatchNorm1d(out_dim))

    def _sum(self, x: Tensor, y: Tensor) -> Tensor:
        return torch.relu(y + (x if self.downsample is None else self.downsample(x)))


class BasicBlock(_Block):
    def __init__(self, dim: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(dim, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm1d(width)
        self.downsample = self._shortcut(dim, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self._sum(x, self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class Bottleneck(_Block):
    expansion = 4

    def __init__(self, dim: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(dim, width, 1, bias=False)
        self.bn1 = nn.BatchNorm1d(width)
        self.conv2 = nn.Conv1d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm1d(width)
        self.conv3 = nn.Conv1d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm1d(4 * width)
        self.downsample = self._shortcut(dim, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))
        return self._sum(x, self.bn3(self.conv3(y)))
