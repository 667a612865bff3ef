"""Make the pictures of README.md, from what `make demo` left in runs/demo: needs Chromium.

python tools/make_pictures.py
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "examples/sample/records500/00000/00017_hr"
OUT = ROOT / "examples" / "demo"
COLOURS = 64  # lines and text need no more, and the files become a quarter as large
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --hide-scrollbars"
)


def store(source: Path, target: Path, height: int | None = None) -> None:
    """A smaller copy of a picture: its upper `height` pixels in few colours."""
    picture = Image.open(source).convert("RGB")
    picture = picture.crop((0, 0, picture.width, min(height or picture.height, picture.height)))
    picture.quantize(COLOURS, Image.Quantize.FASTOCTREE).save(target, "PNG", optimize=True)
    print(f"{target.relative_to(ROOT)}: {picture.width} x {picture.height}, {target.stat().st_size // 1024} kB")


def main() -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome") or sys.exit("there is no chromium")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model = ROOT / "runs/demo/finetune/checkpoints/checkpoint_best.pt"
        predict = Path(sys.executable).with_name("ecg-predict")
        words = [predict, RECORD.relative_to(ROOT), "--model", model, "--plot", folder]
        subprocess.run(words, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
        store(folder / f"{RECORD.name}.png", OUT / "sheet.png")
        shot = folder / "page.png"
        words = [browser, *FLAGS.split(), f"--user-data-dir={folder}/profile", "--window-size=1280,1100"]
        page = (ROOT / "runs/demo/report.html").as_uri()
        subprocess.run([*words, f"--screenshot={shot}", page], check=True, capture_output=True)
        store(shot, OUT / "page.png", height=1100)


if __name__ == "__main__":
    main()
