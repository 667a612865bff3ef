"""ecg-train: pretrain or fine-tune what a recipe names."""

import logging
import math
from functools import partial
from typing import TYPE_CHECKING, Any

from ecg_signals.cli.app import command_of, job_sections, user_dir_of
from ecg_signals.cli.console import told_where
from ecg_signals.cli.running import load_plugins, reported_errors

if TYPE_CHECKING:
    from ecg_signals.runtime.placement import Placement

logger = logging.getLogger(__name__)

EXAMPLES = [
    "ecg-train task.data=MANIFESTS/cmsc --config-name w2v_cmsc_rlm",
    "ecg-train task.data=MANIFESTS model.model_path=CHECKPOINT model.num_labels=71 task.label_file=LABELS/y.npy "
    "--config-name finetune/diagnosis",
    "torchrun --nproc-per-node 4 -m ecg_signals.cli.train task.data=MANIFESTS/cmsc --config-name w2v_cmsc_rlm",
]


def main() -> None:
    command_of("train", "Pretrain or fine-tune what a recipe names.", EXAMPLES, run)()


def run(raw: Any) -> float:
    """hydra's job: one training run. Returns the best value of checkpoint.best_checkpoint_metric, for sweepers."""
    with reported_errors():
        sections = job_sections(raw)
        from ecg_signals.composition import resolve_config

        config = resolve_config(sections)  # before the trainer's imports: a misspelt key should not wait for them
        from ecg_signals.runtime.launch import process_group
        from ecg_signals.training.trainer import Trainer

        try:
            with process_group(config, partial(run_rank, sections)) as placement:
                if placement.rank > 0:
                    return Trainer(config, placement).train()
                with told_where(config.checkpoint.save_dir):
                    return Trainer(config, placement).train()
        except Exception:
            if not config.common.suppress_crashes:
                raise
            logger.exception("the run failed; common.suppress_crashes=true goes on with the next one")
    return math.inf


def run_rank(sections: dict[str, Any], placement: "Placement") -> None:
    """The job of a further local process, which rank 0 started."""
    from ecg_signals.composition import resolve_config
    from ecg_signals.runtime.launch import joined
    from ecg_signals.training.trainer import Trainer

    with reported_errors():
        load_plugins(user_dir_of(sections))
        config = resolve_config(sections)
        with joined(config, placement):
            Trainer(config, placement).train()


if __name__ == "__main__":
    main()
