"""Whether probabilities mean what they say: of what was told with 0.8, 80 % should come true.

Predictions are sorted into bins of equal width by the probability they were given. In each bin the mean
probability stands against the share that came true; the mean distance of the two, weighted by samples, is
the expected calibration error (Guo et al., On calibration of modern neural networks, ICML 2017, eq. 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from flower_coded.errors import ParameterError

__all__ = ["Reliability", "reliability"]


@dataclass(frozen=True)
class Reliability:
    """Probabilities and what came true, bin by bin; bins without a sample are left out.

    Parameters
    ----------
    confidence : ndarray of shape (K,), float64
        Mean probability of each bin, increasing.
    frequency : ndarray of shape (K,), float64
        Share of its samples that came true.
    counts : ndarray of shape (K,), int64
        Its samples.
    """

    confidence: NDArray[np.float64]
    frequency: NDArray[np.float64]
    counts: NDArray[np.int64]

    @property
    def calibration_error(self) -> float:
        """Expected calibration error, from 0 (as said) to 1."""
        distances = np.abs(self.confidence - self.frequency)
        return float(distances @ self.counts / self.counts.sum())


def reliability(probabilities: ArrayLike, outcomes: ArrayLike, num_bins: int = 10) -> Reliability:
    """Compare probabilities with what came true.

    Parameters
    ----------
    probabilities : array_like of shape (B,), float
        In [0, 1], of at least one prediction.
    outcomes : array_like of shape (B,), bool
        Whether each came true.
    num_bins : int
        Bins of equal width.

    Returns
    -------
    Reliability

    Raises
    ------
    ParameterError
        If there is nothing to compare, the shapes differ, or a probability is none.

    Examples
    --------
    >>> found = reliability([0.1, 0.1, 0.9, 0.9], [False, False, True, False])
    >>> found.frequency.tolist(), round(found.calibration_error, 2)
    ([0.0, 0.5], 0.25)
    """
    told, is_true = np.asarray(probabilities, dtype=np.float64), np.asarray(outcomes, dtype=bool)
    if told.ndim != 1 or not len(told):
        raise ParameterError("probabilities", "must be a vector, not empty", told.shape, hint="(100,)")
    if told.shape != is_true.shape:
        raise ParameterError("outcomes", f"must be one per probability, of shape {told.shape}", is_true.shape)
    if not ((told >= 0) & (told <= 1)).all():
        outside = told[~((told >= 0) & (told <= 1))][0]
        raise ParameterError("probabilities", "must lie in [0, 1]", float(outside))
    if num_bins < 1:
        raise ParameterError("num_bins", "must be at least 1", num_bins, hint="10")
    bins = np.minimum((told * num_bins).astype(np.int64), num_bins - 1)  # 1 belongs to the last bin
    counts = np.bincount(bins, minlength=num_bins)
    filled = np.flatnonzero(counts)
    confidence, frequency = (
        np.bincount(bins, weights=each, minlength=num_bins)[filled] / counts[filled]
        for each in (told, is_true)
    )
    return Reliability(confidence, frequency, counts[filled])
