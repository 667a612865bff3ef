"""Text -> labels with probabilities.

Source: McKeen et al. 2024, ECG-FM: An Open Electrocardiogram Foundation Model, arXiv:2408.05178.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace

from ecg_signals.labeler.phrases import Found, Phrases, Piece
from ecg_signals.labeler.templates import (
    ABSENCE,
    Compound,
    Connective,
    DescriptorPattern,
    EntityPattern,
    Mention,
    Pattern,
    Templates,
)

MORE_CERTAIN = 0.3  # share of the doubt that goes with each step to a more general finding
ALWAYS_CERTAIN = "Needs clinical correlation"  # which doubt itself says


@dataclass(frozen=True)
class Labelled:
    """What a text says.

    Attributes:
        text: as it was read.
        patterns: what was found in it, in order.
        unmatched: the rest of it.
        labels: name -> probability, sorted by name; "Entity - Descriptor" has 1.
    """

    text: str
    patterns: list[str]
    unmatched: str
    labels: dict[str, float]


@dataclass(frozen=True)
class _Finding:
    name: str
    probability: float
    descriptors: tuple[str, ...] = ()


@dataclass
class _Report:
    """Findings of one text; a family is what one mention of it leads to."""

    families: list[list[_Finding]] = field(default_factory=list)

    def all(self) -> Iterator[_Finding]:
        return (finding for family in self.families for finding in family)

    def has(self, mention: Mention) -> bool:
        """Whether it is there with all its descriptors, which may be spread over one family."""
        for family in self.families:
            alike = [finding for finding in family if finding.name == mention.entity]
            said = {name for finding in alike for name in finding.descriptors}
            if alike and said.issuperset(mention.descriptors):
                return True
        return False


class Labeler:
    """Patterns, and what follows from findings in a graph of more general ones.

    Args:
        published: as ECG-FM did it: descriptors count only where the text has a connective, and what is negated is
            there all the same.
    """

    def __init__(self, templates: Templates, published: bool = False) -> None:
        self.templates, self.published = templates, published
        self.batches = [Phrases(batch) for batch in templates.batches]
        self.patterns: dict[str, Pattern] = {key: value for batch in templates.batches for key, value in batch.items()}

    def __call__(self, text: str) -> Labelled:
        pieces: list[Piece] = [text]
        for batch in self.batches:
            pieces = batch.take(pieces)
        found = [piece.phrase for piece in pieces if isinstance(piece, Found)]
        report = _Report([self._family(mention) for mention in self._mentions([self.patterns[key] for key in found])])
        report.families = [family for family in report.families if family]
        self._travel(report)
        self._attach(report)
        self._compound(report)
        unmatched = "".join(piece for piece in pieces if isinstance(piece, str))
        return Labelled(text, found, unmatched, self._labels(report))

    # -------------------------------------------------- what stands in the text

    def _mentions(self, found: list[Pattern]) -> Iterator[Mention]:
        """Findings, each with what the words around it say of it, in the order of the words."""
        places = [place for place, pattern in enumerate(found) if isinstance(pattern, EntityPattern)]
        said: dict[int, list[str]] = {place: [] for place in places}
        heard = not self.published or any(isinstance(pattern, Connective) for pattern in found)
        for place, pattern in enumerate(found):
            before = max((other for other in places if other < place), default=None)
            behind = min((other for other in places if other > place), default=None)
            if isinstance(pattern, Connective):
                self._say(said, before, pattern.before)
                self._say(said, behind, pattern.behind)
            elif isinstance(pattern, DescriptorPattern) and pattern.backwards is not None and heard:
                self._say(said, before if pattern.backwards else behind, pattern.descriptors)
        for place in places:
            pattern = found[place]
            assert isinstance(pattern, EntityPattern)
            for mention in pattern.mentions:
                yield replace(mention, descriptors=(*mention.descriptors, *said[place]))

    @staticmethod
    def _say(said: dict[int, list[str]], place: int | None, descriptors: Iterable[str]) -> None:
        if place is not None:
            said[place] += descriptors

    def _family(self, mention: Mention) -> list[_Finding]:
        """The finding, what its descriptors stand for, and all that is more general; nothing where it is negated."""
        if ABSENCE in mention.descriptors and not self.published:
            return []
        descriptors = tuple(name for name in mention.descriptors if name != ABSENCE)
        certain = min((self.templates.certainty.get(name, 1.0) for name in descriptors), default=1.0)
        created = [name for key in descriptors for name in self.templates.created.get(key, ())]
        family = [_Finding(mention.entity, certain, descriptors)]
        family += [_Finding(name, certain) for name in created]
        return self._with_parents(
            [replace(one, probability=1.0) if one.name == ALWAYS_CERTAIN else one for one in family]
        )

    def _with_parents(self, findings: list[_Finding]) -> list[_Finding]:
        """The findings, then all above them, the more certain the more general; the most certain way to each."""
        above: dict[str, float] = {}
        todo = [(finding.name, finding.probability) for finding in findings]
        for name, probability in todo:
            for parent in self.templates.entities[name].parents:
                certain = probability + MORE_CERTAIN * (1 - probability)
                if certain > above.get(parent, -1.0):
                    above[parent] = certain
                    todo.append((parent, certain))
        return findings + [_Finding(name, probability) for name, probability in above.items()]

    # -------------------------------------------------- what follows from it

    def _travel(self, report: _Report) -> None:
        """Give descriptors to more general findings of the family, up to the entity that a template names."""
        for root, names in self.templates.traveling:
            for number, family in enumerate(report.families):
                passed = [
                    (above, name)
                    for finding in family
                    for name in finding.descriptors
                    if name in names and self._reaches(finding.name, root)
                    for above in self._ancestors(finding.name)
                    if self._reaches(above, root)
                ]
                report.families[number] = [
                    replace(one, descriptors=(*one.descriptors, *(name for above, name in passed if above == one.name)))
                    for one in family
                ]

    def _attach(self, report: _Report) -> None:
        """A finding with a descriptor that has a name of its own."""
        for family in report.families:
            added = [
                _Finding(result, finding.probability)
                for entity, descriptor, result in self.templates.attached
                for finding in family
                if finding.name == entity and descriptor in finding.descriptors
            ]
            family += self._with_parents(added)

    def _compound(self, report: _Report) -> None:
        """Findings that others make together."""
        made = [_Finding(compound.entity, 1.0) for compound in self.templates.compounds if _holds(compound, report)]
        report.families += [self._with_parents([finding]) for finding in made]

    def _ancestors(self, name: str) -> set[str]:
        """All that is more general."""
        found: set[str] = set()
        todo = [name]
        for each in todo:
            new = [parent for parent in self.templates.entities[each].parents if parent not in found]
            found.update(new)
            todo += new
        return found

    def _reaches(self, name: str, root: str) -> bool:
        return name == root or root in self._ancestors(name)

    def _labels(self, report: _Report) -> dict[str, float]:
        labels: dict[str, float] = {}
        for finding in report.all():
            if self.templates.entities[finding.name].bare:
                labels[finding.name] = max(finding.probability, labels.get(finding.name, 0.0))
            labels |= {f"{finding.name} - {name}": 1.0 for name in finding.descriptors}
        return dict(sorted(labels.items()))


def _holds(compound: Compound, report: _Report) -> bool:
    return all(map(report.has, compound.including)) and not any(map(report.has, compound.excluding))
