"""Write examples/sample/recorders: a record of the sample as recorders export it, whole counts of 5 uV, nobody named.

    python tools/make_vendor_examples.py
"""

from pathlib import Path

import vendor_files

from ecg_signals import read_record

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "examples/sample/records500/00000/00017_hr"


def main() -> None:
    folder = ROOT / "examples" / "sample" / "recorders"
    folder.mkdir(exist_ok=True)
    vendor_files.PERSON = ""
    signal = read_record(RECORD, dtype="float64").signal
    (folder / "ecg.scp").write_bytes(vendor_files.scp_bytes(signal))
    (folder / "ecg.xml").write_text(vendor_files.muse(signal), encoding="utf-8")


if __name__ == "__main__":
    main()
