"""Chooses the repository's own sample from a downloaded PTB-XL: few records, many labels, all three splits.

    python tools/make_sample.py PTBXL_FOLDER examples/sample --records 92 --seed 0

The records keep PTB-XL's own layout, so `ecg-preprocess ptbxl examples/sample DEST` reads them like the whole set.
"""

import argparse
import ast
import csv
import shutil
from collections import Counter
from pathlib import Path

import numpy as np

SHARES = {"train": 0.6, "valid": 0.2, "test": 0.2}  # of the records; the three splits of the published folds


def split_of(row: dict[str, str]) -> str:
    return {"9": "valid", "10": "test"}.get(row["strat_fold"], "train")


def labels_of(row: dict[str, str]) -> set[str]:
    return set(ast.literal_eval(row["scp_codes"]))


def is_clean(path: Path) -> bool:
    """True when every lead of the record is present and moves."""
    import wfdb

    signal = wfdb.rdrecord(str(path)).p_signal  # [samples, leads], mV
    return bool(np.isfinite(signal).all() and (signal.std(axis=0) > 0).all())


def choose(rows: list[dict[str, str]], wanted: dict[str, int], seed: int) -> list[dict[str, str]]:
    """Greedily the records that add most: a label counts 1/(1+n) when the split already has n records with it.

    Only labels that occur in every split count, so that each of them can be trained, validated and tested.
    """
    order = np.random.default_rng(seed).permutation(len(rows))
    pools = {split: [rows[i] for i in order if split_of(rows[i]) == split] for split in wanted}
    common = set.intersection(*({label for row in pool for label in labels_of(row)} for pool in pools.values()))
    chosen: list[dict[str, str]] = []
    for split, number in wanted.items():
        counts: Counter[str] = Counter()
        pool = pools[split]
        for _ in range(min(number, len(pool))):
            best = max(pool, key=lambda row: sum(1 / (1 + counts[label]) for label in labels_of(row) & common))
            pool.remove(best)
            counts.update(labels_of(best))
            chosen.append(best)
    return sorted(chosen, key=lambda row: int(row["ecg_id"]))


def copy_record(source: Path, dest: Path, name: str) -> None:
    for suffix in (".hea", ".dat"):
        target = (dest / name).with_suffix(suffix)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile((source / name).with_suffix(suffix), target)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, help="folder with ptbxl_database.csv and records500/")
    parser.add_argument("dest", type=Path, help="folder of the sample; its records500/ is replaced")
    parser.add_argument("--records", type=int, default=92, help="how many; about 121 kB each")
    parser.add_argument("--seed", type=int, default=0, help="breaks ties between records that add the same")
    args = parser.parse_args()

    with open(args.source / "ptbxl_database.csv", newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows = [row for row in reader if is_clean(args.source / row["filename_hr"])]
    valid, test = (round(SHARES[split] * args.records) for split in ("valid", "test"))
    chosen = choose(rows, {"train": args.records - valid - test, "valid": valid, "test": test}, args.seed)

    shutil.rmtree(args.dest / "records500", ignore_errors=True)
    for row in chosen:
        copy_record(args.source, args.dest, row["filename_hr"])
    with open(args.dest / "ptbxl_database.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, reader.fieldnames or [], lineterminator="\n")
        writer.writeheader()
        writer.writerows(chosen)
    for name in ("scp_statements.csv", "LICENSE.txt"):
        shutil.copyfile(args.source / name, args.dest / name)
    report(chosen)


def report(chosen: list[dict[str, str]]) -> None:
    counts: dict[str, Counter[str]] = {split: Counter() for split in SHARES}
    for row in chosen:
        counts[split_of(row)].update(labels_of(row))
    print(f"{len(chosen)} records of {len({row['patient_id'] for row in chosen})} patients")
    for label in sorted(set.intersection(*(set(count) for count in counts.values()))):
        print(f"  {label:8}", *(f"{split} {count[label]}" for split, count in counts.items()))


if __name__ == "__main__":
    main()
