"""Which splits of a run take their features from a cache, since neither the encoder nor their items ever change."""

import hashlib
import logging
import math
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.evaluation.features import Features, compute_features, windows_of
from ecg_signals.files import writing
from ecg_signals.models.base import BaseModel
from ecg_signals.models.heads.finetuned import EncoderWithHead
from ecg_signals.runtime.collectives import from_rank_zero
from ecg_signals.runtime.precision import autocast
from ecg_signals.sections import Config
from ecg_signals.training.building import Batches

logger = logging.getLogger(__name__)


class FeatureCache:
    """Batches of features in place of signals, where they can be computed once.

    Args:
        batches: makes those of the run.
        align: brings a dataset's labels into the order of the model's.
    """

    def __init__(self, config: Config, model: BaseModel, batches: Batches, align: Any) -> None:
        self.config, self.model, self.batches, self.align = config, model, batches, align
        self.told: set[str] = set()

    def train(self, iterator: BatchIterator) -> BatchIterator:
        """The training batches of the run, with features if it sees every window once at least."""
        features = self._of(iterator.dataset, self._too_short(iterator))
        return iterator if features is None else self.batches.train(features)  # type: ignore[arg-type]

    def valid(self, iterator: BatchIterator) -> BatchIterator:
        """The batches of a validation split."""
        limited = "dataset.max_valid_steps leaves items out" if self.config.dataset.max_valid_steps else None
        features = self._of(iterator.dataset, limited)
        return iterator if features is None else self.batches.in_order(features)  # type: ignore[arg-type]

    def _of(self, dataset: BaseDataset, reason: str | None) -> Features | None:
        section, model = self.config.dataset, self.model
        fixed = isinstance(model, EncoderWithHead) and model.encoder_fixed
        if not fixed or not section.cache_features or isinstance(dataset, Features):
            return None
        sharded = self.config.distributed_training.ddp_backend == "fully_sharded"
        reason = dataset.varies or reason or ("its weights are sharded over ranks" if sharded else None)
        if reason:
            if reason not in self.told:
                logger.info("the encoder never trains, but its features are computed again and again: %s", reason)
            self.told.add(reason)
            return None
        assert isinstance(model, EncoderWithHead)
        whole = dataset
        if dataset.training:
            whole = dataset.as_evaluated()
            self.align(whole)
        precision = partial(autocast, self.config.common, self.batches.device)
        folder = self._folder(dataset)
        most = section.features_in_memory * 1e9
        device = self.batches.device
        return compute_features(model, self.batches.in_order(whole), dataset, device, precision, folder, most)

    def _too_short(self, iterator: BatchIterator) -> str | None:
        section, batches = self.config.optimization, iterator.num_batches(1)
        updates = section.max_update * max(section.update_freq, default=1) * iterator.world_size
        epochs = min(section.max_epoch or math.inf, updates / batches if updates else math.inf)
        windows = int(windows_of(iterator.dataset).max())
        if epochs >= windows:
            return None
        return f"{epochs:.1f} epochs see fewer windows than the {windows} that an item has"

    @staticmethod
    def _unique(place: Path) -> str:
        with writing(place):
            place.mkdir(parents=True, exist_ok=True)
            return tempfile.mkdtemp(dir=place)

    def _folder(self, dataset: BaseDataset) -> Path:
        """Where features lie that need much room: named by all that they depend on, or a new one if that is unknown."""
        if self.config.checkpoint.no_save:
            return Path(from_rank_zero(partial(tempfile.mkdtemp, prefix="ecg-features-")))
        digest = dataset.digest()
        place = Path(self.config.checkpoint.save_dir) / "features"
        if digest is None:
            return Path(from_rank_zero(partial(self._unique, place)))
        common = self.config.common
        told = [digest, dataset.label_digests(), dataset.labels, self.batches.device.type, common.bf16, common.fp16,
                common.amp, common.tf32, self.model.cfg.to_dict()]  # fmt: skip
        key = hashlib.sha256(repr(told).encode())
        for name, value in sorted(self.model.state_dict().items()):
            if name.startswith("encoder."):
                key.update(value.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return place / f"{dataset.path.stem}-{key.hexdigest()[:16]}"
