"""The Challenge score on condition names instead of codes: names of different datasets are brought to one spelling."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from ecg_signals.metrics.cinc import challenge_score, read_score_weights, score_terms

NORMAL = "NORM"
_SPELLINGS = {  # one name: other spellings of it, upper case
    "NORM": "NSR", "AF": "AFIB", "AFL": "AFLT", "1AVB": "IAVB", "2AVB": "IIAVB", "2AVB1": "MOI", "2AVB2": "IIAVBII",
    "3AVB": "CHB", "AVB": "_AVB", "CRBBB|RBBB": "RBBB CRBBB", "CLBBB|LBBB": "LBBB CLBBB", "LAFB": "LANFB",
    "PAC|SVPB": "SVPB PAC SVPB|PAC", "VPC|VPB": "PVC VPB VPC PVC|VPB", "SBRAD": "SB", "STACH": "ST", "SARRH": "SA",
    "SVT": "SVTAC", "LNGQT": "LQT", "QAB": "QWAVE", "STE_": "STE", "STD_": "STD", "TAB": "TAB_", "TINV": "INVT",
    "LAH": "LAE LAO LAO/LAE", "RAH": "RAO RAE RAO/RAE", "-ROT": "CCR", "+ROT": "CR", "IIS": "ISCIN", "ANMIS": "ISCAN",
    "CMIS": "CMI", "SAMITROP-DEATH": "DEATH",
}  # fmt: skip
ONE_NAME = {spelling: name for name, spellings in _SPELLINGS.items() for spelling in spellings.split()}


def condition_name(label: str) -> str:
    """One spelling per condition: "nsr" -> "NORM"; unknown names in upper case."""
    return ONE_NAME.get(label.upper(), label.upper())


def condition_score(
    predicted: np.ndarray, labels: np.ndarray, names: Sequence[str], weights_file: str | Path
) -> tuple[float, list[str]]:
    """PhysioNet/CinC 2020's score over the conditions that both the labels and the weights name.

    Args:
        predicted, labels: bool [items, labels].
        names: of the columns, any spelling; columns of one condition are joined by "or".
        weights_file: table of weights whose first row and column name the conditions.
    Returns: the score (1 all right, 0 as good as always "normal"), and the conditions that were scored.
    """
    classes, weights = read_score_weights(weights_file)
    table = {condition_name(name): row for row, name in enumerate(classes)}
    columns: dict[str, list[int]] = {}
    for column, name in enumerate(names):
        if condition_name(name) in table:
            columns.setdefault(condition_name(name), []).append(column)
    scored = list(columns)
    rows = [table[name] for name in scored]
    agreement = torch.from_numpy(weights[np.ix_(rows, rows)])
    outputs, truth = (
        torch.from_numpy(np.stack([values[:, columns[name]].any(axis=1) for name in scored], axis=1))
        for values in (predicted, labels)
    )
    terms = score_terms(agreement, scored.index(NORMAL) if NORMAL in scored else None, truth, outputs)
    return challenge_score(*map(float, terms.values())), scored
