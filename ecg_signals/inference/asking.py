"""A question about a record, for models that read texts."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ecg_signals.config import UsageError
from ecg_signals.data.text.options import longest_text
from ecg_signals.data.text.tokenizer import Tokenizer
from ecg_signals.models.base import BaseModel, ModelOutput
from ecg_signals.readers.read import read_record
from ecg_signals.signal.contract import SignalContract
from ecg_signals.tasks.ecg_text_pretraining import check_vocabulary


@dataclass(frozen=True)
class Question:
    """What is asked of every record.

    Attributes:
        text: the question; None: none is asked.
        vocabulary: folder or file of the tokenizer that the model was trained with.
        second: a record that every record is compared with.
    """

    text: str | None = None
    vocabulary: str | Path | None = None
    second: str | Path | None = None


class Asked(nn.Module):
    """A model that is asked one question about all windows that it is given; of the second ECG the first window counts.

    Raises: UsageError for a question to a model that reads none, or without a vocabulary; ConfigError for a vocabulary
        or a second record that does not fit. Warns where a model that reads questions is asked none.
    """

    def __init__(self, model: BaseModel, question: Question, contract: SignalContract) -> None:
        super().__init__()
        self.model = model
        self.parts: dict[str, Tensor] = {}
        if question.text is not None:
            self.parts["text"] = torch.tensor([_tokens(model, question)])
        elif "text" in model.further_inputs:
            warnings.warn("this model answers questions, and none was asked (--question)", stacklevel=2)
        if question.second is not None:
            self.parts["ecg_2"] = _second(model, str(question.second), contract)
        self.parts = {key: part.to(next(model.parameters()).device) for key, part in self.parts.items()}

    def forward(self, source: Tensor, **padding: Tensor) -> ModelOutput:
        parts = {key: part.expand(len(source), *part.shape[1:]) for key, part in self.parts.items()}
        output: ModelOutput = self.model(source, **padding, **parts)
        return output


def _name(model: BaseModel) -> str:
    return str(model.cfg.to_dict().get("_name"))


def _tokens(model: BaseModel, question: Question) -> list[int]:
    if "text" not in model.further_inputs:
        raise UsageError(f"a model '{_name(model)}' reads no question; leave --question out")
    if question.vocabulary is None:
        raise UsageError("--question needs the vocabulary that the model was trained with: --tokenizer FOLDER_OR_FILE")
    tokenizer = Tokenizer(question.vocabulary)
    check_vocabulary(model, tokenizer)
    return tokenizer.encode(str(question.text), longest_text(model.cfg.to_dict()["max_text_size"]))


def _second(model: BaseModel, path: str, contract: SignalContract) -> Tensor:
    if "ecg_2" not in model.further_inputs or getattr(model.cfg, "num_ecgs", 2) == 1:
        raise UsageError(f"this model '{_name(model)}' reads one ECG; leave --second out")
    return contract.prepare(read_record(path))[:1]
