"""ecg-pack: a manifest of files -> a packed store with the same manifest names; what a store holds, if it is whole."""

import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ecg_signals.cli.arguments import Parser, folder
from ecg_signals.cli.running import run_restartable
from ecg_signals.config import ConfigError

Progress = Callable[[int, int], None]

_MEGABYTE = 1 << 20


def main() -> None:
    run_restartable(run)


def parser() -> Parser:
    parser = Parser(
        prog="ecg-pack",
        description="Pack the records that the manifests in MANIFEST_DIR (and its subfolders) name into a few large "
        "shards. DEST gets manifests of the same names: set task.data=DEST and nothing else. A second run makes only "
        "what is missing; records that the manifests name since then go into further shards, the others stay as they "
        "are. `ecg-pack verify STORE` checks every byte of a store, `ecg-pack info STORE` says what it holds.",
        epilog="example: ecg-pack data/manifest /scratch/packed --workers 8",
    )
    parser.add_argument("manifest_dir", metavar="MANIFEST_DIR", type=folder, help="folder of train.tsv, valid.tsv ...")
    parser.add_argument("dest", metavar="DEST", type=folder, help="folder of the packed store")
    parser.add_argument(
        "--dtype", choices=("float32", "int16"), default="float32",
        help="int16 halves the size: nothing is lost of records that are whole counts of a recorder, of others what is "
        "below 1/65534 of a lead's range",
    )  # fmt: skip
    parser.add_argument(
        "--shard-megabytes", type=int, default=1024, metavar="N", help="size of a shard (default: 1024)"
    )
    _add_workers(parser)
    parser.add_argument(
        "--part", type=_share, default=(1, 1), metavar="K/N",
        help="make every N-th shard, from the K-th on; N machines that see MANIFEST_DIR and DEST under the same names "
        "make a store together, and the last one to end joins it",
    )  # fmt: skip
    parser.add_argument("--append", action="store_true", help="add to a store of which the manifests name no record")
    return parser


def parser_of_store(word: str) -> Parser:
    about = {"verify": "Check every shard, the index and the manifests of a packed store.",
             "info": "Say what a packed store holds."}  # fmt: skip
    parser = Parser(prog=f"ecg-pack {word}", description=about[word])
    parser.add_argument("store", metavar="STORE", type=folder, help="folder that ecg-pack wrote")
    if word == "verify":
        _add_workers(parser)
    return parser


def _add_workers(parser: Parser) -> None:
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes (default: 1)")


def _share(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ArgumentTypeError(f"{text!r} is no K/N, such as 1/8 for the first of eight")
    return int(found[1]), int(found[2])


def run(argv: list[str]) -> None:
    """Pack a folder of manifests, or look at a store."""
    if argv[:1] in (["verify"], ["info"]):
        arguments = parser_of_store(argv[0]).parse_args(argv[1:])
        _check_numbers(parser_of_store(argv[0]), arguments)
        print(verify_store(arguments.store, arguments.workers) if argv[0] == "verify" else tell(arguments.store))
        return
    arguments = parser().parse_args(argv)
    _check_numbers(parser(), arguments)
    print(pack(arguments))


def _check_numbers(parser: Parser, arguments: Any) -> None:
    for name in ("shard_megabytes", "workers"):
        if getattr(arguments, name, 1) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")


def pack(arguments: Any) -> str:
    """Pack with a progress bar. Returns: what to print at the end."""
    from ecg_signals.data.pack import pack_manifests

    dest = arguments.dest
    options = {name: getattr(arguments, name) for name in ("dtype", "workers", "part", "append")}
    size = arguments.shard_megabytes * _MEGABYTE
    with _bar(" records") as progress:
        done = pack_manifests(arguments.manifest_dir, dest, shard_bytes=size, progress=progress, **options)
    if done.waiting:
        return (
            f"{dest}: {done.waiting} of {done.shards} shards are not there yet; the run that makes the last of them "
            f"writes the index and the manifests. Run the other parts, then any of them again if need be"
        )
    lines = [f"{dest}: {done.records} records; train on it with task.data={dest}"]
    earlier = done.records - done.added
    if earlier:
        lines.append(f"{earlier} of them were there before, {done.added} are new")
    if done.unnamed:
        lines.append(f"{done.unnamed} of them are not in these manifests; they stay in the shards")
    if done.rounded:
        lines.append(f"{done.rounded} of them are rounded to float32, as their files hold more digits")
    if done.exact is not None:
        lost = done.records - done.exact
        lines.append(f"int16: {done.exact} records exact to the bit, {lost} rounded to 1/65534 of each lead's range")
    return "\n".join(lines)


def verify_store(store: Path, workers: int) -> str:
    """What was found in order. Raises: ConfigError with a line for each fault."""
    from ecg_signals.data.pack_check import verify

    with _bar(" shards") as progress:
        found = verify(store, workers, progress)
    if found.faults:
        lines = "\n".join(f"  {fault}" for fault in found.faults)
        raise ConfigError(f"{store}: {len(found.faults)} fault{'s' * (len(found.faults) != 1)}\n{lines}")
    known = f"; {found.unsigned} shards of an earlier version have no checksum" if found.unsigned else ""
    return (
        f"{store} is whole: {found.shards} shards, {found.records} records and {found.manifests} manifests agree{known}"
    )


def tell(store: Path) -> str:
    from ecg_signals.data.pack_check import info

    return "\n".join(f"{what:12}{text}" for what, text in info(store))


@contextmanager
def _bar(unit: str) -> Iterator[Progress]:
    from tqdm import tqdm

    with tqdm(unit=unit) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress


if __name__ == "__main__":
    main()
