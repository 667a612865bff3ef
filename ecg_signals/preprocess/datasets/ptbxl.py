"""PTB-XL: 21,799 records of 10 s with SCP-ECG statements and ten folds."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from ecg_signals.config import ConfigError, option, parse_literal
from ecg_signals.preprocess.archives import unpack
from ecg_signals.preprocess.labels import multi_hot
from ecg_signals.preprocess.options import PreprocessConfig
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.registry import register_source
from ecg_signals.tables import Column, Table, numbers, read_table

TABLE = "ptbxl_database.csv"
ARCHIVE = "ptb-xl-a-large-publicly-available-electrocardiography-dataset-1.0.3.zip"
DOWNLOAD = (
    "Download PTB-XL 1.0.3 (1.8 GB) from https://physionet.org/content/ptb-xl/1.0.3/ with a browser, put "
    f"{ARCHIVE} into {{place}}, as it is or unpacked, and type the command again"
)
TASKS = ("all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm")
_CLASS_COLUMN = {"subdiagnostic": "diagnostic_subclass", "superdiagnostic": "diagnostic_class"}


@dataclass
class PtbxlConfig(PreprocessConfig):
    source_rate: int = option(500, "Hz of the files to read: records500/ or records100/", choices=(500, 100))
    labels: str = option("all", "label set: all 71 statements, or one of the five benchmark tasks", choices=TASKS)
    single_label: bool = option(False, "only records of exactly one class of the label set, as ST-MEM is compared on")
    min_samples: int | None = option(
        None,
        "leave out classes with at most this many records (not of `diagnostic`, as published); null: none",
        least=0,
    )
    valid_fold: int = option(9, "fold that is the valid split")
    test_fold: int = option(10, "fold that is the test split; the other folds are train")


@register_source("ptbxl", dataclass=PtbxlConfig)
class Ptbxl(Source):
    """A statement counts as positive whatever its likelihood, also 0 (unknown), as in the published benchmark."""

    title = "PTB-XL 1.0.3 (physionet.org/content/ptb-xl)"
    layout = "ptbxl_database.csv, scp_statements.csv and records500/ (or records100/)"
    prefix = "ptbxl"
    without_split = "it has no statement of this label set"

    @classmethod
    def locate(cls, folder: Path, cfg: PtbxlConfig) -> Path:
        """SOURCE, or the folder with PTB-XL's table below it; a zip file is unpacked where it lies."""
        archive = folder if folder.suffix == ".zip" and folder.is_file() else None
        place = folder.parent if archive else folder
        if archive is None and not folder.is_dir():
            hint = DOWNLOAD.format(place=place)
            raise ConfigError(f"SOURCE {folder} is not a folder; ptbxl expects {cls.layout}. {hint}")
        archive = archive or next(iter(sorted(folder.glob("ptb-xl*.zip"))), None)
        if archive is not None:
            unpack(archive, place, lambda name: name.endswith(".csv") or f"records{cfg.source_rate}/" in name)
        tables = [path for level in range(5) for path in sorted(place.glob("*/" * level + TABLE))]
        if not tables:
            raise ConfigError(f"there is no {TABLE} in {place} or a folder below. {DOWNLOAD.format(place=place)}")
        return tables[0].parent

    def array_name(self, row: Row) -> str:
        """HR00001.hea.npy: the record's name in the Challenge's copy, which the published splits use."""
        return f"HR{Path(row['path']).name.split('_')[0]}.hea.npy"

    def records(self) -> Table:
        column = "filename_hr" if self.cfg.source_rate == 500 else "filename_lr"
        needed = ["ecg_id", "patient_id", "scp_codes", "strat_fold", column]
        table = read_table(self.folder / TABLE, needed)
        table["strat_fold"] = numbers(table, "strat_fold", self.folder / TABLE, whole=True)
        names = table[column].astype(str)
        table = table.drop(columns=["filename_lr", "filename_hr"], errors="ignore")
        return table.assign(path=names + ".hea", name=[Path(name).name for name in names])

    def statements(self) -> dict[str, str]:
        """Statement -> class, for the statements that belong to the label set."""
        task = self.cfg.labels
        needed = ["code", "diagnostic", "form", "rhythm", *_CLASS_COLUMN.values()]
        table = read_table(self.folder / "scp_statements.csv", needed, unnamed="code")
        if task == "all":
            return {code: code for code in table["code"]}
        flag = task if task in ("form", "rhythm") else "diagnostic"
        table = table[table[flag] == 1]
        classes = table[_CLASS_COLUMN.get(task, "code")]
        return {code: name for code, name in zip(table["code"], classes) if name == name}

    def classes(self, meta: Table) -> list[set[str]]:
        """The classes of every record. A statement that scp_statements.csv lacks is a class of its own in `all`."""
        known = self.statements()
        codes = [parse_literal(text, "scp_codes") for text in meta["scp_codes"]]
        if self.cfg.labels == "all":
            return self._kept([{known.get(code, code) for code in found} for found in codes])
        return self._kept([{known[code] for code in found if code in known} for found in codes])

    def _kept(self, found: list[set[str]]) -> list[set[str]]:
        """Without the rare classes; with `single_label` none for records of several."""
        if self.cfg.min_samples is not None and self.cfg.labels != "diagnostic":
            counts = Counter(name for classes in found for name in classes)
            found = [{name for name in classes if counts[name] > self.cfg.min_samples} for classes in found]
        return [classes if len(classes) == 1 else set() for classes in found] if self.cfg.single_label else found

    def labels(self, meta: Table) -> Table:
        found = self.classes(meta)
        every = set(self.statements().values()) if self.cfg.min_samples is None else set()
        names = sorted(every.union(*found))
        return multi_hot(meta["idx"], [classes or None for classes in found], names)

    def split(self, meta: Table) -> Column:
        folds = {self.cfg.valid_fold: "valid", self.cfg.test_fold: "test"}
        names = meta["strat_fold"].map(lambda fold: folds.get(int(fold), "train")).astype(object)
        return names.where([bool(classes) for classes in self.classes(meta)], None)
