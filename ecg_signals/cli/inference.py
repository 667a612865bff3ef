"""ecg-inference: outputs of a checkpoint on data without labels."""

from typing import Any

from ecg_signals.cli.validate import evaluate, with_evaluator

PURPOSE = "Apply a checkpoint to data without labels: outputs, embeddings and attention as .npy files."


def main() -> None:
    evaluate("inference", PURPOSE, run)


def run(raw: Any) -> None:
    """hydra's job: one pass over the data."""
    with_evaluator(raw, lambda evaluator: evaluator.infer())


if __name__ == "__main__":
    main()
