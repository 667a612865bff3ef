"""Records with marks of waves in LUDB's layout, made by rule from records without: to try the commands without LUDB.

    python examples/segmentation/stand_in.py SOURCE DEST [N]

SOURCE: a folder of WFDB records; DEST: the folder to write; N: how many records (12). The marks follow the beats that
slopes show, at fixed distances: they are no truth, and a model trained on them learns that rule.
"""

import shutil
import sys
from pathlib import Path

import numpy as np
import wfdb

from ecg_signals.readers.read import read_record
from ecg_signals.signal.beats import find_beats

RATE = 500
WAVES = {"p": (-0.20, -0.16, -0.11), "N": (-0.05, 0.0, 0.05), "t": (0.18, 0.28, 0.36)}  # s from the beat: ends and peak


def main(source: Path, dest: Path, count: int) -> None:
    """Write the first `count` records as 1.hea, 2.hea ..., each with a file of marks per lead."""
    dest.mkdir(parents=True, exist_ok=True)
    for number, header in enumerate(sorted(source.rglob("*.hea"))[:count], start=1):
        record = read_record(header)
        names = [name.lower() for name in record.leads]
        comments = ["<age>: 60", "<sex>: F", "<diagnoses>:", "Rhythm: Sinus rhythm.", "Left ventricular hypertrophy."]
        wfdb.wrsamp(
            str(number), fs=RATE, units=["mV"] * len(names), sig_name=names, p_signal=record.signal.T.astype(float),
            fmt=["16"] * len(names), adc_gain=[1000.0] * len(names), baseline=[0] * len(names), write_dir=str(dest),
            comments=comments[: 4 + number % 2],
        )  # fmt: skip
        samples, symbols = marks(find_beats(record.signal, RATE), record.signal.shape[1])
        wfdb.wrann(str(number), "marks", samples, symbol=symbols, write_dir=str(dest))
        written = dest / f"{number}.marks"
        for name in names:
            shutil.copyfile(written, dest / f"{number}.{name}")  # wfdb writes no file that ends in v1
        written.unlink()


def marks(beats: np.ndarray, samples: int) -> tuple[np.ndarray, list[str]]:
    """Samples and symbols of the waves of all beats but the first and the last, as LUDB marks them."""
    found = [
        (int(beat + RATE * at), symbol)
        for beat in beats[1:-1]
        for wave, times in WAVES.items()
        for at, symbol in zip(times, ("(", wave, ")"))
    ]
    inside = sorted((sample, symbol) for sample, symbol in found if 0 <= sample < samples)
    return np.array([sample for sample, _ in inside]), [symbol for _, symbol in inside]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 12)
