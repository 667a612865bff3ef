"""One small CNN looks at every lead alone; the leads' votes are averaged. Takes any number of leads."""

from dataclasses import dataclass

from torch import Tensor, nn

from ecg_signals.config import BaseConfig, option
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.registry import register_model


@dataclass
class LeadVotesConfig(BaseConfig):
    num_labels: int = option("???", "labels to predict")
    dim: int = option(32, "channels of every convolution")
    depth: int = option(4, "convolutions; each divides the number of frames by 4")
    kernel_size: int = option(15, "samples (frames, after the first convolution); odd")


@register_model("lead_votes", dataclass=LeadVotesConfig)
class LeadVotes(BaseModel):
    def __init__(self, cfg: LeadVotesConfig) -> None:
        super().__init__(cfg)
        layers: list[nn.Module] = []
        for in_dim in [1] + [cfg.dim] * (cfg.depth - 1):
            conv = nn.Conv1d(in_dim, cfg.dim, cfg.kernel_size, stride=4, padding=cfg.kernel_size // 2)
            layers += [conv, nn.BatchNorm1d(cfg.dim), nn.ReLU()]
        self.layers = nn.Sequential(*layers)
        self.vote = nn.Linear(cfg.dim, cfg.num_labels)

    def forward(self, source: Tensor, padding_mask: Tensor | None = None) -> ModelOutput:
        """source [batch, leads, samples] -> features [batch, frames, dim], logits [batch, labels]."""
        batch, leads, samples = source.shape
        x = self.layers(source.reshape(batch * leads, 1, samples))  # [batch * leads, dim, frames]
        x = x.unflatten(0, (batch, leads))                          # [batch, leads, dim, frames]
        logits = self.vote(x.amax(dim=3)).mean(dim=1)               # [batch, labels]
        features = x.mean(dim=1).transpose(1, 2)                    # [batch, frames, dim]
        return ModelOutput(features=features, pooled=features.mean(dim=1), logits=logits)
