"""How few models a subset code can have: lower bounds on ``m``, each with the proof it rests on.

A row is described by the users it leaves out, its *zero set*, of at most ``n - r`` users; a set ``X`` of
users leaves a model clean exactly when the row's zero set contains ``X``. Bounds for detection are covering
bounds; correction adds one small case; tracking adds counting.
"""

from __future__ import annotations

from itertools import count
from math import comb

from flower_coded.codes.column_sums import count_sums
from flower_coded.codes.feasibility import check_feasible

__all__ = ["correction_bound", "detection_bound", "tracking_bound"]


def detection_bound(num_attackers: int, row_weight: int, num_users: int) -> int:
    """Bound the models of any BDC(k, r, n) from below.

    Every ``k`` users must lie together in some zero set, so the zero sets are a covering design with blocks
    of ``n - r``. Schönheim's bound follows by induction: the blocks that contain one given user cover the
    other users' ``(k-1)``-sets, so there are at least ``D(k-1, r, n-1)`` of them; summing over ``n`` users
    counts each block at most ``n - r`` times, hence ``D(k, r, n) >= ceil(n / (n - r) * D(k-1, r, n-1))``
    with ``D(0, r, n) = 1``. For ``n = k + r`` this is ``C(k + r, k)``, the bound of Theorem 3, and is
    attained.

    Parameters
    ----------
    num_attackers, row_weight, num_users : int
        ``k``, ``r`` and ``n``, feasible.

    Returns
    -------
    int
        No BDC(k, r, n) has fewer models.

    Raises
    ------
    ParameterError
        If the parameters are infeasible.

    Examples
    --------
    >>> detection_bound(2, 6, 12), detection_bound(2, 2, 4)
    (6, 6)
    """
    check_feasible(num_attackers, row_weight, num_users)
    bound = 1
    for users in range(num_users - num_attackers + 1, num_users + 1):
        bound = -(-users * bound // (users - row_weight))
    return bound


def correction_bound(num_attackers: int, row_weight: int, num_users: int) -> int:
    """Bound the models of any BCC(k, r, n) from below.

    Besides :func:`detection_bound`, ``m >= k + 2``. With ``m <= k`` one user per model reaches all models.
    With ``m = k + 1``, a user who feeds two models and one user for each of the other ``k - 1`` do; so
    every user feeds just one model, and the user of one model and the ``k`` users of the others have
    complementary sums.

    Parameters
    ----------
    num_attackers, row_weight, num_users : int
        ``k``, ``r`` and ``n``, feasible.

    Returns
    -------
    int
        No BCC(k, r, n) has fewer models.

    Raises
    ------
    ParameterError
        If the parameters are infeasible.

    Examples
    --------
    >>> correction_bound(2, 6, 12), correction_bound(1, 11, 16), correction_bound(3, 1, 4)
    (6, 4, 5)
    """
    return max(num_attackers + 2, detection_bound(num_attackers, row_weight, num_users))


def tracking_bound(num_attackers: int, row_weight: int, num_users: int) -> int:
    """Bound the models of any BTC(k, r, n) from below: the smallest ``m`` that passes every test here.

    * *Pairs.* The ``N = C(n,1) + ... + C(n,k)`` sums are distinct, none zero or all-ones, and no two
      complementary: they take one vector each from ``2^(m-1) - 1`` complementary pairs, so ``N <= 2^(m-1) -
      1``.
    * *Zeros of sums.* A row with ``z <= n - r`` zeros is zero in ``C(z, s)`` of the sums of size ``s``; the
      sums of one size, or of all sizes, have at most ``m`` times that many zeros in total. Distinct sums
      need at least the zeros of as many complementary pairs when the lighter zero set of each is taken,
      smallest first.
    * *Zeros of columns.* A column with ``z`` zeros has ``1 + C(n-1,1) + ... + C(n-1,k-1)`` sums through it,
      which differ, and are not all-ones, on its zeros: at most ``2^z - 1``. So ``n z <= m (n - r)``.
    * *Correction.* :func:`correction_bound`.

    Parameters
    ----------
    num_attackers, row_weight, num_users : int
        ``k``, ``r`` and ``n``, feasible.

    Returns
    -------
    int
        No BTC(k, r, n) has fewer models.

    Raises
    ------
    ParameterError
        If the parameters are infeasible.

    Examples
    --------
    >>> tracking_bound(2, 2, 8), tracking_bound(1, 11, 16), tracking_bound(2, 4, 16)
    (7, 6, 9)
    """
    k, r, n = num_attackers, row_weight, num_users
    zeros_per_column = (1 + count_sums(n - 1, k - 1)).bit_length()
    sums_of_size = [comb(n, size) for size in range(1, k + 1)]
    zeros_of_row = [comb(n - r, size) for size in range(1, k + 1)]
    needs = [*zip(sums_of_size, zeros_of_row, strict=True), (sum(sums_of_size), sum(zeros_of_row))]
    for m in count(correction_bound(k, r, n)):
        if (
            sum(sums_of_size) <= 2 ** (m - 1) - 1
            and n * zeros_per_column <= m * (n - r)
            and all(_fewest_zeros(num_sums, m) <= m * zeros for num_sums, zeros in needs)
        ):
            return m
    raise AssertionError("the loop above is endless until it returns")


def _fewest_zeros(num_sums: int, num_models: int) -> int:
    """Fewest zeros in total of ``num_sums`` vectors, no two equal or complementary, none all-ones."""
    zeros = 0
    for size in range(1, num_models // 2 + 1):
        available = comb(num_models, size) // (2 if 2 * size == num_models else 1)
        taken = min(available, num_sums)
        zeros, num_sums = zeros + taken * size, num_sums - taken
        if not num_sums:
            break
    return zeros
