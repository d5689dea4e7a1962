"""Constructions of detection and correction codes, and the two baselines they are compared with.

A row is worth having for the users it leaves *out*: ``k`` colluders stay undetected only if they reach
every model, so each set of ``k`` users must lie in the complement of some row. Rows of a detection code are
therefore the blocks of a *covering design*: blocks of at most ``n - r`` of ``n`` users such that every
``k`` of them lie in one block. The minimal code (Theorem 3 of the coded subset aggregation paper, ``n = k +
r``) takes all ``C(k + r, k)`` blocks of size ``k``; for more users the paper repeats its columns.

There are two choices of rows:

``"fewest"``
    The smallest code known: one found beforehand (:mod:`flower_coded.codes.subset.known_codes`), the
    hyperplanes of a finite geometry (:mod:`flower_coded.codes.subset.geometries`), a minimal code or a
    greedy covering design (:mod:`flower_coded.codes.subset.covering`), the columns repeated where there are
    more users (:mod:`flower_coded.codes.subset.stretching`).
``"paper"``
    The minimal code repeated, as the paper has it. It needs more models, and reads out slightly better where
    models err: sets of users left out by several rows are told by several clean models.

The paper's Corollary 5.1 asks for a negative number of extra columns for many ``(k, r, n)`` (``k = 2, r = 4,
n = 16`` gives -2). What ``"paper"`` builds instead: for ``r0 = 1, 2, ...`` repeat the columns of the minimal
code on ``n0 = k + r0`` columns as evenly as possible. A row then weighs ``n`` minus the multiplicities of
its ``k`` zero columns; the first ``r0`` for which that is at least ``r`` has the fewest rows. Repeating a
column adds no new Boolean sum, so the code stays BDC or BCC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from math import comb

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.subset.bounds import correction_bound, detection_bound
from flower_coded.codes.subset.covering import greedy_detection_matrix
from flower_coded.codes.subset.feasibility import check_at_least_one, check_feasible
from flower_coded.codes.subset.finite_fields import is_prime_power
from flower_coded.codes.subset.geometries import affine_matrix, num_hyperplanes, projective_matrix
from flower_coded.codes.subset.known_codes import is_listed, known_bases, known_matrix
from flower_coded.codes.subset.stretching import stretch
from flower_coded.codes.subset.subset_code import SubsetCode
from flower_coded.errors import ParameterError

__all__ = [
    "ROWS",
    "backdoor_correction_code",
    "backdoor_detection_code",
    "minimal_matrix",
    "partition_code",
    "random_code",
]

MAX_MODELS = 100_000
"""Models beyond which a construction is refused: nobody trains that many."""

MAX_GEOMETRY = 2_000
"""Hyperplanes beyond which a geometry is not built: its square has that many bytes twice over."""


ROWS = ("fewest", "paper")
"""Which construction to take: see the module."""

DEFAULT_ROWS = "fewest"
"""What is built unless asked otherwise."""


def backdoor_detection_code(
    num_attackers: int, row_weight: int, num_users: int, *, rows: str = DEFAULT_ROWS
) -> SubsetCode:
    """Build BDC(k, r, n): some model stays clean whichever ``k`` users collude.

    Parameters
    ----------
    num_attackers : int
        ``k >= 1``, the most colluding users.
    row_weight : int
        ``r >= 1``, the fewest users a model may be trained on.
    num_users : int
        ``n >= k + r`` (Lemma 2).
    rows : str
        ``"fewest"`` or ``"paper"``, one of :data:`ROWS`.

    Returns
    -------
    SubsetCode
        Exactly ``C(k + r, k)`` models, the least possible by Theorem 3, when ``n = k + r``; else compare
        :func:`~flower_coded.codes.subset.bounds.detection_bound`.

    Raises
    ------
    ParameterError
        If the parameters are infeasible (the nearest feasible ones are named) or the code would have more
        than 100,000 models.

    Examples
    --------
    >>> backdoor_detection_code(2, 2, 4).num_models
    6
    >>> backdoor_detection_code(2, 7, 8)
    Traceback (most recent call last):
        ...
    flower_coded.errors.ParameterError: num_users must be at least num_attackers + row_weight = 9;
    received 8 (nearest feasible (k, r, n): (1, 7, 8), (2, 6, 8) or (2, 7, 9))
    """
    _check(num_attackers, row_weight, num_users, rows)
    build = _fewest_rows if rows == "fewest" else _papers_rows
    matrix = build("detection", num_attackers, row_weight, num_users)
    return SubsetCode(matrix, kind="detection", num_attackers=num_attackers)


def backdoor_correction_code(
    num_attackers: int, row_weight: int, num_users: int, *, rows: str = DEFAULT_ROWS
) -> SubsetCode:
    """Build BCC(k, r, n): the true label is known whichever ``k`` users collude.

    A row of all ones is added to a detection code where sums are complementary (Lemma 4), as they are in a
    repeated identity.

    Parameters
    ----------
    num_attackers : int
        ``k >= 1``, the most colluding users.
    row_weight : int
        ``r >= 1``, the fewest users a model may be trained on.
    num_users : int
        ``n >= k + r`` (Lemma 2).
    rows : str
        ``"fewest"`` or ``"paper"``, one of :data:`ROWS`.

    Returns
    -------
    SubsetCode
        For ``n = k + r`` the fewest models possible: ``C(k + r, k)``, or ``k + 2`` if ``r = 1`` (Theorem 5);
        else compare :func:`~flower_coded.codes.subset.bounds.correction_bound`.

    Raises
    ------
    ParameterError
        If the parameters are infeasible (the nearest feasible ones are named) or the code would have more
        than 100,000 models.

    Examples
    --------
    >>> codes = [(4, 4, 12), (2, 6, 12), (2, 4, 8), (1, 11, 16)]
    >>> [backdoor_correction_code(*parameters, rows="paper").num_models for parameters in codes]
    [15, 6, 6, 4]
    >>> [backdoor_correction_code(*parameters).num_models for parameters in codes]
    [14, 6, 6, 4]
    >>> backdoor_correction_code(2, 4, 16).verify().holds
    True
    """
    _check(num_attackers, row_weight, num_users, rows)
    build = _fewest_rows if rows == "fewest" else _papers_rows
    matrix = build("correction", num_attackers, row_weight, num_users)
    return SubsetCode(matrix, kind="correction", num_attackers=num_attackers)


def partition_code(num_groups: int, num_users: int) -> SubsetCode:
    """Split the users into groups that share nothing, one model per group (Levine and Feizi 2020).

    Parameters
    ----------
    num_groups : int
        ``m``, at most ``num_users``.
    num_users : int
        ``n``; sizes of groups differ by at most one.

    Returns
    -------
    SubsetCode
        A code with one 1 in every column.

    Raises
    ------
    ParameterError
        If there are more groups than users or no group.

    Examples
    --------
    >>> partition_code(2, 4).matrix.astype(int).tolist()
    [[1, 1, 0, 0], [0, 0, 1, 1]]
    """
    check_at_least_one(num_users=num_users, num_groups=num_groups)
    if num_groups > num_users:
        raise ParameterError("num_groups", f"must be at most num_users = {num_users}", num_groups)
    # Floor of i m / n: sizes differ by one at most, with no remainder to hand out.
    group_of_user = np.arange(num_users) * num_groups // num_users
    return SubsetCode(group_of_user[None, :] == np.arange(num_groups)[:, None], kind="partition")


def random_code(num_models: int, row_weight: int, num_users: int, seed: int) -> SubsetCode:
    """Draw every row independently and uniformly among those of one weight (Jia et al. 2020).

    Parameters
    ----------
    num_models : int
        ``m``, the rows drawn.
    row_weight : int
        ``r``, the ones in each row.
    num_users : int
        ``n >= r``.
    seed : int
        The same seed gives the same code.

    Returns
    -------
    SubsetCode
        A code that promises nothing: :meth:`SubsetCode.verify` tells what it happens to be.

    Raises
    ------
    ParameterError
        If the row weight does not lie in ``1 .. n`` or no model is asked for.

    Examples
    --------
    >>> random_code(3, 2, 4, seed=0).matrix.sum(axis=1).tolist()
    [2, 2, 2]
    """
    check_at_least_one(num_models=num_models, row_weight=row_weight, num_users=num_users)
    if row_weight > num_users:
        raise ParameterError("row_weight", f"must be at most num_users = {num_users}", row_weight)
    generator = np.random.default_rng(seed)
    matrix = np.zeros((num_models, num_users), dtype=bool)
    for row in matrix:
        row[generator.choice(num_users, size=row_weight, replace=False)] = True
    return SubsetCode(matrix, kind="random")


def minimal_matrix(num_attackers: int, row_weight: int) -> NDArray[np.bool_]:
    """Build ``H(k, r)`` of Theorem 3, eqs. (1) to (3): each row of ``k + r`` bits with ``k`` zeros, once.

    Parameters
    ----------
    num_attackers, row_weight : int
        ``k >= 1`` and ``r >= 1``.

    Returns
    -------
    ndarray of shape (C(k + r, k), k + r), bool
        In the order of the recursion ``H(k, r) = [[1, H(k, r-1)], [0, H(k-1, r)]]``.

    Raises
    ------
    ParameterError
        If a parameter is below 1 or there would be more than 100,000 rows.

    Examples
    --------
    >>> minimal_matrix(1, 2).astype(int).tolist()
    [[1, 1, 0], [1, 0, 1], [0, 1, 1]]
    """
    check_at_least_one(num_attackers=num_attackers, row_weight=row_weight)
    num_rows = comb(num_attackers + row_weight, num_attackers)
    if num_rows > MAX_MODELS:
        raise ParameterError(
            "row_weight",
            f"must lead to at most {MAX_MODELS} models",
            row_weight,
            hint=f"this code has {num_rows}; lower the row weight or the number of attackers",
        )
    return _minimal_rows(num_attackers, row_weight)


def _minimal_rows(k: int, r: int) -> NDArray[np.bool_]:
    if k == 0:
        return np.ones((1, r), dtype=bool)
    if r == 1:
        return np.eye(k + 1, dtype=bool)
    upper, lower = _minimal_rows(k, r - 1), _minimal_rows(k - 1, r)
    first = np.repeat([True, False], [len(upper), len(lower)])
    return np.column_stack([first, np.vstack([upper, lower])])


def _check(k: int, r: int, n: int, rows: str) -> None:
    check_feasible(k, r, n)
    if rows not in ROWS:
        raise ParameterError("rows", f"must be one of {', '.join(ROWS)}", rows)


def _papers_rows(kind: str, k: int, r: int, n: int) -> NDArray[np.bool_]:
    ones = _fewest_ones(k, r, n)
    if ones == k == 1 and n > 2 and kind == "correction":
        ones = 2  # with the row that makes the identity correcting this is as small, and heavier
    matrix = _repeat_columns(minimal_matrix(k, ones), n)
    return _made_correcting(matrix, k) if kind == "correction" else matrix


def _fewest_rows(kind: str, k: int, r: int, n: int) -> NDArray[np.bool_]:
    best = _papers_rows(kind, k, r, n)
    if is_listed(k, n):  # the search for the list compared all others
        known = known_matrix(kind, k, r, n)
        return best if known is None else min(best, known, key=_cost)
    bound = (correction_bound if kind == "correction" else detection_bound)(k, r, n)
    for num_rows, base in _bases(kind, k, n):
        # Below the bound no code exists, and from the best on none wins: both are told before building.
        if bound <= num_rows < len(best) and (found := stretch(base(), r, n)) is not None:
            found = _made_correcting(found, k) if kind == "correction" else found
            best = min(best, found, key=_cost)
    # Only where the bound leaves room: at the bound the search could not win a row.
    if len(best) > bound and (greedy := greedy_detection_matrix(k, r, n)) is not None:
        greedy = _made_correcting(greedy, k) if kind == "correction" else greedy
        best = min(best, greedy, key=_cost)
    return best


def _cost(matrix: NDArray[np.bool_]) -> tuple[int, int]:
    """Fewest rows first, then the heavier ones."""
    return len(matrix), -int(matrix.sum(axis=1).min())


def _bases(kind: str, k: int, n: int) -> Iterator[tuple[int, Callable[[], NDArray[np.bool_]]]]:
    """List codes whose columns may be repeated: their rows, and how to build them."""
    for base in known_bases(kind, k):
        yield len(base), partial(np.asarray, base)
    for order in range(2, n):
        num_rows = num_hyperplanes(k, order)
        if num_rows > MAX_GEOMETRY:
            break
        if is_prime_power(order):
            yield num_rows - 1, partial(affine_matrix, k, order)
            yield num_rows, partial(projective_matrix, k, order)


def _made_correcting(matrix: NDArray[np.bool_], num_attackers: int) -> NDArray[np.bool_]:
    if SubsetCode(matrix).verify("correction", num_attackers):
        return matrix
    return np.vstack([np.ones((1, matrix.shape[1]), dtype=bool), matrix])


def _fewest_ones(k: int, r: int, n: int) -> int:
    """``r0``: the least weight of a minimal code that has row weight ``r`` repeated to ``n`` columns."""
    for ones in range(1, n - k + 1):
        copies, extra = divmod(n, k + ones)
        if n - k * copies - min(k, extra) >= r:
            return ones
    raise AssertionError("r0 = n - k repeats nothing and has row weight n - k >= r")


def _repeat_columns(matrix: NDArray[np.bool_], num_users: int) -> NDArray[np.bool_]:
    return matrix[:, np.arange(num_users) % matrix.shape[1]]
