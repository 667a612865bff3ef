"""Questions about one ECG or two, answered by M3AE's encoders and a perceptron."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from ecg_signals.config import another_default, option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.text.m3ae import M3AE, M3AEConfig
from ecg_signals.models.text.question_head import QuestionHead, QuestionOptions
from ecg_signals.modules.bert import init_bert
from ecg_signals.registry import register_model


@dataclass
class M3AEQAConfig(QuestionOptions, M3AEConfig):
    num_ecgs: int = option(2, "ECGs that a question may be about", choices=(1, 2))
    final_dropout: float = option(0.0, "of what the perceptron reads", least=0, most=1, ours=True)
    load_pretrained_weights: bool = another_default(M3AEConfig, "load_pretrained_weights", False)
    pretraining_heads: bool = another_default(M3AEConfig, "pretraining_heads", False)


@register_model("m3ae_qa", dataclass=M3AEQAConfig)
class M3AEQA(QuestionHead):
    """Source: Oh et al. 2023, ECG-QA, arXiv:2306.15681."""

    cfg: M3AEQAConfig
    encoder_class = M3AE

    def __init__(self, cfg: M3AEQAConfig) -> None:
        super().__init__(cfg)
        dim = 2 * cfg.hidden_dim
        perceptron = nn.Sequential(nn.Linear(dim, dim), nn.LayerNorm(dim), nn.GELU(), nn.Linear(dim, cfg.num_labels))
        self.head = perceptron.apply(init_bert)  # type: ignore[misc]

    @classmethod
    def stored_sizes(cls, state: Mapping[str, Tensor]) -> dict[str, Any]:
        return M3AE.stored_sizes(state)

    @property
    def head(self) -> nn.Sequential:
        """The perceptron, whose published name is that of a method elsewhere."""
        return cast(nn.Sequential, self._modules["head"])

    def answers(self, encoded: ModelOutput, source: Tensor) -> ModelOutput:
        encoded["logits"] = self.head(self.final_dropout(encoded["pooled"]))
        return encoded
