"""Mean around the median: of each coordinate, the values nearest to its median are averaged.

Xie, Koyejo and Gupta [1]_ call it Meamed: the median bounds what a liar can do, and averaging the ``n - f``
values around it wastes less than the median itself. It is Bulyan's second step as well. In sorted order the
values nearest to the median ``m`` stand side by side, and the ``s``-th smallest is left out in favor of the
``s + k``-th exactly if ``m - x_(s) > x_(s+k) - m``. So the sort of the outer ranks by a network
(:mod:`~flower_coded.aggregation.selection_network`) and one comparison per rank do, where others sort
distances and gather values.

References
----------
.. [1] C. Xie, O. Koyejo, I. Gupta, "Generalized Byzantine-tolerant SGD", 2018, arXiv:1802.10116, Definition
   7.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flower_coded.aggregation.blocks import run_blocks
from flower_coded.aggregation.lazy_rows import block_reader, stored_rows
from flower_coded.aggregation.selection_network import ranked_rows
from flower_coded.aggregation.vectors import device_float64, finite_part, host_view, takes_vectors
from flower_coded.codes.array_namespace import Array, constant_like, namespace_of
from flower_coded.errors import ParameterError

__all__ = ["mean_around_median", "mean_of_nearest_to_median"]


@takes_vectors
def mean_around_median(vectors: Array, num_byzantine: int, *, num_threads: int = 1) -> Array:
    """Average, of each coordinate, the ``n - f`` values nearest to the median.

    Parameters
    ----------
    vectors : array of shape (n, d)
        NumPy or torch.
    num_byzantine : int
        ``f``, ``0 <= 2 f < n``. Rows that are not finite count as faults already left out. Of two values as
        far from the median the smaller is kept.
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
    >>> mean_around_median(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]]), 1)
    array([3.  , 2.75])
    """
    present, num_lost = finite_part(vectors)
    count = len(present) + num_lost
    if not 0 <= 2 * num_byzantine < count:
        raise ParameterError("num_byzantine", f"must satisfy 0 <= 2 f < {count}", num_byzantine)
    kept = min(count - num_byzantine, len(present))
    return mean_of_nearest_to_median(present, kept, num_threads=num_threads)


def mean_of_nearest_to_median(present: Array, num_kept: int, *, num_threads: int = 1) -> Array:
    """Average, of each coordinate, the ``num_kept`` values nearest to the median.

    Parameters
    ----------
    present : array of shape (n, d)
        Finite.
    num_kept : int
        ``k``, from 1 to n.
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (d,), float64

    Examples
    --------
    >>> mean_of_nearest_to_median(np.array([[0.0], [1.0], [2.0], [9.0], [100.0]]), 3)
    array([1.])
    """
    values = host_view(present)
    if values is None:
        rows = device_float64(present).sort(dim=0).values
        return _mean_of_nearest(rows, num_kept, namespace_of(rows))
    num_rows, dimension = values.shape
    num_left_out = num_rows - num_kept
    middle = ((num_rows - 1) // 2, num_rows // 2)
    outer = (*range(num_left_out), *middle, *range(num_kept, num_rows))
    result = np.empty(dimension)

    def start(width: int) -> Callable[[slice], None]:
        read = block_reader(values, width)
        rank = ranked_rows(num_rows, width, values.dtype, outer)

        def average(columns: slice) -> None:
            with np.errstate(over="ignore"):
                result[columns] = _mean_of_nearest(rank(read(columns)), num_kept, np)

        return average

    run_blocks(start, dimension, values.dtype.itemsize * num_rows, num_threads)
    return constant_like(result, stored_rows(present))


def _mean_of_nearest(rows: Sequence[Any], num_kept: int, namespace: Any) -> Any:
    """Average the window of sorted rows around the median; ranks that are in every window need no order."""
    num_rows = len(rows)
    num_left_out = num_rows - num_kept
    twice_median = _float64(rows[(num_rows - 1) // 2]) + rows[num_rows // 2]
    # Twice the median in float64: half-way between two float32 values is no float32 value.
    leaves = [_float64(rows[rank]) + rows[rank + num_kept] < twice_median for rank in range(num_left_out)]
    total = namespace.zeros_like(twice_median)
    for rank in range(num_rows):
        # In the window are the first k ranks, and those that came in for another; less those that left.
        kept = leaves[rank - num_kept] if rank >= num_kept else None
        if rank < num_left_out:
            kept = ~leaves[rank] if kept is None else kept & ~leaves[rank]
        # Left-out values are not subtracted again: beside 1e300 the others would be lost.
        total += rows[rank] if kept is None else namespace.where(kept, _float64(rows[rank]), 0.0)
    return total / num_kept


def _float64(row: Any) -> Any:
    return row.astype(np.float64) if isinstance(row, np.ndarray) else row
