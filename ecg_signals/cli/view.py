"""ecg-view: a record file as a sheet of ECG paper."""

import argparse
import warnings
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from ecg_signals.cli.arguments import Parser, add_reading, names, reading
from ecg_signals.cli.running import run_command
from ecg_signals.limits import check_no_input, name_below
from ecg_signals.sheet.arrangement import LAYOUTS
from ecg_signals.sheet.paper import PAGES, Sheet
from ecg_signals.sheet.style import TINTS, Style
from ecg_signals.sheet.waves import PANEL, with_waves
from ecg_signals.sheet.write import DPI, KINDS, check_kind, write
from ecg_signals.signal.record import Record

if TYPE_CHECKING:
    from ecg_signals.inference.waves import Waves


def main() -> None:
    run_command(run)


def parser() -> Parser:
    parser = Parser(
        prog="ecg-view",
        description="Draw a record to scale on A4 or letter paper: 25 mm/s and 10 mm/mV, with a calibration pulse in "
        "front of every row. No trace is cut: where 10 mm/mV does not fit, the sheet has less and says so. Nothing of "
        "the patient is shown unless --patient is given.",
        epilog="example: ecg-view records500/00000/00001_hr --out 00001.pdf",
    )
    parser.add_argument("record", metavar="RECORD", help="a record file in any format that ecg-predict reads")
    parser.add_argument("--out", metavar="FILE", help=f"{', '.join(KINDS)}; NAME.pdf in this folder if left out")
    parser.add_argument("--layout", choices=[*LAYOUTS], default="3x4", help="rows x columns (default: 3x4)")
    parser.add_argument("--rhythm", metavar="LEADS", help="strips below, such as II,V1; or none (3x4: II)")
    parser.add_argument("--speed", type=float, metavar="MM", help="mm/s (default: 25)")
    parser.add_argument("--gain", type=float, default=10.0, metavar="MM", help="mm/mV: 20, 10, 5, 2.5 (default: 10)")
    parser.add_argument("--page", choices=[*PAGES], default="a4", help="landscape paper (default: a4)")
    parser.add_argument("--grid", choices=TINTS, default="pink", help="colour of the paper's lines (default: pink)")
    parser.add_argument("--start", type=float, default=0.0, metavar="S", help="second at which the sheet begins")
    parser.add_argument("--pages", default="1", metavar="N", help="pages of a long record, or all (default: 1)")
    parser.add_argument("--derive", action="store_true", help="compute limb leads that are missing, and mark them")
    parser.add_argument("--patient", action="store_true", help="show what the file says of the patient")
    parser.add_argument("--waves", metavar="MODEL", help="mark the waves that this model finds (examples/segmentation)")
    parser.add_argument("--wave-table", metavar="FILE", help="also write them: lead, wave, first and last second; .csv")
    parser.add_argument("--dpi", type=float, default=DPI, metavar="N", help=f"of a .png (default: {DPI:g})")
    add_reading(parser)
    return parser


def run(argv: list[str]) -> None:
    """Draw the record and print the names of the files."""
    arguments = parser().parse_args(argv)
    for path in view(arguments, _style(arguments)):
        print(path)


def view(arguments: argparse.Namespace, style: Style) -> list[Path]:
    """Draw one record. Returns: the files that were written."""
    from ecg_signals.quality.assess import assess
    from ecg_signals.readers.read import read_record
    from ecg_signals.sheet.layout import pages

    name = Path(arguments.record).name
    out = Path(arguments.out or f"{name_below(name)}.pdf")
    check_kind(out)
    table = [Path(arguments.wave_table)] if arguments.wave_table else []
    check_no_input([out, *table], [Path(arguments.record)])
    record = read_record(arguments.record, **reading(arguments), personal=style.patient)
    line = assess(record, scale_stated=arguments.units is not None).headline()
    if line:
        warnings.warn(f"{arguments.record}: {line}", stacklevel=2)
    sheets: Iterator[Sheet] = pages(record, style, name, line)
    if arguments.waves:
        waves = find_waves(arguments.waves, record)
        sheets = (with_waves(sheet, waves) for sheet in sheets)
        for path in table:
            write_wave_table(path, waves)
    count = None if arguments.pages == "all" else int(arguments.pages)
    return [*write(islice(sheets, count), out, arguments.dpi, "Give --out another file"), *table]


def find_waves(model: str, record: Record) -> "Waves":
    """What a model that marks waves says of a record."""
    from ecg_signals.inference.waves import open_delineator

    return open_delineator(model)(record)


def write_wave_table(path: Path, waves: "Waves") -> None:
    """A row per lead and wave, in the order of time."""
    import pandas as pd

    from ecg_signals.tables import write_table

    rows = [(lead, wave, *span) for lead, found in waves.items() for wave, spans in found.items() for span in spans]
    table = pd.DataFrame(rows, columns=["lead", "wave", "first_second", "last_second"])
    order = table.assign(lead=table["lead"].map({lead: number for number, lead in enumerate(waves)}))
    write_table(path, table.loc[order.sort_values(["lead", "first_second"]).index])


def _style(arguments: argparse.Namespace) -> Style:
    if arguments.pages != "all" and not (arguments.pages.isdecimal() and int(arguments.pages)):
        parser().error(f"--pages {arguments.pages}: a number, or all")
    if not 10 <= arguments.dpi <= 1200:
        parser().error(f"--dpi {arguments.dpi:g}: 10 to 1200")
    if arguments.wave_table and not arguments.waves:
        parser().error("--wave-table needs --waves MODEL")
    if arguments.wave_table and Path(arguments.wave_table).suffix in KINDS:
        parser().error(f"--wave-table {arguments.wave_table}: a table, such as waves.csv")
    strips = {None: None, "none": ()}.get(arguments.rhythm, tuple(names(arguments.rhythm or "")))
    return Style(
        layout=arguments.layout, rhythm=strips, speed=arguments.speed, gain=arguments.gain, page=arguments.page,
        tint=arguments.grid, start=arguments.start, patient=arguments.patient, derive=arguments.derive,
        panel=PANEL if arguments.waves else 0.0,
    )  # fmt: skip


if __name__ == "__main__":
    main()
