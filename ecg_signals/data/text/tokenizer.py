"""BERT's tokenizer from a vocabulary that lies on this machine: text -> numbers of word pieces."""

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor

from ecg_signals import limits
from ecg_signals.config import ConfigError, resolve_input

PAD, UNKNOWN, FIRST, SEPARATOR, MASK = "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"
SPECIAL = (PAD, UNKNOWN, FIRST, SEPARATOR, MASK)
CONTINUED = "##"  # what a piece inside a word begins with
LONGEST_WORD = 100  # characters; a longer word is unknown
MOST_BYTES = 16 << 20  # of a vocabulary; BERT's multilingual one has 1 MB
WHERE = (
    "give the folder or the vocab.txt of bert-base-uncased: task.tokenizer=FOLDER_OR_FILE. It is not part of this "
    "package; download https://huggingface.co/google-bert/bert-base-uncased/resolve/main/vocab.txt with a browser"
)
_CONTROL = ("Cc", "Cf", "Co", "Cs")  # a sign that no version of Unicode has yet, Cn, is a letter of an unknown word
_IDEOGRAPHS = (  # first and last of every block that Chinese words are written in without spaces
    (0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F), (0x2B920, 0x2CEAF),
    (0xF900, 0xFAFF), (0x2F800, 0x2FA1F),
)  # fmt: skip


class Tokenizer:
    """Words cut into the longest known pieces, from left to right (WordPiece), between [CLS] and [SEP].

    Args:
        path: a vocabulary, one token a line, whose number is its line's from 0 on; or a folder with `vocab.txt`.
        lower_case: take capitals and accents off; None: as the folder's tokenizer_config.json says, else if the
            vocabulary has no capitals.
    Raises: ConfigError for a file that is missing or no such vocabulary.
    Source: Devlin et al. 2018, BERT, arXiv:1810.04805.
    """

    def __init__(self, path: str | Path, lower_case: bool | None = None) -> None:
        place = resolve_input(path)
        self.path = place / "vocab.txt" if place.is_dir() else place
        self.tokens = _read(self.path)
        self.ids = {token: number for number, token in enumerate(self.tokens)}
        missing = [token for token in SPECIAL if token not in self.ids]
        if missing:
            raise ConfigError(
                f"{self.path} has no {', '.join(missing)}, so it is no vocabulary of BERT's kind; {WHERE}"
            )
        self.pad, self.unknown, self.first, self.separator, self.mask = (self.ids[token] for token in SPECIAL)
        self.special = frozenset(self.ids[token] for token in SPECIAL)
        stated = _stated(self.path.parent) if lower_case is None else lower_case
        self.lower_case = stated if stated is not None else not any(map(_has_capitals, self.tokens))
        self.pieces = lru_cache(maxsize=1 << 16)(self._pieces)

    def __len__(self) -> int:
        return len(self.tokens)

    def __reduce__(self) -> tuple[type["Tokenizer"], tuple[str, bool]]:
        return Tokenizer, (str(self.path), self.lower_case)

    def encode(self, text: str, max_length: int | None = None) -> list[int]:
        """Numbers of the tokens of a text, [CLS] and [SEP] included, which count in `max_length`; more are cut off."""
        found = [piece for word in words(text, self.lower_case) for piece in self.pieces(word)]
        if max_length is not None:
            found = found[: max(max_length - 2, 0)]
        return [self.first, *found, self.separator]

    def batch(self, texts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Encoded texts padded to the longest -> (int64 [texts, tokens], bool [texts, tokens], True = padding)."""
        longest = max(len(text) for text in texts)
        ids = torch.full((len(texts), longest), self.pad)
        padding = torch.ones(len(texts), longest, dtype=torch.bool)
        for row, hidden, text in zip(ids, padding, texts):
            row[: len(text)] = torch.tensor(text)
            hidden[: len(text)] = False
        return ids, padding

    def continues(self, number: int) -> bool:
        """Whether a token is a piece inside a word."""
        return self.tokens[number].startswith(CONTINUED)

    def _pieces(self, word: str) -> tuple[int, ...]:
        if len(word) > LONGEST_WORD:
            return (self.unknown,)
        found: list[int] = []
        start = 0
        while start < len(word):
            head = CONTINUED if start else ""
            ends = range(len(word), start, -1)
            end = next((end for end in ends if head + word[start:end] in self.ids), None)
            if end is None:
                return (self.unknown,)
            found.append(self.ids[head + word[start:end]])
            start = end
        return tuple(found)


def words(text: str, lower_case: bool) -> list[str]:
    """A text as BERT cuts it before it looks anything up: at spaces, around punctuation and ideographs."""
    kept = (" " if unicodedata.category(sign)[0] == "Z" or sign in "\t\n\r" else sign for sign in text if _kept(sign))
    text = "".join(f" {sign} " if _is_ideograph(sign) else sign for sign in kept)
    if lower_case:
        bare = (sign for sign in unicodedata.normalize("NFD", text) if unicodedata.category(sign) != "Mn")
        text = "".join(sign.lower() for sign in bare)
    return [part for word in text.split(" ") for part in _parts(word)]


def _kept(sign: str) -> bool:
    """Neither a control sign nor one that stands for something unreadable."""
    return sign in "\t\n\r" or not (unicodedata.category(sign) in _CONTROL or sign == "\ufffd")


def _parts(word: str) -> Iterator[str]:
    """A word without its punctuation, every sign of which is a part of its own."""
    start = 0
    for at, sign in enumerate(word):
        if _is_punctuation(sign):
            yield from filter(None, (word[start:at], sign))
            start = at + 1
    if start < len(word):
        yield word[start:]


def _is_punctuation(sign: str) -> bool:
    ascii_sign = "!" <= sign <= "/" or ":" <= sign <= "@" or "[" <= sign <= "`" or "{" <= sign <= "~"
    return ascii_sign or unicodedata.category(sign)[0] == "P"


def _is_ideograph(sign: str) -> bool:
    return any(first <= ord(sign) <= last for first, last in _IDEOGRAPHS)


def _has_capitals(token: str) -> bool:
    return token != token.lower() and not (token.startswith("[") and token.endswith("]"))


def _stated(folder: Path) -> bool | None:
    """What a tokenizer_config.json says of capitals; None where there is none."""
    path = folder / "tokenizer_config.json"
    content = limits.read_json(path) if path.is_file() else {}
    found = content.get("do_lower_case") if isinstance(content, dict) else None
    return found if isinstance(found, bool) else None


def _read(path: Path) -> list[str]:
    try:
        text = limits.read_regular(path, MOST_BYTES).decode()
    except OSError as error:
        raise ConfigError(f"{path} cannot be read as a vocabulary ({error.strerror or error}); {WHERE}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text in UTF-8, so it is no vocabulary; {WHERE}") from None
    return text.removesuffix("\n").replace("\r\n", "\n").split("\n")
