"""Execute examples/notebooks/*.py and store them, with their outputs and pictures, as .ipynb beside them.

python tools/make_notebooks.py [NAME ...]
"""

import base64
import io
import sys
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from PIL import Image

FOLDER = Path(__file__).parents[1] / "examples" / "notebooks"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
COLOURS = 200  # of a stored picture; lines on paper need no more, and the file becomes half as large


def smaller(png: str) -> str:
    """base64 of a picture -> base64 of the same with few colours."""
    picture = Image.open(io.BytesIO(base64.b64decode(png))).convert("RGB").quantize(COLOURS, Image.Quantize.FASTOCTREE)
    out = io.BytesIO()
    picture.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode()


def main(names: list[str]) -> None:
    for source in sorted(FOLDER.glob("*.py")):
        if names and source.stem not in names:
            continue
        notebook = jupytext.read(source)
        notebook.metadata = {"kernelspec": KERNEL}
        settings = {"timeout": 600, "coalesce_streams": True, "record_timing": False}
        NotebookClient(notebook, resources={"metadata": {"path": str(FOLDER)}}, **settings).execute()
        for number, cell in enumerate(notebook.cells):
            cell.id = f"cell-{number}"
            for output in cell.get("outputs", []):
                if "image/png" in output.get("data", {}):
                    output["data"]["image/png"] = smaller(output["data"]["image/png"])
        nbformat.validate(notebook)
        nbformat.write(notebook, source.with_suffix(".ipynb"))
        print(f"{source.with_suffix('.ipynb').name}: {source.with_suffix('.ipynb').stat().st_size // 1024} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
