"""Aggregation rules as objects: those that look for a central part of the vectors.

What a rule computes and where it comes from stands in the module of the function that it calls. Names for
them are in :mod:`flower_coded.aggregation.registry`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flower_coded.aggregation.around_median import mean_around_median
from flower_coded.aggregation.bulyan import bulyan
from flower_coded.aggregation.covariance_filter import (
    MAX_SUBSETS,
    covariance_filter,
    smallest_eigenvalue_averaging,
)
from flower_coded.aggregation.divide_and_conquer import check_divide_and_conquer, divide_and_conquer
from flower_coded.aggregation.interface import BlockwiseRule
from flower_coded.aggregation.minimum_diameter import MAX_STEPS, minimum_diameter_averaging
from flower_coded.aggregation.nearest_to_pivot import nearest_to_pivot_mean
from flower_coded.codes.array_namespace import Array
from flower_coded.errors import ParameterError

__all__ = [
    "Bulyan",
    "CovarianceFilter",
    "DivideAndConquer",
    "MeanAroundMedian",
    "MinimumDiameterAveraging",
    "Monna",
    "SmallestEigenvalueAveraging",
    "needed",
]


@dataclass(frozen=True)
class MeanAroundMedian(BlockwiseRule):
    """The mean of the values nearest to the median: :func:`~flower_coded.aggregation.mean_around_median`.

    Attributes
    ----------
    num_byzantine : int
        ``f``; ``2 f < n``.
    """

    num_byzantine: int

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Find the values and average."""
        return mean_around_median(updates, self.num_byzantine, num_threads=self.num_threads)


@dataclass(frozen=True)
class Bulyan(BlockwiseRule):
    """Krum again and again, then the mean around the median: :func:`~flower_coded.aggregation.bulyan.bulyan`.

    Attributes
    ----------
    num_byzantine : int
        ``f``; ``n >= 4 f + 3``.
    """

    num_byzantine: int

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Choose, then average around the median."""
        return bulyan(updates, self.num_byzantine, num_threads=self.num_threads)


@dataclass(frozen=True)
class MinimumDiameterAveraging(BlockwiseRule):
    """The mean of the tightest vectors: :func:`~flower_coded.aggregation.minimum_diameter_averaging`.

    Attributes
    ----------
    num_byzantine : int
        ``f``; ``2 f < n``.
    max_steps : int
        Of the exact search, after which it is refused.
    """

    num_byzantine: int
    max_steps: int = MAX_STEPS

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Search and average."""
        return minimum_diameter_averaging(
            updates, self.num_byzantine, max_steps=self.max_steps, num_threads=self.num_threads
        )


@dataclass(frozen=True)
class Monna(BlockwiseRule):
    """MoNNA, the mean nearest to a trusted vector: :func:`~flower_coded.aggregation.nearest_to_pivot_mean`.

    Attributes
    ----------
    num_byzantine : int
        ``f``; ``2 f < n``.
    pivot : int
        Row of the trusted vector.
    """

    num_byzantine: int
    pivot: int = 0

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Find the nearest and average."""
        return nearest_to_pivot_mean(updates, self.num_byzantine, self.pivot, num_threads=self.num_threads)


@dataclass(frozen=True)
class CovarianceFilter(BlockwiseRule):
    """The covariance-bound agnostic filter, CAF: :func:`~flower_coded.aggregation.covariance_filter`.

    Attributes
    ----------
    num_byzantine : int
        ``f``; ``2 f < n``.
    """

    num_byzantine: int

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Filter and average."""
        return covariance_filter(updates, self.num_byzantine, num_threads=self.num_threads)


@dataclass(frozen=True)
class SmallestEigenvalueAveraging(BlockwiseRule):
    """SMEA, over all subsets: :func:`~flower_coded.aggregation.smallest_eigenvalue_averaging`.

    Attributes
    ----------
    num_byzantine : int
        ``f``; ``2 f < n``.
    max_subsets : int
        ``n choose f`` at most.
    """

    num_byzantine: int
    max_subsets: int = MAX_SUBSETS

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Try all subsets and average the best."""
        return smallest_eigenvalue_averaging(
            updates, self.num_byzantine, max_subsets=self.max_subsets, num_threads=self.num_threads
        )


@dataclass(frozen=True)
class DivideAndConquer(BlockwiseRule):
    """DnC: :func:`~flower_coded.aggregation.divide_and_conquer`; its ``aggregate`` needs a generator.

    Attributes
    ----------
    num_byzantine : int
        ``f``; ``2 f < n``.
    num_iterations, num_coordinates : int
        How often coordinates are drawn, and how many, ``b``.
    filter_factor : float
        ``c``; each time ``c f`` vectors are left out.
    """

    num_byzantine: int
    num_iterations: int = 1
    num_coordinates: int = 10_000
    filter_factor: float = 1.0

    def __post_init__(self) -> None:
        """Check the parameters."""
        super().__post_init__()
        check_divide_and_conquer(self.num_iterations, self.num_coordinates, self.filter_factor)

    def aggregate(self, updates: Array, generator: np.random.Generator | None = None) -> Array:
        """Draw, score, average."""
        return divide_and_conquer(
            updates,
            self.num_byzantine,
            needed(generator, "coordinates are"),
            num_iterations=self.num_iterations,
            num_coordinates=self.num_coordinates,
            filter_factor=self.filter_factor,
            num_threads=self.num_threads,
        )


def needed(generator: np.random.Generator | None, what_is: str) -> np.random.Generator:
    """Return the generator.

    Raises
    ------
    ParameterError
        If there is none.
    """
    if generator is None:
        raise ParameterError(
            "generator", f"must be given where {what_is} drawn", None, hint="numpy.random.default_rng(0)"
        )
    return generator
