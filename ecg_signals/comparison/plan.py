"""Everything that is to be run, checked before any of it is: benchmarks x protocols x models x parts x seeds."""

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.comparison.models import OWN, Compared, Recipes, distinct, find_model
from ecg_signals.comparison.options import EvalOptions
from ecg_signals.comparison.protocols import PRESETS, PROTOCOLS, Protocol, preset_of, protocol_of
from ecg_signals.comparison.running import with_paths
from ecg_signals.comparison.runs import Plan, Run, Task, Test
from ecg_signals.comparison.settings import composed
from ecg_signals.comparison.signals import digest_of, read_stored
from ecg_signals.comparison.splits import Part, in_columns, scale_of
from ecg_signals.composition import resolve_config
from ecg_signals.config import ConfigError, UsageError, listed, option_fields, resolve_input, unknown_message
from ecg_signals.evaluation.benchmarks.base import SPLITS, Benchmark, Examples
from ecg_signals.evaluation.benchmarks.data import find_data
from ecg_signals.files import check_writable, file_digest
from ecg_signals.metrics.logits import CLASSES, LABELS, has_values, is_kind, values_behind
from ecg_signals.registry import register_benchmark

DECIDED = {  # settings of a training -> what decides them
    "common.seed": "seeds=N", "common.user_dir": "user_dir=PLACE", "checkpoint.save_dir": "out=DIR",
    "task._name": "ecg-eval", "task.data": "data=DIR and the benchmark", "task.label_file": "the benchmark",
    "dataset._name": "ecg-eval", "dataset.train_subset": "ecg-eval", "dataset.valid_subset": "ecg-eval",
    "dataset.disable_validation": "the preset", "model._name": "the protocol", "model.num_labels": "the benchmark",
    "model.model_path": "model=[FILE]", "model.encoder": "model=[RECIPE key=value]",
}  # fmt: skip


def make_plan(options: EvalOptions, overrides: Mapping[str, Any], recipes: Recipes) -> Plan:
    """Raises: ConfigError or UsageError for whatever does not fit together, before anything is trained.

    Args:
        overrides: "benchmark.KEY" of any benchmark that has it, and dotted keys of every training's recipe.
        recipes: reads a recipe.
    """
    check_options(options)
    recipes = cache(recipes)  # composing one takes half a second
    out = Path(options.out).expanduser().absolute()
    check_writable(out, "Give another folder as out")
    own = {key.removeprefix("benchmark."): value for key, value in overrides.items() if key.startswith("benchmark.")}
    rest = {key: value for key, value in overrides.items() if not key.startswith("benchmark.")}
    names = dict.fromkeys([*options.benchmark, *options.test_on])
    check_keys(own, names)
    check_open(rest)
    tasks = {name: find_task(name, options, own, out) for name in names}
    signal = signal_of(options)
    models = distinct([find_model(text, recipes, signal) for text in options.model])
    notes = [f"{name}: {remark}" for name, task in tasks.items() for remark in task.examples.remarks]
    notes += inputs_said(models, signal, options)
    for model in models:
        check_leads(model, list(tasks.values()))
        if model.file is None and any(PROTOCOLS[name].pretrained for name in options.protocol):
            notes.append(f"{model.name} is a recipe: its weights are random in every protocol")
    maker = Maker(options, rest, recipes, out, tasks)
    runs = [run for name in options.benchmark for model in models for run in maker.runs(tasks[name], model)]
    unique = {run.folder: run for run in sorted(runs, key=lambda run: run.after is not None)}
    check_recipes(list(unique.values()), out)
    return Plan(list(unique.values()), [*notes, *maker.notes])


def check_options(options: EvalOptions) -> None:
    """Raises: UsageError for what leaves nothing to run, and for protocols and presets that there are not."""
    for key in ("benchmark", "model", "protocol", "fractions"):
        if not getattr(options, key):
            raise UsageError(f"{key} is empty, so that nothing would be run; leave it out, or name one: {key}=[...]")
    if options.folds and options.fractions != [1.0]:
        raise UsageError(f"folds={options.folds} and fractions={options.fractions} both name a part of the training "
                         f"records; leave one of them out")  # fmt: skip
    for name in options.protocol:
        protocol_of(name)
        preset_of(options.preset, name)


def signal_of(options: EvalOptions) -> str:
    """The name of the input that checkpoints are given where they have it; OWN: what they state."""
    trains = any(PROTOCOLS[name].trains for name in options.protocol)  # a head is tested with the input it learned by
    return options.signal or (PRESETS[options.preset].signal if trains else "") or OWN


def inputs_said(models: Sequence[Compared], signal: str, options: EvalOptions) -> list[str]:
    """A line for every model that has no input of its own behind it, where one is asked for of all.

    Raises: UsageError for one that was typed and that none of them has.
    """
    if signal == OWN:
        return []
    models = [model for model in models if " signal=" not in model.text]
    if options.signal and models and all(model.input != signal for model in models):
        known = sorted({OWN, *(name for model in models for name in model.inputs)})
        raise UsageError(unknown_message(f"input 'signal={signal}'", signal, known, "The models have"))
    why = f"signal={signal}" if options.signal else f"preset={options.preset}; signal=own brings back its own"
    return [f"{model.name}: its input is {signal}, by {why}" if model.input == signal else
            f"{model.name}: its own input, as it has none called {signal}" for model in models]  # fmt: skip


def check_keys(own: Iterable[str], names: Iterable[str]) -> None:
    """Raises: UsageError for an option `benchmark.KEY` that none of the benchmarks has."""
    entries = [register_benchmark.get(name) for name in names]
    known = {item.name for entry in entries for item in option_fields(entry.dataclass)}
    for key in own:
        if key not in known:
            raise UsageError(unknown_message(f"key 'benchmark.{key}'", key, known, "These benchmarks have"))


def check_open(overrides: Mapping[str, Any]) -> None:
    """Raises: UsageError for a setting of trainings that something else decides."""
    for key, value in overrides.items():
        typed = [f"{key}.{inner}" for inner in value] if isinstance(value, Mapping) else [key]
        for name in filter(DECIDED.__contains__, typed):
            by = DECIDED[name]
            raise UsageError(f"protocol.{name} is not to be set: {by} decide{'' if ' and ' in by else 's'} it")


def check_recipes(runs: Sequence[Run], out: Path) -> None:
    """Raises: ConfigError for settings that a training does not have or take, once for each kind of run."""
    kinds = {(run.task.name, run.protocol, run.model.name): run for run in runs}
    for run in kinds.values():
        sections = with_paths(run, out)
        resolve_config(sections if PROTOCOLS[run.protocol].trains else {**sections, "model": None})


def find_task(name: str, options: EvalOptions, own: Mapping[str, Any], out: Path) -> Task:
    """A benchmark with its records, by the options of it that were typed."""
    entry = register_benchmark.get(name)
    known = {item.name: own[item.name] for item in option_fields(entry.dataclass) if item.name in own}
    benchmark: Benchmark = entry.cls(entry.dataclass.from_mapping(known, where="benchmark"))
    place = Path(options.data).expanduser()
    found = find_data(place, benchmark.sources, name, out / "data" / "measured")
    data = replace(found, first_seconds=benchmark.first_seconds)
    try:
        return Task(name, benchmark, data, benchmark.examples(data))
    except ConfigError as error:
        raise ConfigError(f"benchmark {name}: {error}") from None


def check_leads(model: Compared, tasks: Sequence[Task]) -> None:
    """Raises: ConfigError for a model whose input cannot be made of the first record of a data set."""
    for task in tasks:
        row = int(task.examples.rows[0])
        record = read_stored(task.data.signal_file(row), task.data.leads)
        record.signal = np.nan_to_num(record.signal, nan=0.0)
        try:
            model.contract.conditioned(record)
        except ConfigError as error:
            raise ConfigError(f"{model.text} does not fit benchmark {task.name}: {error}") from None


@dataclass
class Maker:
    """Makes the runs of one plan."""

    options: EvalOptions
    overrides: Mapping[str, Any]
    recipes: Recipes
    out: Path
    tasks: Mapping[str, Task]
    notes: dict[str, None] = field(default_factory=dict)  # what there is to say of the runs, each once

    def runs(self, task: Task, model: Compared) -> Iterator[Run]:
        """Of a model on a benchmark; also those that others start from."""
        drawn_by = PRESETS[self.options.preset].drawn_by
        parts = [Part(fraction, drawn_by=drawn_by) for fraction in self.options.fractions]
        parts = [Part(folds=self.options.folds)] if self.options.folds else parts
        for name in self.options.protocol:
            trains = PROTOCOLS[name].trains
            for part in parts if trains else [Part()]:
                for seed in range(1, self.options.seeds + 1) if trains else [1]:
                    run = self.run(task, name, model, part, seed)
                    yield from [run.after, run] if run.after else [run]

    def run(self, task: Task, name: str, model: Compared, part: Part, seed: int) -> Run:
        protocol, preset = PROTOCOLS[name], preset_of(self.options.preset, name)
        if protocol.watched and task.benchmark.kind != LABELS:
            raise ConfigError(f"protocol {name} is for labels, but benchmark {task.name} has {task.benchmark.kind}; "
                              f"give another one, such as protocol=[linear]")  # fmt: skip
        first = preset.after.get(name, protocol.after)
        after = self.run(task, first, model, part, seed) if first else None
        examples = part.of(task.examples, seed) if protocol.trains else self.as_labelled(task, model)
        folder = self.out / "runs" / task.name / name / model.name / part.name / f"seed{seed}"
        further = [self.tasks[other] for other in self.options.test_on if other != task.name]
        tests = [self.test(task, task, examples, folder)]
        tests += [self.test(task, other, examples, folder / "test_on" / other.name) for other in further]
        made = Run(task, name, model, part, seed, folder, after, {}, examples,
                   scale_of(examples, task.benchmark.kind), tests, preset)  # fmt: skip
        sections = self.sections(made, protocol)
        return replace(made, sections=sections, settings=self.decisive(made, sections))

    def sections(self, run: Run, protocol: Protocol) -> dict[str, Any]:
        steps, overrides = self.options.steps, self.overrides
        recipe = self.recipes(protocol.recipe) if protocol.trains else None
        counts = {split: int((run.examples.split == split).sum()) for split in SPLITS}
        return composed(run, protocol, recipe or {}, counts, steps, overrides, self.options.user_dir)

    def as_labelled(self, task: Task, model: Compared) -> Examples:
        """The benchmark in the columns of a fine-tuned model. Raises: ConfigError where it has no head for it."""
        if model.file is None or not model.labels:
            raise ConfigError(f"protocol as_is tests a head, and {model.text} has none with names of labels; give a "
                              f"fine-tuned checkpoint, or another protocol")  # fmt: skip
        if is_kind(model.kind) and model.kind != task.benchmark.kind:
            raise ConfigError(f"{model.text} gives {model.kind}, but benchmark {task.name} has {task.benchmark.kind}")
        if has_values(task.benchmark.kind):
            raise ConfigError(f"protocol as_is cannot test the values of benchmark {task.name}: {model.text} does not "
                              f"say the mean and deviation by which its values were standardised; give another "
                              f"protocol, such as protocol=[linear]")  # fmt: skip
        return in_columns(task.examples, model.labels)

    def test(self, trained: Task, task: Task, examples: Examples, folder: Path) -> Test:
        """Raises: ConfigError for a benchmark of another kind, or with labels that the model will not have."""
        if trained.benchmark.kind != task.benchmark.kind:
            raise ConfigError(
                f"benchmark {trained.name} asks for {trained.benchmark.kind}, but benchmark {task.name} for "
                f"{task.benchmark.kind}: what learned the one cannot be tested on the other; leave it out of test_on"
            )
        there = [label for label in task.examples.labels if label in examples.labels]
        lacking = [label for label in task.examples.labels if label not in examples.labels]
        few = len(there) < (2 if task.benchmark.kind == CLASSES else 1)
        few |= bool(values_behind(task.benchmark.kind)) and there != examples.labels  # the last columns are the values
        if few or (lacking and not self.options.partial_labels):
            raise ConfigError(
                f"the model lacks {len(lacking)} of {len(task.examples.labels)} labels of benchmark {task.name}: "
                f"{listed(lacking)}; it has {listed(examples.labels)}"
                + ("; partial_labels=true tests it on the others" if not few else "")
            )
        task.benchmark.metrics(there)  # an error for files of theirs that cannot be read
        if lacking and task.benchmark.kind == CLASSES:
            self.count_unknown(task, lacking)
        return Test(task, folder, [examples.labels.index(label) for label in there])

    def count_unknown(self, task: Task, lacking: Sequence[str]) -> None:
        """Note how many test records have a class that a model has no answer for, which are in no score."""
        columns = [task.examples.labels.index(label) for label in lacking]
        tested = task.examples.targets[task.examples.split == "test"]
        count = int((tested[:, columns] == 1).any(axis=1).sum())
        self.notes[f"{task.name}: {count} of {len(tested)} test records have a class that the model lacks "
                   f"({listed(lacking)}); they count as unknown"] = None  # fmt: skip

    def decisive(self, run: Run, sections: Mapping[str, Any]) -> dict[str, Any]:
        """What a result depends on, for comparison with what was run before."""
        told = {
            "recipe": dict(sections),
            "model": {"text": run.model.text, "version": run.model.version, "input": run.model.contract.to_dict()},
            "benchmark": _asked(run.task, run.examples, run.model),
            "state": "last" if run.preset.last else "best",
            "test_on": {test.task.name: _asked(test.task, test.task.examples, run.model) for test in run.tests[1:]},
        }
        return json.loads(json.dumps(told, default=str))


def _asked(task: Task, examples: Examples, model: Compared) -> dict[str, Any]:
    """What a benchmark's options, records, signals and files that options name come to."""
    options = task.benchmark.cfg.to_dict()
    paths = {key: resolve_input(value) for key, value in options.items() if isinstance(value, str)}
    files = {key: file_digest(path)[:12] for key, path in paths.items() if path.is_file()}
    told = {**options, "records": _digest(examples), "data": digest_of(task.data, model.contract)}
    return {**told, "files": files} if files else told


def _digest(examples: Examples) -> str:
    digest = hashlib.sha256(json.dumps([examples.labels, examples.split.tolist()]).encode())
    digest.update(examples.rows.tobytes())
    digest.update(np.ascontiguousarray(examples.targets).tobytes())
    return digest.hexdigest()[:12]


def parse_share(text: str, runs: Sequence[Run]) -> list[Run]:
    """The runs of one of several machines. Raises: UsageError for anything but K/N.

    Args:
        runs: of the whole plan, finished or not, so that all machines number them alike.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    place, count = map(int, found.groups()) if found else (0, 0)
    if not 1 <= place <= count:
        raise UsageError(f"share={text} is not K/N, such as 2/4 for the second of four machines")
    groups: dict[Path, int] = {}
    for run in runs:  # a run and the one that it starts from go together
        groups.setdefault((run.after or run).folder, len(groups))
    return [run for run in runs if groups[(run.after or run).folder] % count == place - 1]
