"""What the PhysioNet/CinC Challenge 2021 scores, and how headers name it."""

from ecg_signals.tables import comma_list

# the scored classes in the order of the Challenge's weights; SNOMED CT codes that are scored as one share an entry
SCORED = {
    "AF": "164889003", "AFL": "164890007", "BBB": "6374002", "Brady": "426627000", "CLBBB_LBBB": "733534002|164909002",
    "CRBBB_RBBB": "713427006|59118001", "IAVB": "270492004", "IRBBB": "713426002", "LAD": "39732003",
    "LAnFB": "445118002", "LPR": "164947007", "LQRSV": "251146004", "LQT": "111975006", "NSIVCB": "698252002",
    "NSR": "426783006", "PAC_SVPB": "284470004|63593006", "PR": "10370003", "PRWP": "365413008",
    "PVC_VPB": "427172004|17338001", "QAb": "164917005", "RAD": "47665007", "SA": "427393009", "SB": "426177001",
    "STach": "427084000", "TAb": "164934002", "TInv": "59931005",
}  # fmt: skip
EQUIVALENT = [codes.split("|") for codes in SCORED.values() if "|" in codes]
SINUS_RHYTHM = SCORED["NSR"]  # the score's zero is to answer it always


def codes_of(text: object) -> set[str]:
    """A header's Dx, "426783006, ,164889003," -> its codes; none of what is no text."""
    return set(comma_list(text)) if isinstance(text, str) else set()
