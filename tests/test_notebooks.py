"""The notebooks of examples/notebooks run, their pictures show what they should, and the stored ones are up to date."""

import base64
import io
import json
import re
from pathlib import Path

import pytest
from warm_commands import python

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.py"))
# what tests shorten: every left side occurs in the notebook
SHORTER = {
    "fine_tune_on_your_labels": {
        "rows = list(csv.DictReader(file))": "rows = list(csv.DictReader(file))[:30]",
        "optimization.max_update=30": "optimization.max_update=2",
        "optimization.max_epoch=20": "optimization.max_epoch=2",
        "model.conv_dim=[32,32,32,32,32]": "model.conv_dim=[16,16,16,16,16]",
    },
    "use_a_pretrained_model": {"optimization.max_epoch=4": "optimization.max_epoch=1"},
}
PICTURES = {"fine_tune_on_your_labels": 3, "use_a_pretrained_model": 2}


def pictures(notebook):
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                yield base64.b64decode(output["data"]["image/png"])


@pytest.fixture
def kernel(tmp_path, monkeypatch):
    """A kernel that starts in a moment, as do the commands that its cells type."""
    folder = tmp_path / "jupyter" / "kernels" / "warm"
    folder.mkdir(parents=True)
    argv = [python(), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "warm", "language": "python"}))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return "warm"


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_from_its_first_cell_to_its_last_and_draws(name, kernel, tmp_path):
    import jupytext
    from nbclient import NotebookClient
    from PIL import Image

    text = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    for long, short in SHORTER[name].items():
        assert long in text, long
        text = text.replace(long, short)
    notebook = jupytext.reads(text, fmt="py:percent")
    resources = {"metadata": {"path": str(tmp_path)}}
    client = NotebookClient(notebook, timeout=300, kernel_name=kernel, resources=resources)
    client.execute()
    drawn = list(pictures(notebook))
    assert len(drawn) == PICTURES[name]
    for picture in drawn:
        width, height = Image.open(io.BytesIO(picture)).size
        assert width > 700 and height > 250


@pytest.mark.parametrize("name", NAMES)
def test_the_stored_notebook_is_the_source_with_outputs_and_small(name):
    import jupytext
    import nbformat

    path = FOLDER / f"{name}.ipynb"
    source, stored = jupytext.read(FOLDER / f"{name}.py"), nbformat.read(path, as_version=4)
    assert [(cell.cell_type, cell.source) for cell in stored.cells] == [
        (c.cell_type, c.source) for c in source.cells
    ], "the notebook changed; type: python tools/make_notebooks.py"
    assert len(list(pictures(stored))) == PICTURES[name] and path.stat().st_size < 400_000
    code = [cell for cell in stored.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    text = "".join(str(output.get("text", "")) for cell in code for output in cell.outputs)
    assert not re.search(r"(^|[ '\"])/(home|root|tmp|work|Users)/", text) and "Traceback" not in text
