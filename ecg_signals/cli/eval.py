"""ecg-eval: benchmarks x protocols x models x seeds, one table and one report of what came of it."""

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from ecg_signals.cli.app import check_sections, plain_sections
from ecg_signals.cli.running import load_plugins, run_restartable, said_version
from ecg_signals.config import ConfigError, UsageError, option_fields, unknown_message

EXAMPLE = """examples:
  ecg-preprocess ptbxl physionet.org/files/ptb-xl/1.0.3 data/ptbxl
  ecg-eval benchmark=[ptbxl/superdiagnostic,ptbxl/rhythm] protocol=[linear,finetune] model=[CHECKPOINT] seeds=3 \\
      data=data/ptbxl out=runs/eval
  ecg-eval benchmark=[ptbxl/all] protocol=[scratch] preset=pb model=[benchmark/scratch_xresnet1d50] seeds=3 \\
      data=data/ptbxl out=runs/baseline jobs=2
  ecg-eval benchmark=[ptbxl/all] protocol=[linear] fractions=[0.01,0.05,0.1,1] model=[CHECKPOINT] seeds=5 \\
      data=data/ptbxl out=runs/few
The same command again does only what is missing."""


def main() -> None:
    run_restartable(run)


def run(argv: list[str]) -> None:
    """Raises: ConfigError before any training for what does not fit; SystemExit(1) behind them when some failed."""
    if said_version(argv[:1]):
        return
    if not argv or {"-h", "--help"} & set(argv):
        print(help_text())
        if not argv:
            raise UsageError(
                "name what to compare, such as: ecg-eval benchmark=[ptbxl/all] model=[FILE] data=DIR out=DIR"
            )
        return
    given, overrides = parse(argv)
    load_plugins(given.get("user_dir"))
    from ecg_signals.comparison.options import EvalOptions
    from ecg_signals.comparison.plan import make_plan, parse_share
    from ecg_signals.comparison.report.write import write_report
    from ecg_signals.comparison.schedule import check_all, missing, prepare_all, run_all
    from ecg_signals.comparison.tables import CSV, JSON, collect, said

    options = EvalOptions.from_mapping(given)
    out = Path(options.out).expanduser().absolute()
    plan = make_plan(options, overrides, read_recipe)
    print(*(f"note: {note}" for note in plan.notes), sep="\n", end="\n" if plan.notes else "")
    todo = missing(parse_share(options.share, plan.runs))
    print(f"{len(plan.runs)} runs, of which {len(plan.runs) - len(todo)} are not to be made here", flush=True)
    prepare_all(todo, out, options.jobs)
    check_all(todo, out)
    failed = run_all(todo, out, options.jobs)
    lines = said(collect(out, options.rounds))
    print(*lines, f"written: {out / JSON}, {out / CSV}, {write_report(out, options.rounds)}", sep="\n")
    if failed:
        head = f"{len(failed)} of {len(todo)} runs failed; the same command tries again:"
        raise ConfigError("\n  ".join([head, *(f"{name}: {error}" for name, error in failed.items())]))


def parse(argv: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Options, and settings of all trainings (`protocol.KEY`) and of benchmarks (`benchmark.KEY`) by dotted key.

    Raises: UsageError for what is no setting, or an unknown one.
    """
    from ecg_signals.comparison.options import EvalOptions

    known = {item.name: item for item in option_fields(EvalOptions)}
    options: dict[str, Any] = {}
    overrides: dict[str, Any] = {}
    for word in argv:
        key, equals, text = word.lstrip("+").partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_][\w.]*", key):
            raise UsageError(f"'{word}' is not a setting; write key=value, such as seeds=3 (ecg-eval --help)")
        if re.match(r"(protocol|benchmark)\.", key):
            overrides[key.removeprefix("protocol.")] = _value(word, text)
        elif key in known:
            options[key] = _listed(text) if "list[" in str(known[key].type) else None if text == "null" else text
        else:
            raise UsageError(unknown_message(f"setting '{key}'", key, known, "ecg-eval has"))
    for key in ("benchmark", "model", "data", "out"):
        if key not in options:
            raise UsageError(f"{key} is not set; {key}={known[key].metadata['help']}")
    return options, overrides


def _listed(text: str) -> list[str]:
    """ "[a,b]" or "a,b" -> ["a", "b"]; commas within brackets or quotes of an element stay."""
    inner = text.strip().removeprefix("[").removesuffix("]") if text.strip().startswith("[") else text
    parts = re.findall(r"""(?:[^,\[\](){}"']|\[[^\]]*\]|\([^)]*\)|\{[^}]*\}|"[^"]*"|'[^']*')+""", inner)
    return [part.strip().strip("\"'") for part in parts if part.strip()]


def _value(word: str, text: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        raise UsageError(f"'{word}' cannot be read as key=value") from None


@cache
def _packaged() -> Path:
    from ecg_signals.cli.recipes import packaged_recipes

    return packaged_recipes().resolve()


def read_recipe(text: str) -> dict[str, Any] | None:
    """The sections of "RECIPE key=value ...", a packaged one or a yaml file; None where there is no such recipe.

    Raises: ConfigError for a recipe that cannot be composed, that names code which hydra would run, or that has
        sections, options or values that there are not.
    """
    from ecg_signals.cli.composing import Composer, check_hooks
    from ecg_signals.cli.overrides import hydra_override
    from ecg_signals.cli.recipe_files import check_recipe

    name, *settings = text.split() or [""]
    own = Path(name).expanduser().resolve()
    packaged = (_packaged() / f"{name.removesuffix('.yaml')}.yaml").resolve()
    file = own if own.suffix == ".yaml" and own.is_file() else packaged
    if not file.is_file():
        return None
    folder = _packaged() if file.is_relative_to(_packaged()) else file.parent  # behind every .. and link
    composer = Composer(folder, str(file.relative_to(folder).with_suffix("")), "eval")
    check_recipe(file, [folder, _packaged()])
    if folder != _packaged():
        check_hooks(composer, [])
    sections = plain_sections(composer.compose([hydra_override(setting, folder) for setting in settings]))
    check_sections(sections, trusted=False)
    return sections


def help_text() -> str:
    from ecg_signals.comparison.options import EvalOptions
    from ecg_signals.comparison.protocols import PRESETS, PROTOCOLS
    from ecg_signals.config import MISSING, field_default
    from ecg_signals.registry import register_benchmark

    usage = "usage: ecg-eval benchmark=[...] protocol=[...] model=[FILE|RECIPE,...] data=DIR out=DIR [key=value ...]"
    lines = [usage, "", __doc__ or "", "", "settings:"]
    for item in option_fields(EvalOptions):
        default = field_default(item)
        shown = "" if default in (MISSING, None) else f" ({default})"
        lines.append(f"  {item.name:16} {item.metadata['help']}{shown}")
    lines += ["  protocol.KEY     a setting of every training, such as protocol.optimization.lr=[1e-4]"]
    lines += ["  benchmark.KEY    an option of benchmarks that have it, such as benchmark.min_samples=5"]
    lines += ["", "protocols:"]
    lines += [f"  {name:22} {protocol.about}" for name, protocol in PROTOCOLS.items()]
    lines += ["", "presets:", *(f"  {name:22} {preset.about}" for name, preset in PRESETS.items())]
    lines += ["", f"benchmarks (ecg-list benchmark): {', '.join(register_benchmark.names())}"]
    return "\n".join([*lines, "", EXAMPLE])


if __name__ == "__main__":
    main()
