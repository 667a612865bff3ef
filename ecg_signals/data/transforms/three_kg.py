"""3KG's views: the heart's electrical axis rotated and scaled in space, and part of every lead blanked.

Source: Gopal et al. 2021, 3KG: Contrastive Learning of 12-Lead Electrocardiograms, arXiv:2106.04452.
"""

import numpy as np

from ecg_signals.data.transforms.limb_leads import recompute_limb_leads
from ecg_signals.data.transforms.rng import Rng, integers
from ecg_signals.signal.leads import LEADS

INDEPENDENT = (0, 1, 6, 7, 8, 9, 10, 11)  # I II V1-V6; the others follow from I and II

# Inverse Dower transform: the eight independent leads -> X, Y, Z of the vectorcardiogram. Edenbrandt and Pahlm 1988,
# J Electrocardiol 21:361; digits behind the third are cut, not rounded, as fairseq-signals has them.
INVERSE_DOWER = np.array(
    [
        [0.156, -0.009, -0.172, -0.073, 0.122, 0.231, 0.239, 0.193],
        [-0.227, 0.886, 0.057, -0.019, -0.106, -0.022, 0.040, 0.048],
        [0.021, 0.102, -0.228, -0.310, -0.245, -0.063, 0.054, 0.108],
    ]
)
DOWER = np.linalg.pinv(INVERSE_DOWER)  # [8, 3]


def three_kg_views(
    signal: np.ndarray, rng: Rng, *, angle: float = 45.0, scale: float = 1.5, mask_ratio: float = 0.5
) -> tuple[np.ndarray, np.ndarray]:
    """Two random views of one ECG.

    Args:
        signal: [12, samples] in the standard order, any unit, left unchanged.
        angle: rotation about each axis, uniform in [-angle, angle] degrees; 0 off.
        scale: stretch of each axis, uniform in [1, scale]; 0 off.
        mask_ratio: share of every lead that is blanked; 0 off.
    Returns: two float32 [12, samples].
    """
    samples = signal.shape[-1]
    angles = rng.uniform(-angle, angle, size=6) if angle else np.zeros(6)
    scales = rng.uniform(1, scale, size=6) if scale else np.ones(6)
    starts = integers(rng, samples, size=2 * len(LEADS)) if mask_ratio else np.zeros(2 * len(LEADS), dtype=int)
    first, second = (
        three_kg_view(signal, angles[axes], scales[axes], starts[rows], int(samples * mask_ratio))
        for axes, rows in ((slice(0, 3), slice(0, len(LEADS))), (slice(3, 6), slice(len(LEADS), None)))
    )
    return first, second


def three_kg_view(
    signal: np.ndarray, angles: np.ndarray, scales: np.ndarray, starts: np.ndarray, masked: int
) -> np.ndarray:
    """One view: rotation by `angles` (degrees, about z, y, x), stretching by `scales` (x, y, z), blanking.

    Args:
        signal: [12, samples], any unit.
        starts: [12] first blanked sample of every lead; the window wraps to the beginning.
        masked: blanked samples per lead.
    Returns: float32 [12, samples].
    """
    matrix = DOWER @ np.diag(scales) @ rotation_zyx(angles) @ INVERSE_DOWER  # [8, 8]
    view = np.zeros(signal.shape, dtype=np.float64)
    view[list(INDEPENDENT)] = matrix @ signal[list(INDEPENDENT)]
    recompute_limb_leads(view, range(len(LEADS)))
    behind = (np.arange(signal.shape[-1]) - np.asarray(starts)[:, None]) % signal.shape[-1]  # [12, samples]
    view[behind < masked] = 0
    return view.astype(np.float32)


def rotation_zyx(degrees: np.ndarray) -> np.ndarray:
    """[3, 3] matrix of turns about the fixed axes z, then y, then x."""
    (cz, cy, cx), (sz, sy, sx) = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    return about_x @ about_y @ about_z
