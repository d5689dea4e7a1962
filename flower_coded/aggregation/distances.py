"""Squared distances between vectors, right in every pair.

One matrix product gives all distances, as ``|a|^2 + |b|^2 - 2 <a, b>``, but on raw model weights the three
terms cancel: the common part of the weights is many times larger than what sets the clients apart. Three
measures keep the digits. Products run in float64. Vectors are centered first, at the coordinate median of
three of them, which costs next to nothing and is near all honest vectors unless two of the three are liars;
where too many pairs show that it was not, at the coordinate median of all. Pairs that still cancel, such as
colluders who send almost the same vector far out, are subtracted from each other entry by entry.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.blocks import centered_products, combine_rows, distances_to
from flower_coded.aggregation.coordinates import coordinate_median
from flower_coded.aggregation.lazy_rows import RowMixtures, stored_rows
from flower_coded.aggregation.vectors import finite_rows, take_rows, takes_vectors
from flower_coded.codes.array_namespace import Array, constant_like

__all__ = ["squared_distances"]

CANCELED = 1e-6  # of the two squared lengths: below it a distance has lost six of its sixteen digits


@takes_vectors
def squared_distances(vectors: Array, *, num_threads: int = 1) -> NDArray[np.float64]:
    """Squared Euclidean distances between all rows.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    ndarray of shape (n, n), float64
        Symmetric, zero on the diagonal; infinite for rows that are not finite or too large to square.

    Raises
    ------
    ParameterError
        If the array is not two-dimensional.
    DecodingError
        If no row is finite.

    Examples
    --------
    >>> squared_distances(np.array([[0.0, 0.0], [3.0, 4.0]]))
    array([[ 0., 25.],
           [25.,  0.]])
    """
    finite = finite_rows(vectors)
    present = take_rows(vectors, finite)
    distances = np.full((len(finite), len(finite)), np.inf)
    distances[np.ix_(finite, finite)] = _among(present, num_threads)
    np.fill_diagonal(distances, 0.0)
    return distances


def _among(present: Array, num_threads: int) -> NDArray[np.float64]:
    among, is_lost = _expanded(present, present[:3], num_threads)
    # Honest vectors around a good center cancel in few pairs; more mean that two of the three first rows lie.
    if is_lost.sum() > len(present):
        among, is_lost = _expanded(present, present, num_threads)
    for one, other in np.argwhere(is_lost):
        with np.errstate(over="ignore"):
            among[one, other] = among[other, one] = _apart(present, one, other, num_threads) ** 2
    return among


def _expanded(
    present: Array, around: Array, num_threads: int
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Distances by the expanded square, and a mask of the pairs in which it cancels or overflows twice."""
    center = coordinate_median(around, num_threads=num_threads)
    products = centered_products(present, center, num_threads=num_threads)
    # inf - inf in the sum over blocks gives NaN: such a row was too long to be squared.
    lengths = np.where(np.isnan(np.diag(products)), np.inf, np.diag(products))
    is_huge = np.isinf(lengths)
    with np.errstate(over="ignore", invalid="ignore"):
        # Rounding is relative to the terms that were subtracted, not to the distance that is left.
        scale = lengths[:, None] + lengths[None, :]
        among = scale - (products + products.T)
    is_lost = (among < CANCELED * scale) | (is_huge[:, None] & is_huge[None, :])
    # Rounding may leave a distance slightly below zero, and a square root later would make it NaN.
    among = np.where(np.isfinite(among), np.maximum(among, 0.0), np.inf)
    return among, np.triu(is_lost, k=1)


def _apart(vectors: Array, one: int, other: int, num_threads: int) -> float:
    """Distance of two rows, subtracted from each other entry by entry."""
    if isinstance(vectors, RowMixtures):
        # Of combinations the weights are subtracted first: rows mixed from the same neighbors are equal.
        weights = vectors.matrix[[one, other]]
        apart = weights[:1] - weights[1:]
        if not apart.any():
            return 0.0
        pair: Array = RowMixtures(vectors.rows, apart)
        point = constant_like(np.zeros(vectors.shape[1]), stored_rows(vectors))
    else:
        pair = vectors[int(other) : int(other) + 1]
        point = combine_rows(np.ones(1), vectors[int(one) : int(one) + 1])
    return float(distances_to(pair, point, num_threads=num_threads)[0])
