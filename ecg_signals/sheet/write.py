"""Sheets -> files: .svg and .png hold a page each, .pdf all of them."""

from collections.abc import Iterable
from pathlib import Path

from ecg_signals.config import ConfigError
from ecg_signals.files import replacing
from ecg_signals.sheet.paper import Sheet
from ecg_signals.sheet.picture import exact, figure
from ecg_signals.sheet.svg import svg

KINDS = (".svg", ".pdf", ".png")
DPI = 150.0


def check_kind(path: Path) -> None:
    """Raises: ConfigError for a file that no sheet can be written to."""
    if path.suffix.lower() not in KINDS:
        raise ConfigError(f"{path} is no name for a sheet; it ends in {', '.join(KINDS)}")


def write(sheets: Iterable[Sheet], path: Path, dpi: float = DPI, advice: str = "Give another file") -> list[Path]:
    """Write sheets; the second page of an .svg or .png is NAME_2.svg, and so on.

    Args:
        dpi: of a .png, dots per inch; the file says it.
        advice: what to type where the place takes no file.
    Returns: the files. Raises: CannotWrite, and ConfigError for another kind of file.
    """
    check_kind(path)
    if path.suffix.lower() == ".pdf":
        return _document(sheets, path, advice)
    written = []
    for number, sheet in enumerate(sheets, start=1):
        own = path if number == 1 else path.with_stem(f"{path.stem}_{number}")
        with replacing(own, advice=advice) as partial:
            if path.suffix.lower() == ".svg":
                partial.write_text(svg(sheet), encoding="utf-8")
            else:
                with exact():
                    figure(sheet).savefig(partial, format="png", dpi=dpi, metadata={"Software": None})
        written.append(own)
    return written


def _document(sheets: Iterable[Sheet], path: Path, advice: str) -> list[Path]:
    from matplotlib.backends.backend_pdf import PdfPages

    about = {"Creator": "ecg-signals", "CreationDate": None}
    with replacing(path, advice=advice) as partial, exact(), PdfPages(partial, metadata=about) as document:
        for sheet in sheets:
            document.savefig(figure(sheet))
    return [path]
