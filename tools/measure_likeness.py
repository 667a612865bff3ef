"""Whether the distance that ecg-calibrate stores (metrics/likeness.py) tells ECGs from what is none.

    OMP_NUM_THREADS=1 python tools/measure_likeness.py --model CLASSIFIER ../shared/data/ptbxl_500/records500

Of the records every second one is taken for the validation; the others, which it has not seen, stand against noise,
chirps, 1/f noise as of an EEG, and themselves upside down and with their leads shuffled.
"""

import argparse
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from measure_quality import records_of

from ecg_signals.inference.predict import Predictor
from ecg_signals.metrics.likeness import distances, fit
from ecg_signals.metrics.ranking import ranking_metrics
from ecg_signals.signal.record import Record

FOLDS = 5
SPAN = 0.3  # mV, standard deviation of what is made up


def noise(signal: np.ndarray, rate: float, draws: np.random.Generator) -> np.ndarray:
    return SPAN * draws.standard_normal(signal.shape)


def chirp(signal: np.ndarray, rate: float, draws: np.random.Generator) -> np.ndarray:
    """From 0.5 to 2 Hz up to 10 to 40 Hz, each lead with a phase of its own."""
    low, high = draws.uniform(0.5, 2), draws.uniform(10, 40)
    time = np.arange(signal.shape[1]) / rate
    turns = low * time + (high - low) * time**2 / (2 * time[-1])
    return SPAN * np.sqrt(2) * np.sin(2 * np.pi * (turns + draws.uniform(size=(len(signal), 1))))


def one_over_f(signal: np.ndarray, rate: float, draws: np.random.Generator) -> np.ndarray:
    spectrum = np.fft.rfft(draws.standard_normal(signal.shape))
    spectrum[:, 0] = 0
    spectrum[:, 1:] /= np.sqrt(np.arange(1, spectrum.shape[1]))
    made = np.fft.irfft(spectrum, signal.shape[1])
    return SPAN * made / made.std(axis=1, keepdims=True)


def upside_down(signal: np.ndarray, rate: float, draws: np.random.Generator) -> np.ndarray:
    return -signal


def shuffled(signal: np.ndarray, rate: float, draws: np.random.Generator) -> np.ndarray:
    return signal[draws.permutation(len(signal))]


KINDS: tuple[Callable[[np.ndarray, float, np.random.Generator], np.ndarray], ...] = (
    noise, chirp, one_over_f, upside_down, shuffled,
)  # fmt: skip


def measured(predictor: Predictor, records: list[Record]) -> dict[str, tuple[float, float]]:
    """Kind -> AUROC against unseen records, and the share beyond the limit; that of the records themselves by "".

    Raises: ConfigError for a record that does not suit the model.
    """
    draws = np.random.default_rng(0)
    known = np.stack([vector(predictor, record) for record in records[::2]])
    found = fit(known, [np.arange(len(known)) % FOLDS == fold for fold in range(FOLDS)])
    assert found is not None
    others = records[1::2]
    own = distances(found, np.stack([vector(predictor, record) for record in others]))
    result = {"": (0.5, float((own > found["limit"]).mean()))}
    for kind in KINDS:
        made = [replace(record, signal=kind(record.signal, record.sample_rate, draws).astype(np.float32))
                for record in others]  # fmt: skip
        far = distances(found, np.stack([vector(predictor, record) for record in made]))
        scores, targets = np.concatenate([own, far]), np.repeat([0.0, 1.0], [len(own), len(far)])
        auroc = ranking_metrics(scores[:, None], targets[:, None]).auroc[0]
        result[kind.__name__] = float(auroc), float((far > found["limit"]).mean())
    return result


def vector(predictor: Predictor, record: Record) -> np.ndarray:
    """[dim] what a record is to the model's head."""
    pooled = predictor.answers(record)[1]
    assert pooled is not None
    return pooled.double().numpy()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", required=True)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    records = [record for _, record in records_of([arguments.folder])]
    for kind, (auroc, beyond) in measured(Predictor(arguments.model), records).items():
        print(f"{kind.replace('_', ' '):14} AUROC {auroc:.3f}, {beyond:6.1%} beyond the limit"
              if kind else f"{len(records)} records; of those not seen {beyond:.1%} are beyond the limit")  # fmt: skip


if __name__ == "__main__":
    main()
