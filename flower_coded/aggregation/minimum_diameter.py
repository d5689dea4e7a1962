"""Minimum diameter averaging: the mean of the ``n - f`` vectors whose largest distance is smallest.

The rule (MDA [1]_, Section 4; Rousseeuw's idea for estimators) is stated over all ``n choose f`` subsets. It
need not be searched so. A subset of diameter ``delta`` leaves out one end of every pair that is further
apart, so that for a given ``delta`` the rows left out are a *vertex cover* of at most ``f`` rows of the graph
of those pairs. Whether there is one is decided by a branching whose depth is ``f``, whatever ``n``: a row
with more than ``f`` far partners must go, else it or all its partners go. A binary search over the distances
finds ``delta``. With 20 rows and 4 faults that takes a millisecond instead of 4,845 subsets; with far liars,
200 rows and 40 faults take no branching at all. Among subsets of the same diameter the first in lexicographic
order is taken, as ByzFL does.

References
----------
.. [1] E. M. El Mhamdi, S. Farhadkhani, R. Guerraoui, A. Guirguis, L.-N. Hoang, S. Rouault, "Collaborative
   learning in the jungle (decentralized, Byzantine, heterogeneous, asynchronous and nonconvex learning)",
   NeurIPS 2021.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.aggregation.blocks import combine_rows
from flower_coded.aggregation.distances import squared_distances
from flower_coded.aggregation.vectors import finite_rows, take_rows, takes_vectors
from flower_coded.codes.array_namespace import Array
from flower_coded.errors import ParameterError

__all__ = ["MAX_STEPS", "minimum_diameter_averaging", "minimum_diameter_subset"]

MAX_STEPS = 200_000  # of the branching, some seconds


@takes_vectors
def minimum_diameter_averaging(
    vectors: Array, num_byzantine: int, *, max_steps: int = MAX_STEPS, num_threads: int = 1
) -> Array:
    """Average the ``n - f`` vectors of smallest diameter.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch.
    num_byzantine : int
        ``f``, ``0 <= 2 f < n``. Rows that are not finite count as faults already left out.
    max_steps : int
        Branchings after which the search is given up.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (d,), float64

    Raises
    ------
    ParameterError
        If ``2 f >= n``, the search takes more than ``max_steps``, or the array is not two-dimensional.
    DecodingError
        If no row is finite.

    Examples
    --------
    >>> minimum_diameter_averaging(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]]), 1)
    array([3. , 4.5])
    """
    finite = finite_rows(vectors)
    count, num_lost = len(finite), int(len(finite) - finite.sum())
    if not 0 <= 2 * num_byzantine < count:
        raise ParameterError("num_byzantine", f"must satisfy 0 <= 2 f < {count}", num_byzantine)
    present = take_rows(vectors, finite)
    distances = squared_distances(present, num_threads=num_threads)
    subset = minimum_diameter_subset(distances, max(num_byzantine - num_lost, 0), max_steps=max_steps)
    weights = np.full(len(subset), 1.0 / len(subset))
    return combine_rows(weights, take_rows(present, subset), num_threads=num_threads)


def minimum_diameter_subset(
    distances: NDArray[np.float64], num_left_out: int, *, max_steps: int = MAX_STEPS
) -> NDArray[np.int64]:
    """Find the ``n - f`` rows whose largest distance is smallest.

    Parameters
    ----------
    distances : ndarray of shape (n, n)
        Any increasing function of the distances: squares will do.
    num_left_out : int
        ``f``, fewer than n.
    max_steps : int
        Branchings after which the search is given up.

    Returns
    -------
    ndarray of shape (n - f,), int64
        Ascending; of all subsets of that diameter, the first in lexicographic order.

    Raises
    ------
    ParameterError
        If the search takes more than ``max_steps``.

    Examples
    --------
    >>> minimum_diameter_subset(squared_distances(np.array([[0.0], [5.0], [6.0], [7.0]])), 1)
    array([1, 2, 3])
    """
    count = len(distances)
    search = _Search(max_steps)
    upper = np.unique(distances[np.triu_indices(count, k=1)]) if count > 1 else np.zeros(1)
    low, high = -1, len(upper) - 1  # nothing is excluded at the largest distance, so that it always works
    while high - low > 1:
        middle = (low + high) // 2
        if search.covers(_far_partners(distances, upper[middle]), (1 << count) - 1, num_left_out):
            high = middle
        else:
            low = middle
    far = _far_partners(distances, upper[high])
    kept, active, budget = [], (1 << count) - 1, num_left_out
    for row in range(count):
        # Keep a row if the rest can still be covered without it: this gives the lexicographically first.
        if not active >> row & 1:
            continue
        gone = far[row] & active
        rest = active & ~gone & ~(1 << row)
        if gone.bit_count() <= budget and search.covers(far, rest, budget - gone.bit_count()):
            kept.append(row)
            active, budget = rest, budget - gone.bit_count()
        else:
            active, budget = active & ~(1 << row), budget - 1
    return np.asarray(kept[: count - num_left_out], dtype=np.int64)


class _Search:
    """Decides whether rows can be left out so that no far pair stays; counts its branchings."""

    def __init__(self, max_steps: int) -> None:
        self.max_steps = self.steps_left = max_steps

    def covers(self, far: list[int], active: int, budget: int) -> bool:
        """Tell whether at most ``budget`` active rows cover all far pairs among the active."""
        while True:
            self.steps_left -= 1
            if self.steps_left < 0:
                raise ParameterError(
                    "num_byzantine",
                    f"must allow an exact search in {self.max_steps} steps",
                    budget,
                    hint="raise max_steps, or take smallest distances row by row: monna, multi-krum",
                )
            degrees = [((far[row] & active).bit_count(), row) for row in _rows_of(active)]
            most, row = max(degrees, default=(0, 0))
            if most == 0:
                return True
            if sum(degree for degree, _ in degrees) > 2 * budget * most:
                return False  # even the best rows cover too few pairs
            without = active & ~(1 << row)
            if most > budget or most == 1:
                # Kept, it would cost more partners than may go; or it is one end of a lone pair.
                active, budget = without, budget - 1
                continue
            partners = far[row] & active
            if self.covers(far, without, budget - 1):
                return True
            active, budget = without & ~partners, budget - most


def _far_partners(distances: NDArray[np.float64], bound: float) -> list[int]:
    """Give, for every row, the rows further away than the bound, as bits of one number."""
    packed = np.packbits(distances > bound, axis=1, bitorder="little")
    return [int.from_bytes(row.tobytes(), "little") for row in packed]


def _rows_of(bits: int) -> list[int]:
    rows = []
    while bits:
        lowest = bits & -bits
        rows.append(lowest.bit_length() - 1)
        bits ^= lowest
    return rows
