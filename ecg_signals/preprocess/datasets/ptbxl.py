"""PTB-XL: 21,799 records of 10 s with SCP-ECG statements and ten folds."""

from dataclasses import dataclass
from pathlib import Path

from ecg_signals.config import ConfigError, option, parse_literal
from ecg_signals.data.ptbxl_statements import TASKS, Statement, class_of, label_sets
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

    def statements(self) -> dict[str, Statement]:
        """What scp_statements.csv says of every code."""
        needed = ["code", "diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass"]
        table = read_table(self.folder / "scp_statements.csv", needed, unnamed="code")
        flags = [table[key] == 1 for key in needed[1:4]]
        return dict(zip(table["code"], map(Statement, *flags, *(table[key].fillna("") for key in needed[4:]))))

    def classes(self, meta: Table) -> list[set[str]]:
        """The classes of every record."""
        codes = [parse_literal(text, "scp_codes") for text in meta["scp_codes"]]
        least = 0 if self.cfg.min_samples is None else self.cfg.min_samples + 1
        return label_sets(codes, self.cfg.labels, self.statements(), least=least, single=self.cfg.single_label)

    def labels(self, meta: Table) -> Table:
        found = self.classes(meta)
        every = set(class_of(self.cfg.labels, self.statements()).values()) if self.cfg.min_samples is None else set()
        names = sorted(every.union(*found))
        return multi_hot(meta["idx"], [classes or None for classes in found], names)

    def split(self, meta: Table) -> Column:
        folds = {self.cfg.valid_fold: "valid", self.cfg.test_fold: "test"}
        names = meta["strat_fold"].map(lambda fold: folds.get(int(fold), "train")).astype(object)
        return names.where([bool(classes) for classes in self.classes(meta)], None)
