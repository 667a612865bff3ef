"""Why a model answers as it does: what its answer loses when a part of the record is replaced by the lead's mean.

Occlusion asks the model itself, label by label and lead by lead. Gradients mostly show the signal (their maps outlive a
shuffling of all weights), and attention is the same for every label.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

CELL_SECONDS = 0.25
BATCH = 64  # windows per forward pass
MOST_WINDOWS = 12  # of a long record: those with the highest answers are explained
LARGE, FEW_LEADS = 20e6, 3  # parameters of a model that on a CPU is asked for the cells of so many leads alone
SHOWN_SHARE = 0.1  # of all cells: the best ones, whose joint deletion is the check
DRAWS = 8  # of as many random cells
FACTOR, LEAST = 2.0, 0.01  # a reason's cells must lose so many times what random ones lose, and so many logits

Piece = tuple[int, int, int, int]  # window, lead, first and last sample (exclusive) that are replaced
Answer = Callable[[Tensor], float]


@dataclass(frozen=True)
class Reason:
    """What one label's answer rests on; all values in logits, positive where the part speaks for the label.

    Attributes:
        label: its name.
        seconds: length of a cell.
        leads: by name, what is lost without the whole lead.
        cells: by name of the lead, begin and end in seconds of the record and what is lost without this part of it.
        count: cells that speak most for the label, a tenth of all at most.
        lost: what is lost without all of them; `random`: without as many random ones, the mean of DRAWS.
        windows: that were asked, of `of_windows` that the record has.
    """

    label: str
    seconds: float
    leads: dict[str, float]
    cells: dict[str, list[tuple[float, float, float]]]
    count: int
    lost: float
    random: float
    windows: int
    of_windows: int

    @property
    def stable(self) -> bool:
        """Whether deleting the best cells costs clearly more than deleting others."""
        return self.lost >= max(LEAST, FACTOR * self.random)

    def page(self, seconds: float) -> float:
        """The second at which a page of so many seconds shows most of what speaks for the label."""
        sums: dict[int, float] = {}
        for own in self.cells.values():
            for begin, _, value in own:
                sums[int(begin // seconds)] = sums.get(int(begin // seconds), 0.0) + max(0.0, value)
        return max(sums, key=lambda page: (sums[page], -page), default=0) * seconds

    def words(self) -> str:
        """What the numbers are, and how far they can be trusted."""
        said = (
            "what the answer loses when this part is replaced by the lead's mean, in logits; down: it gains. "
            f"Without the best {self.count} cells it loses {self.lost:.2f}, without as many at random {self.random:.2f}"
        )
        said += "" if self.stable else ": no stable reason found"
        part = f". Asked of the {self.windows} of {self.of_windows} windows with the highest answers"
        return said + (part if self.windows < self.of_windows else "")

    def ranked(self) -> str:
        """The leads, the one that speaks most for the label first."""
        return ", ".join(
            f"{name} {value:+.2f}" for name, value in sorted(self.leads.items(), key=lambda item: -item[1])
        )

    def to_dict(self) -> dict[str, Any]:
        """For json."""
        return {**asdict(self), "stable": self.stable, "text": self.words()}


@dataclass(frozen=True)
class Windows:
    """A record as a model takes it.

    Attributes:
        source, padding: [windows, leads, samples], and where there is no record.
        starts: seconds of the record at which they begin.
        rate: Hz.
        leads: names.
    """

    source: Tensor
    padding: Tensor
    starts: Sequence[float]
    rate: float
    leads: Sequence[str]


def explain(occlusion: "Occlusion", label: str, few_leads: int | None = None) -> Reason:
    """Leave out every lead, then every cell: of all leads, or of the `few_leads` whose loss is largest."""
    count, names = len(occlusion.windows.source), list(occlusion.windows.leads)
    by_lead = occlusion.lost([occlusion.whole(lead) for lead in range(len(names))])
    asked = sorted(sorted(range(len(names)), key=lambda lead: -abs(by_lead[lead]))[:few_leads])
    grid = occlusion.grid()
    keys = [(lead, cell) for lead in asked for cell in grid]
    values = dict(zip(keys, occlusion.lost([occlusion.pieces(*key) for key in keys])))
    best, lost, random = _check(occlusion, values, [(lead, cell) for lead in range(len(names)) for cell in grid])
    cells = {
        names[lead]: [(cell * CELL_SECONDS, (cell + 1) * CELL_SECONDS, values[lead, cell]) for cell in grid]
        for lead in asked
    }
    return Reason(
        label, CELL_SECONDS, dict(zip(names, by_lead)), cells, best, lost, random, len(occlusion.chosen), count
    )


def _check(
    occlusion: "Occlusion", values: dict[tuple[int, int], float], every: Sequence[tuple[int, int]]
) -> tuple[int, float, float]:
    """How many cells are the best ones, and what is lost without them and without as many random ones."""
    ranked = sorted((key for key in values if values[key] > 0), key=lambda key: -values[key])
    best = ranked[: max(1, round(SHOWN_SHARE * len(every)))]
    if not best:
        return 0, 0.0, 0.0
    draws = np.random.default_rng(0)
    chosen = [[every[at] for at in draws.choice(len(every), len(best), replace=False)] for _ in range(DRAWS)]
    lost, *others = occlusion.lost([[p for key in keys for p in occlusion.pieces(*key)] for keys in (best, *chosen)])
    return len(best), lost, float(np.mean(others))


class Occlusion:
    """What the answer to a record loses without parts of it.

    Args:
        windows: of the record.
        ask: windows and their padding, None if there is none -> logits [n, labels] on the CPU.
        answer: the record's logit of the label, from the logits of its windows [windows, labels].
    """

    def __init__(self, windows: Windows, ask: Callable[[Tensor, Tensor | None], Tensor], answer: Answer) -> None:
        self.windows, self.ask, self.answer = windows, ask, answer
        source, mask = windows.source, windows.padding
        self.padding = mask if bool(mask.any()) else None
        self.filled = (~mask[:, 0]).sum(dim=-1).tolist()  # samples of every window that the record has
        self.means = torch.stack([window[:, :end].mean(dim=-1) for window, end in zip(source, self.filled)])
        self.logits = torch.cat([ask(source[at : at + BATCH], self._padding(slice(at, at + BATCH)))
                                 for at in range(0, len(source), BATCH)])  # fmt: skip
        self.said = answer(self.logits)
        single = [answer(row[None]) for row in self.logits]
        self.chosen = sorted(np.argsort(single)[::-1][:MOST_WINDOWS].tolist())

    def grid(self) -> list[int]:
        """Numbers of the cells that lie in a window that is explained; cell k begins at k * CELL_SECONDS."""
        found: set[int] = set()
        for window in self.chosen:
            begin = self.windows.starts[window]
            end = begin + self.filled[window] / self.windows.rate
            found |= set(range(math.floor(begin / CELL_SECONDS + 1e-6), math.ceil(end / CELL_SECONDS - 1e-6)))
        return sorted(found)

    def whole(self, lead: int) -> list[Piece]:
        """All of a lead in the windows that are explained, but for their padding."""
        return [(window, lead, 0, self.filled[window]) for window in self.chosen]

    def pieces(self, lead: int, cell: int) -> list[Piece]:
        """What a cell is in every window that is explained."""
        found = []
        for window in self.chosen:
            at, rate = cell * CELL_SECONDS - self.windows.starts[window], self.windows.rate
            first, last = round(at * rate), round((at + CELL_SECONDS) * rate)
            first, last = max(0, first), min(last, self.filled[window])
            if first < last:
                found.append((window, lead, first, last))
        return found

    def lost(self, parts: Sequence[Sequence[Piece]]) -> list[float]:
        """What the answer loses without each of the parts, all windows that they touch asked in full batches."""
        rows = self._rows(parts)
        found = []
        for part in parts:
            logits = self.logits.clone()
            for window in dict.fromkeys(piece[0] for piece in part):
                logits[window] = next(rows)
            found.append(self.said - self.answer(logits))
        return found

    def _rows(self, parts: Iterable[Sequence[Piece]]) -> Iterator[Tensor]:
        """The logits of every window of every part, one after the other."""
        jobs = ((window, [piece for piece in part if piece[0] == window])
                for part in parts for window in dict.fromkeys(piece[0] for piece in part))  # fmt: skip
        while batch := list(islice(jobs, BATCH)):
            windows = [window for window, _ in batch]
            changed = self.windows.source[windows].clone()
            for row, (window, own) in enumerate(batch):
                for _, lead, first, last in own:
                    changed[row, lead, first:last] = self.means[window, lead]
            yield from self.ask(changed, self._padding(windows))

    def _padding(self, windows: slice | list[int]) -> Tensor | None:
        return None if self.padding is None else self.padding[windows]
