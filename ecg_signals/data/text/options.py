"""What datasets of texts share."""

from dataclasses import dataclass

from ecg_signals.config import ConfigError, option
from ecg_signals.data.text.tokenizer import WHERE, Tokenizer
from ecg_signals.sections import DatasetConfig


@dataclass
class TextConfig(DatasetConfig):
    tokenizer: str | None = option(None, "folder or vocab.txt of bert-base-uncased on this machine", section="task")
    lower_case: bool | None = option(
        None, "take capitals and accents off words; None: as the vocabulary says", ours=True
    )
    pad_token: int = option(0, "number of [PAD]", section="task")
    sep_token: int = option(102, "number of [SEP]", section="task")
    max_text_size: int = option(512, "tokens of a text at most, and two more; longer ones are cut off", least=4,
                                section="task")  # fmt: skip
    compute_mlm_indices: bool = option(False, "hide whole words, and ask for them (m3ae)", section="task")
    mlm_prob: float = option(0.15, "share of the tokens that are hidden", least=0, most=1, section="task")
    medvill: bool = option(False, "leave texts of 10 tokens or fewer out of batches (medvill)", section="task")


def tokenizer_of(cfg: TextConfig) -> Tokenizer:
    """Raises: ConfigError where there is none, or one whose numbers are not those of the options."""
    if not cfg.tokenizer:
        raise ConfigError(f"texts are read as word pieces: {WHERE}")
    found = Tokenizer(cfg.tokenizer, cfg.lower_case)
    for key, number in (("pad_token", found.pad), ("sep_token", found.separator)):
        if getattr(cfg, key) != number:
            raise ConfigError(
                f"task.{key}={getattr(cfg, key)}, but it is {number} in {found.path}; set task.{key}={number}"
            )
    return found


def longest_text(max_text_size: int) -> int:
    """Tokens of a text at most, [CLS] and [SEP] included: two fewer than the option says, as published."""
    return max_text_size - 2
