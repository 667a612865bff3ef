"""ecg-convert: any checkpoint that load_model reads, in any registered layout."""

from ecg_signals.cli.arguments import Parser, taken
from ecg_signals.cli.running import load_plugins, run_command
from ecg_signals.registry import register_layout

TARGETS = ("fairseq", "hf", "original")


def main() -> None:
    run_command(run)


def parser() -> Parser:
    parser = Parser(
        prog="ecg-convert",
        description="Convert any checkpoint that ecg_signals.load_model reads. Weights stay the same bit by bit.",
        epilog="examples: ecg-convert checkpoint_best.pt my_model --to hf; ecg-convert my_model back.pt --to fairseq",
    )
    parser.add_argument("source", metavar="SOURCE", help="checkpoint file, Hugging Face folder, or org/name on the hub")
    parser.add_argument("dest", metavar="DEST", help="folder for hf, else a file")
    parser.add_argument(
        "--to",
        required=True,
        choices=(*TARGETS, *register_layout.names()),
        help="fairseq: a fairseq-signals .pt that says all that ours say; hf: a Hugging Face folder; original: the "
        "published layout of the model's own family; or a registered layout (`ecg-list layout`)",
    )
    parser.add_argument(
        "--minify", action="store_true", help="the encoder alone, without a head or what only pretraining needs"
    )
    parser.add_argument("--user-dir", metavar="PATH", help="folder or module that registers the model, if your own")
    return parser


def run(argv: list[str]) -> None:
    """Convert one checkpoint. Raises: ConfigError for what cannot be read or written."""
    load_plugins(taken(argv)[0])  # their layouts are choices too
    arguments = parser().parse_args(argv)
    from ecg_signals.checkpoint.convert import convert

    done = convert(arguments.source, arguments.dest, arguments.to, minify=arguments.minify)
    labels = f", {len(done.labels)} labels" if done.labels else ""
    print(f"{done.dest}: {done.name}, {done.weights:,} weights{labels}; read back and equal bit by bit")
    if done.optimizer_left:
        print(
            f"the optimizer's state is not in {done.dest}, as its layout has no place for that of {arguments.source}: "
            f"to resume training keep {arguments.source}"
        )


if __name__ == "__main__":
    main()
