"""What models that compare views share: any encoder, one vector per view, and its projection."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.models.any_encoder import AnyEncoderOptions
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.models.heads.finetuned import EncoderWithHead
from ecg_signals.modules.pooling import POOLS, SEVERAL, pool_output
from ecg_signals.modules.projection import projection
from ecg_signals.registry import get_entry

FIXED_POOLS = tuple(pool for pool in POOLS if pool != "attentive")  # which has weights


@dataclass
class ViewsOptions(AnyEncoderOptions):
    pool: str = option("max_mean", "one vector from the encoder's frames", choices=FIXED_POOLS)
    hidden_dim: int = option(512, "width inside the projection, and inside the predictor, if there is one", least=1)
    out_dim: int = option(16, "width of what is compared", least=1)


def encoder_without_head(cfg: Any) -> tuple[type[BaseModel], Any]:
    """The class and the options of the encoder that `cfg.encoder` names. Raises: ConfigError for no encoder alone."""
    if not isinstance(cfg.encoder, BaseConfig):
        raise ConfigError("model.encoder names no encoder; set model.encoder._name=NAME (`ecg-list model`)")
    name = str(cfg.encoder._name)
    found = get_entry("model", name).cls
    if issubclass(found, EncoderWithHead) or not issubclass(found, found.encoder_class or found):
        inner = found.encoder_class.encoder_name if found.encoder_class else ""
        raise ConfigError(
            f"model.encoder._name={name} is around an encoder; set model.encoder._name={inner or 'NAME'}"
        )
    return found, cfg.encoder


class Views(EncoderWithHead):
    """Rows of a batch are views; those of one ECG stand next to each other (dataset `perturbed_views`).

    All of them go through encoder and projection together, so that batch norms see both views. Extend it and say what
    the projection is. A head stands on the encoder alone.
    """

    cfg: Any
    encoder: BaseModel
    encoder_class = None  # the options say which

    def __init__(self, cfg: ViewsOptions) -> None:
        super().__init__(cfg)
        self.projector = self.make_projector(self.encoder.dim * SEVERAL.get(cfg.pool, 1))

    def make_projector(self, dim: int) -> nn.Module:
        """[views, dim] -> [views, out_dim]."""
        return projection([dim, self.cfg.hidden_dim, self.cfg.out_dim])

    @classmethod
    def encoder_of(cls, cfg: Any, usual: type[BaseModel] | None = None) -> tuple[type[BaseModel], Any]:
        return encoder_without_head(cfg)

    @property
    def dim(self) -> int:
        return self.encoder.dim

    def encode(self, source: Tensor, padding_mask: Tensor | None = None) -> ModelOutput:
        """What the encoder answers, without masking."""
        return ModelOutput(self.encoder(source, padding_mask))

    def head(self, encoded: ModelOutput, source: Tensor, padding_mask: Tensor | None) -> ModelOutput:
        """Adds `pooled` as the projection reads it, and `projected` [views, out_dim]."""
        pooled = pool_output(encoded, self.cfg.pool)
        encoded.update(pooled=pooled, projected=self.projector(pooled))
        return encoded
