"""One's own record files, with or without a table about them."""

import os
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, ClassVar

from ecg_signals.config import ConfigError
from ecg_signals.preprocess.comments import patient_facts, sex_code
from ecg_signals.preprocess.options import OwnConfig, PreprocessConfig
from ecg_signals.preprocess.source import Row, Source, walk
from ecg_signals.tables import check_columns, header_of, read_table

if TYPE_CHECKING:
    import pandas as pd

    from ecg_signals.signal.record import Record

FILE_COLUMNS = ("path", "filename", "file")
ABOUT = ("patient_id", "age", "sex", "report", "sample_rate", "dataset", "split", "date")  # never labels


class OwnFiles(Source):
    """Every file with `suffix` below SOURCE, and the rows of the table that name one."""

    config: ClassVar[type[PreprocessConfig]] = OwnConfig
    suffix: ClassVar[str]

    def paths(self) -> list[str]:
        return list(walk(self.folder, self.suffix, self.skip))

    def table_path(self) -> Path | None:
        """The table that the user names, else the one .csv in SOURCE with a column of file names."""
        if self.cfg.table:
            given = Path(self.cfg.table).expanduser()
            return given if given.exists() or given.is_absolute() else self.folder / given
        found = [path for path in sorted(self.folder.glob("*.csv")) if _names_files(path)]
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise ConfigError(
                f"{self.folder} holds several tables with file names ({names}); say which: table={found[0].name}"
            )
        return found[0] if found else None

    def tables(self) -> list[Path]:
        table = self.table_path()
        return [*super().tables(), *([] if table is None else [table])]

    def records(self) -> "pd.DataFrame":
        import pandas as pd

        path = self.table_path()
        files = [name for name in self.paths() if path is None or self.folder / name != path]
        found = pd.DataFrame({"path": files})
        if path is not None:
            table = read_table(path)
            column = next((name for name in FILE_COLUMNS if name in table.columns), None)
            if column is None:
                check_columns(table, [FILE_COLUMNS[0]], str(path))
            table = table.assign(path=match_files(table[column].astype(str), files, self.suffix, self.folder))
            found = found.merge(table.drop(columns={column} - {"path"}), on="path", how="outer")
        if "sex" in found.columns:
            found["sex"] = [value if value in (0, 1) else sex_code(value) for value in found["sex"]]
        if self.cfg.patient_from_folder:
            found["patient_id"] = self._patients(found)
        return found

    def _patients(self, found: "pd.DataFrame") -> "pd.Series":
        folders = found["path"].map(lambda path: PurePosixPath(path).parent.name or None).astype(object)
        return found["patient_id"].astype(object).fillna(folders) if "patient_id" in found.columns else folders

    def facts(self, record: "Record") -> dict[str, Any]:
        return patient_facts({key.lower(): value for key, value in record.metadata.items()})

    def array_name(self, row: Row) -> str:
        """The path below SOURCE: files of one name may lie in several folders."""
        return f"{str(row['path']).removesuffix('.npy')}.npy"

    def labels(self, meta: "pd.DataFrame") -> "pd.DataFrame | None":
        path = self.table_path()
        if path is None:
            return None
        columns = read_table(path).columns
        if self.cfg.labels:
            check_columns(meta, self.cfg.labels, str(path))
            return meta[["idx", *self.cfg.labels]]
        names = [name for name in columns if name in meta.columns and name not in (*ABOUT, *FILE_COLUMNS, "idx")]
        names = [name for name in names if _is_binary(meta[name])]
        return meta[["idx", *names]] if names else None

    def split(self, meta: "pd.DataFrame") -> "pd.Series | None":
        """The column `split` of the table, if it has one."""
        if "split" not in meta.columns:
            return None
        words = meta["split"].map(lambda word: str(word).strip().lower() if word == word else None)
        names = words.map({"train": "train", "valid": "valid", "val": "valid", "validation": "valid", "test": "test"})
        unknown = words[names.isna() & words.notna()]
        if len(unknown):
            raise ConfigError(
                f"the table's column split holds '{unknown.iloc[0]}'; expected train, valid, test or nothing"
            )
        return names.astype(object).where(names.notna(), None)


class OwnArrays(OwnFiles):
    """Files that may not state their rate, leads and units."""

    reading_options = ("source_rate", "source_leads", "units")

    def read(self, row: Row) -> "Record":
        from ecg_signals.readers.read import read_record

        rate = row.get("sample_rate") or self.cfg.source_rate
        return read_record(
            self.folder / row["path"], sample_rate=rate, leads=self.cfg.source_leads, units=self.cfg.units
        )


def match_files(names: Sequence[str], files: Sequence[str], suffix: str, folder: Path) -> list[str]:
    """The file that each table entry means: its path below SOURCE or its bare name, with or without extension.

    An absolute entry, or one that climbs, may lead to a file below SOURCE (`folder`) or elsewhere. An entry that means
    no file is returned with the extension, and reading it will fail by name.
    Raises: ConfigError for a bare name that several files have.
    """
    whole = {key: path for path in files for key in (path, path[: -len(suffix)])}
    bare: dict[str, list[str]] = {}
    for path in files:
        name = PurePosixPath(path).name
        for key in (name, name[: -len(suffix)]):
            bare.setdefault(key, []).append(path)
    result = []
    for name in names:
        entry = os.path.normpath(name.strip())
        if os.path.isabs(entry) or entry.startswith(".."):
            entry = os.path.relpath(os.path.join(folder, entry), folder) if _below(folder, entry) else entry
        candidates = [whole[entry]] if entry in whole else bare.get(entry, [])
        if len(candidates) > 1:
            raise ConfigError(f"the table's entry '{name}' could be {' or '.join(candidates[:2])}; give the folder too")
        result.append(candidates[0] if candidates else entry if entry.endswith(suffix) else entry + suffix)
    return result


def _below(folder: Path, entry: str) -> bool:
    return Path(os.path.normpath(folder / entry)).is_relative_to(folder)


def _names_files(path: Path) -> bool:
    """True if the header line has a column of file names."""
    return not set(FILE_COLUMNS).isdisjoint(header_of(path))


def _is_binary(column: "pd.Series") -> bool:
    values = {str(value).strip().lower() for value in column.dropna()}
    return bool(values) and values <= {"0", "1", "0.0", "1.0", "true", "false"}
