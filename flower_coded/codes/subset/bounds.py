"""How few models a subset code can have: lower bounds on ``m``, each with the proof it rests on.

A row is described by the users it leaves out, its *zero set*, of at most ``n - r`` users; a set ``X`` of
users leaves a model clean exactly when the row's zero set contains ``X``. Bounds for detection are covering
bounds; correction adds small cases; tracking adds counting.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import count
from math import comb

from flower_coded.codes.subset.column_sums import count_sums
from flower_coded.codes.subset.feasibility import check_feasible

__all__ = ["correction_bound", "detection_bound", "tracking_bound"]

# The most n / (n - r), as a fraction, that m zero sets cover all pairs for: m = 3, 4, ..., 13 (W. H. Mills,
# Covering designs I: coverings by a small number of subsets, Ars Combinatoria 8, 1979; the table is also in
# the Handbook of Combinatorial Designs). With the weights 1 / (n - r), the users' own zero sets are a
# fractional matching of an intersecting family on m points. Let it weigh t. A set of z points meets all
# others, so t <= z: every set has at least ceil(t) points, and t <= m / ceil(t). That gives the values for
# m = 3, 6, 7, 12 and 13. The tests go through all families for m <= 5; for m = 8 to 11 we rest on Mills.
_PAIRS = ((3, 2), (5, 3), (9, 5), (2, 1), (7, 3), (12, 5), (5, 2), (8, 3), (14, 5), (3, 1), (13, 4))

COMPUTED = {
    (2, 5, 9): 8,
    (3, 3, 7): 12,
    (3, 3, 9): 7,
    (3, 3, 10): 6,
    (3, 4, 9): 12,
    (4, 4, 9): 30,
}
"""Rows of detection codes that integer programs show to be the fewest (``search_codes.py prove``)."""

# Covering numbers C(n, n - r, k) = Turan numbers T(n, n - k, r) that we did not decide ourselves. All are in
# the La Jolla Covering Repository as exact. T(10, 4, 3): Turan's value, known up to n = 13 (Sidorenko, What
# we know and what we do not know about Turan numbers, 1995); T(10, 5, 3): Boyer, Kreher, Radziszowski and
# Sidorenko, On (n, 5, 3)-Turan systems, 1994; C(10, 5, 4): Margot, Small covering designs by
# branch-and-cut, 2003.
_PUBLISHED = {
    (3, 4, 10): 10,
    (3, 5, 10): 17,
    (5, 3, 10): 20,
    (6, 3, 10): 45,
    (4, 5, 10): 51,
}

NO_CORRECTION = (
    (2, 3, 7),
    (2, 3, 8),
    (2, 4, 9),
    (2, 4, 10),
    (2, 4, 11),
    (2, 5, 12),
    (3, 3, 9),
    (3, 3, 10),
    (3, 3, 11),
    (4, 3, 10),
)
"""Detection codes of that bound exist, correction codes of as many rows do not (see ``prove`` there)."""


def detection_bound(num_attackers: int, row_weight: int, num_users: int) -> int:
    """Bound the models of any BDC(k, r, n) from below: the greatest of four bounds.

    * *Schönheim.* Every ``k`` users must lie together in some zero set, so the zero sets are a covering
      design
      with blocks of ``n - r``. The blocks that contain one given user cover the other users' ``(k-1)``-sets,
      so there are at least ``D(k-1, r, n-1)`` of them; summing over ``n`` users counts each block at most ``n
      - r`` times, hence ``D(k, r, n) >= ceil(n / (n - r) * D(k-1, r, n-1))`` with ``D(0, r, n) = 1``. For ``n
      = k + r`` this is ``C(k + r, k)``, the bound of Theorem 3, and is attained.
    * *Turán.* For ``r = 2`` shrink every row to two of its users: a graph in which any ``n - k`` users
      have an
      edge. The fewest edges are those of ``n - k - 1`` cliques of sizes as equal as possible, and are
      attained.
    * *Mills.* For ``k = 2`` the greatest ``n / (n - r)`` for up to 13 rows is known.
    * Single values for ``n <= 10``, six from integer programs of ours and five from the literature; the
      others follow from these by Schönheim's inequality.

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
    >>> detection_bound(2, 6, 12), detection_bound(2, 2, 4), detection_bound(4, 5, 10)
    (6, 6, 51)
    """
    check_feasible(num_attackers, row_weight, num_users)
    return _covering_bound(num_attackers, row_weight, num_users)


@lru_cache(maxsize=4096)
def _covering_bound(k: int, r: int, n: int) -> int:
    if k == 0:
        return 1
    bound = max(
        -(-n * _covering_bound(k - 1, r, n - 1) // (n - r)),
        COMPUTED.get((k, r, n), 0),
        _PUBLISHED.get((k, r, n), 0),
    )
    if r == 2:
        bound = max(bound, _turan_edges(n, n - k - 1))
    if k == 2:
        enough = (rows for rows, (top, low) in enumerate(_PAIRS, start=3) if n * low <= top * (n - r))
        bound = max(bound, next(enough, len(_PAIRS) + 3))
    return bound


def _turan_edges(num_users: int, num_cliques: int) -> int:
    """Edges of the cliques into which ``n`` users fall most evenly."""
    size, larger = divmod(num_users, num_cliques)
    return larger * comb(size + 1, 2) + (num_cliques - larger) * comb(size, 2)


def correction_bound(num_attackers: int, row_weight: int, num_users: int) -> int:
    """Bound the models of any BCC(k, r, n) from below.

    Besides :func:`detection_bound`, ``m >= k + 2``. With ``m <= k`` one user per model reaches all models.
    With ``m = k + 1``, a user who feeds two models and one user for each of the other ``k - 1`` do; so
    every user feeds just one model, and the user of one model and the ``k`` users of the others have
    complementary sums.

    For ``r = 2`` and ``k + 3 <= n <= 2 k + 2`` Turán's bound and one more are needed. With as many rows
    as Turán's graph has edges, every row contains one edge of its own, as the graph is unique. A row with
    a further user would miss the ``n - k`` users that are its edge and one user of every other clique,
    chosen without that user; so rows are edges. Now take all but one user of each of some cliques, and of
    each of the others: two sets, together of ``k + 1`` users, and every edge meets exactly one of them.

    Single cases with ``n <= 12`` were decided by integer programs, or by going through all columns.

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
    k, r, n = num_attackers, row_weight, num_users
    bound = detection_bound(k, r, n)
    needs_more = (r == 2 and k + 3 <= n <= 2 * k + 2) or (k, r, n) in NO_CORRECTION
    return max(k + 2, bound + 1 if needs_more else bound)


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
