"""A HuBERT-ECG encoder with a classification or regression head: fine-tuning, or training from scratch."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ecg_signals.config import MISSING, option
from ecg_signals.models.base import ModelOutput
from ecg_signals.models.heads.finetuned import EncoderWithHead
from ecg_signals.models.hubert.hubert_ecg import HubertBackbone
from ecg_signals.models.hubert.options import HubertBackboneConfig
from ecg_signals.models.hubert.regulariser import RegulatedModel
from ecg_signals.modules.heads import ACTIVATIONS, LabelEmbedding, perceptron
from ecg_signals.registry import register_model

# layer_wise_lr, with the numbers of HuBERT-ECG's published fine-tuning script
SLOW_RATE = 1e-7  # of everything below the last blocks
HEAD_RATE = 1e-5  # of the head
FAST_BLOCKS = 4  # last blocks, which have optimization.lr


@dataclass
class HubertEcgClassifierConfig(HubertBackboneConfig):
    num_labels: int = option(MISSING, "columns of the logits: labels, classes, or 1 for regression", least=1)
    classifier_hidden_size: int | None = option(
        None, "width of a hidden layer in the head; None: one linear layer", least=1
    )
    activation: str = option("tanh", "after the head's hidden layer", choices=tuple(ACTIVATIONS))
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
class HubertEcgClassifier(RegulatedModel, EncoderWithHead):
    """Published names of weights, options and groups of rates over what every head has."""

    cfg: HubertEcgClassifierConfig
    encoder_class = HubertBackbone
    encoder_key = "hubert_ecg"

    def __init__(self, cfg: HubertEcgClassifierConfig) -> None:
        super().__init__(cfg)
        self.classifier_dropout = nn.Dropout(cfg.classifier_dropout_prob)
        width, hidden = cfg.hidden_size, cfg.classifier_hidden_size
        if cfg.use_label_embedding:
            self.label_embedding = LabelEmbedding(width, cfg.num_labels)
        elif hidden is None:
            self.classifier: nn.Module = nn.Linear(width, cfg.num_labels)
        else:
            self.classifier = perceptron(width, hidden, cfg.num_labels, cfg.activation)
        self.head_only = False
        self.hold()

    def head(self, encoded: ModelOutput, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        encoded["logits"] = self.classify(encoded["pooled"])
        return encoded

    def classify(self, pooled: Tensor) -> Tensor:
        """[batch, dim] -> [batch, labels]; with a label embedding these are cosines, between -1 and 1."""
        head = self.label_embedding if self.cfg.use_label_embedding else self.classifier
        return head(self.classifier_dropout(pooled))

    def extract_features(
        self, source: Tensor, padding_mask: Tensor | None = None, layers: str | int | None = None
    ) -> ModelOutput:
        """As the encoder's `extract_features`; with logits unless `layers` is the number of one block."""
        if layers is None or layers == "all":
            return super().extract_features(source, padding_mask, layers)
        return ModelOutput(self.underneath.extract_features(source, padding_mask, layers))

    @property
    def sometimes_unused(self) -> bool:
        return self.cfg.freezing_steps > 0

    def before_forward(self, num_updates: int) -> None:
        """Freeze all but projection and head for the first `freezing_steps` updates."""
        if self.head_only != (num_updates < self.cfg.freezing_steps):
            self.head_only = not self.head_only
            self.hold()

    def trains(self, name: str) -> bool:
        parts, depth = len(self.underneath.parts()), self.depth(name)
        part = name.removeprefix(f"{self.encoder_key}.").split(".")[0]
        if depth == parts or part == "feature_projection":
            return True
        if depth < 0 or self.head_only:  # nothing is masked here, so that the vector for it never trains
            return False
        last = self.cfg.transformer_blocks_to_unfreeze
        if part == "feature_extractor" and last is not None:
            return self.cfg.unfreeze_conv_embedder
        return last is None or depth >= max(1, parts - last)

    def lr_scale(self, name: str, cfg: Any) -> float:
        if not self.cfg.layer_wise_lr:
            return 1.0
        parts, depth = len(self.underneath.parts()), self.depth(name)
        base = cfg.optimization.lr[0]
        fast = depth >= max(1, parts - FAST_BLOCKS)
        return (HEAD_RATE if depth == parts else base if fast else SLOW_RATE) / base
