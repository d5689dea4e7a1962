"""Krum and multi-Krum: keep the vectors that lie closest to most others.

With ``f`` faults among ``n`` vectors, the score of a vector is the sum of its squared distances to its
``n - f - 2`` nearest neighbors; Krum takes the vector of smallest score, multi-Krum the mean of the
``q`` smallest (Blanchard et al., "Machine learning with adversaries: Byzantine tolerant gradient
descent", NeurIPS 2017). Scores and selection take a matrix of squared distances, so they serve as well
where nobody sees the vectors.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.blocks import combine_rows
from flower_coded.aggregation.distances import squared_distances
from flower_coded.aggregation.vectors import take_rows, takes_vectors
from flower_coded.codes.array_namespace import Array
from flower_coded.errors import DecodingError, ParameterError

__all__ = [
    "check_present",
    "has_neighbors",
    "krum",
    "krum_scores",
    "krum_selection",
    "multi_krum",
    "multi_krum_rows",
    "nearest_sums",
]


def krum_scores(distances: NDArray[np.float64], num_byzantine: int) -> NDArray[np.float64]:
    """Sum of the squared distances to the ``n - f - 2`` nearest neighbors.

    Parameters
    ----------
    distances : ndarray of shape (n, n)
        Squared distances.
    num_byzantine : int
        ``f``, with ``n >= 2 f + 3``.

    Returns
    -------
    ndarray of shape (n,), float64

    Raises
    ------
    ParameterError
        If ``n < 2 f + 3``, below which Krum promises nothing.

    Examples
    --------
    >>> vectors = np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]])
    >>> krum_scores(squared_distances(vectors), 1)
    array([  125.,   118.,    57.,   150., 17895.])
    """
    count = distances.shape[0]
    if num_byzantine < 0 or count < 2 * num_byzantine + 3:
        raise ParameterError(
            "num_byzantine",
            f"must satisfy n >= 2 f + 3 with n = {count}",
            num_byzantine,
            hint="expect fewer faults",
        )
    return nearest_sums(distances, count - num_byzantine - 2)


def nearest_sums(distances: NDArray[np.float64], neighbors: int) -> NDArray[np.float64]:
    """Sum of each row's distances to its nearest neighbors, itself left out.

    Examples
    --------
    >>> nearest_sums(np.array([[0.0, 3.0, 5.0], [3.0, 0.0, 4.0], [5.0, 4.0, 0.0]]), 1)
    array([3., 3., 4.])
    """
    # Infinity on the diagonal: a vector must not count itself among its nearest neighbors.
    apart = distances + np.diag(np.full(len(distances), np.inf))
    # A partition puts the nearest first in O(n) per row; their order among themselves does not matter.
    nearest = np.partition(apart, neighbors - 1, axis=1)[:, :neighbors]
    return np.asarray(nearest.sum(axis=1))


def krum_selection(
    distances: NDArray[np.float64], num_byzantine: int, num_selected: int = 1
) -> NDArray[np.int64]:
    """Rows of smallest score, best first; ties go to the lower index.

    Parameters
    ----------
    distances : ndarray of shape (n, n)
        Squared distances.
    num_byzantine : int
        ``f``, with ``n >= 2 f + 3``.
    num_selected : int
        ``q``, ``1 <= q <= n - f``.

    Returns
    -------
    ndarray of shape (num_selected,), int64

    Raises
    ------
    ParameterError
        If a bound above does not hold.

    Examples
    --------
    >>> vectors = np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]])
    >>> krum_selection(squared_distances(vectors), 1, 2)
    array([2, 1])
    """
    scores = krum_scores(distances, num_byzantine)
    if not 1 <= num_selected <= len(scores) - num_byzantine:
        limit = len(scores) - num_byzantine
        raise ParameterError("num_selected", f"must be between 1 and n - f = {limit}", num_selected)
    # Stable, so that equal scores go to the lower index and every party selects the same rows.
    return np.asarray(np.argsort(scores, kind="stable")[:num_selected], dtype=np.int64)


def krum(vectors: Array, num_byzantine: int, *, num_threads: int = 1) -> Array:
    """Return the vector of smallest score.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch.
    num_byzantine : int
        ``f``, with ``n >= 2 f + 3``. Rows that are not finite are far from all others.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (d,), float64

    Raises
    ------
    ParameterError
        If the bound does not hold, or the array is not two-dimensional.
    DecodingError
        If more than ``f`` rows are not finite, or too far from all others to be squared.

    Examples
    --------
    >>> krum(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]]), 1)
    array([2., 6.])
    """
    return multi_krum(vectors, num_byzantine, 1, num_threads=num_threads)


@takes_vectors
def multi_krum(vectors: Array, num_byzantine: int, num_selected: int, *, num_threads: int = 1) -> Array:
    """Average the ``num_selected`` vectors of smallest score.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch.
    num_byzantine : int
        ``f``, with ``n >= 2 f + 3``. Rows that are not finite are far from all others.
    num_selected : int
        ``q``, ``1 <= q <= n - f``.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (d,), float64

    Raises
    ------
    ParameterError
        If a bound does not hold, or the array is not two-dimensional.
    DecodingError
        If more than ``f`` rows are not finite, or too far from all others to be squared.

    Examples
    --------
    >>> multi_krum(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]]), 1, 2)
    array([1.5, 8. ])
    """
    distances = squared_distances(vectors, num_threads=num_threads)
    # Weights instead of a copy of the chosen rows: one pass over the vectors, q of n factors not zero.
    weights = np.zeros(len(distances))
    weights[_selected(distances, num_byzantine, num_selected)] = 1.0 / num_selected
    among = has_neighbors(distances)
    present = take_rows(vectors, among)
    return combine_rows(weights[among], present, num_threads=num_threads)


@takes_vectors
def multi_krum_rows(
    vectors: Array, num_byzantine: int, num_selected: int, *, num_threads: int = 1
) -> NDArray[np.int64]:
    """Find the rows that :func:`multi_krum` averages, best first.

    Parameters and errors are those of :func:`multi_krum`.

    Returns
    -------
    ndarray of shape (num_selected,), int64

    Examples
    --------
    >>> multi_krum_rows(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]]), 1, 2)
    array([2, 1])
    """
    return _selected(squared_distances(vectors, num_threads=num_threads), num_byzantine, num_selected)


def _selected(distances: NDArray[np.float64], num_byzantine: int, num_selected: int) -> NDArray[np.int64]:
    chosen = krum_selection(distances, num_byzantine, num_selected)
    check_present(distances, num_byzantine)
    return chosen


def check_present(distances: NDArray[np.float64], num_byzantine: int) -> None:
    """Check that no more than ``f`` rows are lost.

    Raises
    ------
    DecodingError
        If more are not finite, or too far from all others to be squared.
    """
    received, needed = int(has_neighbors(distances).sum()), len(distances) - num_byzantine
    if received < needed:
        message = "more vectors are not finite than may be faulty"
        raise DecodingError(message, received=received, needed=needed)


def has_neighbors(distances: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Rows at a finite distance from another: the others are not finite, or too far away to be squared."""
    return np.asarray(np.isfinite(distances).sum(axis=1) > 1)
