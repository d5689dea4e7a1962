"""MoNNA: the mean of the vectors nearest to one that is trusted.

Where every node aggregates what it received from its neighbors, its own vector is one that it can trust:
Farhadkhani et al. [1]_ average the ``n - f`` vectors nearest to it, the *pivot*, which costs ``n`` distances
instead of ``n^2``. On a server the pivot must be a vector known to be honest, a node of the server's own say;
if the pivot lies, so does the result.

References
----------
.. [1] S. Farhadkhani, R. Guerraoui, N. Gupta, L.-N. Hoang, R. Pinot, J. Stephan, "Robust collaborative
   learning with linear gradient overhead", ICML 2023, Algorithm 1.
"""

from __future__ import annotations

import numpy as np

from flower_coded.aggregation.blocks import combine_rows, distances_to
from flower_coded.aggregation.vectors import finite_rows, take_rows, takes_vectors
from flower_coded.codes.array_namespace import Array
from flower_coded.errors import DecodingError, ParameterError

__all__ = ["nearest_to_pivot_mean"]


@takes_vectors
def nearest_to_pivot_mean(
    vectors: Array, num_byzantine: int, pivot: int = 0, *, num_threads: int = 1
) -> Array:
    """Average the ``n - f`` vectors nearest to the pivot, itself among them.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch.
    num_byzantine : int
        ``f``, ``0 <= 2 f < n``. Rows that are not finite count as faults already left out.
    pivot : int
        Row of the trusted vector.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (d,), float64

    Raises
    ------
    ParameterError
        If ``2 f >= n``, there is no such row, or the array is not two-dimensional.
    DecodingError
        If the pivot is not finite.

    Examples
    --------
    >>> nearest_to_pivot_mean(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]]), 1, pivot=2)
    array([3. , 4.5])
    """
    if vectors.ndim != 2 or not len(vectors):
        finite_rows(vectors)  # refuses
    count = len(vectors)
    if not 0 <= 2 * num_byzantine < count:
        raise ParameterError("num_byzantine", f"must satisfy 0 <= 2 f < {count}", num_byzantine)
    if not 0 <= pivot < count:
        raise ParameterError("pivot", f"must be a row of {count}", pivot)
    center = combine_rows(np.ones(1), take_rows(vectors, np.array([pivot])), num_threads=num_threads)
    distances = distances_to(vectors, center, num_threads=num_threads)
    # Rows at a finite distance are finite: only where one is not are they all looked at.
    finite = np.isfinite(distances)
    if not finite.all():
        finite = finite_rows(vectors)
    if not finite[pivot]:
        raise DecodingError("the pivot is not finite", received=0, needed=1)
    present, distances = take_rows(vectors, finite), distances[finite]
    distances[int(finite[:pivot].sum())] = -1.0  # the pivot comes first, also among its equals
    num_kept = min(count - num_byzantine, len(present))
    # Stable, so that ties go to the lower row.
    nearest = np.argsort(distances, kind="stable")[:num_kept]
    weights = np.zeros(len(present))
    weights[nearest] = 1.0 / num_kept
    return combine_rows(weights, present, num_threads=num_threads)
