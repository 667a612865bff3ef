"""Who may import whom, read off every import: also those for type checkers, inside functions and by name."""

import ast
import functools
import graphlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ecg_signals"
# A line may import the lines above it; never a line below, nor a neighbour on its own line. A file that is named there
# stands on that line, not with its folder.
ORDER = """
config interop.hubert_ecg.old_names
interop.fairseq_signals.ignored
registry sections files limits pulse processes
composition tables
signal runtime
readers optim metrics sheet labeler
quality
interop.fairseq_signals.contract interop.hubert_ecg.contract interop.ecg_jepa.contract interop.st_mem.contract
interop.ecgfounder.contract interop.ecg_jepa_kim.contract interop.ecg_cpc.contract
interop.merl.contract interop.ked.contract
interop.ecg_jepa.datasets
reporting checkpoint.write checkpoint.origin
checkpoint.names checkpoint.pickles checkpoint.archive checkpoint.plain checkpoint.sharded checkpoint.read
data modules
models criteria
interop
checkpoint
interop.huggingface.classes interop.hubert_ecg.classes
preprocess
tasks
evaluation
training inference
clustering comparison
cli
__main__
"""
LAYERS = {name: depth for depth, line in enumerate(ORDER.split("\n")) for name in line.split()}
ALIASES = {"utils", "hf", "trainer"}  # import paths kept for others; they may import anything, nothing imports them
OLD_PATHS = {"ecg_signals.models"}  # the one of them that stands in a room of ours: build_model_from_checkpoint
DATA = {"configs", "sample"}  # recipes and records, which hold no code
# An optional package is never imported at a module's top; a slow one neither, where training passes by.
OPTIONAL = {
    "transformers", "huggingface_hub", "onnx", "onnxscript", "onnxruntime", "wandb", "trackio", "submitit", "dask",
    "distributed",
}  # fmt: skip
SLOW = {"wfdb", "pandas", "sklearn", "matplotlib", "h5py", "pyarrow", "tensorboard", "soundfile", "fsspec", "s3fs"}
HEAVY = OPTIONAL | SLOW

# Imports that run against the order, or close a circle of files in one room, each with its reason; {} would be better.
EXCEPTIONS = {
    ("checkpoint.names", "checkpoint.pickles"): "a type: what a name does is given the machine that counts its cost",
    ("data.input_contract", "data.datasets.ecg_file"): "a type: reads the fields of the dataset that asks it",
}
# The one file whose names as text run against the order: the base class of every kind, which a look-up imports.
NAMES_ROOMS_ABOVE = "ecg_signals.registry"

FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {
    ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): path for path in FILES
}
# "ecg_signals.a.b", "ecg_signals.a:Class", f"ecg_signals.a.{...}"
BY_NAME = re.compile(r"(ecg_signals(?:\.\w+)*)(?::\w+|\.)?")


def layer(module: str) -> str:
    """`ecg_signals.models.base` -> `models`, or all of it where it has a line of its own; the package itself -> ''."""
    own = module.partition(".")[2]
    return own if own in LAYERS else own.partition(".")[0]


def same_room(first: str, second: str) -> bool:
    return first.partition(".")[0] == second.partition(".")[0]


def imports(tree: ast.AST) -> list[tuple[int, str, int, list[str]]]:
    """(line, module, relative level, names) of every import statement below `tree`."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, 0, []) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.lineno, node.module or "", node.level, [alias.name for alias in node.names]))
    return found


def top_level_imports(tree: ast.Module) -> list[tuple[int, str, int, list[str]]]:
    """Imports that run when the module is imported, those for type checkers left out."""
    found, stack = [], list(tree.body)
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            found += imports(node)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            stack += node.orelse
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            stack += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return found


def file_of(module: str) -> str:
    """`ecg_signals.config.option` -> `ecg_signals.config`, the file that holds it."""
    while module not in MODULES and "." in module:
        module = module.rpartition(".")[0]
    return module


def files_by_statement(found: list[tuple[int, str, int, list[str]]]) -> set[tuple[int, str]]:
    """(line, file) that import statements reach within the package."""
    whole = [
        (line, ".".join(filter(None, [module, name]))) for line, module, _, names in found for name in names or [""]
    ]
    return {(line, file_of(module)) for line, module in whole if module.partition(".")[0] == PACKAGE.name}


def files_by_name(tree: ast.AST) -> set[tuple[int, str]]:
    """(line, file) that are written as text, for importlib: all of a text, or the start of one that is completed."""
    found = set()
    for node in ast.walk(tree):
        text = node.values[0] if isinstance(node, ast.JoinedStr) and node.values else node
        if isinstance(text, ast.Constant) and isinstance(text.value, str) and (match := BY_NAME.fullmatch(text.value)):
            whole, dots = match[1], match[1].count(".")
            if dots and (isinstance(node, ast.JoinedStr) or ":" in text.value or whole in MODULES):
                found.add((text.lineno, file_of(whole)))
    return found


@functools.cache
def own_files(module: str) -> set[tuple[int, str]]:
    """Every (line, file of this package) that a file depends on, however the import is written."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    by_name = set() if module == NAMES_ROOMS_ABOVE else files_by_name(tree)
    return files_by_statement(imports(tree)) | by_name


def short(module: str) -> str:
    return module.removeprefix("ecg_signals.")


def excepted(module: str, target: str) -> bool:
    return (short(module), short(target)) in EXCEPTIONS


def points_down(own: str, target: str) -> bool:
    """Whether layer `own` may not import layer `target`."""
    neighbours = same_room(own, target) and LAYERS[own] == LAYERS.get(target)
    return target in ALIASES or not (neighbours or LAYERS[target] < LAYERS[own])


def test_every_module_has_a_line_in_the_order():
    here = {layer(module) for module in MODULES}
    assert here - {""} - ALIASES - set(LAYERS) == set()


def test_no_import_points_down_or_sideways():
    wrong = []
    for module, path in MODULES.items():
        if layer(module) in {"", *ALIASES} or module in OLD_PATHS:
            continue
        for line, target in sorted(own_files(module)):
            if layer(target) and points_down(layer(module), layer(target)) and not excepted(module, target):
                wrong.append(f"{path.relative_to(PACKAGE.parent)}:{line} {layer(module)} imports {target}")
    assert not wrong, "\n".join(wrong)


def test_the_package_itself_gives_its_version_only():
    """What else it offers is imported on demand from rooms above: for users, not for its own files."""
    statements = [(path, *found) for path in FILES for found in imports(ast.parse(path.read_text(encoding="utf-8")))]
    taken = {name for *_, module, _, names in statements if module == PACKAGE.name for name in names}
    assert {name for name in taken if f"{PACKAGE.name}.{name}" not in MODULES} <= {"__version__", *DATA}


def test_no_circle_of_files_inside_a_room():
    """Imports inside functions, for type checkers and by name count: every room has an order of its files, too."""
    graph = {
        module: {
            target
            for _, target in own_files(module)
            if target != module and same_room(short(module), short(target)) and not excepted(module, target)
        }
        for module in MODULES
    }
    list(graphlib.TopologicalSorter(graph).static_order())  # CycleError names the files


def test_every_exception_is_in_use():
    assert set(EXCEPTIONS) <= {(short(module), short(target)) for module in MODULES for _, target in own_files(module)}


def test_imports_by_name_are_seen():
    text = "'ecg_signals.config'; look('ecg_signals.registry:build'); get(f'ecg_signals.cli.{name}'); 'ecg_signals.'"
    assert files_by_name(ast.parse(text)) == {(1, f"ecg_signals.{name}") for name in ("config", "registry", "cli")}


def test_imports_are_absolute_and_starless():
    wrong = [
        f"{path.relative_to(PACKAGE.parent)}:{line}"
        for path in FILES
        for line, _, level, names in imports(ast.parse(path.read_text(encoding="utf-8")))
        if level or "*" in names
    ]
    assert not wrong, "\n".join(wrong)


def test_optional_and_slow_packages_are_imported_inside_functions():
    wrong = []
    for path in FILES:
        if path.name == "classes.py":  # imported on demand by `hf`, they need transformers as a whole
            continue
        for line, module, _, _ in top_level_imports(ast.parse(path.read_text(encoding="utf-8"))):
            if module.split(".")[0] in HEAVY:
                wrong.append(f"{path.relative_to(PACKAGE.parent)}:{line} imports {module}")
    assert not wrong, "\n".join(wrong)


def modules_after(code: str) -> set[str]:
    report = "import sys; print('\\nMODULES', *sys.modules)"
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.rsplit("MODULES", 1)[1].split())


def test_importing_the_package_imports_nothing_slow():
    assert modules_after("import ecg_signals") & {"torch", "numpy", "hydra", *HEAVY} == set()


def test_models_are_made_and_optimizers_step_without_the_compiler():
    code = """
import torch
from ecg_signals.registry import get_entry, register_model, register_optimizer
classes = [get_entry("model", name).cls for name in register_model.names()]
for name in register_optimizer.names():
    entry = get_entry("optimizer", name)
    weight = torch.zeros(1, requires_grad=True)
    optimizer = entry.cls([weight], entry.dataclass())
    optimizer.zero_grad()
    weight.grad = torch.ones(1)
    optimizer.step()
"""
    assert "torch._dynamo" not in modules_after(code)


def test_a_model_with_normalised_weights_is_loaded_without_the_compiler(golden):
    file = str(golden / "wcr/w2v/checkpoint.pt")
    assert "torch._dynamo" not in modules_after(f"from ecg_signals import load_model; load_model({file!r})")


HELP = """
import sys
from {module} import {function}
sys.argv = ["{command}", "--help"]
try:
    {function}()
except SystemExit as stop:
    assert not stop.code, stop.code
"""


COMMANDS = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]["scripts"]


@pytest.mark.parametrize("command", sorted(COMMANDS))
def test_help_imports_neither_torch_nor_anything_slow(command: str):
    module, _, function = COMMANDS[command].partition(":")
    code = HELP.format(command=command, module=module, function=function)
    assert modules_after(code) & {"torch", *HEAVY} == set()


def test_no_two_test_files_share_a_name():
    names = [path.name for path in Path(__file__).parent.rglob("test_*.py")]
    assert sorted(names) == sorted(set(names))
