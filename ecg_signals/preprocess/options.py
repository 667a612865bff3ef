"""What a user can set for `ecg-preprocess DATASET SOURCE DEST key=value ...`, with defaults and meaning."""

from collections.abc import Mapping, Sequence
from dataclasses import Field, dataclass, fields
from typing import Any, TypeVar, get_type_hints

from ecg_signals.config import BaseConfig, UsageError, option, unknown_message
from ecg_signals.preprocess.executors import place
from ecg_signals.signal.leads import LEADS

FLAGS = ("nan_any", "nan_leads_any", "constant_leads_any", "wrong_checksum")


@dataclass
class PreprocessConfig(BaseConfig):
    """Options that every dataset has. Those of `SIGNAL_OPTIONS` change the stored signals, the others only tables."""

    sample_rate: int = option(500, "Hz of the segments; other rates are resampled linearly")
    segment_seconds: float = option(
        5.0, "length of a segment; a remainder at the end of a record is dropped. 0: the whole record"
    )
    leads: list[str] = option(list(LEADS), "leads to keep, in this order, by name or by number in the standard order")
    standardise: bool = option(True, "z-score every lead over the whole record; false keeps mV")
    constant_leads: str = option(
        "zero",
        "what a flat lead becomes: zero, nan, or constant (its mean-free value)",
        choices=("zero", "nan", "constant"),
    )
    derive_leads: bool = option(False, "fill missing limb leads from two others (Einthoven, Goldberger); else NaN")
    dtype: str = option(
        "float32", "type of the stored signals; float64 as fairseq-signals", choices=("float32", "float64")
    )
    keep_org: bool = option(True, "also write whole records in mV at their own rate to org/")
    keep_preprocessed: bool = option(False, "also write whole resampled, standardised records to preprocessed/")
    filter_cols: list[str] = option(
        ["nan_any"],
        f"records with true in any of these columns of meta.csv get no split; flags: {', '.join(FLAGS)}",
    )
    dataset_subset: list[str] = option([], "values of the column `dataset` that get a split; empty: all")
    label_file: str | None = option(
        None, "CSV of your own labels: a column idx, path or another unique one of meta.csv, then one of 0/1 per label"
    )
    executor: str = option(
        "local",
        "where records are read: local (processes of this machine), submitit (jobs of SLURM; submitit:local tries them "
        "here), dask (a cluster started here), dask:tcp://HOST:PORT (one that runs)",
    )
    executor_options: dict[str, Any] = option(
        {},
        "its options, each as executor.KEY=value: time, partition, mem_gb, ... of submitit; memory_limit, ... of dask",
    )


SIGNAL_OPTIONS = (
    "sample_rate", "segment_seconds", "leads", "standardise", "constant_leads", "derive_leads", "dtype", "keep_org",
    "keep_preprocessed",
)  # fmt: skip


@dataclass
class SplitConfig(PreprocessConfig):
    """For datasets without published splits."""

    fractions: list[float] = option([0.8, 0.1, 0.1], "shares of train, valid and test, counted in patients")
    seed: int = option(0, "of the split; the same seed and records give the same split")


@dataclass
class OwnConfig(SplitConfig):
    """For one's own files."""

    table: str | None = option(
        None, "CSV about the files, with a column path or filename; unset: the .csv in SOURCE that has one, if any"
    )
    labels: list[str] | None = option(
        None, "label columns of the table; unset: all others that hold only 0, 1, true, false"
    )
    shared_patients: bool = option(
        False, "allow a table whose column split puts one patient into several splits; false: that is an error"
    )
    units: str | None = option(
        None, "what the files are in: mV, uV, V, or the size of a count such as 4.88uV; unset: as they say, else mV"
    )
    patient_from_folder: bool = option(False, "a record's folder names its patient, where the table does not")


@dataclass
class OwnArrayConfig(OwnConfig):
    """For one's own files that may not state rate, leads and units."""

    source_rate: float | None = option(None, "Hz of the files, where neither they nor the table's sample_rate say it")
    source_leads: list[str] | None = option(None, "leads of the files in order, where they do not name them")


Options = TypeVar("Options", bound=PreprocessConfig)


def parse_options(words: Sequence[str], config: type[Options]) -> Options:
    """`key=value` words -> options. Raises: UsageError naming the nearest option, ConfigError for a wrong value."""
    hints = get_type_hints(config)
    values: dict[str, Any] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise UsageError(f"'{word}' is not a setting; write key=value, such as sample_rate=500")
        if key.startswith("executor."):
            values.setdefault("executor_options", {})[key.removeprefix("executor.")] = _plain(value)
            continue
        if key not in option_fields(config):
            raise UsageError(unknown_message(f"option '{key}'", key, option_fields(config), "There are"))
        values[key] = _listed(value) if "list[" in str(hints[key]) else value
        if value.lower() in ("null", "none") and "None" in str(hints[key]):
            values[key] = None
    result = config.from_mapping(values)
    _check(result)
    return result


def option_fields(config: type[PreprocessConfig]) -> Mapping[str, Field[Any]]:
    """name -> field of every option of a dataset."""
    return {item.name: item for item in fields(config) if item.name != "_name"}


def _plain(value: str) -> Any:
    """60 -> 60, 1.5 -> 1.5, anything else as it is."""
    try:
        return int(value) if value.isdigit() else float(value)
    except ValueError:
        return value


def _listed(value: str) -> list[str]:
    """ "I,II" or "[I, II]" or "['I', 'II']" -> ["I", "II"]."""
    parts = value.strip().removeprefix("[").removesuffix("]").split(",")
    return [part.strip().strip("'\"") for part in parts if part.strip()]


def _check(cfg: PreprocessConfig) -> None:
    if cfg.sample_rate <= 0:
        raise UsageError(f"sample_rate is {cfg.sample_rate}; it must be above 0, such as sample_rate=500")
    if cfg.segment_seconds and int(cfg.segment_seconds * cfg.sample_rate) < 1:
        raise UsageError(f"segment_seconds is {cfg.segment_seconds}; a segment must hold at least one sample")
    cfg.leads = lead_names(cfg.leads)
    place(cfg.executor, cfg.executor_options)


def lead_names(wanted: Sequence[str]) -> list[str]:
    """Names, with numbers replaced by the lead at that place of the standard order, each once.

    Other names than the standard ones are taken as they are: a record may have MLII.
    """
    from ecg_signals.signal.leads import lead_index

    standard = {name.lower(): name for name in LEADS}
    names = [LEADS[lead_index(name)] if name.isdigit() else standard.get(name.lower(), name) for name in wanted]
    if not names:
        raise UsageError("leads is empty; name at least one, such as leads=I,II,V5")
    return list(dict.fromkeys(names))
