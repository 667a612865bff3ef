"""Who may import whom: the order of style, held by reading every import statement of the package."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "ecg_signals"
# A line may import the lines above it; never a line below, nor a neighbour on its own line. A file that is named there
# stands on that line, not with its folder.
ORDER = """
config absent interop.hubert_ecg.old_names
registry sections files limits pulse processes interop.fairseq_signals.ignored
composition tables
signal runtime
readers optim metrics
interop.fairseq_signals.contract interop.hubert_ecg.contract interop.ecg_jepa.contract interop.st_mem.contract
reporting checkpoint.write checkpoint.origin
checkpoint.names checkpoint.pickles checkpoint.archive checkpoint.plain checkpoint.read
data modules
models criteria
interop
checkpoint
interop.huggingface.classes interop.hubert_ecg.classes
preprocess labeler
tasks
evaluation
training inference
clustering
cli
__main__
"""
LAYERS = {name: depth for depth, line in enumerate(ORDER.split("\n")) for name in line.split()}
ALIASES = {"utils", "hf", "trainer"}  # import paths kept for others; they may import anything, nothing imports them
OLD_PATHS = {"ecg_signals.models"}  # the one of them that stands in a room of ours: build_model_from_checkpoint
DATA = {"configs", "sample"}  # recipes and records, which hold no code
# An optional package is never imported at a module's top; a slow one neither, where training passes by.
OPTIONAL = {"transformers", "huggingface_hub", "onnx", "onnxscript", "onnxruntime", "wandb", "trackio", "submitit"}
SLOW = {"wfdb", "pandas", "sklearn", "matplotlib", "h5py", "pyarrow", "tensorboard", "soundfile", "fsspec", "s3fs"}
HEAVY = OPTIONAL | SLOW

FILES = sorted(PACKAGE.rglob("*.py"))


def layer(module: str) -> str:
    """`ecg_signals.models.base` -> `models`, or all of it where it has a line of its own; the package itself -> ''."""
    own = module.partition(".")[2]
    return own if own in LAYERS else own.partition(".")[0]


def same_room(first: str, second: str) -> bool:
    return first.partition(".")[0] == second.partition(".")[0]


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


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


def targets(module: str, names: list[str]) -> list[str]:
    """The layers that one import statement reaches; `from ecg_signals import models` reaches `models`."""
    return [layer(module)] if layer(module) else [name for name in names if name in LAYERS or name in ALIASES]


def test_every_module_has_a_line_in_the_order():
    here = {layer(module_name(path)) for path in FILES}
    assert here - {""} - ALIASES - set(LAYERS) == set()


def test_no_import_points_down_or_sideways():
    wrong = []
    for path in FILES:
        own = layer(module_name(path))
        if own in ALIASES or own == "" or module_name(path) in OLD_PATHS:
            continue
        for line, module, _, names in imports(ast.parse(path.read_text(encoding="utf-8"))):
            if module.split(".")[0] != "ecg_signals":
                continue
            for target in targets(module, names):
                if target in DATA or (same_room(own, target) and LAYERS[own] == LAYERS[target]):
                    continue
                if target in ALIASES or LAYERS[target] >= LAYERS[own]:
                    wrong.append(f"{path.relative_to(PACKAGE.parent)}:{line} {own} imports {target}")
    assert not wrong, "\n".join(wrong)


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
