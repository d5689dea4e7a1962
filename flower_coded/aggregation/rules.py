"""Aggregation rules as objects: averages, medians, Krum, clipping.

What a rule computes and where it comes from stands in the module of the function that it calls. Names for
them are in :mod:`flower_coded.aggregation.registry`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.centered_clipping import centered_clipping, check_clipping
from flower_coded.aggregation.coordinates import coordinate_median, mean, trimmed_mean
from flower_coded.aggregation.geometric_median import check_weiszfeld, geometric_median
from flower_coded.aggregation.interface import BlockwiseRule, Memory, RoundContext
from flower_coded.aggregation.krum import krum, multi_krum, multi_krum_rows
from flower_coded.aggregation.lazy_rows import stored_rows
from flower_coded.codes.array_namespace import Array, constant_like

__all__ = [
    "CenteredClipping",
    "CoordinateMedian",
    "GeometricMedian",
    "Krum",
    "Mean",
    "MultiKrum",
    "TrimmedMean",
]


@dataclass(frozen=True)
class Mean(BlockwiseRule):
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
class CoordinateMedian(BlockwiseRule):
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
class TrimmedMean(BlockwiseRule):
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
class Krum(BlockwiseRule):
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
class MultiKrum(BlockwiseRule):
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
class GeometricMedian(BlockwiseRule):
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
class CenteredClipping(BlockwiseRule):
    """The mean of differences clipped to a radius: :func:`~flower_coded.aggregation.centered_clipping`.

    Attributes
    ----------
    radius : float or None
        ``tau``; the median distance to the start if absent.
    num_iterations : int
        At least 1.
    starts_at_zero : bool
        Start at zero, as is usual for gradients; else at the coordinate median.
    starts_at_previous : bool
        Start at the round before's aggregate, as the paper does, where there is one in the context's memory.
    """

    radius: float | None = None
    num_iterations: int = 1
    starts_at_zero: bool = False
    starts_at_previous: bool = False

    def __post_init__(self) -> None:
        """Check radius and iterations."""
        super().__post_init__()
        check_clipping(self.radius, self.num_iterations)

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Clip and average."""
        return self._from(updates, None)

    def aggregate_in_round(self, updates: Array, context: RoundContext) -> tuple[Array, Memory]:
        """Clip and average; remember the result if the next round starts there."""
        moved = self._from(updates, context.memory.get("previous"))
        return moved, ({"previous": moved} if self.starts_at_previous else {})

    def _from(self, updates: Array, start: Array | None) -> Array:
        if start is None and self.starts_at_zero:
            start = constant_like(np.zeros(tuple(updates.shape[1:])), stored_rows(updates))
        return centered_clipping(
            updates,
            start=start,
            radius=self.radius,
            num_iterations=self.num_iterations,
            num_threads=self.num_threads,
        )
