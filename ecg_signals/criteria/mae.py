"""The loss of masked autoencoders: the squared error of the tokens that were removed."""

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ecg_signals.config import BaseConfig, ConfigError, option
from ecg_signals.criteria.base import BaseCriterion, CriterionOutput
from ecg_signals.criteria.labels import logged
from ecg_signals.registry import register_criterion


@dataclass
class MaeConfig(BaseConfig):
    norm_pix_loss: bool = option(True, "each token's target is standardised, so that its shape counts, not its size")
    clean_target: bool = option(
        False, "targets are of the signal before augmentation (needs dataset.keep_original), not of what the model sees"
    )


@register_criterion("mae", dataclass=MaeConfig)
class MaskedAutoencoding(BaseCriterion):
    """Mean over a token's values, summed over removed tokens that are no padding; `sample_size` is their number.

    In evaluation tokens are removed as well. Printed in bits, as all losses.
    Source: He et al. 2022, Masked Autoencoders Are Scalable Vision Learners, arXiv:2111.06377.
    """

    cfg: MaeConfig

    def prepare(self, model: nn.Module, dataset: Any) -> None:
        """Raises: ConfigError where nothing would be learned."""
        if getattr(model.cfg, "mask_ratio", None) == 0:
            raise ConfigError("model.mask_ratio=0 removes no token, so that there is no loss; set it to 0.75, say")
        if self.cfg.clean_target and not getattr(dataset.cfg, "keep_original", False):
            raise ConfigError(
                "criterion.clean_target=true needs the signals before augmentation; set dataset.keep_original=true"
            )

    def forward(self, model: nn.Module, batch: dict[str, Any]) -> CriterionOutput:
        """batch: net_input, which may hold `noise`; with `clean_target` also `original` [batch, leads, samples]."""
        net_input = batch["net_input"]
        clean = {"target": batch["original"]} if self.cfg.clean_target else {}
        output = model(**{**net_input, **clean, "mask": True})
        target, removed = output["target"].float(), output["mask"]
        if self.cfg.norm_pix_loss:
            target = standardised(target)
        error = (output["prediction"].float() - target).square().mean(dim=-1)  # [batch, tokens]
        loss, count = (error * removed).sum(), removed.sum()
        return CriterionOutput(loss, count, logged(loss, batch))


def standardised(tokens: Tensor) -> Tensor:
    """[..., values] with mean 0 and, where they differ, variance 1, by the unbiased estimate."""
    centred = tokens - tokens.mean(dim=-1, keepdim=True)
    variance = centred.square().sum(dim=-1, keepdim=True) / max(tokens.shape[-1] - 1, 1)
    return centred / (variance + 1e-6).sqrt()
