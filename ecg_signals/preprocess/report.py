"""The closing table: what was kept, what was left out and why."""

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from ecg_signals.tables import Column, Table, write_table

WIDTH = 240  # letters of a remark
_SPECIFIC = re.compile(r"\S*[/.]\S+|\b(?:I{1,3}|aV[RLF]|V[1-6])\b,?|[\d.,+-]+")  # paths, leads, numbers
SHOWN = 10  # reasons and labels printed one by one; skipped.csv has them all
MEANING = {
    "unreadable": "not in meta.csv",
    "too short": "in meta.csv and org/, no segment",
    "left out": "in meta.csv, org/ and segmented/, in no split and no manifest",
    "flagged": "used, but worth a look; filter_cols=FLAG,... leaves such records out",
}


@dataclass
class Report:
    """Counts of one run; `write` stores the reasons in DEST/skipped.csv, `text` is what the command prints."""

    dest: Path
    total: int
    splits: tuple[str, ...]
    skipped: list[tuple[int, str, str, str]] = field(default_factory=list)  # idx, path, kind, reason
    records: Counter[str] = field(default_factory=Counter)
    segments: Counter[str] = field(default_factory=Counter)
    pairs: dict[str, int] = field(default_factory=dict)
    kept: int = 0
    notes: int = 0
    kinds: Counter[str] = field(default_factory=Counter)  # the first of each kind -> records with one of that kind
    labels: int | None = None
    without_positives: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)  # about tables and splits, each one sentence

    @property
    def path(self) -> Path:
        return self.dest / "skipped.csv"

    def skip(self, idx: int, path: str, kind: str, reason: str) -> None:
        self.skipped.append((int(idx), path, kind, reason))

    def count(self, meta: Table, meta_split: Table, segment_split: Table) -> None:
        self.kept = len(meta)
        self.records.update(meta_split["split"])
        self.segments.update(segment_split["split"])

    def add_notes(self, notes: Column) -> None:
        """Count what reading the records gave rise to; remarks that differ in names and numbers are of one kind."""
        first: dict[str, str] = {}
        for text in notes.fillna(""):
            if text:
                self.notes += 1
                self.kinds[first.setdefault(_SPECIFIC.sub("", text), text)] += 1

    def write(self) -> None:
        import pandas as pd

        write_table(self.path, pd.DataFrame(sorted(self.skipped), columns=["idx", "path", "kind", "reason"]))

    def text(self) -> str:
        lines = [f"{self.total} records found, {self.kept} read -> {self.dest}", "", *self._split_lines()]
        told = [*self._skipped_lines(), *self._label_lines(), *self._note_lines()]
        remarks = ["", *(f"note: {text}" for text in self.remarks)] if self.remarks else []
        return "\n".join([*lines, *told, *remarks])

    def _split_lines(self) -> list[str]:
        lines = [f"  {'split':12}{'records':>10}{'segments':>10}{'CMSC pairs':>12}"]
        for split in self.splits:
            pairs = self.pairs.get(f"{split}.tsv", 0)
            lines.append(f"  {split:12}{self.records[split]:>10}{self.segments[split]:>10}{pairs:>12}")
        return lines

    def _skipped_lines(self) -> list[str]:
        if not self.skipped:
            return ["", "nothing was skipped, nothing was flagged"]
        counts = Counter(kind for _, _, kind, _ in self.skipped)
        lines = ["", *(f"  {kind:12}{counts[kind]:>10}  {MEANING[kind]}" for kind in MEANING if counts[kind])]
        order = sorted(self.skipped, key=lambda entry: (list(MEANING).index(entry[2]), entry[0]))
        lines += [f"    {path}: {reason}" for _, path, _, reason in order[:SHOWN]]
        more = len(self.skipped) - SHOWN
        return [*lines, *([f"    and {more} more"] if more > 0 else []), f"  all of them: {self.path}"]

    def _label_lines(self) -> list[str]:
        if self.labels is None:
            return ["", "no labels; give some with label_file=FILE.csv"]
        lines = ["", f"{self.labels} labels -> {self.dest / 'labels'}"]
        if self.without_positives:
            names = ", ".join(self.without_positives)
            lines.append(f"  without training positives, weight 1.0 in pos_weight.txt: {names}")
        return lines

    def _note_lines(self) -> list[str]:
        if not self.notes:
            return []
        lines = ["", f"{self.notes} records have a remark, see the column notes of meta.csv; such as"]
        lines += [f"  {count:>6}  {text[:WIDTH]}" for text, count in self.kinds.most_common(SHOWN)]
        more = len(self.kinds) - SHOWN
        return [*lines, *([f"    and {more} more kinds"] if more > 0 else [])]
