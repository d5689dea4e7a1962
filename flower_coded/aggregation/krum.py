"""Krum and multi-Krum: keep the vectors that lie closest to most others.

With ``f`` faults among ``n`` vectors, the score of a vector is the sum of its squared distances to its
``n - f - 2`` nearest neighbours; Krum takes the vector of smallest score, multi-Krum the mean of the
``q`` smallest (Blanchard et al., "Machine learning with adversaries: Byzantine tolerant gradient
descent", NeurIPS 2017). Scores and selection take a matrix of squared distances, so they serve as well
where nobody sees the vectors.

Distances are computed in float64 after subtracting the coordinate median, because ``|a|^2 + |b|^2 - 2 <a,
b>`` on raw model weights cancels: the common part of the weights is many times larger than what sets the
clients apart.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.coordinates import coordinate_median, finite_rows
from flower_coded.errors import ParameterError

__all__ = ["krum", "krum_scores", "krum_selection", "multi_krum", "squared_distances"]


def squared_distances(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Squared Euclidean distances between all rows.

    Parameters
    ----------
    vectors : ndarray of shape (n, d)

    Returns
    -------
    ndarray of shape (n, n), float64
        Symmetric, zero on the diagonal; infinite for rows that are not finite or too large to square.

    Examples
    --------
    >>> squared_distances(np.array([[0.0, 0.0], [3.0, 4.0]]))
    array([[ 0., 25.],
           [25.,  0.]])
    """
    finite = finite_rows(vectors)
    centred = vectors[finite].astype(np.float64) - coordinate_median(vectors)
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.einsum("ij,ij->i", centred, centred)
        among = lengths[:, None] + lengths[None, :] - 2.0 * (centred @ centred.T)
    among = np.where(np.isnan(among), np.inf, np.maximum(among, 0.0))
    distances = np.full((len(vectors), len(vectors)), np.inf)
    distances[np.ix_(finite, finite)] = (among + among.T) / 2.0
    np.fill_diagonal(distances, 0.0)
    return distances


def krum_scores(distances: NDArray[np.float64], num_byzantine: int) -> NDArray[np.float64]:
    """Sum of the squared distances to the ``n - f - 2`` nearest neighbours.

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
    apart = distances + np.diag(np.full(count, np.inf))
    neighbours = count - num_byzantine - 2
    nearest = np.partition(apart, neighbours - 1, axis=1)[:, :neighbours]
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
    return np.asarray(np.argsort(scores, kind="stable")[:num_selected], dtype=np.int64)


def krum(vectors: NDArray[np.floating], num_byzantine: int) -> NDArray[np.float64]:
    """Return the vector of smallest score.

    Parameters
    ----------
    vectors : ndarray of shape (n, d)
    num_byzantine : int
        ``f``, with ``n >= 2 f + 3``. Rows that are not finite are far from all others.

    Returns
    -------
    ndarray of shape (d,), float64

    Examples
    --------
    >>> krum(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]]), 1)
    array([2., 6.])
    """
    return multi_krum(vectors, num_byzantine, 1)


def multi_krum(vectors: NDArray[np.floating], num_byzantine: int, num_selected: int) -> NDArray[np.float64]:
    """Average the ``num_selected`` vectors of smallest score.

    Parameters
    ----------
    vectors : ndarray of shape (n, d)
    num_byzantine : int
        ``f``, with ``n >= 2 f + 3``. Rows that are not finite are far from all others.
    num_selected : int
        ``q``, ``1 <= q <= n - f``.

    Returns
    -------
    ndarray of shape (d,), float64

    Examples
    --------
    >>> multi_krum(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]]), 1, 2)
    array([1.5, 8. ])
    """
    chosen = krum_selection(squared_distances(vectors), num_byzantine, num_selected)
    return np.asarray(vectors[chosen].mean(axis=0, dtype=np.float64))
