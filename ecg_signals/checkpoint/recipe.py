"""Whether a stored run and the present recipe are one run: a run resumes only its own."""

import os
import typing
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from ecg_signals.composition import as_typed, moved, reading_options
from ecg_signals.config import BaseConfig, ConfigError, coerce, listed, parse_literal, plain, resolve_input
from ecg_signals.interop.hubert_ecg.old_names import todays_name
from ecg_signals.registry import get_entry
from ecg_signals.sections import REGISTERED_GROUPS, Config

# What may change between two starts of one run: how long it trains, where it computes, what it prints and keeps.
_ALL_FREE = ("common_eval", "distributed_training")
_FREE = {
    "dataset": {
        "num_workers", "data_buffer_size", "prefetch_to_device", "valid_subset", "ignore_unused_valid_subsets",
        "validate_interval",
        "validate_interval_updates", "validate_after_updates", "fixed_validation_seed", "disable_validation",
        "max_tokens_valid", "batch_size_valid", "max_valid_steps",
        "label_file",  # what the table holds is compared: see label_differences
    },
    "optimization": {
        "max_epoch", "max_update", "stop_time_hours", "stop_min_lr", "skip_nonfinite_updates", "run_ahead",
    },
    "model": {"saliency", "checkpoint_activations"},
}  # fmt: skip
_ONLY = {"common": {"seed"}, "checkpoint": {"best_checkpoint_metric", "maximize_best_checkpoint_metric"}}
_BATCH = {("dataset", "batch_size"), ("dataset", "max_tokens"), ("optimization", "update_freq")}
_PATHS = {"data", "mean_path", "std_path", "weights_file", "model_path", "ecg_dir", "targets"}
_EXCUSED = {  # differences that an option of `checkpoint` asks for
    "reset_optimizer": ("optimizer", "lr_scheduler", "optimization", "criterion"),
    "reset_lr_scheduler": ("lr_scheduler", "optimization"),
    "reset_dataloader": ("dataset", "task", "common"),
    "reset_meters": ("checkpoint",),
}


@dataclass(frozen=True)
class Difference:
    """One option that is not what the stored run was trained with."""

    section: str
    key: str
    stored: Any
    present: Any

    def __str__(self) -> str:
        name = self.section if self.key == "_name" else f"{self.section}.{self.key}"
        return f"{name}={self.stored} (now {self.present})"


def differences(stored: Mapping[str, Any], config: Config, *, stored_ranks: int | None, ranks: int) -> list[Difference]:
    """Options that matter to what a run computes and differ; what the stored recipe does not say is passed over.

    Args:
        stored: the checkpoint's recipe as plain sections.
        config: the present recipe, after the model was built (a pretrained file writes its sizes into it).
        stored_ranks, ranks: processes then (None: unknown) and now; an update is compared by the items it sees.
    """
    found: list[Difference] = []
    reading = reading_options([type(config.dataset)])
    stored = as_typed({**stored, "dataset": moved(stored, reading)}, reading)
    for item in fields(Config):
        section, then = getattr(config, item.name), stored.get(item.name)
        if isinstance(section, BaseConfig) and isinstance(then, Mapping) and item.name not in _ALL_FREE:
            found += _section_differences(item.name, then, section, stored, config)
    batch = [one for one in found if (one.section, one.key) in _BATCH]
    if batch and _same_batch(stored, config, stored_ranks, ranks):
        found = [one for one in found if one not in batch]
    return found


def label_differences(
    stored: Mapping[str, Any], then: Mapping[str, str] | None, now: Mapping[str, str] | None, config: Config
) -> list[Difference]:
    """At most one: the label table has other values than the stored run was trained with.

    Args:
        stored, config: as in `differences`.
        then, now: digests of the columns by label, None without a table. Labels are compared by name, without names in
            their order; a label that the present table lacks is left to where columns are matched.
    """
    then, now = then or {}, now or {}
    both = then.keys() & now.keys()
    changed = [name for name in then if name in both and then[name] != now[name]]
    if not both and list(then.values()) != list(now.values()):
        changed = list(then or now)
    if not changed:
        return []
    old, now_typed = (as_typed(one, reading_options()).get("task") or {} for one in (stored, config.to_dict()))
    key = "label_file" if now_typed.get("label_file") else "data"
    return [Difference("task", key, f"{old.get(key)} with other values of {listed(changed)}", now_typed.get(key))]


def _section_differences(
    name: str, then: Mapping[str, Any], section: BaseConfig, stored: Mapping[str, Any], config: Config
) -> Iterator[Difference]:
    before = todays_name(name, str(then.get("_name") or section._name))
    if (name in (*REGISTERED_GROUPS, "dataset") or "." in name) and before != str(section._name):
        yield Difference(name, "_name", before, section._name)
        return
    hints = typing.get_type_hints(type(section))
    criterion = get_entry(name, str(section._name)).cls if name == "criterion" else None
    per_label, filled = getattr(criterion, "per_label", ()), getattr(criterion, "filled", {})
    now = section.to_dict()
    for item in fields(section):
        key = item.name
        free = key in _FREE.get(name, ()) or key not in _ONLY.get(name, {key})
        if free or key == "_name" or key not in then:
            continue
        within = vars(section)[key]
        if isinstance(within, BaseConfig) and isinstance(then[key], Mapping):
            yield from _section_differences(f"{name}.{key}", then[key], within, stored, config)
            continue
        if _decided_elsewhere(item.metadata, then[key], now[key], stored, config):
            continue
        if key in filled and then.get(filled[key]) and now.get(filled[key]):
            continue  # the run fills it from its training data, which are compared
        before = _typed(then[key], hints[key])
        order_is_free = key in per_label and isinstance(before, list) and isinstance(now[key], list)
        values = (sorted(before), sorted(now[key])) if order_is_free else (before, now[key])
        if not (_same_place(*values) if key in _PATHS else _same(*values)):
            yield Difference(item.metadata.get("section") or name, key, before, now[key])


def _decided_elsewhere(
    metadata: Mapping[str, Any], then: Any, now: Any, stored: Mapping[str, Any], config: Config
) -> bool:
    """Whether a key only repeats another one, which is compared itself, or may change: then and now."""
    section, _, key = (metadata.get("follows") or "").partition(".")
    if not section or getattr(config, section) is None:
        return False
    leader = (stored.get(section) or {}).get(key)
    present = as_typed(config.to_dict(), reading_options([type(config.dataset)]))[section].get(key)
    return _same(plain(then), plain(leader)) and _same(now, present)


def _typed(value: Any, hint: Any) -> Any:
    """A stored value as today's type; fairseq-signals' files hold some as text."""
    try:
        return plain(coerce(value, hint, ""))
    except ConfigError:
        return plain(value)


def _same(first: Any, second: Any) -> bool:
    return first == second or _parsed(first) == _parsed(second)


def _parsed(value: Any) -> Any:
    """A list or tuple written as text, by its content: "[(8, 2, 2)] * 2" is "[(8, 2, 2), (8, 2, 2)]"."""
    if isinstance(value, str) and value.strip()[:1] in ("[", "(", "{"):
        try:
            return plain(parse_literal(value))
        except ConfigError:
            return value
    return value


def _same_place(then: Any, now: Any) -> bool:
    """One file or folder under two names, or one that has moved: what was stored is gone, the name is the same."""
    if then == now or not isinstance(then, str) or not isinstance(now, str):
        return then == now
    before, here = resolve_input(then), resolve_input(now)
    if before.exists():
        return here.exists() and os.path.samefile(before, here)
    return before.name == here.name


def _same_batch(stored: Mapping[str, Any], config: Config, stored_ranks: int | None, ranks: int) -> bool:
    """Whether an update sees as many items as before, however they are cut; True where that is not known."""
    dataset, freqs = stored.get("dataset") or {}, (stored.get("optimization") or {}).get("update_freq")
    if stored_ranks is None or freqs is None:
        return True
    then = _per_update(dataset.get("max_tokens"), dataset.get("batch_size"), freqs, stored_ranks)
    now = config.dataset
    return then == _per_update(now.max_tokens, now.batch_size, config.optimization.update_freq, ranks)


def _per_update(tokens: int | None, items: int | None, freqs: Sequence[int], ranks: int) -> list[tuple[int, int]]:
    """Samples and items that an update sees at most, one pair per entry of update_freq."""
    return [((tokens or 0) * freq * ranks, (items or 0) * freq * ranks) for freq in freqs]


def other_update(stored: Mapping[str, Any], config: Config, *, stored_ranks: int | None, ranks: int) -> str | None:
    """What to say where other ranks with the batch of before make updates of other sizes; arguments: `differences`."""
    if stored_ranks is None or _same_batch(stored, config, stored_ranks, ranks):
        return None
    kept = [freq * stored_ranks / ranks for freq in config.optimization.update_freq]
    advice = f"optimization.update_freq={[int(freq) for freq in kept]} keeps it"
    if any(freq != int(freq) for freq in kept):
        advice = "change dataset.batch_size with update_freq to keep it"
    times = f"{ranks / stored_ranks:g} times as many items as before"
    return f"{stored_ranks} rank(s) before, {ranks} now: an update sees {times}; {advice}"


def without_excused(found: list[Difference], resets: Mapping[str, bool]) -> list[Difference]:
    """The differences that no reset option asks for."""
    excused = [section for key, sections in _EXCUSED.items() if resets.get(key) for section in sections]
    return [one for one in found if one.section not in excused]


def another_run(path: os.PathLike[str], found: list[Difference]) -> ConfigError:
    """The error of a run that finds another's checkpoint in its folder: what differs, and what to type."""
    afresh = {key: sections for key, sections in _EXCUSED.items() if key != "reset_lr_scheduler"}  # keeps the moments
    resets = [key for key, sections in afresh.items() if any(one.section in sections for one in found)]
    return ConfigError(
        f"{path} is of a run with another recipe: {listed(found)}. Give this run a folder of its own, "
        f"checkpoint.save_dir=FOLDER; or go on from that file with the changed recipe: checkpoint.restore_file={path}"
        + (f" (with {' '.join(f'checkpoint.{key}=true' for key in resets)} that part starts afresh)" if resets else "")
    )
