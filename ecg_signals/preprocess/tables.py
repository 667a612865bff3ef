"""Small files written whole or not at all, and CSV tables that are read and written as fairseq-signals does."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ecg_signals.config import ConfigError, unknown_message
from ecg_signals.files import replacing

if TYPE_CHECKING:
    import pandas as pd


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file whole or not at all."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")


def write_table(path: Path, table: "pd.DataFrame") -> None:
    """Write a CSV file without the index, whole or not at all."""
    with replacing(path) as partial:
        table.to_csv(partial, index=False, lineterminator="\n")


def read_table(path: Path, needed: Sequence[str] = (), unnamed: str | None = None) -> "pd.DataFrame":
    """A CSV.

    Args:
        needed: columns that must be there.
        unnamed: the name of a first column without one; None: it is dropped, since pandas writes row numbers there.
    Raises: ConfigError if the file is missing, empty or lacks one of the columns `needed`.
    """
    import pandas as pd

    if not path.is_file():
        raise ConfigError(f"there is no table {path}; check the path")
    try:
        table = pd.read_csv(path, low_memory=False)
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not a CSV table with a header line: {error}") from None
    if "Unnamed: 0" in table.columns:
        table = table.rename(columns={"Unnamed: 0": unnamed}) if unnamed else table.drop(columns=["Unnamed: 0"])
    check_columns(table, needed, str(path))
    return table


def check_columns(table: "pd.DataFrame", needed: Sequence[str], where: str) -> None:
    """Raises: ConfigError naming the first missing column and the nearest one that is there."""
    for name in needed:
        if name not in table.columns:
            raise ConfigError(unknown_message(f"column '{name}'", name, map(str, table.columns), f"{where} has"))


def path_list(text: str | None) -> list[Path]:
    """Files with commas between them; a comma in the name of a file that exists separates nothing."""
    out: list[Path] = []
    parts = (text or "").split(",")
    while parts:
        ends = [end for end in range(1, len(parts) + 1) if Path(",".join(parts[:end]).strip()).is_file()]
        taken = ends[0] if ends else 1
        out += [Path(name).expanduser() for name in [",".join(parts[:taken]).strip()] if name]
        parts = parts[taken:]
    return out


def comma_list(text: str | None) -> list[str]:
    """ "a, b" -> ["a", "b"]; None or "" -> []."""
    return [part.strip() for part in (text or "").split(",") if part.strip()]
