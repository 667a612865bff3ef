"""S4: linear state spaces over frames, computed as long convolutions, in plain PyTorch.

Gu et al. 2022, Efficiently Modeling Long Sequences with Structured State Spaces, arXiv:2111.00396.
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ecg_signals.config import ConfigError
from ecg_signals.modules.centred_conv import hide_padding

SLOWEST, FASTEST = 1e-3, 1e-1  # steps in which channels see a frame, drawn between, evenly on a logarithmic scale


def check_even(state_dim: int) -> None:
    """Raises: ConfigError for a state without pairs of conjugates."""
    if state_dim % 2:
        raise ConfigError(f"model.state_dim={state_dim}; it must be even, such as model.state_dim=8")


def hippo(state_dim: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """HiPPO-LegS, diagonal but for rank one: eigenvalues w, input B and correction P, complex [state_dim / 2] each.

    The other half are their conjugates; the state's matrix is diag(w) - P conj(P)^T in that basis.
    """
    place = np.arange(state_dim)
    root = np.sqrt(2 * place + 1)
    below = np.tril(np.outer(root, root), -1)
    skew = (below.T - below) / 2  # HiPPO's matrix plus P P^T, but for its diagonal of -1/2
    rates, vectors = np.linalg.eigh(-1j * skew)
    rates, vectors = rates[state_dim // 2 :], vectors[:, state_dim // 2 :]
    return -0.5 + 1j * rates, vectors.conj().T @ root, vectors.conj().T @ np.sqrt(place + 0.5)


def as_pairs(values: Tensor) -> Tensor:
    """Complex -> float32 [..., 2]: weights are stored so."""
    return torch.view_as_real(values.to(torch.complex64)).contiguous()


def as_complex(pairs: Tensor) -> Tensor:
    """[..., 2] -> complex, of float64 in double precision, else of float32."""
    wide = pairs if pairs.dtype == torch.float64 else pairs.float()
    return torch.view_as_complex(wide.contiguous())


def doubled(values: Tensor) -> Tensor:
    """A half [..., states] and its conjugates."""
    return torch.cat([values, values.conj()], dim=-1)


class S4Kernel(nn.Module):
    """The impulse responses of `channels` outputs per dimension; only what reads the state, C, is learned.

    Args:
        frames: for which C is stored, as published: times 1 - (what is left of a state after so many frames). Longer
            inputs are as good, and change neither the weights nor their shape.
    """

    log_dt: Tensor
    B: Tensor
    P: Tensor
    Q: Tensor
    w: Tensor

    def __init__(self, dim: int, state_dim: int, frames: int, channels: int) -> None:
        super().__init__()
        self.frames = frames
        w, b, p = (torch.tensor(value).expand(1, dim, -1) for value in hippo(state_dim))
        self.register_buffer("log_dt", math.log(SLOWEST) + torch.rand(dim) * math.log(FASTEST / SLOWEST))
        for name, value in (("B", b), ("P", p), ("Q", p.conj().resolve_conj()), ("w", w[0])):
            self.register_buffer(name, as_pairs(value))
        drawn = torch.randn(channels, dim, state_dim // 2, dtype=torch.complex64)
        self.C = nn.Parameter(as_pairs(drawn - self.carried(drawn, frames)))

    def carried(self, C: Tensor, frames: int) -> Tensor:
        """C times the state's transition over `frames` frames: complex [channels, dim, states] both."""
        dt = torch.exp(self.log_dt.double())[:, None, None]
        w, p, q = (doubled(as_complex(value).to(torch.complex128)) for value in (self.w, self.P[0], self.Q[0]))
        matrix = torch.diag_embed(w) - p[:, :, None] * q[:, None, :]
        one = torch.eye(w.shape[-1], dtype=matrix.dtype, device=w.device)
        step = torch.linalg.solve(one - dt / 2 * matrix, one + dt / 2 * matrix)  # bilinear, [dim, states, states]
        moved = torch.einsum("chm,hmn->chn", doubled(C).to(matrix.dtype), torch.linalg.matrix_power(step, frames))
        return moved[..., : C.shape[-1]].to(C.dtype)

    def forward(self, frames: int, rate: float = 1.0) -> Tensor:
        """-> [channels, dim, frames]. rate: frames per frame of training, 2 at half its sampling rate."""
        C, span = as_complex(self.C), self.frames
        while rate * frames > span:
            C, span = C + self.carried(C, span), 2 * span
        count = int(span / rate)
        turn = torch.arange(count // 2 + 1, device=C.device, dtype=C.real.dtype) * (-2 * math.pi / count)
        omega = torch.polar(torch.ones_like(turn), turn)
        dt = torch.exp(self.log_dt.to(C.real.dtype)) * rate
        w = doubled(as_complex(self.w)) * dt[:, None]
        poles = 2 / (2 * (1 - omega) - w[:, :, None] * (1 + omega))  # [dim, states, nodes]
        inputs = torch.cat([as_complex(self.B), as_complex(self.P)])
        outputs = torch.cat([C, as_complex(self.Q)])
        weights = doubled(inputs[:, None] * outputs)  # [2, channels + 1, dim, states]
        r = torch.einsum("schn,hnl->schl", weights, poles) * dt[:, None]
        half = (1 + omega) / 2
        spectrum = r[0, :-1] - r[0, -1:] * r[1, :-1] * half / (1 + r[1, -1:] * half)  # Woodbury's identity
        return torch.fft.irfft(spectrum, n=count)[..., :frames]


class S4Layer(nn.Module):
    """[batch, dim, frames] -> the same shape: the convolution, its skip, GELU, dropout and a gated linear layer."""

    def __init__(self, dim: int, state_dim: int, frames: int, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        self.D = nn.Parameter(torch.randn(1, dim))
        self.kernel = S4Kernel(dim, state_dim, frames, 2 if bidirectional else 1)
        self.dropout = nn.Dropout1d(dropout)
        self.output_linear = nn.Linear(dim, 2 * dim)

    def forward(self, x: Tensor, rate: float) -> Tensor:
        y = self.dropout(F.gelu(self._convolved(x, rate) + self.D[0, :, None] * x))
        return F.glu(self.output_linear(y.transpose(1, 2)), dim=-1).transpose(1, 2)

    def _convolved(self, x: Tensor, rate: float) -> Tensor:
        """In float32 at least, under any autocast; backward responses reach from the next frame on."""
        frames = x.shape[-1]
        with torch.autocast(x.device.type, enabled=False):
            k = self.kernel(frames, rate)
            k = k[0] if len(k) == 1 else F.pad(k[0], (0, frames)) + F.pad(k[1].flip(-1), (frames, 0))
            wide = x.to(k.dtype)
            spectrum = torch.fft.rfft(wide, n=2 * frames) * torch.fft.rfft(k, n=2 * frames)
            return torch.fft.irfft(spectrum, n=2 * frames)[..., :frames].to(x.dtype)


class S4Stack(nn.Module):
    """[batch, frames, in_dim] -> [batch, frames, dim]: a linear layer, then residual S4 layers, each normed behind.

    proj: whether there is the linear layer; without it in_dim must be dim.
    """

    def __init__(
        self,
        in_dim: int,
        dim: int,
        layers: int,
        state_dim: int,
        frames: int,
        bidirectional: bool,
        dropout: float,
        proj: bool = True,
    ) -> None:
        super().__init__()
        self.proj = nn.Linear(in_dim, dim) if proj else nn.Identity()
        self.layers = nn.ModuleList(S4Layer(dim, state_dim, frames, bidirectional, dropout) for _ in range(layers))
        self.norms = nn.ModuleList(nn.LayerNorm(dim) for _ in range(layers))
        self.dropout = nn.Dropout1d(dropout)

    def forward(self, frames: Tensor, lengths: Tensor | None = None, rate: float = 1.0) -> list[Tensor]:
        """The input of the first layer and the output of every one, [batch, frames, dim]; lengths [batch], unpadded."""
        states = [self.proj(frames)]
        for layer, norm in zip(self.layers, self.norms):
            x = hide_padding(states[-1].transpose(1, 2), lengths)
            states.append(norm((x + self.dropout(layer(x, rate))).transpose(1, 2)))
        return states
