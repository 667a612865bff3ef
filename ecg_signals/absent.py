"""What fairseq-signals and ECG-FM have and ecg-signals does not have yet, so that a message can say so.

README.md has the same list as a table. A family goes from both when its code arrives.
"""

import re

FAMILIES = {  # what it is -> beginnings of the words that its names are made of
    "ECGs together with text (M3AE, MedViLL)": ("m3ae", "medvill", "text", "language", "blind", "deaf", "lstm"),
    "question answering on ECGs": ("question", "ecgqa", "qa"),
    "import of GE MUSE XML files": ("muse",),
}


def absence(name: str) -> str | None:
    """Why a name that nothing here has may be expected here, as a sentence; None for any other name."""
    words = [word for word in re.split(r"[\W_]+", name.lower()) if word]
    for family, beginnings in FAMILIES.items():
        if any(word.startswith(beginning) for word in words for beginning in beginnings):
            return f"fairseq-signals or ECG-FM has it ({family}), ecg-signals does not have it yet."
    return None
