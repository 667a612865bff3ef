"""Phrases in a text: found as whole words, longest first, and each stretch of text once."""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import NamedTuple

_WORD = re.compile(r"\w+")


class Found(NamedTuple):
    """A phrase that was taken out of a text."""

    phrase: str


Piece = str | Found  # what is left of a text, or what was found there


@cache
def bordered(phrase: str) -> re.Pattern[str]:
    """Matches `phrase` where no word goes on beyond an end of it that is a letter or a digit."""
    before = r"(?<!\w)" if phrase[:1].isalnum() else ""
    after = r"(?!\w)" if phrase[-1:].isalnum() else ""
    return re.compile(f"{before}{re.escape(phrase)}{after}")


def longest_first(phrases: Iterable[str]) -> list[str]:
    """Phrases of one length keep their order."""
    return sorted(phrases, key=len, reverse=True)


class Phrases:
    """What texts are searched for; made once, and then as fast for thousands of phrases as for a few."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self.ordered = longest_first(phrases)
        self._by_word: dict[str, list[int]] = {}
        self._wordless: list[int] = []
        for rank, phrase in enumerate(self.ordered):
            word = _a_whole_word(phrase)
            (self._wordless if word is None else self._by_word.setdefault(word, [])).append(rank)

    def take(self, pieces: list[Piece]) -> list[Piece]:
        """Take phrases out of a text, the longest first; what was taken is a border for those behind it."""
        rest = "\n".join(piece for piece in pieces if isinstance(piece, str))
        for phrase in self._possible(rest):
            if phrase in rest:
                pieces = [part for piece in pieces for part in _split(piece, phrase)]
        return pieces

    def _possible(self, text: str) -> Iterable[str]:
        """Phrases whose key word is a word of the text."""
        ranks = [rank for word in set(_WORD.findall(text)) for rank in self._by_word.get(word, ())]
        return [self.ordered[rank] for rank in sorted([*ranks, *self._wordless])]


class Replacements:
    """Whole phrases and what stands in their place; what was put in is not looked at again."""

    def __init__(self, normal: Mapping[str, str]) -> None:
        self.normal = normal
        self.phrases = Phrases(normal)

    def __call__(self, text: str) -> str:
        pieces = self.phrases.take([text])
        return "".join(self.normal[piece.phrase] if isinstance(piece, Found) else piece for piece in pieces)


def _a_whole_word(phrase: str) -> str | None:
    """The longest of the words that stand in every text with the phrase; None if that has none.

    A word at an end that is no letter or digit, an underscore, may go on in the text.
    """
    words = [word for word in _WORD.findall(phrase) if word[0].isalnum() and word[-1].isalnum()]
    return max(words, key=len, default=None)


def _split(piece: Piece, phrase: str) -> list[Piece]:
    if isinstance(piece, Found):
        return [piece]
    first, *others = bordered(phrase).split(piece)
    return [first, *(part for other in others for part in (Found(phrase), other))]
