"""Files that hold an ECG, or a picture of one, in a form that is not read: what to say of them."""

from ecg_signals.readers.xml_tree import root_of

_DIGITISE = "digitise it first (ECG-Digitiser, ECGtizer, Paper-ECG) and give the table that they write"
_STARTS = {
    b"%PDF": f"a PDF, which holds no samples; {_DIGITISE}",
    b"\x89PNG": f"a picture; {_DIGITISE}",
    b"\xff\xd8\xff": f"a picture; {_DIGITISE}",
    b"II*\0": f"a picture; {_DIGITISE}",
    b"MM\0*": f"a picture; {_DIGITISE}",
    b"PK\x03\x04": "a zip archive; unpack it and give the files in it",
    b"\xd0\xcf\x11\xe0": "an old file of Excel or Word; save the table as CSV",
    b"\x1f\x8b": "a gzip file; unpack it and give the file in it",
}
_EXPORT = "which no reader knows yet; export the record as DICOM, SCP-ECG or HL7 aECG, or write a reader as a plugin"


def foreign(head: bytes) -> str | None:
    """What a file is that begins with `head`, and what to do with it; None where nothing is known of it."""
    if head.startswith(b"PK\x03\x04") and b"[Content_Types].xml" in head[:256]:
        return "a file of Excel or Word; save the table as CSV"
    for start, text in _STARTS.items():
        if head.startswith(start):
            return text
    root = root_of(head)
    if root is None:
        return f"a MFER file, {_EXPORT}" if head[2:5] == b"MFR" or head.startswith(b"@  MFR") else None
    content = head.replace(b"\0", b"").lower()
    if root == "ECG" and any(word in content for word in (b"mortara", b"units_per_mv", b"<channel")):
        return f"Mortara's ELI XML, {_EXPORT}"
    if b"eventdata" in content or b"schiller" in content or root in ("examdescript", "comXchange"):
        return f"Schiller's XML, {_EXPORT}"
    return f"an XML file with the root <{root}>, {_EXPORT}"
