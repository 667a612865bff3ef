"""A dataset's whole records as one array, streamed: what `jepa_dump` and ECG-JEPA's own code read."""

import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ecg_signals.config import ConfigError, UsageError, unknown_message
from ecg_signals.data.conditioning import Conditioning
from ecg_signals.data.members import LeadMoments
from ecg_signals.data.sources.dumps import Dump, DumpNotes, notes_path, read_notes, write_notes
from ecg_signals.files import replacing
from ecg_signals.interop.ecg_jepa.datasets import DATASETS, PublishedDataset, published_name
from ecg_signals.limits import check_no_input
from ecg_signals.preprocess.source import Row, Source
from ecg_signals.preprocess.workers import UNREADABLE
from ecg_signals.processes import by_processes
from ecg_signals.readers.npy_file import HEADER_BYTES, npy_header
from ecg_signals.registry import register_source
from ecg_signals.signal.leads import LEADS, order_leads

SOURCES = {"ptb-xl": "ptbxl", "code-15": "code15", "mimic-iv-ecg": "mimic_iv_ecg"}  # others: the Challenge's headers
CHUNK = 32  # records per task of a worker
SHOWN = 5  # records left out that are named


@dataclass(frozen=True)
class DumpRules:
    """What becomes of every record.

    Attributes:
        dataset: as published, or a registered source.
        variable: records keep their lengths; else those of another length than the first are left out.
        incomplete: of CODE-15 only the records that a dump of one length leaves out.
        fill, steady: bridge gaps; and remove baseline wander.
        dtype: of the dump.
        folds: of PTB-XL, that are taken; empty: all.
    """

    dataset: str
    variable: bool
    incomplete: bool = False
    fill: bool = False
    steady: bool = False
    dtype: str = "float16"
    folds: tuple[int, ...] = ()

    @property
    def published(self) -> PublishedDataset | None:
        return DATASETS.get(self.dataset)


Read = Callable[[Any], "tuple[np.ndarray, float] | str"]  # record -> [samples, leads] and Hz, or why it is left out


def dump_step(source: Path, dest: Path, rules: DumpRules, workers: int = 1, rows_of: Path | None = None) -> str:
    """SOURCE, a dataset's folder or a dump, -> DEST and DEST.json. Returns: a summary in words.

    Args:
        rows_of: a dump of all records of SOURCE, from which they are taken instead of being read again.
    Raises: ConfigError where nothing is left, or records do not fit together.
    """
    given = [source] if source.is_file() else []
    check_no_input([dest, notes_path(dest)], [*given, *([rows_of] if rows_of else [])])
    if source.is_file():
        notes, records, read = _from_dump(source, rules)
    else:
        notes, records, read = _from_folder(source, rules, rows_of)
    left: list[str] = []
    moments = LeadMoments(len(notes.leads or LEADS))
    sizes: list[int] = []
    with dump_writer(dest, np.dtype(rules.dtype)) as write:
        for found in by_processes(read, records, workers, CHUNK):
            reason = found if isinstance(found, str) else _misfit(found, notes, sizes, rules)
            if reason is None:
                signal, notes.sample_rate = found[0], float(found[1])
                write(signal)
                sizes.append(len(signal))
                moments.add(signal.T)
            else:
                left.append(reason)
        if not sizes:
            raise ConfigError(f"{source} gives no record for {dest}: {'; '.join(left[:SHOWN]) or 'it holds none'}")
    notes.records, notes.mean, notes.std = len(sizes), *_rounded(moments, ddof=int(dest.suffix == ".npy"))
    write_notes(dest, notes)
    text = f"{dest}: {len(sizes)} records of {rules.dataset}, {sum(sizes)} samples at {notes.sample_rate:g} Hz"
    return text + (f"; {len(left)} left out: {'; '.join(left[:SHOWN])}" + " ..." * (len(left) > SHOWN) if left else "")


def _rounded(moments: LeadMoments, ddof: int) -> list[list[float] | None]:
    """Mean and deviation; None where a lead has no value, which JSON cannot say."""
    values = [moments.mean, moments.std(ddof)]
    known = bool(np.isfinite(values).all() and (moments.count > ddof).all())
    return [value.tolist() if known else None for value in values]


def _misfit(found: Any, notes: DumpNotes, sizes: Sequence[int], rules: DumpRules) -> str | None:
    """Why a record has no place beside the others."""
    signal, rate = found
    if notes.sample_rate and rate != notes.sample_rate:
        return f"a record has {rate:g} Hz, the first {notes.sample_rate:g} Hz"
    if not rules.variable and sizes and len(signal) != sizes[0]:
        return f"a record has {len(signal)} samples, the first {sizes[0]} (a dump DEST.npz keeps lengths)"
    return None


def _from_dump(path: Path, rules: DumpRules) -> tuple[DumpNotes, Sequence[Any], Read]:
    dump, notes = Dump(path), read_notes(path)
    rate = notes.sample_rate or (rules.published.sample_rate if rules.published else None)
    if rate is None:
        raise ConfigError(f"the sample rate of {path} is not known; name its dataset with --dataset")
    leads = notes.leads or (list(rules.published.leads) if rules.published else list(LEADS))
    removed = notes.baseline_removed or rules.steady
    stated = DumpNotes(dataset=rules.dataset, sample_rate=rate, leads=leads, baseline_removed=removed)
    return stated, range(len(dump)), partial(_read_dump, dump, rate, rules)


def _read_dump(dump: Dump, rate: float, rules: DumpRules, record: int) -> tuple[np.ndarray, float]:
    """In the dump's own type, if that is float16, as published."""
    signal = dump.read(record)
    half = signal.dtype == np.float16 and rules.dtype == "float16"
    return _treated(signal, rate, rules, half, dump.notes.scale), rate


def _treated(signal: np.ndarray, rate: float, rules: DumpRules, half: bool = False, scale: float = 1.0) -> np.ndarray:
    """[leads, samples] -> [samples, leads] of the dump's type; a lead without any value keeps NaN."""
    if rules.fill or rules.steady:
        signal, empty = Conditioning(rate, rate, rules.steady, half, scale)(signal)
        signal[empty] = np.nan
    elif scale != 1.0:
        signal = signal * scale
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(signal.T.astype(rules.dtype, copy=False))


def _from_folder(folder: Path, rules: DumpRules, rows_of: Path | None) -> tuple[DumpNotes, Sequence[Any], Read]:
    name = SOURCES.get(rules.dataset, "physionet2021" if rules.published else rules.dataset)
    entry = register_source.get(name)
    cfg = entry.dataclass.from_mapping({"dtype": "float64"})
    source: Source = entry.cls(entry.cls.locate(folder, cfg), cfg)
    table = source.records()
    leads = list(rules.published.leads if rules.published else LEADS)
    notes = DumpNotes(dataset=rules.dataset, leads=leads, baseline_removed=rules.steady)
    numbers = list(range(len(table)))
    if rules.folds:
        if "strat_fold" not in table:
            raise ConfigError(f"--folds picks rows of ptbxl_database.csv by strat_fold, which {rules.dataset} has not")
        numbers = np.flatnonzero(table["strat_fold"].isin(rules.folds)).tolist()
    if rows_of is not None:
        dump = Dump(rows_of)
        if len(dump) != len(table):
            raise ConfigError(f"{rows_of} holds {len(dump)} records, the table in {folder} {len(table)}: not its dump")
        rate = dump.notes.sample_rate or (rules.published.sample_rate if rules.published else 500.0)
        return notes, numbers, partial(_read_dump, dump, rate, rules)
    rows = table.to_dict("records")
    return notes, [rows[number] for number in numbers], partial(_read_row, entry.cls, source.folder, cfg, leads, rules)


def _read_row(
    kind: type[Source], folder: Path, cfg: Any, leads: Sequence[str], rules: DumpRules, row: Row
) -> tuple[np.ndarray, float] | str:
    """A record as mV, or why it is left out."""
    try:
        record = kind(folder, cfg).read(row)
    except (ConfigError, OSError, *UNREADABLE) as error:
        return f"{row['path']}: {error}"
    published = rules.published
    signal, samples = order_leads(record.signal, record.leads, leads), record.signal.shape[-1]
    if published and samples < published.least_seconds * record.sample_rate:
        return f"{row['path']}: {samples / record.sample_rate:g} s, shorter than {published.least_seconds:g} s"
    if rules.dataset == "code-15":
        complete = trim_leads(signal) and samples == DATASETS["code-15"].samples
        if complete if rules.incomplete else not (complete or rules.variable):
            return f"{row.get('record_id', row['path'])}: {'complete' if complete else 'padded with zeros'}"
    return _treated(signal, record.sample_rate, rules), record.sample_rate


def trim_leads(signal: np.ndarray) -> bool:
    """Whether no lead [leads, samples] begins or ends with an exact zero; zeros there become +0.0, in place."""
    whole = True
    for lead in signal:
        used = np.flatnonzero(lead != 0)
        first, last = (used[0], used[-1] + 1) if len(used) else (0, 0)
        lead[:first] = lead[last:] = 0.0
        whole &= first == 0 and last == len(lead)
    return bool(whole)


@contextmanager
def dump_writer(dest: Path, dtype: np.dtype) -> Iterator[Callable[[np.ndarray], None]]:
    """Takes records [samples, leads] one by one; DEST is there, whole, when the block ends well.

    An .npz needs room for its data twice: the length of the array inside is known only at the end.
    """
    if dest.suffix not in (".npy", ".npz"):
        raise UsageError(f"DEST is {dest}; expected a name that ends in .npy (records of one length) or .npz")
    sizes: list[int] = []
    width: list[int] = []
    place = dest if dest.suffix == ".npy" else dest.with_name(f".{dest.name}.data.npy")
    with replacing(place, durable=dest.suffix == ".npy") as partial_file:
        with partial_file.open("wb") as file:
            file.seek(HEADER_BYTES)

            def write(signal: np.ndarray) -> None:
                file.write(np.ascontiguousarray(signal, dtype=dtype).tobytes())
                sizes.append(len(signal))
                width[:] = [signal.shape[1]]

            yield write
            fixed = dest.suffix == ".npy"
            shape = (len(sizes), sizes[0], *width) if fixed else (sum(sizes), *width)
            file.seek(0)
            file.write(npy_header(shape, dtype))
        if dest.suffix == ".npz":
            _zip(dest, partial_file, np.array(sizes, dtype=np.int64))
    if dest.suffix == ".npz":
        place.unlink()


def _zip(dest: Path, data: Path, sizes: np.ndarray) -> None:
    with (
        replacing(dest, durable=True, needed=data.stat().st_size) as partial_file,
        zipfile.ZipFile(partial_file, "w", zipfile.ZIP_STORED, allowZip64=True) as archive,
    ):
        archive.write(data, "data.npy")
        archive.writestr("sizes.npy", npy_header(sizes.shape, sizes.dtype) + sizes.tobytes())


def statistics_step(path: Path, out: Path | None, ddof: int | None = None) -> DumpNotes:
    """Mean and deviation per lead of a whole dump, streamed, NaN left out; written to `out`, else to <dump>.json.

    Args:
        ddof: what the number of values is lessened by; None: 1 for .npy and 0 for .npz, as published.
    """
    dump = Dump(path)
    moments = LeadMoments(dump.rows)
    for record in range(len(dump)):
        moments.add(dump.read(record) * dump.notes.scale)
    notes = dump.notes
    lessened = int(path.suffix == ".npy") if ddof is None else ddof
    notes.records, notes.mean, notes.std = len(dump), *_rounded(moments, lessened)
    if notes.mean is None:
        raise ConfigError(f"{path} has a lead without any value, so that its statistics are no numbers")
    write_notes(path, notes, out)
    return notes


def dataset_of(source: Path, named: str | None) -> str:
    """The dataset's name: as typed, else by the folder's or the dump's name, as published."""
    known = [*DATASETS, *register_source.names()]
    stem = source.name if source.is_dir() else source.stem.removesuffix("-preprocessed").removesuffix("-split")
    found = named or (read_notes(source).dataset if source.is_file() else None) or published_name(stem)
    if found is None:
        raise UsageError(
            f"{source}: which dataset is it? Its name does not say; add --dataset NAME: {', '.join(known)}"
        )
    if named and named not in known:
        raise UsageError(unknown_message(f"dataset '{named}'", named, known, "There are"))
    return found
