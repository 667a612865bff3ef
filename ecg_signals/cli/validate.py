"""ecg-validate: statistics of a checkpoint on labelled data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ecg_signals.cli.app import command_of, job_sections
from ecg_signals.cli.running import reported_errors

PURPOSE = "Evaluate a checkpoint on labelled data: statistics, and extracted outputs, embeddings and attention."


def main() -> None:
    evaluate("validate", PURPOSE, run)


def run(raw: Any) -> None:
    """hydra's job: one validation."""
    with_evaluator(raw, lambda evaluator: evaluator.validate(Path.cwd()))


def evaluate(command: str, purpose: str, job: Callable[[Any], None]) -> None:
    """The command line of ecg-validate and ecg-inference."""
    examples = [
        f"ecg-{command} common_eval.path=CHECKPOINT task.data=MANIFESTS dataset.valid_subset=test "
        "dataset.batch_size=64 --config-name finetune/diagnosis",
        f"ecg-{command} common_eval.path=CHECKPOINT common_eval.extract=[output,encoder_out,saliency] "
        "common_eval.results_path=DIR ...",
    ]
    command_of(command, purpose, examples, job)()


def with_evaluator(raw: Any, action: Callable[[Any], Any]) -> None:
    """Open the process group, load `common_eval.path` and do `action` with the Evaluator."""
    with reported_errors():
        sections = job_sections(raw)
        from ecg_signals.composition import resolve_config
        from ecg_signals.evaluation.evaluator import Evaluator
        from ecg_signals.runtime.launch import process_group

        cpu = {"cpu": (sections.get("common") or {}).get("cpu", False)}
        ranks = resolve_config({"common": cpu, "distributed_training": sections.get("distributed_training")})
        with process_group(ranks) as placement:
            action(Evaluator(sections, placement))


if __name__ == "__main__":
    main()
