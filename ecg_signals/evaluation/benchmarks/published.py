"""Numbers that papers report on benchmarks, each with its source."""

from collections.abc import Collection, Mapping
from typing import Any

PB = "Strodthoff et al. 2021, arXiv:2004.13701; ± bootstrap half width"
CPSC = "Strodthoff et al. 2021, arXiv:2004.13701 (ICBEB2018); ± bootstrap half width"
SSL = "Mehari & Strodthoff 2022, arXiv:2103.12676; ± deviation of 10 runs"
SSM = "Mehari & Strodthoff 2022, arXiv:2211.07579; ± deviation of 10 runs"
JEPA = "ECG-JEPA's README (Weimann & Conrad 2024, arXiv:2410.13867); ± deviation of 10 runs"
ST_MEM = "Na et al. 2024, arXiv:2402.09450, on a split of its own; ± deviation"
MERL = ("public list of ECG-FM's results, by MERL's probe (arXiv:2403.06659), not ECG-FM's own; best test value of all "
        "epochs")  # fmt: skip
MTB = ("arXiv:2512.08954: 26 output logits behind a projection that was never trained, another input and another order "
       "of leads; not to be matched")  # fmt: skip
TASKS = ("all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm")

# records that the PTB-XL benchmark tests on, in version 1.0.3
TEST_RECORDS = {f"ptbxl/{task}": count for task, count in zip(TASKS, (2198, 2158, 2158, 2158, 880, 2098))}
TEST_RECORDS |= {
    "merl/super": 2158, "merl/sub": 2158, "merl/form": 880, "merl/rhythm": 2098, "merl/cpsc2018": 1376,
    "merl/csn": 4620, "echonext/all": 5442, "echonext/lvef45": 5442,
}  # fmt: skip
_MERL = {"merl/super": 0.859, "merl/form": 0.7819, "merl/csn": 0.887, "merl/cpsc2018": 0.947}
_MTB = {"mimic_multitask/age": 13.49, "mimic_multitask/rr": 147.3}  # years, ms

# model: value of TASKS, then their half widths, in thousandths
_PTBXL = """
inception1d:   925 931 930 921 899 953   8  9 10 6 22 13
xresnet1d101:  925 937 929 928 896 957   7  8 14 5 12 19
resnet1d_wang: 919 936 928 930 880 946   8  8 10 5 15 10
fcn_wang:      918 926 927 925 869 931   8 10 11 6 12  8
lstm_bidir:    914 932 923 921 876 949   8  7 12 6 15 11
lstm:          907 927 928 927 851 953   8  8 10 5 15  9
Wavelet+NN:    849 855 859 874 757 890  13 15 16 7 29 24
"""
# model: AUROC, F2, G2, then their half widths, in thousandths
_CPSC = """
xresnet1d101:  974 819 602  5 30 37
resnet1d_wang: 969 803 586  6 31 37
lstm:          964 790 561  6 31 37
inception1d:   963 807 594  9 30 41
lstm_bidir:    959 796 573 11 31 36
fcn_wang:      957 787 563  8 31 37
Wavelet+NN:    905 665 405 14 34 36
"""
# model | fine-tuned and its deviation | probed and its deviation, in thousandths; - where none is given
_SSL = """
CPC, 4FC+2LSTM+2FC, CinC 2020 | 942 1 | 927 1
CPC, 4FC+2LSTM+2FC, CinC 2020 without PTB-XL | 940 2 | 919 1
SimCLR, xresnet1d50 | 927 3 | 883 3
BYOL, xresnet1d50 | 929 2 | 878 2
"""
_SSL_RANDOM = """
xresnet1d50 | 924 5 | 721 16
4FC+2LSTM+2FC | 932 3 | 711 7
"""
_JEPA = """
JEPA, ViT-B, all | 940 1 | 935 1
JEPA, ViT-S, all | 945 1 | 938 2
JEPA, ViT-S, MIMIC-IV-ECG | 944 1 | 940 2
JEPA, ViT-S, PTB-XL | 930 1 | 926 2
JEPA, ViT-XS, all | 939 0 | 933 2
JEPA, ViT-XS, MIMIC-IV-ECG | 943 1 | 933 3
JEPA, ViT-XS, PTB-XL | 940 1 | 931 2
"""
_JEPA_RANDOM = """
ViT-B, attentive probe | 837 17 | 867 5
ViT-S, attentive probe | 883 4 | 833 6
ViT-XS, attentive probe | 911 4 | 815 10
"""
_JEPA_SINGLE = """
JEPA, ViT-B, all | 928 3 | 920 2
JEPA, ViT-S, all | 935 2 | 928 3
JEPA, ViT-S, MIMIC-IV-ECG | 932 2 | 921 3
JEPA, ViT-S, PTB-XL | 929 2 | 917 1
JEPA, ViT-XS, all | 930 1 | 924 2
JEPA, ViT-XS, MIMIC-IV-ECG | 928 2 | 920 2
JEPA, ViT-XS, PTB-XL | 928 2 | 919 2
"""
_ST_MEM_SINGLE = """
ST-MEM | 933 3 | 838 11
CPC | 934 2 | -
MoCo v3 | 913 2 | 739 6
CMSC | 877 3 | 797 38
MTAE | 910 1 | 807 8
MTAE+RLM | 911 4 | 806 5
MLAE | 915 1 | 779 8
"""


def _number(text: str) -> float | None:
    return None if text == "-" else int(text) / 1000


def _row(
    benchmark: str, model: str, protocol: str, metric: str, numbers: tuple[str, str], source: str
) -> dict[str, Any]:
    value, spread = map(_number, numbers)
    return {"benchmark": benchmark, "model": model, "protocol": protocol, "metric": metric, "value": value,
            "spread": spread, "source": source}  # fmt: skip


def _supervised(text: str, columns: list[tuple[str, str]], source: str) -> list[dict[str, Any]]:
    """`columns`: benchmark and metric of each."""
    rows = []
    for line in text.strip().splitlines():
        model, numbers = line.split(":")
        values, count = numbers.split(), len(columns)
        rows += [_row(benchmark, model.strip(), "scratch", metric, (values[place], values[place + count]), source)
                 for place, (benchmark, metric) in enumerate(columns)]  # fmt: skip
    return rows


def _pretrained(text: str, benchmark: str, protocols: tuple[str, str], source: str) -> list[dict[str, Any]]:
    """`protocols`: of the two columns. ECG-JEPA's "linear" is a probe whose learned query reads the frames."""
    rows = []
    for line in text.strip().splitlines():
        model, *cells = (cell.strip() for cell in line.split("|"))
        for protocol, cell in zip(protocols, cells):
            value, spread = (*cell.split(), "-")[:2]
            rows += [] if value == "-" else [_row(benchmark, model, protocol, "auroc", (value, spread), source)]
    return rows


def _of_ecg_fm(values: Mapping[str, float], protocol: str, metric: str, source: str) -> list[dict[str, Any]]:
    """`values` by benchmark."""
    row = _row("", "ECG-FM", protocol, metric, ("-", "-"), source)
    return [{**row, "benchmark": benchmark, "value": value} for benchmark, value in values.items()]


PUBLISHED: list[dict[str, Any]] = [
    *_of_ecg_fm(_MERL, "merl", "merl_reported", MERL),
    *_of_ecg_fm(_MTB, "finetune", "mae", MTB),
    *_supervised(_PTBXL, [(f"ptbxl/{task}", "auroc") for task in TASKS], PB),
    *_supervised(_CPSC, [("cpsc2018", metric) for metric in ("auroc", "f2", "g2")], CPSC),
    *_pretrained(_SSL, "ptbxl/all", ("finetune", "linear"), SSL),
    *_pretrained(_SSL_RANDOM, "ptbxl/all", ("scratch", "random"), SSL),
    *_pretrained("CPC, S4, CinC 2021 | 945 2 | -", "ptbxl/all", ("finetune", "linear"), SSM),
    *_pretrained(_JEPA, "ptbxl/all", ("finetune", "attentive"), JEPA),
    *_pretrained(_JEPA_RANDOM, "ptbxl/all", ("scratch", "random"), JEPA),
    *_pretrained(_JEPA_SINGLE, "ptbxl/superdiagnostic_single", ("finetune", "attentive"), JEPA),
    *_pretrained(_ST_MEM_SINGLE, "ptbxl/superdiagnostic_single", ("finetune", "linear"), ST_MEM),
]


def published_numbers(benchmarks: Collection[str]) -> list[dict[str, Any]]:
    """What is known of some benchmarks: benchmark, model, protocol, metric, value, spread (None: not given), source."""
    return [row for row in PUBLISHED if row["benchmark"] in benchmarks]
