"""fairseq-signals' import path and class name of the ECG transformer classifier."""

from ecg_signals.models.heads.ecg_transformer_classifier import (
    ECGTransformerClassifier as ECGTransformerClassificationModel,
)

__all__ = ["ECGTransformerClassificationModel"]
