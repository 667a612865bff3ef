"""A recipe and a command line as one composed config, and whether the recipe may do what it asks of hydra.

hydra runs code that a config names: callbacks, launchers, sweepers, log handlers, search paths. A recipe from outside
the package gets none of that unless the user says --allow-hooks or names it on the command line. Composing here
instantiates nothing.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ecg_signals.cli.overrides import GROUPS
from ecg_signals.cli.recipes import packaged_recipes
from ecg_signals.config import MISSING, ConfigError, UsageError, field_default, listed, option_fields, plain
from ecg_signals.interop.fairseq_signals.ignored import IGNORED
from ecg_signals.interop.hubert_ecg.old_names import todays_name
from ecg_signals.registry import get_entry
from ecg_signals.sections import Config, DatasetConfig

PRIMARY = "ecg_signals_primary"

# Keys under `hydra:` that start no code whatever they hold; hydra itself fills in the last three.
_HARMLESS = re.compile(
    r"run\.dir|sweep\.(dir|subdir)|output_subdir|mode|verbose(\.\d+)?|job\.(name|chdir|id|num|config\..*)"
    r"|job\.env_copy\.\d+|sweeper\.max_batch_size|(hydra_)?help\..*"
    r"|runtime\..*|overrides\..*|job\.(override_dirname|config_name)"
)
_HARMLESS_IN_LOGGING = ("level", "format", "datefmt", "style", "propagate", "disable_existing_loggers", "filename")
_SWEPT_KEY = re.compile(r"sweeper\.params\.(?!hydra)[A-Za-z_]\w*(\.\w+)+")


def schema() -> dict[str, Any]:
    """The shared sections with their defaults, as plain containers; registered groups start empty."""
    sections = {item.name: field_default(item) for item in option_fields(Config)}
    return {name: section and _without_followers(section) for name, section in sections.items()}


def _without_followers(section: Any) -> dict[str, Any]:
    leading = (item for item in option_fields(section) if not item.metadata.get("follows"))
    return {item.name: plain(getattr(section, item.name)) for item in leading}


@dataclass
class Composer:
    """Composes one recipe with any overrides.

    Args:
        folder: where the recipe lies.
        name: of the recipe, without .yaml.
        command: hydra's name of the job.
    """

    folder: Path
    name: str
    command: str = "train"
    made: dict[tuple[str, ...], Any] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        return self.folder / f"{self.name}.yaml"

    def register(self) -> None:
        """Store the primary config that merges the recipe over the schema, under the name PRIMARY."""
        from hydra.core.config_store import ConfigStore

        job = {"job": {"chdir": True, "name": self.command}, "searchpath": ["pkg://ecg_signals.configs"]}
        store = ConfigStore.instance()
        store.store(name="ecg_signals_schema", node=schema())
        defaults = ["ecg_signals_schema", f"{self.name}@_here_", "_self_"]
        store.store(name=PRIMARY, node={"defaults": defaults, "hydra": job})

    def compose(self, overrides: Sequence[str]) -> Any:
        """The config, hydra's own node included, nothing resolved. Raises: ConfigError for what cannot be composed."""
        from hydra import initialize_config_dir
        from hydra.core.global_hydra import GlobalHydra
        from hydra.types import RunMode

        key = tuple(overrides)
        if key in self.made:
            return self.made[key]
        self.register()
        try:
            with initialize_config_dir(config_dir=str(self.folder), job_name=self.command, version_base="1.3"):
                loader = GlobalHydra.instance().config_loader()
                self.made[key] = loader.load_configuration(
                    PRIMARY, list(overrides), run_mode=RunMode.RUN, from_shell=False, validate_sweep_overrides=False
                )
                return self.made[key]
        except Exception as error:  # hydra's and omegaconf's own, and whatever a yaml makes them trip over
            reason = " ".join(str(error.__cause__ or error).split())
            raise ConfigError(f"{self.file} cannot be composed: {reason}") from None


def of_hydra(override: str) -> bool:
    """Whether an override is for hydra itself."""
    return re.match(r"[+~]*hydra[./@=]", override) is not None


def chooses_file(override: str) -> bool:
    """Whether an override chooses a yaml of the recipe's folder, as in model=tiny."""
    return not override.startswith(("+", "~")) and not of_hydra(override)


def recipe_of(composer: Composer, overrides: Sequence[str]) -> Any:
    """The recipe composed without the command line's settings, but with what it says to hydra and which files."""
    return composer.compose([text for text in overrides if of_hydra(text) or chooses_file(text)])


def check_hooks(composer: Composer, overrides: Sequence[str]) -> None:
    """Raises: UsageError naming what the recipe asks of hydra beyond where files go.

    What the command line alone asks for is the user's own wish: it is composed without the recipe and left out.
    """
    if not any(of_hydra(text) or chooses_file(text) for text in overrides) and _is_alone(composer.file):
        return
    found = _leaves(recipe_of(composer, overrides).hydra)
    none = Composer(packaged_recipes(), "config", composer.command)
    try:
        wished = _leaves(none.compose([text for text in overrides if of_hydra(text)]).hydra)
    except ConfigError:  # a hydra/... choice that only the recipe's folder holds
        wished = _leaves(none.compose([]).hydra)
    hooks = sorted(key for key, value in found.items() if wished.get(key, _NOTHING) != value and _is_hook(key, value))
    if hooks:
        raise UsageError(
            f"{composer.file} sets {listed([f'hydra.{key}' for key in hooks], 4)}, with "
            "which a recipe can run code. Add --allow-hooks if you trust it as you would a Makefile, take that out of "
            "the yaml, or say it on the command line, such as hydra/launcher=submitit_slurm"
        )


def _is_alone(path: Path) -> bool:
    """Whether a yaml neither draws others in nor says anything to hydra, which spares composing it here."""
    from omegaconf import OmegaConf

    text = path.read_text(encoding="utf-8")
    keys = set(OmegaConf.load(path))
    return not {"defaults", "hydra"} & keys and not re.search(r"^\s*#\s*@package(?!\s+_global_\s*$)", text, re.M)


_NOTHING = object()


def _is_hook(key: str, value: Any) -> bool:
    if _HARMLESS.fullmatch(key) or _SWEPT_KEY.fullmatch(key):
        return False
    section, _, rest = key.partition(".")
    if section in ("job_logging", "hydra_logging"):
        imported = isinstance(value, str) and "://" in value
        named = rest.rpartition(".")[2] in _HARMLESS_IN_LOGGING or re.fullmatch(r"(.*\.)?handlers\.\d+", rest)
        return imported or not named
    return not (section == "launcher" and isinstance(value, (int, float)))


def _leaves(node: Any) -> dict[str, Any]:
    """Dotted key -> value of everything below a config, references unresolved."""
    from omegaconf import OmegaConf

    return dict(_walk(OmegaConf.to_container(node, resolve=False), ""))


def _walk(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    items = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else None
    if items is None:
        yield prefix, node
    for key, value in items or ():
        yield from _walk(value, f"{prefix}.{key}" if prefix else str(key))


# ------------------------------------------------------------------------------------------------- other things by name


def swap(sections: Mapping[str, Any], recipe: Mapping[str, Any], settings: Sequence[str]) -> dict[str, list[str]]:
    """What of the recipe does not go with another model, criterion, ... that the command line names.

    The new thing starts from its own defaults. Of the recipe's section stays what the command line sets, what the new
    thing has no default for (`model.num_labels`), and of `dataset` what every dataset has (`batch_size`).

    Args:
        sections: everything composed.
        recipe: the recipe's sections alone.
        settings: the overrides as hydra takes them.
    Returns: group -> keys to drop, for every group that was swapped.
    """
    typed = {text.lstrip("+").partition("=")[0] for text in settings}
    out = {}
    for group in GROUPS:
        old, new = named_section(recipe, group), named_section(sections, group)
        if f"{group}._name" not in typed or not old.get("_name") or old["_name"] == new.get("_name"):
            continue
        kept = _kept_keys(group, new["_name"])
        own = {key.split(".")[1] for key in typed if key.startswith(f"{group}.")}
        out[group] = sorted(key for key in old if key in new and key not in kept | own | {"_name"})
    return out


def named_section(sections: Mapping[str, Any], group: str) -> dict[str, Any]:
    """A registered group's section, also where it is no more than a name; empty where there is none."""
    found = sections.get(group)
    section = {"_name": found} if isinstance(found, str) else dict(found) if isinstance(found, Mapping) else {}
    return section | ({"_name": todays_name(group, section["_name"])} if section.get("_name") else {})


def _kept_keys(group: str, name: str) -> set[str]:
    shared = {item.name for item in fields(DatasetConfig)} if group == "dataset" else set()
    shared |= set(IGNORED.get(group, {}))
    options = fields(get_entry(group, name).dataclass)
    return shared | {item.name for item in options if field_default(item) == MISSING}


def swap_message(group: str, name: str, dropped: Sequence[str]) -> str:
    """What is said once about a swap."""
    listed = ", ".join(f"{group}.{key}" for key in dropped)
    return f"{group}={name} starts from its own defaults; left out of the recipe's: {listed}"
