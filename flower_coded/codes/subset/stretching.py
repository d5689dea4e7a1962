"""Repeat the columns of a small code until it serves the users at hand.

Repeating a column adds no new Boolean sum, so a detection or correction code stays one; leaving a column out
removes sums. What changes is the row weight: with ``w_j`` users for column ``j``, a row leaves out the users
of its zeros. How many users each column gets is a small integer program,

    minimize ``t``  subject to  ``sum_j w_j (1 - H[i, j]) <= t`` for every row,  ``sum_j w_j = n``,

solved with SciPy's HiGHS. It replaces the paper's Corollary 5.1, which repeats columns as evenly as possible:
even is best for codes that treat all users alike, and only if ``n`` is a multiple of their number.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["best_row_weight", "stretch"]

_MAX_NODES = 200  # branch and bound: enough for rounding, never a search of its own
_MAX_ENTRIES = 4_000  # beyond, even shares only: one linear program of this size takes seconds


def best_row_weight(matrix: NDArray[np.bool_], num_users: int) -> int:
    """Bound from above the row weight that a code can have with its columns repeated to ``n``.

    However the users are shared out, the zeros of all rows hold at least ``n`` times the zeros of the column
    that has fewest, and one of the ``m`` rows holds the ``m``-th part of them.

    Parameters
    ----------
    matrix : ndarray of shape (m, n0), bool
        The code.
    num_users : int
        ``n``.

    Returns
    -------
    int
        No sharing out has a greater row weight.

    Examples
    --------
    >>> best_row_weight(~np.eye(3, dtype=bool), 10)
    6
    """
    fewest = int((~matrix).sum(axis=0).min())
    return num_users - -(-num_users * fewest // len(matrix))


def stretch(matrix: NDArray[np.bool_], row_weight: int, num_users: int) -> NDArray[np.bool_] | None:
    """Share ``n`` users out over the columns of a code such that every row keeps ``r`` of them.

    Parameters
    ----------
    matrix : ndarray of shape (m, n0), bool
        A detection or correction code for any number of users.
    row_weight : int
        ``r``, the ones each row must have at least.
    num_users : int
        ``n``, more or fewer than ``n0``.

    Returns
    -------
    ndarray of shape (m, n), bool, or None
        The heaviest code found, equal columns spread out as in ``0 1 2 0 1 2``; None if none has row weight
        ``r``.

    Examples
    --------
    >>> stretch(~np.eye(3, dtype=bool), 6, 10).sum(axis=1).tolist()
    [6, 7, 7]
    >>> stretch(~np.eye(3, dtype=bool), 7, 10) is None
    True
    """
    if best_row_weight(matrix, num_users) < row_weight:
        return None
    shares = _even_shares(matrix, num_users)
    weight = int((matrix @ shares).min())
    if weight < best_row_weight(matrix, num_users) and matrix.size <= _MAX_ENTRIES:
        better = _best_shares(matrix, max(weight + 1, row_weight), num_users)
        shares = shares if better is None else better
    if int((matrix @ shares).min()) < row_weight:
        return None
    # Round robin: the q-th copy of every column that has one, then the next.
    copies = np.concatenate([np.flatnonzero(shares > copy) for copy in range(int(shares.max()))])
    return np.ascontiguousarray(matrix[:, copies])


def _even_shares(matrix: NDArray[np.bool_], num_users: int) -> NDArray[np.int64]:
    copies, extra = divmod(num_users, matrix.shape[1])
    return np.asarray(np.where(np.arange(matrix.shape[1]) < extra, copies + 1, copies), dtype=np.int64)


def _best_shares(matrix: NDArray[np.bool_], row_weight: int, num_users: int) -> NDArray[np.int64] | None:
    """Solve the integer program; None if no shares give row weight ``r`` or HiGHS does not find them."""
    num_rows, num_columns = matrix.shape
    zeros = np.column_stack([~matrix, -np.ones(num_rows)]).astype(np.float64)
    total = np.append(np.ones(num_columns), 0.0)
    least = np.append(np.zeros(num_columns), 1.0)
    limits = np.append(np.full(num_columns, num_users), num_users - row_weight)

    def solve(is_whole: bool) -> NDArray[np.float64] | None:
        from scipy.optimize import Bounds, LinearConstraint, milp  # slow to load

        solved = milp(
            least,
            constraints=[
                LinearConstraint(zeros, -np.inf, 0.0),
                LinearConstraint(total[None, :], num_users, num_users),
            ],
            integrality=np.full(num_columns + 1, is_whole),
            bounds=Bounds(0, limits),
            options={"node_limit": _MAX_NODES},
        )
        return None if solved.x is None else np.asarray(solved.x)

    # Shares that need not be whole are found at once; mostly there are none.
    if solve(False) is None or (found := solve(True)) is None:
        return None
    shares = np.rint(found[:-1]).astype(np.int64)
    return shares if shares.sum() == num_users else None
