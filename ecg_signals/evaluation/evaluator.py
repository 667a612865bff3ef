"""Evaluate a checkpoint on the splits of a recipe: statistics, and extracted arrays on request."""

import logging
from collections.abc import Mapping
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ecg_signals import config
from ecg_signals.checkpoint.load import build_source, load_source
from ecg_signals.composition import (
    as_typed,
    named_model,
    options_of,
    reading_options,
    resolve_config,
    without_resolvers,
)
from ecg_signals.config import MISSING, ConfigError, parse_literal, resolve_input
from ecg_signals.data.batching import BatchIterator
from ecg_signals.data.datasets.base import BaseDataset
from ecg_signals.data.label_names import listed
from ecg_signals.evaluation.bootstrap import write_predictions
from ecg_signals.evaluation.extract import Extraction
from ecg_signals.evaluation.results import Answers, printed, undefined_labels, write_results
from ecg_signals.evaluation.run import batches_of, evaluate_split, run
from ecg_signals.evaluation.waves import write_waves
from ecg_signals.evaluation.windows import by_windows, judge_of_windows
from ecg_signals.files import check_writable, sized
from ecg_signals.interop.layout import ModelSource, logit_kind_of
from ecg_signals.models.base import BaseModel
from ecg_signals.registry import get_entry
from ecg_signals.reporting import Reporter, setup_logging
from ecg_signals.runtime.placement import Placement, device_of
from ecg_signals.runtime.precision import autocast, set_matmul_precision
from ecg_signals.sections import CommonEvalConfig, Config
from ecg_signals.signal.contract import SignalContract
from ecg_signals.tables import comma_list
from ecg_signals.tasks.base import BaseTask, warn_unnamed

logger = logging.getLogger(__name__)


def stored_sections(sections: Mapping[str, Any], source: ModelSource) -> dict[str, Any]:
    """The checkpoint's recipe with what the user set on top; the model is always the checkpoint's.

    A key that the user leaves out, or that a recipe marks ???, keeps the value the checkpoint was trained with; stored
    keys that no longer exist are dropped. Raises: UsageError for a model option that does not exist.
    """
    model = named_model(sections.get("model") or {})
    get_entry("model", model.get("_name", source.name)).dataclass.from_mapping(
        dict.fromkeys(model, MISSING), where="model"
    )
    merged = {
        key: value
        for key, value in sections.items()
        if key not in ("model", "task", "criterion", "optimizer", "lr_scheduler")
    }
    merged["model"] = {"_name": source.name, **without_resolvers(source.options)}
    for group in ("task", "criterion"):
        stored = without_resolvers(known_options(group, as_typed(source.cfg, reading_options()).get(group) or {}))
        chosen = {key: value for key, value in (sections.get(group) or {}).items() if value not in (MISSING, None)}
        same = not stored or chosen.get("_name", stored["_name"]) == stored["_name"]
        if group == "criterion" and not same:
            logger.warning("criterion %s is left out: the checkpoint's decides, %s", chosen["_name"], stored["_name"])
            chosen = {}
        merged[group] = {**(stored if same or group == "criterion" else {}), **chosen} or None
    chosen = {key: value for key, value in (sections.get("dataset") or {}).items() if value is not None}
    merged["dataset"] = {**(stored_windows(source.signal) if chosen.keys().isdisjoint(WINDOWS) else {}), **chosen}
    return merged


WINDOWS = ("window_stride", "window_count", "window_length", "window_rule")


def stored_windows(signal: SignalContract | None) -> dict[str, Any]:
    """Options of the dataset by which items are cut into windows as the checkpoint's input contract says."""
    if signal is None or not (signal.stride_samples or signal.window_count):
        return {}
    return {
        "window_stride": None if signal.window_count else signal.stride_samples,
        "window_count": signal.window_count,
        "window_length": signal.window_samples,
        "window_rule": signal.rule("*"),
    }


def known_options(group: str, stored: Mapping[str, Any]) -> dict[str, Any]:
    """A stored section without the keys that today's class of that name does not have."""
    if not stored.get("_name"):
        return {}
    elsewhere = reading_options() if group == "task" else {}
    read = {key: value for key, value in stored.items() if key in elsewhere}
    return read | config.known_options(get_entry(group, stored["_name"]).dataclass, stored)


def _check_logits(config: Config, source: ModelSource) -> None:
    """Raises: ConfigError when the criterion reads other logits than the model was trained to give."""
    reads, gives = logit_kind_of(config.to_dict()), source.logit_kind
    if reads and gives and reads != gives:
        raise ConfigError(
            f"{source.where} was trained to give {gives}, but criterion {config.criterion._name} reads {reads}; "
            f"validate it with a criterion of its own kind, criterion=NAME (`ecg-list criterion`)"
        )


class Evaluator:
    """One evaluation of `common_eval.path`; used by ecg-validate (with labels and loss) and ecg-inference (without).

    Raises: ConfigError when the checkpoint, the recipe and the data do not fit together.
    """

    def __init__(self, sections: Mapping[str, Any], placement: Placement) -> None:
        section = sections.get("common_eval") or {}
        live = options_of("common_eval", section, CommonEvalConfig)
        CommonEvalConfig.from_mapping(live, where="common_eval")  # a misspelt path, say
        path = section.get("path")
        if section.get("results_path"):
            advice = "Set common_eval.results_path to a folder that can be written"
            check_writable(resolve_input(section["results_path"]), advice)
        if path in (None, MISSING):
            raise ConfigError("set common_eval.path=CHECKPOINT")
        source = load_source(str(resolve_input(path)))
        self.config: Config = resolve_config(stored_sections(sections, source))
        _check_logits(self.config, source)
        setup_logging(self.config.common, placement.rank == 0)
        set_matmul_precision(self.config.common)
        self.placement, self.device = placement, device_of(self.config, placement)
        overrides = self._model_overrides(source)
        if "saliency" in (self.config.common_eval.extract or []) and "saliency" in source.options:
            overrides["saliency"] = True
        self.model: BaseModel = build_source(source, **overrides).to(self.device)
        given, criterion = sections.get("criterion") or {}, get_entry("criterion", self.config.criterion._name).cls
        self.weights_follow_file = any(given.get(key) not in (None, MISSING) for key in criterion.per_label)
        self.task: BaseTask = get_entry("task", self.config.task._name).cls(self.config.task, self.config)
        self._autocast = partial(autocast, self.config.common, self.device)
        self.reporter = Reporter(self.config, None, placement.rank == 0)
        self.subsets()

    def _model_overrides(self, source: ModelSource) -> dict[str, Any]:
        """`common_eval.model_overrides`; what this model does not have is passed over, as published recipes need."""
        wanted = parse_literal(self.config.common_eval.model_overrides, "common_eval.model_overrides")
        known = {item.name for item in fields(get_entry("model", source.name).dataclass)}
        for key in sorted(set(wanted) - known):
            logger.warning("common_eval.model_overrides names %s, which %s does not have", key, source.name)
        return {key: value for key, value in wanted.items() if key in known}

    def subsets(self) -> list[str]:
        """Raises: ConfigError when none is named: there is nothing to evaluate."""
        names = comma_list(self.config.dataset.valid_subset)
        if not names:
            raise ConfigError(
                "dataset.valid_subset is empty, so that nothing would be evaluated; set it to manifests in task.data, "
                "such as dataset.valid_subset=valid,test"
            )
        return names

    def batches(self, split: str) -> BatchIterator:
        """Of a split, in order."""
        section = self.config.dataset
        size, tokens = section.batch_size, section.max_tokens
        dataset = self.task.load_dataset(split)
        return batches_of(dataset, self.config, self.placement, self.device, size, tokens, shuffle=False)

    def _extraction(self, split: str, model: nn.Module, criterion: Any = None) -> Extraction | None:
        """What extracts as the recipe asks, of inference outputs unless it asks for other things; None: nothing."""
        section, dataset = self.config.common_eval, self.task.load_dataset(split)
        kinds = section.extract or (["output"] if criterion is None else [])
        if not kinds:
            return None
        lengths = dataset.sizes
        uneven = len(lengths) > 0 and bool(lengths.min() < lengths.max())
        extraction = Extraction(kinds, section.results_path, split, len(dataset), section.raw_memmap, uneven)
        if len(lengths) and (uneven or self.placement.world_size > 1):
            longest, seed = int(lengths.argmax()), self.config.common.seed
            dataset.fetch([longest])
            batch, consumers = dataset.collate([dataset[longest]]), [extraction.measure]
            run(model, [batch], self.device, consumers, criterion=criterion, seed=seed, autocast=self._autocast)
        return extraction

    def validate(self, folder: Path | None = None) -> dict[str, dict[str, float]]:
        """Statistics of every subset, printed and returned; what `common_eval.extract` names is written on the way.

        Args:
            folder: also write results by label with intervals, and the answer to every item, into it; None: do not.
        """
        criterion = self.task.build_criterion().to(self.device)
        out, written, summaries = {}, [], {}
        section, seed = self.config.common_eval, self.config.common.seed
        answered: dict[str, tuple[np.ndarray, np.ndarray]] = {}
        for subset in self.subsets():
            results = {}
            for split in self.task.splits_of(subset):
                judged, answers = self.judge(split, criterion)
                wanted = folder or section.metrics or section.predictions
                found = answers.finish(section.intervals if folder else 0, seed) if wanted else None
                results[split] = judged, found
                if found:
                    answered[split] = found.targets, found.scores
                if folder and self.placement.rank == 0:
                    written += write_waves(folder, split, judged[0])
                if folder and found and self.placement.rank == 0:
                    written += found.write(folder, split)
                    summaries[split] = found.summary(section.intervals)
            out[subset] = printed(self.task, criterion, results, section.metrics)
            self.reporter.summary(subset, out[subset])
        if section.predictions and self.placement.rank == 0:
            path = resolve_input(section.predictions)
            write_predictions(path, answered)
            written.append(path)
        if folder and self.placement.rank == 0:
            content = {"checkpoint": section.path, "statistics": out, "splits": summaries}
            for path in [write_results(folder, content), *written]:
                logger.info("wrote %s", path.absolute())
        return out

    def judge(self, split: str, criterion: Any = None) -> tuple[Any, Answers]:
        """What `evaluate_split` gives of a split, and the answers to its items; `criterion`: made of the task's."""
        criterion = self.task.build_criterion().to(self.device) if criterion is None else criterion
        batches = self.batches(split)
        dataset = self.aligned(split, criterion)
        self.task.prepare(self.model, criterion, dataset)
        kind = self.model.logit_kind or logit_kind_of(self.config.to_dict())
        model = by_windows(self.model, dataset.cutting, kind)
        judge = judge_of_windows(criterion, dataset.cutting)
        extraction = self._extraction(split, model, judge)
        section = self.config.common_eval
        answers = Answers(dataset, self.model.labels, kind, section.metrics, section.absent)
        result = evaluate_split(
            model,
            judge,
            batches.batches(1),
            self.device,
            seed=self.config.common.seed,
            autocast=self._autocast,
            consumers=[answers, *([extraction] if extraction else [])],
            one_update=True,
        )
        self._close(extraction)
        missing = undefined_labels(result[1], self.model.labels)
        if missing:
            logger.warning("%d labels are left out of auroc, as %s has no known record with, or none without: %s",
                           len(missing), dataset.path, listed(missing))  # fmt: skip
        return result, answers

    def aligned(self, split: str, criterion: Any) -> BaseDataset:
        """The split's dataset, its labels matched with the model's by name.

        Stored options with one value per label are in the model's order; those of the command line in the label file's.
        """
        dataset = self.task.load_dataset(split)
        found = dataset.num_labels
        warn_unnamed(self.model, dataset, str(self.config.common_eval.path))
        columns = self.task.align(self.model, criterion, dataset)
        if columns is not None and found is not None and self.weights_follow_file:
            criterion.select_labels(columns, found)
            self.weights_follow_file = False  # they do now
        return dataset

    def _name_columns(self, dataset: BaseDataset) -> None:
        """Say what the columns of the outputs are where the data's labels suggest otherwise."""
        if self.model.labels and dataset.labels and dataset.labels != self.model.labels:
            logger.warning(
                "the columns of the outputs are the model's labels, %s; those of the label file are others, or in "
                "another order",
                listed(self.model.labels),
            )

    def infer(self) -> None:
        """Forward passes without labels; writes outputs_<split>.npy or what `common_eval.extract` names."""
        for subset in self.subsets():
            for split in self.task.splits_of(subset):
                dataset = self.task.load_dataset(split)
                self._name_columns(dataset)
                kind = self.model.logit_kind or logit_kind_of(self.config.to_dict())
                model = by_windows(self.model, dataset.cutting, kind)
                extraction = self._extraction(split, model)
                assert extraction is not None
                run(model, self.batches(split).batches(1), self.device, [extraction], autocast=self._autocast)
                self._close(extraction)

    def _close(self, extraction: Extraction | None) -> None:
        for path in extraction.close() if extraction else []:
            logger.info("wrote %s", sized(path))
