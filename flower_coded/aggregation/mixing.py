"""Steps before a rule that bring honest vectors together: nearest-neighbor mixing and bucketing.

Where clients hold different data their updates differ, and a rule that looks for outliers drops honest
minorities. Nearest-neighbor mixing [1]_ replaces every vector by the mean of the ``n - f`` vectors nearest
to it; bucketing [2]_ by means of ``s`` vectors drawn at random. Any rule can follow.

A row that is not finite stays what it is (mixing), or leaves its bucket to the others, so that the rule
behind sees the number of rows it was told to expect and counts the fault itself.

Each step exists twice: as the weights of its sums (``..._mixtures``), which a rule reads without a second
copy of all vectors, and with the sums made.

References
----------
.. [1] Y. Allouah, S. Farhadkhani, R. Guerraoui, N. Gupta, R. Pinot, J. Stephan, "Fixing by mixing: a recipe
   for optimal Byzantine ML under heterogeneity", AISTATS 2023.
.. [2] S. P. Karimireddy, L. He, M. Jaggi, "Byzantine-robust learning on heterogeneous datasets via
   bucketing", ICLR 2022.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.blocks import stored
from flower_coded.aggregation.distances import squared_distances
from flower_coded.aggregation.lazy_rows import RowMixtures, mixtures
from flower_coded.aggregation.vectors import finite_rows, take_rows, takes_vectors
from flower_coded.codes.array_namespace import Array
from flower_coded.errors import ParameterError

__all__ = ["bucket_mixtures", "bucketing", "nearest_neighbor_mixing", "nearest_neighbor_mixtures"]


def nearest_neighbor_mixing(vectors: Array, num_byzantine: int, *, num_threads: int = 1) -> Array:
    """Replace each vector by the mean of the ``n - f`` nearest to it, itself among them.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch.
    num_byzantine : int
        ``f``, ``0 <= 2 f < n``. Ties go to the lower row.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (n, d), float64
        Rows that are not finite are NaN. If more than ``f`` of them are, the rest are mixed with all others.

    Raises
    ------
    ParameterError
        If ``2 f >= n``, or the array is not two-dimensional.
    DecodingError
        If no row is finite.

    Examples
    --------
    >>> nearest_neighbor_mixing(np.array([[0.0], [1.0], [10.0]]), 1)
    array([[0.5],
           [0.5],
           [5.5]])
    """
    return stored(
        nearest_neighbor_mixtures(vectors, num_byzantine, num_threads=num_threads), num_threads=num_threads
    )


@takes_vectors
def nearest_neighbor_mixtures(vectors: Array, num_byzantine: int, *, num_threads: int = 1) -> RowMixtures:
    """Give what :func:`nearest_neighbor_mixing` gives, as weights.

    Parameters and errors are those of :func:`nearest_neighbor_mixing`.

    Examples
    --------
    >>> nearest_neighbor_mixtures(np.array([[0.0], [1.0], [10.0]]), 1).weights
    array([[0.5, 0.5, 0. ],
           [0.5, 0.5, 0. ],
           [0. , 0.5, 0.5]])
    """
    count = len(vectors)
    if not 0 <= 2 * num_byzantine < count:
        raise ParameterError("num_byzantine", f"must satisfy 0 <= 2 f < {count}", num_byzantine)
    finite = finite_rows(vectors)
    present = take_rows(vectors, finite)
    distances = squared_distances(present, num_threads=num_threads)
    np.fill_diagonal(distances, -1.0)  # a vector is its own nearest neighbor, also among equals
    num_mixed = min(count - num_byzantine, len(present))
    # Stable, so that ties between equal vectors go to the lower row on every machine.
    nearest = np.argsort(distances, axis=1, kind="stable")[:, :num_mixed]
    weights = np.zeros(distances.shape)
    np.put_along_axis(weights, nearest, 1.0 / num_mixed, axis=1)
    return mixtures(_spread(weights, finite), present)


def bucketing(
    vectors: Array, bucket_size: int, generator: np.random.Generator, *, num_threads: int = 1
) -> Array:
    """Average buckets of ``s`` vectors drawn at random without repetition.

    Up to ``f`` of the ``ceil(n / s)`` buckets hold a liar, so that the rule behind must stand a share of
    liars ``s`` times as large; ``s = 2`` is the paper's advice, and ``s <= n / (2 f)`` keeps them a minority.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch.
    bucket_size : int
        ``s``, at least 1. The last bucket is smaller where ``s`` does not divide ``n``.
    generator : numpy.random.Generator
        Draws the buckets.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (ceil(n / s), d), float64
        A bucket without a finite row is NaN; another is the mean of its finite rows.

    Raises
    ------
    ParameterError
        If ``s < 1``, or the array is not two-dimensional.
    DecodingError
        If no row is finite.

    Examples
    --------
    >>> bucketing(np.arange(6.0).reshape(6, 1), 2, np.random.default_rng(0)).mean()
    np.float64(2.5)
    """
    return stored(bucket_mixtures(vectors, bucket_size, generator), num_threads=num_threads)


@takes_vectors
def bucket_mixtures(vectors: Array, bucket_size: int, generator: np.random.Generator) -> RowMixtures:
    """Give what :func:`bucketing` gives, as weights.

    Parameters and errors are those of :func:`bucketing`.

    Examples
    --------
    >>> bucket_mixtures(np.eye(3), 3, np.random.default_rng(0)).weights.round(2)
    array([[0.33, 0.33, 0.33]])
    """
    if bucket_size < 1:
        raise ParameterError("bucket_size", "must be at least 1", bucket_size, hint="2, as the paper does")
    finite = finite_rows(vectors)
    # Rows draw a place each; equal stretches of places are the buckets, so none is larger than s.
    bucket_of = np.empty(len(finite), dtype=np.int64)
    bucket_of[generator.permutation(len(finite))] = np.arange(len(finite)) // bucket_size
    num_buckets = -(-len(finite) // bucket_size)
    weights = (bucket_of[finite] == np.arange(num_buckets)[:, None]).astype(np.float64)
    sizes = weights.sum(axis=1)
    filled = sizes > 0
    # Divided by the rows that are there, not by s: a missing vector must not count as zero.
    means = weights[filled] / sizes[filled, None]
    return mixtures(_spread(means, filled), take_rows(vectors, finite))


def _spread(weights: NDArray[np.float64], places: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Put the weights where the mask is true, and NaN elsewhere."""
    spread = np.full((len(places), weights.shape[1]), np.nan)
    spread[places] = weights
    return spread
