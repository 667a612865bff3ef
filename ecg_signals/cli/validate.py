"""ecg-validate: statistics of a checkpoint on labelled data."""

import sys
from typing import Any

from ecg_signals.cli.app import help_text, hydra_app, load_plugins, plain_sections, reported_errors

EXAMPLES = [
    "ecg-validate common_eval.path=CHECKPOINT task.data=MANIFESTS dataset.valid_subset=test dataset.batch_size=64 "
    "--config-name finetune/diagnosis",
    "ecg-validate common_eval.path=CHECKPOINT common_eval.extract=[output,encoder_out,saliency] "
    "common_eval.results_path=DIR ...",
]


def main() -> None:
    argv = sys.argv[1:]
    if "--help" in argv or "-h" in argv:
        print(
            help_text(
                "ecg-validate",
                "Evaluate a checkpoint on labelled data: statistics, and extracted outputs, embeddings and attention.",
                EXAMPLES,
            )
        )
        return
    with reported_errors():
        app = hydra_app(argv, "validate")
    app(run)()


def run(raw: Any) -> None:
    """hydra's job: one evaluation."""
    with reported_errors():
        sections = plain_sections(raw)
        load_plugins(sections)
        from ecg_signals.composition import resolve_config
        from ecg_signals.distributed.launch import process_group
        from ecg_signals.inference.validate import Evaluator

        shared = {key: sections.get(key) for key in ("common", "distributed_training")}
        with process_group(resolve_config(shared)) as placement:
            evaluator = Evaluator(sections, placement)
            evaluator.validate()


if __name__ == "__main__":
    main()
