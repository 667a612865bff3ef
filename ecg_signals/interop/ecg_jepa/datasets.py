"""The ten datasets of ECG-JEPA's pretraining: rates, lead orders, record lengths, and the published constants.

Source: Weimann & Conrad 2024, Self-Supervised Pre-Training with Joint-Embedding Predictive Architecture Boosts ECG
Classification Performance, arXiv:2410.13867.
"""

from dataclasses import dataclass

from ecg_signals.signal.leads import LEADS, MIMIC_LEADS

ZEROS = (0.0,) * len(LEADS)


@dataclass(frozen=True)
class PublishedDataset:
    """One dataset as it is dumped.

    Attributes:
        sample_rate: Hz.
        samples: of every record; None where they differ.
        mean, std: mV, in the order of `leads`, as pretraining uses them.
        filtered: these are of records without baseline wander; `raw` then holds mean and std of those with it.
        folders: names of its folder, a final * stands for anything.
        least_seconds: shorter records are left out when it is dumped.
    """

    sample_rate: float
    samples: int | None
    std: tuple[float, ...]
    mean: tuple[float, ...] = ZEROS
    leads: tuple[str, ...] = LEADS
    filtered: bool = False
    raw: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    folders: tuple[str, ...] = ()
    least_seconds: float = 0.0


DATASETS = {
    "chapman-shaoxing": PublishedDataset(
        500, 5000,
        (0.140, 0.171, 0.145, 0.138, 0.114, 0.143, 0.218, 0.355, 0.366, 0.365, 0.332, 0.299),
        (0.002, 0.005, 0.003, -0.002, -0.002, 0.003, 0.000, 0.003, 0.004, 0.004, 0.003, -0.001),
        folders=("chapman_shaoxing",),
    ),
    "cpsc": PublishedDataset(
        500, None,
        (0.214, 0.236, 0.221, 0.209, 0.196, 0.214, 0.336, 0.417, 0.449, 0.483, 0.523, 0.561),
        folders=("cpsc_2018",),
    ),
    "cpsc-extra": PublishedDataset(
        500, None,
        (0.182, 0.183, 0.184, 0.163, 0.164, 0.165, 0.288, 0.370, 0.371, 0.380, 0.375, 0.392),
        folders=("cpsc_2018_extra", "cpsc_2018-extra"),
    ),
    "georgia": PublishedDataset(
        500, 5000,
        (0.157, 0.178, 0.164, 0.147, 0.134, 0.153, 0.213, 0.285, 0.272, 0.245, 0.224, 0.209),
        (-0.003, -0.002, 0.001, 0.003, -0.002, -0.001, -0.004, -0.004, -0.003, -0.003, -0.003, -0.003),
        folders=("georgia",), least_seconds=10.0,
    ),
    "ningbo": PublishedDataset(
        500, 5000,
        (0.145, 0.179, 0.159, 0.142, 0.123, 0.153, 0.228, 0.368, 0.377, 0.394, 0.405, 0.444),
        (0.002, 0.004, 0.002, -0.001, -0.001, 0.002, 0.000, 0.003, 0.003, 0.004, 0.003, 0.000),
        folders=("ningbo",),
    ),
    "ptb": PublishedDataset(
        1000, None,
        (0.642, 0.975, 0.953, 0.674, 0.651, 0.909, 0.643, 0.658, 0.668, 0.688, 0.648, 0.622),
        folders=("ptb",),
    ),
    "st-petersburg": PublishedDataset(
        257, 462_600,
        (0.132, 0.370, 0.353, 0.215, 0.191, 0.356, 0.234, 0.320, 0.328, 0.290, 0.317, 0.337),
        filtered=True,
        raw=(
            (-0.018, -0.041, 0.004, -0.247, -0.337, -0.269, 0.622, 0.563, 0.011, -1.321, -0.379, 0.028),
            (2.576, 3.293, 3.464, 2.418, 2.396, 3.142, 2.195, 2.454, 4.468, 5.193, 3.089, 3.837),
        ),
        folders=("st_petersburg_incart",),
    ),
    "code-15": PublishedDataset(
        400, 4096,
        (0.488, 0.450, 0.437, 0.416, 0.405, 0.370, 0.548, 0.639, 0.719, 0.695, 0.676, 0.639),
        filtered=True,
        raw=(
            (0.053, -0.189, -0.242, 0.068, 0.148, -0.215, -0.255, -0.266, -0.226, -0.233, -0.219, -0.288),
            (1.528, 2.657, 2.645, 1.718, 1.704, 2.538, 2.060, 2.116, 2.055, 1.968, 2.053, 2.315),
        ),
        folders=("code-15*", "code15*"),
    ),
    "mimic-iv-ecg": PublishedDataset(
        500, 5000,
        (0.155, 0.158, 0.166, 0.133, 0.143, 0.141, 0.207, 0.282, 0.284, 0.253, 0.222, 0.197),
        (0.023, 0.015, -0.007, -0.019, 0.004, 0.014, -0.018, -0.004, 0.002, 0.017, 0.022, 0.022),
        leads=MIMIC_LEADS, folders=("mimic-iv-ecg*",),
    ),
    "ptb-xl": PublishedDataset(
        500, 5000,
        (0.191, 0.166, 0.173, 0.142, 0.149, 0.147, 0.235, 0.338, 0.335, 0.299, 0.294, 0.242),
        (-0.002, -0.002, 0.000, 0.002, -0.001, -0.001, 0.000, -0.001, -0.002, -0.001, -0.001, -0.001),
        folders=("ptb-xl*", "ptbxl*"),
    ),
}  # fmt: skip


def published_name(folder: str) -> str | None:
    """The dataset that a folder or dump is called after, by the published rule, or by our own name of it; else None."""
    for name, published in DATASETS.items():
        for pattern in (f"{name}*" if name in ("ptb-xl", "code-15", "mimic-iv-ecg") else name, *published.folders):
            if folder == pattern or (pattern.endswith("*") and folder.startswith(pattern[:-1])):
                return name
    return None
