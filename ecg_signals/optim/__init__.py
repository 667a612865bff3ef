"""Optimizers, learning-rate schedules, loss scaling and weight averages. No model and no data is known here."""
