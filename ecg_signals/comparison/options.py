"""What `ecg-eval` is told."""

from dataclasses import dataclass

from ecg_signals.comparison.protocols import PRESETS, PROTOCOLS
from ecg_signals.config import BaseConfig, option


@dataclass
class EvalOptions(BaseConfig):
    benchmark: list[str] = option("???", "what models are compared on (`ecg-list benchmark`)")
    model: list[str] = option(
        "???", "checkpoints, or recipes with settings behind them; `as NAME` at the end names one"
    )
    data: str = option("???", "DEST of ecg-preprocess, or a folder with one for each data set")
    out: str = option("???", "folder for results; what is there already is not run again")
    protocol: list[str] = option(["linear"], f"how models are trained: {', '.join(PROTOCOLS)}")
    seeds: int = option(1, "runs of each, with seeds 1, 2, ...", least=1)
    steps: int | None = option(None, "updates of every training at most", least=1)
    fractions: list[float] = option([1.0], "shares of the training records, drawn by the seed", above=0, most=1)
    folds: int | None = option(None, "train on that many of the training folds, in place of fractions", least=1)
    test_on: list[str] = option([], "further benchmarks that the trained models are tested on")
    preset: str = option("usual", f"windows, rule and rates of a published evaluation: {', '.join(PRESETS)}")
    signal: str | None = option(
        None, "input of the checkpoints whose model has one of that name, such as fmb; own: what each states; null: "
        "the preset's. `FILE signal=NAME` is for that file alone",
    )  # fmt: skip
    jobs: int = option(1, "runs at a time", least=1)
    share: str = option("1/1", "K/N: every N-th run from the K-th on, for one of N machines that share `out`")
    partial_labels: bool = option(False, "test also where a model lacks some of a benchmark's labels, on the others")
    rounds: int = option(1000, "of the bootstrap behind intervals; 0: none", least=0)
    user_dir: str | None = option(None, "folder or module that registers models or benchmarks of your own")
