"""Bulyan: choose vectors by Krum again and again, then average around the median of the chosen.

In high dimension a liar may stay near all honest vectors in total and yet be far off in one coordinate, which
Krum cannot see. Bulyan [1]_ (Algorithm of Section 4) therefore (1) takes the vector that Krum takes, removes
it, and repeats until ``theta = n - 2 f`` are chosen; (2) averages, of each coordinate, the ``beta = theta - 2
f`` chosen values nearest to their median. It needs ``n >= 4 f + 3``.

In the last repetitions fewer than ``2 f + 3`` vectors are left; Krum's score then sums over the
``max(n' - f - 2, 1)`` nearest of those. Flower's ``Bulyan`` and others choose all ``theta`` by one multi-Krum
instead, which may choose other vectors.

References
----------
.. [1] E. M. El Mhamdi, R. Guerraoui, S. Rouault, "The hidden vulnerability of distributed learning in
   Byzantium", ICML 2018.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.around_median import mean_of_nearest_to_median
from flower_coded.aggregation.distances import squared_distances
from flower_coded.aggregation.krum import check_present, nearest_sums
from flower_coded.aggregation.vectors import take_rows, takes_vectors
from flower_coded.codes.array_namespace import Array
from flower_coded.errors import ParameterError

__all__ = ["bulyan", "bulyan_selection"]


@takes_vectors
def bulyan(vectors: Array, num_byzantine: int, *, num_threads: int = 1) -> Array:
    """Average, of each coordinate, the chosen values nearest to their median.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch.
    num_byzantine : int
        ``f``, with ``n >= 4 f + 3``. Rows that are not finite are far from all others.
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
    >>> bulyan(np.array([[0.0], [1], [2], [3], [4], [5], [100]]), 1).round(3)
    array([3.])
    """
    distances = squared_distances(vectors, num_threads=num_threads)
    chosen = bulyan_selection(distances, num_byzantine)
    check_present(distances, num_byzantine)
    num_kept = len(chosen) - 2 * num_byzantine
    return mean_of_nearest_to_median(take_rows(vectors, chosen), num_kept, num_threads=num_threads)


def bulyan_selection(distances: NDArray[np.float64], num_byzantine: int) -> NDArray[np.int64]:
    """Choose ``n - 2 f`` rows by Krum, one after the other.

    Where one neighbor is left to count, each other's nearest have the same score: such ties go to the row
    that is nearer to all the others, then to the lower row.

    Parameters
    ----------
    distances : ndarray of shape (n, n)
        Squared distances.
    num_byzantine : int
        ``f``, with ``n >= 4 f + 3``.

    Returns
    -------
    ndarray of shape (n - 2 f,), int64
        In the order in which they were chosen.

    Raises
    ------
    ParameterError
        If ``n < 4 f + 3``.

    Examples
    --------
    >>> vectors = np.array([[0.0], [1], [2], [3], [4], [5], [100]])
    >>> bulyan_selection(squared_distances(vectors), 1)
    array([3, 2, 4, 1, 5])
    """
    count = len(distances)
    if num_byzantine < 0 or count < 4 * num_byzantine + 3:
        raise ParameterError(
            "num_byzantine",
            f"must satisfy n >= 4 f + 3 with n = {count}",
            num_byzantine,
            hint="expect fewer faults, or take multi-Krum",
        )
    left, chosen = np.arange(count), []
    for _ in range(count - 2 * num_byzantine):
        among = distances[np.ix_(left, left)]
        scores = nearest_sums(among, max(len(left) - num_byzantine - 2, 1))
        best = int(np.lexsort((among.sum(axis=1), scores))[0])
        chosen.append(int(left[best]))
        left = np.delete(left, best)
    return np.asarray(chosen, dtype=np.int64)
