"""Separable matrices: binary matrices whose sums of up to ``k`` columns are all distinct.

*Kautz and Singleton* (1964): take ``n`` words of a Reed-Solomon code of dimension ``d`` over GF(q) and
write each of ``L = k (d - 1) + 1`` symbols one-hot. Two words agree in at most ``d - 1`` places, so ``k``
words cover at most ``k (d - 1) < L`` places of another one: no sum of ``k`` columns contains a further
column (the matrix is ``k``-*disjunct*), and hence all sums of up to ``k`` columns differ. It has ``q L``
rows of weight about ``n / q``, for large ``n`` far fewer than ``n``. For small ``n`` the search of
:mod:`flower_coded.codes.subset.column_search` finds fewer.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.subset.column_search import MAX_SEARCH_MODELS, search_columns
from flower_coded.codes.subset.column_sums import count_sums
from flower_coded.codes.subset.constructions import backdoor_detection_code
from flower_coded.codes.subset.feasibility import check_at_least_one
from flower_coded.codes.subset.finite_fields import field_tables, is_prime_power

__all__ = ["kautz_singleton_matrix", "kautz_singleton_rows", "raise_row_weight", "separable_matrix"]


def kautz_singleton_matrix(num_columns: int, num_attackers: int) -> NDArray[np.bool_]:
    """Build a ``k``-disjunct matrix from a Reed-Solomon code (Kautz and Singleton 1964).

    Among all prime powers ``q`` and dimensions ``d`` with ``q^d >= n`` and ``q >= k (d - 1) + 1`` places to
    evaluate at, the pair with fewest rows is taken; ``d = 1`` is the identity matrix.

    Parameters
    ----------
    num_columns : int
        ``n >= 1``.
    num_attackers : int
        ``k >= 1``: no sum of ``k`` columns contains another column.

    Returns
    -------
    ndarray of shape (m, n), bool
        ``m <= n`` rows, none of them zero; every column has the same weight.

    Raises
    ------
    ParameterError
        If a parameter is below 1.

    Examples
    --------
    >>> kautz_singleton_matrix(1000, 2).shape
    (49, 1000)
    """
    check_at_least_one(num_columns=num_columns, num_attackers=num_attackers)
    order, dimension = _smallest_field(num_columns, num_attackers)
    if dimension == 1:
        return np.eye(num_columns, dtype=bool)
    length = num_attackers * (dimension - 1) + 1
    plus, times = field_tables(order)
    digits = np.arange(num_columns)[:, None] // order ** np.arange(dimension) % order
    words = np.zeros((num_columns, length), dtype=np.int64)
    for coefficient in digits.T[::-1]:  # Horner, at the points 0 .. length - 1
        words = plus[times[words, np.arange(length)[None, :]], coefficient[:, None]]
    one_hot = words[:, :, None] == np.arange(order)
    matrix = one_hot.reshape(num_columns, length * order).T
    # A symbol that no word has in its place would be a model that trains on nobody.
    return np.ascontiguousarray(matrix[matrix.any(axis=1)])


def kautz_singleton_rows(num_columns: int, num_attackers: int) -> int:
    """Tell how many rows :func:`kautz_singleton_matrix` has at most, without building it.

    Parameters
    ----------
    num_columns, num_attackers : int
        ``n`` and ``k``.

    Returns
    -------
    int
        ``q L``; symbols that no word uses in some place save a few.

    Examples
    --------
    >>> kautz_singleton_rows(1000, 2)
    49
    """
    order, dimension = _smallest_field(num_columns, num_attackers)
    return order * (num_attackers * (dimension - 1) + 1)


def separable_matrix(num_columns: int, num_attackers: int, *, seed: int = 0) -> NDArray[np.bool_]:
    """Build a k-bar-separable matrix with few rows: by search where quick, else by Kautz and Singleton.

    Parameters
    ----------
    num_columns : int
        ``n >= 1``.
    num_attackers : int
        ``k >= 1``.
    seed : int
        Seed of the search.

    Returns
    -------
    ndarray of shape (m, n), bool
        All sums of one to ``k`` columns are distinct and no column is zero.

    Raises
    ------
    ParameterError
        If a parameter is below 1.

    Examples
    --------
    >>> separable_matrix(8, 2).shape
    (7, 8)
    """
    matrix = kautz_singleton_matrix(num_columns, num_attackers)
    num_sums = count_sums(num_columns, num_attackers)
    most = min(len(matrix) - 1, MAX_SEARCH_MODELS)
    generator = np.random.default_rng(seed)
    # m rows have 2^m - 1 sums other than zero: with fewer rows two sets would share one.
    for num_rows in range(num_sums.bit_length(), most + 1):
        found = search_columns(num_attackers, 1, num_columns, num_rows, generator, only_separable=True)
        if found is not None:
            return found
    return matrix


def raise_row_weight(matrix: NDArray[np.bool_], num_attackers: int, row_weight: int) -> NDArray[np.bool_]:
    """Replace light rows by heavier ones that tell the same sets of users apart.

    A row of ones ``O`` and zeros ``Z`` tells whether ``X`` lies in ``Z``. If ``|O| < r``, it is replaced by
    the rows that have ones on ``O`` and a BDC(k, r - |O|, |Z|) on ``Z``: when ``X`` meets ``O`` all of them
    are reached, and when ``X`` lies in ``Z`` the detection code leaves one of them clean. Sums that
    differed therefore still differ.

    Parameters
    ----------
    matrix : ndarray of shape (m, n), bool
        Any matrix with ``n >= k + r``.
    num_attackers, row_weight : int
        ``k`` and ``r``.

    Returns
    -------
    ndarray of shape (m', n), bool
        Every row has weight at least ``r``.

    Examples
    --------
    >>> raise_row_weight(np.eye(4, dtype=bool), 1, 2).sum(axis=1).min()
    np.int64(2)
    """
    rows: list[NDArray[np.bool_]] = []
    detection: dict[int, NDArray[np.bool_]] = {}  # by the ones missing; |Z| = n - r + missing
    for row in matrix:
        missing = row_weight - int(row.sum())
        if missing <= 0:
            rows.append(row[None, :])
            continue
        if missing not in detection:
            code = backdoor_detection_code(num_attackers, missing, int((~row).sum()))
            detection[missing] = code.matrix
        block = np.ones((len(detection[missing]), len(row)), dtype=bool)
        block[:, ~row] = detection[missing]
        rows.append(block)
    return np.vstack(rows)


def _smallest_field(n: int, k: int) -> tuple[int, int]:
    """``(q, d)`` with fewest rows ``q (k (d - 1) + 1)``, or ``(n, 1)``, the identity, if none has fewer."""
    fewest, best = n, (n, 1)
    for dimension in range(2, n.bit_length() + 2):
        length = k * (dimension - 1) + 1
        order = max(length, _root_above(n, dimension))
        while not is_prime_power(order):
            order += 1
        if order * length < fewest:
            fewest, best = order * length, (order, dimension)
    return best


def _root_above(n: int, degree: int) -> int:
    # The float root, truncated, may be one too small; exact powers of integers settle it.
    root = max(2, int(n ** (1 / degree)))
    while root**degree < n:
        root += 1
    return root
