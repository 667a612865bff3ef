"""One's own record files, with or without a table about them."""

from collections.abc import Sequence
from os.path import isfile  # unlike Path.is_file, False for a name that no file system takes
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from ecg_signals.config import ConfigError
from ecg_signals.preprocess.comments import patient_facts, sex_code
from ecg_signals.preprocess.matching import below, match_files, tell_unmatched
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.signal.record import Record
from ecg_signals.tables import Column, Table, check_columns, header_of, read_table

FILE_COLUMNS = ("path", "filename", "file")
TABLES = (".csv", ".tsv")
ABOUT = ("patient_id", "age", "sex", "report", "sample_rate", "dataset", "split", "date")  # never labels


class OwnFiles(Source):
    """Every file with `suffix` below SOURCE, and the rows of the table that name one."""

    reading_options: ClassVar[tuple[str, ...]] = ("units",)

    def table_path(self) -> Path | None:
        """The table that the user names, else the one in SOURCE with a column of file names."""
        if self.cfg.table:
            given = Path(self.cfg.table).expanduser()
            return given if given.exists() or given.is_absolute() else self.folder / given
        tables = [path for path in sorted(self.folder.iterdir()) if path.suffix.lower() in TABLES and path.is_file()]
        found = [path for path in tables if file_column(header_of(path))]
        if len(found) > 1:
            names = ", ".join(path.name for path in found)
            raise ConfigError(
                f"{self.folder} holds several tables with file names ({names}); say which: table={found[0].name}"
            )
        others = [path for path in tables if self.suffix and path.suffix.lower() != self.suffix]
        if not found and others:
            self.remark(
                f"{', '.join(path.name for path in others)} beside the records is not used: it has no column "
                f"{', '.join(FILE_COLUMNS)} (found {', '.join(header_of(others[0])[:8]) or 'no header'})"
            )
        return found[0] if found else None

    def tables(self) -> list[Path]:
        table = self.table_path()
        return [*super().tables(), *([] if table is None else [table])]

    def records(self) -> Table:
        import pandas as pd

        path = self.table_path()
        files = [name for name in self.paths() if path is None or self.folder / name != path]
        found = pd.DataFrame({"path": files})
        if path is not None:
            table = self._about(path, files)
            found = found.merge(table, on="path", how="outer")
        if "sex" in found.columns:
            found["sex"] = [value if value in (0, 1) else sex_code(value) for value in found["sex"]]
        if self.cfg.patient_from_folder:
            found["patient_id"] = self._patients(found)
        return found

    def _about(self, path: Path, files: Sequence[str]) -> Table:
        """The table with the records' paths in its column `path`.

        An entry outside SOURCE is read where it lies; one that means no file stays, and reading it fails by name.
        """
        table = read_table(path)
        column = file_column(list(table.columns))
        if column is None:
            check_columns(table, [FILE_COLUMNS[0]], str(path))
        entries = table[column].map(lambda value: str(value) if value == value else "").tolist()
        if "" in entries:
            raise ConfigError(f"{path} names no file in row {entries.index('') + 1}; fill the column {column}")
        paths = match_files(entries, files, self.folder)
        named = [below(entry, self.folder) for entry in entries]
        named = [entry if entry.lower().endswith(self.suffix) else entry + self.suffix for entry in named]
        lost = [
            entry
            for entry, found, name in zip(entries, paths, named)
            if found is None and not isfile(self.folder / name)
        ]
        without = sorted(set(files).difference(filter(None, paths)))
        lacking = "they have no label, patient or split from it"
        self.remark(*tell_unmatched(path, entries, lost, len(files), without, lacking))
        about = {name: name.lower() for name in table.columns if name.lower() in ABOUT and name.lower() not in table}
        table = table.drop(columns=[column]).rename(columns=about)
        return table.assign(path=[found or name for found, name in zip(paths, named)])

    def reading(self, row: Row) -> dict[str, Any]:
        return {"units": self.cfg.units}

    def _patients(self, found: Table) -> Column:
        folders = found["path"].map(lambda path: PurePosixPath(path).parent.name or None).astype(object)
        return found["patient_id"].astype(object).fillna(folders) if "patient_id" in found.columns else folders

    def facts(self, record: Record) -> dict[str, Any]:
        return patient_facts({key.lower(): value for key, value in record.metadata.items()})

    def array_name(self, row: Row) -> str:
        """The path below SOURCE: files of one name may lie in several folders."""
        return f"{str(row['path']).removesuffix('.npy')}.npy"

    def labels(self, meta: Table) -> Table | None:
        path = self.table_path()
        if path is None:
            return None
        columns = read_table(path).columns
        if self.cfg.labels:
            check_columns(meta, self.cfg.labels, str(path))
            return meta[["idx", *self.cfg.labels]]
        taken = (*ABOUT, *FILE_COLUMNS, "idx")
        names = [name for name in columns if name in meta.columns and name.lower() not in taken]
        names = [name for name in names if _is_binary(meta[name])]
        return meta[["idx", *names]] if names else None

    def split(self, meta: Table) -> Column | None:
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

    def reading(self, row: Row) -> dict[str, Any]:
        rate = row.get("sample_rate") or self.cfg.source_rate
        return {"sample_rate": rate, "leads": self.cfg.source_leads, **super().reading(row)}


def file_column(columns: Sequence[str]) -> str | None:
    """The column that names files, in any case; the first of FILE_COLUMNS."""
    lower = {name.strip().lower(): name for name in reversed(columns)}
    return next((lower[name] for name in FILE_COLUMNS if name in lower), None)


def _is_binary(column: Column) -> bool:
    values = {str(value).strip().lower() for value in column.dropna()}
    return bool(values) and values <= {"0", "1", "0.0", "1.0", "true", "false"}
