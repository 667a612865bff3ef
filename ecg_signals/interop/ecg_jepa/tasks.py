"""The label sets of PTB-XL that ECG-JEPA is fine-tuned on, whose files name the set but not its classes."""

SINGLE_LABEL = "ST-MEM"  # the superdiagnostic classes of records that have one of them

_DIAGNOSTIC = (
    "1AVB 2AVB 3AVB ALMI AMI ANEUR ASMI CLBBB CRBBB DIG EL ILBBB ILMI IMI INJAL INJAS INJIL INJIN INJLA IPLMI "
    "IPMI IRBBB ISCAL ISCAN ISCAS ISCIL ISCIN ISCLA ISC_ IVCD LAFB LAO/LAE LMI LNGQT LPFB LVH NDT NORM NST_ PMI "
    "RAO/RAE RVH SEHYP WPW"
)
_FORM = "ABQRS DIG HVOLT INVT LNGQT LOWT LPR LVOLT NDT NST_ NT_ PAC PRC(S) PVC QWAVE STD_ STE_ TAB_ VCLVH"
_RHYTHM = "AFIB AFLT BIGU PACE PSVT SARRH SBRAD SR STACH SVARR SVTAC TRIGU"
_SUPER = "CD HYP MI NORM STTC"
_SUB = (
    "AMI CLBBB CRBBB ILBBB IMI IRBBB ISCA ISCI ISC_ IVCD LAFB/LPFB LAO/LAE LMI LVH NORM NST_ PMI RAO/RAE RVH "
    "SEHYP STTC WPW _AVB"
)
CLASSES: dict[str, list[str]] = {
    "all": sorted({*_DIAGNOSTIC.split(), *_FORM.split(), *_RHYTHM.split()}),
    "diagnostic": _DIAGNOSTIC.split(),
    "subdiagnostic": _SUB.split(),
    "superdiagnostic": _SUPER.split(),
    "form": _FORM.split(),
    "rhythm": _RHYTHM.split(),
    SINGLE_LABEL: _SUPER.split(),
}


def labels_of(task: object, columns: int) -> list[str] | None:
    """Names of the logits' columns; None where the number is not that of all PTB-XL."""
    labels = CLASSES.get(str(task))
    return list(labels) if labels is not None and len(labels) == columns else None


def task_of(labels: list[str] | None, single: bool) -> str | None:
    """The published name of a label set, None for another."""
    found = next((task for task, known in CLASSES.items() if known == labels), None)
    return SINGLE_LABEL if single and labels == CLASSES[SINGLE_LABEL] else found
