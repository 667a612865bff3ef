"""wav2vec 2.0 whose pooled output is also contrasted between segments of a patient (wav2vec2_with_cmsc)."""

from ecg_signals.models.wav2vec2.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from ecg_signals.registry import register_model


@register_model("wav2vec2_cmsc", dataclass=Wav2Vec2Config)
class Wav2Vec2CMSC(Wav2Vec2):
    """The same network; a name of its own because checkpoints carry it.

    Source: Oh et al. 2022, Lead-agnostic Self-supervised Learning, arXiv:2203.06889.
    """
