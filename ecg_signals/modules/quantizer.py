"""Product quantizer with a straight-through Gumbel softmax."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import ConfigError
from ecg_signals.runtime.batch import sent


class GumbelQuantizer(nn.Module):
    """Each of `groups` groups picks one of `num_vars` codewords; the codewords are joined to `out_dim` values.

    Args:
        temperature: (start, end, factor per update) of the Gumbel softmax.
    Raises: ConfigError when `groups` does not divide `out_dim`.
    """

    def __init__(
        self, dim: int, num_vars: int, groups: int, out_dim: int, temperature: tuple[float, float, float]
    ) -> None:
        super().__init__()
        if out_dim % groups:
            raise ConfigError(
                f"model.latent_groups={groups} does not divide the {out_dim} values of a quantized frame; set "
                f"model.latent_dim to a multiple of {groups}"
            )
        self.groups = groups
        self.num_vars = num_vars
        self.start, self.end, self.factor = temperature
        self.temperature: Tensor  # a tensor, so that a compiled model need not be compiled again as it falls
        self.register_buffer("temperature", torch.tensor(float(self.start)), persistent=False)
        self.vars = nn.Parameter(torch.rand(1, groups * num_vars, out_dim // groups))
        self.weight_proj = nn.Linear(dim, groups * num_vars)
        nn.init.normal_(self.weight_proj.weight)
        nn.init.zeros_(self.weight_proj.bias)

    def set_updates(self, num_updates: int) -> None:
        self.temperature.fill_(max(self.start * self.factor**num_updates, self.end))

    def forward(
        self,
        x: Tensor,
        noise: Tensor | None = None,
        temperature: float | Tensor | None = None,
        padding: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """x [..., dim] -> quantized [..., out_dim], codes int64 [..., groups], prob_perplexity, code_perplexity.

        In training the choice is a Gumbel softmax sample with a straight-through gradient; `noise` [rows x groups,
        num_vars] and `temperature` replace what would be drawn and scheduled. In eval it is the largest logit.
        padding: bool [...], True for what the perplexities leave out.
        """
        with torch.autocast(x.device.type, enabled=False):
            logits = self._logits(x)
            best = logits.argmax(dim=-1)  # [rows, groups]
            chosen, codes = self._sample(logits, noise, temperature) if self.training else (None, best)
            mean = _mean(logits.softmax(dim=-1), padding)  # [groups, num_vars]
            counts = _mean(F.one_hot(best, self.num_vars).float(), padding)
            return {
                "quantized": self._look_up(chosen, codes).reshape(*x.shape[:-1], -1),
                "codes": codes.reshape(*x.shape[:-1], self.groups),
                "prob_perplexity": _perplexity(mean),
                "code_perplexity": _perplexity(counts),
            }

    def _logits(self, x: Tensor) -> Tensor:
        """[rows, groups, num_vars], in float32 at least whatever the weights are."""
        weight, bias = self.weight_proj.weight, self.weight_proj.bias
        wide = torch.promote_types(weight.dtype, torch.float32)
        return F.linear(x.to(wide), weight.to(wide), bias.to(wide)).reshape(-1, self.groups, self.num_vars)

    def _sample(
        self, logits: Tensor, noise: Tensor | None, temperature: float | Tensor | None
    ) -> tuple[Tensor, Tensor]:
        if noise is None:
            noise = -torch.empty_like(logits).exponential_().log()
        tau = self.temperature if temperature is None else temperature
        soft = ((logits + noise.view_as(logits)) / tau).softmax(dim=-1)
        codes = soft.argmax(dim=-1)
        return F.one_hot(codes, self.num_vars) - soft.detach() + soft, codes

    def _look_up(self, chosen: Tensor | None, codes: Tensor) -> Tensor:
        """Codewords [rows, groups, out_dim / groups]; through the weights `chosen` where a gradient is wanted."""
        words = self.vars.view(self.groups, self.num_vars, -1)
        if chosen is None:
            return words[torch.arange(self.groups, device=codes.device), codes]
        return torch.bmm(chosen.transpose(0, 1).to(words.dtype), words).transpose(0, 1)

    def sample_codes(self, shape: tuple[int, ...]) -> Tensor:
        """Random codes, uniform over all combinations: int64 [*shape, groups], from torch's CPU generator."""
        return sent(torch.randint(self.num_vars, (*shape, self.groups)), self.vars.device)

    def decode(self, codes: Tensor) -> Tensor:
        """codes int64 [..., groups] -> codewords [..., out_dim]."""
        return self._look_up(None, codes.reshape(-1, self.groups)).reshape(*codes.shape[:-1], -1)


def _mean(rows: Tensor, padding: Tensor | None) -> Tensor:
    """Over the rows [rows, groups, num_vars] that are not padding."""
    if padding is None:
        return rows.mean(dim=0)
    return rows.masked_fill(padding.reshape(-1, 1, 1), 0.0).sum(dim=0) / (~padding).sum()


def _perplexity(share: Tensor) -> Tensor:
    """Sum over groups of exp(entropy); share [groups, num_vars]."""
    return torch.exp(-(share * torch.log(share + 1e-7)).sum(dim=-1)).sum()  # 1e-7: fairseq's
