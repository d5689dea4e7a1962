"""Make a code tracking by adding rows: greedy, and certain to succeed for every feasible ``(k, r, n)``.

Two sets of users ``X`` and ``Y`` are told apart by a model whose users meet one and not the other. Rows are
added to a correction code until all sets of one to ``k`` users are told apart. Each row is the best of a
few random ones, by the number of groups of still equal sets that it splits; where none of them splits any,
a row is made for two given sets: it leaves out one of them and not a user of the other. As every row leaves
out at most ``n - r`` users, the row weight holds throughout.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.subset.column_sums import ColumnSums, column_sums, pack_columns, sort_keys

__all__ = ["separate_by_rows"]

_DRAWS = 48  # random rows compared for each row added


def separate_by_rows(
    matrix: NDArray[np.bool_], num_attackers: int, row_weight: int, generator: np.random.Generator
) -> NDArray[np.bool_]:
    """Add rows of weight at least ``r`` until all k-bar-sums are distinct.

    Parameters
    ----------
    matrix : ndarray of shape (m, n), bool
        The rows to start from, with ``n >= k + r``.
    num_attackers, row_weight : int
        ``k`` and ``r``.
    generator : numpy.random.Generator
        Draws the rows; the same state gives the same result.

    Returns
    -------
    ndarray of shape (m + added, n), bool
        The given rows and the added ones.

    Examples
    --------
    >>> separate_by_rows(np.ones((1, 3), dtype=bool), 1, 1, np.random.default_rng(0)).shape
    (3, 3)
    """
    sums = column_sums(pack_columns(matrix), num_attackers)
    num_users = matrix.shape[1]
    _, group = np.unique(sort_keys(sums.words), return_inverse=True)
    rows = [matrix]
    while group.max() + 1 < len(group):
        drawn = _draw_rows(num_users, num_attackers, row_weight, generator)
        split = [_split(group, row, sums) for row in drawn]
        best = int(np.argmax([ids.max() for ids in split]))
        row, ids = drawn[best], split[best]
        if ids.max() == group.max():
            row = _row_between(*_equal_pair(group, sums), num_users, row_weight, generator)
            ids = _split(group, row, sums)
        rows.append(row[None, :])
        group = ids
    return np.vstack(rows)


def _draw_rows(n: int, k: int, r: int, generator: np.random.Generator) -> list[NDArray[np.bool_]]:
    """Draw rows that about half of all sets of ``k`` users miss: zeros of density ``2^(-1/k)`` or fewer."""
    even = round(n * 0.5 ** (1 / k))
    fewest = max(1, min(even, n - r) - 2)
    rows = []
    for num_zeros in generator.integers(fewest, min(even + 2, n - r) + 1, size=_DRAWS):
        row = np.ones(n, dtype=bool)
        row[generator.choice(n, size=int(num_zeros), replace=False)] = False
        rows.append(row)
    return rows


def _split(group: NDArray[np.int64], row: NDArray[np.bool_], sums: ColumnSums) -> NDArray[np.int64]:
    reached = np.concatenate([row[sets].any(axis=1) for sets in sums.columns])
    return np.unique(2 * group + reached, return_inverse=True)[1]


def _equal_pair(group: NDArray[np.int64], sums: ColumnSums) -> tuple[tuple[int, ...], tuple[int, ...]]:
    order = np.argsort(group, kind="stable")
    first = int(np.flatnonzero(group[order][1:] == group[order][:-1])[0])
    return sums.columns_of(int(order[first])), sums.columns_of(int(order[first + 1]))


def _row_between(
    one: tuple[int, ...],
    other: tuple[int, ...],
    num_users: int,
    row_weight: int,
    generator: np.random.Generator,
) -> NDArray[np.bool_]:
    """Leave out one set, keep a user of the other, and leave out more users at random as far as allowed."""
    if set(other) <= set(one):
        one, other = other, one
    kept = min(set(other) - set(one))
    free = [user for user in range(num_users) if user not in one and user != kept]
    more = generator.permutation(free)[: num_users - row_weight - len(one)]
    row = np.ones(num_users, dtype=bool)
    row[list(one)] = False
    row[more.astype(np.int64)] = False
    return row
