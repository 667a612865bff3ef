"""How our commands meet hydra: argument order, old and new override styles, recipes, errors, exit status.

A recipe is merged over the schema through a generated primary config, which works alike on hydra 1.3 and
1.4; overrides reach hydra as `++key=value`, so that `key=` and `+key=` both work, and unknown keys are
reported by `resolve_config` with their nearest neighbour.
"""

import json
import logging
import os
import sys
import traceback
from argparse import ArgumentTypeError, Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ecg_signals.cli.arguments import Parser
from ecg_signals.cli.composing import (
    PRIMARY,
    Composer,
    check_hooks,
    named_section,
    of_hydra,
    recipe_of,
    swap,
    swap_message,
)
from ecg_signals.cli.console import remember_command
from ecg_signals.cli.overrides import GROUPS, DeclaredTypes, TypeOf, hydra_override
from ecg_signals.cli.recipe_files import check_recipe
from ecg_signals.cli.recipes import find_recipe, packaged_recipes
from ecg_signals.cli.running import LINES, load_plugins, reported_errors, said_version
from ecg_signals.config import LAUNCH_DIR, ConfigError, UsageError, unknown_message
from ecg_signals.files import cannot_write

logger = logging.getLogger(__name__)

_PASSED = ("--multirun", "-m", "--run", "-r", "--info", "-i", "--hydra-help")  # to hydra
RECIPE = "ECG_SIGNALS_RECIPE"  # environment variable: names and keys of the recipe's registered groups, as JSON
OPTIONS = ("--config-name", "--config-dir", "--cfg", "--multirun", "--allow-hooks", "--help", "--version")


def parse_arguments(argv: list[str], command: str = "train") -> Namespace:
    """A command line taken apart: where the recipe lies, hydra's own flags, and key=value overrides, in any order.

    Raises: UsageError for an unknown option.
    """
    parser = Parser(prog=f"ecg-{command}", add_help=False)
    add = parser.add_argument
    add("--config-dir", "-cd", type=_value)
    add("--config-name", "-cn", type=_value)
    add("--package", "-p", type=_value)
    add("--cfg", "-c", nargs="?", const="job", choices=("job", "hydra", "all"))
    add("--resolve", action="store_true")
    add("--allow-hooks", action="store_true")
    for flag in _PASSED:
        add(flag, dest="flags", action="append_const", const=flag, default=[])
    add("overrides", nargs="*", metavar="key=value")
    return parser.parse_intermixed_args(argv)


def _value(text: str) -> str:
    if not text:
        raise ArgumentTypeError("it needs a value")
    return text


def read_settings(arguments: Namespace, folder: Path, type_of: TypeOf) -> list[str]:
    """The command line's settings as overrides for hydra.

    Raises: UsageError for what is no setting, for several values of one setting without --multirun, and for a key that
        hydra cannot read.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    typed = arguments.overrides
    many = bool({"--multirun", "-m"} & set(arguments.flags)) or "hydra.mode=MULTIRUN" in typed
    out = [hydra_override(text, folder, type_of, many) for text in typed]
    for text, override in zip(typed, out):
        try:
            OverridesParser.create().parse_override(override)
        except HydraException as error:
            reason = " ".join(str(error).split())
            raise UsageError(f"'{text}' cannot be read as key=value ({reason})") from None
    return out


def check_removed(overrides: list[str], recipe: dict[str, Any]) -> None:
    """Raises: UsageError for ~KEY of a key that the recipe does not have."""
    for key in [text[1:].partition("=")[0] for text in overrides if text.startswith("~") and not of_hydra(text)]:
        composed: Any = recipe
        for part in key.split("."):
            if not isinstance(composed, dict) or part not in composed:
                known = map(str, composed) if isinstance(composed, dict) else []
                raise UsageError(unknown_message(f"key '{key}' to remove", part, known, "The recipe sets"))
            composed = composed[part]


def hydra_app(argv: list[str], command: str) -> Callable[[Callable[[Any], Any]], Callable[[], Any]]:
    """Prepare hydra for `command`; the result is applied to the job function, as hydra.main is.

    Raises: UsageError for wrong arguments, and for a recipe that names code which hydra would run.
    """
    import hydra

    arguments = parse_arguments(argv, command)
    folder, name = find_recipe(arguments.config_name, arguments.config_dir)
    composer = Composer(folder, name, command)
    LINES.clear()
    LINES.update(check_recipe(composer.file, [folder, packaged_recipes()]))
    overrides = read_settings(arguments, folder, DeclaredTypes(partial(named_sections, composer, arguments.overrides)))
    recipe = plain_sections(recipe_of(composer, overrides))
    check_removed(overrides, recipe)
    os.environ[LAUNCH_DIR] = os.getcwd()
    if arguments.cfg:  # instantiates nothing, so that any recipe can be looked at
        return lambda job: partial(show_config, composer, recipe, overrides, arguments)
    if folder != packaged_recipes() and not arguments.allow_hooks:
        check_hooks(composer, overrides)
    remember_recipe(recipe)
    composer.register()
    quiet = ["hydra.output_subdir=null", "hydra.run.dir=.", "hydra/job_logging=none", "hydra/hydra_logging=none"]
    sys.argv = [sys.argv[0], *arguments.flags, *overrides, *(quiet if other_rank() else [])]
    version = {} if hydra.__version__ >= "1.4" else {"version_base": "1.3"}
    return hydra.main(config_path=str(folder), config_name=PRIMARY, **version)


def command_of(command: str, purpose: str, examples: list[str], job: Callable[[Any], Any]) -> Callable[[], Any]:
    """What a command line of settings asks for, to be called: hydra runs `job` with the composed config."""
    argv = sys.argv[1:]
    if said_version(argv):
        return lambda: None
    if {"--help", "-h"} & set(argv):
        return partial(print, help_text(f"ecg-{command}", purpose, examples))
    with reported_errors():
        app = hydra_app(argv, command)
        remember_command(command, argv)
    return hydra_errors(job)(app(job))  # no function of ours stands between a command and its job


@contextmanager
def hydra_errors(job: Callable[[Any], Any]) -> Iterator[None]:
    """Around hydra's run of `job`: a run folder that cannot be made, or what submitit refuses, is one message."""
    from hydra.errors import CompactHydraException
    from omegaconf.errors import OmegaConfBaseException

    wanted = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # hydra raises what it would print
    try:
        yield
    except (CompactHydraException, OmegaConfBaseException) as error:
        if _came_through(job, error) or wanted == "1":
            raise
        print(*filter(None, (error, error.__cause__)), sep="\n", file=sys.stderr)
        raise SystemExit(1) from None
    except (OSError, ValueError) as error:
        cause = error.__cause__ if isinstance(error, ValueError) else error  # logging wraps what its file met
        if _came_through(job, error) or not isinstance(cause, OSError):
            raise
        given = [text.partition("=")[2] for text in sys.argv if text.lstrip("+").startswith("hydra.run.dir=")]
        folder = given[-1] if given else "."
        advice = "Make room there, or choose another folder: hydra.run.dir=FOLDER"
        with reported_errors():
            raise cannot_write(Path(cause.filename or folder), cause, advice=advice) from None
    except Exception as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if not str(frame.f_globals.get("__name__")).startswith("submitit."):
            raise
        place = "run it on a machine of the cluster that has srun and sbatch, or take hydra/launcher=submitit_local"
        with reported_errors():
            advice = place if "slurm" in str(error) else "what ran is kept"
            raise ConfigError(f"submitit: {error}\n{advice}") from None
    finally:
        os.environ.pop("HYDRA_FULL_ERROR")
        if wanted is not None:
            os.environ["HYDRA_FULL_ERROR"] = wanted


def _came_through(job: Callable[[Any], Any], error: BaseException) -> bool:
    """Whether the job itself raised the error."""
    code = getattr(job, "__code__", None)
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))


def remember_recipe(recipe: dict[str, Any]) -> None:
    """Keep the names and keys of the recipe's registered groups for `job_sections`, also in jobs of other processes."""
    sections = {group: named_section(recipe, group) for group in GROUPS}
    keys = {group: {**dict.fromkeys(found), "_name": found.get("_name")} for group, found in sections.items()}
    os.environ[RECIPE] = json.dumps(keys)


def job_sections(raw: Any) -> dict[str, Any]:
    """A job's sections, from hydra's config: plugins imported, swaps made, a sweep's jobs kept apart."""
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    load_plugins(user_dir_of(plain_sections(raw)))
    hydra = HydraConfig.get()
    recipe = json.loads(os.environ.get(RECIPE, "{}"))
    if apply_swap(raw, recipe, list(hydra.overrides.task)) and hydra.output_subdir is not None:
        OmegaConf.save(raw, Path(hydra.runtime.output_dir, hydra.output_subdir, "config.yaml"))
    sections = plain_sections(raw)
    separate_jobs(sections)
    return sections


def apply_swap(raw: Any, recipe: dict[str, Any], overrides: list[str]) -> bool:
    """Take out of a composed config what `swap` names, and say so. Returns: whether there was anything."""
    from omegaconf import open_dict

    found = swap(plain_sections(raw), recipe, overrides)
    with open_dict(raw):
        for group, keys in found.items():
            if keys and not other_rank():
                print(f"note: {swap_message(group, raw[group]['_name'], keys)}", file=sys.stderr)
            for key in keys:
                del raw[group][key]
    return any(found.values())


def show_config(composer: Composer, recipe: dict[str, Any], overrides: list[str], arguments: Namespace) -> None:
    """`--cfg`: print the composed settings, once they are known to be such as a run would take."""
    from omegaconf import Container, OmegaConf, open_dict

    with reported_errors():
        if arguments.flags:
            raise UsageError(f"--cfg prints and stops; leave out {' '.join(arguments.flags)}")
        config = composer.compose(overrides)
        typed = any(text.startswith("++common.user_dir=") for text in overrides)
        load_plugins(user_dir_of(plain_sections(config)) if typed else None)
        apply_swap(config, recipe, overrides)
        check_sections(plain_sections(config), trusted=typed)
        with open_dict(config):
            for key in [key for key in config if arguments.cfg not in ("all", "hydra" if key == "hydra" else "job")]:
                del config[key]
        package = arguments.package or "_global_"
        shown = config if package == "_global_" else OmegaConf.select(config, package)
        if shown is None:
            raise UsageError(unknown_message(f"package '{package}'", package, config, "There are"))
        if isinstance(shown, Container) and arguments.resolve:
            OmegaConf.resolve(shown)
        print(OmegaConf.to_yaml(shown).rstrip() if isinstance(shown, Container) else shown)


def check_sections(sections: dict[str, Any], trusted: bool) -> None:
    """What a run would refuse before it builds anything.

    Args:
        trusted: whether the user named `common.user_dir`; the one that a recipe names is not imported only to look, and
            what it registers is left out of the check.
    Raises: ConfigError as `resolve_config` does.
    """
    from ecg_signals.composition import resolve_config
    from ecg_signals.registry import REGISTRIES

    skipped = []
    for group in GROUPS:
        section = sections.get(group)
        name = section.get("_name") if isinstance(section, dict) else section
        plugin = name is not None and not trusted and user_dir_of(sections) and name not in REGISTRIES[group].names()
        if plugin or (section and name is None and group != "dataset"):  # without a name, a checkpoint's is taken
            skipped += [group] if plugin else []
            sections = {**sections, group: {} if group == "dataset" else None}
    if skipped:
        where = f"common.user_dir={user_dir_of(sections)}"
        logger.warning("not checked: %s, which the recipe's %s registers; to check, add %s", skipped, where, where)
    resolve_config(sections)


def named_sections(composer: Composer, settings: list[str]) -> dict[str, Any]:
    """The recipe's sections with the names that the command line chooses."""
    sections = plain_sections(composer.compose([]))
    for text in settings:
        key, _, value = text.lstrip("+").partition("=")
        group, *path = key.split(".")
        if group in GROUPS and (not path or path[-1] == "_name"):
            section: dict[str, Any] = sections
            for part in (group, *path[:-1]):
                section[part] = {**section[part]} if isinstance(section.get(part), dict) else {}
                section = section[part]
            section["_name"] = value.partition(",")[0]
    return sections


def other_rank() -> bool:
    """True in every process that torchrun or SLURM started but the first: rank 0 alone writes the run folder."""
    rank = os.environ.get("RANK") or (
        os.environ.get("SLURM_PROCID") if int(os.environ.get("SLURM_NTASKS", "1")) > 1 else None
    )
    return int(rank or 0) > 0


def plain_sections(raw: Any) -> dict[str, Any]:
    """hydra's config as plain containers, references and ??? kept as they stand."""
    from omegaconf import OmegaConf

    container = OmegaConf.to_container(raw, resolve=False, throw_on_missing=False)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items() if key != "hydra"}


# folders that jobs of a sweep would share; True: relative ones lie where the command was typed, not in the run folder
_FOLDERS = {
    ("checkpoint", "save_dir"): False,
    ("common", "tensorboard_logdir"): False,
    ("common_eval", "results_path"): True,
}


def separate_jobs(sections: dict[str, Any]) -> None:
    """In a sweep, a folder that all jobs would write to gets a subfolder per job, its number; changes `sections`.

    A value with a reference, such as ${hydra:job.num}, is the user's own way and stays.
    """
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    hydra = HydraConfig.get() if HydraConfig.initialized() else None
    if hydra is None or hydra.mode != RunMode.MULTIRUN:
        return
    for (section, key), shared in _FOLDERS.items():
        value = (sections.get(section) or {}).get(key)
        if not isinstance(value, str) or "${" in value:
            continue
        if shared or not hydra.job.chdir or Path(value).expanduser().is_absolute():
            sections[section][key] = str(Path(value) / str(hydra.job.num))
            if other_rank():
                continue
            logger.info("job %s of the sweep has a folder of its own: %s.%s=%s", hydra.job.num, section, key,
                        sections[section][key])  # fmt: skip


def user_dir_of(sections: dict[str, Any]) -> str | None:
    """`common.user_dir`, before the sections are resolved."""
    return (sections.get("common") or {}).get("user_dir")


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
        "  --cfg job            check the composed settings, print them and stop",
        "  --allow-hooks        trust a recipe of --config-dir with callbacks, launchers, loggers: code",
        "  --version            the version of ecg-signals",
        "  --hydra-help         hydra's own options",
        "",
        "examples:",
        *(f"  {line}" for line in examples),
        "",
        "`ecg-list` shows what is registered, `ecg-list model NAME` one thing's options.",
    ]
    return "\n".join(lines)
