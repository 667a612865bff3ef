"""Errors of a regression, over known targets."""

from abc import abstractmethod

import numpy as np

from ecg_signals.metrics.base import Metric, Scored
from ecg_signals.metrics.logits import VALUES
from ecg_signals.registry import register_metric


class Error(Metric):
    """A number of each column's errors, in double precision."""

    kinds = (VALUES,)

    def __call__(self, scored: Scored) -> np.ndarray:
        columns = zip(scored.scores.T.astype(np.float64), scored.targets.T.astype(np.float64))
        known = [(values[~np.isnan(target)], target[~np.isnan(target)]) for values, target in columns]
        return np.array(
            [self.of_column(values - target, target) if len(target) else np.nan for values, target in known]
        )

    @abstractmethod
    def of_column(self, error: np.ndarray, target: np.ndarray) -> float:
        """error and target [items], at least one."""


@register_metric("mse")
class MeanSquaredError(Error):
    """Mean squared error."""

    higher_is_better, best = False, 0.0

    def of_column(self, error: np.ndarray, target: np.ndarray) -> float:
        return float(np.square(error).mean())


@register_metric("rmse")
class RootMeanSquaredError(Error):
    """Root of the mean squared error, in the unit of the targets."""

    higher_is_better, best = False, 0.0

    def of_column(self, error: np.ndarray, target: np.ndarray) -> float:
        return float(np.sqrt(np.square(error).mean()))


@register_metric("mae")
class MeanAbsoluteError(Error):
    """Mean absolute error."""

    higher_is_better, best = False, 0.0

    def of_column(self, error: np.ndarray, target: np.ndarray) -> float:
        return float(np.abs(error).mean())


@register_metric("r2")
class ExplainedVariance(Error):
    """Explained variance, R squared; undefined where all targets are one."""

    def of_column(self, error: np.ndarray, target: np.ndarray) -> float:
        spread = np.square(target - target.mean()).sum()
        return float(1 - np.square(error).sum() / spread) if spread > 0 else float("nan")
