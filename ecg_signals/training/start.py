"""The checkpoint that a run starts from, and whether it is this run's."""

import logging
from dataclasses import dataclass
from typing import Any

from ecg_signals.checkpoint.manager import CheckpointManager, Restore
from ecg_signals.checkpoint.recipe import another_run, differences, label_differences, other_update, without_excused
from ecg_signals.checkpoint.state import RestoredState, unpack_state
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.sections import Config

logger = logging.getLogger(__name__)


@dataclass
class Start:
    """The checkpoint that a run starts from: what of it is used, what it holds, and the model's options it imposes."""

    chosen: Restore
    stored: RestoredState
    published_options: dict[str, Any]

    def check(self, config: Config, ranks: int, train: BaseDataset) -> None:
        """A checkpoint of this recipe is continued, without resets that this run has made already.

        Raises: ConfigError when the folder's last checkpoint is another run's, naming the differences.
        """
        chosen, stored = self.chosen, self.stored
        if chosen.weights_alone:
            return
        before = stored.ours.get("world_size")
        found = differences(stored.cfg, config, stored_ranks=before, ranks=ranks)
        if "label_digests" in stored.ours:
            found += label_differences(stored.cfg, stored.ours["label_digests"], train.label_digests(), config)
        made = stored.ours.get("started_from", {}) or {}
        asked = [key for key, value in chosen.resets.items() if value]
        if chosen.own and asked and not found and set(asked) <= set(made.get("resets", [])):
            logger.info("%s has %s behind it: not done again", chosen.path, ", ".join(asked))
            self.chosen = chosen.without_resets()
            return
        found = without_excused(found, chosen.resets)
        if found and chosen.own and not chosen.named and stored.ours.get("format"):
            raise another_run(chosen.path, found)
        resized = None if found else other_update(stored.cfg, config, stored_ranks=before, ranks=ranks)
        if resized:
            logger.warning("%s: %s", chosen.path, resized)
        if found:
            changed = ", ".join(map(str, found))
            logger.warning("this recipe is used, although that of %s was another: %s", chosen.path, changed)

    def began(self) -> dict[str, Any] | None:
        """The file that the run began with and what of it was not used, None for a run that began afresh."""
        resets = [key for key, value in self.chosen.resets.items() if value]
        if not self.chosen.own or resets:
            return {"path": str(self.chosen.path.resolve()), "resets": resets}
        return self.stored.ours.get("started_from")


def find_start(config: Config, manager: CheckpointManager) -> Start | None:
    """The checkpoint that the recipe or the run's folder names, None for a fresh start."""
    chosen = manager.choose_restore()
    if chosen is None:
        return None
    stored = unpack_state(chosen.path, config.checkpoint)
    return Start(chosen, stored, stored.keep_arithmetic(config.model))
