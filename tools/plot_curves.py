"""Draw the curves that the methods' pages in examples/ show, from the metrics.jsonl of two runs.

python tools/plot_curves.py runs/cmsc_rlm runs/cmsc_rlm_diagnosis examples/cmsc/curves.svg
"""

import argparse
import json
from pathlib import Path

import matplotlib
from matplotlib import pyplot


def curve(run: Path, split: str, key: str) -> tuple[list[float], list[float]]:
    """Updates and values of one statistic of one split."""
    rows = [json.loads(line) for line in (run / "checkpoints" / "metrics.jsonl").read_text().splitlines()]
    rows = [row for row in rows if row["split"] == split and row.get(key) is not None]
    return [row["num_updates"] for row in rows], [row[key] for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pretrained", type=Path, help="run folder of the pretraining")
    parser.add_argument("finetuned", type=Path, help="run folder of the fine-tuning, validated on valid and test")
    parser.add_argument("out", type=Path, help="picture to write; its ending says the format")
    arguments = parser.parse_args()
    matplotlib.rcParams.update({"svg.hashsalt": "curves", "svg.fonttype": "none", "font.size": 9})
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 2.8), layout="constrained")
    left.plot(*curve(arguments.pretrained, "train", "loss"), color="#0b6bcb")
    left.set(title=f"pretraining: {arguments.pretrained.name}", xlabel="updates", ylabel="loss")
    for split, colour in (("valid", "#d9480f"), ("test", "#2f9e44")):
        right.plot(*curve(arguments.finetuned, split, "auroc"), color=colour, label=split)
    right.set(title="fine-tuning: finetune/diagnosis", xlabel="updates", ylabel="macro AUROC")
    right.legend(frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(arguments.out, metadata={"Date": None} if arguments.out.suffix == ".svg" else None)


if __name__ == "__main__":
    main()
