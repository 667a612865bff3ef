"""ecg-pack: a manifest of files -> a packed store with the same manifest names."""

from ecg_signals.cli.app import run_command
from ecg_signals.cli.arguments import Parser


def main() -> None:
    run_command(run)


def parser() -> Parser:
    parser = Parser(
        prog="ecg-pack",
        description="Pack the records that the manifests in MANIFEST_DIR (and its subfolders) name into a few large "
        "shards. DEST gets manifests of the same names: set task.data=DEST and nothing else. A second run makes only "
        "what is missing.",
        epilog="example: ecg-pack data/manifest /scratch/packed",
    )
    parser.add_argument("manifest_dir", metavar="MANIFEST_DIR", help="folder of train.tsv, valid.tsv ...")
    parser.add_argument("dest", metavar="DEST", help="folder of the packed store")
    parser.add_argument(
        "--dtype", choices=("float32", "int16"), default="float32", help="int16 halves the size, with a scale per lead"
    )
    parser.add_argument(
        "--shard-megabytes", type=int, default=1024, metavar="N", help="size of a shard (default: 1024)"
    )
    return parser


def run(argv: list[str]) -> None:
    """Pack a folder of manifests."""
    arguments = parser().parse_args(argv)
    if arguments.shard_megabytes < 1:
        parser().error("--shard-megabytes must be at least 1")
    print(pack(arguments.manifest_dir, arguments.dest, arguments.dtype, arguments.shard_megabytes << 20))


def pack(manifest_dir: str, dest: str, dtype: str, shard_bytes: int) -> str:
    """Pack with a progress bar. Returns: what to print at the end."""
    from tqdm import tqdm

    from ecg_signals.data.pack import pack_manifests

    with tqdm(unit=" records") as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        records = pack_manifests(manifest_dir, dest, dtype=dtype, shard_bytes=shard_bytes, progress=progress)
    return f"{dest}: {records} records; train on it with task.data={dest}"


if __name__ == "__main__":
    main()
