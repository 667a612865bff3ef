"""`from ecg_signals.trainer import Trainer`, as documented; the loop is in training/trainer.py."""

from ecg_signals.training.trainer import Trainer

__all__ = ["Trainer"]
