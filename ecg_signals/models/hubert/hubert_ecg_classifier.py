"""A HuBERT-ECG encoder with a classification or regression head: fine-tuning, or training from scratch."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ecg_signals.config import MISSING, option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.hubert.hubert_ecg import (
    HubertBackbone,
    HubertBackboneConfig,
    RegulatedModel,
    cosine_logits,
)
from ecg_signals.models.hubert.regulariser import DynamicRegulariser
from ecg_signals.registry import register_model

PREFIX = "hubert_ecg."  # of the encoder's weights
SLOW_RATE = 1e-7  # of everything below the last four blocks under layer_wise_lr
HEAD_RATE = 1e-5  # of the head under layer_wise_lr
FAST_BLOCKS = 4
HEAD_ACTIVATIONS: dict[str, type[nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "sigmoid": nn.Sigmoid,
}


@dataclass
class HubertEcgClassifierConfig(HubertBackboneConfig):
    num_labels: int = option(MISSING, "columns of the logits: labels, classes, or 1 for regression", least=1)
    classifier_hidden_size: int | None = option(
        None, "width of a hidden layer in the head; None: one linear layer", least=1
    )
    activation: str = option("tanh", "after the head's hidden layer", choices=tuple(HEAD_ACTIVATIONS))
    use_label_embedding: bool = option(False, "logits are cosines of the pooled features and one vector per label")
    classifier_dropout_prob: float = option(0.1, "dropout of the pooled features", least=0, most=1)
    transformer_blocks_to_unfreeze: int | None = option(
        None,
        "last blocks that train, with positional convolution and encoder norm frozen; None: everything trains",
        least=0,
    )
    unfreeze_conv_embedder: bool = option(False, "with transformer_blocks_to_unfreeze: the convolutions train too")
    freezing_steps: int = option(0, "updates in which only the feature projection and the head train", least=0)
    layer_wise_lr: bool = option(False, "1e-7 below the last four blocks, 1e-5 for the head, optimization.lr between")


@register_model("hubert_ecg_classifier", dataclass=HubertEcgClassifierConfig)
class HubertEcgClassifier(RegulatedModel):
    cfg: HubertEcgClassifierConfig
    encoder_class = HubertBackbone
    encoder_key = "hubert_ecg"

    def __init__(self, cfg: HubertEcgClassifierConfig) -> None:
        super().__init__(cfg)
        self.hubert_ecg = HubertBackbone(cfg)
        if cfg.masked_spec_embed:
            self.hubert_ecg.masked_spec_embed.requires_grad_(False)  # nothing is masked here
        self.classifier_dropout = nn.Dropout(cfg.classifier_dropout_prob)
        if cfg.use_label_embedding:
            self.label_embedding = nn.Embedding(cfg.num_labels, cfg.hidden_size)
        else:
            self.classifier = self._linear_head(cfg)
        self.regulariser = DynamicRegulariser(self, cfg.dynamic_reg_interval)
        self.head_only: bool | None = None
        self._freeze(head_only=False)

    @staticmethod
    def _linear_head(cfg: HubertEcgClassifierConfig) -> nn.Module:
        if cfg.classifier_hidden_size is None:
            return nn.Linear(cfg.hidden_size, cfg.num_labels)
        return nn.Sequential(
            nn.Linear(cfg.hidden_size, cfg.classifier_hidden_size),
            HEAD_ACTIVATIONS[cfg.activation](),
            nn.Linear(cfg.classifier_hidden_size, cfg.num_labels),
        )

    @classmethod
    def published_options(cls) -> dict[str, Any]:
        """The options under which the released weights were trained, where ours differ by default."""
        return HubertBackbone.published_options()

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> ModelOutput:
        """source [batch, leads, samples] -> features, pooled, padding_mask and logits [batch, labels].

        padding_mask [batch, samples] or [batch, leads, samples], True = padding: such frames are left out.
        """
        output = self.hubert_ecg(source, padding_mask=padding_mask)
        output["logits"] = self.classify(output["pooled"])
        return output

    def classify(self, pooled: Tensor) -> Tensor:
        """[batch, dim] -> [batch, labels]; with a label embedding these are cosines, between -1 and 1."""
        pooled = self.classifier_dropout(pooled)
        if self.cfg.use_label_embedding:
            return cosine_logits(pooled, self.label_embedding.weight)
        return self.classifier(pooled)

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: str | int | None = None
    ) -> ModelOutput:
        """As the encoder's `extract_features`; with logits unless `layers` is the number of one block."""
        output = self.hubert_ecg.extract_features(source, padding_mask, layers)
        if layers is None or layers == "all":
            output["logits"] = self.classify(output["pooled"])
        return output

    @property
    def sometimes_unused(self) -> bool:
        return self.cfg.freezing_steps > 0

    def before_forward(self, num_updates: int) -> None:
        """Freeze all but projection and head for the first `freezing_steps` updates."""
        self._freeze(head_only=num_updates < self.cfg.freezing_steps)

    def _freeze(self, head_only: bool) -> None:
        if head_only == self.head_only:
            return
        self.head_only = head_only
        for name, parameter in self.named_parameters():
            if name == "hubert_ecg.masked_spec_embed":
                continue
            parameter.requires_grad_(self._trains(name, head_only))

    def _trains(self, name: str, head_only: bool) -> bool:
        part = name.removeprefix(PREFIX)
        if part == name or part.startswith("feature_projection."):
            return True
        if head_only:
            return False
        blocks = self.cfg.transformer_blocks_to_unfreeze
        if blocks is None:
            return True
        if part.startswith("feature_extractor."):
            return self.cfg.unfreeze_conv_embedder
        return part.startswith("encoder.layers.") and int(part.split(".")[2]) >= self.cfg.num_hidden_layers - blocks

    def param_groups(self, cfg: Any) -> list[dict[str, Any]]:
        """All that trains at any time, one group, or four with their own rates under `layer_wise_lr`."""
        named = [
            (name, p)
            for name, p in self.named_parameters()
            if name != "hubert_ecg.masked_spec_embed" and self._trains(name, head_only=False)
        ]
        if not self.cfg.layer_wise_lr:
            return [{"params": [p for _, p in named]}]
        groups: dict[float, list[nn.Parameter]] = {}
        base = cfg.optimization.lr[0]
        for name, parameter in named:
            groups.setdefault(self._rate(name, base), []).append(parameter)
        return [{"params": group, "lr_scale": rate / base} for rate, group in groups.items()]

    def _rate(self, name: str, base: float) -> float:
        part = name.removeprefix(PREFIX)
        if part == name:
            return HEAD_RATE
        fast = (
            part.startswith("encoder.layers.") and int(part.split(".")[2]) >= self.cfg.num_hidden_layers - FAST_BLOCKS
        )
        return base if fast else SLOW_RATE
