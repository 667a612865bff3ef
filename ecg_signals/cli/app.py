"""How our commands meet hydra: argument order, old and new override styles, recipes, errors, exit status.

A recipe is merged over the schema through a generated primary config, which works alike on hydra 1.3 and
1.4; overrides reach hydra as `++key=value`, so that `key=` and `+key=` both work, and unknown keys are
reported by `resolve_config` with their nearest neighbour.
"""

import logging
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ecg_signals.config import (
    LAUNCH_DIR,
    BaseConfig,
    ConfigError,
    UsageError,
    field_default,
    nearest,
    plain,
    resolve_input,
    unknown_message,
)
from ecg_signals.registry import import_user_dir, load_entry_points
from ecg_signals.sections import REGISTERED_GROUPS, Config

logger = logging.getLogger(__name__)

_WITH_VALUE = {"--config-dir": "config_dir", "-cd": "config_dir", "--config-name": "config_name", "-cn": "config_name"}
_PASSED_WITH_VALUE = ("--cfg", "-c", "--package", "-p")
_PASSED = ("--multirun", "-m", "--run", "-r", "--resolve", "--info", "-i", "--hydra-help", "--version")


@dataclass
class Arguments:
    """A command line taken apart: where the recipe lies, hydra's own flags, and key=value overrides."""

    config_dir: str | None = None
    config_name: str | None = None
    flags: list[str] = field(default_factory=list)
    overrides: list[str] = field(default_factory=list)


def parse_arguments(argv: list[str]) -> Arguments:
    """Options and overrides in any order. Raises: UsageError for an unknown option."""
    out = Arguments()
    rest = iter(argv)
    for word in rest:
        name, equals, value = word.partition("=")
        if name in _WITH_VALUE and word.startswith("-"):
            value = value if equals else next(rest, "")
            if not value:
                raise UsageError(f"{name} needs a value, such as {name} w2v_cmsc_rlm")
            setattr(out, _WITH_VALUE[name], value)
        elif name in _PASSED_WITH_VALUE:
            out.flags += [word] if equals else [word, next(rest, "job")]
        elif word in _PASSED:
            out.flags.append(word)
        elif word.startswith("-"):
            known = [*_WITH_VALUE, *_PASSED_WITH_VALUE, *_PASSED, "--help"]
            guess = nearest(name, known)
            hint = f"; did you mean {guess}?" if guess else ""
            raise UsageError(f"unknown option {word}{hint} Settings are written key=value; see --help")
        else:
            out.overrides.append(word)
    return out


def packaged_recipes() -> Path:
    """The folder of the recipes that come with the package."""
    import ecg_signals.configs

    return Path(next(iter(ecg_signals.configs.__path__)))


def find_recipe(arguments: Arguments) -> tuple[Path, str]:
    """Folder and name of the recipe. Raises: UsageError naming the nearest recipe and where it was looked for."""
    name = (arguments.config_name or "config").removesuffix(".yaml")
    folders = [packaged_recipes()]
    if arguments.config_dir:
        given = Path(arguments.config_dir).expanduser().resolve()
        if not given.is_dir():
            raise UsageError(
                f"--config-dir {arguments.config_dir} is not a folder; name one with yaml files, or leave it out for "
                f"the packaged recipes"
            )
        folders.insert(0, given)
    for folder in folders:
        if (folder / f"{name}.yaml").is_file():
            return folder, name
    known = [str(p.relative_to(folder).with_suffix("")) for folder in folders for p in sorted(folder.rglob("*.yaml"))]
    guess = nearest(name, known)
    hint = f"; did you mean '{guess}'?" if guess else "."
    places = " or ".join(map(str, folders if arguments.config_dir else ["the packaged recipes"]))
    raise UsageError(f"there is no recipe '{name}' in {places}{hint} Recipes: {', '.join(known)}")


def check_yaml(path: Path) -> None:
    """Raises: ConfigError with line and column where the file is not yaml."""
    import yaml
    from omegaconf import OmegaConf

    try:
        OmegaConf.load(path)
    except yaml.YAMLError as error:
        where = " ".join(str(error).split())
        raise ConfigError(f"{path} is not valid yaml: {where}. Quote special values, such as data: '???'") from None


def hydra_override(text: str, folder: Path) -> str:
    """One override as hydra takes it for a plain, unschematised config; hydra's own keys stay as they are.

    Raises: UsageError when it is not of the form key=value.
    """
    if text.startswith("~") or text.startswith(("hydra.", "hydra/", "+hydra", "++hydra")):
        return text
    key, equals, value = text.lstrip("+").partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][\w./@-]*", key):
        raise UsageError(f"'{text}' is not a setting; write key=value, such as optimization.max_update=100")
    if (folder / key).is_dir() and (folder / key / f"{value}.yaml").is_file():
        return f"{key}={value}"
    names_a_class = re.fullmatch(r"[A-Za-z0-9_]+(,[A-Za-z0-9_]+)*", value) and value not in ("null", "None")
    if key in ("task", "model", "criterion", "optimizer", "lr_scheduler", "dataset") and names_a_class:
        key = f"{key}._name"
    return f"++{key}={value}"


def check_overrides(parsed: list[Any], flags: list[str], recipe: Path) -> None:
    """What hydra would stop at with a message of its own.

    Args:
        parsed: the overrides as hydra's parser returns them.
    Raises: UsageError for several values of one setting without --multirun, and for ~KEY of a key that is not there.
    """
    from omegaconf import OmegaConf

    many = {"--multirun", "-m"} & set(flags) or any(item.key_or_group == "hydra.mode" for item in parsed)
    for item in parsed:
        text = str(item.input_line).lstrip("+")
        if item.is_sweep_override() and not many:
            key, _, value = text.partition("=")
            raise UsageError(
                f"'{text}' gives several values to one setting. For one value with commas quote it twice, "
                f"\"{key}='{value}'\"; for one run per value add --multirun"
            )
    removed = [item.key_or_group for item in parsed if item.is_delete() and not item.key_or_group.startswith("hydra")]
    content: Any = OmegaConf.load(recipe) if removed else {}
    if removed and "defaults" not in content:
        composed = OmegaConf.to_container(OmegaConf.merge(schema(), content))
        for key in removed:
            _check_removed(key, composed)


def _check_removed(key: str, composed: Any) -> None:
    for part in key.split("."):
        if not isinstance(composed, dict) or part not in composed:
            known = map(str, composed) if isinstance(composed, dict) else []
            raise UsageError(unknown_message(f"key '{key}' to remove", part, known, "The recipe sets"))
        composed = composed[part]


def schema() -> dict[str, Any]:
    """The shared sections with their defaults, as plain containers; registered groups start empty."""
    out: dict[str, Any] = {}
    for item in fields(Config):
        if item.name == "_name":
            continue
        default = field_default(item)
        out[item.name] = None if item.name in REGISTERED_GROUPS else _without_followers(default)
    return out


def _without_followers(section: BaseConfig) -> dict[str, Any]:
    values = section.to_dict()
    return {
        item.name: plain(values[item.name])
        for item in fields(section)
        if item.name != "_name" and not item.metadata.get("follows")
    }


def hydra_app(argv: list[str], command: str) -> Callable[[Callable[[Any], Any]], Callable[[], Any]]:
    """Prepare hydra for `command`; the result is applied to the job function, as hydra.main is.

    Raises: UsageError for wrong arguments.
    """
    import hydra
    from hydra.core.config_store import ConfigStore
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import OverrideParseException

    arguments = parse_arguments(argv)
    folder, name = find_recipe(arguments)
    check_yaml(folder / f"{name}.yaml")
    overrides = [hydra_override(text, folder) for text in arguments.overrides]
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
    except OverrideParseException as error:
        raise UsageError(
            f"{str(error).splitlines()[0]}\nin '{error.override}'. Quote lists and strings with commas: \"key='a,b'\""
        ) from None
    check_overrides(parsed, arguments.flags, folder / f"{name}.yaml")
    os.environ[LAUNCH_DIR] = os.getcwd()
    job: dict[str, Any] = {"job": {"chdir": True, "name": command}, "searchpath": ["pkg://ecg_signals.configs"]}
    store = ConfigStore.instance()
    store.store(name="ecg_signals_schema", node=schema())
    store.store(
        name="ecg_signals_primary", node={"defaults": ["ecg_signals_schema", f"{name}@_here_", "_self_"], "hydra": job}
    )
    quiet = ["hydra.output_subdir=null", "hydra.run.dir=.", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    sys.argv = [sys.argv[0], *arguments.flags, *overrides, *(quiet if other_rank() else [])]
    version = {} if hydra.__version__ >= "1.4" else {"version_base": "1.3"}
    return hydra.main(config_path=str(folder), config_name="ecg_signals_primary", **version)


def other_rank() -> bool:
    """True in every process that torchrun or SLURM started but the first: rank 0 alone writes the run folder."""
    rank = os.environ.get("RANK") or (
        os.environ.get("SLURM_PROCID") if int(os.environ.get("SLURM_NTASKS", "1")) > 1 else None
    )
    return int(rank or 0) > 0


@contextmanager
def reported_errors() -> Iterator[None]:
    """What the user can fix ends the program with one message: status 2 for wrong arguments, else 1."""
    try:
        yield
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        raise SystemExit(2 if isinstance(error, UsageError) else 1) from None
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr, flush=True)
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of our output, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(141) from None


def plain_sections(raw: Any) -> dict[str, Any]:
    """hydra's config as plain containers, references and ??? kept as they stand."""
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(raw, resolve=False, throw_on_missing=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items() if key != "hydra"}


def user_dir_of(sections: dict[str, Any]) -> str | None:
    """`common.user_dir`, before the sections are resolved."""
    return (sections.get("common") or {}).get("user_dir")


def load_plugins(user_dir: str | None) -> None:
    """Installed plugins, one warning for each that fails, then those of `user_dir`; before any name is looked up."""
    for message in load_entry_points():
        logger.warning(message)
    if user_dir:
        import_user_dir(resolve_input(user_dir))


def help_text(command: str, purpose: str, examples: list[str]) -> str:
    """What --help of a command that takes settings prints."""
    lines = [
        f"usage: {command} [key=value ...] [--config-dir DIR] --config-name NAME [--multirun] [--cfg job]",
        "",
        purpose,
        "",
        "  --config-name NAME   a recipe: one of the packaged ones, or NAME.yaml in DIR",
        "  --config-dir DIR     folder of your own or fairseq-signals' yaml files",
        "  key=value            any setting, such as dataset.batch_size=64; +key=value means the same",
        "  --multirun           one run per combination of comma-separated values",
        "  --cfg job            print the composed settings and stop",
        "  --hydra-help         hydra's own options",
        "",
        "examples:",
        *(f"  {line}" for line in examples),
        "",
        "`ecg-list` shows what is registered, `ecg-list model NAME` one thing's options.",
    ]
    return "\n".join(lines)
