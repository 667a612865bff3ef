"""PTB-XL's 71 SCP-ECG statements and the label sets that are made of them.

Source: Strodthoff et al. 2021, Deep Learning for ECG Analysis: Benchmarks from PTB-XL, arXiv:2004.13701.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

TASKS = ("all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm")


class Statement(NamedTuple):
    """What scp_statements.csv says of a code: the sets it is in, and its diagnostic classes, "" for none."""

    diagnostic: bool = False
    form: bool = False
    rhythm: bool = False
    superclass: str = ""
    subclass: str = ""


_DIAGNOSTIC = {  # superclass -> subclass: statements
    "MI": "AMI: ASMI AMI ALMI INJAS INJAL INJLA; IMI: IMI ILMI IPLMI IPMI INJIN INJIL; LMI: LMI; PMI: PMI",
    "HYP": "LVH: LVH; LAO/LAE: LAO/LAE; RVH: RVH; RAO/RAE: RAO/RAE; SEHYP: SEHYP",
    "CD": "LAFB/LPFB: LAFB LPFB; _AVB: 1AVB 2AVB 3AVB; IRBBB: IRBBB; CRBBB: CRBBB; CLBBB: CLBBB; ILBBB: ILBBB; "
    "IVCD: IVCD; WPW: WPW",
    "STTC": "STTC: NDT DIG LNGQT ANEUR EL; NST_: NST_; ISC_: ISC_; ISCA: ISCAL ISCAS ISCLA ISCAN; ISCI: ISCIN ISCIL",
    "NORM": "NORM: NORM",
}
_FORM = "ABQRS PVC STD_ VCLVH QWAVE LOWT NT_ PAC LPR INVT LVOLT HVOLT TAB_ STE_ PRC(S) NDT DIG LNGQT NST_"
_RHYTHM = "SR AFIB STACH SARRH SBRAD PACE SVARR BIGU AFLT SVTAC PSVT TRIGU"


def _published() -> dict[str, Statement]:
    found: dict[str, Statement] = {}
    for superclass, groups in _DIAGNOSTIC.items():
        for subclass, codes in (group.split(":") for group in groups.split(";")):
            found |= {code: Statement(True, superclass=superclass, subclass=subclass.strip()) for code in codes.split()}
    found |= {code: found.get(code, Statement())._replace(form=True) for code in _FORM.split()}
    return found | {code: Statement(rhythm=True) for code in _RHYTHM.split()}


STATEMENTS = _published()


def class_of(task: str, statements: Mapping[str, Statement] = STATEMENTS) -> dict[str, str]:
    """Statement -> class, for the statements that belong to a label set."""
    if task == "all":
        return {code: code for code in statements}
    if task in ("diagnostic", "form", "rhythm"):
        return {code: code for code, found in statements.items() if getattr(found, task)}
    column = task.removesuffix("diagnostic") + "class"
    named = {code: getattr(found, column) for code, found in statements.items() if found.diagnostic}
    return {code: name for code, name in named.items() if name}


def label_sets(
    records: Iterable[Mapping[str, float] | Collection[str]],
    task: str,
    statements: Mapping[str, Statement] = STATEMENTS,
    *,
    least: int = 0,
    single: bool = False,
) -> list[set[str]]:
    """The classes of every record; empty where it has none of the label set.

    A statement counts whatever its likelihood, and in `all` one that the table lacks is a class of its own.

    Args:
        records: the statements of each, the keys of scp_codes.
        least: records that a class must have; `diagnostic` keeps all, as published.
        single: a record of several classes has none.
    """
    known = class_of(task, statements)
    found = [{known.get(code, code) for code in codes if code in known or task == "all"} for codes in records]
    found = found if task == "diagnostic" else frequent(found, least)
    return [classes if len(classes) == 1 else set() for classes in found] if single else found


def frequent(found: Sequence[set[str]], least: int) -> list[set[str]]:
    """Without the classes of fewer than `least` records."""
    counts = Counter(name for classes in found for name in classes)
    return [{name for name in classes if counts[name] >= least} for classes in found]
