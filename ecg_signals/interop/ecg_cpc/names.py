"""What ECG-CPC's project calls weights, and what they are here: both directions, and the sizes they tell."""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ecg_signals.config import ConfigError

ROOT = "ts_encoder."
CONV, S4, HEAD = f"{ROOT}encoder.layers.", f"{ROOT}predictor.predictor.", f"{ROOT}head_ssl.proj."
FIRST = f"{S4}s4_layers.0.kernel.kernel."
NODES = ("omega", "z")  # of the frequencies for which responses are computed: they follow from the number of frames
IN_KERNEL = ("C", *NODES, "log_dt", "B", "P", "w", "Q")  # in the project's order
STRIDE = 2  # of the first convolution; the others have 1


def is_ecg_cpc(state: Any) -> bool:
    """Whether these weights are of the project, with or without what pretraining adds."""
    needed = (f"{CONV}0.0.weight", f"{FIRST}C", f"{FIRST}omega")
    return isinstance(state, Mapping) and all(isinstance(state.get(key), Tensor) for key in needed)


def from_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A state dict of the project under our names, `cpc`'s where it has a head, else `fc_lstm`'s."""
    found = {}
    for key, value in state.items():
        if key.rpartition(".")[2] not in NODES:
            key = _ours(key, f"{HEAD}2.weight" in state)
            found[key] = value[:, 0] if key.endswith("output_linear.bias") and value.dim() == 2 else value
    return found


def to_state(state: Mapping[str, Tensor], frames: int) -> dict[str, Tensor]:
    """The inverse, in the project's order. frames: for which C is stored."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        theirs = _theirs(key)
        if theirs.endswith("output_linear.0.bias"):
            value = value[:, None].clone()
        found[theirs] = value
        if theirs.endswith("kernel.C"):
            found |= dict(zip((theirs[:-1] + name for name in NODES), _nodes(frames)))
    return {key: found[key] for key in sorted(found, key=lambda key: _place(key, list(found)))}


def _ours(key: str, mlp: bool) -> str:
    if key.startswith(HEAD):
        return f"proj.{key.removeprefix(HEAD if mlp else f'{HEAD}0.')}"
    if key.startswith(CONV):
        return f"layers.{key.removeprefix(CONV)}"
    key = key.replace("kernel.kernel.", "kernel.").replace("output_linear.0.", "output_linear.")
    return key.replace(f"{S4}s4_layers.", "context.layers.").replace(f"{S4}norms.", "context.norms.")


def _theirs(key: str) -> str:
    if match := re.fullmatch(r"proj\.(?:(\d)\.)?(weight|bias)", key):
        return f"{HEAD}{match[1] or 0}.{match[2]}"
    if key.startswith("layers."):
        return CONV + key.removeprefix("layers.")
    key = key.replace("kernel.", "kernel.kernel.").replace("output_linear.", "output_linear.0.")
    return key.replace("context.layers.", f"{S4}s4_layers.").replace("context.norms.", f"{S4}norms.")


def _place(key: str, keys: list[str]) -> tuple[int, int]:
    """Of a key in the project's order: that of our weights, but for those of a kernel."""
    head, dot, name = key.rpartition(".kernel.kernel.")
    if not dot:
        return keys.index(key), 0
    return keys.index(f"{head}.kernel.kernel.C"), IN_KERNEL.index(name)


def _nodes(frames: int) -> tuple[Tensor, Tensor]:
    """Roots of unity, one for every frequency, and what the bilinear transform makes of them, as float32 pairs."""
    root = torch.polar(torch.ones((), dtype=torch.float64), torch.tensor(-2 * math.pi / frames, dtype=torch.float64))
    omega = root.to(torch.complex64) ** torch.arange(frames // 2 + 1)
    z = 2 * (1 - omega) / (1 + omega)
    return torch.view_as_real(omega).clone(), torch.view_as_real(z).clone()


def frames_of(state: Mapping[str, Tensor]) -> int:
    """Frames for which C is stored, by the first root of unity. Raises: ConfigError for what is no such root."""
    omega = state[f"{FIRST}omega"]
    if omega.dim() == 2 and len(omega) > 1 and omega.shape[1] == 2:
        angle = abs(math.atan2(float(omega[1, 1]), float(omega[1, 0])))
        frames = round(2 * math.pi / angle) if angle > 0 else 0
        if frames // 2 + 1 == len(omega):
            return frames
    raise ConfigError(f"{FIRST}omega does not hold roots of unity: the file is damaged; get it again")


def sizes(state: Mapping[str, Tensor], config: Mapping[str, Any]) -> dict[str, Any]:
    """Options of `cpc`, or of `fc_lstm`, with these weights, under the project's names.

    config: arguments of its program that lie beside the file; `strides` are read, which weights do not tell.
    """
    convs = [state[key] for key in state if re.fullmatch(rf"{re.escape(CONV)}\d+\.0\.weight", key)]
    layers = sum(key.endswith("kernel.kernel.C") for key in state)
    strides = config.get("strides")
    known = isinstance(strides, list) and len(strides) == len(convs) and all(type(item) is int for item in strides)
    return {
        "in_d": convs[0].shape[1],
        "conv_dim": [len(weight) for weight in convs],
        "conv_kernel": [weight.shape[2] for weight in convs],
        "conv_stride": strides if known else [STRIDE] + [1] * (len(convs) - 1),
        "context": "s4",
        "context_proj": False,
        "hidden_dim": len(convs[-1]),
        "num_layers": layers,
        "state_dim": 2 * state[f"{FIRST}C"].shape[2],
        "frames": frames_of(state),
    } | ({"mlp": f"{HEAD}2.weight" in state} if any(key.startswith(HEAD) for key in state) else {})
