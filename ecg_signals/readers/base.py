"""What a reader of a record format is."""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

from ecg_signals.config import BaseConfig
from ecg_signals.readers.stated import Stated
from ecg_signals.signal.record import Record

HEAD_BYTES = 1 << 15  # of a file that `Reader.sniff` sees; an XML file's comments may come before its root


def read_head(path: Path) -> bytes:
    """The first HEAD_BYTES of an ordinary file. Raises: OSError."""
    with open(path, "rb", buffering=0) as file:
        return file.read(HEAD_BYTES)


class Reader(ABC):
    """Extend it, write `read`, and name it with `@register_reader("name")`; `read_record` then knows the format.

    A record file is a stranger's: nothing in it is believed without a look at the bytes behind it, what is read is
    bounded (`ecg_signals.limits`), and a file that is cut off is a ConfigError that names it.

    Class attributes:
        suffixes: of its files, lower case; none where `sniff` alone decides.
        starts: beginnings of its files, where others have the same suffix; empty: the suffix tells.
        note: what messages say behind the suffixes.
        stated_by: what states rate and leads, so that the caller cannot; empty: the caller may.
        many: a file may hold several records.
        rank: readers are asked in rising order, plugins' before ours. A format comes behind another one whose records
            its files may be parts of. What `sniff` knows is asked of all readers before any suffix counts.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    starts: ClassVar[tuple[bytes, ...]] = ()
    note: ClassVar[str] = ""
    stated_by: ClassVar[str] = ""
    many: ClassVar[bool] = False
    rank: ClassVar[int] = 0
    name: str = ""  # that it is registered by
    ours: bool = False  # no plugin's

    def __init__(self, cfg: BaseConfig) -> None:
        self.cfg = cfg

    @classmethod
    def by_content_alone(cls) -> bool:
        """Whether `recognise` adds nothing to what `sniff` says of an existing file."""
        return not cls.suffixes and cls.recognise is Reader.recognise

    def sniff(self, head: bytes) -> bool:
        """Whether a file is of this format, whatever its name, by its first HEAD_BYTES. Here: never."""
        return False

    def sniffed(self, path: Path, head: bytes) -> Any:
        """What `read` gets of an existing file whose content begins with `head`; None for another."""
        return path if self.sniff(head) else None

    def recognise(self, path: Path) -> Any:
        """What `read` gets of a file of this format, None for another. Here: the path, by suffix and first bytes, and
        by `sniff` where there is no suffix.
        """
        if not self.suffixes:
            return path if path.is_file() and self.sniff(read_head(path)) else None
        if path.suffix.lower() not in self.suffixes or not path.is_file():
            return None
        if self.starts:
            with path.open("rb") as file:
                if not file.read(max(map(len, self.starts))).startswith(self.starts):
                    return None
        return path

    @abstractmethod
    def read(self, found: Any, id: int | str | None, stated: Stated) -> Record:
        """The record as [leads, samples] in mV, NaN where the file has no value.

        Args:
            found: what `recognise` gave.
            id: which record, of a format that holds many.
            stated: what the caller says of rate, leads and units, and the precision to compute in; see
                `ecg_signals.readers.stated.array_record`.
        Raises: ConfigError naming the file and what is wrong with it.
        """
