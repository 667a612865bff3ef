"""Write the tables of docs/models.md from `ecg_signals.list_models()`; what stands around them is written there.

usage: python tools/model_table.py [--check]
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path

from ecg_signals.models.catalogue import PUBLISHED, ListedModel, list_models

FILE = Path(__file__).parents[1] / "docs" / "models.md"
HEADER = "| name | model | parameters | input | licence of the weights | load with |"


def page(text: str) -> str:
    """The page with the table of published weights, and that of architectures, made anew."""
    tables = iter([PUBLISHED, [model for model in list_models() if model not in PUBLISHED]])
    return re.sub(rf"^{re.escape(HEADER)}\n(?:\|.*\n)*", lambda _: table(next(tables)), text, flags=re.MULTILINE)


def table(models: Sequence[ListedModel]) -> str:
    lines = [HEADER, "|---|---|---|---|---|---|"]
    for model in models:
        cells = (f"`{model.name}`", f"`{model.model}`", f"{model.parameters:,}", model.input, model.licence)
        lines.append(f"| {' | '.join(cells)} | `{model.load}` |")
    return "\n".join(lines) + "\n"


def main() -> int:
    text = FILE.read_text(encoding="utf-8")
    if "--check" in sys.argv[1:]:
        return int(text != page(text))
    FILE.write_text(page(text), encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
