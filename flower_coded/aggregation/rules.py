"""Aggregation rules as objects: parameters checked once, then updates in and one vector out.

All rules read NumPy arrays and torch tensors, leave out rows that are not finite, modify nothing and keep no
state. What a rule computes and where it comes from stands in the module of the function that it calls. Names
for them are in :mod:`flower_coded.aggregation.registry`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.centered_clipping import centered_clipping, check_clipping
from flower_coded.aggregation.coordinates import coordinate_median, mean, trimmed_mean
from flower_coded.aggregation.geometric_median import check_weiszfeld, geometric_median
from flower_coded.aggregation.krum import krum, multi_krum, multi_krum_rows
from flower_coded.aggregation.mixing import bucketing, nearest_neighbor_mixing
from flower_coded.codes.array_namespace import Array, constant_like
from flower_coded.errors import ParameterError

__all__ = [
    "AggregationRule",
    "Bucketing",
    "CenteredClipping",
    "CoordinateMedian",
    "GeometricMedian",
    "Krum",
    "Mean",
    "MultiKrum",
    "NearestNeighborMixing",
    "TrimmedMean",
]

_LEAST = {"num_threads": 1, "num_byzantine": 0, "num_selected": 1, "bucket_size": 1}


@dataclass(frozen=True, kw_only=True)
class AggregationRule(ABC):
    """What makes one vector of many.

    Attributes
    ----------
    num_threads : int
        Threads that share the work on a CPU.
    """

    num_threads: int = 1

    def __post_init__(self) -> None:
        """Check the counts among the attributes."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name in _LEAST and value is not None:
                _check_count(entry.name, value, _LEAST[entry.name])

    @abstractmethod
    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Make one vector of many.

        Parameters
        ----------
        updates : array of shape (n, d)
            NumPy or torch.
        generator : numpy.random.Generator or None
            For rules that draw (:class:`Bucketing`).

        Returns
        -------
        array of shape (d,), float64
            Of the same kind.

        Raises
        ------
        ParameterError
            If the array is not two-dimensional, or ``n`` too small for the faults expected.
        DecodingError
            If too few rows are finite.
        """

    def select(self, updates: Array) -> NDArray[np.int64] | None:
        """Find the rows whose mean the rule returns, best first; None for rules that use every row in part.

        Parameters
        ----------
        updates : array of shape (n, d)
            NumPy or torch.

        Returns
        -------
        ndarray of shape (q,), int64, or None

        Raises
        ------
        ParameterError, DecodingError
            As :meth:`aggregate`.
        """
        del updates
        return None


@dataclass(frozen=True)
class Mean(AggregationRule):
    """The mean: :func:`~flower_coded.aggregation.mean`.

    Examples
    --------
    >>> Mean().aggregate(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]]))
    array([22.4,  4.2])
    """

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Average."""
        return mean(updates, num_threads=self.num_threads)


@dataclass(frozen=True)
class CoordinateMedian(AggregationRule):
    """The median of each coordinate: :func:`~flower_coded.aggregation.coordinate_median`.

    Examples
    --------
    >>> CoordinateMedian().aggregate(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]]))
    array([2., 3.])
    """

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Take the median."""
        return coordinate_median(updates, num_threads=self.num_threads)


@dataclass(frozen=True)
class TrimmedMean(AggregationRule):
    """The trimmed mean of each coordinate: :func:`~flower_coded.aggregation.trimmed_mean`.

    Attributes
    ----------
    num_byzantine : int
        ``f``; ``2 f < n``.
    """

    num_byzantine: int

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Trim and average."""
        return trimmed_mean(updates, self.num_byzantine, num_threads=self.num_threads)


@dataclass(frozen=True)
class Krum(AggregationRule):
    """The vector nearest to its neighbors: :func:`~flower_coded.aggregation.krum.krum`.

    Attributes
    ----------
    num_byzantine : int
        ``f``; ``n >= 2 f + 3``.
    """

    num_byzantine: int

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Select one."""
        return krum(updates, self.num_byzantine, num_threads=self.num_threads)

    def select(self, updates: Array) -> NDArray[np.int64]:
        """Find the one."""
        return multi_krum_rows(updates, self.num_byzantine, 1, num_threads=self.num_threads)


@dataclass(frozen=True)
class MultiKrum(AggregationRule):
    """The mean of the vectors nearest to their neighbors: :func:`~flower_coded.aggregation.multi_krum`.

    Attributes
    ----------
    num_byzantine : int
        ``f``; ``n >= 2 f + 3``.
    num_selected : int or None
        ``q <= n - f``; ``n - f - 2`` if absent.
    """

    num_byzantine: int
    num_selected: int | None = None

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Select and average."""
        number = self._number(updates)
        return multi_krum(updates, self.num_byzantine, number, num_threads=self.num_threads)

    def select(self, updates: Array) -> NDArray[np.int64]:
        """Find those of smallest score."""
        number = self._number(updates)
        return multi_krum_rows(updates, self.num_byzantine, number, num_threads=self.num_threads)

    def _number(self, updates: Array) -> int:
        least_trusting = max(len(updates) - self.num_byzantine - 2, 1)
        return least_trusting if self.num_selected is None else self.num_selected


@dataclass(frozen=True)
class GeometricMedian(AggregationRule):
    """The point of least total distance: :func:`~flower_coded.aggregation.geometric_median.geometric_median`.

    Attributes
    ----------
    smoothing, tolerance : float
        As shares of the median distance to the coordinate median.
    max_iterations : int
        Weighted means taken at most.
    """

    smoothing: float = 1e-6
    tolerance: float = 1e-6
    max_iterations: int = 100

    def __post_init__(self) -> None:
        """Check the iteration's parameters."""
        super().__post_init__()
        check_weiszfeld(self.smoothing, self.tolerance, self.max_iterations)

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Iterate to the point."""
        return geometric_median(
            updates,
            smoothing=self.smoothing,
            tolerance=self.tolerance,
            max_iterations=self.max_iterations,
            num_threads=self.num_threads,
        )


@dataclass(frozen=True)
class CenteredClipping(AggregationRule):
    """The mean of differences clipped to a radius: :func:`~flower_coded.aggregation.centered_clipping`.

    Attributes
    ----------
    radius : float or None
        ``tau``; the median distance to the start if absent.
    num_iterations : int
        At least 1.
    starts_at_zero : bool
        Start at zero, as is usual for gradients; else at the coordinate median. Who keeps the previous
        round's aggregate calls the function with it.
    """

    radius: float | None = None
    num_iterations: int = 1
    starts_at_zero: bool = False

    def __post_init__(self) -> None:
        """Check radius and iterations."""
        super().__post_init__()
        check_clipping(self.radius, self.num_iterations)

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Clip and average."""
        start = constant_like(np.zeros(tuple(updates.shape[1:])), updates) if self.starts_at_zero else None
        return centered_clipping(
            updates,
            start=start,
            radius=self.radius,
            num_iterations=self.num_iterations,
            num_threads=self.num_threads,
        )


@dataclass(frozen=True)
class NearestNeighborMixing(AggregationRule):
    """A rule behind :func:`~flower_coded.aggregation.nearest_neighbor_mixing`.

    Attributes
    ----------
    rule : AggregationRule
        What is done to the mixed vectors.
    num_byzantine : int
        ``f``; ``2 f < n``.
    """

    rule: AggregationRule
    num_byzantine: int

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Mix, then aggregate."""
        mixed = nearest_neighbor_mixing(updates, self.num_byzantine, num_threads=self.num_threads)
        return self.rule.aggregate(mixed, generator)


@dataclass(frozen=True)
class Bucketing(AggregationRule):
    """A rule behind :func:`~flower_coded.aggregation.bucketing`; its ``aggregate`` needs a generator.

    Attributes
    ----------
    rule : AggregationRule
        What is done to the buckets' means, of which there are ``ceil(n / s)``.
    bucket_size : int
        ``s``.
    """

    rule: AggregationRule
    bucket_size: int = 2

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Draw buckets, then aggregate."""
        if generator is None:
            raise ParameterError(
                "generator", "must be given where buckets are drawn", None, hint="numpy.random.default_rng(0)"
            )
        buckets = bucketing(updates, self.bucket_size, generator, num_threads=self.num_threads)
        return self.rule.aggregate(buckets, generator)


def _check_count(name: str, value: int, least: int) -> None:
    if not isinstance(value, int | np.integer) or isinstance(value, bool) or value < least:
        raise ParameterError(name, f"must be an integer of at least {least}", value)
