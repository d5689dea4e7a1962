"""Rules that treat every coordinate by itself: mean, median, trimmed mean.

Each takes ``n`` vectors as the rows of an array, NumPy or torch, and returns one vector of the same kind in
float64. A row that holds NaN or infinity is no vector at all: it is left out and counted as one of the faults
the rule was told to expect. Median and trimmed mean follow Yin et al., "Byzantine-robust distributed
learning: toward optimal statistical rates", ICML 2018. Rules that look at whole vectors are in
:mod:`flower_coded.aggregation.krum` and the modules beside it.
"""

from __future__ import annotations

import numpy as np

from flower_coded.aggregation.blocks import combine_rows, mean_rows
from flower_coded.aggregation.lazy_rows import LazyRows, stored_rows
from flower_coded.aggregation.selection_network import middle_mean
from flower_coded.aggregation.vectors import (
    device_float64,
    finite_part,
    finite_rows,
    host_view,
    takes_vectors,
)
from flower_coded.codes.array_namespace import Array, constant_like, namespace_of
from flower_coded.errors import ParameterError

__all__ = ["coordinate_median", "finite_rows", "mean", "trimmed_mean"]


@takes_vectors
def mean(vectors: Array, *, num_threads: int = 1) -> Array:
    """Average the vectors: exact without faults, at the mercy of a single one.

    Parameters
    ----------
    vectors : array of shape (n, d)
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (d,), float64

    Raises
    ------
    ParameterError
        If the array is not two-dimensional.
    DecodingError
        If no row is finite.

    Examples
    --------
    >>> mean(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]]))
    array([22.4,  4.2])
    """
    if vectors.ndim == 2 and len(vectors) and not isinstance(vectors, LazyRows):
        average = mean_rows(vectors, num_threads=num_threads)
        # Finite only if all rows are: most rounds need no pass to ask each of them. A sum that is beyond
        # float64 is not finite either, and is taken again below as a sum of shares.
        if bool(namespace_of(average).isfinite(average).all()):
            return average
    present, _ = finite_part(vectors)
    return combine_rows(np.full(len(present), 1.0 / len(present)), present, num_threads=num_threads)


@takes_vectors
def coordinate_median(vectors: Array, *, num_threads: int = 1) -> Array:
    """Take the median of each coordinate; between the middle two for an even number.

    Parameters
    ----------
    vectors : array of shape (n, d)
    num_threads : int
        Threads that share the work on a CPU.

    Returns
    -------
    array of shape (d,), float64

    Raises
    ------
    ParameterError
        If the array is not two-dimensional.
    DecodingError
        If no row is finite.

    Examples
    --------
    >>> coordinate_median(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]]))
    array([2., 3.])
    """
    present, _ = finite_part(vectors)
    return _middle_mean(present, (len(present) - 1) // 2, len(present) // 2 + 1, num_threads)


@takes_vectors
def trimmed_mean(vectors: Array, num_byzantine: int, *, num_threads: int = 1) -> Array:
    """Average each coordinate without its ``num_byzantine`` smallest and largest values.

    Parameters
    ----------
    vectors : array of shape (n, d)
    num_byzantine : int
        ``f``, faults expected; ``2 f < n``. Rows that are not finite count as faults already trimmed.
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
    >>> trimmed_mean(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]]), 1).round(4)
    array([4.    , 3.6667])
    """
    present, num_lost = finite_part(vectors)
    count = len(present) + num_lost
    if not 0 <= 2 * num_byzantine < count:
        raise ParameterError("num_byzantine", f"must satisfy 0 <= 2 f < {count}", num_byzantine)
    trim = max(num_byzantine - num_lost, 0)
    return _middle_mean(present, trim, len(present) - trim, num_threads)


def _middle_mean(present: Array, first: int, last: int, num_threads: int) -> Array:
    """Mean of the values of rank ``first`` to ``last - 1``, where the vectors are."""
    values = host_view(present)
    if values is None:
        return device_float64(present).sort(dim=0).values[first:last].mean(dim=0)
    return constant_like(middle_mean(values, first, last, num_threads=num_threads), stored_rows(present))
