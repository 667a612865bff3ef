"""What ecg-predict costs beside the model: seconds of a processor per record, and until the first one.

    python tools/bench/predict.py --model FILE FOLDER_OF_RECORDS [--records 100]

Asked for: 5 records a second and core besides the model itself, and a start in less than 3 s.
"""

import argparse
import subprocess
import sys
import time
import warnings
from pathlib import Path
from resource import RUSAGE_CHILDREN, getrusage


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("--records", type=int, default=100)
    arguments = parser.parse_args()
    paths = sorted(arguments.folder.rglob("*.hea"))[: arguments.records]
    print(f"start: {start(arguments.model, paths[0]):.2f} s of a processor for one record, model included")
    each, model = per_record(arguments.model, paths)
    print(f"{len(paths)} records: {1000 * each:.1f} ms each besides the model ({1 / each:.1f} a second), "
          f"and {1000 * model:.1f} ms in it")  # fmt: skip


def start(model: str, path: Path) -> float:
    """Seconds of a processor of the whole command."""
    before = getrusage(RUSAGE_CHILDREN)
    words = [Path(sys.executable).with_name("ecg-predict"), path, "--model", model, "--device", "cpu"]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = getrusage(RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def per_record(source: str, paths: list[Path]) -> tuple[float, float]:
    """Seconds of a processor per record beside the model's passes, and in them."""
    import torch

    from ecg_signals.inference.answer import answer
    from ecg_signals.inference.predict import Predictor

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    predictor = Predictor(source)
    inside, forward = [0.0], predictor.model.forward

    def timed(*args: object, **options: object) -> object:
        began = time.process_time()
        found = forward(*args, **options)
        inside[0] += time.process_time() - began
        return found

    predictor.model.forward = timed  # type: ignore[method-assign]
    began = time.process_time()
    for path in paths:
        answer(predictor.predict(path), predictor.about)
    whole = time.process_time() - began
    return (whole - inside[0]) / len(paths), inside[0] / len(paths)


if __name__ == "__main__":
    main()
