"""Rules that treat every coordinate by itself: mean, median, trimmed mean.

Each takes ``n`` vectors as the rows of an array and returns one vector. A row that holds NaN or infinity
is no vector at all: it is left out and counted as one of the faults the rule was told to expect. Median
and trimmed mean follow Yin et al., "Byzantine-robust distributed learning: towards optimal statistical
rates", ICML 2018. Rules that look at whole vectors are in :mod:`flower_coded.aggregation.krum`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.errors import DecodingError, ParameterError

__all__ = ["coordinate_median", "finite_rows", "mean", "trimmed_mean"]


def finite_rows(vectors: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Mark the rows without NaN and infinity.

    Parameters
    ----------
    vectors : ndarray of shape (n, d)

    Returns
    -------
    ndarray of shape (n,), bool

    Raises
    ------
    ParameterError
        If the array is not two-dimensional.
    DecodingError
        If no row is finite.

    Examples
    --------
    >>> finite_rows(np.array([[1.0, 2.0], [np.nan, 0.0]]))
    array([ True, False])
    """
    if vectors.ndim != 2:
        raise ParameterError("vectors", "must have shape (n, d), one vector per row", vectors.shape)
    finite = np.asarray(np.isfinite(vectors).all(axis=1))
    if not finite.any():
        raise DecodingError("no vector is finite", received=0, needed=1)
    return finite


def mean(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Average the vectors: exact without faults, at the mercy of a single one.

    Parameters
    ----------
    vectors : ndarray of shape (n, d)

    Returns
    -------
    ndarray of shape (d,), float64

    Examples
    --------
    >>> mean(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]]))
    array([22.4,  4.2])
    """
    return np.asarray(vectors[finite_rows(vectors)].mean(axis=0, dtype=np.float64))


def coordinate_median(vectors: NDArray[np.floating]) -> NDArray[np.float64]:
    """Take the median of each coordinate; between the middle two for an even number.

    Parameters
    ----------
    vectors : ndarray of shape (n, d)

    Returns
    -------
    ndarray of shape (d,), float64

    Examples
    --------
    >>> coordinate_median(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]]))
    array([2., 3.])
    """
    return np.asarray(np.median(vectors[finite_rows(vectors)], axis=0), dtype=np.float64)


def trimmed_mean(vectors: NDArray[np.floating], num_byzantine: int) -> NDArray[np.float64]:
    """Average each coordinate without its ``num_byzantine`` smallest and largest values.

    Parameters
    ----------
    vectors : ndarray of shape (n, d)
    num_byzantine : int
        ``f``, faults expected; ``2 f < n``. Rows that are not finite count as faults already trimmed.

    Returns
    -------
    ndarray of shape (d,), float64

    Raises
    ------
    ParameterError
        If ``2 f >= n``.

    Examples
    --------
    >>> trimmed_mean(np.array([[0.0, 0], [1, 10], [2, 6], [9, 2], [100, 3]]), 1).round(4)
    array([4.    , 3.6667])
    """
    count = vectors.shape[0]
    if not 0 <= 2 * num_byzantine < count:
        raise ParameterError("num_byzantine", f"must satisfy 0 <= 2 f < {count}", num_byzantine)
    finite = finite_rows(vectors)
    trim = max(num_byzantine - int((~finite).sum()), 0)
    present = vectors[finite].astype(np.float64)
    last = present.shape[0] - trim
    middle = np.partition(present, (trim, last - 1), axis=0)[trim:last]
    return np.asarray(middle.mean(axis=0))
