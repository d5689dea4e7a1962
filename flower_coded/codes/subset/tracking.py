"""Tracking codes: whose backdoor it is can be read off the models that have it.

A BTC(k, r, n) has all its k-bar-sums distinct, none all-ones and no two complementary. Corollary 5.2 stacks
a correction code on a k-bar-separable matrix; but the rows of either part do work for the other, so a code
need not be a stack, and the search here is over the definition. For every feasible ``(k, r, n)`` the
smallest is taken of

* the minimal code, for ``n = k + r``: the zero sets that contain ``X`` meet exactly in ``X``, so its sums
  are distinct too, and by Theorem 3 nothing is smaller;
* a code found beforehand (:mod:`flower_coded.codes.subset.known_codes`), for ``n <= 16``;
* a correction code with rows added until it tracks (:mod:`flower_coded.codes.subset.row_search`), which
  never fails, for up to some 6,000 sets of users;
* a search column by column (:mod:`flower_coded.codes.subset.column_search`), if the above leave room above
  the lower bound;
* random columns, each checked against all before (:mod:`flower_coded.codes.subset.column_growth`), for more
  users;
* a Kautz-Singleton matrix, for very many users or small ``r``. It is ``k``-disjunct: some row meets one
  user and none of any ``k`` others. So no ``k`` users reach everything, all sums differ, and with a row of
  all ones no two are complementary: the correction code that Corollary 5.2 stacks on it is not needed.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flower_coded.codes.subset.bounds import tracking_bound
from flower_coded.codes.subset.column_growth import expected_models, grow_columns
from flower_coded.codes.subset.column_search import MAX_SEARCH_MODELS, search_columns
from flower_coded.codes.subset.column_sums import count_sums
from flower_coded.codes.subset.constructions import MAX_MODELS, backdoor_correction_code
from flower_coded.codes.subset.feasibility import check_feasible
from flower_coded.codes.subset.known_codes import known_tracking_matrix
from flower_coded.codes.subset.row_search import separate_by_rows
from flower_coded.codes.subset.separable import (
    kautz_singleton_matrix,
    kautz_singleton_rows,
    raise_row_weight,
)
from flower_coded.codes.subset.subset_code import SubsetCode

__all__ = ["backdoor_tracking_code", "disjunct_tracking_matrix"]

_MOST_SUMS_FOR_ROW_SEARCH = 6_000
_MOST_SUMS_FOR_GROWTH = 2_000_000
_MOST_MODELS_FOR_GROWTH = 300  # heavier rows tell so little apart that other constructions have fewer


def backdoor_tracking_code(
    num_attackers: int, row_weight: int, num_users: int, *, seed: int = 0
) -> SubsetCode:
    """Build BTC(k, r, n): attack, true label and attackers are known whichever ``k`` users collude.

    Deterministic and of bounded effort: none where a code is known beforehand, mostly below a second for
    up to some 6,000 sets of users, and some 5 to 20 seconds beyond (``n = 100, k = 3``; ``n = 1,000, k =
    2``).

    Parameters
    ----------
    num_attackers : int
        ``k >= 1``, the most colluding users.
    row_weight : int
        ``r >= 1``, the fewest users a model may be trained on.
    num_users : int
        ``n >= k + r`` (Lemma 2).
    seed : int
        Seed of the searches; the same seed gives the same code.

    Returns
    -------
    SubsetCode
        The smallest code found; compare :func:`~flower_coded.codes.subset.bounds.tracking_bound`.

    Raises
    ------
    ParameterError
        If the parameters are infeasible (the nearest feasible ones are named).

    Examples
    --------
    >>> paper = [(2, 2, 8), (1, 11, 16), (2, 4, 16)]
    >>> [backdoor_tracking_code(*parameters).num_models for parameters in paper]
    [7, 6, 10]
    >>> backdoor_tracking_code(2, 4, 16).verify(row_weight=4).holds
    True
    """
    k, r, n = num_attackers, row_weight, num_users
    check_feasible(k, r, n)
    if n == k + r:
        matrix = backdoor_correction_code(k, r, n, rows="fewest").matrix
    else:
        known = known_tracking_matrix(k, r, n)
        found = _searched_code(k, r, n, np.random.default_rng(seed)) if known is None else known
        matrix = found if (light := _light_disjunct(k, r, n, len(found))) is None else light
    return SubsetCode(matrix, kind="tracking", num_attackers=k)


def disjunct_tracking_matrix(num_attackers: int, row_weight: int, num_users: int) -> NDArray[np.bool_]:
    """Make a BTC(k, r, n) of a ``k``-disjunct matrix and a row of all ones, for every feasible ``(k, r, n)``.

    Rows lighter than ``r`` are replaced by :func:`~flower_coded.codes.subset.separable.raise_row_weight`,
    which keeps the matrix disjunct: a row that meets ``y`` and not ``X`` becomes several that meet ``y``,
    one of which misses ``X``.

    Parameters
    ----------
    num_attackers, row_weight, num_users : int
        ``k``, ``r`` and ``n``, feasible.

    Returns
    -------
    ndarray of shape (m, n), bool
        Small where rows of a Kautz-Singleton matrix weigh ``r`` already.

    Raises
    ------
    ParameterError
        If the parameters are infeasible.

    Examples
    --------
    >>> SubsetCode(disjunct_tracking_matrix(2, 3, 9)).verify("tracking", 2, row_weight=3).holds
    True
    """
    check_feasible(num_attackers, row_weight, num_users)
    disjunct = kautz_singleton_matrix(num_users, num_attackers)
    raised = raise_row_weight(disjunct, num_attackers, row_weight)
    if 2 * num_attackers * raised.sum(axis=0).max() < len(raised):
        return raised  # two sums cover too few rows to be complementary
    return np.vstack([np.ones((1, num_users), dtype=bool), raised])


def _searched_code(k: int, r: int, n: int, generator: np.random.Generator) -> NDArray[np.bool_]:
    num_sums = count_sums(n, k)
    if num_sums > _MOST_SUMS_FOR_ROW_SEARCH:
        too_heavy = expected_models(k, r, n)[0] > _MOST_MODELS_FOR_GROWTH
        if too_heavy or num_sums > _MOST_SUMS_FOR_GROWTH:
            return disjunct_tracking_matrix(k, r, n)
        grown = grow_columns(k, r, n, generator, most_models=MAX_MODELS)
        return disjunct_tracking_matrix(k, r, n) if grown is None else grown
    start = backdoor_correction_code(k, r, n, rows="fewest").matrix
    matrix = separate_by_rows(start, k, r, generator)
    # From the lower bound up: the first code found is the smallest that this search has.
    for num_models in range(tracking_bound(k, r, n), min(len(matrix), MAX_SEARCH_MODELS + 1)):
        found = search_columns(k, r, n, num_models, generator, max_lookups=1 << 26)
        if found is not None:
            return found
    grown = grow_columns(k, r, n, generator, most_models=len(matrix) - 1)
    return matrix if grown is None else grown


def _light_disjunct(k: int, r: int, n: int, most_models: int) -> NDArray[np.bool_] | None:
    """Give the disjunct code if it has fewer models and its rows need not be made heavier."""
    if kautz_singleton_rows(n, k) >= most_models or kautz_singleton_matrix(n, k).sum(axis=1).min() < r:
        return None
    matrix = disjunct_tracking_matrix(k, r, n)
    return matrix if len(matrix) < most_models else None
