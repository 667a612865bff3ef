"""What a stranger's file may ask for: one place that says which sizes and paths are believed.

A file states sizes and names; neither decides how much memory is taken or where something is read or written. A size
is held against the bytes that are there and against the bounds below. docs/limits.md lists them for users.
"""

import json
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from ecg_signals.config import ConfigError

# Checkpoints. Published files stay below a hundredth of each; beyond them a small file could cost minutes or gigabytes.
MAX_ARCHIVE_DIRECTORY = 4 << 20  # bytes of a zip's list of members: about 40,000 tensors
MAX_PICKLE_BYTES = 128 << 20  # the pickled part of a torch.save file, without the tensors
MAX_PICKLE_STEPS = 500_000  # instructions; a copied element counts as one, a tensor as 20
MAX_PICKLE_TEXT = 64 << 20  # characters in all
MAX_INTEGER_BITS = 512  # random states have 128; arithmetic and printing of long integers is quadratic
MAX_LINE = 1 << 20  # bytes of a line of text in a pickle
MAX_KEY_LENGTH = 1024  # characters of a key; equal long keys are compared character by character
MAX_NUMBER_KEYS = 5_000  # keys that are neither text nor count the keys: their hashes can be made to collide
MAX_NESTING = 100  # containers inside containers
MAX_NODES = 500_000  # values of a file, counted each time they are named
MAX_REPEATS = 4  # bytes of tensors and texts, counted each time they are named, over the bytes of the file
SLACK_BYTES = 64 << 20  # what a file may claim over its own size, for tensors that are views of one number
MAX_JSON_BYTES = 4 << 20  # config.json and the index of a Hugging Face folder
MAX_SAFETENSORS_HEADER = 4 << 20  # bytes; about 40,000 tensors
MAX_PARTS = 1000  # files that hold the weights of one Hugging Face folder
MODULES_PER_TENSOR = 50  # parts of a model, over the number of tensors that its file holds
MAX_WINDOW_SAMPLES = 10_000_000  # of an input contract: 2 h 45 min at 1000 Hz

# Recipes. The longest published one has 5 kB; a thousand labels' weights have 20.
MAX_RECIPE_BYTES = 256 << 10
MAX_RECIPE_VALUES = 20_000  # keys and values, aliases written out
MAX_RECIPE_NESTING = 30  # levels
MAX_RECIPE_FILES = 100  # that one recipe draws in
MAX_RECIPE_COPIES = 1000  # of one value, through references such as ${task.data}
MAX_FOLDER_ENTRIES = 10_000  # looked at for the names of recipes

# Tables. The widest published one has some 1,300 columns, the largest 250 MB.
MAX_TABLE_COLUMNS = 16_384  # as many as a spreadsheet takes
MAX_TABLE_BYTES = 4 << 30  # also of one that a .gz holds
MAX_TABLE_LINE = 16 << 20  # bytes
MAX_GZIP_FILES = 1000  # gzip files behind each other in one
MAX_ROWS_PER_LABELLED = 1000  # rows of y.npy for each labelled record, 10,000 more; idx decides how many there are

# A store on a server. The index of ten million records has some 1.5 GB, a batch of 64 pairs 15 MB.
MAX_REMOTE_FILE = 16 << 30  # bytes of an index or a manifest, which are copied to the local cache
MAX_REMOTE_BATCH = 2 << 30  # bytes of records that are asked for together
REMOTE_SECONDS = 120  # for one call, of all ranges of a batch or of 8 MiB of a file

# A data set's zip file, which the published ones unpack to twice its size, and a table in a .gz
MAX_UNPACKED_PER_BYTE = 20
MAX_UNPACKED_MORE = 64 << 20  # bytes, for small archives

# Control characters but tab and line feed, marks that turn the direction of writing, and halves of characters.
_CONTROL = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
SHOWN = 100  # characters of a stranger's text in a message

_PLAIN_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,200}")

# Records and tables
FREE_BYTES = 192 * 2**20  # any file may become this much in memory: an hour of 12 leads at 1000 Hz
EXPANSION = 16  # above that: bytes in memory per stored byte; deflated ECG gains 2 to 6, a bomb about 1000
HEADER_BYTES = 4 * 2**20  # of a .hea file; 150,000 segments, more than the longest MIMIC record has
MOST_SIGNALS = 4096  # of one record or columns of a table; body surface maps have 256
LONGEST_HEADER_LINE = 1024  # characters; the work of reading a number grows with the square of its digits
LONGEST_LINE = 2**19  # characters of a table's line: 4096 columns of 128
MOST_COMMENTS = 1000  # lines before a table
LONGEST_NAME = 256  # characters of a lead's, a column's or a file's name
LONGEST_TEXT = 10**6  # characters of a text in a .mat file
MOST_CELLS = 100_000  # elements of all cells and structs of a .mat file; an annotated day has as many beats
MOST_ENTRIES = 1000  # arrays of an .npz file; names of an HDF5 file that are listed
DEEPEST = 16  # cells in cells in cells of a .mat file
LOWEST_RATE, HIGHEST_RATE = 1.0, 1e6  # Hz; resampling makes samples of the first, the second is beyond any recorder
MAX_VENDOR_BYTES = 512 << 20  # of a file of a recorder's format; a day of three leads at 1000 Hz
MOST_LEAD_SAMPLES = 10_000_000  # of one lead of such a file: 2 h 45 min at 1000 Hz
MOST_HOLTER_SAMPLES = 100_000_000  # where a file's samples lie bare in it (DICOM, EDF, ISHNE): a day at 1000 Hz
MOST_LEADS = 64  # of such a file
UNPACKED_PER_PACKED = 50  # bytes of a packed waveform; a flat lead of Philips' gains 60, so a MiB is free
MOST_XML_ELEMENTS = 200_000  # ten times those of the largest known record
DEEPEST_XML = 64  # elements inside elements; HL7's nest 20
MOST_DICOM_ELEMENTS = 10_000  # at the top of a data set
MOST_DICOM_ITEMS = 50_000  # of all sequences; every annotated beat has some
MOST_ANNOTATIONS = 100_000  # of one record; a day has as many beats
MOST_CHUNKS = 65_536  # of an HDF5 dataset that one record lies in; each costs a look-up


def believable(size: int, stored: int, what: str) -> None:
    """Refuses a size that a file states without having the bytes for it.

    Args:
        size: bytes that would be taken in memory.
        stored: bytes on the disk that stand for them.
        what: subject of the message, such as "r.mat: its array feats".
    Raises: ConfigError when `size` is above both FREE_BYTES and EXPANSION times `stored`.
    """
    if size > max(FREE_BYTES, EXPANSION * stored):
        raise ConfigError(
            f"{what} would take {size:,} bytes in memory, but only {stored:,} bytes are stored for it; at most "
            f"{EXPANSION} times as much is believed (docs/limits.md). Check the file, or store it uncompressed"
        )


def read_regular(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """The content of an ordinary file of at most `most` bytes.

    Raises: ConfigError for anything but an ordinary file, and for a larger one; OSError if it cannot be opened.
    """
    size = size_of(path)
    if most is not None and size > most:
        raise ConfigError(f"{path} has {size:,} bytes; at most {most:,} are believed (docs/limits.md)")
    handle = os.open(path, os.O_RDONLY)  # for small files, Python's own takes a sixth longer
    try:
        content = os.read(handle, size)
        while len(content) < size and (more := os.read(handle, size - len(content))):
            content += more
        return content
    finally:
        os.close(handle)


def regular_file(path: str | os.PathLike[str]) -> Path:
    """`path`, when it leads to an ordinary file; a FIFO or a device could block for ever or never end.

    Raises: ConfigError naming what it is instead.
    """
    found = Path(path)
    try:
        mode = found.stat().st_mode
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{found} cannot be read ({reason}); check the path") from None
    if stat.S_ISREG(mode):
        return found
    kinds = ((stat.S_ISDIR, "a folder"), (stat.S_ISFIFO, "a named pipe"), (stat.S_ISSOCK, "a socket"))
    kind = next((name for test, name in kinds if test(mode)), "a device")
    raise ConfigError(f"{found} is {kind}, not an ordinary file; give the file itself, or copy its content into one")


def size_of(path: str | os.PathLike[str]) -> int:
    """Bytes of an ordinary file, before it is opened.

    Raises: ConfigError for anything else; OSError for what is missing, for callers with a message of their own.
    """
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        regular_file(path)
    return found.st_size


def path_below(folder: Path, name: str, source: object) -> Path:
    """folder / name for a name that a file states; the result lies below `folder`, by its text and on the disk.

    Args:
        folder: where the result must lie.
        name: a relative path out of a table, a header, an archive or a label; "/" and "\\" both separate.
        source: what states the name, for the error message.
    Raises: ConfigError for an absolute name, one that climbs with "..", one without any part, and one that a link
        leads elsewhere.
    """
    result = folder.joinpath(*_relative_parts(folder, name, source))
    if not result.resolve().is_relative_to(folder.resolve()):
        raise ConfigError(f"{source} names {name!r}, which a link leads out of {folder}; copy the file into it")
    return result


def read_json(path: Path) -> Any:
    """The content of a JSON file of at most MAX_JSON_BYTES. Raises: ConfigError naming the file."""
    try:
        return json.loads(read_regular(regular_file(path), MAX_JSON_BYTES))
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not JSON: {error}. Copy or download it again") from None


def check_safetensors(path: Path) -> None:
    """Raises: ConfigError for anything but an ordinary file whose safetensors header may be read."""
    with regular_file(path).open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
    if header > MAX_SAFETENSORS_HEADER:
        raise ConfigError(f"{path} states a header of {header:,} bytes; it is damaged, or no safetensors file")


def printable(text: object) -> str:
    """A text for the console or a log: what would move the cursor, colour or reorder it is spelt out."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode("ascii"), str(text))


def shown(text: object, most: int = SHOWN) -> str:
    """A stranger's text for a message or a log: one short line without control characters."""
    whole = str(text)
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in whole[:most])
    return line if len(whole) <= most else f"{line}..."


def name_below(path: str) -> str:
    """A path of an input as a relative one, to name an output after it.

    It stays below whatever folder it is joined to: /a/b gives _root/a/b, and ../a gives _up/a. Characters that would
    break a line or a column of a table, or that no file system takes, become _.
    """
    text = re.sub(r"[\0-\x1f\x7f\ud800-\udfff]", "_", path.replace("\\", "/"))
    text = re.sub(r"^([A-Za-z]):", r"/\1", text)
    parts = ["_up" if part == ".." else part for part in text.split("/") if part not in ("", ".")]
    return "/".join((["_root"] if text.startswith("/") else []) + parts)


def check_no_input(outputs: Iterable[Path], inputs: Iterable[Path]) -> None:
    """Raises: ConfigError when a file to be written is one that is read, also by another name (a link)."""
    read = list(inputs)
    for output in outputs:
        for given in read:
            if output.exists() and given.exists() and output.samefile(given):
                raise ConfigError(
                    f"{output} would be written over the input {given}; nothing was written. Choose another place"
                )


def file_beside(owner: Path, name: str) -> Path:
    """The file that the file `owner` calls `name`, below the folder of `owner`; it need not exist.

    A link may lead out of that folder in three cases, in which a stranger who sent the folder gains nothing: to the
    real folder of `owner`, which is a link itself; to a store that holds the real `owner` too but not the folder (DVC
    and Hugging Face caches keep the files of a data set so); and to the git-annex objects of the repository that the
    folder is in, whose names are hashes of their content.

    Raises: ConfigError as `path_below` does.
    """
    folder = owner.parent
    parts = _relative_parts(folder, name, owner)
    found = folder.joinpath(*parts)
    if len(parts) == 1 and not found.is_symlink():
        return found
    home, real, here = owner.resolve(), found.resolve(), folder.resolve()
    repository, annexed, _ = real.as_posix().partition("/.git/annex/objects/")
    if annexed and here.is_relative_to(repository):
        return found
    if owner.is_symlink():
        store = os.path.commonpath([home, real])
        if real.is_relative_to(home.parent) or not here.is_relative_to(store):
            return found
    return path_below(folder, name, owner)


def _relative_parts(folder: Path, name: str, source: object) -> tuple[str, ...]:
    if _PLAIN_NAME.fullmatch(name):
        return (name,)
    windows = PureWindowsPath(name)
    parts = PurePosixPath(name.replace("\\", "/")).parts
    if windows.drive or windows.root or not parts or ".." in parts or "\0" in name:
        raise ConfigError(
            f"{source} names {name[:80]!r}, which does not lie below {folder}; write a path relative to it"
        )
    if len(name.encode("utf-8", "surrogatepass")) > LONGEST_NAME - 1:
        raise ConfigError(f"{source} names {name[:80]!r} ..., which is too long for a file's name; shorten it")
    return parts
