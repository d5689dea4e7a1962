"""CAF and SMEA: rules that keep the vectors whose covariance has no large eigenvalue.

Liars that agree on a direction stretch the covariance along it. The *covariance-bound agnostic filter* (CAF)
[1]_ (Algorithm 2) weighs every vector with ``c_i = 1`` and repeats: with the weighted mean ``mu`` and the
largest eigenvalue ``lambda`` of the weighted covariance, of eigenvector ``v``, take ``tau_i = <v, x_i -
mu>^2`` and ``c_i <- c_i (1 - tau_i / max_j tau_j)``, until the weights sum to ``n - 2 f`` or less; the answer
is the mean whose ``lambda`` was smallest. *Smallest maximum eigenvalue averaging* (SMEA) [2]_ (Section 4) is
the mean of the ``n - f`` vectors whose covariance has the smallest largest eigenvalue: it tries all ``n
choose f`` subsets.

Both need inner products only (:mod:`~flower_coded.aggregation.gram`), one pass over the vectors, and
eigenvalues are exact. ByzFL takes one step of a power iteration from a random start instead, so that its
answer differs from run to run. The largest ``tau_j`` is sought among the vectors that still
have weight, so that every step takes one away.

References
----------
.. [1] Y. Allouah, R. Guerraoui, J. Stephan, "Towards trustworthy federated learning with untrusted
   participants", ICML 2025.
.. [2] Y. Allouah, R. Guerraoui, N. Gupta, R. Pinot, J. Stephan, "On the privacy-robustness-utility trilemma
   in distributed learning", ICML 2023.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.blocks import combine_rows
from flower_coded.aggregation.gram import central_products, check_minority, principal_component
from flower_coded.aggregation.vectors import take_rows, takes_vectors
from flower_coded.codes.array_namespace import Array
from flower_coded.errors import ParameterError

__all__ = ["MAX_SUBSETS", "covariance_filter", "smallest_eigenvalue_averaging"]

MAX_SUBSETS = 200_000  # of SMEA: half a minute for 20 rows
BATCH = 4096  # subsets whose eigenvalues are found at once


@takes_vectors
def covariance_filter(vectors: Array, num_byzantine: int, *, num_threads: int = 1) -> Array:
    """Filter by the largest eigenvalue of the covariance (CAF).

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch.
    num_byzantine : int
        ``f``, ``0 <= 2 f < n``. Rows that are not finite, or too long to be squared, count as faults already
        filtered.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (d,), float64

    Raises
    ------
    ParameterError
        If ``2 f >= n``, or the array is not two-dimensional.
    DecodingError
        If no row is finite.

    Examples
    --------
    >>> covariance_filter(np.array([[0.0], [1.0], [2.0], [3.0], [100.0]]), 1).round(3)
    array([1.508])
    """
    check_minority(num_byzantine, len(vectors))
    rows, products = central_products(vectors, num_threads=num_threads)
    faults = max(num_byzantine - (len(vectors) - len(rows)), 0)
    weights = np.ones(len(rows))
    best, smallest = weights, np.inf
    # At least one weight becomes zero each time, so that this ends.
    while weights.sum() > len(rows) - 2 * faults or np.isinf(smallest):
        largest, components = principal_component(products, weights)
        if largest < smallest:
            best, smallest = weights, largest
        if largest == 0:  # all vectors that have a weight are equal
            break
        weights = weights * np.maximum(1.0 - components / components[weights > 0].max(), 0.0)
    return combine_rows(best / best.sum(), take_rows(vectors, rows), num_threads=num_threads)


@takes_vectors
def smallest_eigenvalue_averaging(
    vectors: Array, num_byzantine: int, *, max_subsets: int = MAX_SUBSETS, num_threads: int = 1
) -> Array:
    """Average the ``n - f`` vectors whose covariance has the smallest largest eigenvalue (SMEA).

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch.
    num_byzantine : int
        ``f``, ``0 <= 2 f < n``. Rows that are not finite, or too long to be squared, count as faults already
        left out. Of equal subsets the first in lexicographic order is taken.
    max_subsets : int
        Subsets tried at most.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (d,), float64

    Raises
    ------
    ParameterError
        If ``2 f >= n``, there are more subsets than allowed, or the array is not two-dimensional.
    DecodingError
        If no row is finite.

    Examples
    --------
    >>> smallest_eigenvalue_averaging(np.array([[0.0], [1.0], [2.0], [3.0], [100.0]]), 1)
    array([1.5])
    """
    check_minority(num_byzantine, len(vectors))
    rows, products = central_products(vectors, num_threads=num_threads)
    kept = len(rows) - max(num_byzantine - (len(vectors) - len(rows)), 0)
    num_subsets = math.comb(len(rows), kept)
    if num_subsets > max_subsets:
        raise ParameterError(
            "num_byzantine",
            f"must leave at most {max_subsets} subsets of {len(rows)} vectors",
            num_byzantine,
            hint="take covariance-filter, which does the like in a few steps",
        )
    subsets = itertools.combinations(range(len(rows)), kept)
    best, smallest = np.arange(kept), np.inf
    while batch := list(itertools.islice(subsets, BATCH)):
        numbers = np.asarray(batch)
        largest = _largest_eigenvalues(products[numbers[:, :, None], numbers[:, None, :]])
        first = int(largest.argmin())
        if largest[first] < smallest:
            best, smallest = numbers[first], float(largest[first])
    return combine_rows(np.full(kept, 1.0 / kept), take_rows(vectors, rows[best]), num_threads=num_threads)


def _largest_eigenvalues(products: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of the covariances behind stacked products, up to the common factor ``1 / (n - f)``."""
    means = products.mean(axis=1, keepdims=True)
    centered = products - means - means.transpose(0, 2, 1) + means.mean(axis=2, keepdims=True)
    return np.asarray(np.linalg.eigvalsh(centered)[:, -1])
